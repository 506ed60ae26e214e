r"""The dominant rows of one element's design matrix, in memory or streamed.

Small data are searched in one piece, by MaxVol over all rows. Larger data start from an even
sample and then pass over all rows in chunks that fit the memory: every row of a chunk is
expressed in the active ones, better rows are swapped in at once, and the inverse follows. The rows
that came closest in earlier chunks are carried along, since later swaps may lift them. Both end
with a pass in which no row exceeds the tolerance: that pass is the verification.
"""

from dataclasses import dataclass

import numpy as np

from nepal_flows.core.design_rows import BLOCK_ROWS, DesignRows, blocks, map_in_threads, row_maxima
from nepal_flows.core.maxvol import improve, lu_start
from nepal_flows.core.span import Span
from nepal_flows.typing import FloatArray, IntArray

_MAX_PASSES = 12
_MAX_ROUNDS = 5
_MAX_PAIRS = 100


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
    whitening = np.ascontiguousarray(span.whitening)
    sizes, largest_outside = _first_pass(rows, span, n_threads)
    median = float(np.median(sizes)) if len(sizes) else 0.0
    if span.rank == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return DominantRows(nothing, whitening, 0.0, 0.0, largest_outside, median)
    chunk = _chunk_rows(rows.n_columns, span.rank, memory)
    start = np.arange(rows.n_rows)
    if rows.n_rows > chunk:
        start = np.linspace(0, rows.n_rows - 1, chunk).astype(np.int64)
    active = start[_dominant(_product(rows, start, whitening, n_threads), tolerance)]
    reserve = np.zeros(0, dtype=np.int64)
    for _ in range(_MAX_PASSES):
        inverse, log_determinant = _inverse_of(rows, active, whitening)
        largest, n_swaps, reserve = _improving_pass(
            rows, active, reserve, inverse, tolerance, chunk, n_threads
        )
        if n_swaps == 0:
            break
    return DominantRows(
        rows=active,
        inverse=inverse,
        log_determinant=log_determinant,
        largest=largest,
        largest_outside=largest_outside,
        median_size=median,
        converged=largest <= tolerance and n_swaps == 0,
    )


