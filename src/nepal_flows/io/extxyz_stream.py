"""Extended XYZ of any length, frame by frame, with the grades that a dump brings along.

ASE reads the same files with more patience: a frame of a million atoms takes a second here, and no
more memory than its numbers.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from nepal_flows.core.elements import atomic_number
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError, StructureError
from nepal_flows.typing import AnyArray, FloatArray, IntArray

_LATTICE = re.compile(r'Lattice\s*=\s*"([^"]*)"', re.IGNORECASE)
_PBC = re.compile(r'pbc\s*=\s*"([^"]*)"', re.IGNORECASE)
_PROPERTIES = re.compile(r'Properties\s*=\s*"?([^\s"]+)"?', re.IGNORECASE)
_DEFAULT = "species:S:1:pos:R:3"
_DTYPES = {"S": "U8", "R": "f8", "I": "i8", "L": "U5"}
_SPECIES = ("species", "element", "elements")


@dataclass(frozen=True, eq=False)
class StreamedFrame:
    """One frame of a file.

    Attributes
    ----------
    index
        Its place in the file, from 0.
    structure
        The configuration.
    grades
        The column ``gamma``, shape (n_atoms,); None where there is none.
    """

    index: int
    structure: Structure
    grades: FloatArray | None


def stream_extxyz(path: str | Path) -> Iterator[StreamedFrame]:
    """Yield the frames of an extended XYZ file; one that was cut short at its end is left out.

    Parameters
    ----------
    path
        The file; at most one frame of it is in memory.

    Raises
    ------
    StructureError
        If the file is missing or no extended XYZ, or a frame has no lattice or holds numbers that
        are not finite. The message names the file and the frame.
    """
    path = Path(path)
    if not path.is_file():
        raise StructureError(f"There is no file `{path}`. Give the path of an extended XYZ file.")
    with path.open(encoding="utf-8", errors="replace") as stream:
        for index in itertools.count():
            try:
                frame = _read_frame(stream, index)
            except InputError as error:
                raise StructureError(f"Frame {index} of `{path}`: {error}") from error
            if frame is None:
                break
            yield frame
    if index == 0:
        raise StructureError(f"`{path}` holds no complete frame.")


def _read_frame(stream: TextIO, index: int) -> StreamedFrame | None:
    """Return the next frame; None at the end, also where the last frame is incomplete."""
    first = stream.readline()
    if not first.strip():
        return None
    if not first.strip().isdecimal():
        raise StructureError(
            f"`{first.strip()[:60]}` where the number of atoms was expected. Give extended XYZ."
        )
    comment = stream.readline()
    if not comment.endswith("\n"):
        return None
    n_atoms = int(first)
    table = _table(stream, comment, n_atoms)
    if table is None:
        return None
    name = next((name for name in _SPECIES if name in (table.dtype.names or ())), None)
    if name is None or "pos" not in (table.dtype.names or ()):
        raise StructureError("There are no columns `species` and `pos` in its `Properties`.")
    cell = _cell(comment)
    structure = Structure(_numbers(table[name]), table["pos"], cell, _pbc(comment))
    grades = None
    if "gamma" in (table.dtype.names or ()):
        grades = np.ascontiguousarray(table["gamma"], dtype=np.float64)
        if not np.isfinite(grades).all():
            raise StructureError("Its `gamma` holds NaN or infinity. Drop the frame.")
    return StreamedFrame(index, structure, grades)


def _table(stream: TextIO, comment: str, n_atoms: int) -> AnyArray | None:
    """Return the rows of a frame by column; None if there are too few."""
    found = _PROPERTIES.search(comment)
    words = (found[1] if found else _DEFAULT).split(":")
    if len(words) % 3 or n_atoms == 0:
        raise StructureError(f"Its `Properties` are `{':'.join(words)[:80]}`, or it has no atom.")
    dtype = []
    for name, kind, width in zip(words[::3], words[1::3], words[2::3], strict=True):
        if kind not in _DTYPES or not width.isdecimal():
            raise StructureError(f"`{name}:{kind}:{width}` is no column of extended XYZ.")
        shape = () if width == "1" else (int(width),)
        dtype.append((name.lower(), _DTYPES[kind], shape))
    rows = _Rows(stream, n_atoms)
    try:
        table = np.loadtxt(rows, dtype=np.dtype(dtype), comments=None, ndmin=1)
    except ValueError as error:
        if rows.is_cut_short:
            return None
        raise StructureError(f"Its rows cannot be read ({error}).") from error
    return None if rows.is_cut_short or len(table) < n_atoms else table


class _Rows:
    """The rows of one frame, and whether the file ended before them."""

    def __init__(self, stream: TextIO, n_rows: int) -> None:
        self._rows = itertools.islice(stream, n_rows)
        self._left = n_rows
        self.is_cut_short = False

    def __iter__(self) -> "Iterator[str]":
        for row in self._rows:
            self._left -= 1
            self.is_cut_short = not row.endswith("\n")
            yield row
        self.is_cut_short |= self._left > 0


def _numbers(symbols: AnyArray) -> IntArray:
    unique, inverse = np.unique(symbols, return_inverse=True)
    try:
        known = [int(s) if s.isdecimal() else atomic_number(str(s)) for s in unique]
    except ValueError as error:
        raise StructureError(f"{error}.") from error
    return np.array(known, dtype=np.int64)[inverse]


def _cell(comment: str) -> FloatArray:
    found = _LATTICE.search(comment)
    if found is None:
        raise StructureError(
            "It has no `Lattice`. Give a cell to every frame; surround clusters with vacuum."
        )
    try:
        return np.array(found[1].split(), dtype=np.float64).reshape(3, 3)
    except ValueError as error:
        raise StructureError(f"Its `Lattice` is `{found[1][:80]}`, not nine numbers.") from error


def _pbc(comment: str) -> tuple[bool, bool, bool]:
    found = _PBC.search(comment)
    words = found[1].split() if found else ["T"] * 3
    if len(words) != 3:
        raise StructureError(f"Its `pbc` is `{' '.join(words)[:40]}`, expected three letters.")
    a, b, c = (word.upper() in {"T", "TRUE", "1"} for word in words)
    return a, b, c


__all__ = ["StreamedFrame", "stream_extxyz"]
