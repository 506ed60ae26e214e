r"""The dominant rows of one element's design matrix, in memory or streamed.

Small data are searched in one piece, by MaxVol over all rows. Larger data start from MaxVol over
an even sample. One pass in float32 then finds the rows that come near the active ones or exceed
them; better rows among these are swapped in until none is left. Both end with the verification:
all rows are graded in float64. Rows that still exceed the tolerance are swapped in, and all are
graded anew, by a bound where only few places of the active set changed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.design_rows import BLOCK_ROWS, DesignRows
from nepal_flows.core.graded_rows import grades_after_swaps, row_grades, row_products
from nepal_flows.core.maxvol import improve
from nepal_flows.core.maxvol_start import lu_start
from nepal_flows.core.span import Span
from nepal_flows.typing import FloatArray, IntArray

SMALLEST_OUT_OF_SPAN = 1e-3
"""The out-of-span scale is at least this share of the median size of a scaled row."""

_MAX_PASSES = 12
_MAX_ROUNDS = 8
_MAX_PAIRS = 100

_SHARE_IN_REACH = 16
"""Up to one row in so many is looked at again and again between two passes over all."""

_MOST_AT_ONCE = 64
"""Up to so many rows per place are searched in one piece."""

_HELD_PER_PLACE = 12
_HELD_IN_ANY_CASE = 8192
"""Rows that compete at a time where not all do; more cost more than the passes they save."""

_EXPRESSED_TO = 1e-6
"""Active rows are a basis when each, expressed in all of them, is itself to within this."""

_FEW_PLACES = 32
"""Up to one place in so many may change for the bound on the grades to be worth its cost."""


@dataclass(frozen=True, eq=False)
class DominantRows:
    """The chosen rows of one element.

    Attributes
    ----------
    rows
        Chosen rows, shape (k,).
    inverse
        Matrix that expresses a row in the chosen ones, shape (d, k).
    log_determinant
        Logarithm of the volume of the chosen rows; None where it vanishes.
    largest
        Largest grade of any row with ``inverse``.
    largest_outside
        Largest component of any row along an unspanned direction, in scaled columns.
    median_size
        Median size of a scaled row.
    converged
        Whether all rows were verified to be within the tolerance.
    """

    rows: IntArray
    inverse: FloatArray
    log_determinant: float | None
    largest: float
    largest_outside: float = 0.0
    median_size: float = 0.0
    converged: bool = True


def subspace_dominant_rows(
    rows: DesignRows, span: Span, *, tolerance: float, memory: float, n_threads: int = 1
) -> DominantRows:
    """Return rows that dominate all others within the space that is spanned numerically.

    Parameters
    ----------
    rows
        The element's design matrix.
    span
        What it spans.
    tolerance
        Tolerance of MaxVol.
    memory
        Bound on the working memory, bytes.
    n_threads
        Threads over blocks of rows.
    """
    median, largest_outside = _sizes(rows, span, n_threads)
    if span.rank == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return DominantRows(nothing, span.whitening, 0.0, 0.0, largest_outside, median)
    whitening = np.ascontiguousarray(span.whitening)

    def express(active: FloatArray) -> tuple[FloatArray, float]:
        whitened = active @ whitening
        inverse = np.linalg.solve(whitened.T, whitening.T).T
        return np.ascontiguousarray(inverse), float(np.linalg.slogdet(whitened)[1])

    capacity = _capacity(rows.n_columns, span.rank, memory)
    search = _Search(rows, whitening, express, tolerance, capacity, n_threads)
    search.run()
    return DominantRows(
        rows=search.active,
        inverse=search.inverse,
        log_determinant=search.log_determinant,
        largest=search.largest,
        largest_outside=largest_outside,
        median_size=median,
        converged=search.converged,
    )


def full_dominant_rows(
    rows: DesignRows, *, rcond: float, tolerance: float, memory: float, n_threads: int = 1
) -> DominantRows:
    """Return the rows of the published variant: as many as columns, and their pseudo-inverse.

    With fewer rows than columns all of them are taken.

    Parameters
    ----------
    rows
        The element's design matrix.
    rcond
        Cut of the pseudo-inverse.
    tolerance
        Tolerance of MaxVol.
    memory
        Bound on the working memory, bytes.
    n_threads
        Threads over blocks of rows.
    """
    d = rows.n_columns
    if rows.n_rows < d:
        everything = np.arange(rows.n_rows)
        inverse = np.ascontiguousarray(np.linalg.pinv(rows.dense(everything), rcond=rcond))
        largest = float(row_grades(rows, inverse, n_threads=n_threads).max(initial=0.0))
        return DominantRows(everything, inverse, None, largest, converged=largest <= tolerance)

    def express(active: FloatArray) -> tuple[FloatArray, float]:
        inverse = np.ascontiguousarray(np.linalg.pinv(active, rcond=rcond))
        return inverse, float(np.linalg.slogdet(active)[1])

    capacity = _capacity(d, d, memory)
    search = _Search(rows, np.eye(d), express, tolerance, capacity, n_threads)
    search.run()
    return DominantRows(
        rows=search.active,
        inverse=search.inverse,
        log_determinant=search.log_determinant if np.isfinite(search.log_determinant) else None,
        largest=search.largest,
        converged=search.converged,
    )


class _Search:
    """A search for dominant rows.

    Parameters
    ----------
    rows, tolerance, n_threads
        As given by the caller.
    basis
        The rows times this, shape (d, r), are what has to be dominated.
    express
        Returns the matrix that expresses a row in the active ones given, and their volume.
    capacity
        How many rows may be held twice, as coefficients and as what is factorised.

    Attributes
    ----------
    active, inverse, log_determinant
        The active rows, the matrix that expresses a row in them, and their volume.
    grades
        Of all rows with ``inverse``, shape (n_rows,); of at most 1, they may be bounds.
    """

    def __init__(
        self,
        rows: DesignRows,
        basis: FloatArray,
        express: Callable[[FloatArray], tuple[FloatArray, float]],
        tolerance: float,
        capacity: int,
        n_threads: int,
    ) -> None:
        self.rows = rows
        self.tolerance = tolerance
        self.capacity = capacity
        self.n_threads = n_threads
        self._express = express
        self.basis = basis
        start = np.arange(rows.n_rows)
        self.is_sampled = rows.n_rows > min(capacity, _MOST_AT_ONCE * basis.shape[1])
        if self.is_sampled:
            start = np.linspace(0, rows.n_rows - 1, self._n_held()).astype(np.int64)
        self._settle(start[self._dominant(start, basis)])

    @property
    def largest(self) -> float:
        """Largest grade of all rows."""
        return float(self.grades.max())

    @property
    def converged(self) -> bool:
        """Whether every row was verified to be within the tolerance."""
        return self.largest <= self.tolerance

    def run(self) -> None:
        """Swap until every row was verified to be within the tolerance, or give up."""
        if self.is_sampled:
            self.grades = self._graded(in_float32=True)
            self._improve(max_pairs=_MAX_PAIRS)
        self.grades = self._graded()
        for _ in range(_MAX_PASSES):
            if self.converged:
                break
            former, former_inverse, was_basis = self.active, self.inverse, self.is_basis
            self._improve()
            places = np.flatnonzero(self.active != former)
            if len(places) == 0:
                break
            if was_basis and len(places) * _FEW_PLACES <= len(former):
                self.grades = grades_after_swaps(
                    self.rows,
                    self.grades,
                    self.inverse,
                    former_inverse=former_inverse,
                    places=places,
                    members=self.active[places],
                    n_threads=self.n_threads,
                )
            else:
                self.grades = self._graded()

    def _n_held(self) -> int:
        """Return how many rows compete at a time where not all do."""
        return min(self.capacity, max(_HELD_PER_PLACE * self.basis.shape[1], _HELD_IN_ANY_CASE))

    def _improve(self, *, max_pairs: int = 0) -> None:
        """Swap until the rows in reach are within the tolerance, or the rounds are used up."""
        n_above = int((self.grades > self.tolerance).sum())
        held = self._n_held()
        most = max(self.rows.n_rows // _SHARE_IN_REACH, held)
        reach = _largest(self.grades, min(most, held + _SHARE_IN_REACH * n_above))
        grades = self.grades[reach]
        for _ in range(_MAX_ROUNDS):
            nearest = reach[_largest(grades, held)]
            pool = np.union1d(self.active, nearest)
            if self.is_basis:
                coefficients = row_products(self.rows, pool, self.inverse, n_threads=self.n_threads)
                places = np.searchsorted(pool, self.active)
                improve(
                    coefficients,
                    places,
                    tolerance=self.tolerance,
                    max_pairs=max_pairs,
                    n_threads=self.n_threads,
                )
                max_pairs = 0
                del coefficients
            else:
                places = self._dominant(pool, self.basis)
            self._settle(pool[places])
            if len(nearest) == len(reach):
                break
            grades = self._graded(reach)
            if grades.max() <= self.tolerance:
                break

    def _settle(self, active: IntArray) -> None:
        """Take these rows as the active ones, and express rows in them afresh."""
        dense = self.rows.dense(active)
        self.active = active
        self.inverse, self.log_determinant = self._express(dense)
        deviation = dense @ self.inverse
        deviation[np.diag_indices(len(active))] -= 1.0
        self.is_basis = bool(np.abs(deviation).max() <= _EXPRESSED_TO)

    def _dominant(self, which: IntArray, basis: FloatArray) -> IntArray:
        """Return the places in ``which`` of rows that dominate the others."""
        product = row_products(self.rows, which, basis, n_threads=self.n_threads)
        coefficients, order, _ = lu_start(product, overwrite=True, n_threads=self.n_threads)
        places = np.arange(coefficients.shape[1])
        improve(
            coefficients,
            places,
            tolerance=self.tolerance,
            max_pairs=_MAX_PAIRS,
            n_threads=self.n_threads,
        )
        return order[places]

    def _graded(self, which: IntArray | None = None, *, in_float32: bool = False) -> FloatArray:
        return row_grades(
            self.rows, self.inverse, which=which, n_threads=self.n_threads, in_float32=in_float32
        )


def _capacity(d: int, rank: int, memory: float) -> int:
    """Return how many rows may be held twice beside a few (d, d) matrices."""
    spare = 0.8 * memory - 8.0 * (6 * d * d + 4 * BLOCK_ROWS * d)
    return max(int(spare / (16.0 * max(rank, 1))), 2 * rank, 1024)


def _sizes(rows: DesignRows, span: Span, n_threads: int) -> tuple[float, float]:
    """Return the median size of scaled rows and their largest component outside of the span.

    No component along a direction exceeds its singular value. Where all of these are below the
    scale that out-of-span components are divided by, the largest of them will do.
    """
    if rows.n_rows == 0:
        return 0.0, 0.0
    median = float(np.median(np.sqrt(rows.squared_sizes(span.column_scale**-2))))
    values = 1.01 * span.singular_values[span.rank :]
    in_doubt = values > SMALLEST_OUT_OF_SPAN * median
    if not in_doubt.any():
        return median, float(values.max(initial=0.0))
    outside = np.ascontiguousarray(span.outside[:, in_doubt])
    return median, float(row_grades(rows, outside, n_threads=n_threads).max())


def _largest(grades: FloatArray, n: int) -> IntArray:
    """Return the places of the n largest grades, in rising order; of ties the first ones."""
    return np.sort(np.argsort(-grades, kind="stable")[:n])


__all__ = [
    "SMALLEST_OUT_OF_SPAN",
    "DominantRows",
    "full_dominant_rows",
    "subspace_dominant_rows",
]
