"""Phonons at Gamma, X and L agree with an analytic crystal of springs."""

from dataclasses import replace

import numpy as np
import pytest
from ase.data import atomic_masses

from nepal_flows.units import ACCELERATION_FACTOR
from silicon.cells import primitive_cell
from silicon.elasticity import elastic_constants
from silicon.phonons import phonons

pytest.importorskip("phonopy")

LATTICE_CONSTANT_A = 5.43
SPRING = 3.0  # eV/Å^2


def _frequency_THz(stiffness_over_mass: float) -> float:
    """From eV/(Å^2 amu)."""
    return 1000.0 * np.sqrt(ACCELERATION_FACTOR * stiffness_over_mass) / (2.0 * np.pi)


@pytest.fixture(scope="module")
def springs(make_springs):
    evaluate = make_springs(SPRING, LATTICE_CONSTANT_A)
    return phonons(evaluate, primitive_cell(LATTICE_CONSTANT_A))


@pytest.mark.parametrize(("point", "phase"), [("Γ", 1.0), ("X", 0.0), ("L", 0.5)])
def test_springs_have_their_analytic_frequencies(springs, point, phase):
    over_mass = 4.0 * SPRING / atomic_masses[14]
    low, high = _frequency_THz(over_mass * (1.0 - phase)), _frequency_THz(over_mass * (1.0 + phase))
    expected = [low, low, low, high, high, high]
    for found in springs.at_points[point]:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_equivalent_wave_vectors_agree(springs):
    assert max(springs.spreads.values()) < 1e-3


def test_modes_are_means_over_what_symmetry_makes_equal(springs):
    changed = {name: values.copy() for name, values in springs.at_points.items()}
    changed["X"][0, 4] += 0.6
    split = replace(springs, at_points=changed)
    assert split.modes["X, TO"] == pytest.approx(springs.modes["X, TO"] + 0.1)
    assert split.spreads["X, TO"] == pytest.approx(0.5, abs=1e-3)
    assert split.modes["X, TA"] == springs.modes["X, TA"]


def test_path_meets_the_points(springs):
    to_gamma, to_x = springs.path
    np.testing.assert_allclose(to_gamma[0], springs.at_points["L"][-1], atol=1e-3)
    np.testing.assert_allclose(to_gamma[-1], springs.at_points["Γ"][0], atol=1e-3)
    np.testing.assert_allclose(to_x[-1], springs.at_points["X"][1], atol=1e-3)


def test_gamma_agrees_with_force_constants_of_the_primitive_cell(tersoff):
    crystal = primitive_cell(5.432)
    optical = phonons(tersoff, crystal).at_points["Γ"][0, 3:]
    constants = elastic_constants(tersoff, crystal).force_constants
    largest = np.linalg.eigvalsh(constants)[3:] / atomic_masses[14]
    np.testing.assert_allclose(optical, [_frequency_THz(x) for x in largest], rtol=2e-3)
