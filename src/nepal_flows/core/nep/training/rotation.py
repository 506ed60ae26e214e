"""One step of Adam in the eigenvectors of the gradient's correlations, for a stack of matrices.

Matrices lie row by row in flat arrays, their rows padded with zeros to whole vectors. They are too
small for a BLAS, whose threads would cost more than they do.
"""

import math

import numba

from nepal_flows.core.nep.training.lanes import N_LANES, filled, lane_sum, load, spread, store

_SHIFT = 1e-8  # of the mean eigenvalue; keeps empty directions apart in the QR step


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _multiply(  # type: ignore[no-untyped-def]
    a, a_at, a_row, a_column, b, b_at, b_row, out, out_at, n_rows, n_inner, keep, share
):
    """Write ``keep * out + share * a b``; element (i, k) of a is at a_at + i a_row + k a_column."""
    for i in range(n_rows):
        for block in range(0, b_row, N_LANES):
            value = filled(out, 0.0)
            for k in range(n_inner):
                factor = spread(a, a_at + i * a_row + k * a_column)
                value = value + factor * load(b, b_at + k * b_row + block)
            at = out_at + i * b_row + block
            value = filled(out, share) * value
            if keep != 0.0:
                value = value + filled(out, keep) * load(out, at)
            store(out, at, value)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _turn(correlation, at, rows, n, width, scratch):  # type: ignore[no-untyped-def]
    """Bring a basis, kept as rows, closer to eigenvectors: one step of orthogonal iteration.

    Modified Gram-Schmidt; the vectors are nearly orthogonal, so that one pass is enough.
    """
    trace = 0.0
    for i in range(n):
        trace += correlation[at + i * width + i]
    if trace <= 0.0:
        return
    shift = _SHIFT * trace / n
    for index in range(n * width):
        scratch[index] = rows[at + index]
    _multiply(rows, at, width, 1, correlation, at, width, scratch, 0, n, n, shift, 1.0)
    for j in range(n):
        own = j * width
        for other in range(at, at + own, width):
            dot = filled(scratch, 0.0)
            for block in range(0, width, N_LANES):
                dot = dot + load(scratch, own + block) * load(rows, other + block)
            factor = filled(scratch, lane_sum(dot))
            for block in range(0, width, N_LANES):
                value = load(scratch, own + block) - factor * load(rows, other + block)
                store(scratch, own + block, value)
        square = filled(scratch, 0.0)
        for block in range(own, own + width, N_LANES):
            square = square + load(scratch, block) * load(scratch, block)
        factor = filled(scratch, 1.0 / math.sqrt(lane_sum(square)))
        for block in range(own, own + width, N_LANES):
            store(rows, at + block, factor * load(scratch, block))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _transpose(a, a_at, a_row, out, out_at, out_row, n, m):  # type: ignore[no-untyped-def]
    """Write the transpose of an (n, m) matrix."""
    for i in range(n):
        for j in range(m):
            out[out_at + j * out_row + i] = a[a_at + i * a_row + j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def advance(  # type: ignore[no-untyped-def]
    parameters, gradient, where, state, step, rate, betas, epsilon, rotates, turns
):
    """Take one step with the parameters of a stack of matrices.

    Parameters
    ----------
    parameters, gradient
        Shape (P,); the first is changed in place.
    where
        Which of them the matrices hold, shape (stack, rows, columns).
    state
        Averages, bases and working space of the stack; see the optimiser.
    step
        Number of this step, from 1.
    rate
        Learning rate.
    betas
        Decay of the averages of the gradient and of its squares.
    epsilon
        Added to the root of the squares.
    rotates, turns
        Whether to work in the bases, and whether to turn them after this step.
    """
    stack, n, m = where.shape
    m_pad = state.matrix.shape[0] // n
    n_pad = state.transposed.shape[0] // m
    matrix, turned, moved = state.matrix, state.turned, state.moved
    share = 1.0 - betas[1]
    mean_correction = 1.0 - betas[0] ** step
    square_correction = 1.0 - betas[1] ** step
    for index in range(stack):
        at = index * n * m_pad
        left, right = index * n * n_pad, index * m * m_pad
        for i in range(n):
            for j in range(m):
                g = gradient[where[index, i, j]]
                matrix[i * m_pad + j] = g
                state.mean[at + i * m_pad + j] += (1.0 - betas[0]) * (
                    g - state.mean[at + i * m_pad + j]
                )
        if rotates:
            _multiply(
                matrix, 0, 1, m_pad, matrix, 0, m_pad, state.right, right, m, n, betas[1], share
            )
            _multiply(
                matrix, 0, m_pad, 1, state.right_columns, right, m_pad, turned, 0, n, m, 0.0, 1.0
            )
            _multiply(
                state.mean, at, m_pad, 1, state.right_columns, right, m_pad, moved, 0, n, m, 0.0,
                1.0,
            )  # fmt: skip
            if n > 1:
                _transpose(matrix, 0, m_pad, state.transposed, 0, n_pad, n, m)
                _multiply(
                    matrix, 0, m_pad, 1, state.transposed, 0, n_pad, state.left, left, n, m,
                    betas[1], share,
                )  # fmt: skip
                rows = state.left_rows
                _multiply(rows, left, n_pad, 1, turned, 0, m_pad, matrix, 0, n, n, 0.0, 1.0)
                _multiply(rows, left, n_pad, 1, moved, 0, m_pad, turned, 0, n, n, 0.0, 1.0)
            else:
                for j in range(m_pad):
                    matrix[j], turned[j] = turned[j], moved[j]
        else:
            for j in range(n * m_pad):
                turned[j] = state.mean[at + j]
        # `matrix` is the gradient and `turned` its average, in the coordinates of the step.
        for j in range(n * m_pad):
            state.square[at + j] += share * (matrix[j] * matrix[j] - state.square[at + j])
            size = math.sqrt(state.square[at + j] / square_correction) + epsilon
            turned[j] /= mean_correction * size
        if rotates:
            if n > 1:
                rows = state.left_rows
                _multiply(rows, left, 1, n_pad, turned, 0, m_pad, moved, 0, n, n, 0.0, 1.0)
            else:
                for j in range(m_pad):
                    moved[j] = turned[j]
            _multiply(moved, 0, m_pad, 1, state.right_rows, right, m_pad, turned, 0, n, m, 0.0, 1.0)
        for i in range(n):
            for j in range(m):
                parameters[where[index, i, j]] -= rate * turned[i * m_pad + j]
        if turns:
            _turn(state.right, right, state.right_rows, m, m_pad, state.scratch)
            _transpose(state.right_rows, right, m_pad, state.right_columns, right, m_pad, m, m)
            if n > 1:
                _turn(state.left, left, state.left_rows, n, n_pad, state.scratch)


__all__ = ["advance"]
