"""A campaign from its file to its end, and what happens on the way when things go wrong."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.flows import run_campaign
from nepal_flows.io.nep_txt import model_sha256
from nepal_flows.records import CampaignLock
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
)

HERE = Path(__file__).parent


def edit(path: Path, **changes) -> None:
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))


@pytest.fixture(scope="module")
def finished(write_campaign, tmp_path_factory):
    """Return a campaign that has used up its three iterations."""
    path = write_campaign(tmp_path_factory.mktemp("finished"))
    return path, run_campaign(path)


def test_campaign_ends_with_a_state_reasons_and_a_model(finished):
    _, run = finished
    assert run.campaign.end_state == "budget_exhausted"
    assert any("iterations" in reason for reason in run.campaign.end_reasons)
    model = run.records.load(TrainingDoc, run.campaign.final_model_key)
    assert model.stage == "final"
    assert model_sha256(run.records.blobs.get(model.model)) == model.model_sha256


def test_active_sets_belong_to_the_models_that_explored(finished):
    _, run = finished
    models = {model.model_sha256 for model in run.records.query(TrainingDoc)}
    graders = {doc.key: doc.model_sha256 for doc in run.records.query(ActiveSetDoc)}
    assert set(graders.values()) == models
    for doc in run.records.query(ExplorationDoc):
        assert graders[doc.active_set_key] == doc.model_sha256


def test_every_training_frame_has_an_ancestry(finished):
    _, run = finished
    explorations = {doc.key: doc for doc in run.records.query(ExplorationDoc)}
    from_md = [
        label for label in run.records.query(LabelDoc) if label.ancestry.source == "exploration"
    ]
    assert from_md
    for label in from_md:
        parent = explorations[label.ancestry.run_key]
        assert parent.model_sha256 == label.ancestry.model_sha256
        assert 0 < label.ancestry.step <= parent.finished_steps
        assert label.ancestry.gamma <= parent.gamma_max + 1e-9


def test_held_out_labels_are_never_trained_on(finished):
    _, run = finished
    selections = list(run.records.query(SelectionDoc))
    roles = Counter(frame.role for doc in selections for frame in doc.selected)
    last = max(run.records.query(IterationDoc), key=lambda doc: doc.iteration)
    assert roles["holdout"] == last.n_labels_holdout > 0
    final = run.records.load(TrainingDoc, run.campaign.final_model_key)
    assert final.n_structures == roles["train"] == last.n_labels_training


def test_budget_of_labels_is_kept(finished):
    path, run = finished
    budget = yaml.safe_load(path.read_text())["budget"]["labels"]
    assert run.records.count(LabelDoc) <= budget


def test_running_again_makes_nothing_new(finished):
    path, run = finished
    kinds = (LabelDoc, TrainingDoc, ActiveSetDoc, ExplorationDoc, SelectionDoc, IterationDoc)
    before = {kind: sorted(doc.key for doc in run.records.query(kind)) for kind in kinds}
    again = run_campaign(path)
    after = {kind: sorted(doc.key for doc in again.records.query(kind)) for kind in kinds}
    assert after == before
    assert again.campaign.final_model_key == run.campaign.final_model_key
    assert again.campaign.end_state == run.campaign.end_state


def test_a_larger_budget_carries_on_where_the_campaign_ended(write_campaign, tmp_path):
    path = write_campaign(tmp_path, budget={"labels": 14, "iterations": 1})
    first = run_campaign(path)
    edit(path, budget={"labels": 14, "iterations": 2})
    second = run_campaign(path)
    assert (first.campaign.n_iterations, second.campaign.n_iterations) == (1, 2)
    assert second.records.count(IterationDoc) == 2


def test_another_model_under_the_same_name_is_refused(write_campaign, tmp_path):
    path = write_campaign(tmp_path, budget={"labels": 14, "iterations": 1})
    run_campaign(path)
    model = yaml.safe_load(path.read_text())["model"]
    edit(path, model=model | {"neuron": 5})
    with pytest.raises(CampaignError, match="`model`"):
        run_campaign(path)


def test_pause_waits_for_approval_at_every_batch(write_campaign, tmp_path):
    path = write_campaign(tmp_path, pause_before_label=True, budget={"labels": 14, "iterations": 1})
    run = run_campaign(path)
    assert run.waiting_selection is not None
    assert run.records.count(LabelDoc) == 0
    run = run_campaign(path)
    assert run.records.count(LabelDoc) == 0
    run = run_campaign(path, approve=True)
    assert run.records.count(LabelDoc) == 4
    assert run.campaign.end_state is None
    run = run_campaign(path, approve=True)
    assert run.campaign.end_state == "budget_exhausted"


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ("Raises", "the moon is in the wrong phase"),
        ("Hangs", "time limit of 3 s"),
        ("Garbage", "NaN"),
    ],
)
def test_a_teacher_that_fails_ends_the_campaign_with_its_words(
    write_campaign, tmp_path, monkeypatch, teacher, words
):
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    monkeypatch.setenv("NEPAL_CALCULATORS", "calculators")
    labels = {
        "code": "ase",
        "calculator": f"calculators:{teacher}",
        "time_limit_s": 3,
        "retries": 0,
    }
    path = write_campaign(tmp_path, labels=labels, seeds={"n": 2, "n_atoms": 8})
    with pytest.raises(LabelError, match=words):
        run_campaign(path)
    quarantined = run_campaign_records(path)
    assert {label.status for label in quarantined} == {"quarantined"}
    assert all(words in label.reason for label in quarantined)


def run_campaign_records(path: Path) -> list[LabelDoc]:
    """Return the labels of a campaign that failed, and check that it says so."""
    from nepal_flows.records import Records, embedded_job_store

    records = Records(embedded_job_store(path.parent / "small" / "store"))
    (campaign,) = records.query(CampaignDoc)
    assert campaign.end_state == "failed"
    return list(records.query(LabelDoc))


def test_a_few_failed_labels_are_quarantined_and_the_campaign_goes_on(
    write_campaign, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    monkeypatch.setenv("NEPAL_CALCULATORS", "calculators")
    labels = {
        "code": "ase",
        "calculator": "calculators:FailsOnLoneVacancies",
        "retries": 0,
        "max_failed_fraction": 0.9,
    }
    seeds = {"n": 6, "n_atoms": 8, "vacancy_probability": 0.5}
    budget = {"labels": 14, "iterations": 1}
    path = write_campaign(tmp_path, labels=labels, seeds=seeds, budget=budget)
    run = run_campaign(path)
    states = Counter(label.status for label in run.records.query(LabelDoc))
    assert states["quarantined"] > 0
    final = run.records.load(TrainingDoc, run.campaign.final_model_key)
    assert final.n_structures == sum(
        label.status == "done" and label.role == "train" for label in run.records.query(LabelDoc)
    )


def test_two_runs_of_one_campaign_at_once_are_refused(write_campaign, tmp_path):
    path = write_campaign(tmp_path)
    (tmp_path / "small").mkdir()
    with CampaignLock(tmp_path / "small"):
        code = (
            "import sys\nfrom nepal_flows.flows import run_campaign\n"
            "from nepal_flows.errors import CampaignLockedError\n"
            "try:\n    run_campaign(sys.argv[1])\n"
            "except CampaignLockedError as error:\n    print('refused:', error)\n"
        )
        command = [sys.executable, "-W", "ignore", "-c", code, str(path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.startswith("refused:"), result.stderr


def test_retry_makes_the_failed_labels_of_finished_iterations_too(
    write_campaign, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    monkeypatch.setenv("NEPAL_CALCULATORS", "calculators")
    flag = tmp_path / "broken"
    flag.touch()
    labels = {
        "code": "ase",
        "calculator": "calculators:FailsWhileFlagged",
        "arguments": {"flag": str(flag)},
        "retries": 0,
        "max_failed_fraction": 0.9,
    }
    seeds = {"n": 6, "n_atoms": 8, "vacancy_probability": 0.5}
    budget = {"labels": 14, "iterations": 1}
    path = write_campaign(tmp_path, labels=labels, seeds=seeds, budget=budget)
    run = run_campaign(path)
    assert run.records.count(LabelDoc, {"status": "quarantined"}) > 0
    n_labels = run.records.count(LabelDoc)
    flag.unlink()
    edit(path, budget={"labels": 14, "iterations": 2})
    run = run_campaign(path, retry_failed=True)
    assert run.records.count(LabelDoc, {"status": "quarantined"}) == 0
    assert run.records.count(LabelDoc) >= n_labels
    assert run.records.count(IterationDoc) == 2
