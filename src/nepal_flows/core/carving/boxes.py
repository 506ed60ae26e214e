r"""The box of a fragment: its lengths along the parent's cell vectors, and where the centre sits.

Every length and offset is searched, one direction after the other, for the least change of local
coordination and the fewest clashes that closing the box in that direction makes:

.. math:: S = \left(s_0 + \frac1n \sum_i \Big[\sum_t (c_{it} - c^0_{it})^2 + u_i\Big]\right)
   \left(1 + w (L / L_\mathrm{core} - 1)\right),

c a smooth number of neighbours of each element, c^0 the same in the parent, u the clashes, L the
length and L_core the width of the core. Where the parent is a lattice, whole repeats win by
themselves; a liquid takes what fits best.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.carving.distances import PairDistances, lattice_repeats
from nepal_flows.core.carving.regions import Region, open_cluster
from nepal_flows.core.neighbours import NeighbourList, neighbour_list, pair_vectors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError
from nepal_flows.typing import BoolArray, FloatArray, IntArray

_FULL, _NONE = 1.15, 1.6
"""Neighbours count fully up to, and not beyond, so many times their usual distance."""
_CLASH = 0.85
"""Neighbours nearer than this share of their usual distance clash ..."""
_CLASH_WIDTH = 0.15
"""... fully, that much nearer."""
_FLOOR = 0.02
"""s_0: changes below it are thermal noise, and do not justify a larger box."""
_LENGTH_STEP = 0.2  # Å
_FINE_STEP = 0.05  # Å
_OFFSETS = (-0.35, -0.175, 0.0, 0.175, 0.35)  # of the nearest usual distance
_FREE_WINDOW = 1.5  # of the largest usual distance, where nothing repeats
_N_SWEEPS = 2
_NEAR_LENGTH = 0.5  # Å, that a second sweep may change
_FACE_MARGIN = 0.05  # Å, between the core and the faces
_OPEN = (False, False, False)


@dataclass(frozen=True, eq=False)
class Box:
    """A part of a parent along its cell vectors, around a centre.

    Attributes
    ----------
    low, lengths
        In units of the parent's cell vectors, relative to the centre, shape (3,).
    whole
        Directions that are kept as they are in the parent, shape (3,).
    repeats
        Distance after which the parent repeats along each vector, Å; None where it does not.
    mismatch
        Mean change of coordination and clashes, dimensionless; NaN where it was not looked at.
    """

    low: FloatArray
    lengths: FloatArray
    whole: BoolArray
    repeats: tuple[float | None, ...] = (None, None, None)
    mismatch: float = float("nan")

    def cell(self, parent: FloatArray) -> FloatArray:
        """Return the cell of the fragment as rows, shape (3, 3), Å."""
        return self.lengths[:, None] * parent

    def atoms(self, fractions: FloatArray) -> IntArray:
        """Return which rows of a region are inside, from their fractions."""
        inside = (fractions >= self.low - 1e-12) & (fractions < self.low + self.lengths - 1e-12)
        return np.flatnonzero(inside.all(axis=1))


def smallest_length(core_radius: float, distances: PairDistances) -> float:
    """Return the least distance of opposite faces, Å: core atoms never meet their images."""
    return 2.0 * core_radius + max(2.0, 0.9 * distances.largest)


def centred_box(region: Region, length: float) -> Box:
    """Return the box of that thickness in which the centre is in the middle.

    Directions along which the parent is no thicker are kept whole.

    Raises
    ------
    CarvingError
        If the parent is thicker in none.
    """
    heights = region.thicknesses
    whole = np.array(region.pbc) & (heights <= length)
    if whole.all():
        raise CarvingError(
            f"The parent is {', '.join(f'{h:.1f}' for h in heights)} Å thick, no more than the box "
            f"of {length:.1f} Å that its core needs. Label the parent itself."
        )
    lengths = np.where(whole, 1.0, length / heights)
    return Box(-0.5 * lengths, lengths, whole)


def searched_box(
    region: Region,
    distances: PairDistances,
    *,
    core_radius: float,
    length: float,
    max_atoms: int,
    volume_weight: float = 1.0,
) -> Box:
    """Return the box whose closing changes coordinations least.

    Parameters
    ----------
    region
        Around the centre; at least `search_reach` wide.
    distances
        Usual distances in the parent.
    core_radius
        Every face stays farther than this from the centre, Å.
    length
        Least thickness, Å.
    max_atoms
        Boxes with more atoms are not taken while there is one with fewer.
    volume_weight
        w of the score: how much a box has to fit better to be larger.

    Raises
    ------
    CarvingError
        If the parent is nowhere thicker than the box.
    """
    box = centred_box(region, length)
    repeats = lattice_repeats(region, distances)
    closing = _Closing(region, distances, core_radius, max_atoms, volume_weight)
    heights = region.thicknesses
    tilt = np.linalg.norm(region.cell, axis=1) / heights  # length along the vector per thickness
    for sweep in range(_N_SWEEPS):
        before = box
        for k in np.flatnonzero(~centred_box(region, length).whole).tolist():
            repeat = repeats[k]
            window = _FREE_WINDOW * distances.largest if repeat is None else repeat / tilt[k]
            lengths = length + np.arange(0.0, window + _LENGTH_STEP, _LENGTH_STEP)
            if repeat is not None:
                step = repeat / tilt[k]
                lengths = np.append(lengths, step * np.ceil(length / step - 1e-9))
            if region.pbc[k]:
                lengths = lengths[lengths < heights[k]]
                if heights[k] <= length + window + _LENGTH_STEP:
                    lengths = np.append(lengths, heights[k])
            if sweep:  # only the cross-section has changed
                lengths = lengths[np.abs(lengths - box.lengths[k] * heights[k]) < _NEAR_LENGTH]
            box = closing.improved(box, k, lengths, np.array(_OFFSETS) * distances.nearest)
            if not box.whole[k]:
                at = float(box.lengths[k] * heights[k])
                middle = float((box.low[k] + 0.5 * box.lengths[k]) * heights[k])
                fine = at + _FINE_STEP * np.arange(-2.0, 3.0)
                box = closing.improved(box, k, fine[fine >= length], np.array([middle]))
        if np.array_equal(box.lengths, before.lengths) and np.array_equal(box.low, before.low):
            break
    return dataclasses.replace(box, repeats=repeats, mismatch=closing.mismatch(box))


class _Closing:
    """Scores boxes around one centre, one direction at a time.

    What is compared are the atoms of the box, closed along that direction alone, with the same
    atoms in the parent's column of that cross-section: the faces of other directions do not matter.
    """

    def __init__(
        self,
        region: Region,
        distances: PairDistances,
        core_radius: float,
        max_atoms: int,
        volume_weight: float,
    ) -> None:
        self.region = region
        self.distances = distances
        self.fractions = region.fractions
        self.heights = region.thicknesses
        self.kinds = distances.kinds(region.numbers)
        self.core_radius = core_radius
        self.max_atoms = max_atoms
        self.volume_weight = volume_weight
        self.reach = _NONE * distances.largest

    def improved(self, box: Box, k: int, lengths: FloatArray, offsets: FloatArray) -> Box:
        """Return the best of a box and those with other lengths and offsets in one direction."""
        face = self.core_radius + _FACE_MARGIN
        column = self._column(box, k)
        best, score = box, self._score(box, k, column)
        for thickness in lengths:
            is_whole = bool(self.region.pbc[k] and thickness >= self.heights[k] - 1e-9)
            for offset in (0.0,) if is_whole else offsets:
                if 0.5 * thickness - abs(offset) < face and not is_whole:
                    continue
                low, length, whole = box.low.copy(), box.lengths.copy(), box.whole.copy()
                length[k] = thickness / self.heights[k]
                low[k] = offset / self.heights[k] - 0.5 * length[k]
                whole[k] = is_whole
                candidate = Box(low, length, whole)
                found = self._score(candidate, k, column)
                if found < score - 1e-12:
                    best, score = candidate, found
        return best

    def mismatch(self, box: Box) -> float:
        """Return the mean change of coordination, and clashes, with all directions closed."""
        atoms = box.atoms(self.fractions)
        reference, _ = self._coordination(open_cluster(self.region), self.kinds)
        return self._change(box, atoms, reference[atoms], (True, True, True))

    def _column(self, box: Box, k: int) -> FloatArray:
        """Return coordinations in the parent's column of a box, shape (n_region, n_elements)."""
        low, lengths = box.low.copy(), box.lengths.copy()
        low[k], lengths[k] = -np.inf, np.inf
        inside = (self.fractions >= low - 1e-12) & (self.fractions < box.low + lengths - 1e-12)
        atoms = np.flatnonzero(inside.all(axis=1))
        cluster = open_cluster(self.region)
        column = Structure(cluster.numbers[atoms], cluster.positions[atoms], cluster.cell, _OPEN)
        counts = np.zeros((self.region.n_atoms, len(self.distances.numbers)))
        counts[atoms], _ = self._coordination(column, self.kinds[atoms])
        return counts

    def _score(self, box: Box, k: int, column: FloatArray) -> float:
        """Return S of the module's docstring; large for boxes with too many atoms."""
        atoms = box.atoms(self.fractions)
        if len(atoms) > self.max_atoms:
            return 1e6 * len(atoms)
        least = 2.0 * self.core_radius / self.heights[k]
        growth = float(box.lengths[k]) / least - 1.0
        closed = (k == 0, k == 1, k == 2)
        change = self._change(box, atoms, column[atoms], closed)
        return (_FLOOR + change) * (1.0 + self.volume_weight * growth)

    def _change(
        self, box: Box, atoms: IntArray, reference: FloatArray, pbc: tuple[bool, bool, bool]
    ) -> float:
        closed = Structure(
            self.region.numbers[atoms],
            self.region.positions[atoms],
            box.cell(self.region.cell),
            pbc,
        )
        counts, clashes = self._coordination(closed, self.kinds[atoms])
        return float((((counts - reference) ** 2).sum() + clashes) / len(atoms))

    def _coordination(self, structure: Structure, kinds: IntArray) -> tuple[FloatArray, float]:
        """Return smooth neighbour counts by element, shape (n, n_elements), and the clashes."""
        neighbours = neighbour_list(structure, self.reach)
        share = _shares(structure, neighbours, kinds, self.distances)
        central = np.repeat(np.arange(structure.n_atoms), np.diff(neighbours.offsets))
        phase = np.clip((share - _FULL) / (_NONE - _FULL), 0.0, 1.0)
        weights = 0.5 * (1.0 + np.cos(np.pi * phase))
        n_elements = len(self.distances.numbers)
        slots = central * n_elements + kinds[neighbours.indices]
        counts = np.zeros(structure.n_atoms * n_elements)
        counts += np.bincount(slots, weights, structure.n_atoms * n_elements)
        nearness = np.clip((_CLASH - share) / _CLASH_WIDTH, 0.0, 1.0)
        return counts.reshape(-1, n_elements), float((nearness**2).sum())


def _shares(
    structure: Structure, neighbours: NeighbourList, kinds: IntArray, distances: PairDistances
) -> FloatArray:
    """Return the distance of every pair over the usual one, shape (n_pairs,)."""
    vectors = pair_vectors(neighbours, structure.positions, structure.cell)
    r = np.sqrt(np.einsum("pa,pa->p", vectors, vectors))
    central = np.repeat(kinds, np.diff(neighbours.offsets))
    shares: FloatArray = r / distances.usual[central, kinds[neighbours.indices]]
    return shares


def search_reach(length: float, distances: PairDistances, repeats_up_to: float = 12.0) -> float:
    """Return how far from the centre the boxes of a search, and their neighbours, may reach, Å."""
    window = max(repeats_up_to, _FREE_WINDOW * distances.largest)
    return 0.5 * (length + window + _LENGTH_STEP) + 0.35 * distances.nearest


__all__ = ["Box", "centred_box", "search_reach", "searched_box", "smallest_length"]
