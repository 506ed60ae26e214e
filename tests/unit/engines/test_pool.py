"""Every task of a pool ends in a result, whatever becomes of its process."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nepal_flows.engines.pool import TaskResult, WorkerPool, close_shared_pool, shared_pool
from nepal_flows.errors import EngineError

TASKS = """
import os, signal, subprocess, sys, time


def double(number, delay=0.0):
    time.sleep(delay)
    return 2 * number


def fail(text):
    raise ValueError(text)


def hang():
    time.sleep(3600)


def hang_in_c():
    import ctypes
    ctypes.PyDLL(None).sleep(3600)  # holds the interpreter lock


def write(path, *pids):
    with open(path + ".new", "w") as file:
        file.write(" ".join(map(str, pids)))
    os.rename(path + ".new", path)


def write_and_hang_in_c(path):
    write(path, os.getpid())
    hang_in_c()


def hang_with_child(path):
    child = subprocess.Popen(["sleep", "3600"])
    write(path, os.getpid(), child.pid)
    child.wait()


def hang_with_child_unless(path):
    if path is not None:
        hang_with_child(path)


def die(number):
    print("last words", flush=True)
    os.kill(os.getpid(), number)


def leave_if_zero(number):
    if number == 0:
        os._exit(7)


def pid():
    return os.getpid()


def threads():
    return os.environ["OMP_NUM_THREADS"], os.environ.get("EXTRA")


def unsendable():
    return lambda: None


def big(n_bytes):
    return bytes(n_bytes)


def is_loaded(name):
    return name in sys.modules


def burn(seconds):
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tasks")
    (directory / "pool_tasks.py").write_text(TASKS)
    sys.path.insert(0, str(directory))
    import pool_tasks

    yield pool_tasks
    sys.path.remove(str(directory))


@pytest.fixture(scope="module")
def pool(module):
    with WorkerPool(2) as pool:
        yield pool


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_dead(*pids: int) -> bool:
    deadline = time.monotonic() + 5.0
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(is_alive(pid) for pid in pids)


def written_pids(path: Path) -> list[int]:
    deadline = time.monotonic() + 10.0
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return [int(pid) for pid in path.read_text().split()]


def test_map_keeps_the_order(pool, module):
    results = pool.map(module.double, [(n, 0.02 * (n % 3)) for n in range(8)])
    assert [result.value for result in results] == [2 * n for n in range(8)]
    assert [result.index for result in results] == list(range(8))


def test_results_stream_as_they_end(pool, module):
    found = [result.index for result in pool.run(module.double, [(1, 0.4), (2, 0.0), (3, 0.0)])]
    assert found[-1] == 0
    assert sorted(found) == [0, 1, 2]


def test_processes_are_reused(pool, module):
    first = {result.value for result in pool.map(module.pid, [()] * 6)}
    second = {result.value for result in pool.map(module.pid, [()] * 6)}
    assert len(first | second) <= 2
    assert os.getpid() not in first


def test_exception_comes_back_with_its_traceback(pool, module):
    failed, done = pool.map(module.fail, [("no such thing",)]) + pool.map(module.double, [(1,)])
    assert (failed.outcome, failed.error, failed.error_type) == (
        "failed",
        "no such thing",
        "ValueError",
    )
    assert "in fail" in failed.traceback
    assert done.value == 2
    with pytest.raises(EngineError, match="no such thing"):
        failed.value_or_raise()


def test_hanging_task_is_killed_and_the_others_go_on(pool, module):
    start = time.perf_counter()
    (killed,) = pool.map(module.hang, [()], time_limit_s=0.3)
    assert killed.outcome == "timeout"
    assert "time limit of 0.3 s" in killed.error
    assert 0.3 <= time.perf_counter() - start < 5.0
    assert pool.map(module.double, [(1,), (2,)], time_limit_s=5.0)[1].value == 4


def test_time_limit_holds_for_code_that_never_yields_the_interpreter(pool, module):
    (killed,) = pool.map(module.hang_in_c, [()], time_limit_s=0.3)
    assert killed.outcome == "timeout"


