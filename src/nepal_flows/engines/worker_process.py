"""One worker process as its parent sees it: started, watched, ended with all that it started."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import IO

from nepal_flows.engines.worker import ONE_THREAD
from nepal_flows.errors import EngineError

_N_TAIL_LINES = 20


@dataclass(eq=False)
class WorkerProcess:
    """A worker process and what it is doing.

    Attributes
    ----------
    process, connection
        The process, and the channel over which tasks and answers go.
    lifeline
        File descriptor of a pipe whose closing ends the process.
    output
        What it writes.
    is_ready
        Whether it has started up.
    task, started, time_limit_s
        What it is doing: the task's number, since when (``perf_counter``), and how long it may.
    """

    process: "subprocess.Popen[bytes]"
    connection: Connection
    lifeline: int
    output: IO[bytes]
    is_ready: bool = False
    task: int | None = None
    started: float = 0.0
    time_limit_s: float | None = None

    @property
    def deadline(self) -> float:
        """When its task must have ended."""
        if self.time_limit_s is None or not self.is_ready:
            return float("inf")
        return self.started + self.time_limit_s

    def taken_output(self) -> str:
        """Return the last lines of what it wrote, and forget them."""
        size = self.output.seek(0, os.SEEK_END)
        if not size:
            return ""
        self.output.seek(max(0, size - 8192))
        text = self.output.read().decode(errors="replace")
        self.output.seek(0)
        self.output.truncate()
        return "\n".join(text.splitlines()[-_N_TAIL_LINES:])

    def end(self) -> str:
        """Kill it with all it started; return the last lines it wrote."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()
        os.close(self.lifeline)
        output = self.taken_output()
        self.output.close()
        return output


def started_worker(preload: Sequence[str], environment: Mapping[str, str]) -> WorkerProcess:
    """Return a new worker process, which leads a session of its own.

    Parameters
    ----------
    preload
        Modules that it imports before its first task.
    environment
        Environment variables, beside one thread for every library.

    Raises
    ------
    EngineError
        If it cannot be started.
    """
    ours, theirs = socket.socketpair()
    lifeline_end, lifeline = os.pipe()
    output = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed when the worker retires
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from nepal_flows.engines.worker import main; "
        f"main({theirs.fileno()}, {lifeline_end}, {list(preload)!r})"
    )
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | ONE_THREAD | dict(environment),
            pass_fds=(theirs.fileno(), lifeline_end),
            start_new_session=True,
        )
    except OSError as error:
        raise EngineError(f"A worker process cannot be started: {error}.") from error
    finally:
        theirs.close()
        os.close(lifeline_end)
    return WorkerProcess(process, Connection(ours.detach()), lifeline, output)


def death(code: int | None) -> str:
    """Return how a process with an exit code died, in a sentence."""
    if code is None:
        return "Its process closed its connection."
    if code >= 0:
        return f"Its process ended by itself with exit code {code}."
    name = signal.Signals(-code).name
    hint = " That is what happens when memory runs out." if name == "SIGKILL" else ""
    return f"Its process was killed by {name}.{hint}"


__all__ = ["WorkerProcess", "death", "started_worker"]
