"""A campaign with easy criteria reaches its certificate and delivers the certified model."""

import pytest

from nepal_flows.flows import run_campaign
from nepal_flows.schemas import ExplorationDoc, IterationDoc, LabelDoc, TrainingDoc


@pytest.fixture(scope="module")
def converged(write_campaign, tmp_path_factory):
    easy = {
        "exceedance": 0.9,
        "exceedance_extreme": 0.9,
        "rank_growth": 10.0,
        "negligible_error_meV_per_A": 1e6,
        "clean_rounds": 2,
    }
    path = write_campaign(
        tmp_path_factory.mktemp("converged"),
        convergence=easy,
        budget={"labels": 60, "iterations": 12},
        seeds={"n": 8, "n_atoms": 8},
        confirmation={"size_factor": 2.0},
    )
    return run_campaign(path)


def test_the_delivered_model_is_the_certified_one(converged):
    assert converged.campaign.end_state == "converged"
    last = max(converged.records.query(IterationDoc), key=lambda doc: doc.iteration)
    delivered = converged.records.load(TrainingDoc, converged.campaign.final_model_key)
    assert last.certificate is not None
    assert delivered.model_sha256 == last.certificate.model_sha256 == last.model_sha256
    assert delivered.stage == "final"


def test_the_certificate_rests_on_unused_seeds_in_larger_cells(converged):
    runs = list(converged.records.query(ExplorationDoc))
    confirmation = [run for run in runs if run.is_confirmation]
    before = [run for run in runs if not run.is_confirmation]
    assert confirmation
    assert {run.seed for run in confirmation}.isdisjoint(run.seed for run in before)
    assert min(run.n_atoms for run in confirmation) > max(run.n_atoms for run in before)


def test_the_certificate_says_what_it_does_not_cover_and_its_largest_error(converged):
    last = max(converged.records.query(IterationDoc), key=lambda doc: doc.iteration)
    assert last.certificate.not_covered
    assert {verdict.condition for verdict in last.certificate.conditions} == {"ramp", "vacancy"}
    for verdict in last.certificate.conditions:
        assert verdict.exceedance <= verdict.exceedance_upper_95
    assert converged.records.count(LabelDoc) == last.n_labels_total


def test_another_condition_reopens_a_converged_campaign(converged, write_campaign):
    n_rounds = converged.campaign.n_iterations
    folder = converged.directory.parent
    asked = converged.campaign.settings
    unchanged = run_campaign(folder / "campaign.yaml")
    assert (unchanged.campaign.end_state, unchanged.campaign.n_iterations) == (
        "converged",
        n_rounds,
    )
    hot = {
        "name": "hot",
        "start": {"n_atoms": 8},
        "stages": [{"temperature_K": 1200, "steps": 200}],
    }
    exploration = asked["exploration"]
    path = write_campaign(
        folder,
        convergence=asked["convergence"],
        budget={"labels": 60, "iterations": n_rounds + 1},
        seeds={"n": 8, "n_atoms": 8},
        confirmation={"size_factor": 2.0},
        exploration={**exploration, "conditions": [*exploration["conditions"], hot]},
    )
    again = run_campaign(path)
    last = max(again.records.query(IterationDoc), key=lambda doc: doc.iteration)
    assert {verdict.condition for verdict in last.conditions} == {"ramp", "vacancy", "hot"}
    assert (last.phase, last.n_clean_rounds) in {("loop", 0), ("loop", 1)}
    assert again.campaign.end_state == "budget_exhausted"
    assert again.campaign.n_iterations == n_rounds + 1
