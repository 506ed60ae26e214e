"""Compiled parts of MaxVol: swaps among a block of rows, and the largest entry of every row."""

import numba
import numpy as np

from nepal_flows.typing import FloatArray, IntArray

_FAST = {"nnan", "ninf", "nsz", "reassoc", "contract", "arcp"}
"""Rounding may differ by the order of a sum; NaN and infinity are excluded before."""

_MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)
"""Clears the sign of a float64: as integers, magnitudes order as the numbers do, and the search
for the largest one vectorises, which it does not in floating point."""


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def column_major_row_maxima(matrix: FloatArray, maxima: FloatArray) -> None:  # pragma: no cover
    """Write the largest magnitude of every row of a column-major matrix, shape (n,)."""
    n, r = matrix.shape
    columns = matrix.T.view(np.int64)
    found = maxima.view(np.int64)
    for start in range(0, n, 2048):
        stop = min(start + 2048, n)
        for i in range(start, stop):
            found[i] = 0
        for j in range(r):
            for i in range(start, stop):
                found[i] = max(found[i], columns[j, i] & _MAGNITUDE)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def write_column_major(matrix: FloatArray, copy: FloatArray) -> None:  # pragma: no cover
    """Copy a row-major matrix into a column-major one, tile by tile."""
    n, r = matrix.shape
    for top in range(0, n, 32):
        for left in range(0, r, 32):
            for j in range(left, min(left + 32, r)):
                for i in range(top, min(top + 32, n)):
                    copy[i, j] = matrix[i, j]


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _swap(
    block: FloatArray,
    maxima: FloatArray,
    slots: IntArray,
    rows: IntArray,
    i: int,
    j: int,
    direction: FloatArray,
) -> float:  # pragma: no cover
    """Swap row i of the block into place j, bring all rows up to date, return the log gain.

    The row that leaves its place takes the slot of the one that came in. A holder -1 leaves for
    good: its slot is zeroed.
    """
    m, r = block.shape
    bits = block.view(np.int64)
    found = maxima.view(np.int64)
    pivot = block[i, j]
    inverse = 1.0 / pivot
    for c in range(r):
        direction[c] = block[i, c] * inverse
    direction[j] = 1.0 - inverse
    for a in range(m):
        factor = block[a, j]
        if factor == 0.0:
            continue
        for c in range(r):
            block[a, c] -= factor * direction[c]
        largest = np.int64(0)
        for c in range(r):
            largest = max(largest, bits[a, c] & _MAGNITUDE)
        found[a] = largest
    leaving = rows[j]
    rows[j] = slots[i]
    slots[i] = leaving
    if leaving < 0:
        for c in range(r):
            block[i, c] = 0.0
    else:
        for c in range(r):
            block[i, c] = -direction[c]
        block[i, j] = inverse
    largest = np.int64(0)
    for c in range(r):
        largest = max(largest, bits[i, c] & _MAGNITUDE)
    found[i] = largest
    return np.log(abs(pivot))


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _column_of(block: FloatArray, maxima: FloatArray, i: int) -> int:  # pragma: no cover
    """Return the column of the largest magnitude in row i."""
    bits = block.view(np.int64)
    found = maxima.view(np.int64)
    j = 0
    while bits[i, j] & _MAGNITUDE != found[i]:
        j += 1
    return j


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _best_partner(
    block: FloatArray, i: int, j: int, minors: FloatArray
) -> tuple[int, float]:  # pragma: no cover
    """Return the row k of the largest minor of rows (i, k) with column j, and the minor."""
    m, r = block.shape
    bits = minors.view(np.int64)
    best = np.zeros(1)
    best_bits = best.view(np.int64)
    partner = -1
    entry = block[i, j]
    for k in range(m):
        factor = block[k, j]
        for c in range(r):
            minors[c] = entry * block[k, c] - factor * block[i, c]
        minors[j] = 0.0
        largest = np.int64(0)
        for c in range(r):
            largest = max(largest, bits[c] & _MAGNITUDE)
        if k != i and largest > best_bits[0]:
            best_bits[0] = largest
            partner = k
    return partner, best[0]


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def swap_until_dominant(
    block: FloatArray,
    slots: IntArray,
    rows: IntArray,
    tolerance: float,
    max_swaps: int,
    max_pairs: int,
) -> tuple[float, int]:  # pragma: no cover
    """Swap the largest entry in until all are within the tolerance; return (log gain, swaps).

    ``block`` (m, r) row-major holds the coefficients of the rows ``slots``. With ``max_pairs``,
    the rows with the largest entries are then tried as halves of a pair of swaps.
    """
    m, r = block.shape
    bits = block.view(np.int64)
    maxima = np.zeros(m)
    found = maxima.view(np.int64)
    direction = np.empty(r)
    was_tried = np.zeros(m, np.bool_)
    for a in range(m):
        largest = np.int64(0)
        for c in range(r):
            largest = max(largest, bits[a, c] & _MAGNITUDE)
        found[a] = largest
    gain = 0.0
    n_swaps = 0
    while n_swaps < max_swaps:
        i = int(np.argmax(maxima))
        if maxima[i] > tolerance:
            gain += _swap(block, maxima, slots, rows, i, _column_of(block, maxima, i), direction)
            n_swaps += 1
            continue
        i = -1
        for a in range(m):
            if not was_tried[a] and maxima[a] > 0.5 and (i < 0 or maxima[a] > maxima[i]):
                i = a
        if i < 0 or max_pairs <= 0:
            break
        max_pairs -= 1
        was_tried[i] = True
        j = _column_of(block, maxima, i)
        k, minor = _best_partner(block, i, j, direction)
        if k >= 0 and minor > tolerance:
            gain += _swap(block, maxima, slots, rows, i, j, direction)
            gain += _swap(block, maxima, slots, rows, k, _column_of(block, maxima, k), direction)
            n_swaps += 2
            was_tried[:] = False
    return gain, n_swaps


__all__ = [
    "column_major_row_maxima",
    "swap_until_dominant",
    "write_column_major",
]
