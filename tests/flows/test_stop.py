"""Ctrl-C, SIGTERM and `nepal stop` end a run in order, soon; the same command goes on from it."""

import json
import signal
import subprocess
import sys
import time

import pytest

from nepal_flows.cli.app import run_app

START = (
    # a shell ignores Ctrl-C for what it starts in the background
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from nepal_flows.cli import main; main()"
)
NEPAL = [sys.executable, "-W", "ignore", "-c", START]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, write_campaign):
    folder = tmp_path_factory.mktemp("undisturbed")
    path = write_campaign(folder)
    assert run_app(["run", str(path), "--quiet"]) == 5
    return state(path)


def state(path):
    command = [*NEPAL, "status", str(path), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "code", "word", "after"),
    [
        (signal.SIGINT, 130, "interrupted", "label"),
        (signal.SIGINT, 130, "interrupted", "active set"),
        (signal.SIGTERM, 143, "ended by SIGTERM", "train"),
        (signal.SIGTERM, 143, "ended by SIGTERM", "explore"),
        ("nepal stop", 143, "ended by SIGTERM", "train"),
    ],
)
def test_stop_is_quick_told_and_undone_by_running_again(
    undisturbed, tmp_path, write_campaign, kind, code, word, after
):
    path = write_campaign(tmp_path)
    process = subprocess.Popen([*NEPAL, "run", str(path)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith(after):
            break
    began = time.monotonic()
    if kind == "nepal stop":
        told = subprocess.run([*NEPAL, "stop", str(path)], capture_output=True, check=True)
        assert b"its run was ended (stopped)" in told.stdout
        began = time.monotonic()  # it has waited for the end
    else:
        process.send_signal(kind)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - began < 20.0
    assert word in rest
    assert "continues where it stopped" in rest
    assert "Traceback" not in rest
    stopped = state(path)
    assert stopped["end_state"] == "stopped"
    assert stopped["is_running"] is False
    assert "stopped on request" in (tmp_path / "small" / "run.log").read_text()
    assert subprocess.run([*NEPAL, "run", str(path), "--quiet"], check=False).returncode == 5
    again = state(path)
    for name in ("end_state", "iteration", "n_labels_total", "final_model_key", "training_errors"):
        assert again[name] == undisturbed[name], name
