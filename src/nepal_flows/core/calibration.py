"""Calibration: the grade against the true error, on frames the model has not seen.

The grade detects extrapolation; it is no error bar. What it is worth on a given system is read
from this table, and from the largest true error among the atoms that the grade called safe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray

GRADE_EDGES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, np.inf)
"""Edges of the bins: nearly even in the logarithm, with round numbers."""

_FEWEST_FOR_RANKS = 3


@dataclass(frozen=True)
class GradeErrorBin:
    """True errors of the atoms whose grade lies in one bin.

    Attributes
    ----------
    gamma_from, gamma_to
        The bin, ``gamma_from <= gamma < gamma_to``; the last may end at infinity.
    n_atoms
        Atoms in it.
    rmse
        Root mean square error over force components, eV/Å.
    p99, largest
        99th percentile and largest norm of an atom's error, eV/Å.
    """

    gamma_from: float
    gamma_to: float
    n_atoms: int
    rmse: float
    p99: float
    largest: float


@dataclass(frozen=True)
class GradeErrorTable:
    """The grade against the true error.

    Attributes
    ----------
    bins
        From the first to the last bin that holds an atom.
    n_atoms
        Atoms compared.
    gamma_low
        Atoms up to this grade are called safe.
    n_called_safe
        How many were.
    largest_error_called_safe
        Largest norm of an error among them, eV/Å; None when there is none.
    spearman
        Rank correlation of grade and error; None for fewer than three atoms or constant data.
    """

    bins: tuple[GradeErrorBin, ...]
    n_atoms: int
    gamma_low: float
    n_called_safe: int
    largest_error_called_safe: float | None
    spearman: float | None

    @property
    def share_called_safe(self) -> float | None:
        """Share of atoms called safe; None without atoms."""
        return self.n_called_safe / self.n_atoms if self.n_atoms else None


def grade_error_table(
    grades: FloatArray,
    errors: FloatArray,
    *,
    gamma_low: float = 5.0,
    edges: Sequence[float] = GRADE_EDGES,
) -> GradeErrorTable:
    """Return the table of grade against true error.

    Parameters
    ----------
    grades
        Grade of every atom, shape (n,), dimensionless.
    errors
        Norm of every atom's force error, shape (n,), eV/Å; or the error vectors, shape (n, 3).
    gamma_low
        Atoms up to this grade are called safe.
    edges
        Edges of the bins, rising; grades outside of them are put into the outermost bins.

    Raises
    ------
    InputError
        If lengths differ, a number is NaN, or the edges do not rise.

    Examples
    --------
    >>> import numpy as np
    >>> table = grade_error_table(np.array([0.5, 0.8, 7.0]), np.array([0.01, 0.02, 0.5]))
    >>> table.n_called_safe, table.largest_error_called_safe
    (2, 0.02)
    """
    grades = np.asarray(grades, dtype=np.float64)
    errors = np.asarray(errors, dtype=np.float64)
    if errors.ndim == 2:
        errors = np.linalg.norm(errors, axis=1)
    _check(grades, errors, edges)
    bounds = np.asarray(edges, dtype=np.float64)
    which = np.clip(np.searchsorted(bounds, grades, side="right") - 1, 0, len(bounds) - 2)
    occupied = np.unique(which)
    shown = range(int(occupied[0]), int(occupied[-1]) + 1) if len(occupied) else range(0)
    bins = [_bin(bounds[k], bounds[k + 1], errors[which == k]) for k in shown]
    safe = grades <= gamma_low
    return GradeErrorTable(
        bins=tuple(bins),
        n_atoms=len(grades),
        gamma_low=gamma_low,
        n_called_safe=int(safe.sum()),
        largest_error_called_safe=float(errors[safe].max()) if safe.any() else None,
        spearman=rank_correlation(grades, errors),
    )


def rank_correlation(first: FloatArray, second: FloatArray) -> float | None:
    """Return Spearman's rank correlation, ties given their mean rank; None where undefined."""
    if len(first) < _FEWEST_FOR_RANKS:
        return None
    left, right = _ranks(first), _ranks(second)
    left, right = left - left.mean(), right - right.mean()
    norm = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / norm) if norm > 0.0 else None


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: FloatArray = last - (counts - 1) / 2.0
    return means[inverse]


def _bin(start: float, stop: float, errors: FloatArray) -> GradeErrorBin:
    if len(errors) == 0:
        return GradeErrorBin(float(start), float(stop), 0, 0.0, 0.0, 0.0)
    return GradeErrorBin(
        gamma_from=float(start),
        gamma_to=float(stop),
        n_atoms=len(errors),
        rmse=float(np.sqrt((errors**2).mean() / 3.0)),
        p99=float(np.quantile(errors, 0.99)),
        largest=float(errors.max()),
    )


def _check(grades: FloatArray, errors: FloatArray, edges: Sequence[float]) -> None:
    if grades.ndim != 1 or errors.shape != grades.shape:
        raise InputError(
            f"`grades` has shape {grades.shape} and `errors` {errors.shape}; give one of each "
            "per atom."
        )
    if np.isnan(grades).any() or np.isnan(errors).any():
        raise InputError("`grades` or `errors` hold NaN. Drop the frames they come from.")
    if len(edges) < 2 or not all(a < b for a, b in pairwise(edges)):
        raise InputError(f"`edges` are {tuple(edges)}; give at least two numbers that rise.")


__all__ = [
    "GRADE_EDGES",
    "GradeErrorBin",
    "GradeErrorTable",
    "grade_error_table",
    "rank_correlation",
]
