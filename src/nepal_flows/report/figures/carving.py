"""Fragments in their parents, coloured by grade before and after."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from nepal_flows.core.carving.carve import Carving
from nepal_flows.core.carving.fragments import nearest_vectors
from nepal_flows.core.carving.regions import Region
from nepal_flows.report.figures.style import COLOURS, in_style, new_figure
from nepal_flows.typing import FloatArray

_SLICE = 3.0
"""Atoms are shown up to so far above and below the centre, Å."""
_REACH = 16.0  # Å


@in_style
def fragment_figure(region: Region, carving: Carving) -> Figure:
    """Return a fragment beside its parent: slices through the centre, coloured by grade.

    Parameters
    ----------
    region
        Surroundings of the centre in the parent, with grades where they are known.
    carving
        The fragment and what it kept.
    """
    fragment, fidelity = carving.fragment, carving.fidelity
    first, second, normal = _frame(region.cell)
    largest = max(2.0, float(fidelity.parent_grades.max()), float(fidelity.grades.max()))
    norm = LogNorm(1.0, min(largest, 1e4), clip=True)
    figure = new_figure(3.05)
    axes = figure.subplots(1, 3)
    plane = np.stack([first, second])
    near = np.abs(region.positions @ normal) < _SLICE
    near &= (np.abs(region.positions @ plane.T) < _REACH).all(axis=1)
    _atoms(axes[0], region.positions[near] @ plane.T, region.grades[near], norm, size=16.0)
    _outline(axes[0], carving, region, plane)
    axes[0].set_title("in the parent")
    vectors = fragment.structure.positions - fragment.structure.positions[0]
    near = np.abs(nearest_vectors(fragment) @ normal) < _SLICE
    for panel, grades, title in (
        (axes[1], fidelity.parent_grades, "cut out"),
        (axes[2], fidelity.grades, f"labelled ({carving.method})"),
    ):
        points = _atoms(panel, vectors[near] @ plane.T, grades[near], norm, size=40.0)
        _core(panel, fragment.core_radius)
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


def _outline(axes: Axes, carving: Carving, region: Region, plane: FloatArray) -> None:
    """Draw where the fragment was cut."""
    box = carving.fragment.box
    if box is None:
        angle = np.linspace(0.0, 2.0 * np.pi, 60)
        radius = carving.fragment.core_radius
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=COLOURS["orange"])
        return
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    fractions = np.zeros((5, 3))
    fractions[:, :2] = box.low[:2] + corners * box.lengths[:2]
    axes.plot(*((fractions @ region.cell) @ plane.T).T, color=COLOURS["orange"])
    axes.plot(0.0, 0.0, marker="+", color=COLOURS["orange"], markersize=9)
    axes.set_xlim(-_REACH, _REACH)
    axes.set_ylim(-_REACH, _REACH)


def _core(axes: Axes, radius: float) -> None:
    angle = np.linspace(0.0, 2.0 * np.pi, 60)
    axes.plot(
        radius * np.cos(angle), radius * np.sin(angle), color=COLOURS["orange"], linewidth=1.0
    )
    axes.plot(0.0, 0.0, marker="+", color=COLOURS["orange"], markersize=9)


__all__ = ["fragment_figure"]
