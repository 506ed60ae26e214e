"""When dynamic training interrupts a trajectory, and how the trajectory goes on afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray

_FEWEST_FOR_MEAN = 5


@dataclass(frozen=True)
class Trigger:
    """Which error bar is too large to go on.

    The largest bar of a frame's atoms is compared with an absolute limit and, where a factor is
    given, with its own average along the trajectory, above a floor: that is the published rule,
    with standard deviations in place of variances. Averages are over the steps since the model was
    made: bars of earlier models say nothing about this one.

    Attributes
    ----------
    limit
        Largest bar that is let pass, eV/Å.
    gap_steps
        Steps after a new model in which nothing interrupts.
    factor
        Of the relative rule; None for the absolute limit alone.
    floor
        Bar below which the relative rule does not interrupt, eV/Å.
    average_steps
        Length of the average.
    score
        Largest score that is let pass however small the bar: bars far from all labels are not
        believed.
    """

    limit: float
    gap_steps: int = 20
    factor: float | None = None
    floor: float = 0.0
    average_steps: int = 1000
    score: float = float("inf")

    def __post_init__(self) -> None:
        if not self.limit > 0.0 or self.gap_steps < 1 or self.average_steps < 1:
            raise InputError(
                f"A trigger at {self.limit} eV/Å with a gap of {self.gap_steps} steps and an "
                f"average over {self.average_steps} makes no sense; all must be positive."
            )

    def reason(
        self, n_steps: int, bars: Sequence[float], interval: int, *, score: float = 0.0
    ) -> str | None:
        """Return why the trajectory is interrupted, or None.

        Parameters
        ----------
        n_steps
            Steps since the model was made.
        bars
            Largest bar of every check since then, eV/Å, the last one of this step.
        interval
            Steps between checks.
        score
            Largest score of this step.
        """
        if n_steps < self.gap_steps:
            return None
        last = bars[-1]
        if last > self.limit:
            return f"error bar {last:.3g} eV/Å, limit {self.limit:g}"
        if score > self.score:
            return f"error bar {last:.3g} eV/Å at R = {score:.3g}, believed up to {self.score:g}"
        return None if self.factor is None else self._relative_reason(bars, interval, self.factor)

    def _relative_reason(self, bars: Sequence[float], interval: int, factor: float) -> str | None:
        last = bars[-1]
        before = bars[-1 - max(1, self.average_steps // interval) : -1]
        if last <= self.floor or len(before) < _FEWEST_FOR_MEAN:
            return None
        mean = float(np.sqrt(np.mean(np.square(before))))
        if last <= factor * mean:
            return None
        return f"error bar {last:.3g} eV/Å, {last / mean:.2f} times its average"


@dataclass(frozen=True, eq=False)
class MdState:
    """Where a trajectory stands.

    Attributes
    ----------
    structure
        Its atoms.
    velocities
        Shape (n_atoms, 3), Å/fs.
    step
        Steps of the protocol that are done.
    first_volume
        Volume at step 0, Å^3, which the physics gate goes by.
    """

    structure: Structure
    velocities: FloatArray
    step: int
    first_volume: float


__all__ = ["MdState", "Trigger"]
