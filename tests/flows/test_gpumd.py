"""Whole campaigns that explore with `gpumd`, played by its stand-in."""

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.nep.model import model_from_parameters
from nepal_flows.errors import EngineError
from nepal_flows.flows import run_campaign
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.nep_outputs import LOSS_COLUMNS
from nepal_flows.io.nep_restart import format_restart
from nepal_flows.io.nep_txt import model_sha256, write_nep_txt
from nepal_flows.schemas import (
    CheckpointDoc,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    TrainingDoc,
)

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


NEP = {
    "trainer": "nep",
    "warm_start": "always",
    "nep": {
        "generations": 800,
        "warm_generations": 400,
        "final_generations": 1200,
        "batch": 50,
        "checkpoint_interval_s": 0.2,
    },
}


@pytest.fixture
def standins(monkeypatch):
    for program in ("gpumd", "nep"):
        command = shlex.join([sys.executable, str(STANDINS / f"{program}.py")])
        monkeypatch.setenv(f"NEPAL_{program.upper()}_COMMAND", command)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


@pytest.fixture
def finished(write_campaign, tmp_path, standins, monkeypatch):
    """Return a campaign with `gpumd` and `nep` whose first training was killed."""
    counter = tmp_path / "faults"
    counter.write_text("1")
    monkeypatch.setenv("STANDIN_FAULT_COUNT", str(counter))
    monkeypatch.setenv("STANDIN_NEP_FAULT", "killed")
    path = write_campaign(tmp_path, training=NEP, **CHANGES)
    with pytest.raises(EngineError, match="goes on from the last checkpoint"):
        run_campaign(path)
    return run_campaign(path)


def test_a_campaign_on_gpumd_and_nep_survives_a_kill_and_ends_with_a_model(finished):
    run = finished
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
    assert "exploration" in [label.ancestry.source for label in run.records.query(LabelDoc)]

    models = sorted(run.records.query(TrainingDoc), key=lambda doc: doc.created_at)
    assert {doc.trainer for doc in models} == {"nep"}
    assert {doc.program for doc in models} == {"nep 5.6"}
    assert all(doc.cost.gpu_s > 0.0 for doc in models)
    assert [doc.best_step for doc in models] == [800, 400, 1200]
    assert [doc.parent_model_sha256 for doc in models[1:]] == [
        doc.model_sha256 for doc in models[:-1]
    ]
    assert run.records.count(CheckpointDoc) == 0
    for doc in models:
        assert model_sha256(run.records.blobs.get(doc.model)) == doc.model_sha256
        history = run.records.blobs.get(doc.history).decode().splitlines()
        assert [int(line.split()[0]) for line in history] == list(
            range(100, doc.best_step + 1, 100)
        )
        assert {len(line.split()) for line in history} == {len(LOSS_COLUMNS)}


def test_a_foundation_model_reaches_the_trainer_through_the_store(
    write_campaign, tmp_path, standins, monkeypatch
):
    log = tmp_path / "log"
    monkeypatch.setenv("STANDIN_LOG", str(log))
    files = {"model": "f.txt", "restart": "f.restart"}
    nep = NEP["nep"] | {"fine_tune": files}
    changes = {"training": NEP | {"nep": nep}, "budget": {"labels": 14, "iterations": 1}}
    path = write_campaign(tmp_path, **changes)
    write_foundation(tmp_path)
    run = run_campaign(path)
    assert run.campaign.end_state == "budget_exhausted"
    cold, final = sorted(run.records.query(TrainingDoc), key=lambda doc: doc.created_at)
    stored = [blob.sha256 for blob in run.campaign.foundation]
    assert cold.settings["foundation"] == stored
    assert run.records.blobs.get(stored[0]) == (tmp_path / "f.txt").read_bytes()
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert "fine_tune       foundation.txt foundation.restart" in calls[0]["nep_in"]
    assert "fine_tune" not in calls[-1]["nep_in"]
    assert "import_q_scaler 1" in calls[-1]["nep_in"]
    assert final.parent_model_sha256 == cold.model_sha256


def write_foundation(folder: Path) -> None:
    """Write a model of 89 elements in the shape of the small campaign."""
    shape = {"cutoff": (4.0, 3.5), "n_max": (2, 2), "basis_size": (4, 4), "l_max": (2, 0, 0)}
    architecture = NepInput(type=SYMBOLS[1:90], neuron=4, **shape).architecture
    parameters = 0.1 * np.random.default_rng(1).standard_normal(architecture.n_parameters)
    scaler = np.full(architecture.n_descriptors, 0.5)
    write_nep_txt(model_from_parameters(architecture, parameters, scaler), folder / "f.txt")
    rows = np.column_stack([parameters, np.full(len(parameters), 0.1)])
    (folder / "f.restart").write_text(format_restart(rows))


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


def test_a_committee_explores_with_gpumd(write_campaign, tmp_path, standins, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("STANDIN_LOG", str(log))
    conditions = [EXPLORATION["conditions"][0] | {"stages": [{"temperature_K": 600, "steps": 60}]}]
    path = write_campaign(
        tmp_path,
        exploration=EXPLORATION | {"conditions": conditions},
        selection={"criterion": "committee", "committee": {"n_models": 3}},
        budget={"labels": 10, "iterations": 1},
    )
    run = run_campaign(path)
    (explored,) = run.records.query(ExplorationDoc)
    assert (explored.score, explored.outcome, explored.n_checks) == ("spread", "finished", 6)
    assert explored.largest_bar_meV_per_A > 0.0
    calls = [json.loads(line)["run_in"] for line in log.read_text().splitlines()]
    assert all(call.count("potential nep") == 3 for call in calls)
    assert "active 10 0 0 0 0" in calls[-1]
    (iteration,) = run.records.query(IterationDoc)
    assert iteration.costs["committee"].wall_s > 0.0
