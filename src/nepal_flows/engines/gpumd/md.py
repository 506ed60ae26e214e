"""Exploration with `gpumd`: one run in a fresh directory, its outcome told apart.

What comes back is what the native engine gives: frames worth labelling, frames drawn at random,
and the trace of every check. GPUMD cannot apply the physics gate as it goes, so the gate cuts the
run afterwards at the first frame that violates it.

The velocities have an explicit seed. GPUMD seeds the noise of its thermostats by the clock, so
that a run is not repeated bit by bit.
"""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.elements import symbols_of
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.engines.gpumd.committee import CommitteeScore
from nepal_flows.engines.gpumd.devices import VARIABLE
from nepal_flows.engines.gpumd.frames import Choice, GradedFrames, read_graded_frames
from nepal_flows.engines.gpumd.program import ProgramEnd, run_program
from nepal_flows.engines.gpumd.protocol import Couplings, protocol_run_in
from nepal_flows.engines.md_run import MdFrame, MdRun, MdSegment, run_without_steps
from nepal_flows.engines.outcome import Outcome
from nepal_flows.errors import ActiveSetError, EngineError, ModelError, StructureError
from nepal_flows.io.asi import require_elements, write_asi
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_txt import format_nep_txt
from nepal_flows.io.run_in import (
    ACTIVE_SET_FILE,
    Disagreement,
    Grading,
    RunIn,
    run_in_of,
)
from nepal_flows.typing import FloatArray

SETTING = "gpumd_command"
GRADE_TOLERANCE = (0.05, 0.05)
"""Relative and absolute difference of a grade between GPUMD (single precision) and here."""

_STOP_TEXT = "extrapolation grade exceeds"
_FINISHED_TEXT = "Finished running GPUMD"
_MOST_NEIGHBOURS = 819
_LARGEST_CELL = 2_000_000_000  # values of B-projections that GPUMD's 32-bit indices reach
_N_COMPARED = 3
_NONSENSE = 0.5


@dataclass(frozen=True)
class GpumdSetup:
    """How `gpumd` is run on this machine.

    Attributes
    ----------
    command
        The program, with what stands before it.
    gpu
        Id of the one GPU that it sees.
    names_model
        Whether its grading keyword wants ``nep_file`` (see :mod:`.self_test`).
    names_uncertainty
        Whether its keyword ``active`` takes five arguments.
    scratch
        Folder in which runs get their directories; the system's by default.
    time_limit_s
        Time after which a run is stopped, s; None for no limit.
    """

    command: str = "gpumd"
    gpu: str = "0"
    names_model: bool = False
    names_uncertainty: bool = True
    scratch: str | None = None
    time_limit_s: float | None = None


