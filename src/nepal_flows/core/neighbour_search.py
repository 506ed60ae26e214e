"""The search for pairs closer than a cutoff, compiled; linear in the number of atoms.

Atoms are sorted into bins in fractional coordinates. Bins that follow each other along the longest
lattice vector are contiguous in memory: a *row*. Of every row near an atom only the part is looked
through that can hold a neighbour. It follows from intervals in a frame in which the lattice vectors
are (x0, y0, z0), (x1, y1, 0) and (c, 0, 0), so that skewed and thin cells are exact.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from nepal_flows.core.neighbour_bins import (
    bins_of_cell,
    lattice_planes,
    sorted_into_bins,
    translation_table,
    wrapped_fractions,
)
from nepal_flows.core.simd import (
    below,
    inner,
    larger,
    outer,
    rounded_down,
    smaller,
    square_root,
    vector_of,
)
from nepal_flows.core.simd_memory import WIDTH, borrowed, keep, load_eight, store_eight
from nepal_flows.typing import AnyArray

_MARGIN = 1e-5  # Å, beyond what rounding may do to a fractional coordinate


class _Frame(NamedTuple):
    """The lattice in the frame of the rows, and what counts bins along a row."""

    x0: float  # Å
    y0: float
    z0: float
    x1: float
    y1: float
    bins_per_length: float  # 1/Å
    images_per_bin: float
    reach: float  # Å


class _Atoms(NamedTuple):
    """Atoms and bins, and working memory."""

    cutoff: float
    lattice: AnyArray  # (3, 3), Å, the longest vector last
    periodic: AnyArray  # (3,)
    fractional: AnyArray  # (n, 3), wrapped
    n_bins: AnyArray  # (3,)
    lowest: AnyArray  # (3, 2): fractional start and width of a bin
    reach: AnyArray  # (3,): how many bins away neighbours are
    order: AnyArray  # atoms in order of their bins
    rank: AnyArray  # the place of every atom in that order
    first: AnyArray  # first atom of every bin, in that order
    low: AnyArray  # (3,): lowest translation in the table of translations
    size: AnyArray  # (3,) of the table
    x: AnyArray  # wrapped coordinates in that order, and room for a vector
    y: AnyArray
    z: AnyArray
    code: AnyArray  # of every atom's own translation, in that order
    squares: AnyArray  # of the distances of one part of a row
    ranges: AnyArray  # parts of rows


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
        ``(offsets, indices, shift_index, shifts)`` as in
        :class:`~nepal_flows.core.neighbours.NeighbourList`.

    Raises
    ------
    ValueError
        If atoms are too many cells apart, or a position is not a number.
    """
    n_atoms = positions.shape[0]
    longest = np.argmax(lattice_planes(cell)[1])
    lattice, periodic = np.empty((3, 3)), np.empty(3, np.bool_)
    for c in range(3):
        source = longest if c == 2 else (2 if c == longest else c)
        periodic[c] = pbc[source]
        for d in range(3):
            lattice[c, d] = cell[source, d]
    reciprocal, heights = lattice_planes(lattice)
    fractional, home = wrapped_fractions(positions, reciprocal, periodic)
    n_bins, lowest, reach = bins_of_cell(fractional, heights, periodic, cutoff)
    order, rank, first = sorted_into_bins(fractional, n_bins, lowest)
    low, size = translation_table(home, n_bins, reach, periodic)
    xs, ys, zs, code = _sorted_atoms(positions, lattice, home, order, size)
    frame = _frame_of(lattice, lowest, n_bins[2], cutoff)
    owned = _Atoms(
        cutoff, lattice, periodic, fractional, n_bins, lowest, reach, order, rank, first, low,
        size, xs, ys, zs, code,
        np.empty((n_atoms // WIDTH + 2) * WIDTH),
        np.empty((2 * reach[1] // WIDTH + 1) * WIDTH * 4),
    )  # fmt: skip
    atoms = borrowed(owned)
    volume = heights[0] * heights[1] * heights[2]
    capacity = np.int64(64 + n_atoms * (16 + min(400.0, 4.5 * n_atoms * cutoff**3 / volume)))
    found, places = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    offsets = np.zeros(n_atoms + 1, np.int64)
    i = 0
    while i < n_atoms:
        n_found = _add_neighbours(i, atoms, frame, borrowed(found), borrowed(places), offsets[i])
        if n_found < 0:
            found, places = _grown(found), _grown(places)
            continue
        offsets[i + 1] = n_found
        i += 1
    keep(owned)
    n_found = offsets[n_atoms]
    shifts = _number_translations(places[:n_found], low, size)
    if longest != 2:
        for s in range(shifts.shape[0]):
            shifts[s, longest], shifts[s, 2] = shifts[s, 2], shifts[s, longest]
    return offsets, found[:n_found], places[:n_found], shifts


@inner
def _add_neighbours(i, atoms, frame, found, places, n_found):  # type: ignore[no-untyped-def]
    """Write the neighbours of an atom from ``found[n_found]`` on, and where their translations are.

    Returns how many there are then, or -1 if there is not enough room.
    """
    lattice, periodic, reach = atoms.lattice, atoms.periodic, atoms.reach
    low, size = atoms.low, atoms.size
    n0, n1, n2 = atoms.n_bins[0], atoms.n_bins[1], atoms.n_bins[2]
    limit = atoms.cutoff * atoms.cutoff
    k = atoms.rank[i]
    x, y, z = atoms.x[k], atoms.y[k], atoms.z[k]
    h0 = _bin_of(atoms, i, 0)
    h1 = _bin_of(atoms, i, 1)
    h2 = _bin_of(atoms, i, 2)
    # Bin and image in the first two directions are counted up, because division is slow.
    s0 = (h0 - reach[0]) // n0
    b0 = h0 - reach[0] - s0 * n0 - 1
    for o0 in range(-reach[0], reach[0] + 1):
        b0 += 1
        if b0 == n0:
            b0 = 0
            s0 += 1
        if (s0 != 0 and not periodic[0]) or not _parts_in_reach(
            frame, atoms, i, h0 + o0, h1 - reach[1]
        ):
            continue
        s1 = (h1 - reach[1]) // n1
        b1 = h1 - reach[1] - s1 * n1 - 1
        for o1 in range(2 * reach[1] + 1):
            b1 += 1
            if b1 == n1:
                b1 = 0
                s1 += 1
            if s1 != 0 and not periodic[1]:
                continue
            part = o1 // WIDTH * (4 * WIDTH) + o1 % WIDTH
            low_bin = max(h2 - reach[2], np.int64(atoms.ranges[part]))
            high_bin = min(h2 + reach[2], np.int64(atoms.ranges[part + WIDTH]))
            low_image = np.int64(atoms.ranges[part + 2 * WIDTH])
            high_image = np.int64(atoms.ranges[part + 3 * WIDTH])
            if not periodic[2]:
                low_image, high_image = max(np.int64(0), low_image), min(np.int64(0), high_image)
            row = np.uint64((b0 * n1 + b1) * n2)
            for s2 in range(low_image, high_image + 1):
                begin = atoms.first[row + np.uint64(min(n2, max(0, low_bin - s2 * n2)))]
                end = atoms.first[row + np.uint64(min(n2, max(0, high_bin - s2 * n2 + 1)))]
                # (a - b) + t and (b - a) - t are exact opposites: both directions of a pair
                # agree at the rim.
                tx = s0 * lattice[0, 0] + s1 * lattice[1, 0] + s2 * lattice[2, 0]
                ty = s0 * lattice[0, 1] + s1 * lattice[1, 1] + s2 * lattice[2, 1]
                tz = s0 * lattice[0, 2] + s1 * lattice[1, 2] + s2 * lattice[2, 2]
                for q in range(begin, end, WIDTH):
                    dx = (load_eight(atoms.x, q) - x) + tx
                    dy = (load_eight(atoms.y, q) - y) + ty
                    dz = (load_eight(atoms.z, q) - z) + tz
                    store_eight(atoms.squares, q - begin, dx * dx + dy * dy + dz * dz)
                if s0 == 0 and s1 == 0 and s2 == 0 and begin <= k < end:
                    atoms.squares[k - begin] = limit
                if n_found + (end - begin) > len(found):
                    return np.int64(-1)
                translation = ((s0 - low[0]) * size[1] + s1 - low[1]) * size[2] + s2 - low[2]
                translation += atoms.code[k]
                # Written in any case and kept by moving on: nothing to mispredict.
                for q in range(np.uint64(begin), np.uint64(max(begin, end))):
                    place = np.uint64(n_found)
                    found[place] = atoms.order[q]
                    places[place] = translation - atoms.code[q]
                    n_found += np.int64(atoms.squares[q - np.uint64(begin)] < limit)
    return n_found


@inner
def _parts_in_reach(frame, atoms, i, row0, row1):  # type: ignore[no-untyped-def]
    """Write which bins and images of rows (row0, row1), (row0, row1 + 1) .. can hold neighbours.

    ``atoms.ranges`` gets four vectors for eight rows: first and last bin, counted over all images,
    and the images they are in. Returns whether any row is near enough.
    """
    fractional, lowest, ranges = atoms.fractional, atoms.lowest, atoms.ranges
    away = lowest[0, 0] + row0 * lowest[0, 1] - fractional[i, 0]
    beyond = away + lowest[0, 1]
    gap = frame.z0 * max(0.0, away, -beyond)
    rest0 = frame.reach * frame.reach - gap * gap
    if rest0 < 0.0:
        return False
    x_low = min(frame.x0 * away, frame.x0 * beyond)
    x_high = max(frame.x0 * away, frame.x0 * beyond)
    y_low = min(frame.y0 * away, frame.y0 * beyond)
    y_high = max(frame.y0 * away, frame.y0 * beyond)
    own = (fractional[i, 2] - lowest[2, 0]) / lowest[2, 1]
    start = lowest[1, 0] + row1 * lowest[1, 1] - fractional[i, 1]
    for part in range(0, ranges.shape[0], 4 * WIDTH):
        step = float(part // 4)
        rows = vector_of(
            step, step + 1.0, step + 2.0, step + 3.0, step + 4.0, step + 5.0, step + 6.0, step + 7.0
        )
        away1 = start + rows * lowest[1, 1]
        beyond1 = away1 + lowest[1, 1]
        gaps = larger(larger(frame.y1 * away1 + y_low, 0.0 - (frame.y1 * beyond1 + y_high)), 0.0)
        rest = rest0 - gaps * gaps
        half = square_root(larger(rest, 0.0))
        lowest_x = x_low + smaller(frame.x1 * away1, frame.x1 * beyond1)
        highest_x = x_high + larger(frame.x1 * away1, frame.x1 * beyond1)
        low_bin = rounded_down(own - frame.bins_per_length * (half + highest_x))
        high_bin = rounded_down(own + frame.bins_per_length * (half - lowest_x))
        low_image = rounded_down(frame.images_per_bin * (low_bin + 0.5))
        high_image = rounded_down(frame.images_per_bin * (high_bin + 0.5))
        store_eight(ranges, part, low_bin)
        store_eight(ranges, part + WIDTH, high_bin)
        store_eight(ranges, part + 2 * WIDTH, low_image)
        store_eight(ranges, part + 3 * WIDTH, below(rest, 0.0, low_image - 1.0, high_image))
    return True


@outer
def _frame_of(lattice, lowest, n_bins, cutoff):  # type: ignore[no-untyped-def]
    """Return the lattice in the frame whose axes are along the rows, in the plane, and across."""
    c = math.sqrt(_dot(lattice[2], lattice[2]))
    x0, x1 = _dot(lattice[0], lattice[2]) / c, _dot(lattice[1], lattice[2]) / c
    y1 = math.sqrt(_dot(lattice[1], lattice[1]) - x1 * x1)
    y0 = (_dot(lattice[0], lattice[1]) - x0 * x1) / y1
    z0 = math.sqrt(_dot(lattice[0], lattice[0]) - x0 * x0 - y0 * y0)
    return _Frame(x0, y0, z0, x1, y1, 1.0 / (c * lowest[2, 1]), 1.0 / n_bins, cutoff + _MARGIN)


@outer
def _dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@outer
def _sorted_atoms(positions, lattice, home, order, size):  # type: ignore[no-untyped-def]
    """Return coordinates and codes of the wrapped atoms, sorted, so that rows are contiguous.

    There is room for a vector at the end. The code is the place of an atom's own translation in
    the table of translations: places add up like translations.
    """
    n_atoms = len(order)
    x, y, z = np.empty(n_atoms + WIDTH), np.empty(n_atoms + WIDTH), np.empty(n_atoms + WIDTH)
    code = np.empty(n_atoms, np.int32)
    for k in range(n_atoms + WIDTH):
        a = order[min(k, n_atoms - 1)]
        h0, h1, h2 = home[a, 0], home[a, 1], home[a, 2]
        x[k] = positions[a, 0] - h0 * lattice[0, 0] - h1 * lattice[1, 0] - h2 * lattice[2, 0]
        y[k] = positions[a, 1] - h0 * lattice[0, 1] - h1 * lattice[1, 1] - h2 * lattice[2, 1]
        z[k] = positions[a, 2] - h0 * lattice[0, 2] - h1 * lattice[1, 2] - h2 * lattice[2, 2]
        if k < n_atoms:
            code[k] = (h0 * size[1] + h1) * size[2] + h2
    return x, y, z, code


@outer
def _number_translations(places, low, size):  # type: ignore[no-untyped-def]
    """Return the translations that occur; replace their places in the table by their numbers."""
    number = np.full(size[0] * size[1] * size[2], np.int32(-1))
    n_shifts = np.int32(0)
    for k in range(len(places)):
        if number[places[k]] < 0:
            number[places[k]] = n_shifts
            n_shifts += 1
        places[k] = number[places[k]]
    shifts = np.empty((n_shifts, 3), np.int32)
    for t in range(len(number)):
        if number[t] >= 0:
            shifts[number[t], 0] = t // (size[1] * size[2]) + low[0]
            shifts[number[t], 1] = t // size[2] % size[1] + low[1]
            shifts[number[t], 2] = t % size[2] + low[2]
    return shifts


@inner
def _bin_of(atoms, i, c):  # type: ignore[no-untyped-def]
    """Return the bin of an atom in one direction."""
    place = (atoms.fractional[i, c] - atoms.lowest[c, 0]) / atoms.lowest[c, 1]
    return min(max(np.int64(place), 0), atoms.n_bins[c] - 1)


@outer
def _grown(array):  # type: ignore[no-untyped-def]
    """Return a copy of twice the length."""
    longer = np.empty(2 * len(array), np.int32)
    longer[: len(array)] = array
    return longer


__all__ = ["build_neighbours"]
