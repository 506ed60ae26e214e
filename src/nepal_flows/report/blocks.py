"""The pieces a page is made of; templates/blocks.html.j2 says how each looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from matplotlib.figure import Figure

Mark = Literal["", "yes", "no", "warn"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    text
        What it shows.
    mark
        A sign before the text: a tick, a cross, a warning.
    hint
        The long form, shown on hover and read aloud: a whole hash, a reason.
    heat
        0 to 1, how strongly the ground of the cell is tinted.
    is_code
        Set in the font of code.
    """

    text: str
    mark: Mark = ""
    hint: str = ""
    heat: float = 0.0
    is_code: bool = False


@dataclass(frozen=True)
class Table:
    """A table; columns named in `numeric` are set flush right."""

    kind: ClassVar[str] = "table"

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    numeric: frozenset[str] = frozenset()
    is_folded: bool = False


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with the sentence under it and its text for those who cannot see it."""

    kind: ClassVar[str] = "drawing"

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    kind: ClassVar[str] = "note"

    text: str


@dataclass(frozen=True)
class Code:
    """Text to be copied: commands, a file."""

    kind: ClassVar[str] = "code"

    caption: str
    text: str
    is_folded: bool = True


@dataclass(frozen=True)
class Terms:
    """Words and what they mean, or names and values."""

    kind: ClassVar[str] = "terms"

    items: tuple[tuple[str, str], ...]


Block = Table | Drawing | Note | Code | Terms


@dataclass(frozen=True, eq=False)
class Section:
    """One part of the page, with its heading; without blocks it says what it waits for."""

    name: str
    title: str
    blocks: Sequence[Block] = ()
    pending: str = ""


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    text_columns: Sequence[str] = (),
    is_folded: bool = False,
) -> Table:
    """Return a table whose columns are numbers, but for those named in `text_columns`."""
    return Table(
        caption=caption,
        columns=tuple(columns),
        rows=tuple(tuple(row) for row in rows),
        numeric=frozenset(columns) - frozenset(text_columns),
        is_folded=is_folded,
    )


__all__ = ["Block", "Cell", "Code", "Drawing", "Mark", "Note", "Section", "Table", "Terms", "table"]
