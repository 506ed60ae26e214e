"""What molecular dynamics is asked for and what it returns, whichever engine runs it."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from nepal_flows.core.structure import Structure
from nepal_flows.engines.outcome import Outcome
from nepal_flows.engines.trigger import MdState
from nepal_flows.typing import AnyArray, FloatArray, IntArray

Ensemble: TypeAlias = Literal["nve", "nvt", "npt"]


@dataclass(frozen=True)
class MdSegment:
    """A part of a protocol; two values are a linear ramp.

    Attributes
    ----------
    ensemble
        ``nve``, ``nvt`` (Langevin) or ``npt`` (Langevin, isotropic stochastic cell rescaling).
    temperature_K
        Target, or first and last target.
    n_steps
        Number of steps.
    pressure_GPa
        Target of ``npt``, or first and last target.
    """

    ensemble: Ensemble
    temperature_K: float | tuple[float, float]
    n_steps: int
    pressure_GPa: float | tuple[float, float] = 0.0


@dataclass(frozen=True, eq=False)
class MdFrame:
    """One frame of a run.

    Attributes
    ----------
    structure
        The frame, atoms wrapped into the cell at the last rebuild of the neighbour list.
    step
        Step of the run.
    gamma
        Largest grade; NaN if the run did not grade.
    grades
        Grade of every atom, shape (n_atoms,); empty if the run did not grade.
    """

    structure: Structure
    step: int
    gamma: float
    grades: FloatArray


@dataclass(frozen=True, eq=False)
class MdTrace:
    """One value per check.

    Attributes
    ----------
    step
        Steps of the run.
    temperature_K, target_temperature_K
        Kinetic and target temperature.
    potential_energy_eV, kinetic_energy_eV
        Of all atoms.
    pressure_GPa
        Positive when compressed.
    volume_A3
        Of the cell.
    gamma
        Largest grade of the frame; NaN if the run did not grade.
    gamma_by_element
        Largest grade of every element of the structure, by symbol.
    expected_rmse_eV_per_A, largest_bar_eV_per_A
        Force error of the frame, and of its worst atom, that the Bayesian error expects; None
        where it was not asked.
    """

    step: IntArray
    temperature_K: FloatArray
    target_temperature_K: FloatArray
    potential_energy_eV: FloatArray
    kinetic_energy_eV: FloatArray
    pressure_GPa: FloatArray
    volume_A3: FloatArray
    gamma: FloatArray
    gamma_by_element: dict[str, FloatArray] = field(default_factory=dict)
    expected_rmse_eV_per_A: FloatArray | None = None
    largest_bar_eV_per_A: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.step)

    def as_arrays(self) -> dict[str, AnyArray]:
        """Return the columns by name, those of elements as ``gamma.Cu``."""
        columns = {
            name: value
            for name, value in vars(self).items()
            if name != "gamma_by_element" and value is not None
        }
        by_element = {f"gamma.{name}": value for name, value in self.gamma_by_element.items()}
        return {**columns, **by_element}


@dataclass(frozen=True, eq=False)
class MdRun:
    """What came of a run.

    Attributes
    ----------
    outcome, reason
        How it ended, and why if it ended early.
    requested_steps, finished_steps
        Steps of the protocol, and steps that were run and passed the gate.
    candidates
        Thinned frames with ``gamma_low <= gamma <= candidate_ceiling``.
    audit
        Frames at checks drawn at random, whatever their grade.
    trace
        Every check.
    n_exceeded_checks
        Checks with ``gamma >= gamma_low``.
    n_above_ceiling
        Checks with ``gamma > candidate_ceiling``, whose frames were refused.
    final
        The last frame that was reached.
    program
        Program that ran it, with its version; None for this package itself.
    gpu_s
        Time that a GPU was held, s.
    state
        Where a trajectory stands that dynamic training interrupted.
    """

    outcome: Outcome
    reason: str | None
    requested_steps: int
    finished_steps: int
    candidates: tuple[MdFrame, ...]
    audit: tuple[MdFrame, ...]
    trace: MdTrace
    n_exceeded_checks: int
    n_above_ceiling: int
    final: Structure
    program: str | None = None
    gpu_s: float = 0.0
    state: MdState | None = None

    @property
    def n_checks(self) -> int:
        """Frames graded."""
        return len(self.trace)

    @property
    def gamma_max(self) -> float:
        """Largest grade of the run; NaN without checks or grades."""
        return float(self.trace.gamma.max()) if len(self.trace) else float("nan")

    @property
    def gamma_max_by_element(self) -> dict[str, float]:
        """Largest grade of every element."""
        return {
            symbol: float(grades.max())
            for symbol, grades in self.trace.gamma_by_element.items()
            if len(grades)
        }


def run_without_steps(
    structure: Structure, requested_steps: int, *, outcome: Outcome, reason: str | None
) -> MdRun:
    """Return the run of which nothing is known but why it did not get on."""
    nothing = np.zeros(0)
    trace = MdTrace(
        step=np.zeros(0, dtype=np.int64),
        temperature_K=nothing,
        target_temperature_K=nothing,
        potential_energy_eV=nothing,
        kinetic_energy_eV=nothing,
        pressure_GPa=nothing,
        volume_A3=nothing,
        gamma=nothing,
    )
    return MdRun(
        outcome=outcome,
        reason=reason,
        requested_steps=requested_steps,
        finished_steps=0,
        candidates=(),
        audit=(),
        trace=trace,
        n_exceeded_checks=0,
        n_above_ceiling=0,
        final=structure,
    )


__all__ = [
    "Ensemble",
    "MdFrame",
    "MdRun",
    "MdSegment",
    "MdTrace",
    "run_without_steps",
]
