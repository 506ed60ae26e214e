"""The other end of a ``WorkerPool``: a process that runs one task after another.

It is the leader of a session of its own, so that killing its process group takes the programs that
a calculator started with it. It ends when its parent does, however that ends.
"""

import contextlib
import fcntl
import importlib
import os
import pickle
import resource
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "BLIS_NUM_THREADS",
    ),
    "1",
)
"""Environment in which every numerical library, and every program started, uses one thread."""


def main(channel: int, lifeline: int, preload: Sequence[str]) -> None:
    """Run tasks that arrive on a channel until it is closed.

    Parameters
    ----------
    channel
        File descriptor of a duplex connection: pickled ``(function, args)`` in, results out.
    lifeline
        File descriptor of a pipe whose other end the parent holds and never writes to.
    preload
        Modules to import before the first task.
    """
    _die_with_parent(lifeline)
    connection = Connection(channel)
    for module in preload:
        importlib.import_module(module)
    connection.send_bytes(b"ready")
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(message))


def run_task(function: Any, arguments: Sequence[Any]) -> dict[str, Any]:
    """Run a function and return what came of it, with its cost."""
    start, cpu_start = time.perf_counter(), cpu_seconds()
    try:
        answer: dict[str, Any] = {"outcome": "done", "value": function(*arguments)}
    except Exception as error:
        answer = {"outcome": "failed", "error": str(error), "error_type": type(error).__name__}
        answer["traceback"] = traceback.format_exc()
    answer["wall_s"] = time.perf_counter() - start
    answer["cpu_s"] = cpu_seconds() - cpu_start
    return answer


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended, s."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _answer(message: bytes) -> bytes:
    def unpack_and_run(content: bytes) -> dict[str, Any]:
        function, arguments = pickle.loads(content)
        return run_task(function, arguments)

    answer = run_task(unpack_and_run, (message,))
    if answer["outcome"] == "done":
        answer = answer["value"]
    try:
        return pickle.dumps(answer)
    except Exception as error:
        failure = {"outcome": "failed", "error_type": type(error).__name__}
        failure["error"] = f"What the task returned cannot be sent back: {error}"
        return pickle.dumps(answer | failure | {"value": None})


def _die_with_parent(lifeline: int) -> None:
    """Kill this process group when the parent is gone, even while C code holds the interpreter.

    A parent-death signal (prctl) would not do: it follows the thread that started the worker, not
    the process, and spares the programs that the worker started.
    """
    with contextlib.suppress(AttributeError, OSError):  # Linux: the kernel itself sends the signal
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


__all__ = ["ONE_THREAD", "cpu_seconds", "main", "run_task"]
