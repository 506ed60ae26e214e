"""Figures of the loop: errors against labels, grades by condition and round, rank by element."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nepal_flows.report.data import GradeTrace, ReportData
from nepal_flows.report.facts import holdout_rmse, training_rmse
from nepal_flows.report.figures.style import (
    DATASETS,
    SERIES,
    colour,
    in_style,
    log_axis,
    new_figure,
)
from nepal_flows.report.words import force_rmse
from nepal_flows.schemas import ConditionVerdict, Errors, IterationDoc
from nepal_flows.typing import FloatArray

_GRADE_FLOOR = 1e-2
"""Grades below this are drawn here: a logarithmic axis has no zero."""


@in_style
def learning_curve(data: ReportData) -> Figure | None:
    """Draw force errors against the number of training labels, one point an iteration."""
    series: dict[str, list[Errors | None]] = {
        "train": [doc.training_errors for doc in data.iterations],
        "holdout": [doc.holdout_errors for doc in data.iterations],
        "new": [doc.new_label_errors for doc in data.iterations],
    }
    if not any(_force(errors) for values in series.values() for errors in values):
        return None
    figure = new_figure(3.3)
    axes, final = figure.subplots(1, 2, sharey=True, width_ratios=(7, 1))
    for name, values in series.items():
        _error_series(axes, data.iterations, values, name)
    if _final_errors(data):
        _final_points(final, data)
    else:
        final.set_visible(False)
    log_axis(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))
    axes.set(xlabel="labels trained on", ylabel="force RMSE (meV/Å)")
    axes.margins(x=0.04, y=0.12)
    handles = {
        label: handle
        for panel in (final, axes)
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=4)
    return figure


def _force(errors: Errors | None) -> float | None:
    value = force_rmse(errors)
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _error_series(
    axes: Axes, iterations: Sequence[IterationDoc], values: Sequence[Errors | None], name: str
) -> None:
    points = [
        (doc.n_labels_training, force)
        for doc, errors in zip(iterations, values, strict=True)
        if (force := _force(errors)) is not None
    ]
    if points:
        tint, marker, label = DATASETS[name]
        axes.plot(
            *zip(*points, strict=True),
            marker=marker,
            color=colour(tint),
            label=label,
            markerfacecolor=colour("ground"),
        )


def _final_errors(data: ReportData) -> list[tuple[str, float]]:
    """Return the force errors of the delivered model where they are more than its round's."""
    model, validation = data.delivered_model, data.validation
    found: list[tuple[str, float | None]] = []
    if model is not None and model.stage == "final":
        found += [("train", training_rmse(data)), ("holdout", holdout_rmse(data))]
    if validation is not None:
        found.append(("validation", force_rmse(validation.errors)))
    return [(name, force) for name, force in found if force is not None and force > 0]


def _final_points(axes: Axes, data: ReportData) -> None:
    """Mark the errors of the delivered model in a strip of their own."""
    for number, (name, force) in enumerate(_final_errors(data)):
        tint, marker, label = DATASETS[name]
        axes.plot(number, force, marker=marker, color=colour(tint), linestyle="none", label=label)
    axes.set_xlim(-0.9, 2.9)
    axes.set_xticks([])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("delivered\nmodel")


@in_style
def grade_rounds(data: ReportData) -> Figure | None:
    """Draw the largest and median grade of every condition, round by round."""
    by_condition: dict[str, list[tuple[IterationDoc, ConditionVerdict]]] = {}
    for doc in data.iterations:
        for verdict in doc.conditions:
            by_condition.setdefault(verdict.condition, []).append((doc, verdict))
    if not by_condition:
        return None
    figure, panels = _panels(len(by_condition), height=1.75)
    for axes, (name, rounds) in zip(panels, by_condition.items(), strict=True):
        _grade_panel(axes, name, rounds, data.gamma_low)
    _share_axes(panels, data.score.named, "round")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def _grade_panel(
    axes: Axes,
    name: str,
    rounds: Sequence[tuple[IterationDoc, ConditionVerdict]],
    gamma_low: float | None,
) -> None:
    where = np.array([doc.iteration or 0 for doc, _ in rounds])
    largest = np.array([max(verdict.gamma_max, _GRADE_FLOOR) for _, verdict in rounds])
    median = np.array([max(verdict.gamma_median, _GRADE_FLOOR) for _, verdict in rounds])
    clean = np.array([verdict.is_clean for _, verdict in rounds])
    _grade_axis(axes, gamma_low)
    axes.plot(
        where, median, color=colour("grey"), linewidth=1.3, linestyle=(0, (4, 1.5)), label="median"
    )
    axes.plot(where, largest, color=colour("blue"), label="largest")
    for mask, face, label in (
        (~clean, "ground", "round not clean"),
        (clean, "blue", "round clean"),
    ):
        axes.plot(
            where[mask],
            largest[mask],
            linestyle="none",
            marker="o",
            color=colour("blue"),
            markerfacecolor=colour(face),
            label=label,
        )
    for doc, _ in rounds:
        if doc.phase == "confirmation" and doc.iteration is not None:
            axes.axvspan(
                doc.iteration - 0.45,
                doc.iteration + 0.45,
                color=colour("green"),
                alpha=0.14,
                linewidth=0,
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_title(name + (" (extreme)" if rounds[-1][1].is_extreme else ""))


def _grade_axis(axes: Axes, gamma_low: float | None) -> None:
    if gamma_low is not None:
        axes.axhline(gamma_low, color=colour("orange"), linewidth=1.0, linestyle=(0, (1, 1.5)))


def _n_columns(n_panels: int) -> int:
    return 2 if n_panels == 4 else min(3, n_panels)


def _panels(n_panels: int, height: float) -> tuple[Figure, list[Axes]]:
    n_columns = _n_columns(n_panels)
    n_rows = math.ceil(n_panels / n_columns)
    figure = new_figure(height * n_rows + 0.5)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.ravel())
    for axes in panels[n_panels:]:
        axes.set_visible(False)
    for axes in panels[max(0, n_panels - n_columns) : n_panels]:
        axes.tick_params(labelbottom=True)
    return figure, panels[:n_panels]


