"""What `gpumd` writes with its keyword ``active``: active.out and active.xyz.

active.out has a row for every check: time (fs) and the largest standard deviation of a force over
the potentials (eV/Å), variances divided by their number. active.xyz has, in extended XYZ, the
frames whose deviation exceeds the threshold, in the same order; its columns depend on the version
and on what was asked for. Both are appended to.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nepal_flows.core.elements import atomic_number
from nepal_flows.errors import InputError
from nepal_flows.io.gpumd_outputs import LATTICE, PBC, DumpFrame, next_frame
from nepal_flows.typing import FloatArray

CHECKS_FILE = "active.out"
FRAMES_FILE = "active.xyz"

_PROPERTIES = re.compile(r"Properties=(\S+)", re.IGNORECASE)


def read_deviations(path: str | Path) -> FloatArray:
    """Return the largest deviation of every check, eV/Å; a last row that was cut is left out.

    Parameters
    ----------
    path
        active.out; none has no rows.

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
        rows = [[float(word) for word in line.split()] for line in lines]
    except ValueError as error:
        raise InputError(f"`{path}` is no active.out: {error}.") from error
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None:
        raise InputError(f"`{path}` has a row of {len(wrong)} columns, expected time and spread.")
    return np.array([row[1] for row in rows])


def read_active(directory: str | Path) -> Iterator[DumpFrame]:
    """Yield a frame for every check; ``gamma`` is its largest deviation, eV/Å, grades are not told.

    The keyword's threshold is taken to be 0, so that every check has its frame. Only one whose
    deviation is not a positive number has none, because the forces are no numbers: it yields a
    frame that is not finite.

    Parameters
    ----------
    directory
        Where `gpumd` ran; without the files nothing is yielded.

    Raises
    ------
    InputError
        If what is there is something else.
    """
    deviations = read_deviations(Path(directory) / CHECKS_FILE)
    path = Path(directory) / FRAMES_FILE
    if not path.exists():
        if (deviations > 0.0).any():
            raise InputError(f"`{path}` is missing, but active.out has {len(deviations)} rows.")
        yield from (_nothing() for _ in deviations)
        return
    with path.open(encoding="ascii", errors="replace") as stream:
        for number, deviation in enumerate(deviations):
            if not deviation > 0.0:
                yield _nothing()
                continue
            place = f"frame {number} of {path}"
            found = next_frame(stream, place)
            if found is None:
                return
            yield _frame(*found, place=place, deviation=float(deviation))


def _nothing() -> DumpFrame:
    nan = np.full((1, 3), np.nan)
    return DumpFrame(
        numbers=np.zeros(1, dtype=np.int64),
        positions=nan,
        cell=np.eye(3),
        pbc=(True, True, True),
        gamma=float("nan"),
        grades=nan[:, 0],
    )


def _frame(comment: str, rows: list[str], *, place: str, deviation: float) -> DumpFrame:
    pbc, lattice, properties = (rule.search(comment) for rule in (PBC, LATTICE, _PROPERTIES))
    if pbc is None or lattice is None or properties is None:
        raise InputError(f"{place} is not what `active` writes: `{comment.strip()[:120]}`.")
    words = properties[1].split(":")
    try:
        names, widths = [name.lower() for name in words[::3]], [int(width) for width in words[2::3]]
        starts = dict(zip(names, itertools.accumulate([0, *widths[:-1]]), strict=True))
        species, position = starts["species"], starts["pos"]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{place} has no columns `species` and `pos`: `{properties[0]}`."
        ) from error
    table = [row.split() for row in rows]
    if any(len(row) != sum(widths) for row in table):
        raise InputError(f"{place} has rows without the {sum(widths)} columns of its header.")
    try:
        return DumpFrame(
            numbers=np.array([atomic_number(row[species]) for row in table], dtype=np.int64),
            positions=np.array([row[position : position + 3] for row in table], dtype=float),
            cell=np.array(lattice[1].split(), dtype=float).reshape(3, 3),
            pbc=(pbc[1] == "T", pbc[2] == "T", pbc[3] == "T"),
            gamma=deviation,
            grades=np.zeros(len(table)),
        )
    except ValueError as error:
        raise InputError(f"{place}: {error}.") from error


__all__ = ["CHECKS_FILE", "FRAMES_FILE", "read_active", "read_deviations"]
