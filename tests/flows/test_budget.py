"""Core-hours are checked before labels are bought, by a forecast learnt from the campaign's own."""

import pytest
import yaml

from nepal_flows.campaign.label_costs import LabelCosts, affordable
from nepal_flows.campaign.read import load_campaign
from nepal_flows.flows import run_campaign
from nepal_flows.flows.steps import next_step
from nepal_flows.labelers import label
from nepal_flows.report.newest import newest_data
from nepal_flows.report.outlook import outlook_of
from nepal_flows.report.summary import summary_lines
from nepal_flows.schemas import Cost, IterationDoc, LabelDoc, SelectionDoc

PRICE_H = 1.0
"""What every label is said to have cost: far more than all else."""


@pytest.fixture
def dear_labels(monkeypatch):
    """Make every label cost an hour."""
    original = label._outcome

    def dear(item, answer):
        item.cost = item.cost.model_copy(update={"cpu_s": 3600.0 * PRICE_H})
        return original(item, answer)

    monkeypatch.setattr(label, "_outcome", dear)


def test_first_items_that_fit_are_paid():
    assert affordable([1.0, 2.0, 3.0], 3.0) == 2
    assert affordable([1.0, 2.0, 3.0], 0.5) == 0
    assert affordable([], 1.0) == 0


def test_batch_is_cut_to_the_hours_that_are_left_and_goes_on_when_they_are_raised(
    write_campaign, tmp_path, dear_labels
):
    path = write_campaign(tmp_path)
    content = yaml.safe_load(path.read_text())
    n_seeds = content["seeds"]["n"]
    content["budget"]["core_hours"] = PRICE_H * (n_seeds + 2.5)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    run = run_campaign(path)
    assert run.campaign.end_state == "budget_exhausted"
    assert any("core-hours are wanted" in reason for reason in run.campaign.end_reasons)
    assert run.records.count(LabelDoc) == n_seeds + 2
    last = max(run.records.query(IterationDoc), key=lambda doc: doc.iteration)
    assert last.core_hours_total == pytest.approx(PRICE_H * (n_seeds + 2), rel=0.05)
    assert last.core_hours_unpaid > 0.5 * PRICE_H
    chosen = [doc for doc in run.records.query(SelectionDoc) if doc.iteration is not None]
    assert sum(len(doc.selected) for doc in chosen) == 2

    content["budget"]["core_hours"] *= 100.0
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    campaign = load_campaign(path).campaign
    assert next_step(last, campaign).end_state is None
    again = run_campaign(path)
    assert again.records.count(LabelDoc) > n_seeds + 2


def test_expected_cost_is_learnt_from_labels(write_campaign, tmp_path, dear_labels):
    path = write_campaign(tmp_path)
    run = run_campaign(path)
    loaded = load_campaign(path)
    first = LabelCosts(loaded.campaign, 1)
    labels = list(run.records.query(LabelDoc))
    learnt = first.learnt(labels)
    structure = loaded.structures[0]
    assert first.cpu_s(structure) < 1.0
    assert 0.5 < learnt.cpu_s(structure) / (3600.0 * PRICE_H) < 2.0


def iteration(**changes):
    """Return the document of a first round in which nothing was wrong."""
    fields = {"key": "k", "campaign_id": "c", "iteration": 0, "phase": "loop", "is_clean": False}
    fields |= {"n_labels_total": 5, "n_labels_failed": 0, "n_clean_rounds": 0, "reasons": []}
    fields |= {"model_key": "m"}
    return IterationDoc.model_construct(**fields | changes)


def test_no_round_begins_that_would_go_beyond_the_gpu_hours(write_campaign, tmp_path):
    def step(gpu_hours):
        budget = {"labels": 40, "iterations": 9, "gpu_hours": gpu_hours}
        campaign = load_campaign(write_campaign(tmp_path, budget=budget)).campaign
        costs = {"train": Cost(gpu_s=1800.0), "explore": Cost(gpu_s=5400.0)}
        return next_step(iteration(costs=costs, gpu_hours_total=2.0), campaign)

    assert step(4.5).end_state is None
    ended = step(3.5)
    assert ended.end_state == "budget_exhausted"
    assert "Another round would take some 2 GPU-hours" in ended.reasons[0]
    assert "1.5 of 3.5 are left" in ended.reasons[0]
    assert "2.0 of 1.5 GPU-hours were used" in step(1.5).reasons[0]


def test_status_tells_what_is_left_and_what_the_budget_is(write_campaign, tmp_path):
    run = run_campaign(write_campaign(tmp_path, budget={"labels": 30, "iterations": 2}))
    assert outlook_of(newest_data(run.records, run.campaign.key)) is None  # it has ended
    settings = run.campaign.settings
    settings["budget"] |= {"iterations": 9, "core_hours": 100.0, "gpu_hours": 7.0}
    run.records.replace(run.campaign.model_copy(update={"end_state": None, "settings": settings}))
    data = newest_data(run.records, run.campaign.key)
    left = outlook_of(data)
    assert left.n_rounds[0] >= 2
    assert left.n_rounds[1] == 7
    assert 0.0 < left.cpu_s[0] <= left.cpu_s[1]
    lines = "\n".join(summary_lines(data))
    assert f"{left.n_rounds[0]} to 7 more rounds" in lines
    assert "(budget 100 h)" in lines
    assert "0.00 s of GPU (budget 7 h)" in lines
