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

from nepal_flows.core.simd import outer
from nepal_flows.core.simd_memory import WIDTH, empty_vectors, load_eight, store_eight
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
        If the cutoff is not a positive number, or so long for the cell, or the cell so skewed,
        that millions of periodic images would have to be looked through.
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
    # The longest direction comes last: bins that follow each other in it are searched as one.
    longest = np.argmax(_planes(cell)[1])
    lattice, periodic = np.empty((3, 3)), np.empty(3, np.bool_)
    for c in range(3):
        source = longest if c == 2 else (2 if c == longest else c)
        periodic[c] = pbc[source]
        for d in range(3):
            lattice[c, d] = cell[source, d]
    reciprocal, heights = _planes(lattice)
    fractional, home = _fractional(positions, reciprocal, periodic)
    n_bins, lowest, reach = _bins(fractional, heights, periodic, cutoff)
    order, first = _sort_into_bins(fractional, n_bins, lowest)
    low, size = _translation_table(home, n_bins, reach, periodic)
    # Coordinates of the wrapped atoms, sorted, so that the atoms of a row of bins are contiguous,
    # with room for a vector at the end. `code` is the place of an atom's own translation in the
    # table: places add up like translations.
    xyz = np.empty((3, n_atoms + WIDTH))
    code = np.empty(n_atoms, np.int32)
    for k in range(n_atoms + WIDTH):
        a = order[min(k, n_atoms - 1)]
        for c in range(3):
            value = positions[a, c]
            for d in range(3):
                value -= home[a, d] * lattice[d, c]
            xyz[c, k] = value
        if k < n_atoms:
            code[k] = (home[a, 0] * size[1] + home[a, 1]) * size[2] + home[a, 2]

    counts = np.zeros(n_atoms, np.int64)
    starts = np.zeros(n_atoms, np.int64)
    volume = heights[0] * heights[1] * heights[2]
    capacity = np.int64(64 + n_atoms * (16 + min(200.0, 5.0 * n_atoms * cutoff**3 / volume)))
    found = np.empty(capacity, np.int32)
    places = np.empty(capacity, np.int32)
    squares = empty_vectors(n_atoms // WIDTH + 2)
    n_found = np.int64(0)
    limit = cutoff * cutoff
    xs, ys, zs = xyz[0], xyz[1], xyz[2]
    n0, n1, n2 = n_bins[0], n_bins[1], n_bins[2]
    ball = _ball(xyz, n_atoms, cutoff, n0 * n1 * n2 == 1)
    for k in range(n_atoms):
        i = order[k]
        starts[i] = n_found
        x, y, z = xs[k], ys[k], zs[k]
        h0 = _bin_of(fractional[i, 0], lowest[0], n0)
        h1 = _bin_of(fractional[i, 1], lowest[1], n1)
        h2 = _bin_of(fractional[i, 2], lowest[2], n2)
        least_image, last_image = (h2 - reach[2]) // n2, (h2 + reach[2]) // n2
        if not periodic[2]:
            least_image = last_image = np.int64(0)
        # Bin and image in the first two directions are counted up, because division is slow.
        s0 = (h0 - reach[0]) // n0
        b0 = h0 - reach[0] - s0 * n0 - 1
        for _ in range(2 * reach[0] + 1):
            b0 += 1
            if b0 == n0:
                b0 = 0
                s0 += 1
            if s0 != 0 and not periodic[0]:
                continue
            s1 = (h1 - reach[1]) // n1
            b1 = h1 - reach[1] - s1 * n1 - 1
            for _ in range(2 * reach[1] + 1):
                b1 += 1
                if b1 == n1:
                    b1 = 0
                    s1 += 1
                if s1 != 0 and not periodic[1]:
                    continue
                row = np.uint64((b0 * n1 + b1) * n2)
                rx = s0 * lattice[0, 0] + s1 * lattice[1, 0]
                ry = s0 * lattice[0, 1] + s1 * lattice[1, 1]
                rz = s0 * lattice[0, 2] + s1 * lattice[1, 2]
                for s2 in range(least_image, last_image + 1):
                    begin = first[row + np.uint64(max(0, h2 - reach[2] - s2 * n2))]
                    end = first[row + np.uint64(min(n2, h2 + reach[2] - s2 * n2 + 1))]
                    # (a - b) + t and (b - a) - t are exact opposites: both directions of a pair
                    # agree at the rim.
                    tx, ty, tz = (
                        rx + s2 * lattice[2, 0],
                        ry + s2 * lattice[2, 1],
                        rz + s2 * lattice[2, 2],
                    )
                    if (ball[0] + tx - x) ** 2 + (ball[1] + ty - y) ** 2 + (
                        ball[2] + tz - z
                    ) ** 2 > ball[3]:
                        continue
                    for block in range((end - begin + WIDTH - 1) // WIDTH):
                        q = begin + block * WIDTH
                        dx = (load_eight(xs, q) - x) + tx
                        dy = (load_eight(ys, q) - y) + ty
                        dz = (load_eight(zs, q) - z) + tz
                        store_eight(squares, WIDTH * block, dx * dx + dy * dy + dz * dz)
                    if s0 == 0 and s1 == 0 and s2 == 0 and begin <= k < end:
                        squares[k - begin] = limit
                    while n_found + (end - begin) > capacity:
                        capacity *= 2
                        found = _grown(found, capacity)
                        places = _grown(places, capacity)
                    translation = ((s0 - low[0]) * size[1] + s1 - low[1]) * size[2] + s2 - low[2]
                    translation += code[k]
                    # Written in any case and kept by moving on: nothing to mispredict.
                    for q in range(np.uint64(begin), np.uint64(end)):
                        place = np.uint64(n_found)
                        found[place] = order[q]
                        places[place] = translation - code[q]
                        n_found += np.int64(squares[q - np.uint64(begin)] < limit)
        counts[i] = n_found - starts[i]
    offsets, indices, shift_index, shifts = _in_atom_order(starts, counts, found, places, low, size)
    if longest != 2:
        for s in range(shifts.shape[0]):
            shifts[s, longest], shifts[s, 2] = shifts[s, 2], shifts[s, longest]
    return offsets, indices, shift_index, shifts


@outer
def _ball(xyz, n_atoms, cutoff, single_bin):  # type: ignore[no-untyped-def]
    """Return the centre of all atoms and the square of the distance beyond which none is met.

    Most images of a small cell are out of reach as a whole; with several bins nothing is known.
    """
    ball = np.zeros(4)
    for c in range(3):
        for k in range(n_atoms):
            ball[c] += xyz[c, k] / n_atoms
    most = 0.0
    for k in range(n_atoms):
        square = 0.0
        for c in range(3):
            square += (xyz[c, k] - ball[c]) ** 2
        most = max(most, square)
    ball[3] = (cutoff + math.sqrt(most)) ** 2 * (1.0 + 1e-9) if single_bin else np.inf
    return ball


@outer
def _translation_table(home, n_bins, reach, pbc):  # type: ignore[no-untyped-def]
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
def _in_atom_order(starts, counts, found, places, low, size):  # type: ignore[no-untyped-def]
    """Return the arrays of the list: pairs by central atom, and only translations that occur."""
    n_atoms = len(starts)
    number = np.empty(size[0] * size[1] * size[2], np.int32)
    for t in range(len(number)):
        number[t] = -1
    offsets = np.zeros(n_atoms + 1, np.int64)
    for i in range(n_atoms):
        offsets[i + 1] = offsets[i] + counts[i]
    indices = np.empty(offsets[n_atoms], np.int32)
    shift_index = np.empty(offsets[n_atoms], np.int32)
    n_shifts = 0
    for i in range(n_atoms):
        for q in range(counts[i]):
            indices[offsets[i] + q] = found[starts[i] + q]
            place = places[starts[i] + q]
            if number[place] < 0:
                number[place] = n_shifts
                n_shifts += 1
            shift_index[offsets[i] + q] = number[place]
    shifts = np.empty((n_shifts, 3), np.int32)
    for t in range(len(number)):
        if number[t] >= 0:
            shifts[number[t], 0] = t // (size[1] * size[2]) + low[0]
            shifts[number[t], 1] = t // size[2] % size[1] + low[1]
            shifts[number[t], 2] = t % size[2] + low[2]
    return offsets, indices, shift_index, shifts


@outer
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


@outer
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


@outer
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


@outer
def _bin_of(fraction, lowest, n_bins):  # type: ignore[no-untyped-def]
    """Return the bin of one fractional coordinate."""
    return min(max(np.int64((fraction - lowest[0]) / lowest[1]), 0), n_bins - 1)


@outer
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


@outer
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
    try:
        arrays = build_neighbours(wrapped, structure.cell, pbc, cutoff)
    except ValueError as error:
        raise StructureError(
            f"Within {cutoff:g} Å there are too many periodic images of the cell "
            f"{structure.cell.tolist()}. Give the reduced cell of this lattice "
            "(`ase.build.niggli_reduce`), or a shorter cutoff."
        ) from error
    offsets, indices, shift_index, shifts = arrays
    home = translations.astype(np.int64)
    central = np.repeat(np.arange(structure.n_atoms), np.diff(offsets))
    totals = shifts[shift_index] - home[indices] + home[central]
    unique, inverse = np.unique(totals, axis=0, return_inverse=True)
    return NeighbourList(
        offsets, indices, inverse.ravel().astype(np.int32), unique.astype(np.int32), cutoff
    )


__all__ = ["NeighbourList", "build_neighbours", "neighbour_list", "pair_vectors"]
