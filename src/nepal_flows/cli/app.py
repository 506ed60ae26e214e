"""The application: its commands, and what happens to errors."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from nepal_flows import __version__
from nepal_flows.cli import (
    campaign_commands,
    carve_command,
    cluster_commands,
    data_commands,
    force_constants_command,
    step_commands,
    store_commands,
)
from nepal_flows.cli.exit_codes import ExitCode, exit_code_of, is_of_server
from nepal_flows.errors import NepalError

app = typer.Typer(
    name="nepal",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich's markup would triple the time of --help
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
campaign_commands.register(app)
cluster_commands.register(app)
store_commands.register(app)
data_commands.register(app)
step_commands.register(app)
carve_command.register(app)
force_constants_command.register(app)

_shown: dict[str, bool] = {"traceback": False}


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"nepal_flows {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Train neuroevolution potentials (NEP) by active learning.

    A campaign: nepal init, plan, run, status, report, query, export.
    On a cluster: nepal submit, stop, resume, extend, doctor.
    Single steps on your own files: nepal train, predict, active-set, grade, select,
    carve, force-constants.
    """
    _shown["traceback"] = debug
    _prepare_numerics()


def _prepare_numerics() -> None:
    """Say where kernels are cached, and keep linear algebra to one thread per call.

    Our own threads work on blocks; beside them a library's idle threads only spin.
    """
    from nepal_flows.engines.kernel_cache import use_kernel_cache
    from nepal_flows.engines.worker import ONE_THREAD
    from nepal_flows.settings import read_settings

    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    use_kernel_cache(read_settings().numba_cache_directory)


def run_app(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; errors become one message on stderr.

    Parameters
    ----------
    arguments
        What stands after ``nepal`` on the command line.
    """
    _shown["traceback"] = False
    try:
        app(list(arguments), prog_name="nepal")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
        # typer turns Ctrl-C into an exit without a word
        return _reported(KeyboardInterrupt()) if code == ExitCode.INTERRUPTED else code
    except KeyboardInterrupt as error:
        return _reported(error)
    except Exception as error:
        from nepal_flows.records.jobflow_file import jobflow_file_error

        return _reported(jobflow_file_error(error) or error)
    return ExitCode.OK


def _reported(error: BaseException) -> int:
    if _shown["traceback"]:
        traceback.print_exception(error)
    code = exit_code_of(error)
    if code == ExitCode.INTERRUPTED:
        text = "interrupted; the same command again continues where it stopped"
    elif is_of_server(error):
        from nepal_flows.records.connection import server_words

        text = (
            f"error: the database went away: {server_words(error)}. Check that its server runs, "
            "then run the same command again: it continues."
        )
    elif isinstance(error, NepalError):
        text = f"error: {error}"
    elif isinstance(error, OSError):
        text = f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": ")
        if code == ExitCode.BAD_INPUT:
            text += ". Give another path, or the right to use this one."
        if code == ExitCode.STORE_FAILED:
            text += ". Free some space there, or make it writable, then run the same command again."
    else:
        text = (
            f"error that nobody foresaw: {type(error).__name__}: {error}\n"
            "Please report it with what `nepal --debug ...` prints."
        )
    print(text, file=sys.stderr)
    return code


__all__ = ["app", "run_app"]
