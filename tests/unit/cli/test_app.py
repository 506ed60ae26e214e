"""The frame of the command line: speed, help, errors, exit codes."""

import errno
import resource
import subprocess
import sys

import pytest

from nepal_flows import __version__
from nepal_flows.cli.app import app, run_app
from nepal_flows.cli.exit_codes import ExitCode, exit_code_of
from nepal_flows.cli.output import plain, seconds, table
from nepal_flows.errors import (
    ActiveSetError,
    CampaignError,
    CampaignLockedError,
    LabelError,
    ModelError,
    StoreUnavailableError,
    TrainingError,
)

COMMANDS = (
    "init",
    "plan",
    "run",
    "status",
    "report",
    "query",
    "train",
    "predict",
    "active-set",
    "grade",
    "error-bars",
    "select",
    "warmup",
)
COMMAND = [sys.executable, "-c", "from nepal_flows.cli import main; main()"]


def test_help_takes_less_than_half_a_second():
    """Of processor time: how much else the machine does is not its fault."""
    times = []
    for _ in range(5):
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*COMMAND, "--help"], check=True, capture_output=True)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
    assert min(times) < 0.5


def test_help_imports_nothing_heavy():
    heavy = "{'numpy', 'numba', 'ase', 'jobflow', 'pymatgen', 'rich', 'pydantic', 'scipy'}"
    code = (
        "import sys; from nepal_flows.cli.app import run_app; run_app(['--help']); "
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_status_imports_neither_jobflow_nor_figures_nor_kernels(tmp_path):
    heavy = "{'jobflow', 'maggma', 'matplotlib', 'numba', 'ase', 'pymatgen', 'scipy'}"
    (tmp_path / "store").mkdir()
    code = (
        "import sys; from nepal_flows.cli.app import run_app; "
        f"code = run_app(['status', {str(tmp_path)!r}]); "
        f"print(code, sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "on record: none" in done.stderr
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"


def test_every_command_of_the_manual_exists(nepal):
    _, out, _ = nepal("--help")
    for command in COMMANDS:
        assert f"  {command} " in out
        code, text, _ = nepal(command, "--help")
        assert code == 0
        assert "--help" in text


def test_version_is_printed(nepal):
    assert nepal("--version")[1].strip() == f"nepal_flows {__version__}"


@pytest.mark.parametrize(
    "arguments", [["foo"], ["predict"], ["grade", "--foo"], ["active-set", "a", "b"]]
)
def test_wrong_usage_exits_with_2(nepal, arguments):
    code, _, err = nepal(*arguments)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CampaignError("x"), 2),
        (ModelError("x"), 2),
        (ActiveSetError("x"), 2),
        (TrainingError("x"), 3),
        (LabelError("x"), 3),
        (StoreUnavailableError("x"), 4),
        (CampaignLockedError("x"), 4),
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (FileNotFoundError(errno.ENOENT, "No such file"), 2),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError(), 1),
    ],
)
def test_exit_codes(error, code):
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (CampaignError("no such key"), "error: no such key", 2),
        (KeyboardInterrupt(), "interrupted", 130),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "No space left on device: /x", 4),
        (ZeroDivisionError("oops"), "nobody foresaw: ZeroDivisionError: oops", 1),
    ],
)
def test_errors_become_one_message(monkeypatch, capsys, error, text, code):
    def failing(*_, **__):
        raise error

    monkeypatch.setattr("nepal_flows.campaign.init.init_campaign", failing)
    assert run_app(["init", "-s", "x"]) == code
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch, capsys):
    def failing(*_, **__):
        raise CampaignError("x")

    monkeypatch.setattr("nepal_flows.campaign.init.init_campaign", failing)
    assert run_app(["--debug", "init", "-s", "x"]) == ExitCode.BAD_INPUT
    assert "Traceback" in capsys.readouterr().err


def test_every_option_is_explained():
    import typer.main

    group = typer.main.get_command(app)
    commands = [group]
    while commands:
        command = commands.pop()
        commands += list(getattr(command, "commands", {}).values())
        assert command.help, command.name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{command.name} {parameter.name}"


def test_json_has_no_nan():
    assert plain({"a": float("nan"), "b": [1.0, float("inf")]}) == {"a": None, "b": [1.0, None]}


def test_tables_are_aligned():
    lines = table(["name", "n"], [["a", 1], ["long", 100], ["x", None]])
    assert lines == ["name    n", "a       1", "long  100", "x       -"]


def test_times_are_readable():
    assert [seconds(s) for s in (0.05, 5.0, 300.0, 9000.0)] == ["50 ms", "5.0 s", "5 min", "2.5 h"]
