r"""The space that an element's B-projections span: column scale, rank, orthonormal directions.

Real design matrices are numerically rank-deficient, so the grade lives in the directions whose
singular value passes a cut, after scaling the columns. The singular values are the square roots of
the eigenvalues of the Gram matrix :math:`B^T B`. It holds their squares, so those below 1e-8 of the
largest drown in rounding; at 1e-6, the default cut, they agree with those of a QR to 1e-6
relative, at 1e-7 to 1e-4, for a fifth of the time. For cuts below that, as that of the published
variant, a QR of all rows, block by block, and the SVD of its triangle are used.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from nepal_flows.core.design_rows import DesignRows, blocks, map_in_threads
from nepal_flows.typing import FloatArray

SMALLEST_IN_NEURON = 0.05
"""A column's scale is at least this share of its neuron's median: symmetric cells give zeros."""

SMALLEST_OF_ALL = 1e-3
"""... and at least this share of the median of all columns: saturated neurons give noise."""

ROUNDING = 1e-12
"""Columns below this share of the largest are zero: ideal cubic cells leave most of them so."""

MOST_SATURATED_SHARE = 0.95
"""Largest rank, as a share of the distinct rows, that counts as saturated."""

SMALLEST_CUT_OF_GRAM = 1e-7
"""Singular values down to this share of the largest come from the Gram matrix, others from a QR."""

_REFLECTOR_BLOCK = 32
_GRAM_BLOCK = 2048
_GRAM_PART = 8


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
    is_gram = rcond >= SMALLEST_CUT_OF_GRAM
    summed = _gram if is_gram else _triangle
    decomposed = _decomposed_gram if is_gram else _decomposed_triangle
    before = summed(rows, 0, n_before, n_threads, block_rows)
    newest = summed(rows, n_before, rows.n_rows, n_threads, block_rows)
    whole = before + newest if is_gram else _merged(before, newest)
    squares = np.diagonal(whole) if is_gram else (whole**2).sum(axis=0)
    scale = column_scale(np.sqrt(squares / max(rows.n_rows, 1)), rows.n_neurons)
    values, directions = decomposed(whole, scale)
    rank = _rank(values, rcond)
    return Span(
        column_scale=scale,
        directions=directions,
        singular_values=values,
        rank=rank,
        rank_before_last_batch=(
            rank if n_before == rows.n_rows else _rank(decomposed(before, scale)[0], rcond)
        ),
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
    """Return the median of the values that are more than rounding, or 0."""
    positive = values[values > ROUNDING * values.max(initial=0.0)]
    return float(np.median(positive)) if len(positive) else 0.0


def _medians(slopes: FloatArray) -> FloatArray:
    return np.array([[_median(neuron)] for neuron in slopes])


def _rank(values: FloatArray, rcond: float) -> int:
    if len(values) == 0 or values[0] == 0.0:
        return 0
    return int((values > rcond * values[0]).sum())


def _gram(rows: DesignRows, start: int, stop: int, n_threads: int, _block_rows: int) -> FloatArray:
    """Return the Gram matrix of some rows, shape (d, d), summed over blocks in fixed order."""
    d = rows.n_columns

    def partial(part: slice) -> FloatArray:
        gram = np.zeros((d, d))
        for block in blocks(part.start, part.stop, _GRAM_BLOCK):
            dense = rows.dense(block)
            gram += dense.T @ dense
        return gram

    gram = np.zeros((d, d))
    for group in _groups(blocks(start, stop, _GRAM_PART * _GRAM_BLOCK), n_threads):
        for own in map_in_threads(partial, group, n_threads):
            gram += own
    return gram


def _decomposed_gram(gram: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return singular values of rows / scale, falling, shape (d,), and their directions."""
    squares, directions = np.linalg.eigh(gram / scale / scale[:, None])
    return np.sqrt(np.maximum(squares[::-1], 0.0)), np.ascontiguousarray(directions[:, ::-1])


def _triangle(
    rows: DesignRows, start: int, stop: int, n_threads: int, block_rows: int
) -> FloatArray:
    """Return R of the QR of some rows, at most d of them, by blocks merged in fixed order."""
    merged = np.zeros((0, rows.n_columns))
    parts = blocks(start, stop, block_rows or max(4 * rows.n_columns, 1024))
    for group in _groups(parts, n_threads):
        for own in map_in_threads(lambda part: _r_factor(rows.dense(part)), group, n_threads):
            merged = _merged(merged, own)
    return merged


def _decomposed_triangle(triangle: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return singular values of rows / scale, falling, shape (d,), and their directions."""
    _, found, transposed = np.linalg.svd(triangle / scale, full_matrices=True)
    values = np.zeros(len(scale))
    values[: len(found)] = found
    return values, np.ascontiguousarray(transposed.T)


def _groups(parts: list[slice], n_threads: int) -> list[list[slice]]:
    """Return the parts in runs of as many as there are threads."""
    size = max(n_threads, 1)
    return [parts[first : first + size] for first in range(0, len(parts), size)]


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
