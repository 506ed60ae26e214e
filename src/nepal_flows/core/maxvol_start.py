"""Start of MaxVol: one pivoted LU of all rows gives both the start and the coefficients."""

import ctypes

import numpy as np
from numba.extending import get_cython_function_address
from scipy.linalg import lapack

from nepal_flows.core.design_rows import blocks, map_in_threads
from nepal_flows.core.maxvol_kernels import transpose_tiles
from nepal_flows.typing import FloatArray, IntArray

_dtrmm = ctypes.CFUNCTYPE(None, *[ctypes.c_char_p] * 4, *[ctypes.c_void_p] * 7)(
    get_cython_function_address("scipy.linalg.cython_blas", "dtrmm")
)
"""Of BLAS; ``scipy.linalg.blas.dtrmm`` would keep other threads from running meanwhile."""


def lu_start(
    matrix: FloatArray, *, overwrite: bool = False, n_threads: int = 1
) -> tuple[FloatArray, IntArray, FloatArray]:
    r"""Return C of all rows for the start that pivoted LU finds.

    Parameters
    ----------
    matrix
        Shape (n, r) with n >= r.
    overwrite
        Whether the memory of the matrix may become that of C.
    n_threads
        Threads over blocks of rows.

    Returns
    -------
    tuple[FloatArray, IntArray, FloatArray]
        :math:`C = L L_1^{-1}`, shape (n, r), C order, identity in its first r rows; which row of
        the matrix each of its rows belongs to, shape (n,); magnitudes of the pivots, shape (r,).
    """
    n, r = matrix.shape
    rows = np.ascontiguousarray(matrix)
    columns = np.empty((n, r), order="F")

    def turn(part: slice) -> None:
        transpose_tiles(rows[part], 0, columns.T, part.start)

    map_in_threads(turn, blocks(0, n), n_threads)
    lu, swaps, _ = lapack.dgetrf(columns, overwrite_a=1)
    order = np.arange(n)
    for place, other in enumerate(swaps.tolist()):
        order[place], order[other] = order[other], order[place]
    pivots = np.abs(np.diagonal(lu)).copy()
    inverse, _ = lapack.dtrtri(np.asfortranarray(lu[:r]), lower=1, unitdiag=1)
    coefficients = rows if overwrite else np.empty((n, r))

    def express(part: slice) -> None:
        block = coefficients[part]
        transpose_tiles(lu.T, part.start, block, 0)
        _times_lower_triangle(block, inverse)

    map_in_threads(express, blocks(r, n), n_threads)
    coefficients[:r] = np.eye(r)
    return coefficients, order, pivots


def _times_lower_triangle(rows: FloatArray, triangle: FloatArray) -> None:
    """Multiply rows, shape (m, r), C order, by a lower triangle with unit diagonal, in place.

    Diagonal and upper part of the triangle, F order, are not read.
    """
    m, r, one = ctypes.c_int(len(rows)), ctypes.c_int(len(triangle)), ctypes.c_double(1.0)
    _dtrmm(
        b"L", b"L", b"T", b"U", ctypes.byref(r), ctypes.byref(m), ctypes.byref(one),
        triangle.ctypes.data, ctypes.byref(r), rows.ctypes.data, ctypes.byref(r),
    )  # fmt: skip


__all__ = ["lu_start"]
