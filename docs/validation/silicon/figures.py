"""Figures of the comparison, in the style of the report."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from nepal_flows.report.figures.style import (
    SERIES,
    colour,
    in_style,
    legend_above,
    log_axis,
    new_figure,
)
from silicon.accuracy import by_key
from silicon.phonons import N_PER_SEGMENT, PATH
from silicon.results import Findings, folding_groups

_MARKERS = ("o", "s", "^", "D")


@in_style
def equation_of_state(findings: Findings) -> Figure:
    """Draw energy and pressure against volume, and the model's error of the energy."""
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    dft, model = findings.dft.eos, findings.model.eos
    fine = np.linspace(dft.volumes.min(), dft.volumes.max(), 200)
    for eos, name, tint, marker in ((dft, "DFT", "ink", "o"), (model, "NEP", "blue", None)):
        if marker:
            energies = 1000.0 * (eos.energies - dft.energy)
            left.plot(eos.volumes, energies, marker, color=colour(tint), label=name)
            right.plot(eos.volumes, eos.pressures, marker, color=colour(tint), label=name)
        else:
            left.plot(
                fine, 1000.0 * (eos.fitted(fine) - dft.energy), color=colour(tint), label=name
            )
            pressures = np.polynomial.Polynomial.fit(eos.volumes, eos.pressures, 5)
            right.plot(fine, pressures(fine), color=colour(tint), label=name)
    left.set(xlabel="volume (Å³/atom)", ylabel="energy (meV/atom)")
    right.axhline(0.0, color=colour("muted"), linewidth=0.9)
    right.set(xlabel="volume (Å³/atom)", ylabel="pressure (GPa)")
    legend_above(left, 2)
    return figure


@in_style
def parity(findings: Findings) -> Figure:
    """Draw force errors against forces, and energies against energies, by class."""
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    classes = by_key(findings.groups, 1)
    left.axhline(0.0, color=colour("muted"), linewidth=0.9)
    right.axhline(0.0, color=colour("muted"), linewidth=0.9)
    lowest = min(float(one.reference_energies.min()) for one in classes.values())
    for (name, one), tint, marker in reversed(
        list(zip(sorted(classes.items()), SERIES, _MARKERS, strict=False))
    ):
        style = {
            "linestyle": "none",
            "marker": marker,
            "color": colour(tint),
            "markeredgewidth": 0,
            "label": name,
        }
        errors = 1000.0 * (one.forces - one.reference_forces)
        left.plot(one.reference_forces.ravel(), errors.ravel(), markersize=2.2, alpha=0.6, **style)
        right.plot(
            one.reference_energies - lowest,
            1000.0 * (one.energies - one.reference_energies),
            markersize=4.5,
            alpha=0.8,
            **style,
        )
    left.set(xlabel="DFT force component (eV/Å)", ylabel="force error (meV/Å)")
    right.set(xlabel="DFT energy above the lowest (eV/atom)", ylabel="energy error (meV/atom)")
    legend_above(right, 2)
    return figure


@in_style
def phonons(findings: Findings) -> Figure:
    """Draw the dispersion between L, Gamma and X; marks where it is exact."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    for phonons_of, tint, dash, name in (
        (findings.dft.phonons, "ink", "-", "DFT"),
        (findings.model.phonons, "blue", (0, (4, 1.5)), "NEP"),
    ):
        start = 0.0
        for segment in phonons_of.path:
            x = start + np.linspace(0.0, 1.0, N_PER_SEGMENT)
            lines = axes.plot(x, segment, color=colour(tint), linestyle=dash, linewidth=1.3)
            start += 1.0
        lines[0].set_label(name)
        for place, (point, _) in enumerate(PATH):
            values = phonons_of.at_points[point].mean(axis=0)
            axes.plot(np.full(len(values), place), values, "o", color=colour(tint), markersize=4)
    axes.set_xticks(range(len(PATH)), [name for name, _ in PATH])
    axes.set(xlim=(-0.03, len(PATH) - 0.97), ylabel="frequency (THz)")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    legend_above(axes, 2)
    return figure


@in_style
def grades(findings: Findings) -> Figure:
    """Draw the true force error of every unseen atom against its grade."""
    figure = new_figure(3.4)
    axes: Axes = figure.subplots()
    classes = by_key(folding_groups(findings.groups), 1)
    for (name, one), tint, marker in zip(sorted(classes.items()), SERIES, _MARKERS, strict=False):
        axes.plot(
            np.maximum(one.grades, 1e-2),
            1000.0 * one.force_errors,
            linestyle="none",
            marker=marker,
            markersize=2.8,
            markeredgewidth=0,
            alpha=0.6,
            color=colour(tint),
            label=name,
        )
    training = 1000.0 * findings.safety.largest_training_error
    axes.axhline(training, color=colour("muted"), linewidth=0.9)
    axes.axvline(
        findings.safety.table.gamma_low,
        color=colour("orange"),
        linewidth=1.1,
        linestyle=(0, (1, 1.5)),
    )
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.annotate(
        "largest error in training",
        (0.995, training),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        color=colour("muted"),
        fontsize=8.5,
    )
    axes.set(xlabel="grade γ of the atom", ylabel="true force error (meV/Å)")
    legend_above(axes, 4)
    return figure


FIGURES: dict[str, Callable[[Findings], Figure]] = {
    "equation-of-state": equation_of_state,
    "errors": parity,
    "phonons": phonons,
    "grades": grades,
}
"""Figures by name of their file."""


def write_figures(findings: Findings, folder: Path) -> None:
    """Write every figure as a PNG file on white, of few colours so that it is small."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        buffer = io.BytesIO()
        draw(findings).savefig(buffer, format="png", dpi=120, facecolor="white")
        with Image.open(buffer) as image:
            few = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
            few.save(folder / f"{name}.png", optimize=True)


__all__ = ["FIGURES", "write_figures"]
