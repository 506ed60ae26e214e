"""The criterion of a campaign: its levels, what keys depend on, what is refused."""

import numpy as np
import pytest

from nepal_flows.campaign import load_campaign
from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.campaign.demands import demanded_criterion, demanded_sections
from nepal_flows.campaign.plan import build_plan
from nepal_flows.errors import CampaignError

BAYES = {"criterion": "bayes", "bayes": {"ratio_low": 3.0, "wanted_error_meV_per_A": 5.0}}


def loaded(write_campaign, folder, **changes):
    return load_campaign(write_campaign(folder, **changes))


def test_levels_are_those_of_the_criterion(write_campaign, tmp_path):
    grade = criterion_limits(loaded(write_campaign, tmp_path / "grade").campaign)
    assert (grade.score, grade.low, grade.ceiling, grade.threshold) == ("gamma", 5.0, 1000.0, 5.0)
    bayes = criterion_limits(loaded(write_campaign, tmp_path / "bayes", selection=BAYES).campaign)
    assert (bayes.score, bayes.low, bayes.ceiling, bayes.threshold) == ("ratio", 3.0, 30.0, 3.0)
    assert bayes.scales["bayes"].wanted == pytest.approx(0.005)
    assert bayes.stop is None


def test_keys_of_campaigns_that_grade_stay_what_they_were(write_campaign, tmp_path):
    campaign = loaded(write_campaign, tmp_path / "grade").campaign
    asked = demanded_sections(campaign, {"selection"})["selection"]
    assert "dynamic" not in demanded_sections(campaign, {"exploration"})["exploration"]
    assert set(asked) == {
        "labels_per_iteration",
        "audit_per_iteration",
        "threshold",
        "duplicate_tolerance",
    }
    assert demanded_criterion(campaign) == {}


def test_keys_depend_on_the_limits_of_the_bayesian_error(write_campaign, tmp_path):
    campaign = loaded(write_campaign, tmp_path / "bayes", selection=BAYES).campaign
    assert demanded_criterion(campaign)["criterion"]["bayes"]["ratio_low"] == 3.0
    assert "bayes" in demanded_sections(campaign, {"selection"})["selection"]


def test_plan_shows_the_level(write_campaign, tmp_path):
    for folder, selection, words in (("grade", {}, "gamma_low 5"), ("bayes", BAYES, "R 3")):
        found = loaded(write_campaign, tmp_path / folder, selection=selection)
        conditions = build_plan(found.campaign, found.structures).conditions
        assert words in conditions[0].input


def test_gpumd_cannot_evaluate_the_bayesian_error(write_campaign, tmp_path):
    stages = [{"temperature_K": 300, "steps": 200}]
    exploration = {"engine": "gpumd", "conditions": [{"name": "one", "stages": stages}]}
    with pytest.raises(CampaignError, match="GPUMD cannot evaluate"):
        loaded(write_campaign, tmp_path, selection=BAYES, exploration=exploration)


def test_gpumd_compares_the_members_of_a_committee(write_campaign, tmp_path):
    stages = [{"temperature_K": 300, "steps": 200}]
    exploration = {"engine": "gpumd", "conditions": [{"name": "one", "stages": stages}]}
    selection = {"criterion": "committee"}
    found = loaded(write_campaign, tmp_path, selection=selection, exploration=exploration)
    plan = build_plan(found.campaign, found.structures)
    assert not plan.errors
    assert "R of the committee 2" in plan.conditions[0].input
    stages = {stage.name: stage for stage in plan.forecast.stages}
    assert stages["committee"].cpu_s == pytest.approx(3.0 * stages["train"].cpu_s)


def test_dynamic_training_labels_whatever_interrupted_it(write_campaign, tmp_path):
    stages = [{"temperature_K": 300, "steps": 200}]
    exploration = {"dynamic": {}, "conditions": [{"name": "one", "stages": stages}]}
    campaign = loaded(write_campaign, tmp_path, selection=BAYES, exploration=exploration).campaign
    limits = criterion_limits(campaign)
    assert (limits.low, limits.stop) == (3.0, None)
    assert limits.scales["bayes"].wanted == pytest.approx(0.15)
    assert limits.threshold < 1e-6
    assert limits.ceiling > 1e6
    assert "dynamic" in demanded_sections(campaign, {"exploration"})["exploration"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"selection": {}}, "goes by error bars"),
        ({"small_cells": {}}, "two ways to learn"),
        ({"dynamic": {"rule": "relative", "floor_meV_per_A": 200}}, "must lie below `limit_meV"),
        ({"dynamic": {"rule": "published"}}, "relative"),
    ],
)
def test_dynamic_training_refuses_what_it_cannot_do(write_campaign, tmp_path, changes, words):
    stages = [{"temperature_K": 300, "steps": 200}]
    conditions = [{"name": "one", "start": {"n_atoms": 8}, "stages": stages}]
    dynamic = changes.pop("dynamic", {})
    exploration = {"dynamic": dynamic, "conditions": conditions}
    with pytest.raises(CampaignError, match=words):
        loaded(
            write_campaign, tmp_path, **({"selection": BAYES, "exploration": exploration} | changes)
        )


