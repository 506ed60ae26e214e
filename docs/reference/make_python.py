"""Write python.md from the sources: ``python docs/reference/make_python.py``.

Public is what a package names in its ``__all__``; of ``core``, ``io`` and ``engines``, which
re-export nothing, what the modules named below name in theirs. The rest is for the package itself.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from nepal_flows.campaign.section import Section

PAGE = Path(__file__).with_name("python.md")

_HEAD = """\
# The Python interface

Every public name, made from the sources by `docs/reference/make_python.py`. Lengths are in Å,
energies in eV, forces in eV/Å, virials in eV (positive when compressed) unless a name or a text
says otherwise; see [units and signs](../units-and-signs.md). What follows a `*` in a signature is
given by keyword. Every error is a `NepalError`; [here](#nepal_flowserrors) are all of them.
"""
_PARTS = {
    "Campaigns": "flows flows.imports flows.labels campaign campaign.init campaign.plan",
    "Store": "records schemas",
    "Reports": "report report.bundle report.bundle_parts",
    "Labels": "labelers labelers.consistency",
    "Jobs": "jobs",
    "Steps on files, and engines": "engines.prediction_step engines.active_set_step "
    "engines.grading_step engines.selection_step engines.native_training engines.native_md "
    "engines.md_run engines.teacher_md engines.exploration engines.pool engines.kernel_cache",
    "Files": "io.structures io.extxyz io.nep_txt io.nep_in io.nep_outputs io.asi io.frames",
    "Structures": "core.structure core.elements core.lattices core.seeds core.neighbours",
    "The potential": "core.nep.model core.nep.potential core.nep.descriptors "
    "core.nep.projections core.nep.training core.md.dynamics core.gate core.label_gate",
    "Grades and selection": "core.active_set core.maxvol core.extrapolation core.selection "
    "core.duplicates core.repeats",
    "Verdicts": "core.calibration core.windows core.rounds core.convergence",
    "Site settings, units, errors": "settings units errors",
}
"""Packages and modules by part of the page."""

_HEADINGS = re.compile(r"^(\w+)\n-{3,}$", re.MULTILINE)
_LISTED = {"Parameters": "", "Attributes": "", "Returns": "returns", "Raises": "raises"}
_WIDTH = 96


def format_page() -> str:
    """Return the page as Markdown."""
    lines = [_HEAD, *(_contents(title, names) for title, names in _PARTS.items()), ""]
    for title, names in _PARTS.items():
        lines.append(f"## {title}\n")
        for name in names.split():
            lines += _module(importlib.import_module(f"nepal_flows.{name}"))
    return "\n".join(lines).rstrip() + "\n"


def _contents(title: str, names: str) -> str:
    links = ", ".join(f"[{name}](#nepal_flows{name.replace('.', '')})" for name in names.split())
    return f"- {title}: {links}"


def public_objects(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the public functions and classes of a package, or those that a module defines."""
    is_package = hasattr(module, "__path__")
    for name in module.__all__:
        item = getattr(module, name)
        is_own = is_package or getattr(item, "__module__", None) == module.__name__
        if is_own and (inspect.isclass(item) or inspect.isfunction(item)):
            yield name, item


def _module(module: ModuleType) -> list[str]:
    found = list(public_objects(module))
    sections = [name for name, item in found if _is_section(item)]
    lines = [f"### {module.__name__}\n", _paragraph(module), ""]
    if sections:
        names = ", ".join(f"`{name}`" for name in sections)
        lines += [f"Sections of [the campaign file](campaign-file.md): {names}.", ""]
    constants = [name for name in module.__all__ if isinstance(getattr(module, name), float | int)]
    lines += [f"- `{name} = {getattr(module, name)!r}`" for name in constants]
    lines += [""] if constants else []
    for name, item in found:
        lines += [] if _is_section(item) else _entry(name, item)
    return lines


def _is_section(item: Any) -> bool:
    return inspect.isclass(item) and issubclass(item, Section)


def _entry(name: str, item: Any) -> list[str]:
    node = _tree(item.__module__)[item.__name__]
    if isinstance(node, ast.FunctionDef):
        return [f"#### {name}", *_code(_signature(node)), _paragraph(item), "", *_lists(item)]
    assert isinstance(node, ast.ClassDef)
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    if issubclass(item, BaseException):
        return [f"- `{name}` ({bases}): {_paragraph(item)}"]
    head = f"class {name}({bases})" if bases else f"class {name}"
    own = inspect.get_annotations(item)
    stored = [field for field in getattr(item, "model_fields", {}) if field in own]
    shown = [] if stored else [f"    {text}" for text in _fields(node).values()]
    return [
        f"#### {name}",
        *_code("\n".join([head, *shown])),
        _paragraph(item),
        "",
        *_lists(item),
        *_listed([_stored_field(node, item, field) for field in stored]),
        *_listed([_method(item, part) for part in node.body if _is_method(part)]),
    ]


def _fields(node: ast.ClassDef) -> dict[str, str]:
    """Return the fields of a class as they are written, by name."""
    parts = {
        ast.unparse(part.target): part for part in node.body if isinstance(part, ast.AnnAssign)
    }
    return {
        name: ast.unparse(part).replace("'", '"')
        for name, part in parts.items()
        if not name.startswith("_")
    }


def _stored_field(node: ast.ClassDef, item: Any, name: str) -> str:
    """Return a field of a stored document with its type."""
    kind = _fields(node)[name].partition(" = ")[0]
    told = item.model_fields[name].description
    return f"- `{kind}`: {_plain(told)}" if told else f"- `{kind}`"


def _is_method(part: ast.stmt) -> bool:
    return isinstance(part, ast.FunctionDef) and not part.name.startswith("_")


def _method(item: Any, part: Any) -> str:
    marks = [ast.unparse(mark) for mark in part.decorator_list]
    is_property = any(mark.endswith("property") for mark in marks)
    head = part.name if is_property else _signature(part, is_bound="staticmethod" not in marks)
    told = _paragraph(inspect.getattr_static(item, part.name))
    return f"- `.{' '.join(head.split())}`: {told}"


def _signature(node: ast.FunctionDef, *, is_bound: bool = False) -> str:
    """Return a signature as it is written; a parameter a line where it is long."""
    parameters = list(_parameters(node.args))[1 if is_bound else 0 :]
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    text = f"{node.name}({', '.join(parameters)}){returned}".replace("'", '"')
    if len(text) <= _WIDTH:
        return text
    inside = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{node.name}(\n{inside}){returned}".replace("'", '"')


def _parameters(given: ast.arguments) -> Iterator[str]:
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    for argument, default in zip(positional, defaults, strict=True):
        yield _parameter(argument, default)
    if given.vararg is not None:
        yield f"*{_parameter(given.vararg, None)}"
    elif given.kwonlyargs:
        yield "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _parameter(argument, default)
    if given.kwarg is not None:
        yield f"**{_parameter(given.kwarg, None)}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    kind = "" if argument.annotation is None else f": {ast.unparse(argument.annotation)}"
    return argument.arg + kind + ("" if default is None else f" = {ast.unparse(default)}")


def _lists(item: Any) -> list[str]:
    """Return what a docstring says of parameters, attributes, results and errors."""
    pieces = _HEADINGS.split(inspect.getdoc(item) or "")[1:]
    lines = []
    for title, body in zip(pieces[::2], pieces[1::2], strict=True):
        if title in _LISTED:
            lines += [_item(_LISTED[title], name, told) for name, told in _told(body)]
    return _listed(lines)


def _item(word: str, name: str, told: str) -> str:
    if word == "returns":
        return f"- returns: {told or _plain(name)}"
    return f"- {word} `{name}`: {told}" if word else f"- `{name}`: {told}"


def _told(body: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a section: a name at the margin, its text below and indented."""
    for entry in re.split(r"\n(?=\S)", body.strip("\n")):
        name, _, text = entry.partition("\n")
        yield name.strip(), _plain(text)


def _listed(lines: list[str]) -> list[str]:
    return [*lines, ""] if lines else []


def _paragraph(item: Any) -> str:
    item = getattr(item, "__func__", item)
    return _plain((inspect.getdoc(item) or "").split("\n\n")[0])


def _plain(text: str) -> str:
    """Return a paragraph of a docstring as one line of Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`")


def _code(text: str) -> list[str]:
    return ["", "```python", text, "```", ""]


@cache
def _tree(module: str) -> dict[str, ast.stmt]:
    source = inspect.getsource(importlib.import_module(module))
    return {node.name: node for node in ast.parse(source).body if hasattr(node, "name")}


if __name__ == "__main__":
    PAGE.write_text(format_page(), encoding="utf-8")
