"""Training with GPUMD's `nep`: fresh directories, checkpoints in our hands, models looked at.

`nep` goes on from whatever nep.restart it finds, so that a training starts in an empty directory
and finds one only if it was asked to. While it runs, its state is read every few minutes and handed
to the caller: where the machine goes away, the next try begins from there.
"""

import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.gpumd.program import ProgramEnd, RefusedInputError, run_program
from nepal_flows.errors import EngineError, InputError, ModelError, TrainingError
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_in import NepInput, format_nep_in
from nepal_flows.io.nep_outputs import read_loss
from nepal_flows.io.nep_restart import parsed_restart
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.typing import FloatArray

logger = logging.getLogger(__name__)

SETTING = "nep_command"
OUTPUT_INTERVAL = 100
"""Generations between two states that `nep` writes; versions before 5.6 know no other."""

SMALLEST_WEIGHT, LARGEST_WEIGHT = 0.0, 100.0
"""Weights of structures that `nep` takes: above the first, up to the second."""

_FINISHED_TEXT = "Finished running nep"
_KEEP_SCALER = ("import_q_scaler", "1")
_MODEL, _RESTART, _LOSS = "nep.txt", "nep.restart", "loss.out"
_FOUNDATION = ("foundation.txt", "foundation.restart")


@dataclass(frozen=True)
class NepSetup:
    """How `nep` is run on this machine.

    Attributes
    ----------
    command
        The program, with what stands before it.
    scratch
        Folder in which trainings get their directories; the system's by default.
    time_limit_s
        Time after which a training is stopped, s; None for no limit.
    checkpoint_interval_s
        Time between two checkpoints, s.
    """

    command: str = "nep"
    scratch: str | None = None
    time_limit_s: float | None = None
    checkpoint_interval_s: float = 300.0


@dataclass(frozen=True, eq=False)
class NepState:
    """A state of `nep`, from which it can go on.

    Attributes
    ----------
    model, restart
        Contents of nep.txt and nep.restart.
    history
        Content of loss.out so far; generations count from the beginning of the training.
    n_generations
        Generations done.
    """

    model: bytes
    restart: bytes
    history: bytes = b""
    n_generations: int = 0


@dataclass(frozen=True, eq=False)
class Foundation:
    """A foundation model to fine-tune: contents of its nep.txt and nep.restart."""

    model: bytes
    restart: bytes


@dataclass(frozen=True, eq=False)
class NepTrainingRun:
    """A finished training.

    Attributes
    ----------
    model, text
        The model, and the nep.txt it was read from.
    state
        From which a later training can go on.
    history
        Rows of loss.out, see :data:`nepal_flows.io.nep_outputs.LOSS_COLUMNS`.
    program
        The program with its version.
    wall_s
        Time that it ran, s; of this try.
    """

    model: NepModel
    text: str
    state: NepState
    history: FloatArray
    program: str
    wall_s: float