def test_programs_of_a_killed_task_die_with_it(pool, module, tmp_path):
    (killed,) = pool.map(module.hang_with_child, [(str(tmp_path / "pids"),)], time_limit_s=0.5)
    assert killed.outcome == "timeout"
    assert wait_until_dead(*map(int, (tmp_path / "pids").read_text().split()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=["kill", "segfault"])
def test_dying_process_fails_its_task_alone(pool, module, number):
    died = pool.map(module.die, [(int(number),)])[0]
    assert died.outcome == "crashed"
    assert signal.Signals(number).name in died.error
    assert "last words" in died.traceback
    assert [result.value for result in pool.map(module.double, [(n,) for n in range(4)])] == [
        0,
        2,
        4,
        6,
    ]


def test_crash_beside_others_fails_its_task_alone(pool, module):
    results = pool.map(module.leave_if_zero, [(n,) for n in range(6)])
    assert [result.outcome for result in results] == ["crashed"] + ["done"] * 5
    assert "exit code 7" in results[0].error


def test_result_that_cannot_be_sent_is_a_failure(pool, module):
    (result,) = pool.map(module.unsendable, [()])
    assert result.outcome == "failed"
    assert "cannot be sent back" in result.error


def test_function_that_cannot_be_sent_is_refused(pool):
    with pytest.raises(EngineError, match="importable module"):
        pool.map(lambda: None, [()])
    assert isinstance(pool.map(pow, [(2, 3)])[0], TaskResult)


def test_large_results_come_through(pool, module):
    results = pool.map(module.big, [(5_000_000,)] * 3)
    assert [len(result.value) for result in results] == [5_000_000] * 3


def test_cpu_time_is_measured(pool, module):
    (result,) = pool.map(module.burn, [(0.2,)])
    assert 0.2 <= result.cpu_s < 0.4
    assert result.wall_s >= 0.2


def test_libraries_use_one_thread(module):
    with WorkerPool(1, environment={"EXTRA": "yes"}) as pool:
        assert pool.map(module.threads, [()])[0].value == ("1", "yes")


def test_modules_are_preloaded(module):
    with WorkerPool(1, preload=["colorsys"]) as pool:
        assert pool.map(module.is_loaded, [("colorsys",)])[0].value is True


def test_module_that_cannot_be_preloaded_is_an_error(module):
    pool = WorkerPool(1, preload=["no_such_module"])
    with pytest.raises(EngineError, match="No module named 'no_such_module'"), pool:
        pool.map(module.double, [(1,)])


def test_unfinished_tasks_end_when_nobody_listens(pool, module):
    results = pool.run(module.double, [(1, 0.0), (2, 3600.0)])
    assert next(results).value == 2
    with pytest.raises(EngineError, match="in use"):
        pool.map(module.double, [(1,)])
    results.close()
    assert pool.map(module.double, [(3,)])[0].value == 6


def test_killed_idle_process_is_replaced(module):
    with WorkerPool(1) as pool:
        pid = pool.map(module.pid, [()])[0].value
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
        assert pool.map(module.double, [(1,)])[0].value == 2


def test_inline_tasks_run_in_this_process(module):
    with WorkerPool(1) as pool:
        assert pool.map(module.pid, [()], inline=True)[0].value == os.getpid()
        (failed,) = pool.map(module.fail, [("no",)], inline=True)
        assert (failed.outcome, failed.error) == ("failed", "no")


def test_no_workers_are_refused():
    with pytest.raises(EngineError, match="Use 1 or more"):
        WorkerPool(0)


def test_shared_pool_is_one():
    try:
        pool = shared_pool(1, preload=["colorsys"])
        assert shared_pool(1, preload=["calendar"]) is pool
        assert pool.preload == ("colorsys", "calendar")
        assert shared_pool(2) is not pool
    finally:
        close_shared_pool()


def test_closing_kills_what_runs(module, tmp_path):
    path = str(tmp_path / "pids")
    with WorkerPool(2) as pool:
        results = pool.run(module.hang_with_child_unless, [(None,), (path,)])
        assert next(results).index == 0
        pids = written_pids(tmp_path / "pids")
    assert wait_until_dead(*pids)
    results.close()


PARENT = """
import sys
sys.path.insert(0, {directory!r})
import pool_tasks
from nepal_flows.engines.pool import WorkerPool
pool = WorkerPool(1)
list(pool.run(pool_tasks.{function}, [{arguments}]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
@pytest.mark.parametrize("function", ["hang_with_child", "write_and_hang_in_c"])
def test_processes_and_their_programs_die_with_the_parent(module, tmp_path, number, function):
    directory = str(Path(module.__file__).parent)
    code = PARENT.format(
        directory=directory, function=function, arguments=f"({str(tmp_path / 'pids')!r},)"
    )
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    pids = written_pids(tmp_path / "pids")
    parent.send_signal(number)
    parent.wait()
    assert wait_until_dead(*pids)


TELLING_PARENT = """
import os, signal, sys
sys.path.insert(0, {directory!r})
import pool_tasks
from nepal_flows.engines.pool import WorkerPool
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
for result in WorkerPool(1).run(pool_tasks.hang_with_child, [({path!r},)]):
    print(result.outcome, flush=True)
"""


def test_task_whose_process_a_queue_ends_before_ours_has_not_crashed(module, tmp_path):
    path = str(tmp_path / "pids")
    code = TELLING_PARENT.format(directory=str(Path(module.__file__).parent), path=path)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        worker, _ = written_pids(tmp_path / "pids")
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.5)
        parent.send_signal(signal.SIGTERM)
        told, _ = parent.communicate(timeout=30)
        assert parent.returncode == 143
    assert told == b""
