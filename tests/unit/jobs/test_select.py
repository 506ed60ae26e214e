"""Frames without force by symmetry are kept out of a selection where that is asked for."""

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.campaign.read import load_campaign
from nepal_flows.core.seeds import rattled
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.jobs.select import Found, _made_for, felt_frames
from nepal_flows.jobs.timing import total_cost
from nepal_flows.schemas import ActiveSetDoc, Cost, ExplorationDoc, TrainingDoc


@pytest.fixture
def frames():
    ideal = structure_from_atoms(bulk("Cu") * (2, 1, 1))
    moved = rattled(ideal, 0.1, np.random.default_rng(1))
    return [Found(structure, None, 10, 7.0) for structure in (ideal, moved)]


def test_all_frames_are_taken_by_default(frames):
    assert felt_frames(frames, 1.0) == frames


def test_ideal_frames_are_left_out_where_few_atoms_may_lack_a_force(frames):
    assert felt_frames(frames, 0.2) == [frames[1]]


@pytest.mark.parametrize(("trained_in", "expected_s"), [(3, 1110.0), (2, 110.0)])
def test_labels_are_paid_from_what_the_training_of_this_round_left(
    write_campaign, tmp_path, trained_in, expected_s
):
    def made(kind, cpu_s, iteration):
        return kind.model_construct(cost=Cost(cpu_s=cpu_s), iteration=iteration, model_key="m")

    class Stored:
        def load(self, kind, key):
            assert (kind, key) == (TrainingDoc, "m")
            return made(TrainingDoc, 1000.0, trained_in)

    spent = total_cost(
        _made_for(
            Stored(),
            load_campaign(write_campaign(tmp_path)).campaign,
            made(ActiveSetDoc, 10.0, 3),
            [made(ExplorationDoc, 50.0, 3), made(ExplorationDoc, 50.0, 3)],
            3,
        )
    )
    assert spent.cpu_s == expected_s
