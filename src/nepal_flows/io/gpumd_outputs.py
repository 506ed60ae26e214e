"""What `gpumd` writes: extrapolation_dump.xyz and thermo.out.

The dump has, frame by frame, ``max_gamma``, ``pbc``, ``Lattice`` and the columns species, pos,
gamma; no step and no time. thermo.out has one row every so many steps: T (K), kinetic and
potential energy (eV), six stresses (GPa, positive when compressed: xx yy zz first), and the cell
vectors, or in old versions for orthogonal cells their lengths; since 2026 with comments before
the rows of every run. Both are appended to, so a run needs a directory of its own.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from nepal_flows.core.elements import atomic_number
from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray, IntArray

DUMP_FILE = "extrapolation_dump.xyz"
THERMO_FILE = "thermo.out"

_GAMMA = re.compile(r"max_gamma=(\S+)")
PBC = re.compile(r'pbc="([TF]) ([TF]) ([TF])"')
LATTICE = re.compile(r'Lattice="([^"]*)"')
_COLUMNS = 5
_THERMO_COLUMNS = (12, 18)


@dataclass(frozen=True, eq=False)
class DumpFrame:
    """One frame of extrapolation_dump.xyz.

    Attributes
    ----------
    numbers, positions, cell, pbc
        Atoms; Å. Numbers may be anything that was printed, NaN included.
    gamma
        Largest grade, as GPUMD found it.
    grades
        Grade of every atom, shape (n_atoms,).
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray
    pbc: tuple[bool, bool, bool]
    gamma: float
    grades: FloatArray

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite: a NaN never raises GPUMD's largest grade."""
        parts = (self.positions, self.cell, self.grades)
        return bool(np.isfinite(self.gamma)) and all(bool(np.isfinite(p).all()) for p in parts)


@dataclass(frozen=True, eq=False)
class Thermo:
    """Rows of thermo.out; every array has shape (n_rows,).

    Attributes
    ----------
    temperature
        K.
    kinetic_energy, potential_energy
        eV.
    pressure
        GPa, positive when compressed.
    volume
        Å^3.
    """

    temperature: FloatArray
    kinetic_energy: FloatArray
    potential_energy: FloatArray
    pressure: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        return len(self.temperature)

    @property
    def first_bad_row(self) -> int | None:
        """Row of the first number that is not finite; None if all are."""
        parts = (self.temperature, self.kinetic_energy, self.potential_energy, self.pressure)
        bad = np.flatnonzero(~np.isfinite(np.array([*parts, self.volume])).all(axis=0))
        return int(bad[0]) if len(bad) else None


def read_dump(path: str | Path) -> Iterator[DumpFrame]:
    """Yield the frames of extrapolation_dump.xyz; one that was cut short at its end is left out.

    Parameters
    ----------
    path
        The file; none yields nothing.

    Raises
    ------
    InputError
        If what is there is no such dump.
    """
    path = Path(path)
    if not path.exists():
        return
    with path.open(encoding="ascii", errors="replace") as stream:
        for number in itertools.count():
            frame = _read_frame(stream, f"frame {number} of {path}")
            if frame is None:
                return
            yield frame


def read_thermo(path: str | Path) -> Thermo:
    """Return the rows of thermo.out; a last row that was cut short is left out.

    Parameters
    ----------
    path
        The file; none has no rows.

    Raises
    ------
    InputError
        If what is there is no such table.
    """
    path = Path(path)
    text = path.read_text(encoding="ascii", errors="replace") if path.exists() else ""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if lines and not text.endswith("\n"):
        lines.pop()
    try:
        table = np.array([[float(word) for word in line.split()] for line in lines])
    except ValueError as error:
        raise InputError(f"`{path}` is no thermo.out: {error}.") from error
    if not lines:
        table = np.zeros((0, _THERMO_COLUMNS[-1]))
    if table.ndim != 2 or table.shape[1] not in _THERMO_COLUMNS:
        raise InputError(f"`{path}` has rows of {table.shape[1:]} columns, expected 12 or 18.")
    cell = table[:, 9:]
    if cell.shape[1] == 9:
        with np.errstate(invalid="ignore"):
            volume = np.abs(np.linalg.det(cell.reshape(-1, 3, 3)))
    else:
        volume = cell.prod(axis=1)
    return Thermo(
        temperature=table[:, 0],
        kinetic_energy=table[:, 1],
        potential_energy=table[:, 2],
        pressure=table[:, 3:6].mean(axis=1),
        volume=volume,
    )


def next_frame(stream: TextIO, place: str) -> tuple[str, list[str]] | None:
    """Return the comment and the rows of the next frame of an XYZ file.

    Parameters
    ----------
    stream
        The file.
    place
        Which frame of which file, for errors.

    Returns
    -------
    tuple
        None at the end, also where the last frame is incomplete.

    Raises
    ------
    InputError
        If the frame does not begin with a number of atoms.
    """
    first, comment = stream.readline(), stream.readline()
    if not comment.endswith("\n"):
        return None
    if not first.strip().isdecimal():
        raise InputError(f"{place}: `{first.strip()[:60]}` where the number of atoms was expected.")
    n_atoms = int(first)
    rows = list(itertools.islice(stream, n_atoms))
    if len(rows) < n_atoms or not rows[-1].endswith("\n"):
        return None
    return comment, rows


def _read_frame(stream: TextIO, place: str) -> DumpFrame | None:
    """Return the next frame; None at the end, also where the last frame is incomplete."""
    found = next_frame(stream, place)
    if found is None:
        return None
    comment, rows = found
    n_atoms = len(rows)
    words = " ".join(rows).split()
    gamma, pbc, lattice = (rule.search(comment) for rule in (_GAMMA, PBC, LATTICE))
    if gamma is None or pbc is None or lattice is None or len(words) != _COLUMNS * n_atoms:
        raise InputError(
            f"{place} is not what `compute_extrapolation` writes: `{comment.strip()[:120]}`."
        )
    try:
        table = np.array([words[column::_COLUMNS] for column in range(1, _COLUMNS)], dtype=float)
        numbers = [atomic_number(symbol) for symbol in words[::_COLUMNS]]
        cell = np.array(lattice[1].split(), dtype=float).reshape(3, 3)
        largest = float(gamma[1])
    except ValueError as error:
        raise InputError(f"{place}: {error}.") from error
    return DumpFrame(
        numbers=np.array(numbers, dtype=np.int64),
        positions=np.ascontiguousarray(table[:3].T),
        cell=cell,
        pbc=(pbc[1] == "T", pbc[2] == "T", pbc[3] == "T"),
        gamma=largest,
        grades=table[3],
    )


__all__ = [
    "DUMP_FILE",
    "LATTICE",
    "PBC",
    "THERMO_FILE",
    "DumpFrame",
    "Thermo",
    "next_frame",
    "read_dump",
    "read_thermo",
]
