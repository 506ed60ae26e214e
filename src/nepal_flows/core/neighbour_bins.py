"""Atoms sorted into bins in fractional coordinates, and the lattice translations between them."""

import math

import numpy as np

from nepal_flows.core.simd import outer

_ROWS_PER_CUTOFF = 2
_BINS_PER_CUTOFF = 6
_LARGEST_SHIFT_TABLE = 1 << 22
_FARTHEST = 1e9  # cells


@outer
def translation_table(home, n_bins, reach, pbc):  # type: ignore[no-untyped-def]
    """Return the lowest translation that can occur and how many there are, in every direction.

    A common translation is taken off `home`, which then counts from 0.
    """
    low = np.empty(3, np.int64)
    size = np.empty(3, np.int64)
    for c in range(3):
        images = 0
        if pbc[c]:
            images = (reach[c] + n_bins[c] - 1) // n_bins[c]
        highest = lowest_home = home[0, c]
        for i in range(home.shape[0]):
            highest = max(highest, home[i, c])
            lowest_home = min(lowest_home, home[i, c])
        span = highest - lowest_home
        low[c] = -images - span
        size[c] = 2 * (images + span) + 1
        for i in range(home.shape[0]):
            home[i, c] -= lowest_home
    if float(size[0]) * float(size[1]) * float(size[2]) > _LARGEST_SHIFT_TABLE:
        raise ValueError("Atoms are too many cells apart; wrap them into the cell.")
    return low, size


@outer
def cofactors(cell):  # type: ignore[no-untyped-def]
    """Return the reciprocal vectors as columns, times the volume, and the signed volume."""
    columns = np.empty((3, 3))
    volume = 0.0
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        for k in range(3):
            m, n = (k + 1) % 3, (k + 2) % 3
            columns[k, a] = cell[b, m] * cell[c, n] - cell[b, n] * cell[c, m]
    for k in range(3):
        volume += cell[0, k] * columns[k, 0]
    return columns, volume


@outer
def lattice_planes(cell):  # type: ignore[no-untyped-def]
    """Return the reciprocal vectors as columns (no 2 pi) and the distances between planes."""
    reciprocal, volume = cofactors(cell)
    heights = np.empty(3)
    for a in range(3):
        square = 0.0
        for k in range(3):
            reciprocal[k, a] /= volume
            square += reciprocal[k, a] ** 2
        heights[a] = 1.0 / math.sqrt(square)
    return reciprocal, heights


@outer
def wrapped_fractions(positions, reciprocal, pbc):  # type: ignore[no-untyped-def]
    """Return wrapped fractional coordinates and the translation that was taken off."""
    n_atoms = positions.shape[0]
    fractional = np.empty((n_atoms, 3))
    home = np.zeros((n_atoms, 3), np.int64)
    for i in range(n_atoms):
        for c in range(3):
            value = 0.0
            for k in range(3):
                value += positions[i, k] * reciprocal[k, c]
            if not abs(value) < _FARTHEST:
                raise ValueError("A position is not a number, or far outside the cell.")
            if pbc[c]:
                whole = math.floor(value)
                home[i, c] = np.int64(whole)
                value -= whole
            fractional[i, c] = value
    return fractional, home


@outer
def bins_of_cell(fractional, heights, pbc, cutoff):  # type: ignore[no-untyped-def]
    """Return the number of bins, their start and how many to search, in every direction.

    `lowest` holds the fractional start and the fractional width of a bin.
    """
    n_bins = np.empty(3, np.int64)
    lowest = np.empty((3, 2))
    extent = np.ones(3)
    for c in range(3):
        lowest[c, 0] = 0.0
        if not pbc[c]:
            least = most = fractional[0, c]
            for i in range(fractional.shape[0]):
                least = min(least, fractional[i, c])
                most = max(most, fractional[i, c])
            lowest[c, 0] = least
            extent[c] = max(most - least, 1e-9 / heights[c])
    # Sparse structures get wider bins, so that there are never many more bins than atoms.
    width = np.full(3, cutoff / _ROWS_PER_CUTOFF)
    width[2] = cutoff / _BINS_PER_CUTOFF
    while True:
        total = 1.0
        for c in range(3):
            total *= max(1.0, math.floor(extent[c] * heights[c] / width[c]))
        if total <= 64.0 + 4.0 * fractional.shape[0]:
            break
        width *= 1.25
    reach = np.empty(3, np.int64)
    for c in range(3):
        n_bins[c] = max(np.int64(1), np.int64(math.floor(extent[c] * heights[c] / width[c])))
        lowest[c, 1] = extent[c] / n_bins[c]
        reach[c] = np.int64(math.floor(cutoff / (lowest[c, 1] * heights[c]) + 1e-9)) + 1
        if not pbc[c] and reach[c] >= n_bins[c]:
            reach[c] = n_bins[c] - 1
    return n_bins, lowest, reach


@outer
def sorted_into_bins(fractional, n_bins, lowest):  # type: ignore[no-untyped-def]
    """Return the atoms in order of their bins, every atom's place in it, and each bin's first."""
    n_atoms = fractional.shape[0]
    of_atom = np.empty(n_atoms, np.int64)
    first = np.zeros(n_bins[0] * n_bins[1] * n_bins[2] + 1, np.int64)
    for i in range(n_atoms):
        of_atom[i] = 0
        for c in range(3):
            place = np.int64((fractional[i, c] - lowest[c, 0]) / lowest[c, 1])
            of_atom[i] = of_atom[i] * n_bins[c] + min(max(place, 0), n_bins[c] - 1)
        first[of_atom[i] + 1] += 1
    cursor = np.empty_like(first)
    for b in range(len(first)):
        if b > 0:
            first[b] += first[b - 1]
        cursor[b] = first[b]
    order, rank = np.empty(n_atoms, np.int32), np.empty(n_atoms, np.int64)
    for i in range(n_atoms):
        rank[i] = cursor[of_atom[i]]
        order[rank[i]] = i
        cursor[of_atom[i]] += 1
    return order, rank, first


__all__ = [
    "bins_of_cell",
    "cofactors",
    "lattice_planes",
    "sorted_into_bins",
    "translation_table",
    "wrapped_fractions",
]
