"""Write the generated part of cli.md from the commands: ``python docs/reference/make_cli.py``.

The part is what stands between the two marks. Commands are read from their own signatures, so that
the page depends on no printing of typer.
"""

import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from nepal_flows.cli.app import app
from nepal_flows.settings import DEFAULT_FILE, ENVIRONMENT_PREFIX, FILE_VARIABLE, Settings

PAGE = Path(__file__).with_name("cli.md")
BEGIN = "<!-- made by docs/reference/make_cli.py -->"
END = "<!-- end -->"
_SETTINGS = f"""\
Where programs, data and caches are on a machine; never part of the science. Each is taken from the
environment (`{ENVIRONMENT_PREFIX}N_WORKERS=4`), or from `{DEFAULT_FILE}` or the file that
`{FILE_VARIABLE}` names (`n_workers: 4`), or found out."""
_KINDS = {Path: "path", int: "integer", float: "number", str: "text", bool: ""}


def format_page(page: str) -> str:
    """Return the page with its generated part made anew."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{format_commands()}{END}{after}"


def format_commands() -> str:
    """Return the commands: a list of all, and a section for each."""
    commands = list(all_commands(app))
    lines = ["", "| command | does |", "|---|---|"]
    for name, command in commands:
        link = name.replace(" ", "-")
        lines.append(f"| [`nepal {name}`](#nepal-{link}) | {_paragraphs(command)[0]} |")
    lines += ["", *_options("Of every command, before its name", _rows(app.registered_callback))]
    for name, command in commands:
        lines += _command(name, command)
    lines += ["", "### Settings of a site", "", _SETTINGS, ""]
    lines += ["| setting | is |", "|---|---|"]
    lines += [f"| `{name}` | {told.description} |" for name, told in Settings.model_fields.items()]
    return "\n".join(lines) + "\n"


def all_commands(group: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the name and function of every command, those of groups too."""
    for command in group.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        yield f"{prefix}{name}", command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from all_commands(inner.typer_instance, f"{prefix}{inner.name} ")


def _command(name: str, command: Callable[..., Any]) -> list[str]:
    arguments, options = [], []
    for parameter, annotation, told in _parameters(command):
        if isinstance(told, typer.models.ArgumentInfo):
            metavar = (told.metavar or parameter.name.upper()).strip("[]")
            optional = parameter.default is not inspect.Parameter.empty
            arguments.append((f"[{metavar}]" if optional else metavar, told, parameter))
        else:
            options.append(_option_row(parameter, annotation, told))
    usage = " ".join(["nepal", name, *(metavar for metavar, _, _ in arguments), "[OPTIONS]"])
    rows = [
        f"| `{metavar}` | {_default(parameter, told)} | {told.help} |"
        for metavar, told, parameter in arguments
    ]
    title = ["", f"### nepal {name}", ""]
    text = "\n\n".join(_paragraphs(command))
    return [*title, text, "", "```text", usage, "```", "", *_table([*rows, *options])]


def _options(title: str, rows: list[str]) -> list[str]:
    return [f"{title}:", "", *_table(rows)]


def _rows(callback: Any) -> list[str]:
    return [_option_row(*item) for item in _parameters(callback.callback)]


def _table(rows: list[str]) -> list[str]:
    return ["| argument or option | default | is |", "|---|---|---|", *rows]


def _parameters(command: Callable[..., Any]) -> list[tuple[inspect.Parameter, Any, Any]]:
    """Return each parameter with its type and what typer is told of it."""
    hints = get_type_hints(command, include_extras=True)
    found = []
    for parameter in inspect.signature(command).parameters.values():
        annotation, told = get_args(hints[parameter.name])
        found.append((parameter, annotation, told))
    return found


def _option_row(parameter: inspect.Parameter, annotation: Any, told: Any) -> str:
    declared = (told.default, *(told.param_decls or ()))  # typer keeps the first as a default
    names = ", ".join(f"`{name}`" for name in declared)
    shown = f"{names} {told.metavar or _kind(annotation)}".rstrip()
    limit = "" if told.min is None else f" At least {told.min:g}."
    return f"| {shown} | {_default(parameter, told)} | {told.help}{limit} |"


def _kind(annotation: Any) -> str:
    """Return the kind of value that an option takes, in a word; nothing for a flag."""
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType, list):
        inner = [item for item in get_args(annotation) if item is not types.NoneType]
        return _kind(inner[0])
    return _KINDS[annotation]


def _default(parameter: inspect.Parameter, told: Any) -> str:
    if isinstance(told.show_default, str):
        return f"`{told.show_default}`"
    if parameter.default is inspect.Parameter.empty:
        return "required"
    if parameter.default in (None, False):
        return ""
    return f"`{parameter.default}`"


def _paragraphs(command: Callable[..., Any]) -> list[str]:
    text = inspect.cleandoc(command.__doc__ or "")
    return [" ".join(part.split()) for part in text.split("\n\n")]


if __name__ == "__main__":
    PAGE.write_text(format_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