def run_gpumd_md(
    structure: Structure,
    model: NepModel,
    protocol: Sequence[MdSegment],
    *,
    setup: GpumdSetup,
    active_set: ActiveSet,
    seed: int,
    model_sha256: str,
    committee: CommitteeScore | None = None,
    body: str | None = None,
    check_interval: int = 10,
    gamma_low: float = 5.0,
    gamma_stop: float | None = None,
    candidate_ceiling: float = 1000.0,
    n_candidates: int = 25,
    n_audit: int = 0,
    gate: PhysicsGate,
    time_step_fs: float = 2.0,
    burn_in_steps: int = 0,
    thermostat_time_fs: float = 100.0,
    barostat_time_fs: float = 1000.0,
    bulk_modulus_GPa: float = 100.0,
) -> MdRun:
    """Run `gpumd` along a protocol, or a user's run.in body, and return what it met.

    Parameters
    ----------
    structure, model, protocol, active_set, seed, model_sha256
        As :func:`nepal_flows.engines.native_md.run_native_md` takes them.
    setup
        The program and its GPU.
    committee
        Scores the frames, wherever a grade is spoken of: the run then compares its members, whose
        first is the model. Nothing but the gate stops it.
    body
        Body of a run.in, instead of the protocol.
    gamma_stop
        Grade at which GPUMD ends the run; that of the ceiling where None.
    check_interval, gamma_low, candidate_ceiling, n_candidates, n_audit, gate, time_step_fs,
    burn_in_steps, thermostat_time_fs, barostat_time_fs, bulk_modulus_GPa
        As the native engine takes them; of a body, burn-in and couplings are its own.

    Raises
    ------
    InputError
        If the protocol or the body makes no sense.
    ActiveSetError, ModelError, StructureError
        If the parts do not belong together, or GPUMD cannot take them.
    EngineError
        If GPUMD cannot be started, finds no GPU, refuses its input, or writes grades that are not
        those of the model.
    """
    check_gpumd_input(structure, model, active_set, model_sha256)
    gamma_high = candidate_ceiling if gamma_stop is None else gamma_stop
    grading: Grading | Disagreement = Grading(check_interval, gamma_high, setup.names_model)
    if committee is not None:
        gamma_high = math.inf
        grading = Disagreement(check_interval, committee.n_models, setup.names_uncertainty)
    if body is None:
        couplings = Couplings(time_step_fs, thermostat_time_fs, barostat_time_fs, bulk_modulus_GPa)
        run_in = protocol_run_in(
            protocol,
            structure.cell,
            couplings=couplings,
            grading=grading,
            seed=seed,
            burn_in_steps=burn_in_steps,
        )
    else:
        run_in = run_in_of(body, grading=grading, seed=seed, time_step_fs=time_step_fs)
    reason = gate.violation(structure)
    if reason is not None:
        return run_without_steps(
            structure, run_in.n_steps, outcome="stopped_by_gate", reason=f"at the start: {reason}"
        )

    def regrade(frame: Structure) -> FloatArray:
        return structure_grades(active_set, projection_factors(model, frame))

    with tempfile.TemporaryDirectory(prefix="gpumd-", dir=setup.scratch) as name:
        directory = Path(name)
        write_gpumd_input(
            directory,
            structure,
            [model] if committee is None else committee.members,
            active_set if committee is None else None,
            run_in,
            densest=1.0 / gate.volume_ratio[0],
        )
        end = run_gpumd(setup, directory)
        choice = Choice(gamma_low, candidate_ceiling, n_candidates, n_audit, seed)
        reading = partial(
            read_graded_frames,
            directory,
            run_in,
            structure,
            check_interval=check_interval,
            choice=choice,
            gate=gate,
        )
        if committee is None:
            frames = reading(regrade=regrade if run_in.needs_regrading else None)
        else:
            frames = committee.read_frames(
                directory, reading, is_comparable=not run_in.needs_regrading
            )
    outcome, why = _outcome(end, frames, gamma_high)
    if committee is None and not run_in.needs_regrading:
        _compare_grades((*frames.audit, *frames.candidates), regrade)
    return MdRun(
        outcome=outcome,
        reason=why,
        requested_steps=run_in.n_steps,
        finished_steps=run_in.n_steps if outcome == "finished" else frames.last_step,
        candidates=frames.candidates,
        audit=frames.audit,
        trace=frames.trace,
        n_exceeded_checks=frames.n_exceeded,
        n_above_ceiling=frames.n_above_ceiling,
        final=frames.final or structure,
        program=f"GPUMD {end.version or 'of unknown version'}",
        gpu_s=end.wall_s,
    )


def check_gpumd_input(
    structure: Structure, model: NepModel, active_set: ActiveSet, model_sha256: str
) -> None:
    """Raise where GPUMD would read past its buffers, or grade with another model's active set.

    Raises
    ------
    ActiveSetError
        If the active set is of another model or size, or lacks an element.
    ModelError
        If the model does not know an element.
    StructureError
        If GPUMD cannot take the structure.
    """
    if active_set.model_sha256 != model_sha256:
        raise ActiveSetError(
            f"The active set belongs to the model {(active_set.model_sha256 or '?')[:12]}, not to "
            f"{model_sha256[:12]}. Build it again with this nep.txt."
        )
    require_elements(active_set, model.elements)
    d = model.architecture.n_projection
    sizes = {member.inverse.shape for member in active_set.members}
    if sizes != {(d, d)}:
        raise ActiveSetError(
            f"The active set has matrices of {sorted(sizes)}, but the model needs ({d}, {d}): "
            "GPUMD would read past their ends. Build it again with this nep.txt."
        )
    unknown = sorted(set(symbols_of(structure.numbers)) - set(model.elements))
    if unknown:
        raise ModelError(
            f"The structure holds {', '.join(unknown)}, the model knows "
            f"{', '.join(model.elements)}."
        )
    if structure.n_atoms < 2:
        raise StructureError("GPUMD needs two atoms or more. Ask for a larger cell.")
    if structure.n_atoms * d > _LARGEST_CELL:
        raise StructureError(
            f"{structure.n_atoms} atoms are too many to grade with d = {d}: at most "
            f"{_LARGEST_CELL // d}. Ask for a smaller cell."
        )


