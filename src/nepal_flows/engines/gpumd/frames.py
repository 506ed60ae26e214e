"""The frames that a run of `gpumd` has written, told as the native engine tells of its own.

GPUMD grades after the first step of every ``run`` and then every `check_interval` steps, and
writes no step beside a frame; since every graded frame is written, counting tells the step. The
physics gate and the choice of candidates, which the native engine makes as it goes, are made here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.md.thinning import BestOfBlocks
from nepal_flows.core.structure import Structure
from nepal_flows.engines.md_run import MdFrame, MdTrace
from nepal_flows.engines.outcome import Outcome
from nepal_flows.errors import InputError
from nepal_flows.io.gpumd_outputs import (
    DUMP_FILE,
    THERMO_FILE,
    DumpFrame,
    Thermo,
    read_dump,
    read_thermo,
)
from nepal_flows.io.run_in import RunIn
from nepal_flows.typing import FloatArray, IntArray

_COLUMNS = (
    "step",
    "temperature_K",
    "target_temperature_K",
    "potential_energy_eV",
    "kinetic_energy_eV",
    "pressure_GPa",
    "volume_A3",
    "gamma",
)


@dataclass(frozen=True)
class CheckPlace:
    """Where in a run a check falls.

    Attributes
    ----------
    step
        Steps of the run, counted over all its blocks.
    target_temperature_K
        Target then; NaN where the block has none.
    """

    step: int
    target_temperature_K: float


def planned_checks(run_in: RunIn, check_interval: int) -> list[CheckPlace]:
    """Return the checks of a run.in in the order in which GPUMD makes them."""
    places, offset = [], 0
    for block in run_in.blocks:
        first, last = block.temperature_K or (float("nan"), float("nan"))
        places += [
            CheckPlace(offset + step + 1, first + (last - first) * step / block.n_steps)
            for step in range(0, block.n_steps if block.is_graded else 0, check_interval)
        ]
        offset += block.n_steps
    return places


def planned_comparisons(run_in: RunIn, check_interval: int) -> list[CheckPlace]:
    """Return the checks that the keyword ``active`` makes in a run.in, in their order."""
    places, offset = [], 0
    for block in run_in.blocks:
        first, last = block.temperature_K or (float("nan"), float("nan"))
        n_steps = block.n_steps if block.is_graded else 0
        places += [
            CheckPlace(offset + step, first + (last - first) * step / block.n_steps)
            for step in range(check_interval, n_steps + 1, check_interval)
        ]
        offset += block.n_steps
    return places


def thermo_steps(run_in: RunIn, interval: int) -> IntArray:
    """Return the steps of the rows of thermo.out in the order in which GPUMD writes them."""
    steps, offset = [], 0
    for block in run_in.blocks:
        steps += [offset + step for step in range(interval, block.n_steps + 1, interval)]
        offset += block.n_steps
    return np.array(steps, dtype=np.int64)


@dataclass(frozen=True)
class Choice:
    """Which frames of a run are kept.

    Attributes
    ----------
    gamma_low, ceiling
        Grades between which a frame is a candidate.
    n_candidates
        How many of them are kept, thinned.
    n_audit
        Frames kept whatever their grade, drawn at random.
    seed
        Of that draw.
    """

    gamma_low: float
    ceiling: float
    n_candidates: int
    n_audit: int
    seed: int


@dataclass(frozen=True, eq=False)
class GradedFrames:
    """What is kept of the frames of a run.

    Attributes
    ----------
    candidates, audit
        Frames, by step.
    trace
        Every check.
    stopped
        Outcome and reason if the frames themselves end the run.
    last_step, final
        The last sound frame; 0 and None without one.
    largest_grade
        That GPUMD itself found in the last frame; NaN without frames.
    n_seen
        Frames read.
    n_planned
        Frames that the whole run writes.
    n_exceeded, n_above_ceiling
        Checks with ``gamma >= gamma_low`` and ``gamma > ceiling``.
    """

    candidates: tuple[MdFrame, ...]
    audit: tuple[MdFrame, ...]
    trace: MdTrace
    stopped: tuple[Outcome, str] | None
    last_step: int
    final: Structure | None
    largest_grade: float
    n_seen: int
    n_planned: int
    n_exceeded: int
    n_above_ceiling: int


def read_graded_frames(
    directory: Path,
    run_in: RunIn,
    start: Structure,
    *,
    check_interval: int,
    choice: Choice,
    gate: PhysicsGate,
    regrade: Callable[[Structure], FloatArray] | None = None,
    compared: Iterator[DumpFrame] | None = None,
) -> GradedFrames:
    """Return what a run left in its directory.

    The first grading, one step after the start, is passed over unless the run ended before the
    second: every replica has it, and it tells of the start alone.

    Parameters
    ----------
    directory
        Where it ran.
    run_in
        What it was asked to do.
    start
        Where it began.
    check_interval
        Steps between checks.
    choice
        What to keep.
    gate
        The physics gate; the first frame that violates it ends the run.
    regrade
        Grades a structure anew, where the grades of the dump belong to other atoms.
    compared
        Frames of the checks of the keyword ``active``, in place of the graded ones.
    """
    damages: list[str] = []
    thermo = _readable_thermo(directory / THERMO_FILE, damages)
    steps = thermo_steps(run_in, check_interval)
    if compared is None:
        places = planned_checks(run_in, check_interval)
    else:
        places = planned_comparisons(run_in, check_interval)
    dump = read_dump(directory / DUMP_FILE) if compared is None else compared
    reader = _Reader(choice, _audit_steps(places, choice), thermo, steps)
    held: tuple[CheckPlace, Structure, FloatArray] | None = None
    stopped: tuple[Outcome, str] | None = None
    n_seen, last_step, largest, final = 0, 0, float("nan"), None
    for place, frame in zip(places, _readable(dump, damages), strict=False):
        n_seen += 1
        largest = frame.gamma
        if not frame.is_finite:
            stopped = ("not_finite", f"numbers are no longer finite at step {place.step}")
            break
        structure = Structure(frame.numbers, frame.positions, frame.cell, frame.pbc)
        reason = _violation(gate, structure, start, place, reader)
        if reason is not None:
            stopped = ("stopped_by_gate", f"at step {place.step}: {reason}")
            break
        last_step, final = place.step, structure
        grades = frame.grades if regrade is None else regrade(structure)
        if place.step == 1 and compared is None:
            held = (place, structure, grades)
        else:
            reader.take(place, structure, grades)
    if held is not None and not reader.columns["step"]:
        reader.take(*held)
    bad = thermo.first_bad_row
    if stopped is None and damages:
        stopped = ("crashed", f"what it wrote is damaged: {damages[0]}")
    if stopped is None and bad is not None:
        at = f" at step {steps[bad]}" if bad < len(steps) else ""
        stopped = ("not_finite", f"energies are no longer finite{at}")
    return GradedFrames(
        candidates=reader.candidates.kept(),
        audit=tuple(reader.audit),
        trace=reader.trace(start),
        stopped=stopped,
        last_step=last_step,
        final=final,
        largest_grade=largest,
        n_seen=n_seen,
        n_planned=len(places),
        n_exceeded=reader.n_exceeded,
        n_above_ceiling=reader.n_above_ceiling,
    )


def _readable(dump: Iterator[DumpFrame], damages: list[str]) -> Iterator[DumpFrame]:
    """Yield the frames of a dump up to the first that is damaged, which is noted."""
    try:
        yield from dump
    except InputError as error:
        damages.append(str(error))


def _readable_thermo(path: Path, damages: list[str]) -> Thermo:
    try:
        return read_thermo(path)
    except InputError as error:
        damages.append(str(error))
        return Thermo(*(np.zeros(0) for _ in range(5)))


def _violation(
    gate: PhysicsGate, structure: Structure, start: Structure, place: CheckPlace, reader: "_Reader"
) -> str | None:
    temperature = reader.thermo_at(place.step)["temperature_K"]
    is_known = np.isfinite(temperature) and np.isfinite(place.target_temperature_K)
    return gate.violation(
        structure,
        start_volume=start.volume,
        temperature=temperature if is_known else None,
        target_temperature=place.target_temperature_K if is_known else None,
    )


def _audit_steps(places: list[CheckPlace], choice: Choice) -> frozenset[int]:
    """Return the steps of the checks drawn for the audit."""
    steps = [place.step for place in places if place.step > 1]
    rng = np.random.default_rng([choice.seed, 1])
    return frozenset(
        int(step) for step in rng.choice(steps, min(choice.n_audit, len(steps)), replace=False)
    )


@dataclass(eq=False)
class _Reader:
    """Gathers the sound frames of a run, one after the other."""

    choice: Choice
    audit_steps: frozenset[int]
    thermo: Thermo
    steps: IntArray
    audit: list[MdFrame] = field(default_factory=list)
    by_element: list[dict[str, float]] = field(default_factory=list)
    n_exceeded: int = 0
    n_above_ceiling: int = 0

    def __post_init__(self) -> None:
        self.candidates: BestOfBlocks[MdFrame] = BestOfBlocks(self.choice.n_candidates)
        self.columns: dict[str, list[float]] = {name: [] for name in _COLUMNS}

    def thermo_at(self, step: int) -> dict[str, float]:
        """Return the last row at or before a step, else the first; NaN where there is none."""
        names = ("temperature_K", "potential_energy_eV", "kinetic_energy_eV", "pressure_GPa")
        n_rows = min(len(self.thermo), len(self.steps))
        if n_rows == 0:
            return dict.fromkeys(names, float("nan"))
        row = max(0, int(np.searchsorted(self.steps[:n_rows], step, side="right")) - 1)
        table = self.thermo
        columns = (table.temperature, table.potential_energy, table.kinetic_energy, table.pressure)
        return {name: float(column[row]) for name, column in zip(names, columns, strict=True)}

    def take(self, place: CheckPlace, structure: Structure, grades: FloatArray) -> None:
        """Note a check, and keep its frame if it is worth it."""
        gamma = float(grades.max())
        frame = MdFrame(structure, place.step, gamma, grades)
        values = {
            **self.thermo_at(place.step),
            "step": float(place.step),
            "target_temperature_K": place.target_temperature_K,
            "volume_A3": structure.volume,
            "gamma": gamma,
        }
        for name, column in self.columns.items():
            column.append(values[name])
        self.by_element.append(
            {
                SYMBOLS[number]: float(grades[structure.numbers == number].max())
                for number in np.unique(structure.numbers)
            }
        )
        if place.step in self.audit_steps:
            self.audit.append(frame)
        if gamma >= self.choice.gamma_low:
            self.n_exceeded += 1
            if gamma <= self.choice.ceiling:
                self.candidates.offer(gamma, lambda: frame)
            else:
                self.n_above_ceiling += 1

    def trace(self, start: Structure) -> MdTrace:
        """Return one value per check; an element that is absent from a frame has the grade 0."""
        columns = {name: np.array(values) for name, values in self.columns.items()}
        columns["step"] = columns["step"].astype(np.int64)
        symbols = {SYMBOLS[number] for number in np.unique(start.numbers)}
        symbols.update(*self.by_element)
        return MdTrace(
            **columns,
            gamma_by_element={
                symbol: np.array([grades.get(symbol, 0.0) for grades in self.by_element])
                for symbol in sorted(symbols)
            },
        )


__all__ = [
    "CheckPlace",
    "Choice",
    "GradedFrames",
    "planned_checks",
    "planned_comparisons",
    "read_graded_frames",
    "thermo_steps",
]
