"""Processes side by side, for work that may hang, crash, or write files where it stands.

Python's own pools cannot do it: ``ProcessPoolExecutor`` is broken for good when one worker dies,
neither kills a task that passed its time, and what a calculator started lives on. Here every task
ends in a result, whatever becomes of it.
"""

import atexit
import contextlib
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Literal

from nepal_flows.engines.aftermath import wait_if_killed
from nepal_flows.engines.allocation import billed_seconds
from nepal_flows.engines.worker import run_task
from nepal_flows.engines.worker_process import WorkerProcess, death, started_worker
from nepal_flows.errors import EngineError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskResult:
    """What came of one task.

    Attributes
    ----------
    index
        Position of the task among those given.
    outcome
        ``done``, ``failed`` (an exception), ``timeout`` (killed at its time limit) or ``crashed``
        (its process died).
    value
        What the function returned, when done.
    error
        What went wrong, in a sentence; None when done.
    error_type
        Class of the exception, when one was raised.
    traceback
        Its traceback, or the last lines that a dead process wrote.
    wall_s, cpu_s
        Elapsed and CPU time, s; of a killed task, CPU time is taken as elapsed time. In a queue's
        job, CPU time is at least the task's share of the cores that the job holds.
    """

    index: int
    outcome: Literal["done", "failed", "timeout", "crashed"]
    value: Any = None
    error: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def value_or_raise(self) -> Any:
        """Return the value.

        Raises
        ------
        EngineError
            If the task did not end well.
        """
        if self.outcome != "done":
            details = f"\n{self.traceback}" if self.traceback else ""
            raise EngineError(f"A task {self.outcome}: {self.error}{details}")
        return self.value


@dataclass
class _Queue:
    """The tasks of one call that are still to be handed out."""

    function: Callable[..., Any]
    tasks: Iterator[tuple[int, Sequence[Any]]]
    time_limit_s: float | None
    following: tuple[int, bytes] | None = field(default=None)

    def advance(self) -> None:
        item = next(self.tasks, None)
        if item is None:
            self.following = None
            return
        index, arguments = item
        try:
            self.following = (index, pickle.dumps((self.function, tuple(arguments))))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise EngineError(
                f"Task {index} cannot be sent to another process: {error}. Give a function of an "
                "importable module, and plain data."
            ) from error