def write_gpumd_input(
    directory: Path,
    structure: Structure,
    models: Sequence[NepModel],
    active_set: ActiveSet | None,
    run_in: RunIn,
    *,
    densest: float = 1.0,
) -> None:
    """Write model.xyz, the potentials, active_set.asi and run.in.

    Parameters
    ----------
    directory
        An empty folder.
    structure, run_in
        What goes into them.
    models
        The potentials, in the order in which run.in names them.
    active_set
        Of the first; None where nothing is graded.
    densest
        Density that the run may reach, over that of the start. GPUMD sizes its neighbour lists by
        the counts in nep.txt and does not check them, so they are raised to fit.

    Raises
    ------
    EngineError
        If the folder is not empty: GPUMD appends to what it finds.
    """
    if any(directory.iterdir()):
        raise EngineError(f"{directory} is not empty, and GPUMD appends to the files it finds.")
    write_extxyz([structure], directory / "model.xyz")
    for name, model in zip(run_in.potentials, models, strict=True):
        text = format_nep_txt(_with_room(model, structure, densest))
        (directory / name).write_text(text, encoding="ascii")
    if active_set is not None:
        write_asi(active_set, directory / ACTIVE_SET_FILE)
    (directory / "run.in").write_text(run_in.text, encoding="ascii")


def run_gpumd(setup: GpumdSetup, directory: Path) -> ProgramEnd:
    """Run `gpumd` in a directory, with one visible GPU.

    Raises
    ------
    EngineError
        If it cannot be started, finds no GPU or refuses its input.
    """
    environment: Mapping[str, str] = {VARIABLE: setup.gpu}
    return run_program(
        setup.command,
        directory,
        setting=SETTING,
        environment=environment,
        time_limit_s=setup.time_limit_s,
    )


def differing_grade(ours: FloatArray, theirs: FloatArray) -> float:
    """Return the largest difference of two sets of grades, in units of what is tolerated."""
    relative, absolute = GRADE_TOLERANCE
    return float(np.max(np.abs(ours - theirs) / (absolute + relative * np.abs(ours))))


def _with_room(model: NepModel, structure: Structure, densest: float) -> NepModel:
    """Return the model with neighbour counts for the densest frame."""
    a = model.architecture
    counts = []
    for known, cutoff in zip(
        model.max_neighbours, (max(a.radial_cutoffs), max(a.angular_cutoffs)), strict=True
    ):
        largest = int(np.diff(neighbour_list(structure, cutoff).offsets).max())
        counts.append(min(_MOST_NEIGHBOURS, max(known, math.ceil(largest * densest))))
    return dataclasses.replace(model, max_neighbours=(counts[0], counts[1]))


def _outcome(
    end: ProgramEnd, frames: GradedFrames, gamma_high: float
) -> tuple[Outcome, str | None]:
    """Return how the run ended: what the frames say comes first, then what the program says."""
    if frames.stopped is not None:
        return frames.stopped
    if end.ending == "done":
        reason = _incomplete(end, frames)
        return ("finished", None) if reason is None else ("crashed", reason)
    if end.ending == "crashed" and end.exit_code == 1 and _STOP_TEXT in (end.error or ""):
        if frames.largest_grade > gamma_high:
            return "stopped_by_grade", (
                f"grade {frames.largest_grade:.4g} at step {frames.last_step}, limit {gamma_high:g}"
            )
        return "crashed", "GPUMD stopped at a high grade, but the frame is not in the dump"
    return end.ending, end.error


def _incomplete(end: ProgramEnd, frames: GradedFrames) -> str | None:
    """Return what is missing of a run whose exit code says that it is whole."""
    if _FINISHED_TEXT not in end.output:
        return "GPUMD ended without an error, and without finishing"
    if frames.n_seen < frames.n_planned:
        return f"{frames.n_seen} of {frames.n_planned} frames are in the dump: is the disk full?"
    return None


def _compare_grades(frames: Sequence[MdFrame], regrade: Callable[[Structure], FloatArray]) -> None:
    """Raise where the grades of GPUMD are not those of the model: a few frames are graded again."""
    for frame in frames[:_N_COMPARED]:
        gamma = float(regrade(frame.structure).max())
        if abs(gamma - frame.gamma) > _NONSENSE * max(gamma, 1.0):
            raise EngineError(
                f"GPUMD gives the frame at step {frame.step} the grade {frame.gamma:.4g}, the same "
                f"model here {gamma:.4g}. Its version grades otherwise, or the GPU is faulty; "
                "nothing of this run is used."
            )


__all__ = [
    "GRADE_TOLERANCE",
    "SETTING",
    "GpumdSetup",
    "check_gpumd_input",
    "differing_grade",
    "run_gpumd",
    "run_gpumd_md",
    "write_gpumd_input",
]
