"""A handful of real DFT labels: the short silicon campaigns, made shorter still."""

import shutil
from pathlib import Path

import pytest
import yaml

from nepal_flows.flows import run_campaign
from nepal_flows.report import build_report, report_data
from nepal_flows.schemas import LabelDoc, TrainingDoc

WORKFLOWS = Path(__file__).parents[2] / "workflows"
PROGRAMS = {"silicon-espresso-short": "pw.x", "silicon-cp2k-short": "cp2k.psmp"}


@pytest.mark.dft
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PROGRAMS)
def test_silicon_campaign_goes_from_structure_to_report_with_real_labels(name, tmp_path):
    if shutil.which(PROGRAMS[name]) is None:
        pytest.skip(f"{PROGRAMS[name]} is not installed")
    shutil.copytree(WORKFLOWS / "structures", tmp_path / "structures")
    content = yaml.safe_load((WORKFLOWS / f"{name}.yaml").read_text())
    content["seeds"] |= {"n": 3, "n_atoms": [2, 4]}
    content["selection"] = {"labels_per_iteration": 1, "audit_per_iteration": 1}
    content["budget"] = {"labels": 5, "iterations": 1}
    content["training"] = {"adam_steps": 200, "lbfgs_steps": 20, "final_adam_steps": 400}
    for condition in content["exploration"]["conditions"]:
        condition["start"]["n_atoms"] = 4
        condition["stages"][0]["steps"] = 200
    path = tmp_path / "campaign.yaml"
    path.write_text(yaml.safe_dump(content))
    run = run_campaign(path)
    assert run.campaign.end_state == "budget_exhausted"
    labels = list(run.records.query(LabelDoc))
    assert len(labels) >= 3
    assert {label.status for label in labels} == {"done"}
    seeds = [label for label in labels if label.ancestry.source == "seed"]
    energies = [label.energy_eV / label.n_atoms for label in seeds]
    assert 0.0 < max(energies) - min(energies) < 2.0  # the last seed is rattled by 0.2 Å
    model = run.records.load(TrainingDoc, run.campaign.final_model_key)
    assert model.training_errors.reference_force_rms_meV_per_A > 10.0
    page = build_report(report_data(run.records, run.campaign.key))
    assert run.campaign.name in page
