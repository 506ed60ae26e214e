"""Whether small cells pay: equal labelled atoms in small cells and in large ones, side by side.

Equal numbers of labelled atoms gave equal errors wherever it was measured, so what is compared is
the time of as many atoms. It rests on times that the campaign file states
(`small_cells.label_seconds`), else on the forecast's guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from nepal_flows.campaign.forecast import label_seconds, reduced_kpoints
from nepal_flows.campaign.labels import AseLabels
from nepal_flows.campaign.model import Campaign
from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray

LARGE_CELL = 32
"""Atoms of the cells that small ones are compared with."""

_WORTH_IT = 0.8


@dataclass(frozen=True)
class Advice:
    """As many labelled atoms in small cells as in large ones.

    Attributes
    ----------
    n_atoms
        Atoms of a small and of a large cell, on average.
    n_labels
        Labels of either kind.
    cpu_s
        What they are expected to take, s.
    break_even_s
        Time per call, whatever its size, at which both take as long; None where small cells cost
        more without any.
    is_measured
        Whether it rests on times that were stated.
    """

    n_atoms: tuple[float, float]
    n_labels: tuple[int, int]
    cpu_s: tuple[float, float]
    break_even_s: float | None
    is_measured: bool

    @property
    def pays(self) -> bool:
        """Whether small cells take less than four fifths of the time."""
        return self.cpu_s[0] < _WORTH_IT * self.cpu_s[1]


def small_cell_advice(
    campaign: Campaign,
    *,
    n_rows: float,
    labelled: Sequence[Structure],
    primitive_n_atoms: int,
    valences: Mapping[str, float],
) -> Advice:
    """Return what as many atoms cost in small cells and in cells of 32 atoms.

    Parameters
    ----------
    campaign
        The campaign, with its `small_cells`.
    n_rows
        Atoms to be labelled.
    labelled
        Structures like those that will be labelled.
    primitive_n_atoms
        Atoms of the primitive cell.
    valences
        Valence electrons per element.
    """
    assert campaign.small_cells is not None
    small = sum(s.n_atoms for s in labelled) / len(labelled)
    sizes = (small, float(max(LARGE_CELL, primitive_n_atoms)))
    stated = campaign.small_cells.label_seconds
    volume = sum(s.volume for s in labelled) / sum(s.n_atoms for s in labelled)
    if len(stated) > 1:
        law = cost_law(stated)
        times = [float(law @ _powers(n)) for n in sizes]
        overhead = float(law[0])
    else:
        times = [_guess(campaign, n, volume, primitive_n_atoms, valences) for n in sizes]
        overhead = 0.0
    counts = [n_rows / n for n in sizes]
    beyond = [n * (t - overhead) for n, t in zip(counts, times, strict=True)]
    gain, more = beyond[1] - beyond[0], counts[0] - counts[1]
    return Advice(
        n_atoms=sizes,
        n_labels=(max(1, round(counts[0])), max(1, round(counts[1]))),
        cpu_s=(counts[0] * times[0], counts[1] * times[1]),
        break_even_s=gain / more if gain > 1e-6 * beyond[1] and more > 0.0 else None,
        is_measured=len(stated) > 1,
    )


def cost_law(stated: Mapping[int, float]) -> FloatArray:
    """Return t = c0 + c1 N + c2 N^2 + c3 N^3, no coefficient negative, through stated times.

    Examples
    --------
    >>> cost_law({2: 9.0, 16: 51.0, 4: 15.0}).round(6)
    array([3., 3., 0., 0.])
    """
    sizes = np.array(sorted(stated), dtype=np.float64)
    times = np.array([stated[int(n)] for n in sizes])
    weights = 1.0 / np.maximum(times, 1e-9)
    rows = np.array([_powers(n) for n in sizes]) * weights[:, None]
    scale = np.linalg.norm(rows, axis=0)
    found, _ = nnls(rows / scale, times * weights)
    return np.asarray(found / scale)


def advice_line(advice: Advice) -> str:
    """Return an advice as a sentence or two."""
    (small, large), (n_small, n_large) = advice.n_atoms, advice.n_labels
    ratio = advice.cpu_s[0] / max(advice.cpu_s[1], 1e-12)
    verdict = "Small cells pay" if advice.pays else "Small cells do not pay"
    if not advice.pays and ratio <= 1.0:
        verdict = "Small cells hardly pay"
    basis = "times stated" if advice.is_measured else "a guess, within a factor of 3"
    text = (
        f"{verdict}: {n_small} labels of {small:.1f} atoms take {ratio:.2g} times the CPU time of "
        f"{n_large} of {large:g} ({basis}), for as many atoms."
    )
    if advice.break_even_s is not None:
        return f"{text} A call may take {advice.break_even_s:.2g} s whatever its size."
    unsure = "" if advice.is_measured else " State `small_cells.label_seconds` to be sure."
    return text + unsure


def _powers(n_atoms: float) -> FloatArray:
    return np.array([1.0, n_atoms, n_atoms**2, n_atoms**3])


def _guess(
    campaign: Campaign,
    n_atoms: float,
    volume_per_atom: float,
    primitive_n_atoms: int,
    valences: Mapping[str, float],
) -> float:
    labels, points = campaign.labels, 1.0
    if not isinstance(labels, AseLabels):
        points = reduced_kpoints(
            labels.kpoints,
            n_atoms=n_atoms,
            volume=n_atoms * volume_per_atom,
            primitive_n_atoms=primitive_n_atoms,
        )
    return label_seconds(labels, n_atoms=n_atoms, n_kpoints=points, valences=valences)


__all__ = ["LARGE_CELL", "Advice", "advice_line", "cost_law", "small_cell_advice"]
