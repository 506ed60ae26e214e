"""Errors of frames are what their definitions say."""

from dataclasses import replace

import numpy as np
import pytest

from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA
from silicon.accuracy import Compared, by_key, frame_errors, joined, safety_check


@pytest.fixture
def perfect() -> Compared:
    rng = np.random.default_rng(1)
    energies, forces = rng.normal(size=2), rng.normal(size=(5, 3))
    virials = rng.normal(size=(2, 3, 3))
    volumes, grades = np.full(2, 20.0), np.array([0.5, 1.0, 2.0, 6.0, 9.0])
    return Compared(energies, energies, forces, forces, virials, virials, volumes, grades)


def test_equal_numbers_have_no_error(perfect):
    errors = frame_errors(perfect)
    assert (errors.n_frames, errors.n_atoms, errors.gamma_max) == (2, 5, 9.0)
    assert errors.energy_max_meV_per_atom == errors.force_max_meV_per_A == 0.0
    assert errors.virial_max_meV_per_atom == errors.pressure_bias_GPa == 0.0
    assert errors.force_rms_eV_per_A > 0.1


def test_errors_are_those_put_in(perfect):
    forces = perfect.forces.copy()
    forces[2] += [0.03, 0.0, 0.04]
    changed = replace(
        perfect,
        energies=perfect.energies + np.array([0.001, -0.003]),
        forces=forces,
        virials=perfect.virials + 0.02 * np.eye(3),
    )
    errors = frame_errors(changed)
    assert errors.energy_bias_meV_per_atom == pytest.approx(-1.0)
    assert errors.energy_rmse_meV_per_atom == pytest.approx(np.sqrt(5.0))
    assert errors.energy_max_meV_per_atom == pytest.approx(3.0)
    assert errors.force_max_meV_per_A == pytest.approx(50.0)
    assert errors.force_rmse_meV_per_A == pytest.approx(50.0 / np.sqrt(15.0))
    assert errors.virial_rmse_meV_per_atom == pytest.approx(20.0 / np.sqrt(3.0))
    expected = 0.02 / 20.0 * EV_PER_CUBIC_ANGSTROM_TO_GPA  # per atom: tr(W) / 3 V
    assert errors.pressure_bias_GPa == pytest.approx(expected)


def test_safe_atoms_are_those_up_to_the_threshold(perfect):
    forces = perfect.forces.copy()
    forces[1, 0] += 0.01
    forces[2, 0] += 0.02
    forces[4, 0] += 0.50
    check = safety_check(replace(perfect, forces=forces), perfect, gamma_low=2.0)
    assert check.table.n_called_safe == 3
    assert check.table.largest_error_called_safe == pytest.approx(0.02)
    assert check.largest_error_unsafe == pytest.approx(0.5)
    assert check.largest_training_error == 0.0


def test_groups_are_joined_by_a_part_of_their_name(perfect):
    named = {"frames/a/2x2x2/x": perfect, "frames/a/3x2x1/y": perfect, "frames/b/2x2x2/x": perfect}
    classes = by_key(named, 1)
    assert {name: len(one.energies) for name, one in classes.items()} == {"a": 4, "b": 2}
    assert joined([perfect, perfect]).grades.tolist() == [*perfect.grades, *perfect.grades]
