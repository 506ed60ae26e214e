"""The reference page of campaign files; ``python -m nepal_flows.campaign.reference FILE``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from nepal_flows.campaign.model import Campaign

_HEAD = """\
# The campaign file

Every key, section by section; the page is generated from the model of the file. `nepal init` writes
a commented file to start from, `nepal plan` checks one. Unknown keys are refused; units are part of
the names; paths are relative to the file. For completion in an editor, point its YAML extension to
`src/nepal_flows/campaign/campaign.schema.json`.
"""


def format_reference() -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(_section(Campaign, "", set()))


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a field's annotation may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in sections_of(inner)]


def _section(section: type[BaseModel], place: str, seen: set[str]) -> Iterator[str]:
    title = f"`{place}`" if place else "Top level"
    text = (section.__doc__ or "").strip()
    yield f"\n## {title}\n{text}\n\n| key | default | is |\n|---|---|---|\n"
    for name, field in section.model_fields.items():
        yield f"| `{name}` | {_default(field)} | {(field.description or '').replace('|', '/')} |\n"
    for name, field in section.model_fields.items():
        inner = sections_of(field.annotation)
        for choice in inner:
            where = f"{place}.{name}" if place else name
            where += f" (code: {_code(choice)})" if len(inner) > 1 else ""
            if choice.__name__ not in seen:
                seen.add(choice.__name__)
                yield from _section(choice, where, seen)


def _code(section: type[BaseModel]) -> str:
    return str(get_args(section.model_fields["code"].annotation)[0])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined:
        return ""
    value = field.default
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(format_reference(), encoding="utf-8")

__all__ = ["format_reference", "sections_of"]
