"""MongoDB's query language for documents that lie in SQLite.

What can be decided on indexed columns becomes SQL; the rest is left to montydb's filter, which
implements the language itself.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from montydb.engine.queries import QueryFilter

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SqlCriteria:
    """A query, split.

    Attributes
    ----------
    where
        SQL condition (``1`` when there is none), with ``?`` for each of ``values``.
    values
        What the condition compares with.
    rest
        Criteria left for the filter, in MongoDB's language; empty when SQL decides alone.
    """

    where: str
    values: tuple[Any, ...]
    rest: dict[str, Any]


def sql_criteria(criteria: Mapping[str, Any] | None, columns: Iterable[str]) -> SqlCriteria:
    """Return a query split into what indexed columns decide and the rest.

    Equality with text, a number or null, and ``$in`` of texts and numbers, are decided by SQL.
    """
    known = set(columns)
    conditions: list[str] = []
    values: list[Any] = []
    rest: dict[str, Any] = {}
    for field, condition in (criteria or {}).items():
        members = condition.get("$in") if _is_only_in(condition) else [condition]
        if field not in known or not _are_plain(members, allow_none=not _is_only_in(condition)):
            rest[field] = condition
        elif members == [None]:
            conditions.append(f'"{field}" IS NULL')
        elif len(members) == 1:
            conditions.append(f'"{field}" = ?')
            values.extend(members)
        else:  # one value, however many there are
            conditions.append(f'"{field}" IN (SELECT value FROM json_each(?))')
            values.append(json.dumps(list(members)))
    return SqlCriteria(" AND ".join(conditions) or "1", tuple(values), rest)


def _is_only_in(condition: Any) -> bool:
    return isinstance(condition, Mapping) and list(condition) == ["$in"]


def _are_plain(members: Any, *, allow_none: bool) -> bool:
    return isinstance(members, (list, tuple)) and all(
        (member is None and allow_none) or isinstance(member, str) or _is_number(member)
        for member in members
    )


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def matching(
    documents: Iterable[dict[str, Any]], criteria: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the documents that satisfy criteria in MongoDB's language."""
    if not criteria:
        yield from documents
        return
    is_match = QueryFilter(criteria)
    for document in documents:
        if is_match(document):
            yield document


def in_order(
    documents: Iterable[dict[str, Any]], sort: Sequence[tuple[str, int]]
) -> list[dict[str, Any]]:
    """Return documents sorted by fields: missing first, then numbers, text, and everything else."""
    ordered = list(documents)
    for field, direction in reversed(sort):
        ordered.sort(key=partial(_rank, field=field), reverse=direction < 0)
    return ordered


def _rank(document: Mapping[str, Any], *, field: str) -> tuple[int, Any]:
    value = field_value(document, field)
    if value is None:
        return (0, 0)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (1, value)
    if isinstance(value, str):
        return (2, value)
    return (3, str(value))


def field_value(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, None where there is none."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def projected(document: dict[str, Any], projection: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a document with only the fields asked for (or without those marked 0).

    As in MongoDB, ``_id`` is kept unless it is marked 0.
    """
    if not projection:
        return document
    others = {path: wanted for path, wanted in projection.items() if path != "_id"}
    if others and any(others.values()):
        kept: dict[str, Any] = _only(
            document, [path.split(".") for path, wanted in others.items() if wanted]
        )
        if projection.get("_id", 1) and "_id" in document:
            kept = {"_id": document["_id"], **kept}
        return kept
    if not others and projection["_id"]:
        return {"_id": document["_id"]}
    reduced: dict[str, Any] = _without(
        document, [path.split(".") for path, wanted in projection.items() if not wanted]
    )
    return reduced


def _only(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_only(item, paths) for item in value if isinstance(item, (dict, list))]
    kept: dict[str, Any] = {}
    for name, item in value.items():
        below = [path[1:] for path in paths if path[0] == name]
        if any(not path for path in below):
            kept[name] = item
        elif below and isinstance(item, (dict, list)):
            kept[name] = _only(item, below)
    return kept


def _without(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_without(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for name, item in value.items():
        below = [path[1:] for path in paths if path[0] == name]
        if any(not path for path in below):
            continue
        kept[name] = _without(item, below) if below else item
    return kept


def whole_fields(projection: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the fields a projection asks for if it names only whole ones, else nothing."""
    asked = {name: bool(flag) for name, flag in (projection or {}).items()}
    with_id = asked.pop("_id", True)
    if not asked or not all(asked.values()) or not all(_WORD.fullmatch(name) for name in asked):
        return ()
    return ("_id", *asked) if with_id else tuple(asked)


__all__ = [
    "SqlCriteria",
    "field_value",
    "in_order",
    "matching",
    "projected",
    "sql_criteria",
    "whole_fields",
]
