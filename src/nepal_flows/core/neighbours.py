"""Neighbour lists of periodic and open structures, linear in the number of atoms.

Every pair is listed from both sides, periodic images of the central atom included, so cells
smaller than the cutoff and one-atom cells are ordinary input. Atoms are sorted into bins in
fractional coordinates; the number of bins that are searched follows from the distance between
lattice planes, so skewed and thin cells are exact.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np

from nepal_flows.core.structure import Structure
from nepal_flows.errors import StructureError
from nepal_flows.typing import AnyArray, FloatArray, IntArray

_BINS_PER_CUTOFF = 2
_LARGEST_SHIFT_TABLE = 1 << 22
_FARTHEST = 1e9  # cells


@dataclass(frozen=True, eq=False)
class NeighbourList:
    """All ordered pairs of atoms closer than a cutoff.

    The vector of a pair from atom i to its neighbour j is
    ``positions[j] + shifts[shift_index] @ cell - positions[i]``.

    Attributes
    ----------
    offsets
        Pairs of atom i are ``offsets[i]`` to ``offsets[i + 1]``, shape (n_atoms + 1,).
    indices
        Neighbour j of every pair, shape (n_pairs,), int32.
    shift_index
        Row of `shifts` of every pair, shape (n_pairs,), int32.
    shifts
        Lattice translations that occur, shape (n_shifts, 3), int32.
    cutoff
        Largest pair distance, Å.
    """

    offsets: IntArray
    indices: AnyArray
    shift_index: AnyArray
    shifts: AnyArray
    cutoff: float

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.offsets) - 1

    @property
    def n_pairs(self) -> int:
        """Number of ordered pairs."""
        return len(self.indices)


def neighbour_list(structure: Structure, cutoff: float) -> NeighbourList:
    """Return all ordered pairs of atoms closer than the cutoff, self-images included.

    Parameters
    ----------
    structure
        The atoms; directions without periodicity have no images.
    cutoff
        Pairs with a distance below it are listed, Å.

    Raises
    ------
    StructureError
        If the cutoff is not a positive number.
    """
    if not 0.0 < cutoff < math.inf:
        raise StructureError(f"`cutoff` is {cutoff}; give a positive number in Å.")
    pbc = np.array(structure.pbc, dtype=np.bool_)
    try:
        arrays = build_neighbours(structure.positions, structure.cell, pbc, float(cutoff))
    except ValueError:
        return _list_of_scattered_atoms(structure, pbc, float(cutoff))
    offsets, indices, shift_index, shifts = arrays
    return NeighbourList(offsets, indices, shift_index, shifts, float(cutoff))


def pair_vectors(neighbours: NeighbourList, positions: FloatArray, cell: FloatArray) -> FloatArray:
    """Return the vector of every pair, from the central atom to its neighbour, shape (n_pairs, 3).

    Parameters
    ----------
    neighbours
        The list.
    positions, cell
        Shapes (n_atoms, 3) and (3, 3), Å; they may have moved since the list was built.
    """
    central = np.repeat(np.arange(neighbours.n_atoms), np.diff(neighbours.offsets))
    images = (neighbours.shifts @ cell)[neighbours.shift_index]
    return positions[neighbours.indices] - positions[central] + images


@numba.njit(cache=True, nogil=True, error_model="numpy")
def build_neighbours(positions, cell, pbc, cutoff):  # type: ignore[no-untyped-def]
    """Return the arrays of a neighbour list; callable from compiled code.

    Parameters
    ----------
    positions, cell
        Shapes (n_atoms, 3) and (3, 3), Å. Atoms may lie outside the cell, but not many cells
        apart from each other: the table of lattice translations covers the box they span.
    pbc
        Which directions repeat, shape (3,), bool.
    cutoff
        Å.

    Returns
    -------
    tuple
        ``(offsets, indices, shift_index, shifts)`` as in :class:`NeighbourList`.

    Raises
    ------
    ValueError
        If atoms are too many cells apart, or a position is not a number.
    """
    n_atoms = positions.shape[0]
    reciprocal, heights = _planes(cell)
    fractional, home = _fractional(positions, reciprocal, pbc)
    n_bins, lowest, reach = _bins(fractional, heights, pbc, cutoff)
    order, first = _sort_into_bins(fractional, n_bins, lowest)

    # Sorted copies: candidates of one bin are contiguous. Cartesian coordinates of the wrapped
    # atoms; (a - b) + t and (b - a) - t are exact opposites, so both directions agree at the rim.
    sorted_positions = np.empty((n_atoms, 3))
    for k in range(n_atoms):
        a = order[k]
        for c in range(3):
            value = positions[a, c]
            for d in range(3):
                value -= home[a, d] * cell[d, c]
            sorted_positions[k, c] = value

    # The dense table of every translation that can occur.
    low = np.empty(3, np.int64)
    size = np.empty(3, np.int64)
    for c in range(3):
        images = 0
        if pbc[c]:
            images = (reach[c] + n_bins[c] - 1) // n_bins[c]
        highest = lowest_home = home[0, c]
        for i in range(n_atoms):
            highest = max(highest, home[i, c])
            lowest_home = min(lowest_home, home[i, c])
        span = highest - lowest_home
        low[c] = -images - span
        size[c] = 2 * (images + span) + 1
    if float(size[0]) * float(size[1]) * float(size[2]) > _LARGEST_SHIFT_TABLE:
        raise ValueError("Atoms are too many cells apart; wrap them into the cell.")
    table = np.empty(size[0] * size[1] * size[2], np.int32)
    for t in range(len(table)):
        table[t] = -1
    n_shifts = 0

    offsets = np.zeros(n_atoms + 1, np.int64)
    counts = np.zeros(n_atoms, np.int64)
    starts = np.zeros(n_atoms, np.int64)
    volume = heights[0] * heights[1] * heights[2]
    capacity = np.int64(64 + n_atoms * (16 + min(200.0, 5.0 * n_atoms * cutoff**3 / volume)))
    found = np.empty(capacity, np.int32)
    found_shift = np.empty(capacity, np.int32)
    n_found = 0
    limit = cutoff * cutoff
    here = np.empty(3, np.int64)
    for k in range(n_atoms):
        i = order[k]
        starts[i] = n_found
        xi, yi, zi = sorted_positions[k, 0], sorted_positions[k, 1], sorted_positions[k, 2]
        for c in range(3):
            here[c] = _bin_of(fractional[i, c], lowest[c], n_bins[c])
        for d0 in range(-reach[0], reach[0] + 1):
            s0, b0 = _wrap(here[0] + d0, n_bins[0], pbc[0])
            if b0 < 0:
                continue
            for d1 in range(-reach[1], reach[1] + 1):
                s1, b1 = _wrap(here[1] + d1, n_bins[1], pbc[1])
                if b1 < 0:
                    continue
                for d2 in range(-reach[2], reach[2] + 1):
                    s2, b2 = _wrap(here[2] + d2, n_bins[2], pbc[2])
                    if b2 < 0:
                        continue
                    b = (b0 * n_bins[1] + b1) * n_bins[2] + b2
                    tx = s0 * cell[0, 0] + s1 * cell[1, 0] + s2 * cell[2, 0]
                    ty = s0 * cell[0, 1] + s1 * cell[1, 1] + s2 * cell[2, 1]
                    tz = s0 * cell[0, 2] + s1 * cell[1, 2] + s2 * cell[2, 2]
                    home_image = s0 == 0 and s1 == 0 and s2 == 0
                    for q in range(first[b], first[b + 1]):
                        dx = (sorted_positions[q, 0] - xi) + tx
                        dy = (sorted_positions[q, 1] - yi) + ty
                        dz = (sorted_positions[q, 2] - zi) + tz
                        if dx * dx + dy * dy + dz * dz >= limit or (home_image and q == k):
                            continue
                        j = order[q]
                        t0 = s0 - home[j, 0] + home[i, 0] - low[0]
                        t1 = s1 - home[j, 1] + home[i, 1] - low[1]
                        t2 = s2 - home[j, 2] + home[i, 2] - low[2]
                        t = (t0 * size[1] + t1) * size[2] + t2
                        if table[t] < 0:
                            table[t] = n_shifts
                            n_shifts += 1
                        if n_found == capacity:
                            capacity *= 2
                            found = _grown(found, capacity)
                            found_shift = _grown(found_shift, capacity)
                        found[n_found] = j
                        found_shift[n_found] = table[t]
                        n_found += 1
        counts[i] = n_found - starts[i]

    shifts = np.empty((n_shifts, 3), np.int32)
    for t in range(len(table)):
        if table[t] >= 0:
            shifts[table[t], 0] = t // (size[1] * size[2]) + low[0]
            shifts[table[t], 1] = t // size[2] % size[1] + low[1]
            shifts[table[t], 2] = t % size[2] + low[2]
    indices = np.empty(n_found, np.int32)
    shift_index = np.empty(n_found, np.int32)
    for i in range(n_atoms):
        offsets[i + 1] = offsets[i] + counts[i]
        for q in range(counts[i]):
            indices[offsets[i] + q] = found[starts[i] + q]
            shift_index[offsets[i] + q] = found_shift[starts[i] + q]
    return offsets, indices, shift_index, shifts


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _planes(cell):  # type: ignore[no-untyped-def]
    """Return the reciprocal vectors as columns (no 2 pi) and the distances between planes."""
    reciprocal = np.empty((3, 3))
    heights = np.empty(3)
    volume = 0.0
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        for k in range(3):
            m, n = (k + 1) % 3, (k + 2) % 3
            reciprocal[k, a] = cell[b, m] * cell[c, n] - cell[b, n] * cell[c, m]
        if a == 0:
            for k in range(3):
                volume += cell[0, k] * reciprocal[k, 0]
    for a in range(3):
        square = 0.0
        for k in range(3):
            reciprocal[k, a] /= volume
            square += reciprocal[k, a] ** 2
        heights[a] = 1.0 / math.sqrt(square)
    return reciprocal, heights


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fractional(positions, reciprocal, pbc):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bins(fractional, heights, pbc, cutoff):  # type: ignore[no-untyped-def]
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
    width = cutoff / _BINS_PER_CUTOFF
    while True:
        total = 1.0
        for c in range(3):
            total *= max(1.0, math.floor(extent[c] * heights[c] / width))
        if total <= 64.0 + 4.0 * fractional.shape[0]:
            break
        width *= 1.25
    reach = np.empty(3, np.int64)
    for c in range(3):
        n_bins[c] = max(np.int64(1), np.int64(math.floor(extent[c] * heights[c] / width)))
        lowest[c, 1] = extent[c] / n_bins[c]
        reach[c] = np.int64(math.floor(cutoff / (lowest[c, 1] * heights[c]) + 1e-9)) + 1
        if not pbc[c] and reach[c] >= n_bins[c]:
            reach[c] = n_bins[c] - 1
    return n_bins, lowest, reach


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bin_of(fraction, lowest, n_bins):  # type: ignore[no-untyped-def]
    """Return the bin of one fractional coordinate."""
    return min(max(np.int64((fraction - lowest[0]) / lowest[1]), 0), n_bins - 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _wrap(b, n_bins, periodic):  # type: ignore[no-untyped-def]
    """Return the image and the bin inside the cell; bin -1 outside an open direction."""
    if periodic:
        image = b // n_bins
        return image, b - image * n_bins
    if b < 0 or b >= n_bins:
        return 0, -1
    return 0, b


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sort_into_bins(fractional, n_bins, lowest):  # type: ignore[no-untyped-def]
    """Return the atoms in order of their bins, and where each bin begins."""
    n_atoms = fractional.shape[0]
    of_atom = np.empty(n_atoms, np.int64)
    first = np.zeros(n_bins[0] * n_bins[1] * n_bins[2] + 1, np.int64)
    for i in range(n_atoms):
        of_atom[i] = 0
        for c in range(3):
            b = _bin_of(fractional[i, c], lowest[c], n_bins[c])
            of_atom[i] = of_atom[i] * n_bins[c] + b
        first[of_atom[i] + 1] += 1
    cursor = np.empty_like(first)
    for b in range(len(first)):
        if b > 0:
            first[b] += first[b - 1]
        cursor[b] = first[b]
    order = np.empty(n_atoms, np.int64)
    for i in range(n_atoms):
        order[cursor[of_atom[i]]] = i
        cursor[of_atom[i]] += 1
    return order, first


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _grown(array, capacity):  # type: ignore[no-untyped-def]
    """Return a longer copy."""
    longer = np.empty(capacity, np.int32)
    for k in range(array.shape[0]):
        longer[k] = array[k]
    return longer


def _list_of_scattered_atoms(structure: Structure, pbc: AnyArray, cutoff: float) -> NeighbourList:
    """Return the list of atoms that lie many cells apart: list the wrapped atoms, then undo."""
    translations = np.floor(structure.positions @ np.linalg.inv(structure.cell))
    translations[:, ~pbc] = 0.0
    wrapped = structure.positions - translations @ structure.cell
    offsets, indices, shift_index, shifts = build_neighbours(wrapped, structure.cell, pbc, cutoff)
    home = translations.astype(np.int64)
    central = np.repeat(np.arange(structure.n_atoms), np.diff(offsets))
    totals = shifts[shift_index] - home[indices] + home[central]
    unique, inverse = np.unique(totals, axis=0, return_inverse=True)
    return NeighbourList(
        offsets, indices, inverse.ravel().astype(np.int32), unique.astype(np.int32), cutoff
    )


__all__ = ["NeighbourList", "build_neighbours", "neighbour_list", "pair_vectors"]
