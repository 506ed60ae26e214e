r"""From the change of descriptors to the features of forces and virials.

The force on atom j has, for a neuron n of type t, the features (all with a minus sign)

.. math::
    w^0_{ne}: \sum_a v_{an} J_{aj,e} + x_{an} y_{ae}, \quad
    b^0_n: -\sum_a x_{an}, \quad
    w^1_n: \sum_a (1 - t_{an}^2) u_{an}

with :math:`u = w^0 J`, :math:`x = -2 t v u` and a the atoms of type t that see j, itself among
them: the gradient of the B-projection in a position. A virial has the same with strains. Both sums
of the first line are one product of matrices with two rows for every a.
"""

import numba
import numpy as np

from nepal_flows.core.nep.jacobian import BLOCK_ROWS
from nepal_flows.core.simd import outer
from nepal_flows.core.simd_memory import WIDTH


@numba.njit(cache=True, nogil=True, error_model="numpy")
def feature_rows(  # type: ignore[no-untyped-def]
    types, w0, y, v, t, rows, first_block, lanes, with_first_layer, first, last, forces, virial
):
    """Write the features of the forces on atoms first to last - 1, and of the virial.

    Parameters
    ----------
    types
        Type of every atom, shape (n,).
    w0
        Transposed weights of every type and a row of zeros, shape (T, D + 1, N).
    y, v, t
        Factors of the projections, shapes (n, D), (n, N), (n, N).
    rows, first_block, lanes
        The change of the descriptors, see :mod:`nepal_flows.core.nep.jacobian`; ``rows`` in two
        dimensions.
    with_first_layer
        Whether w0 and b0 have columns, or w1 alone.
    first, last
        Range of atoms.
    forces, virial
        Written: (3 (last - first), columns) and (6, columns); nothing where they have no rows.
    """
    n_atoms, n_types = len(types), w0.shape[0]
    starts, row_of, centre_of = _rows_by_atom(types, n_types, first_block, lanes)
    most = np.int64(n_atoms)
    for slot in range(len(starts) - 1):
        most = max(most, starts[slot + 1] - starts[slot])
    n_descriptors, n_neurons = w0.shape[1] - 1, w0.shape[2]
    slopes = np.empty((2, n_atoms, n_neurons))  # of v and t in the neuron's argument
    for a in range(n_atoms):
        for h in range(n_neurons):
            slopes[0, a, h] = -2.0 * t[a, h] * v[a, h]
            slopes[1, a, h] = 1.0 - t[a, h] * t[a, h]
    left = np.empty((2 * most, n_neurons))
    right = np.zeros((2 * most, n_descriptors + 1))
    product = np.empty((n_neurons, n_descriptors + 1))
    last_layer = np.empty(n_neurons)
    width = n_descriptors + 2 if with_first_layer else 1
    n_forces = 3 * (last - first) if forces.shape[0] > 0 else 0
    for row in range(n_forces + virial.shape[0]):
        for kind in range(n_types):
            if row < n_forces:
                slot, c = (first + row // 3) * n_types + kind, row % 3
                begin, end = starts[slot], starts[slot + 1]
                shift = c * WIDTH
            else:
                begin, end, c = 0, 0, row - n_forces
                shift = 1 + c // 3 + c % 3 * WIDTH
                for a in range(n_atoms):
                    if types[a] == kind:
                        row_of[end] = (first_block[a + 1] - 1) * BLOCK_ROWS
                        centre_of[end] = a
                        end += 1
            n = end - begin
            if c == 0 or n_types > 1:
                for k in range(n):
                    a = centre_of[begin + k]
                    for h in range(n_neurons):
                        left[k, h] = v[a, h]
                    for e in range(n_descriptors):
                        right[n + k, e] = y[a, e]
                    right[k, n_descriptors], right[n + k, n_descriptors] = 0.0, -1.0
            for k in range(n):
                source = row_of[begin + k] + shift
                for e in range(n_descriptors):
                    right[k, e] = rows[source, e]
            np.dot(right[:n], w0[kind], left[n : 2 * n])
            last_layer[:] = 0.0
            for k in range(n):
                a = centre_of[begin + k]
                for h in range(n_neurons):
                    u = left[n + k, h]
                    last_layer[h] -= slopes[1, a, h] * u
                    left[n + k, h] = slopes[0, a, h] * u
            if with_first_layer:
                np.dot(left[: 2 * n].T, right[: 2 * n], product)
            out = forces[row] if row < n_forces else virial[row - n_forces]
            column = kind * n_neurons * width
            for h in range(n_neurons):
                for e in range(width - 1):
                    out[column + e] = -product[h, e]
                out[column + width - 1] = last_layer[h]
                column += width


@outer
def _rows_by_atom(types, n_types, first_block, lanes):  # type: ignore[no-untyped-def]
    """Return where the rows of every atom begin, by type of the centre; the rows and centres."""
    n_atoms = len(types)
    n_places = first_block[n_atoms] * WIDTH
    starts = np.zeros(n_atoms * n_types + 1, np.int64)
    for a in range(n_atoms):
        for place in range(first_block[a] * WIDTH, first_block[a + 1] * WIDTH):
            if lanes[place] < n_atoms:
                starts[lanes[place] * n_types + types[a] + 1] += 1
    for slot in range(n_atoms * n_types):
        starts[slot + 1] += starts[slot]
    cursor = starts[:-1].copy()
    row_of, centre_of = np.empty(n_places, np.int64), np.empty(n_places, np.int64)
    for a in range(n_atoms):
        for place in range(first_block[a] * WIDTH, first_block[a + 1] * WIDTH):
            if lanes[place] < n_atoms:
                slot = lanes[place] * n_types + types[a]
                row_of[cursor[slot]] = place // WIDTH * BLOCK_ROWS + place % WIDTH
                centre_of[cursor[slot]] = a
                cursor[slot] += 1
    return starts, row_of, centre_of


__all__ = ["feature_rows"]
