"""Running `gpumd` or `nep` in a directory, and what its end means."""

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nepal_flows.engines.aftermath import KILLING, signal_in, wait_if_killed
from nepal_flows.errors import EngineError

OUTPUT_FILE, ERROR_FILE = "program.out", "program.err"

Ending: TypeAlias = Literal["done", "out_of_memory", "killed", "timed_out", "crashed"]

_PRCTL = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1

_POLL_S = 0.05
_GRACE_S = 10.0
_TAIL_BYTES = 20_000
_N_LINES = 4

_OUT_OF_MEMORY = re.compile(r"out of memory|bad_alloc|cudaErrorMemoryAllocation", re.IGNORECASE)
_NO_GPU = re.compile(
    r"no (CUDA|ROCm)-capable device|driver version is insufficient|invalid device ordinal|"
    r"devices are busy or unavailable|no kernel image|initialization error|hipErrorNoDevice",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"Input Error|Failed to open|Cannot open|This line should be", re.IGNORECASE)
_VERSION = re.compile(r"version\s+(\d[\w.+-]*)")
_TEXT = re.compile(r"Error text:\s*(.*)")


@dataclass(frozen=True)
class ProgramEnd:
    """How a program ended.

    Attributes
    ----------
    ending
        ``done`` (exit code 0), ``out_of_memory``, ``killed`` (from outside), ``timed_out`` (at its
        time limit, by us) or ``crashed``.
    exit_code
        Its exit code; negative for a signal.
    error
        What it said, in a line; None when done.
    output
        The end of its standard output.
    wall_s
        How long it ran, s.
    """

    ending: Ending
    exit_code: int
    error: str | None
    output: str
    wall_s: float

    @property
    def version(self) -> str | None:
        """The version it names in its banner."""
        found = _VERSION.search(self.output)
        return None if found is None else found[1]


class RefusedInputError(EngineError):
    """GPUMD does not accept its input: nothing that another try could cure."""


def run_program(
    command: str,
    directory: str | Path,
    *,
    setting: str,
    environment: Mapping[str, str] | None = None,
    time_limit_s: float | None = None,
    watch: Callable[[], None] | None = None,
) -> ProgramEnd:
    """Run a program in a directory until it ends, and return how.

    Parameters
    ----------
    command
        The program, with what stands before it (``srun -n 1 gpumd``).
    directory
        Where it runs; takes what it prints.
    setting
        Name of the site setting that holds the command, for messages.
    environment
        Variables beside those of this process.
    time_limit_s
        Time after which it is killed, s.
    watch
        Called a few times a second; an exception it raises ends the program.

    Raises
    ------
    RefusedInputError
        If the program refuses its input.
    EngineError
        If it cannot be started, or finds no GPU.
    """
    directory = Path(directory)
    words = shlex.split(command)
    start = time.perf_counter()
    with (directory / OUTPUT_FILE).open("wb") as out, (directory / ERROR_FILE).open("wb") as err:
        try:
            process = subprocess.Popen(
                words,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(environment or {})},
                preexec_fn=_end_with_parent if _PRCTL is not None else None,  # noqa: PLW1509
            )
        except (OSError, IndexError) as error:
            raise EngineError(
                f"`{command}` cannot be started: {error}. Install GPUMD, or give its command in "
                f"the settings: `{setting}`, or the variable NEPAL_{setting.upper()}."
            ) from error
        has_timed_out = _wait(process, start, time_limit_s, watch)
    end = _end(process.returncode, has_timed_out, directory, time.perf_counter() - start)
    if end.ending == "killed":
        wait_if_killed(end.exit_code)
    return end


def _end_with_parent() -> None:
    """Have the kernel end this program when the thread that started it, and waits for it, is gone.

    Else a job that is killed would leave a program behind that holds the GPU.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(
    process: "subprocess.Popen[bytes]",
    start: float,
    time_limit_s: float | None,
    watch: Callable[[], None] | None,
) -> bool:
    """Wait for the end; return whether the time limit made it."""
    try:
        while True:
            try:
                process.wait(_POLL_S if watch is None else 4 * _POLL_S)
            except subprocess.TimeoutExpired:
                pass
            else:
                return False
            if watch is not None:
                watch()
            if time_limit_s is not None and time.perf_counter() - start > time_limit_s:
                _stop(process)
                return True
    except BaseException:
        _stop(process)
        raise


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end(code: int, has_timed_out: bool, directory: Path, wall_s: float) -> ProgramEnd:
    output, error = _tail(directory / OUTPUT_FILE), _tail(directory / ERROR_FILE)
    said = f"{output}\n{error}"
    if code == 0:
        return ProgramEnd("done", 0, None, output, wall_s)
    if has_timed_out:
        reason = f"it passed its time limit ({wall_s:.0f} s) and was stopped"
        return ProgramEnd("timed_out", code, reason, output, wall_s)
    number = signal_in(code)
    name = _signal_name(number)
    text = _words(error or output)
    if _OUT_OF_MEMORY.search(said):
        return ProgramEnd("out_of_memory", code, f"out of memory: {text}", output, wall_s)
    if number in KILLING:
        return ProgramEnd("killed", code, f"killed from outside by {name}", output, wall_s)
    if number:
        return ProgramEnd("crashed", code, f"died of {name}: {text}", output, wall_s)
    if _NO_GPU.search(said):
        raise EngineError(f"GPUMD finds no GPU it can use: {text}. Check the worker's queue.")
    if _REFUSED.search(said):
        raise RefusedInputError(f"GPUMD refuses its input (exit code {code}): {text}")
    return ProgramEnd("crashed", code, f"exit code {code}: {text}", output, wall_s)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _words(text: str) -> str:
    """Return the error that a program names, else its last lines."""
    found = _TEXT.findall(text)
    lines = found or [line.strip() for line in text.splitlines() if line.strip(" -*")]
    return " | ".join(lines[-_N_LINES:]) or "(no output)"


def _tail(path: Path) -> str:
    """Return the beginning, which names the version, and the end of a file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _TAIL_BYTES:
            return stream.read().decode(errors="replace")
        head = stream.read(_TAIL_BYTES // 4)
        stream.seek(size - _TAIL_BYTES)
        return (head + b"\n...\n" + stream.read()).decode(errors="replace")


__all__ = ["ERROR_FILE", "OUTPUT_FILE", "ProgramEnd", "RefusedInputError", "run_program"]
