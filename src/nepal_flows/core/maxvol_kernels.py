"""Compiled parts of MaxVol: layouts, updates of rows, and swaps among a block of rows.

Swaps are searched in float32, which halves their cost; what they lead to is computed in float64.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from nepal_flows.typing import AnyArray, FloatArray, IntArray

_FAST = {"nnan", "ninf", "nsz", "reassoc", "contract", "arcp"}
"""Rounding may differ by the order of a sum; NaN and infinity are excluded before."""

_MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)
"""Clears the sign of a float64: as integers, magnitudes order as the numbers do, and NaN is largest
of all."""

_SMALLEST_SHARE = np.float32(1e-3)
"""Swaps in float32 go on while the largest entry is above this share of the first one."""


def _compiled(function: Callable[..., Any]) -> Any:
    """Make a Numba intrinsic that type checkers let through."""
    return intrinsic(function)


@_compiled
def larger(_: Any, left: Any, right: Any) -> Any:
    """Return the larger of two floats of one type, so that a search for the largest vectorises."""
    if not isinstance(left, types.Float) or left != right:
        return None

    def lower(_: Any, builder: Any, _sig: Any, args: Any) -> Any:
        comparison = builder.fcmp_ordered(">", *args, flags=("fast",))
        return builder.select(comparison, *args, flags=("fast",))

    return left(left, right), lower


@numba.njit(cache=True, nogil=True, error_model="numpy")
def transpose_tiles(
    source: FloatArray, source_column: int, target: FloatArray, target_column: int
) -> None:
    """Write the transpose of a part of a row-major matrix into a part of another, tile by tile.

    ``target[j, target_column + i]`` becomes ``source[i, source_column + j]`` for all rows i of the
    source and all rows j of the target.
    """
    n, r = source.shape[0], target.shape[0]
    for top in range(0, n, 64):
        for left in range(0, r, 64):
            for j in range(left, min(left + 64, r)):
                for i in range(top, min(top + 64, n)):
                    target[j, target_column + i] = source[i, source_column + j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def subtract_from_rows(rows: FloatArray, subtracted: FloatArray, maxima: FloatArray) -> None:
    """Subtract one row-major matrix from another in place, and write the largest magnitudes."""
    bits = rows.view(np.int64)
    found = maxima.view(np.int64)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            rows[i, j] -= subtracted[i, j]
        largest = np.int64(0)
        for j in range(rows.shape[1]):
            largest = max(largest, bits[i, j] & _MAGNITUDE)
        found[i] = largest


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _swap(
    block: AnyArray,
    maxima: AnyArray,
    slots: IntArray,
    rows: IntArray,
    i: int,
    j: int,
    direction: AnyArray,
) -> None:
    """Swap row i of the block into place j and bring all rows up to date.

    The row that leaves its place takes the slot of the one that came in. A holder -1 leaves for
    good: its slot is zeroed.
    """
    m, r = block.shape
    inverse = np.float32(1.0) / block[i, j]
    for c in range(r):
        direction[c] = block[i, c] * inverse
    direction[j] = np.float32(1.0) - inverse
    leaving = rows[j]
    for a in range(m):
        factor = block[a, j]
        if factor == 0.0:
            continue
        largest = np.float32(0.0)
        for c in range(r):
            entry = block[a, c] - factor * direction[c]
            block[a, c] = entry
            largest = larger(largest, abs(entry))
        maxima[a] = largest
    rows[j] = slots[i]
    slots[i] = leaving
    direction[j] = -inverse
    largest = np.float32(0.0)
    for c in range(r):
        entry = np.float32(0.0) if leaving < 0 else -direction[c]
        block[i, c] = entry
        largest = larger(largest, abs(entry))
    maxima[i] = largest


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _column_of(block: AnyArray, i: int) -> int:
    """Return the column of the largest magnitude in row i."""
    found = 0
    for j in range(block.shape[1]):
        if abs(block[i, j]) > abs(block[i, found]):
            found = j
    return found


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _best_partner(block: AnyArray, i: int, j: int) -> tuple[int, float]:
    """Return the row k of the largest minor of rows (i, k) with column j, and the minor.

    The minor of column j with itself vanishes to rounding and needs no exception.
    """
    m, r = block.shape
    best = np.float32(0.0)
    partner = -1
    entry = block[i, j]
    for k in range(m):
        if k == i:
            continue
        factor = block[k, j]
        largest = np.float32(0.0)
        for c in range(r):
            largest = larger(largest, abs(entry * block[k, c] - factor * block[i, c]))
        if largest > best:
            best = largest
            partner = k
    return partner, float(best)


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def swap_until_dominant(
    block: AnyArray,
    slots: IntArray,
    rows: IntArray,
    tolerance: float,
    max_swaps: int,
    max_pairs: int,
) -> int:
    """Swap the largest entry in until all are within the tolerance; return how many swaps.

    ``block`` (m, r), row-major and float32, holds the coefficients of the rows ``slots``. The end
    comes early when entries are so much smaller than at first that rounding tells in them. With
    ``max_pairs``, the rows with the largest entries are then tried as halves of a pair of swaps.
    """
    m, r = block.shape
    maxima = np.zeros(m, np.float32)
    direction = np.empty(r, np.float32)
    was_tried = np.zeros(m, np.bool_)
    for a in range(m):
        largest = np.float32(0.0)
        for c in range(r):
            largest = larger(largest, abs(block[a, c]))
        maxima[a] = largest
    limit = max(np.float32(tolerance), _SMALLEST_SHARE * maxima.max())
    n_swaps = 0
    while n_swaps < max_swaps:
        i = int(np.argmax(maxima))
        if maxima[i] > limit:
            _swap(block, maxima, slots, rows, i, _column_of(block, i), direction)
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
        j = _column_of(block, i)
        k, minor = _best_partner(block, i, j)
        if k >= 0 and minor > limit:
            _swap(block, maxima, slots, rows, i, j, direction)
            _swap(block, maxima, slots, rows, k, _column_of(block, k), direction)
            n_swaps += 2
            was_tried[:] = False
    return n_swaps


__all__ = ["larger", "subtract_from_rows", "swap_until_dominant", "transpose_tiles"]
