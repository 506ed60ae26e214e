"""A campaign whose labels are VASP's, by a stand-in that computes and sometimes fails."""

import shlex
import sys
from pathlib import Path

import pytest

from nepal_flows.flows import run_campaign
from nepal_flows.schemas import LabelDoc, TrainingDoc

STANDIN = Path(__file__).parents[1] / "standins/vasp.py"


@pytest.mark.slow
def test_campaign_with_vasp_ends_with_a_model_and_its_corrections_on_record(
    write_campaign, tmp_path, monkeypatch
):
    monkeypatch.setenv("NEPAL_VASP_POTCAR_SPEC", "true")
    command = [sys.executable, str(STANDIN), "--fail", "bands", "--times", "1"]
    monkeypatch.setenv("NEPAL_VASP_COMMAND", shlex.join(command))
    labels = {
        "code": "vasp",
        "kpoints": {"mode": "spacing", "spacing_per_A": 1.0},
        "smearing_temperature_K": 2000,
    }
    budget = {"labels": 6, "iterations": 1}
    path = write_campaign(tmp_path, labels=labels, budget=budget, seeds={"n": 4, "n_atoms": 4})
    run = run_campaign(path)
    assert run.campaign.end_state == "budget_exhausted"
    found = list(run.records.query(LabelDoc))
    assert len(found) >= 4
    assert {label.status for label in found} == {"done"}
    assert {label.correction_effect for label in found} == {"harmless"}
    assert {label.labeler_version for label in found} == {"VASP 6.4.2"}
    assert len({label.settings_key for label in found}) == 1
    assert run.records.load(TrainingDoc, run.campaign.final_model_key).stage == "final"
