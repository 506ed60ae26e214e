"""The physics gate: what passes, what fails, and what it says."""

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.io.structures import structure_from_atoms

COPPER = structure_from_atoms(bulk("Cu", cubic=True))
GATE = PhysicsGate(min_distances={(29, 29): 1.6, (29, 79): 1.7})


def test_a_crystal_passes() -> None:
    assert GATE.violation(COPPER, start_volume=COPPER.volume) is None
    assert GATE.violation(COPPER, temperature=900.0, target_temperature=300.0) is None


def test_close_atoms_are_named_with_their_distance() -> None:
    positions = COPPER.positions.copy()
    positions[1] *= 0.5
    close = Structure(COPPER.numbers, positions, COPPER.cell)
    assert GATE.violation(close) == "Cu-Cu 1.276 Å, allowed from 1.600 Å"


def test_each_pair_of_elements_has_its_own_limit() -> None:
    positions = np.array([[0.0, 0.0, 0.0], [1.65, 0.0, 0.0]])
    cell = 6.0 * np.eye(3)
    assert GATE.violation(Structure(np.array([29, 29]), positions, cell)) is None
    assert "Cu-Au" in (GATE.violation(Structure(np.array([79, 29]), positions, cell)) or "")
    assert GATE.violation(Structure(np.array([79, 79]), positions, cell)) is None


def test_distance_to_an_own_image_counts() -> None:
    thin = Structure(np.array([29]), np.zeros((1, 3)), np.diag([1.5, 5.0, 5.0]))
    assert "1.500" in (GATE.violation(thin) or "")
    open_chain = Structure(np.array([29]), np.zeros((1, 3)), thin.cell, (False, True, True))
    assert GATE.violation(open_chain) is None


@pytest.mark.parametrize("ratio", [0.55, 1.8])
def test_volume_outside_the_range_fails(ratio: float) -> None:
    reason = GATE.violation(COPPER, start_volume=COPPER.volume / ratio)
    assert reason == f"volume {ratio:.3g} of the start, allowed 0.6 to 1.7"


def test_hot_frame_fails_and_nan_fails() -> None:
    assert "K" in (GATE.violation(COPPER, temperature=6000.0, target_temperature=300.0) or "")
    assert GATE.violation(COPPER, temperature=np.nan, target_temperature=300.0) is not None


def test_few_atoms_may_fluctuate_more() -> None:
    assert GATE.largest_temperature(300.0, 1) == 300.0 * 11 + 1500
    assert GATE.largest_temperature(300.0, 64) == 300.0 * 4 + 1500


def test_sound_two_atom_run_is_never_stopped_by_temperature() -> None:
    draws = np.random.default_rng(0).chisquare(3, 100_000) / 3 * 1500.0
    assert draws.max() < GATE.largest_temperature(1500.0, 2)


@pytest.mark.parametrize(
    "limits",
    [
        {"volume_ratio": (1.1, 1.7)},
        {"temperature_factor": 0.5},
        {"min_distances": {(79, 29): 1.6}},
        {"min_distances": {(29, 29): -1.0}},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, object]) -> None:
    with pytest.raises(InputError):
        PhysicsGate(**limits)
