"""What is left of a campaign is learnt from its own rounds, and never beyond its budget."""

import dataclasses

import pytest

from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.outlook import Standing, campaign_outlook, long_fit_factor
from nepal_flows.campaign.past_rounds import PastRound, Spent

HOUR = 3600.0
ROUND = PastRound(
    n_labels=5,
    label=Spent(5 * HOUR),
    train=Spent(1 * HOUR),
    explore=Spent(2 * HOUR, 0.5 * HOUR),
    other=Spent(0.1 * HOUR),
)
STANDING = Standing(n_labels=20, n_rounds=2, n_clean_rounds=0, is_ready=False, used=Spent())


def campaign(**sections):
    content = {
        "name": "one",
        "structures": ["Cu.vasp"],
        "training": {"warm_adam_steps": 100, "final_adam_steps": 400},
        "exploration": {
            "conditions": [{"name": "hot", "stages": [{"temperature_K": 300, "steps": 100}]}]
        },
        "confirmation": {"size_factor": 3.0},
        "selection": {"labels_per_iteration": 4, "audit_per_iteration": 1},
        "convergence": {"clean_rounds": 2},
        "budget": {"labels": 60, "iterations": 20},
    }
    return Campaign.model_validate(content | sections)


def outlook(past=(ROUND,), standing=STANDING, **sections):
    return campaign_outlook(campaign(**sections), standing, past)


def test_nothing_is_known_before_the_first_round():
    assert outlook(past=()) is None


def test_least_is_clean_rounds_and_the_confirmation():
    found = outlook()
    assert found.n_rounds[0] == 3
    assert found.n_labels[0] == 1
    # two rounds of the loop and a confirmation of three times the atoms; the long fit is four warm
    hours = 1.0 + (2 + 4) * 1.0 + (2 + 3) * 2.0 + 3 * 0.1
    assert found.cpu_s[0] == pytest.approx(hours * HOUR)
    assert found.gpu_s[0] == pytest.approx(5 * 0.5 * HOUR)


def test_most_is_what_the_labels_of_the_budget_allow():
    found = outlook()
    assert found.n_labels[1] == 40
    assert found.n_rounds[1] == 8 + 3
    assert found.cpu_s[1] > 40 * HOUR


def test_rounds_and_hours_of_the_budget_bound_it():
    found = outlook(budget={"labels": 60, "iterations": 4, "core_hours": 50.0, "gpu_hours": 1.0})
    assert found.n_rounds == (2, 2)
    assert found.cpu_s[1] <= 50.0 * HOUR
    assert found.gpu_s == (1.0 * HOUR, 1.0 * HOUR)
    used = dataclasses.replace(STANDING, used=Spent(49.0 * HOUR, 1.5 * HOUR))
    found = outlook(standing=used, budget={"core_hours": 50.0, "gpu_hours": 1.0})
    assert found.cpu_s[1] == pytest.approx(1.0 * HOUR)
    assert found.gpu_s[1] == 0.0


def test_confirmation_alone_is_left_once_all_else_holds():
    assert outlook(standing=dataclasses.replace(STANDING, is_ready=True)).n_rounds[0] == 1


def test_newest_rounds_are_learnt_from():
    dear = dataclasses.replace(ROUND, label=Spent(50 * HOUR))
    cheap, costly = outlook(past=(dear, ROUND, ROUND, ROUND)), outlook(past=(ROUND, dear))
    assert cheap.n_learnt == 3
    assert cheap.cpu_s == pytest.approx(outlook().cpu_s)
    assert costly.cpu_s[1] > 3.0 * cheap.cpu_s[1]


def test_long_fit_of_nep_is_counted_in_generations():
    training = {"trainer": "nep", "nep": {"warm_generations": 100, "final_generations": 700}}
    assert long_fit_factor(campaign(training=training)) == pytest.approx(7.0)
    assert long_fit_factor(campaign()) == pytest.approx(4.0)
