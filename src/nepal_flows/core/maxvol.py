r"""Square MaxVol: the rows of a tall matrix that span the largest volume.

A set of r rows A of an (n, r) matrix B is *dominant* when no entry of :math:`C = B A^{-1}`
exceeds 1 in magnitude [1]_. Swapping the row of a larger entry :math:`C_{ij}` into place j
multiplies :math:`|\det A|` by :math:`|C_{ij}|`, so the volume never falls.

The start and C come together from one pivoted LU of *all* rows: with :math:`P B = L U` the first
r rows are the start and :math:`C = L L_1^{-1}`. Swaps are then made on the rows with the largest
entries only, with a fused update and search; one matrix product of the rank of the changed places
brings every other row up to date, and the largest entry of all rows decides whether to go on.
Dominant sets are local maxima. From there, pairs of swaps are tried on the same rows: a minor
:math:`|C_{ij} C_{kl} - C_{kj} C_{il}|` above 1 is a gain although no single entry is.

References
----------
.. [1] S. A. Goreinov et al., "How to find a good submatrix", in Matrix Methods: Theory,
   Algorithms, Applications (World Scientific, 2010), pp. 247-256.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from nepal_flows.core.design_rows import blocks, map_in_threads, row_maxima
from nepal_flows.core.maxvol_kernels import subtract_from_rows, swap_until_dominant
from nepal_flows.core.maxvol_start import lu_start
from nepal_flows.errors import ActiveSetError
from nepal_flows.typing import AnyArray, BoolArray, FloatArray, IntArray

_DRIFT_ALLOWED = 1e-6
_N_PROBES = 2
_PAIRS_AT_ONCE = 50
_FEWEST_AT_ONCE = 64
_LARGEST_FLOAT32 = 1e30

_UPDATED_AT_ONCE = 256
"""Rows that are brought up to date at a time: they and their update stay in the cache."""


@dataclass(frozen=True, eq=False)
class MaxVol:
    """A dominant set of rows.

    Attributes
    ----------
    rows
        Chosen rows in the order of places, shape (r,).
    log_determinant
        Natural logarithm of ``|det matrix[rows]|``; -inf when the matrix has not full rank.
    rank
        Pivots of the elimination above rounding; below r the last places hold arbitrary rows.
    n_swaps, n_sweeps
        Swaps made after the start, and searches over all rows.
    largest
        Largest magnitude in ``matrix @ inv(matrix[rows])``, over all rows.
    drift
        Estimated error of the entries that ``largest`` was read from, relative to the rows.
    converged
        Whether every row is within the tolerance.
    """

    rows: IntArray
    log_determinant: float
    rank: int
    n_swaps: int
    n_sweeps: int
    largest: float
    drift: float
    converged: bool


@dataclass(frozen=True, eq=False)
class Improvement:
    """What a run of swaps did.

    Attributes
    ----------
    log_gain
        Growth of the logarithm of the volume.
    n_swaps, n_sweeps
        Swaps made, and searches over all rows.
    largest
        Largest magnitude of any eligible row in the end, at least 1.
    converged
        Whether it is within the tolerance.
    """

    log_gain: float
    n_swaps: int
    n_sweeps: int
    largest: float
    converged: bool


def maxvol(
    matrix: FloatArray,
    *,
    tolerance: float = 1.001,
    max_sweeps: int = 200,
    max_swaps: int | None = None,
    max_pairs: int = 100,
    n_threads: int = 1,
) -> MaxVol:
    r"""Return the rows of a tall matrix that are dominant to a tolerance.

    Parameters
    ----------
    matrix
        Shape (n, r) with n >= r, dimensionless.
    tolerance
        Largest magnitude of :math:`B A^{-1}` that is left alone; above 1.
    max_sweeps
        Searches over all rows before giving up.
    max_swaps
        Swaps before giving up; 100 r by default.
    max_pairs
        Searches for a gainful pair of swaps after a dominant set was found.
    n_threads
        Threads over blocks of rows; the elimination has those of the linear algebra library.

    Returns
    -------
    MaxVol
        The rows, and whether all rows were verified to be within the tolerance.

    Raises
    ------
    ActiveSetError
        If there are fewer rows than columns, a number is not finite, or the tolerance is below 1.

    Notes
    -----
    Every entry is read in float64. The entries are carried along by updates, so their error is
    estimated in the end against ``matrix[rows]`` itself with random probes; where it is not small
    they are computed afresh and the search goes on. A matrix that is numerically singular has no
    unique C: there the probes test :math:`C A = B` instead.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    _check(matrix, tolerance)
    n, r = matrix.shape
    limit = 100 * r if max_swaps is None else max_swaps
    coefficients, order, pivots = lu_start(matrix, n_threads=n_threads)
    grades = np.empty(n)
    row_maxima(coefficients, grades)
    if not np.isfinite(grades).all():
        raise ActiveSetError("`matrix` holds NaN or infinity. Drop the frames it comes from.")
    rows = np.arange(r)
    rank = int((pivots > n * np.finfo(float).eps * pivots.max(initial=0.0)).sum())
    log_gain, n_swaps, n_sweeps = 0.0, 0, 0
    while True:
        step = improve(
            coefficients,
            rows,
            tolerance=tolerance,
            max_sweeps=max(max_sweeps - n_sweeps, 1),
            max_swaps=max(limit - n_swaps, 0),
            max_pairs=max_pairs,
            grades=grades,
            n_threads=n_threads,
        )
        log_gain += step.log_gain
        n_swaps += step.n_swaps
        n_sweeps += step.n_sweeps
        drift = _drift(matrix, coefficients, rows, order, n_threads)
        if drift <= _DRIFT_ALLOWED or not step.converged or n_sweeps >= max_sweeps:
            break
        _refresh(matrix, coefficients, rows, order)
        row_maxima(coefficients, grades)
    log_start = float(np.log(pivots).sum()) if rank == r else -np.inf
    return MaxVol(
        rows=order[rows],
        log_determinant=log_start + log_gain,
        rank=rank,
        n_swaps=n_swaps,
        n_sweeps=n_sweeps,
        largest=step.largest,
        drift=drift,
        converged=step.converged and drift <= _DRIFT_ALLOWED,
    )


