"""Sections on the loop: conditions, learning curve, grades and coverage, round by round."""

import math
from collections.abc import Sequence

from nepal_flows.report import figures as draw
from nepal_flows.report.blocks import Block, Cell, Drawing, Note, Section, Table, table
from nepal_flows.report.data import ReportData
from nepal_flows.report.facts import judged_conditions
from nepal_flows.report.sections.shared import FORCE_UNIT, threshold
from nepal_flows.report.words import (
    NONE,
    PHASE_WORDS,
    figures,
    force_rmse,
    listed,
    percent,
    whole,
)
from nepal_flows.schemas import ConditionVerdict, ElementCoverage, Errors, IterationDoc


def conditions(data: ReportData) -> Section:
    """Return how every condition did in the round that counts."""
    verdicts = judged_conditions(data)
    if not verdicts:
        return Section("conditions", "Conditions", pending="a round of exploration to be judged")
    which = "the certified round" if data.certificate else "the newest round"
    verdict_table = table(
        f"Every condition in {which}. A window is exceeded when the {data.score.name} passed "
        f"{threshold(data)} in it; the bound holds with 95 % confidence. Few windows cannot "
        "show a small bound, so it may lie above what is allowed: longer runs would lower it.",
        (
            "condition",
            "clean",
            "steps run",
            "windows",
            "exceeded",
            "bound",
            "allowed",
            f"largest {data.score.symbol}",
            "new labels",
            "training",
        ),
        [_condition_row(verdict) for verdict in verdicts],
        text_columns=("condition", "clean"),
    )
    note = Note(
        "New labels and training: force RMSE in meV/Å, the former before the model was trained "
        "on them. New surroundings that are predicted as well as old ones are the best sign that "
        "the set is complete."
    )
    return Section("conditions", "Conditions", (verdict_table, note))


def _condition_row(verdict: ConditionVerdict) -> list[Cell | str]:
    share = verdict.finished_steps / max(verdict.requested_steps, 1)
    hint = "; ".join(verdict.reasons)
    return [
        verdict.condition + (" (extreme)" if verdict.is_extreme else ""),
        Cell("yes" if verdict.is_clean else "no", "yes" if verdict.is_clean else "no", hint),
        Cell(
            f"{100 * share:.0f} %",
            "" if share >= 1 else "warn",
            f"{whole(verdict.finished_steps)} of {whole(verdict.requested_steps)} steps",
        ),
        whole(verdict.n_windows),
        f"{whole(verdict.n_exceeded_windows)} ({percent(verdict.exceedance)})",
        percent(verdict.exceedance_upper_95),
        percent(verdict.allowance),
        figures(verdict.gamma_max),
        figures(force_rmse(verdict.new_label_errors)),
        figures(force_rmse(verdict.training_errors)),
    ]


def learning(data: ReportData) -> Section:
    """Return errors against the number of labels."""
    figure = draw.learning_curve(data)
    if figure is None:
        return Section("learning", "Learning curve", pending="a first round")
    blocks: list[Block] = [
        Drawing(
            "learning",
            figure,
            _learning_alt(data.iterations),
            "Force errors as labels are added, one point a round. New labels are tested before "
            "they are trained on, so they are the hardest frames of their round; when they come "
            "down to the training error, exploration finds nothing new. Filled marks, right: the "
            "model that is delivered.",
        ),
        _learning_table(data.iterations),
    ]
    return Section("learning", "Learning curve", blocks)


def _learning_alt(iterations: Sequence[IterationDoc]) -> str:
    first, last = iterations[0], iterations[-1]
    parts = [f"From {first.n_labels_training} to {last.n_labels_training} training labels:"]
    names = (
        ("training", "training_errors"),
        ("hold-out", "holdout_errors"),
        ("new-label", "new_label_errors"),
    )
    for name, field in names:
        values = [force_rmse(getattr(doc, field)) for doc in iterations]
        known = [value for value in values if value is not None]
        if known:
            parts.append(
                f"{name} force RMSE {figures(known[0])} to {figures(known[-1])} {FORCE_UNIT};"
            )
    return " ".join(parts).rstrip(";") + "."


def _learning_table(iterations: Sequence[IterationDoc]) -> Table:
    rows: list[list[Cell | str]] = [
        [
            str(doc.iteration),
            PHASE_WORDS.get(doc.phase, doc.phase),
            whole(doc.n_labels_training),
            whole(doc.n_labels_holdout),
            figures(force_rmse(doc.training_errors)),
            figures(force_rmse(doc.new_label_errors)),
            figures(force_rmse(doc.holdout_errors)),
            _energy(doc.holdout_errors),
            Cell("yes" if doc.is_clean else "no", "yes" if doc.is_clean else "no"),
        ]
        for doc in iterations
    ]
    return table(
        "Errors by round: forces in meV/Å, energies in meV/atom.",
        (
            "round",
            "phase",
            "training labels",
            "hold-out labels",
            "training",
            "new labels",
            "hold-out",
            "hold-out energy",
            "clean",
        ),
        rows,
        text_columns=("phase", "clean"),
        is_folded=True,
    )


