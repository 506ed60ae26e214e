"""Convergence: rules that turn plain numbers into a verdict, with what is missing in sentences.

A condition is clean in a round when all its requested steps ran, no physics gate fired, and its
exceedance is at most its allowance. The campaign has converged when every condition was clean in
two rounds running, errors on new labels match the training error, the hold-out error is steady,
every element's rank is saturated, and a confirmation round in a larger cell was clean as well.
"""

from collections.abc import Sequence

from nepal_flows.core.rounds import (
    CampaignJudgement,
    ConditionJudgement,
    ConditionRecord,
    ConvergenceRules,
    NextStep,
    RoundRecord,
)
from nepal_flows.core.windows import (
    clopper_pearson_upper,
)


def judge_condition(
    record: ConditionRecord, rules: ConvergenceRules | None = None
) -> ConditionJudgement:
    """Return whether a condition was clean in a round, and why not."""
    rules = rules or ConvergenceRules()
    allowance = rules.extreme_allowance if record.is_extreme else rules.allowance
    reasons = []
    if record.finished_steps < record.requested_steps:
        share = 100.0 * record.finished_steps / record.requested_steps
        reasons.append(
            f"{record.name}: {record.finished_steps} of {record.requested_steps} steps ran "
            f"({share:.1f} %)."
        )
    if record.n_gate_violations:
        reasons.append(
            f"{record.name}: the physics gate stopped {record.n_gate_violations} run(s)."
        )
    if record.n_windows < rules.fewest_windows:
        reasons.append(
            f"{record.name}: only {record.n_windows} independent windows, at least "
            f"{rules.fewest_windows} are needed; run longer or more replicas."
        )
    if record.exceedance > allowance and record.n_windows:
        reasons.append(
            f"{record.name}: {record.n_exceeded_windows} of {record.n_windows} windows "
            f"({100.0 * record.exceedance:.2f} %) exceed the limit, "
            f"{100.0 * allowance:g} % are allowed."
        )
    return ConditionJudgement(
        name=record.name,
        is_clean=not reasons,
        reasons=tuple(reasons),
        exceedance=record.exceedance,
        exceedance_upper=clopper_pearson_upper(
            record.n_exceeded_windows, record.n_windows, rules.confidence
        ),
        allowance=allowance,
    )


def judge_campaign(
    rounds: Sequence[RoundRecord], rules: ConvergenceRules | None = None
) -> CampaignJudgement:
    """Return where the campaign stands after the last of its rounds.

    Parameters
    ----------
    rounds
        All rounds so far, oldest first; at least one.
    rules
        The limits.

    Returns
    -------
    CampaignJudgement
        The next step, every criterion by name, and what is missing.
    """
    rules = rules or ConvergenceRules()
    last = rounds[-1]
    conditions = tuple(judge_condition(record, rules) for record in last.conditions)
    n_clean = n_clean_rounds(rounds, rules)
    is_clean = n_clean > 0
    is_confirmation = last.phase == "confirmation"
    reasons = [reason for condition in conditions for reason in condition.reasons]
    if is_clean and n_clean < rules.n_clean_rounds:
        reasons.append(
            f"All conditions are clean for {n_clean} round, {rules.n_clean_rounds} running are "
            "needed."
        )
    errors = _label_error_reasons(last, rules)
    by_bars = rules.largest_expected_ratio is not None
    holdout = _expected_reasons(last, rules) if by_bars else _holdout_reasons(rounds, rules)
    ranks = _rank_reasons(last)
    reasons += [*errors, *holdout, *ranks]
    checks = {
        "conditions_clean": n_clean >= rules.n_clean_rounds,
        "new_label_errors": not errors,
        "expected_errors" if by_bars else "holdout_steady": not holdout,
        "rank_saturated": not ranks,
    }
    ready = all(checks.values())
    checks["confirmed"] = ready and is_confirmation
    next_step: NextStep = "continue"
    if checks["confirmed"]:
        next_step = "converged"
    elif ready:
        next_step = "confirm"
        reasons.append("The confirmation round in a larger cell is still to come.")
    else:
        stall = stall_reasons(rounds, rules)
        if stall:
            next_step = "stalled"
            reasons += stall
    return CampaignJudgement(
        next_step=next_step,
        checks=checks,
        reasons=tuple(reasons),
        conditions=conditions,
        is_clean=is_clean,
        n_clean_rounds=n_clean,
    )


def n_clean_rounds(rounds: Sequence[RoundRecord], rules: ConvergenceRules | None = None) -> int:
    """Return in how many rounds running, up to the last, every condition was clean."""
    rules = rules or ConvergenceRules()
    count = 0
    for record in reversed(rounds):
        if not _is_clean(record, rules):
            break
        count += 1
    return count