def improve(
    coefficients: FloatArray,
    rows: IntArray,
    *,
    tolerance: float,
    eligible: BoolArray | None = None,
    grades: FloatArray | None = None,
    max_sweeps: int = 200,
    max_swaps: int = 1_000_000,
    max_pairs: int = 0,
    n_threads: int = 1,
) -> Improvement:
    """Swap rows until no entry of the coefficients exceeds the tolerance, in place.

    Parameters
    ----------
    coefficients
        C of every row that may be swapped in, shape (n, r), C order; updated in place.
    rows
        Which row of ``coefficients`` holds each place, shape (r,); -1 where the holder is none
        of them, and leaves for good when it is replaced. Updated in place.
    tolerance
        Largest magnitude that is left alone.
    eligible
        Which rows may be swapped in, shape (n,); all by default. The rest is carried along.
    grades
        Largest magnitude of every row, shape (n,): up to date on entry, and kept so.
    max_sweeps, max_swaps
        When to give up.
    max_pairs
        Searches for a gainful pair of swaps once no single one is left.
    n_threads
        Threads over blocks of rows.

    Returns
    -------
    Improvement
        Growth of the volume and whether all rows are within the tolerance.
    """
    n, r = coefficients.shape
    n_top = min(n, max(r, _FEWEST_AT_ONCE))
    log_gain, n_swaps, n_sweeps = 0.0, 0, 0
    if grades is None:
        grades = np.empty(n)
        row_maxima(coefficients, grades)
    while True:
        n_sweeps += 1
        outside = grades.copy() if eligible is None else np.where(eligible, grades, -1.0)
        outside[rows[rows >= 0]] = -1.0
        largest = float(outside.max(initial=0.0))
        converged = largest <= tolerance
        if (converged and max_pairs == 0) or n_sweeps > max_sweeps or n_swaps >= max_swaps:
            break
        top = _top_rows(outside, n_top)
        if len(top) == 0:
            break
        tries = min(max_pairs, _PAIRS_AT_ONCE)
        max_pairs -= tries
        step = _swap_among(coefficients, top, rows, tolerance, max_swaps - n_swaps, tries)
        if not step.log_gain > 0.0:
            break
        rows[step.places] = step.members
        n_swaps += step.n_swaps
        log_gain += step.log_gain
        _apply(coefficients, step, grades, n_threads)
        coefficients[step.members] = 0.0
        coefficients[step.members, step.places] = 1.0
        grades[step.members] = 1.0
    return Improvement(log_gain, n_swaps, n_sweeps, max(largest, 1.0), converged)


def _check(matrix: FloatArray, tolerance: float) -> None:
    if matrix.ndim != 2 or matrix.shape[1] == 0 or matrix.shape[0] < matrix.shape[1]:
        raise ActiveSetError(
            f"`matrix` has shape {matrix.shape}; MaxVol needs at least as many rows as columns, "
            "and one column. Reduce the columns to the space that the rows span first."
        )
    if not tolerance >= 1.0:
        raise ActiveSetError(f"`tolerance` is {tolerance}; give a number of at least 1.")


