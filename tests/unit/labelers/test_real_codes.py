"""CP2K and pw.x where they are installed: gradients, signs, folding, ladders."""

import dataclasses
import shutil

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.io.structures import atoms_from_structure, structure_from_atoms
from nepal_flows.labelers import (
    Cp2kLabeler,
    Electrons,
    EspressoLabeler,
    KPointRule,
    label_structures,
)
from nepal_flows.labelers.consistency import check_consistency
from nepal_flows.settings import Settings

pytestmark = [pytest.mark.dft, pytest.mark.slow]

needs_pw = pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH")
needs_cp2k = pytest.mark.skipif(
    shutil.which("cp2k.psmp") is None, reason="cp2k.psmp is not on PATH"
)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings()


@pytest.fixture
def pw(silicon, settings) -> EspressoLabeler:
    folder = str(settings.pseudo_directory)
    labeler = EspressoLabeler(
        KPointRule.folded(silicon, grid=(4, 4, 4)), {"Si": "Si.pbe-rrkj.UPF"}, folder
    )
    labeler.check(["Si"])
    return labeler


@pytest.fixture
def cp2k(silicon, settings) -> Cp2kLabeler:
    labeler = Cp2kLabeler(
        KPointRule.folded(silicon, grid=(4, 4, 4)),
        elements=["Si"],
        data_directory=str(settings.cp2k_data_directory),
    )
    labeler.check(["Si"])
    return labeler


@needs_pw
def test_pw_is_consistent_on_silicon(pw, rattled, pool):
    found = check_consistency(pw, rattled, pool=pool, time_limit_s=120.0)
    assert found.problems == ()
    assert found.force_error < 1e-3
    assert found.stress_error < 2e-4
    assert found.doubling_error < 0.01


@needs_cp2k
def test_cp2k_is_consistent_on_silicon(cp2k, rattled, pool):
    found = check_consistency(cp2k, rattled, pool=pool, time_limit_s=300.0)
    assert found.problems == ()
    assert found.force_error < 1e-3
    assert found.stress_error < 2e-5
    assert found.doubling_error < 0.01


@needs_pw
def test_pw_gives_the_free_energy_of_a_smeared_metal(settings, pool):
    atoms = bulk("Al", a=4.0).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=4)
    labeler = EspressoLabeler(
        KPointRule.folded(structure_from_atoms(bulk("Al", a=4.0)), grid=(4, 4, 4)),
        {"Al": "Al.pz-vbc.UPF"},
        str(settings.pseudo_directory),
        ecutwfc_Ry=20.0,
        smearing_temperature_K=6000.0,
    )
    assert_force_is_the_slope(labeler, atoms, pool)


@needs_cp2k
def test_cp2k_gives_the_free_energy_of_a_smeared_metal(settings, pool):
    atoms = bulk("Al", a=4.0).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=4)
    labeler = Cp2kLabeler(
        KPointRule.folded(structure_from_atoms(bulk("Al", a=4.0)), grid=(4, 4, 4)),
        elements=["Al"],
        smearing_temperature_K=6000.0,
        data_directory=str(settings.cp2k_data_directory),
    )
    assert_force_is_the_slope(labeler, atoms, pool)


ASKED = {
    "spin": Electrons({"Si": 0.5}),
    "D3": Electrons(dispersion="D3"),
    "D3-BJ": Electrons(dispersion="D3-BJ"),
    "charge": Electrons(charge_e=1.0),
}


@needs_pw
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_pw_gives_gradients_with_spin_dispersion_and_charge(pw, rattled, pool, asked):
    labeler = dataclasses.replace(pw, electrons=asked)
    labeler = dataclasses.replace(labeler, kpoints=KPointRule("spacing", spacing=0.6))
    assert_force_is_the_slope(labeler, atoms_from_structure(rattled), pool)
    assert_virial_is_the_slope(labeler, rattled, pool)


@needs_cp2k
@pytest.mark.parametrize("asked", [ASKED["D3-BJ"], ASKED["charge"]], ids=["D3-BJ", "charge"])
def test_cp2k_gives_gradients_with_dispersion_and_charge(cp2k, rattled, pool, asked):
    rule = KPointRule("spacing", spacing=1.1)
    labeler = dataclasses.replace(cp2k, electrons=asked, kpoints=rule)
    assert_force_is_the_slope(labeler, atoms_from_structure(rattled), pool, step=0.005)
    assert_virial_is_the_slope(labeler, rattled, pool)


def assert_virial_is_the_slope(labeler, structure, pool):
    step = 0.002
    strained = [
        type(structure)(structure.numbers, structure.positions * s, structure.cell * s)
        for s in (1.0, 1.0 + step, 1.0 - step)
    ]
    outcomes = label_structures(labeler, strained, pool=pool)
    middle, plus, minus = (outcome.label for outcome in outcomes)
    slope = -(plus.energy - minus.energy) / (2.0 * step)
    assert np.trace(middle.virial) == pytest.approx(slope, abs=0.02, rel=0.01)


def assert_force_is_the_slope(labeler, atoms, pool, *, step=0.02):
    moved = [atoms.copy() for _ in range(3)]
    moved[1].positions[0, 0] += step
    moved[2].positions[0, 0] -= step
    outcomes = label_structures(labeler, [structure_from_atoms(a) for a in moved], pool=pool)
    assert [outcome.reason for outcome in outcomes] == [None] * 3
    middle, plus, minus = (outcome.label for outcome in outcomes)
    slope = -(plus.energy - minus.energy) / (2.0 * step)
    assert abs(middle.forces[0, 0]) > 0.1
    assert middle.forces[0, 0] == pytest.approx(slope, abs=2e-3)


@needs_pw
def test_every_rung_of_pw_finds_the_same_label(pw, rattled, tmp_path):
    labels = []
    for number, rung in enumerate(pw.ladder()):
        (tmp_path / str(number)).mkdir()
        labels.append(pw.label(rattled, tmp_path / str(number), helpers=rung.changed))
    for label in labels[1:]:
        assert label.energy == pytest.approx(labels[0].energy, abs=1e-5)
        np.testing.assert_allclose(label.forces, labels[0].forces, atol=1e-3)
        np.testing.assert_allclose(label.virial, labels[0].virial, atol=1e-2)


@needs_cp2k
def test_every_rung_of_cp2k_finds_the_same_label(cp2k, rattled, tmp_path):
    labels = []
    for number, rung in enumerate(cp2k.ladder()):
        (tmp_path / str(number)).mkdir()
        labels.append(cp2k.label(rattled, tmp_path / str(number), helpers=rung.changed))
    for label in labels[1:]:
        assert label.energy == pytest.approx(labels[0].energy, abs=1e-5)
        np.testing.assert_allclose(label.forces, labels[0].forces, atol=1e-3)
        np.testing.assert_allclose(label.virial, labels[0].virial, atol=1e-2)


@needs_pw
def test_ladder_rescues_a_label_that_pw_did_not_converge(pw, rattled, pool):
    hasty = dataclasses.replace(pw, input_data={"electrons": {"electron_maxstep": 2}})
    (outcome,) = label_structures(hasty, [rattled], pool=pool, time_limit_s=120.0)
    assert outcome.label is not None
    assert [attempt.rung for attempt in outcome.attempts] == ["default", "slower mixing"]
    assert "NOT achieved" in outcome.attempts[0].error
