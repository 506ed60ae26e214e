"""Running VASP under custodian, and what custodian changed on the way."""

import json
import os
import subprocess
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from custodian.custodian import Custodian, CustodianError
from custodian.vasp.handlers import StdErrHandler, UnconvergedErrorHandler, VaspErrorHandler
from custodian.vasp.jobs import VaspJob
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator

from nepal_flows.engines.aftermath import wait_if_killed
from nepal_flows.engines.worker import ONE_THREAD
from nepal_flows.errors import LabelError
from nepal_flows.labelers.program import diagnosis
from nepal_flows.labelers.protocol import (
    CorruptOutputError,
    CrashedLabelError,
    UnconvergedLabelError,
)
from nepal_flows.schemas import Correction

LOG, ERRORS, CUSTODIAN_LOG = "vasp.out", "std_err.txt", "custodian.json"

_POLL_S = 0.2
"""Time between looks at whether VASP still runs, s."""

_POLLS_PER_CHECK = 150
"""Looks between searches of its output for known errors."""

_PATIENCE_S = 10.0
"""Time that VASP is given to end before it is killed, s."""


class OwnedVaspJob(VaspJob):
    """VASP as a child of the worker that labels, which ends when the worker is ended.

    Custodian's own job leaves the worker's process group, so that a label that is killed at its
    time limit would leave VASP running; some versions end VASP by its name, a neighbour's on a
    shared node too. Here the processes that this job started are ended, and no other.
    """

    def run(self, directory: str = "./") -> subprocess.Popen[bytes]:
        """Start VASP, and return its process."""
        folder = Path(directory)
        with (
            (folder / self.output_file).open("wb") as out,
            (folder / self.stderr_file).open("wb") as errors,
        ):
            self._vasp_process = subprocess.Popen(
                list(self.vasp_cmd),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=ONE_THREAD | dict(os.environ),
            )
        return self._vasp_process

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run; None before it, and while it runs."""
        process = getattr(self, "_vasp_process", None)
        return None if process is None else process.returncode

    def terminate(self, directory: str = "./") -> None:  # noqa: ARG002
        """End VASP and what it started, politely at first."""
        end_process_tree(self._vasp_process)


def end_process_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, and no other; politely at first."""
    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for member in started:
            with suppress(psutil.NoSuchProcess):
                ask(member)
        process.terminate() if ask is psutil.Process.terminate else process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_PATIENCE_S)
        _, started = psutil.wait_procs(started, timeout=_PATIENCE_S)
        if not started and process.returncode is not None:
            return


def run_vasp(command: Sequence[str], directory: Path, *, max_errors: int) -> None:
    """Run VASP in a directory that holds its input, with custodian's corrections.

    Only handlers of errors of a single self-consistent calculation are at work. Those that would
    choose another smearing or other k-points by taste are not: labels would no longer agree.

    Parameters
    ----------
    command
        The program, with what stands before it.
    directory
        Where it runs.
    max_errors
        Corrections after which it is given up.

    Raises
    ------
    LabelError
        If it cannot be started.
    UnconvergedLabelError
        If it ended badly (`CrashedLabelError`), custodian gave up, or its output is not whole
        (`CorruptOutputError`).
    """
    job = OwnedVaspJob(list(command), output_file=LOG, stderr_file=ERRORS, auto_gamma=False)
    custodian = Custodian(
        [VaspErrorHandler(), UnconvergedErrorHandler(), StdErrHandler()],
        [job],
        validators=[VaspFilesValidator(), VasprunXMLValidator()],
        max_errors=max_errors,
        polling_time_step=_POLL_S,
        monitor_freq=_POLLS_PER_CHECK,
        directory=str(directory),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pymatgen's, of what is judged here anyway
            custodian.run()
    except OSError as error:
        raise LabelError(f"`{' '.join(command)}` cannot be started: {error}.") from error
    except CustodianError as error:
        wait_if_killed(job.exit_code)
        raise _failure(error, custodian.run_log[-1], job.exit_code, directory) from error


def _failure(
    error: CustodianError, log: dict[str, Any], exit_code: int | None, directory: Path
) -> LabelError:
    """Return what a failed run is called here."""
    noticed = [name for entry in log["corrections"] for name in entry["errors"]]
    said = diagnosis(directory, [LOG, ERRORS])
    text = f"{error} in {directory}"
    if noticed:
        text += f" after {', '.join(dict.fromkeys(map(str, noticed)))}"
    if noticed and set(noticed) <= {"Unconverged"}:
        return UnconvergedLabelError(f"VASP's self-consistency did not converge: {text}")
    if exit_code:
        return CrashedLabelError(f"VASP ended with exit code {exit_code}: {text}: {said}")
    if log["validator"] is not None:
        return CorruptOutputError(f"VASP's output is not whole: {text}: {said}")
    return CrashedLabelError(f"VASP failed: {text}: {said}")


def recorded_corrections(directory: Path) -> tuple[Correction, ...]:
    """Return what custodian changed in a directory's inputs, from its log; empty without one."""
    path = directory / CUSTODIAN_LOG
    if not path.is_file():
        return ()
    log = json.loads(path.read_text())
    return tuple(
        Correction(
            handler=str(entry["handler"]["@class"]),
            errors=[str(name) for name in entry["errors"]],
            actions=[dict(action) for action in entry["actions"] or ()],
        )
        for job in log
        for entry in job["corrections"]
    )


__all__ = ["OwnedVaspJob", "end_process_tree", "recorded_corrections", "run_vasp"]
