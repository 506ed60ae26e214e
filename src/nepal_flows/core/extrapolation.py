r"""Extrapolation grades: how far an atomic environment lies outside of the training data.

:math:`\gamma_i = \max_k |(b_i M)_k|` with the matrix M of the atom's element [1]_. The same number
comes from dense projections, from their factors block by block, from compiled molecular dynamics,
and from GPUMD reading M from an .asi file. A structure's grade is the largest of its atoms'.

References
----------
.. [1] E. V. Podryabinkin and A. V. Shapeev, Computational Materials Science 140, 171 (2017);
   Y. Lysogorskiy et al., Physical Review Materials 7, 043801 (2023).
"""

from collections.abc import Sequence

import numba
import numpy as np

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.design_rows import blocks, map_in_threads, row_maxima
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.errors import ActiveSetError
from nepal_flows.typing import FloatArray, IntArray

_KERNEL_ROWS = 512
_BATCH_ROWS = 4 * _KERNEL_ROWS
_MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)


def extrapolation_grades(projections: FloatArray, inverse: FloatArray) -> FloatArray:
    r"""Return the extrapolation grade of every atomic environment of one element.

    Parameters
    ----------
    projections
        B-projections, shape (n_atoms, d).
    inverse
        Matrix M of the element, shape (d, n_columns).

    Returns
    -------
    FloatArray
        Grades, shape (n_atoms,), dimensionless; at most 1 on the active set.

    Raises
    ------
    ActiveSetError
        If the two arrays disagree on d.

    Examples
    --------
    >>> import numpy as np
    >>> extrapolation_grades(np.array([[2.0, -3.0]]), np.eye(2))
    array([3.])
    """
    projections = np.ascontiguousarray(projections, dtype=np.float64)
    if projections.ndim != 2 or projections.shape[1] != inverse.shape[0]:
        raise ActiveSetError(
            f"`inverse` has shape {inverse.shape}, but `projections` has shape "
            f"{projections.shape}. Rebuild the active set from the same nep.txt."
        )
    grades = np.zeros(len(projections))
    row_maxima(np.ascontiguousarray(projections @ inverse), grades)
    return grades


