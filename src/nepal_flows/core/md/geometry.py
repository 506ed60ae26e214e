"""Compiled geometry of atoms in motion: volume, wrapping, displacements, the closest pair."""

import math

import numba

from nepal_flows.core.neighbour_bins import cofactors


@numba.njit(cache=True, nogil=True, error_model="numpy")
def volume_of(cell):  # type: ignore[no-untyped-def]
    """Return the volume of a cell, Å^3."""
    return abs(
        cell[0, 0] * (cell[1, 1] * cell[2, 2] - cell[1, 2] * cell[2, 1])
        - cell[0, 1] * (cell[1, 0] * cell[2, 2] - cell[1, 2] * cell[2, 0])
        + cell[0, 2] * (cell[1, 0] * cell[2, 1] - cell[1, 1] * cell[2, 0])
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def wrap_atoms(positions, cell, pbc):  # type: ignore[no-untyped-def]
    """Move every atom into the cell along the periodic directions."""
    columns, volume = cofactors(cell)
    for i in range(positions.shape[0]):
        x, y, z = positions[i, 0], positions[i, 1], positions[i, 2]
        for a in range(3):
            if not pbc[a]:
                continue
            fraction = (x * columns[0, a] + y * columns[1, a] + z * columns[2, a]) / volume
            whole = math.floor(fraction)
            for c in range(3):
                positions[i, c] -= whole * cell[a, c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def farthest_move(positions, reference, scale):  # type: ignore[no-untyped-def]
    """Return the largest displacement against the scaled reference, Å; NaN if one is."""
    largest = 0.0
    for i in range(positions.shape[0]):
        square = 0.0
        for c in range(3):
            d = positions[i, c] - scale * reference[i, c]
            square += d * d
        if not square <= largest:
            largest = square
            if not largest < math.inf:
                return math.nan
    return math.sqrt(largest)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def closest_pair(types, positions, cell, neighbours, distances):  # type: ignore[no-untyped-def]
    """Return the pair that is closer than allowed by the widest margin: i, j, distance.

    i is -1 if every pair keeps its distance.
    """
    offsets, indices, shift_index, shifts = neighbours
    first, second, nearest, margin = -1, -1, 0.0, 0.0
    for i in range(positions.shape[0]):
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            if j < i:
                continue
            limit = distances[types[i], types[j]]
            s = shift_index[k]
            square = 0.0
            for c in range(3):
                image = (
                    shifts[s, 0] * cell[0, c]
                    + shifts[s, 1] * cell[1, c]
                    + shifts[s, 2] * cell[2, c]
                )
                d = positions[j, c] + image - positions[i, c]
                square += d * d
            if square < limit * limit and limit - math.sqrt(square) > margin:
                first, second, nearest = i, j, math.sqrt(square)
                margin = limit - nearest
    return first, second, nearest


__all__ = ["closest_pair", "farthest_move", "volume_of", "wrap_atoms"]
