"""Figures of accuracy: parity, size of errors, grade against error, fresh trajectories."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nepal_flows.report.data import Dataset, ParityPoints, ReportData
from nepal_flows.report.facts import newest_calibration, validation_limits, validation_rows
from nepal_flows.report.figures.style import (
    DATASETS,
    colour,
    in_style,
    legend_above,
    log_axis,
    new_figure,
)
from nepal_flows.report.words import figures
from nepal_flows.schemas import CalibrationBin
from nepal_flows.typing import FloatArray

DATASET_ORDER: tuple[Dataset, ...] = ("train", "holdout", "validation")
_MANY = 600
"""Above this many points a panel shows their density."""


def _present(data: ReportData) -> list[ParityPoints]:
    found = [data.parity_of(name) for name in DATASET_ORDER]
    return [points for points in found if points is not None]


@in_style
def parity(data: ReportData) -> Figure | None:
    """Draw predicted against reference energies and forces, and the error of forces below.

    One column a data set; energies without their mean offset.
    """
    sets = _present(data)
    if not sets:
        return None
    figure = new_figure(7.2)
    grid = figure.subplots(3, 3, squeeze=False, height_ratios=(1.0, 1.0, 0.75))
    for axes in grid[:, len(sets) :].ravel():
        axes.set_visible(False)
    energies = [_finite(p.reference_energies, _centred(p)) for p in sets]
    forces = [_finite(p.reference_forces.ravel(), p.predicted_forces.ravel()) for p in sets]
    errors = [(reference, 1000.0 * (predicted - reference)) for reference, predicted in forces]
    for row, (pairs, unit) in enumerate(((energies, "meV/atom"), (forces, "meV/Å"))):
        limits = _limits([value for pair in pairs for value in pair])
        for axes, points, pair in zip(grid[row], sets, pairs, strict=False):
            axes.plot(limits, limits, color=colour("muted"), linewidth=0.9, zorder=1)
            _points(axes, pair, (limits, limits), points.dataset)
            axes.set_aspect("equal")
            _state_rmse(axes, pair, unit)
    extent = (_limits([x for x, _ in errors]), _limits([y for _, y in errors]))
    for axes, points, pair in zip(grid[2], sets, errors, strict=False):
        axes.axhline(0.0, color=colour("muted"), linewidth=0.9, zorder=1)
        _points(axes, pair, extent, points.dataset)
        axes.set_xlabel("reference force (eV/Å)")
    for axes, points in zip(grid[0], sets, strict=False):
        axes.set_title(DATASETS[points.dataset][2])
    labels = ("predicted energy (eV/atom)", "predicted force (eV/Å)", "force error (meV/Å)")
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.set_ylabel(label)
    return figure


def _centred(points: ParityPoints) -> FloatArray:
    """Return predicted energies without the mean offset from the reference."""
    offsets = points.predicted_energies - points.reference_energies
    known = offsets[np.isfinite(offsets)]
    return points.predicted_energies - (known.mean() if len(known) > 1 else 0.0)


def _finite(reference: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
    finite = np.isfinite(reference) & np.isfinite(predicted)
    return reference[finite], predicted[finite]


def _limits(values: Sequence[FloatArray]) -> tuple[float, float]:
    """Return limits that hold all values, with a margin."""
    everything = np.concatenate(values)
    if len(everything) == 0:
        return (-1.0, 1.0)
    low, high = float(everything.min()), float(everything.max())
    pad = 0.04 * (high - low) or 0.01
    return (low - pad, high + pad)


def _points(
    axes: Axes,
    pair: tuple[FloatArray, FloatArray],
    extent: tuple[tuple[float, float], tuple[float, float]],
    dataset: Dataset,
) -> None:
    """Draw points, or their density where they are many."""
    tint, marker, _ = DATASETS[dataset]
    if len(pair[0]) > _MANY:
        _density(axes, *pair, (*extent[0], *extent[1]), tint)
    else:
        axes.plot(
            *pair,
            linestyle="none",
            marker=marker,
            markersize=4,
            color=colour(tint),
            alpha=0.75,
            markeredgewidth=0,
        )
    axes.set(xlim=extent[0], ylim=extent[1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5))


def _density(
    axes: Axes, x: FloatArray, y: FloatArray, extent: tuple[float, float, float, float], tint: str
) -> None:
    """Draw counts in hexagons as opacity, which reads on a light and on a dark ground."""
    cells = axes.hexbin(x, y, gridsize=44, extent=extent, mincnt=1, linewidths=0)
    counts = np.log1p(np.asarray(cells.get_array(), dtype=float))
    shades = np.round(0.25 + 0.75 * counts / counts.max(), 1)
    cells.set_array(None)
    cells.set_clip_on(False)  # all lie within; it halves the drawing
    cells.set_facecolor([(*to_rgb(colour(tint)), shade) for shade in shades])


def _state_rmse(axes: Axes, pair: tuple[FloatArray, FloatArray], unit: str) -> None:
    if len(pair[0]):
        rmse = 1000.0 * float(np.sqrt(np.mean((pair[1] - pair[0]) ** 2)))
        text = f"RMSE {figures(rmse)} {unit}"
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=8.5)


@in_style
def error_distribution(data: ReportData) -> Figure | None:
    """Draw the share of atoms whose force error is larger than a value, for every data set."""
    sets = _present(data)
    if not sets:
        return None
    figure = new_figure(2.9)
    axes = figure.subplots()
    largest = 1e-3
    for points, dash in zip(sets, ("-", (0, (5, 1.5)), (0, (1.5, 1.2))), strict=False):
        tint, _, label = DATASETS[points.dataset]
        errors = np.linalg.norm(points.predicted_forces - points.reference_forces, axis=1)
        errors = np.sort(1000.0 * errors[np.isfinite(errors)])
        if len(errors) == 0:
            continue
        largest = max(largest, float(errors[-1]))
        shares = 1.0 - np.arange(len(errors)) / len(errors)
        kept = np.unique(np.geomspace(1, len(errors), 200).astype(int))
        kept = np.unique(np.concatenate([kept - 1, len(errors) - kept]))
        axes.plot(
            np.maximum(errors[kept], 1e-3),
            shares[kept],
            color=colour(tint),
            linestyle=dash,
            label=label,
        )
    axes.set_xlim(largest / 300, 1.3 * largest)
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g} %"))
    axes.set(xlabel="force error of an atom (meV/Å)", ylabel="atoms with a larger error")
    legend_above(axes)
    return figure


@in_style
def calibration(data: ReportData) -> Figure | None:
    """Draw grade against true error for the newest model, and how safe `safe` was, by round."""
    newest = newest_calibration(data)
    if newest is None:
        return None
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1))
    _calibration_bins(left, newest.bins)
    if data.gamma_low is not None:
        left.axvline(data.gamma_low, color=colour("orange"), linewidth=1.1, linestyle=(0, (1, 1.5)))
        left.annotate(
            "called safe",
            (data.gamma_low, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            color=colour("muted"),
            fontsize=8.5,
        )
    log_axis(left, "x")
    log_axis(left, "y")
    left.set(
        xlabel=f"{data.score.named} of the atom",
        ylabel="true force error (meV/Å)",
    )
    legend_above(left, 3)
    _safe_history(right, data)
    return figure


def _calibration_bins(axes: Axes, bins: Sequence[CalibrationBin]) -> None:
    """Draw RMS, 99th percentile and largest error of every bin of grades."""
    bins = [part for part in bins if part.n_atoms]
    lows = [max(part.gamma_from, 0.1) for part in bins]
    highs = [
        part.gamma_to if part.gamma_to is not None and math.isfinite(part.gamma_to) else 5 * low
        for part, low in zip(bins, lows, strict=True)
    ]
    highs = [max(high, 1.2 * low) for low, high in zip(lows, highs, strict=True)]
    middles = [(low * high) ** 0.5 for low, high in zip(lows, highs, strict=True)]
    kinds = (
        ("force_max_meV_per_A", "^", "grey", "largest"),
        ("force_p99_meV_per_A", "D", "sky", "99 % are below"),
        ("force_rmse_meV_per_A", "o", "blue", "RMS"),
    )
    for field, marker, tint, label in kinds:
        values = [max(getattr(part, field), 1e-2) for part in bins]
        axes.hlines(values, lows, highs, color=colour(tint), linewidth=1.2, alpha=0.55)
        axes.plot(middles, values, marker=marker, linestyle="none", color=colour(tint), label=label)


def _safe_history(axes: Axes, data: ReportData) -> None:
    """Draw the largest true error among atoms called safe over the largest training error."""
    points = []
    for doc in data.iterations:
        table = doc.calibration
        largest = table.largest_error_called_safe_meV_per_A if table else None
        training = doc.training_errors.force_max_meV_per_A
        if largest is not None and training:
            points.append((doc.iteration or 0, largest / training))
    axes.axhline(1.0, color=colour("muted"), linewidth=0.9)
    axes.set_title("largest error called safe,\nin units of the largest training error")
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    if points:
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            color=colour("blue"),
            markerfacecolor=colour("ground"),
        )
        axes.set_ylim(0, 1.15 * max(1.0, *(ratio for _, ratio in points)))


@in_style
def validation(data: ReportData) -> Figure | None:
    """Draw force errors on fresh trajectories of the teacher as bars, one a condition."""
    doc = data.validation
    if doc is None:
        return None
    rows = [
        (name, errors.force_rmse_meV_per_A)
        for name, errors in validation_rows(data)
        if errors.force_rmse_meV_per_A is not None
    ]
    if not rows or doc.errors.force_rmse_meV_per_A is None:
        return None
    rows.append(("all together", doc.errors.force_rmse_meV_per_A))
    figure = new_figure(0.34 * len(rows) + 0.75)
    axes = figure.subplots()
    where = np.arange(len(rows))[::-1]
    tints = [colour("green")] * (len(rows) - 1) + [colour("muted")]
    bars = axes.barh(where, [value for _, value in rows], height=0.6, color=tints)
    axes.bar_label(bars, fmt="%.3g", padding=4, fontsize=8.5)
    by_run, overall = validation_limits(data)
    limits = [by_run.get(name) for name, _ in rows[:-1]] + [overall]
    for height, limit in zip(where, limits, strict=True):
        if limit is not None:
            axes.vlines(limit, height - 0.42, height + 0.42, color=colour("orange"), linewidth=1.6)
    axes.set_yticks(where, [name for name, _ in rows])
    axes.tick_params(axis="y", labelcolor=colour("ink"))
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.set_xlabel("force RMSE (meV/Å)")
    return figure


__all__ = [
    "DATASET_ORDER",
    "calibration",
    "error_distribution",
    "parity",
    "validation",
]
