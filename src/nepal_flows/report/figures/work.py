"""Figures of the work: what it cost, what was selected, how the trainings went."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nepal_flows.report.data import LossHistory, ReportData
from nepal_flows.report.figures.style import (
    colour,
    in_style,
    legend_above,
    log_axis,
    new_figure,
)
from nepal_flows.report.words import refusal, round_name

STAGES = (
    "seed",
    "label",
    "train",
    "active set",
    "posterior",
    "committee",
    "explore",
    "select",
    "assess",
    "validate",
)
"""Stages in the order they run; others follow."""

_TINTS = {
    "seed": "muted",
    "label": "blue",
    "train": "orange",
    "active set": "green",
    "posterior": "line",
    "committee": "ink",
    "explore": "purple",
    "select": "amber",
    "assess": "grey",
    "validate": "sky",
}


def stage_names(data: ReportData) -> list[str]:
    """Return the stages that have a cost, in the order they run."""
    present = {stage for _, stages in data.cost_by_iteration() for stage in stages}
    return [name for name in STAGES if name in present] + sorted(present - set(STAGES))


@in_style
def cost(data: ReportData) -> Figure | None:
    """Draw the time of every stage, over all its tasks, as stacked bars, one an iteration."""
    rows = data.cost_by_iteration()
    stages = stage_names(data)
    longest = max((sum(c.wall_s for c in part.values()) for _, part in rows), default=0.0)
    if longest <= 0:
        return None
    unit, seconds = ("s", 1.0) if longest < 300 else ("min", 60.0)
    if longest > 3 * 3600:
        unit, seconds = "h", 3600.0
    figure = new_figure(0.26 * len(rows) + 1.0)
    axes = figure.subplots()
    where = np.arange(len(rows))[::-1]
    left = np.zeros(len(rows))
    for name in stages:
        values = [part[name].wall_s / seconds if name in part else 0.0 for _, part in rows]
        axes.barh(
            where,
            values,
            left=left,
            height=0.68,
            label=name,
            color=colour(_TINTS.get(name, "ink")),
            edgecolor=colour("ground"),
            linewidth=0.8,
        )
        left += values
    axes.set_yticks(where, [name if not name.isdigit() else f"round {name}" for name, _ in rows])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"time of all tasks together ({unit})")
    legend_above(axes, 8)
    return figure


@in_style
def selection(data: ReportData) -> Figure | None:
    """Draw how many candidates were chosen and refused, by reason and iteration."""
    docs = [doc for doc in data.selections if doc.n_candidates or doc.selected]
    if not docs:
        return None
    reasons = list(dict.fromkeys(reason for doc in docs for reason in doc.refused))
    series = {
        "chosen for training": [sum(f.role == "train" for f in doc.selected) for doc in docs],
        "chosen for the hold-out": [sum(f.role == "holdout" for f in doc.selected) for doc in docs],
    }
    series |= {
        f"refused: {refusal(reason)}": [doc.refused.get(reason, 0) for doc in docs]
        for reason in reasons
    }
    figure = new_figure(2.9 + 0.16 * ((len(series) + 1) // 2))
    axes = figure.subplots()
    where = np.arange(len(docs))
    base = np.zeros(len(docs))
    tints = ("green", "blue", "grey", "amber", "orange", "purple", "sky")
    for number, (name, values) in enumerate(series.items()):
        if not any(values):
            continue
        axes.bar(
            where,
            values,
            bottom=base,
            width=0.68,
            label=name,
            color=colour(tints[number % len(tints)]),
            edgecolor=colour("ground"),
            linewidth=0.8,
        )
        base += values
    axes.set_xticks(where, [round_name(doc.iteration) for doc in docs])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="round", ylabel="candidate frames")
    legend_above(axes, 2)
    return figure


@in_style
def training_loss(data: ReportData) -> Figure | None:
    """Draw the errors during the newest training."""
    if not data.histories:
        return None
    history = data.histories[-1]
    series = _loss_series(history)
    if not series:
        return None
    figure = new_figure(2.9)
    axes = figure.subplots()
    steps = history.values[:, 0]
    for name, values, tint, dash in series:
        axes.plot(steps, values, color=colour(tint), linestyle=dash, linewidth=1.4, label=name)
    log_axis(axes, "y")
    axes.set(xlabel="training step", ylabel="RMSE (eV/atom, eV/Å)")
    legend_above(axes, 6)
    return figure


def _loss_series(history: LossHistory) -> list[tuple[str, np.ndarray, str, object]]:
    """Return the drawable columns: name, values, colour, dash."""
    tints = {"energy": "purple", "force": "blue", "virial": "amber", "stress": "amber"}
    series: list[tuple[str, np.ndarray, str, object]] = []
    for name in history.columns[1:]:
        quantity, _, dataset = name.partition("_")
        values = history.column(name)
        if quantity not in tints or values is None:
            continue
        if np.any(np.isfinite(values) & (values > 0)):
            shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
            is_test = dataset in {"test", "holdout"}
            label = f"{quantity}, {'hold-out' if is_test else 'training'}"
            series.append((label, shown, tints[quantity], (0, (4, 1.5)) if is_test else "-"))
    return series


__all__ = ["STAGES", "cost", "selection", "stage_names", "training_loss"]
