r"""The design matrix of one element: B-projections of all its atoms, expanded block by block.

A row :math:`b = [v_n y_0, \ldots, v_n y_{D-1}, -v_n, t_n]_n` has N (D + 2) entries, its factors
(y, v, t) only D + 2 N. What is kept is the factors; rows exist in blocks, while they are used.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba
import numpy as np

from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.errors import ActiveSetError
from nepal_flows.typing import AnyArray, FloatArray, IntArray

_FAST = {"nnan", "ninf", "nsz", "reassoc", "contract", "arcp"}
_MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)
_SAME_ROW = 1e-9
"""Descriptors closer than this, relative to the largest, belong to one environment."""

BLOCK_ROWS = 512
"""Rows expanded at a time: a block and its product stay in the cache."""

_FACTORS_AT_ONCE = 8192

Item = TypeVar("Item")
Result = TypeVar("Result")


class DesignRows:
    """The rows of one element in a sequence of frames.

    Parameters
    ----------
    factors
        Factors of every frame; frames without the element are ordinary.
    element_type
        Type of the element.
    gather_limit
        Bytes up to which the factors of the element are copied into one piece, which is quicker;
        beyond, they are collected from the frames for every block.

    Raises
    ------
    ActiveSetError
        If frames disagree on the number of descriptors or neurons.

    Attributes
    ----------
    frames, atoms
        Where every row comes from, shapes (n_rows,).
    """

    def __init__(
        self,
        factors: Sequence[ProjectionFactors],
        element_type: int,
        *,
        gather_limit: float = 5e8,
    ) -> None:
        self.n_descriptors, self.n_neurons = _shape_of(factors)
        self._factors = factors
        members = [np.flatnonzero(frame.types == element_type) for frame in factors]
        counts = np.array([len(atoms) for atoms in members], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.frames = np.repeat(np.arange(len(factors)), counts)
        self.atoms = np.concatenate([*members, np.zeros(0, dtype=np.int64)]).astype(np.int64)
        self._gathered: tuple[FloatArray, FloatArray, FloatArray] | None = None
        if self.n_rows * (self.n_descriptors + 2 * self.n_neurons) * 8 <= gather_limit:
            self._gathered = self._collect(np.arange(self.n_rows))

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.frames)

    @property
    def n_columns(self) -> int:
        """Length d = N (D + 2) of a row."""
        return self.n_neurons * (self.n_descriptors + 2)

    def rows_before_frame(self, frame: int) -> int:
        """Return how many rows the frames before this one hold."""
        return int(self._starts[min(max(frame, 0), len(self._starts) - 1)])

    def factors(self, rows: IntArray | slice) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return (y, v, t) of some rows, shapes (m, D), (m, N), (m, N)."""
        if self._gathered is not None:
            y, v, t = self._gathered
            return y[rows], v[rows], t[rows]
        if isinstance(rows, slice):
            rows = np.arange(self.n_rows)[rows]
        return self._collect(rows)

    def dense(self, rows: IntArray | slice, dtype: type = np.float64) -> AnyArray:
        """Return some rows in full, shape (m, d), in float64 or float32."""
        y, v, t = self.factors(rows)
        block: AnyArray = np.empty((len(y), self.n_columns), dtype)
        expand_rows(y, v, t, block)
        return block

    def squared_sizes(self, weights: FloatArray) -> FloatArray:
        """Return the sum of weighted squares of every row, shape (n_rows,).

        Parameters
        ----------
        weights
            Weight of every column, shape (d,).
        """
        by_neuron = weights.reshape(self.n_neurons, -1)
        sizes = np.empty(self.n_rows)
        for part in blocks(0, self.n_rows, _FACTORS_AT_ONCE):
            y, v, t = self.factors(part)
            slopes = y**2 @ by_neuron[:, :-2].T + by_neuron[:, -2]
            sizes[part] = (v**2 * slopes).sum(axis=1) + t**2 @ by_neuron[:, -1]
        return sizes

    def n_distinct(self) -> int:
        """Return the number of different environments: symmetric cells repeat rows."""
        if self.n_rows == 0:
            return 0
        weights = np.random.default_rng(0).standard_normal((self.n_descriptors, 2))
        first, second = np.empty((2, self.n_rows))
        for part in blocks(0, self.n_rows, _FACTORS_AT_ONCE):
            first[part], second[part] = (self.factors(part)[0] @ weights).T
        closeness = _SAME_ROW * (1.0 + max(np.abs(first).max(), np.abs(second).max()))
        order = np.argsort(first, kind="stable")
        apart = np.abs(np.diff(first[order])) > closeness
        apart |= np.abs(np.diff(second[order])) > closeness
        return 1 + int(apart.sum())

    def _collect(self, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        y = np.empty((len(rows), self.n_descriptors))
        v = np.empty((len(rows), self.n_neurons))
        t = np.empty((len(rows), self.n_neurons))
        order = np.argsort(self.frames[rows], kind="stable")
        frames = self.frames[rows][order]
        edges = np.flatnonzero(np.diff(frames)) + 1
        for part in np.split(order, edges):
            if len(part):
                frame = self._factors[int(self.frames[rows[part[0]]])]
                atoms = self.atoms[rows[part]]
                y[part], v[part], t[part] = frame.y[atoms], frame.v[atoms], frame.t[atoms]
        return y, v, t


def blocks(start: int, stop: int, size: int = BLOCK_ROWS) -> list[slice]:
    """Return the slices that cut [start, stop) into pieces.

    Examples
    --------
    >>> blocks(0, 5, 3)
    [slice(0, 3, None), slice(3, 5, None)]
    """
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], n_threads: int
) -> list[Result]:
    """Return the results for all items in their order, from several threads at once."""
    items = list(items)
    if n_threads <= 1 or len(items) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, items))


