"""Repeated structures are paired, whatever their images; their labels agree, or do not."""

import time

import numpy as np
import pytest

from nepal_flows.core.repeats import contradiction, repeated_structures
from nepal_flows.core.structure import LabelledStructure, Structure

CELL = 5.0 * np.eye(3)
NUMBERS = np.array([29, 29, 79, 79])


def structure(seed=0, noise=0.0):
    positions = 5.0 * np.random.default_rng(seed).random((4, 3))
    return Structure(NUMBERS, positions + noise, CELL)


def label(energy=-1.0, push=0.0):
    forces = np.tile([1.0, -1.0, 0.0], (4, 1))
    forces[0, 2] += push
    return LabelledStructure(structure(), energy, forces)


def test_repeated_structures_are_paired() -> None:
    rng = np.random.default_rng(0)
    positions = 5.0 * rng.random((4, 3))
    original = Structure(NUMBERS, positions, CELL)
    shifted = Structure(NUMBERS, positions + np.array([5.0, -10.0, 0.0]) + 1e-6, CELL)
    different = Structure(NUMBERS, positions + 0.01 * rng.standard_normal((4, 3)), CELL)
    swapped = Structure(NUMBERS[::-1].copy(), positions, CELL)
    strained = Structure(NUMBERS, positions, 1.01 * CELL)
    open_cell = Structure(NUMBERS, positions + np.array([5.0, 0, 0]), CELL, (False, True, True))
    frames = [original, different, shifted, swapped, strained, open_cell, different]
    assert repeated_structures(frames) == [(0, 2), (1, 6)]


def test_pairs_are_those_of_comparing_all_with_all() -> None:
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(300):
        cell = CELL + rng.uniform(-1e-5, 1e-5, (3, 3))
        images = rng.integers(-3, 4, (4, 3)) @ cell
        noise = rng.choice([0.0, 2e-5, 3e-4]) * rng.uniform(-1, 1, (4, 3))
        positions = structure(rng.integers(3)).positions + images + noise
        frames.append(Structure(NUMBERS, positions, cell))
    tolerance = 1.5e-4
    expected, firsts = [], []
    for index, frame in enumerate(frames):
        twin = next((k for k in firsts if _agree(frames[k], frame, tolerance)), None)
        if twin is None:
            firsts.append(index)
        else:
            expected.append((twin, index))
    assert 3 < len(firsts) < 150
    assert repeated_structures(frames, tolerance=tolerance) == expected


def _agree(first, second, tolerance):
    """Compare every image within reach of the other frame, one atom after the other."""
    if np.abs(first.cell - second.cell).max() > tolerance:
        return False
    for own, other in zip(first.positions, second.positions, strict=True):
        shift = np.round(np.linalg.solve(first.cell.T, other - own))
        if np.abs(other - own - shift @ first.cell).max() > tolerance:
            return False
    return True


def test_time_grows_with_the_number_of_frames_not_its_square() -> None:
    frames = [structure(seed) for seed in range(4000)]
    began = time.process_time()
    assert repeated_structures([*frames, *frames[:1000]]) == [(k, 4000 + k) for k in range(1000)]
    assert time.process_time() - began < 20.0  # comparing all with all takes minutes


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (label(), None),
        (label(energy=-1.0 + 3e-5), None),
        (label(energy=-1.01), "energies are -1.000000 and -1.010000 eV"),
        (label(push=0.001), None),
        (label(push=0.2), "forces differ by up to 0.2 eV/Å"),
    ],
)
def test_labels_of_one_structure_agree_within_rounding(second, reason) -> None:
    found = contradiction(label(), second)
    assert (found is None) if reason is None else (reason in found)


def test_energies_may_differ_by_the_work_of_the_forces() -> None:
    steep = 500.0 * np.ones((4, 3))
    first = LabelledStructure(structure(), -1.0, steep)
    second = LabelledStructure(structure(noise=9e-5), -1.0 - 12 * 500.0 * 9e-5, steep)
    assert contradiction(first, second) is None
