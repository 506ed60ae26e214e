r"""The space that an element's B-projections span: column scale, rank, orthonormal directions.

Real design matrices are numerically rank-deficient, so the grade lives in the directions whose
singular value passes a cut, after scaling the columns. Singular values come from a QR of all
rows, block by block, and the SVD of its triangle. A Gram matrix would be cheaper, but holds the
squares of the singular values: at the default cut of 1e-6 they are 1e-12 of the largest with a
rounding error near 1e-15, and at 1e-8, the cut of the published variant, they are lost.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from nepal_flows.core.design_rows import DesignRows, blocks, map_in_threads
from nepal_flows.typing import AnyArray, FloatArray

SMALLEST_IN_NEURON = 0.05
"""A column's scale is at least this share of its neuron's median: symmetric cells give zeros."""

SMALLEST_OF_ALL = 1e-3
"""... and at least this share of the median of all columns: saturated neurons give noise."""

MOST_SATURATED_SHARE = 0.95
"""Largest rank, as a share of the distinct rows, that counts as saturated."""

_REFLECTOR_BLOCK = 32


@dataclass(frozen=True, eq=False)
class Span:
    """What the rows of one element span.

    Attributes
    ----------
    column_scale
        Scale of every column, shape (d,); a scaled row is ``b / column_scale``.
    directions
        Orthonormal directions of scaled rows as columns, shape (d, d), by falling singular value.
    singular_values
        Singular values of the scaled rows, shape (d,), zeros where there are fewer rows.
    rank
        Number of singular values above ``rcond`` times the largest.
    rank_before_last_batch
        The same without the rows of the newest frames.
    """

    column_scale: FloatArray
    directions: FloatArray
    singular_values: FloatArray
    rank: int
    rank_before_last_batch: int

    def is_saturated(self, n_distinct: int, max_rank_growth: float) -> bool:
        """Return whether new rows no longer add directions.

        The last batch raised the rank by no more than allowed, and the distinct rows outnumber
        the rank: while every row is a direction of its own, nothing is known about the next one.
        """
        growth = self.rank - self.rank_before_last_batch
        return (
            self.rank > 0
            and growth <= max_rank_growth * self.rank_before_last_batch
            and self.rank <= MOST_SATURATED_SHARE * n_distinct
        )

    @property
    def whitening(self) -> FloatArray:
        """T with orthonormal columns of B T, shape (d, rank)."""
        inside = self.directions[:, : self.rank] / self.singular_values[: self.rank]
        return inside / self.column_scale[:, None]

    @property
    def outside(self) -> FloatArray:
        """Unspanned directions for unscaled rows, shape (d, d - rank)."""
        return self.directions[:, self.rank :] / self.column_scale[:, None]


def element_span(
    rows: DesignRows, *, rcond: float, n_before: int, n_threads: int = 1, block_rows: int = 0
) -> Span:
    """Return what the rows of an element span.

    Parameters
    ----------
    rows
        The element's design matrix.
    rcond
        Singular values below this share of the largest count as zero.
    n_before
        Rows that were there before the last batch.
    n_threads
        Threads; the result does not depend on them.
    block_rows
        Rows of one block of the QR; 4 d by default.
    """
    d = rows.n_columns
    size = block_rows or max(4 * d, 1024)
    before = _triangle(rows, 0, n_before, size, n_threads)
    newest = _triangle(rows, n_before, rows.n_rows, size, n_threads)
    triangle = _merged(before, newest)
    scale = column_scale(np.sqrt((triangle**2).sum(axis=0) / max(rows.n_rows, 1)), rows.n_neurons)
    _, values, transposed = np.linalg.svd(triangle / scale, full_matrices=True)
    singular_values = np.zeros(d)
    singular_values[: len(values)] = values
    if n_before == rows.n_rows:
        rank_before = _rank(values, rcond)
    else:
        rank_before = _rank(np.linalg.svd(before / scale, compute_uv=False), rcond)
    return Span(
        column_scale=scale,
        directions=np.ascontiguousarray(transposed.T),
        singular_values=singular_values,
        rank=_rank(values, rcond),
        rank_before_last_batch=rank_before,
    )


def column_scale(root_mean_squares: FloatArray, n_neurons: int) -> FloatArray:
    """Return the scale of every column: its root mean square, with floors.

    Columns that vanish by symmetry, or whose neuron is saturated, carry no scale of their own;
    dividing by it would turn rounding (and float32 on a GPU) into grades.

    Parameters
    ----------
    root_mean_squares
        Shape (d,), d = n_neurons (D + 2).
    n_neurons
        Number of neurons.
    """
    blocks_ = root_mean_squares.reshape(n_neurons, -1)
    slopes, activations = blocks_[:, :-1], blocks_[:, -1:]
    floors = np.concatenate(
        [
            np.broadcast_to(
                np.maximum(
                    SMALLEST_IN_NEURON * _medians(slopes),
                    SMALLEST_OF_ALL * _median(slopes),
                ),
                slopes.shape,
            ),
            np.full(activations.shape, SMALLEST_IN_NEURON * _median(activations)),
        ],
        axis=1,
    )
    scale = np.maximum(blocks_, floors).ravel()
    scale[scale == 0.0] = scale.max() or 1.0
    return scale


def _median(values: FloatArray) -> float:
    """Return the median of the values that are not zero, or 0."""
    positive = values[values > 0.0]
    return float(np.median(positive)) if len(positive) else 0.0


def _medians(slopes: FloatArray) -> FloatArray:
    return np.array([[_median(neuron)] for neuron in slopes])


def _rank(values: AnyArray, rcond: float) -> int:
    if len(values) == 0 or values[0] == 0.0:
        return 0
    return int((values > rcond * values[0]).sum())


def _triangle(rows: DesignRows, start: int, stop: int, size: int, n_threads: int) -> FloatArray:
    """Return R of the QR of some rows, at most d of them, by blocks merged in fixed order."""
    parts = blocks(start, stop, size)
    merged = np.zeros((0, rows.n_columns))
    for first in range(0, len(parts), max(n_threads, 1)):
        group = parts[first : first + max(n_threads, 1)]
        for triangle in map_in_threads(lambda part: _r_factor(rows.dense(part)), group, n_threads):
            merged = _merged(merged, triangle)
    return merged


def _r_factor(matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.qr(matrix, mode="r"), dtype=np.float64)


def _merged(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """Return R of the QR of two triangles, one above the other."""
    d = upper.shape[1]
    if len(upper) == 0 or len(lower) == 0:
        return upper if len(lower) == 0 else lower
    if len(upper) < d or len(lower) < d:
        return _r_factor(np.concatenate([upper, lower]))
    triangle, *_ = lapack.dtpqrt(
        d,
        min(_REFLECTOR_BLOCK, d),
        np.asfortranarray(upper),
        np.array(lower, order="F"),
        overwrite_b=1,
    )
    return np.triu(triangle)


__all__ = ["Span", "column_scale", "element_span"]
