r"""Many rows of a design matrix graded block by block, and graded anew after a few swaps.

A grade in float64 is exact to rounding. In float32 it costs half and is off by about 1e-3 where
the columns of M are large; it is good for choosing the rows to look at. When a few places of the
active set got new rows, :math:`C' = C - C_J X`, a grade rises by no more than the largest entry of
:math:`C_J X`, which is cheap: only rows whose bound exceeds 1 have to be graded in full.
"""

import numba
import numpy as np

from nepal_flows.core.design_rows import DesignRows, blocks, map_in_threads, row_maxima
from nepal_flows.core.maxvol_kernels import larger
from nepal_flows.typing import AnyArray, FloatArray, IntArray


def row_products(
    rows: DesignRows, which: IntArray, matrix: FloatArray, *, n_threads: int = 1
) -> FloatArray:
    """Return ``rows[which] @ matrix``, expanding the rows block by block.

    Parameters
    ----------
    rows
        The design matrix.
    which
        Which rows, shape (m,).
    matrix
        Shape (d, k).
    n_threads
        Threads over blocks of rows.

    Returns
    -------
    FloatArray
        Shape (m, k).
    """
    product = np.empty((len(which), matrix.shape[1]))

    def multiply(part: slice) -> None:
        np.matmul(rows.dense(which[part]), matrix, out=product[part])

    map_in_threads(multiply, blocks(0, len(which)), n_threads)
    return product


def row_grades(
    rows: DesignRows,
    inverse: FloatArray,
    *,
    which: IntArray | None = None,
    n_threads: int = 1,
    in_float32: bool = False,
) -> FloatArray:
    """Return the largest magnitude of every row times a matrix.

    Parameters
    ----------
    rows
        The design matrix.
    inverse
        Shape (d, k).
    which
        Which rows, shape (m,); all by default.
    n_threads
        Threads over blocks of rows; the result does not depend on them.
    in_float32
        Whether single precision will do.

    Returns
    -------
    FloatArray
        Grades, shape (m,), dimensionless.
    """
    n = rows.n_rows if which is None else len(which)
    grades = np.zeros(n)
    if inverse.shape[1] == 0:
        return grades
    matrix: AnyArray = inverse.astype(np.float32) if in_float32 else np.ascontiguousarray(inverse)
    measure = _float32_row_maxima if in_float32 else row_maxima

    def grade(part: slice) -> None:
        block = rows.dense(part if which is None else which[part], matrix.dtype.type)
        measure(block @ matrix, grades[part])

    map_in_threads(grade, blocks(0, n), n_threads)
    return grades


def grades_after_swaps(
    rows: DesignRows,
    grades: FloatArray,
    inverse: FloatArray,
    *,
    former_inverse: FloatArray,
    places: IntArray,
    members: IntArray,
    n_threads: int = 1,
) -> FloatArray:
    """Return the grades of all rows after some places got new rows, exact wherever above 1.

    Parameters
    ----------
    rows
        The design matrix.
    grades
        Grades with the former inverse, or bounds on them, shape (n_rows,).
    inverse, former_inverse
        Matrices that express a row in the active ones, shapes (d, r).
    places
        Which places changed, shape (k,).
    members
        The rows that hold them now, shape (k,).
    n_threads
        Threads over blocks of rows.

    Returns
    -------
    FloatArray
        Grades, shape (n_rows,); bounds, of at most 1, where those suffice.
    """
    difference = rows.dense(members) @ former_inverse
    square = difference[:, places]
    difference[np.arange(len(places)), places] -= 1.0
    change = np.linalg.solve(square, difference)
    columns = np.ascontiguousarray(former_inverse[:, places])
    bounds = np.empty(rows.n_rows)

    def bound(part: slice) -> None:
        row_maxima(rows.dense(part) @ columns @ change, bounds[part])
        bounds[part] += grades[part]

    map_in_threads(bound, blocks(0, rows.n_rows), n_threads)
    unsure = np.flatnonzero(bounds > 1.0)
    bounds[unsure] = row_grades(rows, inverse, which=unsure, n_threads=n_threads)
    return bounds


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _float32_row_maxima(matrix: AnyArray, maxima: FloatArray) -> None:
    """Write the largest magnitude of every row of a row-major float32 matrix, shape (n,)."""
    for i in range(matrix.shape[0]):
        largest = np.float32(0.0)
        for j in range(matrix.shape[1]):
            largest = larger(largest, abs(matrix[i, j]))
        maxima[i] = largest


__all__ = ["grades_after_swaps", "row_grades", "row_products"]
