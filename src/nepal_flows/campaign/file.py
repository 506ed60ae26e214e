"""A campaign file as YAML: its keys with their lines, and the folder that belongs to it."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from nepal_flows.campaign.section import Name
from nepal_flows.errors import CampaignError

_MOST_KEYS = 200_000

Location = tuple[str | int, ...]
"""Place of a key: names of sections, numbers of items."""


def campaign_directory(path: str | Path) -> Path:
    """Return the folder of a campaign file: beside it, named after the campaign.

    Nothing else of the file is looked at, so that what is on record can be asked for when the file
    or its structures are no longer what they were.

    Raises
    ------
    CampaignError
        If there is no such file, or it has no usable name.
    """
    path = Path(path)
    raw, _ = parsed_file(path)
    try:
        name = TypeAdapter(Name).validate_python(raw.get("name"))
    except ValidationError as error:
        raise CampaignError(
            f"`{path}` has the `name` {raw.get('name')!r}; expected letters, digits and `_.+-`, 60 "
            "at most. Correct it, or give the campaign's folder instead of the file."
        ) from error
    return path.absolute().parent / name


def parsed_file(path: Path) -> tuple[Any, dict[Location, int]]:
    """Return the content of a YAML file, and the line of every key and item.

    Raises
    ------
    CampaignError
        If it cannot be read, is no mapping, or gives a key twice.
    """
    if not path.is_file():
        raise CampaignError(
            f"There is no campaign file `{path}`. Give the path of one, or write it with `nepal "
            "init POSCAR`."
        )
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise CampaignError(f"`{path}` is not a text file in UTF-8 ({error}).") from error
    except yaml.YAMLError as error:
        raise CampaignError(f"`{path}` is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise CampaignError(
            f"`{path}` is not a campaign file: it holds no `key: value` pairs. See "
            "`nepal init POSCAR` for one to start from."
        )
    lines: dict[Location, int] = {}
    try:
        located = list(islice(_lines(node, ()), _MOST_KEYS + 1))
    except RecursionError as error:
        raise CampaignError(f"`{path}` holds an anchor that contains itself.") from error
    if len(located) > _MOST_KEYS:  # a few lines of anchors can stand for more than fits anywhere
        raise CampaignError(
            f"`{path}` comes to more than {_MOST_KEYS} keys and items. Remove the anchors (`&`, "
            "`*`) that repeat one another."
        )
    for location, line in located:
        if location in lines:
            raise CampaignError(
                f"`{path}`, line {line}: `{dotted(location)}` is given twice "
                f"(first in line {lines[location]}). Keep one."
            )
        lines[location] = line
    return raw, lines


def _lines(node: yaml.Node | None, location: Location) -> Iterator[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*location, key.value)
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*location, index)
            yield inner, value.start_mark.line + 1
            yield from _lines(value, inner)


def dotted(location: Location) -> str:
    """Return a place as a user would write it: ``exploration.conditions[0].name``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


__all__ = ["Location", "campaign_directory", "dotted", "parsed_file"]
