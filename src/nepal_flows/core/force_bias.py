"""Whether a model's forces are too small: the slope of predicted against reference forces.

Training sets of small, ideal cells hold many atoms without force. A model that learnt from them may
predict forces that are too small everywhere, which no RMSE tells. The slope of a regression through
the origin does; by magnitude and by condition it tells a bias from a region never sampled, which
shows in one condition alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.typing import FloatArray

SMALL_FORCE = 0.01
"""Forces below this are taken for none, eV/Å."""

LARGEST_SLOPE_ERROR = 0.03
"""Deviation of a slope from one above which forces count as biased."""

N_DECILES = 10


@dataclass(frozen=True)
class ForceSlope:
    """Predicted against reference forces of some atoms.

    Attributes
    ----------
    name
        The condition; empty for a part by magnitude, or for all.
    n_atoms
        Atoms.
    mean_force
        Mean reference force, eV/Å.
    slope
        Sum of predicted times reference components, over the sum of squared reference components.
    standard_error
        Of the slope, from the scatter about it.
    """

    name: str
    n_atoms: int
    mean_force: float
    slope: float
    standard_error: float

    @property
    def is_biased(self) -> bool:
        """Whether it is off by more than 3 %, and by more than twice its standard error."""
        off = abs(self.slope - 1.0)
        return off > LARGEST_SLOPE_ERROR and off > 2.0 * self.standard_error


@dataclass(frozen=True)
class ForceBias:
    """Slopes of predicted against reference forces.

    Attributes
    ----------
    whole
        Of all atoms.
    by_magnitude
        Of tenths of the atoms, by rising reference force; atoms without force are in none.
    by_condition
        Of the atoms of every condition.
    """

    whole: ForceSlope
    by_magnitude: tuple[ForceSlope, ...]
    by_condition: tuple[ForceSlope, ...]


def small_force_share(forces: FloatArray) -> float:
    """Return the share of atoms whose force is below 0.01 eV/Å; 0 of no atoms.

    Examples
    --------
    >>> small_force_share(np.array([[0.0, 0.0, 0.001], [0.3, 0.0, 0.0]]))
    0.5
    """
    if len(forces) == 0:
        return 0.0
    return float((np.linalg.norm(forces, axis=1) < SMALL_FORCE).mean())


def force_bias(
    reference: FloatArray, predicted: FloatArray, conditions: Sequence[str]
) -> ForceBias | None:
    """Return the slopes of predicted against reference forces; None of no atom with a force.

    Parameters
    ----------
    reference, predicted
        Forces, shape (n_atoms, 3), eV/Å.
    conditions
        The condition of every atom.
    """
    sizes = np.linalg.norm(reference, axis=1)
    felt = np.flatnonzero(sizes >= SMALL_FORCE)
    if len(felt) == 0:
        return None
    names = np.array(conditions)[felt]
    reference, predicted, sizes = reference[felt], predicted[felt], sizes[felt]
    parts = np.array_split(np.argsort(sizes, kind="stable"), N_DECILES)
    return ForceBias(
        whole=_slope("", reference, predicted),
        by_magnitude=tuple(_slope("", reference[p], predicted[p]) for p in parts if len(p)),
        by_condition=tuple(
            _slope(str(name), reference[names == name], predicted[names == name])
            for name in np.unique(names)
        ),
    )


def _slope(name: str, reference: FloatArray, predicted: FloatArray) -> ForceSlope:
    squares = float((reference**2).sum())
    slope = float((predicted * reference).sum()) / squares
    scatter = float(((predicted - slope * reference) ** 2).sum())
    freedom = max(reference.size - 1, 1)
    return ForceSlope(
        name=name,
        n_atoms=len(reference),
        mean_force=float(np.linalg.norm(reference, axis=1).mean()),
        slope=slope,
        standard_error=float(np.sqrt(scatter / freedom / squares)),
    )


__all__ = [
    "LARGEST_SLOPE_ERROR",
    "SMALL_FORCE",
    "ForceBias",
    "ForceSlope",
    "force_bias",
    "small_force_share",
]