def _top_rows(grades: FloatArray, n_top: int) -> IntArray:
    """Return the rows of the largest grades, without those whose grade is negative."""
    eligible = np.flatnonzero(grades >= 0.0)
    if n_top >= len(eligible):
        return eligible
    return np.sort(eligible[np.argpartition(-grades[eligible], n_top - 1)[:n_top]])


@dataclass(frozen=True, eq=False)
class _Step:
    """New holders of some places: ``change`` is (H_JJ)^-1 (H_J - I_J), shape (k, r)."""

    places: IntArray
    members: IntArray
    change: FloatArray
    log_gain: float
    n_swaps: int


def _swap_among(
    coefficients: FloatArray,
    top: IntArray,
    rows: IntArray,
    tolerance: float,
    max_swaps: int,
    max_pairs: int,
) -> _Step:
    """Return what swaps among a few rows lead to; they are searched in float32, then verified."""
    block = _as_float32(coefficients[top])
    after = rows.copy()
    done = swap_until_dominant(block, top.copy(), after, tolerance, max_swaps, max_pairs)
    places = np.flatnonzero(after != rows)
    members = after[places]
    difference = coefficients[members]
    square = difference[:, places]
    difference[np.arange(len(places)), places] -= 1.0
    log_gain = float(np.linalg.slogdet(square)[1])
    if log_gain > 0.0:
        difference[...] = np.linalg.solve(square, difference)
    return _Step(places, members, difference, log_gain, int(done))


def _as_float32(block: FloatArray) -> AnyArray:
    """Return the block in float32, with entries that do not fit cut to some that do."""
    largest = np.abs(block).max(initial=0.0)
    if largest > _LARGEST_FLOAT32:
        block = np.clip(block, -_LARGEST_FLOAT32, _LARGEST_FLOAT32)
    return block.astype(np.float32)


def _apply(target: FloatArray, step: _Step, maxima: FloatArray, n_threads: int) -> None:
    """Express all rows of the target in the new places, and write their largest magnitudes."""

    def update(part: slice) -> None:
        rows = target[part]
        subtract_from_rows(rows, rows[:, step.places] @ step.change, maxima[part])

    map_in_threads(update, blocks(0, len(target), _UPDATED_AT_ONCE), n_threads)


def _drift(
    matrix: FloatArray,
    coefficients: FloatArray,
    rows: IntArray,
    order: IntArray,
    n_threads: int,
) -> float:
    """Estimate the error of the coefficients with Gaussian probes, relative to row size."""
    r = matrix.shape[1]
    active = matrix[order[rows]]
    scale = np.abs(active).max(axis=0)
    scale[scale == 0.0] = 1.0
    active /= scale
    probes = np.random.default_rng(0).standard_normal((r, _N_PROBES))
    factor, pivots, info = lapack.dgetrf(np.asfortranarray(active))
    diagonal = np.abs(np.diagonal(factor))
    if info == 0 and diagonal.min() > 1e-12 * diagonal.max():
        solved, _ = lapack.dgetrs(factor, pivots, probes)
        expected = _times_columns(matrix, solved / scale[:, None], n_threads)
        found = _times_columns(coefficients, probes, n_threads)
    else:
        expected = _times_columns(matrix, probes / scale[:, None], n_threads)
        found = _times_columns(coefficients, active @ probes, n_threads)
    size = np.abs(expected).max() or 1.0
    return float(np.abs(found - expected[order]).max() / size)


def _times_columns(matrix: FloatArray, few: FloatArray, n_threads: int) -> FloatArray:
    """Return the product with a few columns, one by one: much quicker than as a matrix."""
    product = np.empty((len(matrix), few.shape[1]))
    columns = np.ascontiguousarray(few.T)

    def multiply(part: slice) -> None:
        for k, column in enumerate(columns):
            product[part, k] = matrix[part] @ column

    map_in_threads(multiply, blocks(0, len(matrix)), n_threads)
    return product


def _refresh(matrix: FloatArray, coefficients: FloatArray, rows: IntArray, order: IntArray) -> None:
    """Compute the coefficients afresh from the active rows."""
    solved = np.linalg.solve(matrix[order[rows]].T, matrix[order].T)
    coefficients[...] = solved.T
    coefficients[rows] = np.eye(len(rows))


__all__ = ["Improvement", "MaxVol", "improve", "maxvol"]