def _share_axes(panels: Sequence[Axes], y_label: str, x_label: str) -> None:
    for axes in panels:
        log_axis(axes, "y")
        specification = axes.get_subplotspec()
        if specification is not None and specification.is_first_col():
            axes.set_ylabel(y_label)
    for axes in panels[-_n_columns(len(panels)) :]:
        axes.set_xlabel(x_label)


@in_style
def grade_traces(data: ReportData) -> Figure | None:
    """Draw the grade along every run of the newest round that has traces."""
    traces = [trace for trace in data.traces if len(trace.steps)]
    if not traces:
        return None
    newest = max(trace.iteration for trace in traces)
    by_condition: dict[str, list[GradeTrace]] = {}
    for trace in traces:
        if trace.iteration == newest:
            by_condition.setdefault(trace.condition, []).append(trace)
    ordered = [name for name in data.conditions if name in by_condition]
    is_long = max(float(run.steps[-1]) for runs in by_condition.values() for run in runs) > 5000
    figure, panels = _panels(len(ordered), height=1.6)
    for axes, name in zip(panels, ordered, strict=True):
        _grade_axis(axes, data.gamma_low)
        for number, run in enumerate(by_condition[name]):
            steps, grades = _thinned(run.steps, run.grades)
            tint = colour(SERIES[number % len(SERIES)])
            x = steps / 1000 if is_long else steps
            axes.plot(x, grades, color=tint, linewidth=0.9, alpha=0.85)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_title(name)
    _share_axes(panels, data.score.named, "MD step (thousands)" if is_long else "MD step")
    return figure


def _thinned(
    steps: FloatArray, grades: FloatArray, most: int = 240
) -> tuple[FloatArray, FloatArray]:
    """Return the largest grade of every block of steps, so that no peak is lost."""
    grades = np.maximum(np.where(np.isfinite(grades), grades, np.nan), _GRADE_FLOOR)
    n_blocks = min(most, len(steps))
    edges = np.linspace(0, len(steps), n_blocks, endpoint=False).astype(int)
    return steps[edges], np.fmax.reduceat(grades, edges)


@in_style
def coverage(data: ReportData) -> Figure | None:
    """Draw rank over length of b, and distinct training environments, by element and iteration."""
    rows = [(doc.iteration or 0, part) for doc in data.iterations for part in doc.coverage]
    if not rows:
        return None
    figure = new_figure(2.7)
    left, right = figure.subplots(1, 2)
    for number, element in enumerate(dict.fromkeys(part.element for _, part in rows)):
        own = [(where, part) for where, part in rows if part.element == element]
        where = [iteration for iteration, _ in own]
        style = {
            "color": colour(SERIES[number % len(SERIES)]),
            "marker": "osD^vP*X"[number % 8],
            "markerfacecolor": colour("ground"),
            "label": element,
        }
        left.plot(where, [part.rank / part.n_projection for _, part in own], **style)
        right.plot(where, [part.n_distinct_rows / part.n_projection for _, part in own], **style)
    left.set_ylim(0, 1.05)
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.axhline(1.0, color=colour("orange"), linewidth=1.0, linestyle=(0, (1, 1.5)))
    right.set_ylim(bottom=0)
    left.set_title("rank, share of the length of b")
    right.set_title("distinct environments per component of b")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.set_xlabel("round")
    left.legend(loc="lower right", ncols=3)
    return figure


__all__ = ["coverage", "grade_rounds", "grade_traces", "learning_curve"]
