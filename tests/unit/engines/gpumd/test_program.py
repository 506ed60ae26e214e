"""Programs that are run: their ends told apart, and none left behind."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nepal_flows.engines import aftermath
from nepal_flows.engines.gpumd import program
from nepal_flows.engines.gpumd.program import RefusedInputError, run_program
from nepal_flows.errors import EngineError


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(aftermath, "AFTERMATH_S", 0.0)


def run(directory, code, **options):
    return run_program(shlex.join(["sh", "-c", code]), directory, setting="x_command", **options)


@pytest.mark.parametrize(
    ("code", "ending", "words"),
    [
        ("echo version 5.6", "done", None),
        ("echo 'Error text: out of memory' >&2; exit 1", "out_of_memory", "out of memory"),
        ("echo std::bad_alloc >&2; kill -ABRT $$", "out_of_memory", "bad_alloc"),
        ("kill -KILL $$", "killed", "SIGKILL"),
        ("exit 143", "killed", "SIGTERM"),
        ("exit 139", "crashed", "SIGSEGV"),
        ("kill -SEGV $$", "crashed", "SIGSEGV"),
        ("echo a; echo b >&2; exit 3", "crashed", "exit code 3: b"),
        ("exit 3", "crashed", "(no output)"),
    ],
)
def test_ends_are_told_apart(tmp_path, code, ending, words):
    end = run(tmp_path, code)
    assert end.ending == ending
    assert words is None or words in end.error
    assert (end.version == "5.6") is (ending == "done")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Input Error: x. Error text: bad", RefusedInputError),
        ("Error text: no CUDA-capable device is detected", EngineError),
        ("Error text: CUDA driver version is insufficient for CUDA runtime version", EngineError),
    ],
)
def test_what_no_other_try_can_cure_is_an_error(tmp_path, text, error):
    with pytest.raises(error):
        run(tmp_path, f"echo '{text}' >&2; exit 1")


def test_the_end_of_a_long_output_is_kept_with_the_version_at_its_head(tmp_path):
    end = run(tmp_path, "echo version 5.6; yes | head -c 100000; echo Finished")
    assert end.version == "5.6"
    assert end.output.endswith("Finished\n")
    assert len(end.output) < 40_000


def test_a_time_limit_ends_a_program_that_does_not_listen(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_GRACE_S", 0.3)
    end = run(tmp_path, "trap '' TERM; while :; do sleep 0.1; done", time_limit_s=0.3)
    assert end.ending == "timed_out"


def test_an_exception_of_the_watch_ends_the_program(tmp_path):
    def watch():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "echo $$ > pid; exec sleep 60", watch=watch)
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_program_ends_with_the_process_that_runs_it(tmp_path):
    code = (
        "from nepal_flows.engines.gpumd.program import run_program; "
        f"run_program(\"sh -c 'echo $$ > pid; exec sleep 60'\", {str(tmp_path)!r}, setting='x')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert is_gone(int((tmp_path / "pid").read_text()))


def is_gone(pid: int) -> bool:
    """Return whether a process ends within five seconds."""
    for _ in range(100):
        status = Path(f"/proc/{pid}/status")
        try:
            os.kill(pid, 0)
            if "State:\tZ" in status.read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