def _shape_of(factors: Sequence[ProjectionFactors]) -> tuple[int, int]:
    if len(factors) == 0:
        raise ActiveSetError("There are no frames. Give at least one training structure.")
    shapes = {(frame.y.shape[1], frame.v.shape[1], frame.t.shape[1]) for frame in factors}
    if len(shapes) != 1 or len({frame_shape[1:] for frame_shape in shapes}) != 1:
        raise ActiveSetError(
            f"The frames disagree on (descriptors, neurons): {sorted(shapes)}. Compute all "
            "projections with one model."
        )
    n_descriptors, n_neurons, n_activations = shapes.pop()
    if n_neurons != n_activations:
        raise ActiveSetError(
            f"The factors v and t have {n_neurons} and {n_activations} neurons; they must agree."
        )
    return n_descriptors, n_neurons


@numba.njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def expand_rows(y: FloatArray, v: FloatArray, t: FloatArray, rows: AnyArray) -> None:
    """Write the B-projections of (y, v, t), shape (m, N (D + 2)), into float64 or float32 rows."""
    n_descriptors = y.shape[1]
    for i in range(y.shape[0]):
        start = 0
        for n in range(v.shape[1]):
            slope = v[i, n]
            for e in range(n_descriptors):
                rows[i, start + e] = slope * y[i, e]
            rows[i, start + n_descriptors] = -slope
            rows[i, start + n_descriptors + 1] = t[i, n]
            start += n_descriptors + 2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def row_maxima(matrix: FloatArray, maxima: FloatArray) -> None:
    """Write the largest magnitude of every row of a row-major matrix, shape (n,)."""
    bits = matrix.view(np.int64)
    found = maxima.view(np.int64)
    for i in range(matrix.shape[0]):
        largest = np.int64(0)
        for j in range(matrix.shape[1]):
            largest = max(largest, bits[i, j] & _MAGNITUDE)
        found[i] = largest


__all__ = [
    "BLOCK_ROWS",
    "DesignRows",
    "blocks",
    "expand_rows",
    "map_in_threads",
    "row_maxima",
]
