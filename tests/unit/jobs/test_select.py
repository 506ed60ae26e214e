"""Frames without force by symmetry are kept out of a selection where that is asked for."""

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.core.seeds import rattled
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.jobs.select import Found, felt_frames


@pytest.fixture
def frames():
    ideal = structure_from_atoms(bulk("Cu") * (2, 1, 1))
    moved = rattled(ideal, 0.1, np.random.default_rng(1))
    return [Found(structure, None, 10, 7.0) for structure in (ideal, moved)]


def test_all_frames_are_taken_by_default(frames):
    assert felt_frames(frames, 1.0) == frames


def test_ideal_frames_are_left_out_where_few_atoms_may_lack_a_force(frames):
    assert felt_frames(frames, 0.2) == [frames[1]]
