"""How far apart the atoms of a parent usually are, and after what distance its lattice repeats."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from nepal_flows.core.carving.regions import Region
from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray, IntArray

_SHELL = 1.2
"""Neighbours up to this many times the nearest one count as its shell."""
_FARTHEST = 1.15
"""A pair is never expected farther apart than so many times the larger nearest-neighbour distance:
what is rare in the parent has no shell of its own."""
_SEARCH = 5.0  # Å
_LONGEST_REPEAT = 12.0  # Å
_REPEAT_STEP = 0.2  # Å
_REPEAT_SHARE = 0.35
_REPEAT_WIDTH = 0.3
_N_SAMPLES = 100


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Usual distance of neighbours, by pair of elements.

    Attributes
    ----------
    numbers
        Atomic numbers, rising, shape (n_elements,).
    usual
        Mean distance within the first shell, shape (n_elements, n_elements), Å.
    smallest
        Smallest share of the usual distance between any two atoms; what a fragment is held to.
    """

    numbers: IntArray
    usual: FloatArray
    smallest: float

    def kinds(self, numbers: IntArray) -> IntArray:
        """Return rows of `usual` for atomic numbers, shape (n,)."""
        kinds: IntArray = np.searchsorted(self.numbers, numbers)
        return kinds

    @property
    def largest(self) -> float:
        """Largest usual distance of any pair, Å."""
        return float(self.usual.max())

    @property
    def nearest(self) -> float:
        """Smallest usual distance of any pair, Å."""
        return float(self.usual.min())


def pair_distances(
    structure: Structure, atoms: IntArray | None = None, molecules: IntArray | None = None
) -> PairDistances:
    """Return the usual distances in a structure.

    Parameters
    ----------
    structure
        The atoms.
    atoms
        Those whose neighbours are looked at (for open clusters: the inner ones); by default all.
    molecules
        Molecule of every atom, shape (n_atoms,): then only pairs of different molecules count.
    """
    numbers = np.unique(structure.numbers)
    kinds = np.searchsorted(numbers, structure.numbers)
    neighbours = neighbour_list(structure, _SEARCH)
    r = np.linalg.norm(pair_vectors(neighbours, structure.positions, structure.cell), axis=1)
    central = np.repeat(np.arange(structure.n_atoms), np.diff(neighbours.offsets))
    kept = np.ones(len(r), dtype=np.bool_)
    if molecules is not None:
        same = molecules[central] == molecules[neighbours.indices]
        kept &= ~(same & (r < 0.5 * _SEARCH))
    if atoms is not None:
        kept &= np.isin(central, atoms)
    central, other, r = central[kept], neighbours.indices[kept], r[kept]
    n = len(numbers)
    usual = np.full((n, n), np.inf)
    shell = np.full(n, np.inf)
    for a in range(n):
        of_a = kinds[central] == a
        shell[a] = _shell_distance(central[of_a], r[of_a], structure.n_atoms)
        for b in range(n):
            pairs = of_a & (kinds[other] == b)
            usual[a, b] = _shell_distance(central[pairs], r[pairs], structure.n_atoms)
    shell[np.isinf(shell)] = _SEARCH if np.isinf(shell).all() else shell[np.isfinite(shell)].max()
    usual = np.minimum(np.minimum(usual, usual.T), _FARTHEST * np.maximum.outer(shell, shell))
    shares = r / usual[kinds[central], kinds[other]]
    return PairDistances(numbers, usual, float(shares.min(initial=1.0)))


def _shell_distance(central: IntArray, r: FloatArray, n_atoms: int) -> float:
    """Return the median over atoms of the mean distance in their first shell; inf without pairs."""
    nearest = np.full(n_atoms, np.inf)
    np.minimum.at(nearest, central, r)
    inside = r <= _SHELL * nearest[central]
    counts = np.bincount(central[inside], minlength=n_atoms)
    sums = np.bincount(central[inside], weights=r[inside], minlength=n_atoms)
    found = counts > 0
    return float(np.median(sums[found] / counts[found])) if found.any() else float("inf")


def lattice_repeats(region: Region, distances: PairDistances) -> tuple[float | None, ...]:
    """Return after what distance the atoms repeat along each of the parent's cell vectors.

    Parameters
    ----------
    region
        Around a centre.
    distances
        Usual distances, which set how exactly atoms have to repeat.

    Returns
    -------
    tuple of float or None
        Å along the vector; None where they do not (liquids, glasses, across boundaries).
    """
    trees = {
        int(number): cKDTree(region.positions[region.numbers == number])
        for number in np.unique(region.numbers)
    }
    fractions = region.fractions
    half = region.half_widths / region.thicknesses
    return tuple(
        _repeat(region, fractions, half, trees, distances, direction) for direction in range(3)
    )


def _repeat(
    region: Region,
    fractions: FloatArray,
    half: FloatArray,
    trees: dict[int, cKDTree],
    distances: PairDistances,
    direction: int,
) -> float | None:
    vector = region.cell[direction]
    length = float(np.linalg.norm(vector))
    unit = vector / length
    longest = min(_LONGEST_REPEAT, half[direction] * length)
    steps = np.arange(0.5 * distances.nearest, longest, _REPEAT_STEP)
    # the nearest atoms, moved towards the far side of the region, so that they stay inside it
    chosen = np.arange(min(_N_SAMPLES, region.n_atoms))
    sign = np.where(fractions[chosen, direction] > 0.0, -1.0, 1.0)
    width = _REPEAT_WIDTH * distances.nearest
    match = np.zeros(len(steps))
    for number, tree in trees.items():
        own = chosen[region.numbers[chosen] == number]
        if len(own) == 0:
            continue
        moves = steps[:, None, None] * (sign[own, None] * unit)[None]
        gaps = tree.query(region.positions[own][None] + moves)[0]
        match += np.exp(-((gaps / width) ** 2)).sum(axis=1)
    match /= len(chosen)
    peaks = np.flatnonzero(
        (match > _REPEAT_SHARE)
        & (match >= np.roll(match, 1))
        & (match >= np.roll(match, -1))
        & (match > 0.8 * match.max(initial=0.0))
    )
    peaks = peaks[(peaks > 0) & (peaks < len(steps) - 1)]
    if len(peaks) == 0:
        return None
    p = int(peaks[0])
    below, here, above = match[p - 1], match[p], match[p + 1]
    curvature = below - 2.0 * here + above
    shift = 0.5 * (below - above) / curvature if curvature < 0.0 else 0.0
    return float(steps[p] + shift * _REPEAT_STEP)


def smallest_share(structure: Structure, distances: PairDistances) -> float:
    """Return the smallest distance between two atoms, over the usual one of their elements."""
    neighbours = neighbour_list(structure, 1.2 * distances.largest)
    r = np.linalg.norm(pair_vectors(neighbours, structure.positions, structure.cell), axis=1)
    kinds = distances.kinds(structure.numbers)
    first = np.repeat(kinds, np.diff(neighbours.offsets))
    return float((r / distances.usual[first, kinds[neighbours.indices]]).min(initial=1.2))


__all__ = ["PairDistances", "lattice_repeats", "pair_distances", "smallest_share"]
