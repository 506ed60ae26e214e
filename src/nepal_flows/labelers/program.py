"""Running a code in a directory: its command, its threads, what it said when it failed."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nepal_flows.engines.worker import ONE_THREAD
from nepal_flows.errors import LabelError
from nepal_flows.labelers.protocol import UnconvergedLabelError

_N_TAIL_LINES = 12


def check_command(command: str, *, setting: str) -> None:
    """Raise ``LabelError`` unless the program of a command can be found."""
    program = next(iter(shlex.split(command)), "")
    if shutil.which(program) is None:
        raise LabelError(
            f"The program `{program}` cannot be found. Install it, or give the command as "
            f"`labels.command` or in {setting}."
        )


def run_program(
    command: str,
    arguments: Sequence[str],
    *,
    directory: Path,
    log: str,
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
        Name of the file that takes its output.
    environment
        Variables beside those of this process.

    Raises
    ------
    LabelError
        If it cannot be started.
    UnconvergedLabelError
        If it failed; the message has the command, the exit code, the directory and the last lines.
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
        raise UnconvergedLabelError(
            f"`{shlex.join(words)}` ended with exit code {done.returncode} in {directory}: "
            f"{tail(directory / log)}"
        )


def tail(file: Path) -> str:
    """Return the last lines of a file that say something, joined by bars."""
    if not file.exists():
        return "(no output)"
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines()]
    telling = [line for line in lines if line.strip(" -*%=|")]
    return " | ".join(telling[-_N_TAIL_LINES:]) or "(no output)"


__all__ = ["check_command", "run_program", "tail"]
