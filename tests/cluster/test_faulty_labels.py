"""Labels that fail in many ways are put aside with their reasons; the campaign goes on without."""

import os
from collections import Counter
from pathlib import Path

import pytest

from nepal_flows.schemas import LabelDoc, TrainingDoc

pytestmark = [pytest.mark.integration, pytest.mark.cluster]

TEACHERS = Path(__file__).parents[1] / "flows"
LABELS = {
    "code": "ase",
    "calculator": "calculators:FailsInManyWays",
    "time_limit_s": 20,
    "retries": 0,
    "max_failed_fraction": 0.9,
}
WAYS = ("wrong phase", "NaN", "time limit of 20 s", "killed by SIGKILL")


def test_campaign_whose_labels_fail_in_many_ways_comes_to_its_end(
    site, write_campaign, monkeypatch
):
    monkeypatch.syspath_prepend(TEACHERS)
    monkeypatch.setenv("NEPAL_CALCULATORS", "calculators")
    site.settings["PYTHONPATH"] = f"{TEACHERS}:{os.environ.get('PYTHONPATH', '')}"
    path = write_campaign(
        site.folder / "campaign",
        labels=LABELS,
        seeds={"n": 30, "n_atoms": 8},
        budget={"labels": 40, "iterations": 2},
    )
    site.submit(path)
    with site.workers(["cpu", "dft", "dft"]):
        ended = site.wait(timeout_s=900.0)
    assert ended.end_state == "budget_exhausted"
    labels = list(site.records.query(LabelDoc))
    failed = [label for label in labels if label.status == "quarantined"]
    assert 0.2 < len(failed) / len(labels) < 0.6
    found = Counter(way for label in failed for way in WAYS if way in label.reason)
    assert set(found) == set(WAYS), [label.reason for label in failed]
    assert sum(found.values()) == len(failed)
    final = site.records.load(TrainingDoc, ended.final_model_key)
    trained = [label for label in labels if label.status == "done" and label.role == "train"]
    assert final.n_structures == len(trained)
    assert str(len(failed)) in site.nepal("query", "labels", "-c", "small", "--failed").stdout
