"""From stored documents to the plain numbers that convergence is judged by, and back."""

from collections.abc import Mapping, Sequence

import numpy as np

from nepal_flows.core.rounds import (
    ConditionJudgement,
    ConditionRecord,
    RoundRecord,
)
from nepal_flows.schemas import (
    ConditionVerdict,
    ElementCoverage,
    Errors,
    ExplorationDoc,
    IterationDoc,
    Phase,
    TrainingDoc,
)

_TO_EV = 1e-3


def round_record(
    phase: Phase,
    runs: Sequence[ExplorationDoc],
    coverage: Sequence[ElementCoverage],
    training: TrainingDoc,
    new_label_errors: Mapping[str, Errors],
    holdout: Errors | None,
    n_new_labels: int,
) -> RoundRecord:
    """Return one round as plain numbers, from the documents of its iteration."""
    conditions = [
        ConditionRecord(
            name=name,
            is_extreme=group[0].is_extreme,
            requested_steps=sum(run.requested_steps for run in group),
            finished_steps=sum(run.finished_steps for run in group),
            n_gate_violations=sum(_was_stopped(run) for run in group),
            n_windows=sum(run.n_windows for run in group),
            n_exceeded_windows=sum(run.n_exceeded_windows for run in group),
            new_label_error=force_error(new_label_errors.get(name)),
            training_error=force_error(training.training_errors_by_condition.get(name)),
            expected_error=_in_eV(_expected(group)),
        )
        for name, group in _by_condition(runs).items()
    ]
    return _round(phase, conditions, coverage, holdout, training.training_errors, n_new_labels)


def stored_round(document: IterationDoc) -> RoundRecord:
    """Return an earlier round as plain numbers, from its IterationDoc."""
    conditions = [
        ConditionRecord(
            name=verdict.condition,
            is_extreme=verdict.is_extreme,
            requested_steps=verdict.requested_steps,
            finished_steps=verdict.finished_steps,
            n_gate_violations=verdict.n_stopped_runs,
            n_windows=verdict.n_windows,
            n_exceeded_windows=verdict.n_exceeded_windows,
            new_label_error=force_error(verdict.new_label_errors),
            training_error=force_error(verdict.training_errors),
            expected_error=_in_eV(verdict.expected_force_rmse_meV_per_A),
        )
        for verdict in document.conditions
    ]
    return _round(
        document.phase,
        conditions,
        document.coverage,
        document.holdout_errors,
        document.training_errors,
        len(document.label_keys),
    )


def condition_verdicts(
    runs: Sequence[ExplorationDoc],
    judgements: Sequence[ConditionJudgement],
    new_label_errors: Mapping[str, Errors],
    training_errors: Mapping[str, Errors],
) -> list[ConditionVerdict]:
    """Return the verdict on every condition of a round, for storage."""
    groups = _by_condition(runs)
    verdicts = []
    for judgement in judgements:
        group = groups[judgement.name]
        verdicts.append(
            ConditionVerdict(
                condition=judgement.name,
                is_extreme=group[0].is_extreme,
                is_clean=judgement.is_clean,
                reasons=list(judgement.reasons),
                n_runs=len(group),
                n_stopped_runs=sum(_was_stopped(run) for run in group),
                requested_steps=sum(run.requested_steps for run in group),
                finished_steps=sum(run.finished_steps for run in group),
                n_checks=sum(run.n_checks for run in group),
                n_windows=sum(run.n_windows for run in group),
                n_exceeded_windows=sum(run.n_exceeded_windows for run in group),
                exceedance=judgement.exceedance,
                exceedance_upper_95=judgement.exceedance_upper,
                allowance=judgement.allowance,
                gamma_max=max(run.gamma_max for run in group),
                gamma_median=float(
                    np.median([run.gamma_quantiles.get("0.5", run.gamma_max) for run in group])
                ),
                expected_force_rmse_meV_per_A=_expected(group),
                new_label_errors=new_label_errors.get(judgement.name),
                training_errors=training_errors.get(judgement.name),
            )
        )
    return verdicts


def _round(
    phase: Phase,
    conditions: Sequence[ConditionRecord],
    coverage: Sequence[ElementCoverage],
    holdout: Errors | None,
    training: Errors,
    n_new_labels: int,
) -> RoundRecord:
    return RoundRecord(
        phase=phase,
        conditions=tuple(conditions),
        is_saturated={element.element: element.is_saturated for element in coverage},
        ranks={element.element: element.rank for element in coverage},
        holdout_error=force_error(holdout),
        training_error=force_error(training),
        n_new_labels=n_new_labels,
    )


def _by_condition(runs: Sequence[ExplorationDoc]) -> dict[str, list[ExplorationDoc]]:
    groups: dict[str, list[ExplorationDoc]] = {}
    for run in runs:
        groups.setdefault(run.condition, []).append(run)
    return groups


def _expected(runs: Sequence[ExplorationDoc]) -> float | None:
    """Return the force error that bars expect of the frames of some runs, meV/Å."""
    known = [
        (run.expected_force_rmse_meV_per_A, run.n_checks)
        for run in runs
        if run.expected_force_rmse_meV_per_A is not None
    ]
    if not known:
        return None
    values, weights = np.array(known).T
    return float(np.sqrt(np.average(values**2, weights=weights)))


def _in_eV(value_meV: float | None) -> float | None:
    return None if value_meV is None else _TO_EV * value_meV


def _was_stopped(run: ExplorationDoc) -> bool:
    return run.outcome not in ("finished", "stopped_by_grade")


def force_error(errors: Errors | None) -> float | None:
    """Return a force error in eV/Å, None where it is not known."""
    if errors is None or errors.force_rmse_meV_per_A is None:
        return None
    return _TO_EV * errors.force_rmse_meV_per_A


__all__ = ["condition_verdicts", "force_error", "round_record", "stored_round"]