class WorkerPool:
    """A pool of processes, one thread each, that outlives its tasks.

    Parameters
    ----------
    n_workers
        Processes at most; they start when there is work for them.
    preload
        Modules that each process imports before its first task (compiled kernels, calculators).
    environment
        Environment variables of the processes, beside one thread for every library.

    Notes
    -----
    Functions are sent by name: they must be those of an importable module, not of a script. Each
    process leads a session of its own; at a task's time limit, and when the pool is closed, its
    whole process group is killed. The processes end with their parent, even if that is killed.

    Examples
    --------
    >>> with WorkerPool(2) as pool:
    ...     [result.value for result in pool.map(pow, [(2, 3), (3, 2)])]
    [8, 9]
    """

    def __init__(
        self,
        n_workers: int,
        *,
        preload: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        if n_workers < 1:
            raise EngineError(f"`n_workers` is {n_workers}. Use 1 or more.")
        self.n_workers = n_workers
        self.preload = tuple(preload)
        self.environment = dict(environment or {})
        self._workers: list[WorkerProcess] = []
        self._busy = threading.Lock()

    def map(
        self,
        function: Callable[..., Any],
        arguments: Iterable[Sequence[Any]],
        *,
        time_limit_s: float | None = None,
        inline: bool = False,
    ) -> list[TaskResult]:
        """Return the results of all tasks, in the order given; see ``run``."""
        results = self.run(function, arguments, time_limit_s=time_limit_s, inline=inline)
        return sorted(results, key=lambda result: result.index)

    def run(
        self,
        function: Callable[..., Any],
        arguments: Iterable[Sequence[Any]],
        *,
        time_limit_s: float | None = None,
        inline: bool = False,
    ) -> Iterator[TaskResult]:
        """Yield the result of each task as it ends.

        Parameters
        ----------
        function
            A function of an importable module.
        arguments
            Positional arguments of each task; taken one by one as processes become free.
        time_limit_s
            Time that one task may take before it is killed, s; no limit when not given.
        inline
            Run the tasks in this process when ``n_workers`` is 1 and there is no time limit: for
            work that neither hangs nor crashes, it saves the start of a process.

        Raises
        ------
        EngineError
            If a process cannot start, a task cannot be sent, or the pool is in use.
        """
        tasks = enumerate(arguments)
        if inline and self.n_workers == 1 and time_limit_s is None:
            results = (TaskResult(index, **run_task(function, args)) for index, args in tasks)
            return (_billed(result, 1) for result in results)
        return self._stream(_Queue(function, tasks, time_limit_s))

    def close(self) -> None:
        """End all processes, and whatever they started."""
        while self._workers:
            self._retire(self._workers[-1])

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _stream(self, queue: _Queue) -> Iterator[TaskResult]:
        if not self._busy.acquire(blocking=False):
            raise EngineError("The pool is in use. Finish the other tasks first, or make a second.")
        try:
            queue.advance()
            while queue.following is not None or self._occupied():
                self._hand_out(queue)
                n_side_by_side = len(self._occupied())
                for result in self._collect():
                    yield _billed(result, n_side_by_side)
        finally:
            for worker in self._occupied():  # left over when the caller stops listening
                self._retire(worker)
            self._busy.release()

    def _occupied(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if worker.task is not None]

    def _hand_out(self, queue: _Queue) -> None:
        for worker in [worker for worker in self._workers if worker.task is None]:
            if worker.process.poll() is not None:
                self._retire(worker)  # killed from outside while idle
        while queue.following is not None:
            free = [worker for worker in self._workers if worker.task is None]
            if not free and len(self._workers) >= self.n_workers:
                return
            worker = free[0] if free else self._start()
            index, message = queue.following
            worker.task, worker.time_limit_s = index, queue.time_limit_s
            worker.started = time.perf_counter()
            with contextlib.suppress(OSError):  # a dead worker shows when its answer is awaited
                worker.connection.send_bytes(message)
            queue.advance()

    def _collect(self) -> Iterator[TaskResult]:
        occupied = self._occupied()
        by_connection = {id(worker.connection): worker for worker in occupied}
        nearest = min(worker.deadline for worker in occupied)
        timeout = None if nearest == float("inf") else max(0.0, nearest - time.perf_counter())
        for connection in wait([worker.connection for worker in occupied], timeout):
            yield from self._received(by_connection[id(connection)])
        for worker in self._occupied():
            if time.perf_counter() >= worker.deadline:
                yield self._killed(worker)

    def _received(self, worker: WorkerProcess) -> Iterator[TaskResult]:
        try:
            message = worker.connection.recv_bytes()
            if message == b"ready":
                worker.is_ready = True
                worker.started = time.perf_counter()
                return
            answer = pickle.loads(message)
        except (EOFError, OSError, pickle.UnpicklingError):
            yield self._crashed(worker)
            return
        index, worker.task = worker.task, None
        output = worker.taken_output()
        if output:
            logger.debug("A worker wrote: %s", output)
        assert index is not None
        yield TaskResult(index, **answer)

    def _crashed(self, worker: WorkerProcess) -> TaskResult:
        index, elapsed = worker.task, time.perf_counter() - worker.started
        was_ready = worker.is_ready
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=5.0)
        code = worker.process.returncode
        wait_if_killed(code)
        output = self._retire(worker)
        if not was_ready:
            raise EngineError(
                f"A worker process could not start ({sys.executable}, exit code {code}):\n{output}"
            )
        assert index is not None
        return TaskResult(
            index,
            "crashed",
            error=death(code),
            traceback=output or None,
            wall_s=elapsed,
            cpu_s=elapsed,
        )

    def _killed(self, worker: WorkerProcess) -> TaskResult:
        index, limit = worker.task, worker.time_limit_s
        elapsed = time.perf_counter() - worker.started
        output = self._retire(worker)
        assert index is not None
        return TaskResult(
            index,
            "timeout",
            error=f"It passed its time limit of {limit:g} s and was killed.",
            traceback=output or None,
            wall_s=elapsed,
            cpu_s=elapsed,
        )

    def _start(self) -> WorkerProcess:
        worker = started_worker(self.preload, self.environment)
        self._workers.append(worker)
        return worker

    def _retire(self, worker: WorkerProcess) -> str:
        """Kill a worker with all it started; return the last lines it wrote."""
        self._workers.remove(worker)
        return worker.end()


_shared: WorkerPool | None = None
_shared_lock = threading.Lock()


def _billed(result: TaskResult, n_side_by_side: int) -> TaskResult:
    """Return the result with what the queue charges for it, where there is a queue."""
    cpu_s = billed_seconds(result.wall_s, result.cpu_s, share=1.0 / n_side_by_side)
    return replace(result, cpu_s=cpu_s)


def shared_pool(n_workers: int, *, preload: Sequence[str] = ()) -> WorkerPool:
    """Return the pool that all stages of this process share, started when it is first used.

    A pool of another size replaces it. Processes that start from now on preload the modules too;
    those that run already import them when they need them. It is closed at exit.
    """
    global _shared  # noqa: PLW0603 - one pool a process is the point
    with _shared_lock:
        if _shared is None:
            atexit.register(close_shared_pool)
        elif _shared.n_workers != n_workers:
            _shared.close()
            _shared = None
        if _shared is None:
            _shared = WorkerPool(n_workers)
        _shared.preload = tuple(dict.fromkeys([*_shared.preload, *preload]))
        return _shared


def close_shared_pool() -> None:
    """End the shared pool, if there is one."""
    global _shared  # noqa: PLW0603
    if _shared is not None:
        _shared.close()
        _shared = None


__all__ = ["TaskResult", "WorkerPool", "close_shared_pool", "shared_pool"]