def stall_reasons(
    rounds: Sequence[RoundRecord], rules: ConvergenceRules | None = None
) -> list[str]:
    """Return why the campaign has stalled, in sentences; nothing while there is progress.

    Progress in the last rounds, against all before: the hold-out error fell, the mean exceedance
    fell, more conditions were clean, or a rank grew by more than 2 %. A clean round is progress.
    """
    rules = rules or ConvergenceRules()
    k = rules.n_stalled_rounds
    if len(rounds) <= k or any(_is_clean(record, rules) for record in rounds[-k:]):
        return []
    earlier, recent = rounds[:-k], rounds[-k:]
    if sum(record.n_new_labels for record in recent) == 0:
        return [
            f"No label was made in the last {k} rounds, yet none of them was clean: look at the "
            "reasons for which candidates were refused."
        ]
    before, now = _best_holdout(earlier), _best_holdout(recent)
    error_fell = now is not None and (
        before is None or now < (1.0 - rules.smallest_error_gain) * before
    )
    exceedance_fell = min(map(_mean_exceedance, recent)) < (
        1.0 - rules.smallest_exceedance_gain
    ) * min(map(_mean_exceedance, earlier))
    more_clean = max(_n_clean(r, rules) for r in recent) > max(_n_clean(r, rules) for r in earlier)
    if error_fell or exceedance_fell or more_clean or _rank_grew(earlier, recent):
        return []
    return [
        f"No progress in {k} rounds: the hold-out error, the exceedance, the number of clean "
        "conditions and the ranks stay as they were. Train longer or with more neurons, or relax "
        "the conditions."
    ]


def _is_clean(record: RoundRecord, rules: ConvergenceRules) -> bool:
    return bool(record.conditions) and _n_clean(record, rules) == len(record.conditions)


def _n_clean(record: RoundRecord, rules: ConvergenceRules) -> int:
    return sum(judge_condition(condition, rules).is_clean for condition in record.conditions)


def _mean_exceedance(record: RoundRecord) -> float:
    shares = [condition.exceedance for condition in record.conditions]
    return sum(shares) / len(shares) if shares else 1.0


def _best_holdout(rounds: Sequence[RoundRecord]) -> float | None:
    errors = [record.holdout_error for record in rounds if record.holdout_error is not None]
    return min(errors, default=None)


def _rank_grew(earlier: Sequence[RoundRecord], recent: Sequence[RoundRecord]) -> bool:
    return any(
        rank > 1.02 * max((record.ranks.get(symbol, 0) for record in earlier), default=0)
        for record in recent
        for symbol, rank in record.ranks.items()
    )


def _label_error_reasons(record: RoundRecord, rules: ConvergenceRules) -> list[str]:
    reasons = []
    for condition in record.conditions:
        error = condition.new_label_error
        if error is None or error <= rules.negligible_error:
            continue
        reference = condition.training_error
        if reference is None:
            reference = record.training_error
        if reference is None:
            reasons.append(f"{condition.name}: no training error to compare the new labels with.")
        elif error > rules.largest_error_ratio * reference:
            ratio = error / reference if reference > 0.0 else float("inf")
            reasons.append(
                f"{condition.name}: new labels have a force error of {1000.0 * error:.1f} meV/Å, "
                f"{ratio:.2f} times the training error; {rules.largest_error_ratio:g} is allowed."
            )
    return reasons


def _holdout_reasons(rounds: Sequence[RoundRecord], rules: ConvergenceRules) -> list[str]:
    now = rounds[-1].holdout_error
    before = rounds[-2].holdout_error if len(rounds) > 1 else None
    if now is None or before is None:
        return ["The hold-out error is not known for two rounds yet."]
    if now <= rules.negligible_error:
        return []
    if rounds[-1].phase == "confirmation" and now <= before:
        return []  # the long fit of the same labels is better, which is what it is for
    change = abs(now - before) / before if before > 0.0 else float(now > 0.0)
    if change < rules.largest_holdout_change:
        return []
    return [
        f"The hold-out error changed from {1000.0 * before:.1f} to {1000.0 * now:.1f} meV/Å "
        f"({100.0 * change:.0f} %); less than {100.0 * rules.largest_holdout_change:g} % is "
        "steady."
    ]


def _expected_reasons(record: RoundRecord, rules: ConvergenceRules) -> list[str]:
    """Return the conditions whose frames are expected to be worse than the training frames."""
    reasons = []
    for condition in record.conditions:
        expected, reference = condition.expected_error, record.training_error
        if expected is None or reference is None:
            reasons.append(f"{condition.name}: no error is expected of it yet.")
        elif expected > max(
            rules.negligible_error, (rules.largest_expected_ratio or 1.0) * reference
        ):
            reasons.append(
                f"{condition.name}: error bars expect a force error of {1000.0 * expected:.1f} "
                f"meV/Å, {expected / max(reference, 1e-12):.2f} times the training error; "
                f"{rules.largest_expected_ratio:g} is allowed."
            )
    return reasons


def _rank_reasons(record: RoundRecord) -> list[str]:
    growing = sorted(symbol for symbol, done in record.is_saturated.items() if not done)
    if not record.is_saturated:
        return ["The rank of no element is known yet."]
    if growing:
        return [
            f"The rank of {', '.join(growing)} still grows with new frames, so grades have no "
            "scale yet."
        ]
    return []


__all__ = ["judge_campaign", "judge_condition", "n_clean_rounds", "stall_reasons"]