def structure_grades(
    active_set: ActiveSet | FloatArray, factors: ProjectionFactors, *, n_threads: int = 1
) -> FloatArray:
    """Return the grade of every atom of a structure, blockwise from its factors.

    Parameters
    ----------
    active_set
        Of the model the factors come from, or M of all types, shape (n_types, d, d).
    factors
        Factors of the structure's B-projections.
    n_threads
        Threads over blocks of atoms.

    Returns
    -------
    FloatArray
        Grades, shape (n_atoms,), dimensionless.

    Raises
    ------
    ActiveSetError
        If shapes or types disagree with the active set, or a factor is not finite.
    """
    inverses = active_set.inverses if isinstance(active_set, ActiveSet) else active_set
    _check(inverses, factors)
    grades = np.zeros(len(factors.types))
    types = np.ascontiguousarray(factors.types, dtype=np.int64)
    y, v, t = (
        np.ascontiguousarray(part, dtype=np.float64) for part in (factors.y, factors.v, factors.t)
    )

    def grade(part: slice) -> None:
        grades_kernel(types[part], y[part], v[part], t[part], inverses, grades[part])

    n = len(grades)
    size = max(-(-n // max(n_threads, 1)), 1)
    map_in_threads(grade, blocks(0, n, size), n_threads)
    return grades


def grades_by_frame(
    active_set: ActiveSet | FloatArray,
    factors: Sequence[ProjectionFactors],
    *,
    n_threads: int = 1,
) -> list[FloatArray]:
    """Return the grades of the atoms of many structures, small ones graded together.

    Parameters
    ----------
    active_set
        As for :func:`structure_grades`.
    factors
        Factors of the structures' B-projections.
    n_threads
        Threads over batches of structures; the grades do not depend on them.

    Returns
    -------
    list[FloatArray]
        Grades of every structure, shapes (n_atoms,), dimensionless.

    Raises
    ------
    ActiveSetError
        If shapes or types disagree with the active set, or a factor is not finite.
    """
    inverses = active_set.inverses if isinstance(active_set, ActiveSet) else active_set
    for frame in factors:
        _check(inverses, frame)

    def grade(batch: slice) -> list[FloatArray]:
        frames = factors[batch]
        types = np.concatenate([frame.types for frame in frames], dtype=np.int64)
        y, v, t = (
            np.concatenate([getattr(frame, part) for frame in frames], dtype=np.float64)
            for part in ("y", "v", "t")
        )
        grades = np.zeros(len(types))
        grades_kernel(types, y, v, t, inverses, grades)
        return np.split(grades, np.cumsum([frame.n_atoms for frame in frames])[:-1])

    batches = _batches([frame.n_atoms for frame in factors])
    found = map_in_threads(grade, batches, n_threads)
    return [grades for batch in found for grades in batch]


def frame_grades(
    active_set: ActiveSet | FloatArray,
    factors: Sequence[ProjectionFactors],
    *,
    n_threads: int = 1,
) -> FloatArray:
    """Return the grade of every frame, the largest of its atoms', shape (n_frames,)."""
    found = grades_by_frame(active_set, factors, n_threads=n_threads)
    return np.array([grades.max(initial=0.0) for grades in found], dtype=np.float64)


def _batches(counts: Sequence[int]) -> list[slice]:
    """Return runs of frames that hold at least a few blocks of atoms together."""
    batches, first, n_atoms = [], 0, 0
    for index, count in enumerate(counts):
        n_atoms += count
        if n_atoms >= _BATCH_ROWS or index == len(counts) - 1:
            batches.append(slice(first, index + 1))
            first, n_atoms = index + 1, 0
    return batches


def _check(inverses: FloatArray, factors: ProjectionFactors) -> None:
    n_types, d = inverses.shape[:2]
    found = factors.v.shape[1] * (factors.y.shape[1] + 2)
    if found != d:
        raise ActiveSetError(
            f"The active set has d={d}, but the projections have d={found}. Rebuild the active "
            "set from the same nep.txt."
        )
    types = factors.types
    if len(types) and not 0 <= types.min() <= types.max() < n_types:
        raise ActiveSetError(
            f"The structure holds type {int(types.max())}, but the active set has {n_types} "
            "elements. Rebuild it from the same nep.txt."
        )
    if not all(np.isfinite(part).all() for part in (factors.y, factors.v, factors.t)):
        raise ActiveSetError("The factors hold NaN or infinity: atoms collide or left the cell.")


@numba.njit(cache=True, nogil=True, error_model="numpy")
def grades_kernel(
    types: IntArray,
    y: FloatArray,
    v: FloatArray,
    t: FloatArray,
    inverses: FloatArray,
    grades: FloatArray,
) -> None:
    """Write the grade of every atom; callable from compiled code and without the interpreter.

    Parameters
    ----------
    types, y, v, t
        Factors, shapes (n,) int64, (n, D), (n, N), (n, N), float64, C order.
    inverses
        M of every type, shape (n_types, d, d), C order.
    grades
        Receives the grades, shape (n,).
    """
    n_types, d = inverses.shape[0], inverses.shape[1]
    n = types.shape[0]
    n_descriptors = y.shape[1]
    capacity = min(n, _KERNEL_ROWS)
    rows = np.empty((capacity, d))
    product = np.empty((capacity, d))
    bits = product.view(np.int64)
    members = np.empty(capacity, np.int64)
    for kind in range(n_types):
        i = 0
        while i < n:
            filled = 0
            while i < n and filled < capacity:
                if types[i] == kind:
                    members[filled] = i
                    filled += 1
                i += 1
            if filled == 0:
                continue
            for k in range(filled):
                a = members[k]
                start = 0
                for neuron in range(v.shape[1]):
                    slope = v[a, neuron]
                    for e in range(n_descriptors):
                        rows[k, start + e] = slope * y[a, e]
                    rows[k, start + n_descriptors] = -slope
                    rows[k, start + n_descriptors + 1] = t[a, neuron]
                    start += n_descriptors + 2
            np.dot(rows[:filled], inverses[kind], product[:filled])
            for k in range(filled):
                largest = np.int64(0)
                for c in range(d):
                    largest = max(largest, bits[k, c] & _MAGNITUDE)
                grades[members[k]] = np.int64(largest).view(np.float64)


__all__ = [
    "extrapolation_grades",
    "frame_grades",
    "grades_by_frame",
    "grades_kernel",
    "structure_grades",
]
