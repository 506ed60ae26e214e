"""Scores of atoms by error bars, and the scores of several criteria on one scale.

The score of an atom by a criterion with error bars is its R, the bar over its root mean square on
the training set; where the bar is at or below the accuracy that is wanted, the atom counts as known
and its score is at most 1. Several criteria are combined by OR: their scores become *levels*, on
which 1 is the criterion's limit and one number is the ceiling of all, and the largest decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class ForceBars:
    """Error bars of the forces of one frame.

    Attributes
    ----------
    forces
        Of a force component of every atom, eV/Å, shape (n_atoms,).
    ratios
        R of every atom, dimensionless, shape (n_atoms,).
    """

    forces: FloatArray
    ratios: FloatArray

    @property
    def force_rms(self) -> float:
        """Expected root-mean-square force error of the frame, eV/Å."""
        return float(np.sqrt(np.mean(self.forces**2)))

    @property
    def largest_force(self) -> float:
        """Largest bar of any atom, eV/Å."""
        return float(self.forces.max())


class BarSource(Protocol):
    """What gives error bars: a posterior with its model, or a committee."""

    def bars(self, structure: Structure) -> ForceBars:
        """Return the error bars of a structure's forces."""
        ...


@dataclass(frozen=True)
class Scale:
    """From the scores of one criterion to levels; as it is made, scores stay what they are.

    Attributes
    ----------
    low
        Score of the level 1.
    exponent
        A level is the power of score over `low` with this exponent.
    wanted
        Error of a force component that is good enough, eV/Å.
    believed
        R up to which bars that are good enough are believed.
    """

    low: float = 1.0
    exponent: float = 1.0
    wanted: float = 0.0
    believed: float = np.inf

    def levels(self, scores: FloatArray) -> FloatArray:
        """Return the levels of scores, dimensionless, of the same shape."""
        if self.low == 1.0 and self.exponent == 1.0:
            return scores
        levels: FloatArray = (scores / self.low) ** self.exponent
        return levels


@dataclass(frozen=True, eq=False)
class BarScore:
    """One criterion that goes by error bars.

    Attributes
    ----------
    source
        Gives the bars.
    scale
        Of its scores.
    """

    source: BarSource
    scale: Scale = Scale()


def atom_scores(bars: ForceBars, wanted: float = 0.0, *, believed: float = np.inf) -> FloatArray:
    """Return the score of every atom, dimensionless, shape (n_atoms,).

    Parameters
    ----------
    bars
        Of the frame.
    wanted
        Error of a force component that is good enough, eV/Å; atoms with bars up to it score
        below 1, the more the larger R.
    believed
        R up to which a small bar is believed; beyond it an atom counts as unknown.
    """
    known = (bars.forces <= wanted) & (bars.ratios <= believed)
    # Below 1, but not constant: windows are as long as the score remembers.
    return np.where(known, bars.ratios / (1.0 + bars.ratios), bars.ratios)


def scored_bars(criteria: Sequence[BarScore], structure: Structure) -> ForceBars:
    """Return the larger bar of every atom, and as its ratio the larger level, over all criteria.

    Parameters
    ----------
    criteria
        At least one.
    structure
        The frame.
    """
    found = [(criterion.source.bars(structure), criterion.scale) for criterion in criteria]
    return ForceBars(
        forces=np.max([bars.forces for bars, _ in found], axis=0),
        ratios=np.max(
            [
                scale.levels(atom_scores(bars, scale.wanted, believed=scale.believed))
                for bars, scale in found
            ],
            axis=0,
        ),
    )


__all__ = ["BarScore", "BarSource", "ForceBars", "Scale", "atom_scores", "scored_bars"]