def run_nep_training(
    nep_input: NepInput,
    frames: Sequence[LabelledStructure],
    *,
    setup: NepSetup,
    parent: NepState | None = None,
    foundation: Foundation | None = None,
    checkpoint: NepState | None = None,
    keep: Callable[[NepState], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NepTrainingRun:
    """Run `nep` and return its model.

    Parameters
    ----------
    nep_input
        Hyper-parameters and settings, ``generation`` a multiple of 100.
    frames
        Training frames, reference energies taken off.
    setup
        The program.
    parent
        State of an earlier training to go on from, with this data set.
    foundation
        Foundation model to fine-tune, instead.
    checkpoint
        State of this very training when it was interrupted; it goes on from there.
    keep
        Called with the state every few minutes, and when the training is interrupted.
    progress
        Called with generations done and asked for.

    Raises
    ------
    TrainingError
        If there is nothing to train on, or the training diverges.
    EngineError
        If the program cannot be run, is interrupted, or leaves files that cannot be used.
    """
    architecture = nep_input.architecture
    _check(nep_input, frames)
    start = _checked_start(checkpoint or parent, architecture)
    training = _Training(
        nep_input=nep_input,
        done=0 if checkpoint is None else checkpoint.n_generations,
        earlier=b"" if checkpoint is None else checkpoint.history,
    )
    is_same_data = checkpoint is not None and parent is None and foundation is None
    tries = [False] if is_same_data or start is None else [True, False]
    for keeps_scaler in tries:
        with tempfile.TemporaryDirectory(prefix="nep-", dir=setup.scratch) as name:
            directory = Path(name)
            training.write(directory, frames, start, foundation, keeps_scaler=keeps_scaler)
            try:
                return training.run(directory, setup, keep, progress)
            except RefusedInputError as error:
                if not keeps_scaler or _KEEP_SCALER[0] not in str(error):
                    raise
                if foundation is not None:
                    logger.warning("This `nep` cannot resume a fine-tuning; it starts again.")
                    start, training.done, training.earlier = None, 0, b""
                else:
                    logger.info("This `nep` computes the scale of the descriptors anew.")
    raise AssertionError("the last try returns or raises")


def checked_state(state: NepState, architecture: NepArchitecture) -> NepState:
    """Return a state, once it is known to be whole and of this architecture.

    Raises
    ------
    InputError, ModelError
        If it is not.
    """
    parsed_restart(state.restart, architecture.n_parameters)
    _checked_model(state.model.decode("ascii", errors="replace"), architecture)
    return state


@dataclass(eq=False)
class _Training:
    """One training, over as many tries as it takes."""

    nep_input: NepInput
    done: int
    earlier: bytes
    placed_sha256: str | None = None

    def write(
        self,
        directory: Path,
        frames: Sequence[LabelledStructure],
        start: NepState | None,
        foundation: Foundation | None,
        *,
        keeps_scaler: bool,
    ) -> None:
        """Write what `nep` reads."""
        left = self.nep_input.generation - self.done
        changes = dataclasses.replace(
            self.nep_input, generation=left, output_interval=OUTPUT_INTERVAL
        )
        self.placed_sha256 = None
        if start is not None:
            (directory / _RESTART).write_bytes(start.restart)
            (directory / _MODEL).write_bytes(start.model)
            self.placed_sha256 = model_sha256(start.model)
            if keeps_scaler:
                changes = dataclasses.replace(changes, others=(*changes.others, _KEEP_SCALER))
        elif foundation is not None:
            for file, content in zip(
                _FOUNDATION, (foundation.model, foundation.restart), strict=True
            ):
                (directory / file).write_bytes(content)
            changes = dataclasses.replace(changes, fine_tune=_FOUNDATION)
        write_extxyz(frames, directory / "train.xyz")
        text = format_nep_in(changes, omitted={"output_interval"})
        (directory / "nep.in").write_text(text, encoding="ascii")

    def run(
        self,
        directory: Path,
        setup: NepSetup,
        keep: Callable[[NepState], None] | None,
        progress: Callable[[int, int], None] | None,
    ) -> NepTrainingRun:
        """Run `nep` in a directory that is ready."""
        last = time.monotonic()

        def watch() -> None:
            nonlocal last
            if time.monotonic() - last < setup.checkpoint_interval_s:
                return
            last = time.monotonic()
            state = self.state(directory)
            if state is not None and progress is not None:
                progress(state.n_generations, self.nep_input.generation)
            if state is not None and keep is not None:
                keep(state)

        try:
            end = run_program(
                setup.command,
                directory,
                setting=SETTING,
                time_limit_s=setup.time_limit_s,
                watch=watch,
            )
            self._refuse_divergence(directory)
            _require_finished(end)
        except TrainingError:
            raise
        except BaseException:
            state = self.state(directory)
            if state is not None and keep is not None:
                keep(state)
            raise
        return self._result(directory, f"nep {end.version or '?'}", end.wall_s)

    def state(self, directory: Path) -> NepState | None:
        """Return the state that `nep` has written last; None if there is none that is whole."""
        try:
            history = (directory / _LOSS).read_bytes()
            model, restart = ((directory / file).read_bytes() for file in (_MODEL, _RESTART))
            if model_sha256(model) == self.placed_sha256:
                return None
            history = history[: history.rfind(b"\n") + 1]
            rows = read_loss(directory / _LOSS) if history else np.zeros((0, 10))
            if not len(rows) or not np.isfinite(rows).all():
                return None
            done = self.done + int(rows[-1, 0])
            state = NepState(model, restart, self._joined(history), done)
            return checked_state(state, self.nep_input.architecture)
        except (OSError, InputError, ModelError):
            return None

    def _joined(self, history: bytes) -> bytes:
        """Return the history of all tries, generations counted from the first."""
        lines = []
        for line in history.decode("ascii", errors="replace").splitlines():
            generation, *rest = line.split()
            lines.append(f"{self.done + int(float(generation)):<8d} {' '.join(rest)}\n")
        return self.earlier + "".join(lines).encode()

    def _refuse_divergence(self, directory: Path) -> None:
        path = directory / _LOSS
        text = path.read_text(encoding="ascii", errors="replace") if path.exists() else ""
        for line in text.splitlines():
            if "nan" in line.lower() or "inf" in line.lower():
                raise TrainingError(
                    f"The training with `nep` diverged: loss.out holds `{line.strip()}`. Look for "
                    "labels with absurd forces or energies, or lower `training.lambda_v`."
                )

    def _result(self, directory: Path, program: str, wall_s: float) -> NepTrainingRun:
        """Return the model, once it is known to be what this run has written, and whole."""
        path = directory / _MODEL
        written = (directory / "nep.in").stat().st_mtime_ns  # by the clock of the same disk
        if not path.exists() or path.stat().st_mtime_ns < written:
            raise EngineError("`nep` ended without an error, and without writing a nep.txt.")
        state = self.state(directory)
        if state is None:
            raise EngineError(
                "`nep` ended without an error, but its nep.txt, nep.restart or loss.out is not "
                "whole, or is what it started from. Is the disk full?"
            )
        if state.n_generations != self.nep_input.generation:
            raise EngineError(
                f"`nep` ended after {state.n_generations} of {self.nep_input.generation} "
                "generations."
            )
        text = state.model.decode("ascii")
        rows = np.array([line.split() for line in state.history.decode().splitlines()], dtype=float)
        return NepTrainingRun(
            model=_checked_model(text, self.nep_input.architecture),
            text=text,
            state=state,
            history=rows,
            program=program,
            wall_s=wall_s,
        )


def _require_finished(end: ProgramEnd) -> None:
    if end.ending != "done" or _FINISHED_TEXT not in end.output:
        raise EngineError(
            f"`nep` did not finish ({end.ending.replace('_', ' ')}): "
            f"{end.error or 'it ended without an error, and without finishing'}. Run the campaign "
            "again: it goes on from the last checkpoint."
        )


def _check(nep_input: NepInput, frames: Sequence[LabelledStructure]) -> None:
    if not frames:
        raise TrainingError("There is no structure to train on. Give at least one.")
    if nep_input.generation < OUTPUT_INTERVAL or nep_input.generation % OUTPUT_INTERVAL:
        raise InputError(
            f"`generation` is {nep_input.generation}; `nep` writes its state every "
            f"{OUTPUT_INTERVAL}: give a multiple."
        )
    weights = np.array([frame.weight for frame in frames])
    if not ((weights > SMALLEST_WEIGHT) & (weights <= LARGEST_WEIGHT)).all():
        raise InputError("`nep` takes weights of structures above 0 and up to 100.")


def _checked_start(state: NepState | None, architecture: NepArchitecture) -> NepState | None:
    if state is None:
        return None
    try:
        return checked_state(state, architecture)
    except (InputError, ModelError) as error:
        raise EngineError(f"The training cannot go on from its last state: {error}") from error


def _checked_model(text: str, architecture: NepArchitecture) -> NepModel:
    """Return the model of a nep.txt that has this architecture.

    Raises
    ------
    ModelError
        If it cannot be read, or has another one.
    """
    if not text.endswith("\n"):
        raise ModelError("The nep.txt is cut short: its last line does not end.")
    model = read_nep_txt(text)
    if model.architecture != architecture:
        raise ModelError(
            f"The nep.txt describes {model.architecture}, but {architecture} was asked for."
        )
    return model


__all__ = [
    "OUTPUT_INTERVAL",
    "Foundation",
    "NepSetup",
    "NepState",
    "NepTrainingRun",
    "checked_state",
    "run_nep_training",
]