def _energy(errors: Errors | None) -> str:
    return NONE if errors is None else figures(errors.energy_rmse_meV_per_atom)


def grades(data: ReportData) -> Section:
    """Return grades and exceedance of every condition, round by round."""
    blocks: list[Block] = []
    figure = draw.grade_rounds(data)
    if figure is not None:
        blocks.append(
            Drawing(
                "grades",
                figure,
                _grades_alt(data),
                f"Largest and median {data.score.name} of each condition, round by round; the "
                f"dotted line is the threshold {threshold(data)}. A filled mark is a clean round, "
                "a shaded one the confirmation in a larger cell. A falling line means that "
                "exploration meets fewer surroundings the model has not seen.",
            )
        )
        blocks.append(_exceedance_table(data.iterations, data.score.name))
    traces = draw.grade_traces(data)
    if traces is not None:
        newest = max(trace.iteration for trace in data.traces)
        blocks.append(
            Drawing(
                "traces",
                traces,
                f"{data.score.title} along every run of round {newest}, one panel for each of "
                f"{listed(list(dict.fromkeys(t.condition for t in data.traces)))}.",
                f"The {data.score.name} along every run of round {newest}, one colour a replica. "
                "Peaks above the dotted line are the frames worth labelling.",
            )
        )
    title = f"{data.score.title}s by condition and round"
    return Section("grades", title, blocks, pending="" if blocks else "a scored exploration")


def _grades_alt(data: ReportData) -> str:
    verdicts = judged_conditions(data)
    parts = [
        f"{v.condition}: largest {figures(v.gamma_max)}, median {figures(v.gamma_median)}"
        for v in verdicts
    ]
    return (
        f"Largest and median {data.score.name} by round. In the newest judged round "
        f"{'; '.join(parts)}."
    )


def _exceedance_table(iterations: Sequence[IterationDoc], score: str) -> Table:
    rounds = [doc for doc in iterations if doc.conditions][-14:]
    names = list(dict.fromkeys(v.condition for doc in rounds for v in doc.conditions))
    rows: list[list[Cell | str]] = []
    for name in names:
        row: list[Cell | str] = [name]
        for doc in rounds:
            found = [v for v in doc.conditions if v.condition == name]
            row.append(_exceedance_cell(found[0]) if found else NONE)
        rows.append(row)
    return table(
        f"Exceedance: the share of windows in which the {score} passed the threshold. A tick "
        "marks a clean round.",
        ("condition", *(f"{doc.iteration}" for doc in rounds)),
        rows,
        text_columns=("condition",),
    )


def _exceedance_cell(verdict: ConditionVerdict) -> Cell:
    share = verdict.exceedance
    heat = 0.0 if share <= 0 else min(1.0, max(0.0, 1.0 + math.log10(share) / 3.0))
    hint = "clean" if verdict.is_clean else "; ".join(verdict.reasons) or "not clean"
    return Cell(percent(share), "yes" if verdict.is_clean else "no", hint, heat=heat)


def coverage(data: ReportData) -> Section:
    """Return how well the environments of every element are spanned."""
    figure = draw.coverage(data)
    parts = list(data.last.coverage) if data.last else []
    if not parts and data.active_sets:
        parts = list(data.active_sets[-1].coverage)
    blocks: list[Block] = []
    if figure is not None:
        ranks = [f"{part.element} {part.rank} of {part.n_projection}" for part in parts]
        blocks.append(
            Drawing(
                "coverage",
                figure,
                f"Rank and number of distinct environments by round. Newest: {listed(ranks)}.",
                "How much of each element's space of environments the training set spans, and "
                "how many different environments it holds for every component of b. Grades have "
                "a scale only once the rank has stopped growing.",
            )
        )
    if parts:
        blocks.append(
            table(
                "Coverage of each element by the newest model's active set.",
                (
                    "element",
                    "rank",
                    "length of b",
                    "before last batch",
                    "environments",
                    "distinct",
                    "saturated",
                    "largest training γ",
                    "ln |det|",
                ),
                [_coverage_row(part) for part in parts],
                text_columns=("element", "saturated"),
            )
        )
    title = "Coverage of each element"
    return Section("coverage", title, blocks, pending="" if blocks else "a first active set")


def _coverage_row(part: ElementCoverage) -> list[Cell | str]:
    return [
        part.element,
        whole(part.rank),
        whole(part.n_projection),
        whole(part.rank_before_last_batch),
        whole(part.n_rows),
        whole(part.n_distinct_rows),
        Cell("yes" if part.is_saturated else "no", "yes" if part.is_saturated else "no"),
        figures(part.largest_training_grade, 4),
        figures(part.log_determinant),
    ]


__all__ = ["conditions", "coverage", "grades", "learning"]
