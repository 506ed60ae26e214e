"""Whole campaigns that explore with `gpumd`, played by its stand-in."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from nepal_flows.errors import EngineError
from nepal_flows.flows import run_campaign
from nepal_flows.io.frames import unpack_frames
from nepal_flows.schemas import ExplorationDoc, IterationDoc, LabelDoc

STANDINS = Path(__file__).parents[1] / "standins"
BODY = "ensemble nvt_lan 500 500 50\nrun 60\nensemble nve\nrun 40\n"
EXPLORATION = {
    "engine": "gpumd",
    "time_step_fs": 2.5,
    "conditions": [
        {
            "name": "ramp",
            "start": {"n_atoms": 8},
            "stages": [{"temperature_K": [300, 900], "steps": 120}],
        },
        {"name": "own", "start": {"n_atoms": 8}, "run_in": BODY},
    ],
}
CHANGES = {"exploration": EXPLORATION, "budget": {"labels": 14, "iterations": 2}}


@pytest.fixture
def standins(monkeypatch):
    for program in ("gpumd", "nep"):
        command = shlex.join([sys.executable, str(STANDINS / f"{program}.py")])
        monkeypatch.setenv(f"NEPAL_{program.upper()}_COMMAND", command)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


def test_a_campaign_explores_with_gpumd_and_labels_what_it_found(
    write_campaign, tmp_path, standins
):
    run = run_campaign(write_campaign(tmp_path, **CHANGES))
    assert run.campaign.end_state == "budget_exhausted"
    runs = list(run.records.query(ExplorationDoc))
    assert {doc.engine for doc in runs} == {"gpumd"}
    assert {doc.program for doc in runs} == {"GPUMD 5.6"}
    assert {doc.condition for doc in runs} == {"ramp", "own"}
    assert all(doc.cost.gpu_s > 0.0 for doc in runs)
    whole = [doc for doc in runs if doc.outcome == "finished"]
    assert whole
    assert all(doc.finished_steps == doc.requested_steps for doc in whole)
    found = [doc for doc in runs if doc.candidates is not None]
    frames = unpack_frames(run.records.blobs.get(found[0].candidates.sha256))
    assert frames.scalars["gamma"].tolist() == [float(g.max()) for g in frames.arrays["gamma"]]
    sources = [label.ancestry.source for label in run.records.query(LabelDoc)]
    assert "exploration" in sources


def test_a_round_of_failures_is_not_taken_for_clean(
    write_campaign, tmp_path, standins, monkeypatch
):
    monkeypatch.setenv("STANDIN_FAULT", "oom")
    monkeypatch.setenv("STANDIN_FAULT_GRADED", "1")
    changes = CHANGES | {"budget": {"labels": 14, "iterations": 1}}
    run = run_campaign(write_campaign(tmp_path, **changes))
    assert {doc.outcome for doc in run.records.query(ExplorationDoc)} == {"out_of_memory"}
    (iteration,) = run.records.query(IterationDoc)
    assert not iteration.is_clean
    assert all(not verdict.is_clean for verdict in iteration.conditions)
    assert sum(verdict.n_stopped_runs for verdict in iteration.conditions) == 2


def test_grades_that_differ_end_the_campaign_before_anything_is_explored(
    write_campaign, tmp_path, standins, monkeypatch
):
    monkeypatch.setenv("STANDIN_GRADE_FACTOR", "2")
    with pytest.raises(EngineError, match="cannot be trusted"):
        run_campaign(write_campaign(tmp_path, **CHANGES))


def test_runs_are_made_once_after_an_interruption(write_campaign, tmp_path, standins):
    path = write_campaign(tmp_path, **(CHANGES | {"budget": {"labels": 14, "iterations": 1}}))
    first = run_campaign(path)
    keys = sorted(doc.key for doc in first.records.query(ExplorationDoc))
    again = run_campaign(path)
    assert sorted(doc.key for doc in again.records.query(ExplorationDoc)) == keys
    assert np.isfinite([doc.gamma_max for doc in again.records.query(ExplorationDoc)]).all()
