"""What a native run gathers: scores, frames worth labelling, frames at random, and the trace."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.md.dynamics import Checks, Stretch
from nepal_flows.core.md.thinning import BestOfBlocks
from nepal_flows.core.scoring import BarScore, Scale, scored_bars
from nepal_flows.core.structure import Structure
from nepal_flows.engines.md_run import MdFrame, MdRun, MdTrace
from nepal_flows.engines.outcome import Outcome
from nepal_flows.engines.trigger import MdState, Trigger
from nepal_flows.errors import StructureError
from nepal_flows.typing import FloatArray
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA

_COLUMNS = {
    "step": "steps",
    "temperature_K": "temperature",
    "target_temperature_K": "target_temperature",
    "potential_energy_eV": "potential_energy",
    "kinetic_energy_eV": "kinetic_energy",
    "pressure_GPa": "pressure",
    "volume_A3": "volume",
}


class Moving(Protocol):
    """Dynamics in progress, whatever the model: ``core.md.dynamics.Dynamics`` and its like."""

    start: Structure
    check_interval: int
    finished_steps: int
    failure: str | None
    has_exploded: bool

    @property
    def structure(self) -> Structure:
        """The current frame."""

    @property
    def velocities(self) -> FloatArray:
        """Current velocities, shape (n_atoms, 3), Å/fs."""

    def run(self, stretch: Stretch, *, n_done: int = 0, n_steps: int | None = None) -> Checks:
        """Run some steps of a stretch and return what was recorded."""

    def frame(self, checks: Checks, index: int) -> Structure:
        """Return the structure of one check."""


@dataclass(eq=False)
class ErrorBars:
    """Scores by error bars, and what the bars expected of every check."""

    criteria: Sequence[BarScore]
    expected: list[float] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)

    def scores(self, frames: Iterable[Structure]) -> FloatArray:
        """Return the score of every atom of every frame, shape (n_frames, n_atoms)."""
        rows = []
        for frame in frames:
            bars = scored_bars(self.criteria, frame)
            self.expected.append(bars.force_rms)
            self.largest.append(bars.largest_force)
            rows.append(bars.ratios)
        return np.array(rows)


@dataclass(eq=False)
class Collector:
    """What a run has gathered so far; positions are kept of chosen frames alone."""

    dynamics: Moving
    active_set: ActiveSet | None
    grade_scale: Scale | None
    bars: ErrorBars | None
    gamma_low: float
    gamma_stop: float | None
    trigger: Trigger | None
    first_step: int
    first_volume: float
    ceiling: float
    candidates: BestOfBlocks[MdFrame]
    audit_steps: frozenset[int]
    audit: list[MdFrame] = field(default_factory=list)
    columns: list[dict[str, FloatArray]] = field(default_factory=list)
    last: Structure | None = None
    n_exceeded: int = 0
    n_above_ceiling: int = 0

    def take(self, checks: Checks) -> tuple[Outcome, str] | None:
        """Grade checks and keep what is worth it; return why the run must stop, if it must."""
        grades = self._grades(checks)
        gamma = grades.max(axis=1, initial=-np.inf) if grades.size else np.full(len(checks), np.nan)
        n_seen, stop = len(checks), None
        for index, step in enumerate(checks.steps.tolist()):
            self._keep(checks, index, float(gamma[index]), grades[index])
            stop = self._stop(float(gamma[index]), step) if grades.size else None
            if self.trigger is not None and stop is not None and stop[0] == "stopped_by_grade":
                score = float(gamma[index])
                self.candidates.offer(
                    score, partial(self._frame, checks, index, score, grades[index])
                )
            if stop is not None:
                n_seen = index + 1
                break
        self._note(checks, gamma, grades, n_seen)
        return stop

    def result(self, outcome: Outcome, reason: str | None, requested: int) -> MdRun:
        """Return the run."""
        return MdRun(
            outcome=outcome,
            reason=reason,
            requested_steps=requested,
            finished_steps=self.dynamics.finished_steps - self.first_step,
            candidates=self.candidates.kept(),
            audit=tuple(self.audit),
            trace=self._trace(),
            n_exceeded_checks=self.n_exceeded,
            n_above_ceiling=self.n_above_ceiling,
            final=self._final(),
            state=self._state(outcome),
        )

    def _state(self, outcome: Outcome) -> MdState | None:
        """Return where an interrupted trajectory stands, which goes on with another model."""
        if self.trigger is None or outcome != "stopped_by_grade":
            return None
        dynamics = self.dynamics
        return MdState(
            dynamics.structure, dynamics.velocities, dynamics.finished_steps, self.first_volume
        )

    def _grades(self, checks: Checks) -> FloatArray:
        """Return the score of every atom at every check, shape (n_checks, n_atoms), or nothing."""
        found = []
        if self.bars is not None and len(checks) > 0:
            frames = (self.dynamics.frame(checks, index) for index in range(len(checks)))
            found.append(self.bars.scores(frames))
        if self.active_set is not None and checks.factors is not None and len(checks) > 0:
            grades = structure_grades(self.active_set, checks.factors)
            grades = grades.reshape(-1, self.dynamics.start.n_atoms)
            found.append(grades if self.grade_scale is None else self.grade_scale.levels(grades))
        return np.max(found, axis=0) if found else np.zeros((len(checks), 0))

    def _keep(self, checks: Checks, index: int, gamma: float, grades: FloatArray) -> None:
        """Keep one frame if it is an audit frame, or offer it as a candidate."""
        frame = partial(self._frame, checks, index, gamma, grades)
        if int(checks.steps[index]) in self.audit_steps:
            self.audit.append(frame())
        if gamma >= self.gamma_low:
            self.n_exceeded += 1
            if self.trigger is not None:
                return
            if gamma <= self.ceiling:
                self.candidates.offer(gamma, frame)
            else:
                self.n_above_ceiling += 1

    def _stop(self, gamma: float, step: int) -> tuple[Outcome, str] | None:
        if not np.isfinite(gamma):
            return "crashed", f"the grade at step {step} is not a finite number"
        if self.gamma_stop is not None and gamma >= self.gamma_stop:
            return (
                "stopped_by_grade",
                f"grade {gamma:.4g} at step {step}, limit {self.gamma_stop:g}",
            )
        if self.trigger is not None and self.bars is not None:
            why = self.trigger.reason(
                step - self.first_step,
                self.bars.largest,
                self.dynamics.check_interval,
                score=gamma,
            )
            return None if why is None else ("stopped_by_grade", f"{why} at step {step}")
        return None

    def _frame(self, checks: Checks, index: int, gamma: float, grades: FloatArray) -> MdFrame:
        structure = self.dynamics.frame(checks, index)
        return MdFrame(structure, int(checks.steps[index]), gamma, grades.copy())

    def _note(self, checks: Checks, gamma: FloatArray, grades: FloatArray, n: int) -> None:
        """Add the first `n` checks to the trace."""
        columns = {name: getattr(checks, source)[:n] for name, source in _COLUMNS.items()}
        columns["gamma"] = gamma[:n]
        numbers = self.dynamics.start.numbers
        for number in np.unique(numbers) if self.active_set is not None else ():
            of_element = grades[:n, numbers == number] if grades.size else np.zeros((n, 1))
            columns[f"gamma.{SYMBOLS[number]}"] = of_element.max(axis=1)
        self.columns.append({name: column.copy() for name, column in columns.items()})
        if n > 0:
            self.last = self.dynamics.frame(checks, n - 1)

    def _final(self) -> Structure:
        try:
            return self.dynamics.structure
        except StructureError:
            return self.last or self.dynamics.start

    def _trace(self) -> MdTrace:
        empty = {name: np.zeros(0) for name in (*_COLUMNS, "gamma")}
        parts = self.columns or [empty]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        columns["step"] = columns["step"].astype(np.int64)
        columns["pressure_GPa"] = columns["pressure_GPa"] * EV_PER_CUBIC_ANGSTROM_TO_GPA
        prefix = "gamma."
        by_element = {
            name.removeprefix(prefix): columns.pop(name)
            for name in list(columns)
            if name.startswith(prefix)
        }
        if self.bars is not None:
            n = len(columns["step"])
            columns["expected_rmse_eV_per_A"] = np.array(self.bars.expected[:n])
            columns["largest_bar_eV_per_A"] = np.array(self.bars.largest[:n])
        return MdTrace(**columns, gamma_by_element=by_element)


__all__ = ["Collector", "ErrorBars", "Moving"]
