from dataclasses import replace

import pytest

from nepal_flows.core.convergence import (
    judge_campaign,
    judge_condition,
    n_clean_rounds,
    stall_reasons,
)
from nepal_flows.core.rounds import (
    CampaignJudgement,
    ConditionRecord,
    ConvergenceRules,
    RoundRecord,
)

CLEAN = ConditionRecord(
    name="crystal",
    is_extreme=False,
    requested_steps=1000,
    finished_steps=1000,
    n_gate_violations=0,
    n_windows=200,
    n_exceeded_windows=0,
    new_label_error=0.011,
    training_error=0.010,
)
DIRTY = replace(CLEAN, n_exceeded_windows=20)


def round_of(*conditions: ConditionRecord, **changes) -> RoundRecord:
    values = {
        "phase": "loop",
        "conditions": conditions or (CLEAN,),
        "is_saturated": {"Cu": True},
        "ranks": {"Cu": 400},
        "holdout_error": 0.010,
        "n_new_labels": 5,
    }
    return RoundRecord(**(values | changes))


def test_clean_condition_has_no_reasons_and_a_bound() -> None:
    found = judge_condition(CLEAN)
    assert found.is_clean
    assert found.reasons == ()
    assert found.exceedance == 0.0
    assert found.exceedance_upper == pytest.approx(1 - 0.05 ** (1 / 200))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"finished_steps": 990}, "990 of 1000 steps"),
        ({"n_gate_violations": 1}, "gate stopped 1"),
        ({"n_windows": 3}, "only 3 independent windows"),
        ({"n_exceeded_windows": 2}, "2 of 200 windows"),
    ],
)
def test_each_fault_is_a_sentence(change: dict, words: str) -> None:
    found = judge_condition(replace(CLEAN, **change))
    assert not found.is_clean
    assert len(found.reasons) == 1
    assert words in found.reasons[0]


def test_allowance_is_a_share_and_larger_for_extreme_conditions() -> None:
    at_limit = replace(CLEAN, n_exceeded_windows=1)
    assert judge_condition(at_limit).is_clean
    assert not judge_condition(replace(at_limit, n_windows=199)).is_clean
    extreme = replace(CLEAN, n_exceeded_windows=4, is_extreme=True)
    assert judge_condition(extreme).is_clean
    assert not judge_condition(replace(extreme, n_exceeded_windows=5)).is_clean


def test_no_window_is_not_clean() -> None:
    found = judge_condition(replace(CLEAN, n_windows=0))
    assert not found.is_clean
    assert (found.exceedance, found.exceedance_upper) == (1.0, 1.0)


def test_two_clean_rounds_call_for_confirmation_and_that_one_converges() -> None:
    first = judge_campaign([round_of()])
    assert (first.next_step, first.n_clean_rounds) == ("continue", 1)
    second = judge_campaign([round_of(), round_of()])
    assert second.next_step == "confirm"
    assert not second.checks["confirmed"]
    third = judge_campaign([round_of(), round_of(), round_of(phase="confirmation")])
    assert third.next_step == "converged"
    assert all(third.checks.values())
    assert third.reasons == ()


def test_a_dirty_round_starts_the_count_again() -> None:
    rounds = [round_of(), round_of(DIRTY), round_of()]
    assert n_clean_rounds(rounds) == 1
    assert judge_campaign(rounds).next_step == "continue"


def test_a_failed_confirmation_goes_back_to_the_loop() -> None:
    rounds = [round_of(), round_of(), round_of(DIRTY, phase="confirmation")]
    found = judge_campaign(rounds)
    assert (found.next_step, found.n_clean_rounds) == ("continue", 0)
    assert judge_campaign([*rounds, round_of()]).next_step == "continue"


def test_one_dirty_condition_makes_the_round_dirty() -> None:
    found = judge_campaign([round_of(CLEAN, replace(DIRTY, name="melt"))])
    assert not found.is_clean
    assert [condition.is_clean for condition in found.conditions] == [True, False]


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"holdout_error": 0.013}, "holdout_steady", "10.0 to 13.0"),
        ({"holdout_error": None}, "holdout_steady", "not known"),
        ({"is_saturated": {"Cu": True, "Au": False}}, "rank_saturated", "Au still grows"),
        ({"is_saturated": {}}, "rank_saturated", "no element"),
    ],
)
def test_each_criterion_can_hold_back_the_confirmation(change, check, words) -> None:
    found = judge_campaign([round_of(), round_of(**change)])
    assert found.next_step == "continue"
    assert [name for name, holds in found.checks.items() if not holds] == [check, "confirmed"]
    assert any(words in reason for reason in found.reasons)


def test_new_labels_are_compared_within_their_condition() -> None:
    worse = replace(CLEAN, name="melt", new_label_error=0.028, training_error=0.020)
    found = judge_campaign([round_of(), round_of(CLEAN, worse)])
    assert not found.checks["new_label_errors"]
    assert any("melt" in r and "28.0" in r and "1.40 times" in r for r in found.reasons)
    relaxed = judge_campaign(
        [round_of(), round_of(CLEAN, worse)], ConvergenceRules(negligible_error=0.03)
    )
    assert relaxed.checks["new_label_errors"]


def test_condition_without_training_frames_is_compared_with_all_of_them() -> None:
    alone = replace(CLEAN, new_label_error=0.012, training_error=None)
    with_all = judge_campaign([round_of(), round_of(alone, training_error=0.010)])
    assert with_all.checks["new_label_errors"]
    without = judge_campaign([round_of(), round_of(alone)])
    assert not without.checks["new_label_errors"]
    none_labelled = replace(CLEAN, new_label_error=None, training_error=None)
    assert judge_campaign([round_of(), round_of(none_labelled)]).checks["new_label_errors"]


def test_rounds_without_progress_are_a_stall() -> None:
    rounds = [round_of(DIRTY)] * 5
    assert judge_campaign(rounds[:4]).next_step == "continue"
    found = judge_campaign(rounds)
    assert found.next_step == "stalled"
    assert any("No progress in 4 rounds" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    "progress",
    [
        round_of(DIRTY, holdout_error=0.009),
        round_of(replace(DIRTY, n_exceeded_windows=15)),
        round_of(DIRTY, ranks={"Cu": 420}),
        round_of(CLEAN, DIRTY),
        round_of(),
    ],
)
def test_any_progress_is_no_stall(progress: RoundRecord) -> None:
    stuck = round_of(DIRTY)
    assert stall_reasons([stuck] * 5)
    assert stall_reasons([stuck, stuck, progress, stuck, stuck]) == []


def test_rounds_without_labels_are_a_stall_even_if_luck_varies() -> None:
    rounds = [round_of(DIRTY)] + [
        round_of(replace(DIRTY, n_exceeded_windows=k), n_new_labels=0) for k in (20, 10, 5, 3)
    ]
    assert any("refused" in reason for reason in stall_reasons(rounds))


def test_expected_errors_replace_the_hold_out_where_they_are_asked_for() -> None:
    rules = ConvergenceRules(largest_expected_ratio=1.5)

    def judged(expected: float | None) -> CampaignJudgement:
        condition = replace(CLEAN, expected_error=expected)
        last = round_of(condition, holdout_error=None, training_error=0.010)
        return judge_campaign([last, last], rules)

    found = judged(0.014)
    assert found.next_step == "confirm"
    assert found.checks["expected_errors"]
    assert "holdout_steady" not in found.checks
    for expected, words in ((0.016, "1.60 times the training error"), (None, "no error is")):
        found = judged(expected)
        assert found.next_step == "continue"
        assert not found.checks["expected_errors"]
        assert any(words in reason for reason in found.reasons)
