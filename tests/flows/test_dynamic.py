"""Dynamic training: trajectories that are interrupted, labelled, and go on from the same state."""

import itertools

import numpy as np
import pytest
import resuming

from nepal_flows.flows import run_campaign
from nepal_flows.io.frames import unpack_arrays, unpack_frames
from nepal_flows.records import structure_key
from nepal_flows.schemas import ExplorationDoc, IterationDoc, LabelDoc, SelectionDoc

N_STEPS, N_SEEDS = 300, 8
CONDITIONS = [
    {
        "name": "ramp",
        "start": {"n_atoms": 8},
        "stages": [
            {"ensemble": "nvt", "temperature_K": [300, 1200], "steps": 200},
            {"ensemble": "nvt", "temperature_K": 1200, "steps": 100},
        ],
    }
]


def campaign(write_campaign, folder, **changes):
    settings = {
        "exploration": {
            "time_step_fs": 2.5,
            "dynamic": {"limit_meV_per_A": 250, "gap_steps": 30, "expected_error_ratio": 50.0},
            "conditions": CONDITIONS,
        },
        "selection": {"criterion": "bayes", "audit_per_iteration": 0},
        "seeds": {"n": N_SEEDS, "n_atoms": 8},
        "budget": {"labels": 40, "iterations": 30},
        "convergence": {
            "exceedance": 0.95,
            "rank_growth": 10.0,
            "negligible_error_meV_per_A": 1e6,
            "clean_rounds": 1,
        },
        "confirmation": {"size_factor": 2.0},
    }
    return write_campaign(folder, **(settings | changes))


@pytest.fixture(scope="module")
def converged(write_campaign, tmp_path_factory):
    return run_campaign(campaign(write_campaign, tmp_path_factory.mktemp("dynamic")))


def rounds(run):
    """Return the documents of the rounds and of their only runs, in order."""
    iterations = sorted(run.records.query(IterationDoc), key=lambda doc: doc.iteration)
    return [(doc, run.records.load(ExplorationDoc, doc.exploration_keys[0])) for doc in iterations]


def test_an_interrupted_trajectory_goes_on_from_the_same_state(converged):
    blobs = converged.records.blobs
    n_interrupted = 0
    for (_, before), (_, run) in itertools.pairwise(rounds(converged)):
        if before.end_state is None or run.is_confirmation:
            assert run.first_step == 0
            continue
        n_interrupted += 1
        assert before.outcome == "stopped_by_grade"
        assert "error bar" in before.reason
        assert run.first_step == before.first_step + before.finished_steps
        assert run.requested_steps == N_STEPS - run.first_step
        assert unpack_arrays(blobs.get(run.trace))["step"][0] == run.first_step + 10
    assert n_interrupted > 0


def test_the_frame_that_interrupted_is_what_is_labelled(converged):
    records = converged.records
    for document, run in rounds(converged):
        if run.end_state is None:
            continue
        selection = records.load(SelectionDoc, document.selection_key)
        (frame,) = unpack_frames(records.blobs.get(run.candidates)).structures
        keys = [entry.structure_key for entry in selection.selected]
        assert keys in ([structure_key(frame)], [])  # nothing, where it repeats a labelled frame
        state = unpack_arrays(records.blobs.get(run.end_state))
        np.testing.assert_array_equal(state["positions"], frame.positions)


def test_convergence_costs_no_label_and_ends_in_a_larger_cell(converged):
    assert converged.campaign.end_state == "converged"
    (last, run) = rounds(converged)[-1]
    assert last.checks["expected_errors"]
    assert "holdout_steady" not in last.checks
    assert last.n_labels_holdout == 0
    assert run.is_confirmation
    assert (run.n_atoms, run.first_step, run.end_state) == (16, 0, None)
    quiet = [run for _, run in rounds(converged) if run.outcome == "finished"]
    assert max(run.largest_bar_meV_per_A for run in quiet if not run.is_confirmation) <= 250
    n_asked = N_SEEDS + sum(run.end_state is not None for _, run in rounds(converged))
    assert converged.records.count(LabelDoc) <= n_asked + run.n_candidates


def test_kills_leave_dynamic_training_bitwise_as_it_would_have_been(write_campaign, tmp_path):
    """Both in processes of their own, whose linear algebra has one thread."""
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "killed").mkdir()
    undisturbed = campaign(write_campaign, tmp_path / "undisturbed")
    assert resuming.run(undisturbed).returncode == 0
    path = campaign(write_campaign, tmp_path / "killed")
    for stage, number in (("posterior", 1), ("explore", 3), ("select", 1), ("posterior", 2)):
        process = resuming.run(path, stage, str(number))
        assert process.returncode == -9, process.stderr
        assert process.stdout.strip() == f"killed in {stage}"
    assert resuming.run(path).returncode == 0
    assert resuming.contents(path) == resuming.contents(undisturbed)
