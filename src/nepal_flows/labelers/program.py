"""Running a code in a directory: its command, its threads, what it said when it failed."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nepal_flows.engines.aftermath import wait_if_killed
from nepal_flows.engines.worker import ONE_THREAD
from nepal_flows.errors import LabelError
from nepal_flows.labelers.protocol import CrashedLabelError, UnconvergedLabelError

_N_LINES = 6
_UNCONVERGED = re.compile(r"not (achieved|converged)", re.IGNORECASE)
_FAILURE = re.compile(
    r"NOT (achieved|converged)|error|abort|killed|segmentation|exceeded", re.IGNORECASE
)


def check_command(command: str, *, setting: str) -> None:
    """Raise ``LabelError`` unless the program of a command can be found."""
    program = next(iter(shlex.split(command)), "")
    if shutil.which(program) is None:
        raise LabelError(
            f"The program `{program}` cannot be found. Install it, or say its command in {setting}."
        )


def run_program(
    command: str,
    arguments: Sequence[str],
    *,
    directory: Path,
    log: str,
    outputs: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end; one thread unless the environment says otherwise.

    Parameters
    ----------
    command
        The program, with what stands before it (``mpirun -n 4 cp2k.popt``).
    arguments
        Further arguments.
    directory
        Where it runs.
    log
        Name of the file that takes what it prints.
    outputs
        Further files that may tell why it failed.
    environment
        Variables beside those of this process.

    Raises
    ------
    LabelError
        If it cannot be started.
    UnconvergedLabelError
        If it did not find self-consistency, or (`CrashedLabelError`) failed otherwise; the message
        has the command, the exit code, the directory and what it said.
    """
    words = [*shlex.split(command), *arguments]
    variables = ONE_THREAD | dict(os.environ) | dict(environment or {})
    try:
        with (directory / log).open("ab") as output:
            done = subprocess.run(
                words,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                check=False,
            )
    except OSError as error:
        raise LabelError(f"`{shlex.join(words)}` cannot be started: {error}.") from error
    if done.returncode != 0:
        wait_if_killed(done.returncode)
        said = diagnosis(directory, [*outputs, log])
        kind = UnconvergedLabelError if _UNCONVERGED.search(said) else CrashedLabelError
        raise kind(
            f"`{shlex.join(words)}` ended with exit code {done.returncode} in {directory}: {said}"
        )


def diagnosis(directory: Path, files: Sequence[str]) -> str:
    """Return what the output files of a program say about its failure, in one line.

    That is the message in CP2K's box or between pw.x's rules, else the lines that speak of a
    failure, else the last lines.
    """
    paths = [directory / name for name in files]
    lines = [
        line
        for path in paths
        if path.exists()
        for line in path.read_text(errors="replace").splitlines()
    ]
    found = _boxed(lines) or _ruled(lines)
    found = found or [line.strip() for line in lines if _FAILURE.search(line)]
    found = found or [line.strip() for line in lines if line.strip(" -*%=|")]
    return " | ".join(found[-_N_LINES:]) or "(no output)"


def _boxed(lines: Sequence[str]) -> list[str]:
    """Return the text in the box that CP2K draws around a fatal error."""
    starts = [number for number, line in enumerate(lines) if "[ABORT]" in line]
    found: list[str] = []
    for line in lines[starts[-1] + 1 :] if starts else ():
        if set(line.strip()) == {"*"}:
            break
        found.append(line[9:].strip(" *"))
    return [text for text in found if text]


def _ruled(lines: Sequence[str]) -> list[str]:
    """Return the text between the rules that pw.x draws around a fatal error."""
    rules = [number for number, line in enumerate(lines) if set(line.strip()) == {"%"}]
    if len(rules) < 2:
        return []
    return [line.strip() for line in lines[rules[0] + 1 : rules[1]] if line.strip()]


__all__ = ["check_command", "diagnosis", "run_program"]