def test_levels_must_be_apart(write_campaign, tmp_path):
    wrong = {"criterion": "bayes", "bayes": {"ratio_low": 30.0, "ratio_ceiling": 3.0}}
    with pytest.raises(CampaignError, match="must lie above `ratio_low`"):
        loaded(write_campaign, tmp_path, selection=wrong)
    wrong = {"criterion": "committee", "committee": {"ratio_low": 30.0, "ratio_ceiling": 3.0}}
    with pytest.raises(CampaignError, match="must lie above `ratio_low`"):
        loaded(write_campaign, tmp_path, selection=wrong)


def test_a_committee_has_levels_and_keys_of_its_own(write_campaign, tmp_path):
    asked = {"criterion": "committee", "committee": {"n_models": 5, "wanted_error_meV_per_A": 8.0}}
    campaign = loaded(write_campaign, tmp_path, selection=asked).campaign
    limits = criterion_limits(campaign)
    assert (limits.score, limits.low, limits.ceiling) == ("spread", 2.0, 30.0)
    assert limits.scales["committee"].wanted == pytest.approx(0.008)
    assert demanded_criterion(campaign)["criterion"]["committee"]["n_models"] == 5
    assert "bayes" not in demanded_sections(campaign, {"selection"})["selection"]


def test_several_criteria_share_one_scale_and_their_order_does_not_matter(write_campaign, tmp_path):
    asked = {"criterion": ["committee", "grade"], "committee": {"ratio_low": 3.0}}
    campaign = loaded(write_campaign, tmp_path / "two", selection=asked).campaign
    assert campaign.selection.criterion == ("grade", "committee")
    limits = criterion_limits(campaign)
    assert (limits.score, limits.low, limits.threshold, limits.ceiling) == ("level", 1.0, 1.0, 10.0)
    grade, committee = limits.scales["grade"], limits.scales["committee"]
    np.testing.assert_allclose(grade.levels(np.array([5.0, 1000.0])), [1.0, 10.0])
    np.testing.assert_allclose(committee.levels(np.array([3.0, 30.0])), [1.0, 10.0])
    assert set(demanded_criterion(campaign)["criterion"]) == {"grade", "committee"}
    one = loaded(write_campaign, tmp_path / "one", selection={"criterion": ["grade"]}).campaign
    assert one.selection.criterion == "grade"
    assert "criterion" not in demanded_sections(one, {"selection"})["selection"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"selection": {"criterion": []}}, "empty list"),
        ({"selection": {"criterion": ["grade", "grade"]}}, "twice"),
        ({"selection": {"criterion": ["grade", "guess"]}}, "guess"),
        ({"selection": {"criterion": "committee", "committee": {"n_models": 1}}}, "n_models"),
        ({"selection": {"criterion": ["grade", "bayes"], "threshold": 7.0}}, "the same value"),
        ({"exploration": {"gamma_stop": 50.0}}, "several criteria"),
        ({"exploration": {"engine": "gpumd"}}, "GPUMD cannot evaluate"),
        (
            {
                "selection": {"criterion": ["bayes", "committee"]},
                "exploration": {"engine": "gpumd"},
            },
            "GPUMD cannot evaluate",
        ),
        ({"exploration": {"dynamic": {}}}, "goes by error bars"),
        ({"training": {"trainer": "nep"}}, "trained by the native trainer"),
    ],
)
def test_what_criteria_cannot_do_is_refused_with_the_reason(
    write_campaign, tmp_path, changes, words
):
    stages = [{"temperature_K": 300, "steps": 200}]
    conditions = [{"name": "one", "start": {"n_atoms": 8}, "stages": stages}]
    exploration = {"conditions": conditions} | changes.pop("exploration", {})
    asked = {"selection": {"criterion": ["grade", "committee"]}, "exploration": exploration}
    with pytest.raises(CampaignError, match=words):
        loaded(write_campaign, tmp_path, **(asked | changes))


@pytest.mark.parametrize("criterion", ["committee", ["grade", "committee"]])
def test_large_cells_are_carved_by_the_grade_alone(write_campaign, tmp_path, criterion):
    start = {"supercell": [4, 4, 4]}
    stages = [{"temperature_K": 300, "steps": 200}]
    found = loaded(
        write_campaign, tmp_path, selection={"criterion": criterion}, carving={"parent_atoms": 200},
        exploration={"conditions": [{"name": "large", "start": start, "stages": stages}]},
    )  # fmt: skip
    errors = build_plan(found.campaign, found.structures).errors
    assert any("must be the only criterion" in problem.message for problem in errors)