def full_dominant_rows(
    rows: DesignRows, *, rcond: float, tolerance: float, memory: float, n_threads: int = 1
) -> DominantRows:
    """Return the rows of the published variant: as many as columns, and their pseudo-inverse.

    With fewer rows than columns all of them are taken. Where the rows do not fit the memory they
    compete chunk by chunk; then all rows are graded, those above the tolerance compete again, and
    so on until none is left or the rounds are used up.

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
        active = np.arange(rows.n_rows)
        inverse = _pseudo_inverse(rows.dense(active), rcond)
        largest, _ = _graded(rows, inverse, tolerance, 0, n_threads)
        return DominantRows(active, inverse, None, largest, converged=largest <= tolerance)
    chunk = max(_chunk_rows(d, d, memory), 2 * d)
    active = np.zeros(0, dtype=np.int64)
    for part in blocks(0, rows.n_rows, chunk):
        active = _compete(rows, np.union1d(active, np.arange(part.start, part.stop)), tolerance)
    for _ in range(_MAX_ROUNDS):
        inverse = _pseudo_inverse(rows.dense(active), rcond)
        largest, above = _graded(rows, inverse, tolerance, chunk, n_threads)
        if len(above) == 0 or rows.n_rows <= chunk:
            break
        active = _compete(rows, np.union1d(active, above), tolerance)
    sign, logarithm = np.linalg.slogdet(rows.dense(active))
    return DominantRows(
        rows=active,
        inverse=inverse,
        log_determinant=float(logarithm) if sign else None,
        largest=largest,
        converged=largest <= tolerance,
    )


def _chunk_rows(d: int, rank: int, memory: float) -> int:
    """Return how many rows may be held as coefficients beside a few (d, d) matrices."""
    spare = 0.5 * memory - 8.0 * (4 * d * d + 4 * BLOCK_ROWS * d)
    rows = int(spare / (8.0 * max(rank, 1)))
    return max(rows - 2 * _reserve_rows(rows), 2 * rank, 1024)


def _reserve_rows(chunk: int) -> int:
    """Return how many rows are carried along beside a chunk."""
    return max(chunk // 8, 64)


def _first_pass(rows: DesignRows, span: Span, n_threads: int) -> tuple[FloatArray, float]:
    """Return the size of every scaled row and the largest component outside the span."""
    outside = np.ascontiguousarray(span.outside)
    weights = span.column_scale**-2

    def measured(part: slice) -> tuple[FloatArray, float]:
        block = rows.dense(part)
        largest = np.zeros(len(block))
        row_maxima(block @ outside, largest)
        return np.sqrt(block**2 @ weights), float(largest.max(initial=0.0))

    found = map_in_threads(measured, blocks(0, rows.n_rows), n_threads)
    sizes = np.concatenate([np.zeros(0), *[size for size, _ in found]])
    return sizes, max([0.0, *[largest for _, largest in found]])


def _product(rows: DesignRows, which: IntArray, matrix: FloatArray, n_threads: int) -> FloatArray:
    """Return ``rows @ matrix`` in Fortran order, expanding the rows block by block."""
    product = np.empty((len(which), matrix.shape[1]), order="F")

    def multiply(part: slice) -> None:
        np.matmul(rows.dense(which[part]), matrix, out=product[part])

    map_in_threads(multiply, blocks(0, len(which)), n_threads)
    return product


def _dominant(matrix: FloatArray, tolerance: float) -> IntArray:
    """Return dominant rows of a matrix in Fortran order, which is overwritten."""
    coefficients, order, _ = lu_start(matrix)
    places = np.arange(coefficients.shape[1])
    improve(coefficients, places, tolerance=tolerance, max_pairs=_MAX_PAIRS)
    return order[places]


def _inverse_of(
    rows: DesignRows, active: IntArray, whitening: FloatArray
) -> tuple[FloatArray, float]:
    """Return M_in, shape (d, rank), and the logarithm of the volume of the active rows."""
    whitened = rows.dense(active) @ whitening
    inverse = np.linalg.solve(whitened.T, whitening.T).T
    return np.ascontiguousarray(inverse), float(np.linalg.slogdet(whitened)[1])


def _improving_pass(
    rows: DesignRows,
    active: IntArray,
    reserve: IntArray,
    inverse: FloatArray,
    tolerance: float,
    chunk: int,
    n_threads: int,
) -> tuple[float, int, IntArray]:
    """Grade all rows, swapping better ones into ``active``.

    Returns the largest grade met, the number of swaps, and the rows that came closest.
    """
    largest, n_swaps = 0.0, 0
    for part in blocks(0, rows.n_rows, chunk):
        which = np.arange(part.start, part.stop)
        if rows.n_rows > chunk:
            which = np.concatenate(
                [reserve[(reserve < part.start) | (reserve >= part.stop)], which]
            )
        coefficients = _product(rows, which, inverse, n_threads)
        grades = np.zeros(len(which))
        _row_maxima_by_blocks(coefficients, grades, n_threads)
        largest = max(largest, float(grades.max()))
        if grades.max() > tolerance:
            by_number = np.argsort(which)
            nearest = np.searchsorted(which, active, sorter=by_number)
            found = by_number[np.minimum(nearest, len(which) - 1)]
            holders = np.where(which[found] == active, found, -1)
            follower = np.asfortranarray(inverse)
            step = improve(
                coefficients,
                holders,
                tolerance=tolerance,
                followers=(follower,),
                grades=grades,
            )
            active[holders >= 0] = which[holders[holders >= 0]]
            inverse = np.ascontiguousarray(follower)
            n_swaps += step.n_swaps
        grades[np.isin(which, active)] = 0.0
        closest = np.argsort(-grades, kind="stable")[: _reserve_rows(chunk)]
        reserve = np.sort(which[closest])
    return largest, n_swaps, reserve


def _row_maxima_by_blocks(coefficients: FloatArray, grades: FloatArray, n_threads: int) -> None:
    def measure(part: slice) -> None:
        grades[part] = np.abs(coefficients[part]).max(axis=1)

    map_in_threads(measure, blocks(0, len(coefficients), 8 * BLOCK_ROWS), n_threads)


def _compete(rows: DesignRows, which: IntArray, tolerance: float) -> IntArray:
    return which[_dominant(np.asfortranarray(rows.dense(which)), tolerance)]


def _pseudo_inverse(active: FloatArray, rcond: float) -> FloatArray:
    return np.ascontiguousarray(np.linalg.pinv(active, rcond=rcond))


def _graded(
    rows: DesignRows, inverse: FloatArray, tolerance: float, keep: int, n_threads: int
) -> tuple[float, IntArray]:
    """Return the largest grade of all rows and up to ``keep`` of those above the tolerance."""

    def measured(part: slice) -> FloatArray:
        grades = np.zeros(part.stop - part.start)
        row_maxima(rows.dense(part) @ inverse, grades)
        return grades

    found = map_in_threads(measured, blocks(0, rows.n_rows), n_threads)
    grades = np.concatenate([np.zeros(0), *found])
    above = np.flatnonzero(grades > tolerance)
    above = above[np.argsort(-grades[above], kind="stable")[:keep]]
    return float(grades.max(initial=0.0)), above


__all__ = ["DominantRows", "full_dominant_rows", "subspace_dominant_rows"]
