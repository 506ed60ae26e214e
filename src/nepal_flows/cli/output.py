"""What commands print: aligned text for people, one JSON document for programs."""

import dataclasses
import json
import math
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
"""Version of the JSON documents; fields are only ever added to a version."""


def print_json(kind: str, content: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout; ``schema`` says what it is."""
    document = {"schema": f"nepal/{kind}/{SCHEMA_VERSION}", **plain(content)}
    print_lines(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; NaN and infinity become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        result: Any = {field.name: plain(getattr(value, field.name)) for field in fields}
    elif isinstance(value, Mapping):
        result = {str(name): plain(item) for name, item in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        result = [plain(item) for item in value]
    elif hasattr(value, "model_dump"):
        result = plain(value.model_dump(mode="json"))
    elif hasattr(value, "tolist"):
        result = plain(value.tolist())
    elif isinstance(value, float) and not math.isfinite(value):
        result = None
    else:
        result = str(value) if isinstance(value, Path) else value
    return result


def print_lines(*lines: str) -> None:
    """Print lines on stdout; where nobody reads them any more (``| head``), end quietly.

    The signal that ends a program then is let through only here: sockets to other processes must
    not end it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL) if is_main else None
    try:
        print("\n".join(lines), flush=True)
    finally:
        if is_main:
            signal.signal(signal.SIGPIPE, before)


def clear_screen() -> None:
    """Begin a terminal anew; what is piped on stays as it is."""
    if sys.stdout.isatty():
        print("\x1b[2J\x1b[H", end="")


def note(text: str) -> None:
    """Print a remark on stderr, where it does not disturb what is piped on."""
    print(text, file=sys.stderr)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, indent: str = "") -> list[str]:
    """Return a table as aligned lines; numbers stand right, text left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(column), *(len(row[k]) for row in cells)) if cells else len(column)
        for k, column in enumerate(columns)
    ]
    right = [
        bool(rows) and all(isinstance(row[k], int | float | None) for row in rows)
        for k in range(len(columns))
    ]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(texts, widths, right, strict=True)
        ]
        return (indent + "  ".join(padded)).rstrip()

    return [line(columns), *(line(row) for row in cells)]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def seconds(value: float) -> str:
    """Return a time as a person says it."""
    if value < 1.0:
        return f"{value * 1000:.0f} ms"
    if value < 120.0:
        return f"{value:.1f} s"
    if value < 7200.0:
        return f"{value / 60.0:.0f} min"
    return f"{value / 3600.0:.1f} h"


__all__ = [
    "SCHEMA_VERSION",
    "clear_screen",
    "note",
    "plain",
    "print_json",
    "print_lines",
    "seconds",
    "table",
]
