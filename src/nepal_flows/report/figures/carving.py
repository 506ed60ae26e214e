"""Fragments in their parents, coloured by grade before and after."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from nepal_flows.core.carving.regions import Region
from nepal_flows.core.structure import Structure
from nepal_flows.report.figures.style import COLOURS, in_style, new_figure
from nepal_flows.typing import FloatArray

_SLICE = 3.0
"""Atoms are shown up to so far above and below the centre, Å."""
_REACH = 16.0  # Å


@in_style
def fragment_figure(
    region: Region,
    fragment: Structure,
    *,
    grades: FloatArray,
    parent_grades: FloatArray,
    method: str,
    core_radius: float,
) -> Figure:
    """Return a fragment beside its parent: slices through the centre, coloured by grade.

    Parameters
    ----------
    region
        Surroundings of the centre in the parent, with grades where they are known.
    fragment
        The fragment; its first atom is the centre.
    grades, parent_grades
        Of its atoms, here and in the parent, shape (n_atoms,).
    method
        How it was made.
    core_radius
        Å.
    """
    first, second, normal = _frame(region.cell)
    largest = max(2.0, float(parent_grades.max()), float(grades.max()))
    norm = LogNorm(1.0, min(largest, 1e4), clip=True)
    figure = new_figure(3.05)
    axes = figure.subplots(1, 3)
    plane = np.stack([first, second])
    near = np.abs(region.positions @ normal) < _SLICE
    near &= (np.abs(region.positions @ plane.T) < _REACH).all(axis=1)
    _atoms(axes[0], region.positions[near] @ plane.T, region.grades[near], norm, size=16.0)
    if method == "isolated":
        _circle(axes[0], core_radius)
    else:
        _outline(axes[0], fragment, plane)
    axes[0].set_title("in the parent")
    axes[0].set(xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH))
    vectors = fragment.positions - fragment.positions[0]
    turns = np.round(vectors @ np.linalg.inv(fragment.cell))
    near = np.abs((vectors - turns @ fragment.cell) @ normal) < _SLICE
    for panel, own, title in (
        (axes[1], parent_grades, "cut out"),
        (axes[2], grades, f"labelled ({method})"),
    ):
        points = _atoms(panel, vectors[near] @ plane.T, own[near], norm, size=40.0)
        _circle(panel, core_radius)
        panel.set_title(title)
    for panel in axes:
        panel.set_aspect("equal")
        panel.grid(visible=False)
        panel.tick_params(length=0.0)
        panel.set_xlabel("Å")
    bar = figure.colorbar(points, ax=axes.tolist(), shrink=0.75, pad=0.01)
    bar.set_label("grade")
    bar.set_ticks(_ticks(norm.vmax or 1.0), labels=[f"{x:g}" for x in _ticks(norm.vmax or 1.0)])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    return figure


def _ticks(largest: float) -> list[float]:
    """Return round grades from 1 to the largest."""
    steps = (1.0, 2.0, 5.0) if largest < 30.0 else (1.0,)
    rounds = [step * 10.0**power for power in range(5) for step in steps]
    return [grade for grade in rounds if grade <= largest]


def _frame(cell: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return unit vectors along the first cell vector, across it in the plane, and normal."""
    first = cell[0] / np.linalg.norm(cell[0])
    normal = np.cross(cell[0], cell[1])
    normal /= np.linalg.norm(normal)
    return first, np.cross(normal, first), normal


def _atoms(
    axes: Axes, places: FloatArray, grades: FloatArray, norm: Normalize, *, size: float
) -> PathCollection:
    known = np.isfinite(grades)
    axes.scatter(places[~known, 0], places[~known, 1], s=0.6 * size, color=COLOURS["line"])
    x, y = places[known].T
    return axes.scatter(x, y, c=grades[known], s=size, norm=norm, cmap="cividis", linewidths=0.0)


def _outline(axes: Axes, fragment: Structure, plane: FloatArray) -> None:
    """Draw where the fragment was cut."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    places = corners @ fragment.cell - fragment.positions[0]
    axes.plot(*(places @ plane.T).T, color=COLOURS["orange"])
    axes.plot(0.0, 0.0, marker="+", color=COLOURS["orange"], markersize=9)


def _circle(axes: Axes, radius: float) -> None:
    angle = np.linspace(0.0, 2.0 * np.pi, 60)
    axes.plot(
        radius * np.cos(angle), radius * np.sin(angle), color=COLOURS["orange"], linewidth=1.0
    )
    axes.plot(0.0, 0.0, marker="+", color=COLOURS["orange"], markersize=9)


__all__ = ["fragment_figure"]
