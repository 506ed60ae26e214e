"""A campaign in a few lines of text, for the terminal."""

from nepal_flows.report.data import ReportData
from nepal_flows.report.facts import (
    holdout_rmse,
    judged_conditions,
    label_counts,
    largest_safe_error,
    stage_words,
    training_rmse,
    worst_condition,
)
from nepal_flows.report.outlook import cost_text, outlook_of, outlook_text
from nepal_flows.report.verdict import build_verdict
from nepal_flows.report.words import count, duration, figures, force_rmse, percent, whole


def summary_lines(data: ReportData) -> list[str]:
    """Return the state of a campaign as lines of plain text, the verdict first.

    Parameters
    ----------
    data
        The documents of the campaign, as far as there are any.
    """
    verdict = build_verdict(data)
    lines = [f"{data.campaign.name}: {verdict.headline.lower()}", f"  {verdict.sentence}"]
    rows = (
        ("labels", _labels(data)),
        ("rounds", _rounds(data)),
        ("stage", stage_words(data)),
        ("conditions", _conditions(data)),
        ("force RMSE", _forces(data)),
        ("called safe", _safe(data)),
        ("cost", _cost(data)),
        ("forecast", outlook_text(outlook_of(data))),
    )
    lines += [f"  {name:<12}{text}" for name, text in rows if text]
    lines += [f"  because     {reason}" for reason in verdict.reasons[:5]]
    lines += [f"  missing     {reason}" for reason in verdict.missing[:5]]
    lines += [f"  caution     {text}" for text in verdict.cautions]
    lines += [f"  next        {step}" for step in verdict.next_steps[:1]]
    return lines


def _labels(data: ReportData) -> str:
    counts = label_counts(data)
    if counts is None:
        return ""
    total, training, holdout, failed = counts
    atoms = data.n_atoms_labelled
    parts = f"{whole(training)} training, {whole(holdout)} hold-out, {whole(failed)} failed"
    text = f"{whole(total)} ({parts})"
    return text + (f", {count(atoms, 'atom')}" if atoms else "")


def _rounds(data: ReportData) -> str:
    last = data.last
    if last is None:
        return "0"
    return f"{data.n_iterations} ({count(last.n_clean_rounds, 'clean round')} running)"


def _conditions(data: ReportData) -> str:
    verdicts = judged_conditions(data)
    worst = worst_condition(verdicts)
    if worst is None:
        return ""
    clean = sum(verdict.is_clean for verdict in verdicts)
    return (
        f"{clean} of {len(verdicts)} clean; hardest {worst.condition}: "
        f"{whole(worst.n_exceeded_windows)} of {count(worst.n_windows, 'window')} above the "
        f"threshold, below {percent(worst.exceedance_upper_95)} at 95 %"
    )


def _forces(data: ReportData) -> str:
    validation = force_rmse(data.validation.errors) if data.validation else None
    parts = (
        ("fresh trajectories", validation),
        ("hold-out", holdout_rmse(data)),
        ("training", training_rmse(data)),
    )
    known = [f"{name} {figures(value)}" for name, value in parts if value is not None]
    return ", ".join(known) + " meV/Å" if known else ""


def _safe(data: ReportData) -> str:
    largest = largest_safe_error(data)
    return "" if largest is None else f"largest true force error {figures(largest)} meV/Å"


def _cost(data: ReportData) -> str:
    cost = data.total_cost()
    if cost.wall_s == 0:
        return ""
    elapsed = data.elapsed_s()
    clock = f"{duration(elapsed)} from start to end, " if elapsed is not None else ""
    return clock + cost_text(cost, data.campaign.settings.get("budget", {}))


__all__ = ["summary_lines"]
