"""Atoms that closing the box brought too close: pushed apart, and deleted only where that fails.

Nothing here asks a potential. Core atoms are neither moved nor deleted, molecules go as a whole.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from nepal_flows.core.carving.distances import PairDistances
from nepal_flows.core.carving.fragments import Fragment
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError
from nepal_flows.typing import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Composition:
    """What the composition of a fragment has to be.

    Attributes
    ----------
    formula
        Atoms by atomic number; a fragment is a whole multiple. Empty for any composition.
    charges
        Charge by atomic number; a fragment is neutral. Empty for any.

    Raises
    ------
    CarvingError
        If a number of atoms is not positive.
    """

    formula: Mapping[int, int] = field(default_factory=dict)
    charges: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.formula.values()):
            raise CarvingError(f"`formula` is {dict(self.formula)}; give positive whole numbers.")
        if self.formula and self.charges:
            raise CarvingError("Give either `formula` or `charges`, not both.")

    @property
    def is_free(self) -> bool:
        """Whether anything goes."""
        return not self.formula and not self.charges


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs i < j (or an atom with its own image) of a fragment."""

    first: IntArray
    second: IntArray
    vectors: FloatArray
    r: FloatArray
    usual: FloatArray
    crosses: BoolArray


def molecules_of(structure: Structure, bonds: Mapping[tuple[int, int], float]) -> IntArray:
    """Return a molecule's number for every atom, from the longest bonds between elements.

    Parameters
    ----------
    structure
        The atoms.
    bonds
        Longest bond by pair of atomic numbers (smaller first), Å.

    Returns
    -------
    IntArray
        Shape (n_atoms,); atoms without bonds are molecules of their own.
    """
    n = structure.n_atoms
    if not bonds:
        return np.arange(n)
    neighbours = neighbour_list(structure, max(bonds.values()))
    vectors = pair_vectors(neighbours, structure.positions, structure.cell)
    r = np.linalg.norm(vectors, axis=1)
    first = np.repeat(np.arange(n), np.diff(neighbours.offsets))
    second = neighbours.indices
    low = np.minimum(structure.numbers[first], structure.numbers[second])
    high = np.maximum(structure.numbers[first], structure.numbers[second])
    longest = np.zeros(len(r))
    for (a, b), length in bonds.items():
        longest[(low == a) & (high == b)] = length
    bonded = r <= longest
    graph = coo_matrix((np.ones(int(bonded.sum())), (first[bonded], second[bonded])), shape=(n, n))
    labels: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def without_clashes(
    fragment: Fragment,
    distances: PairDistances,
    *,
    delete_below: float = 0.7,
    molecules: IntArray | None = None,
) -> Fragment:
    """Return the fragment without atoms that overlap across a face.

    Parameters
    ----------
    fragment
        As cut.
    distances
        Usual distances in the parent.
    delete_below
        Share of the usual distance below which one of two atoms goes: the one with more clashes,
        of equals the one farther from the centre, never one of the core.
    molecules
        Molecule of every row of the region; they go as a whole.

    Raises
    ------
    CarvingError
        If only core atoms overlap: the box is too small for them.
    """
    groups = fragment.rows if molecules is None else molecules[fragment.rows]
    while True:
        pairs = _close_pairs(fragment, distances, delete_below)
        clashing = pairs.crosses & (pairs.r < delete_below * pairs.usual)
        if not clashing.any():
            return fragment
        ends = np.concatenate([pairs.first[clashing], pairs.second[clashing]])
        groups = fragment.rows if molecules is None else molecules[fragment.rows]
        fixed = np.unique(groups[fragment.is_core])
        counts = np.bincount(ends, minlength=fragment.n_atoms).astype(np.float64)
        counts[np.isin(groups, fixed)] = 0.0
        if not counts.any():
            a, b = pairs.first[clashing][0], pairs.second[clashing][0]
            raise CarvingError(
                f"Core atoms {fragment.parents[a]} and {fragment.parents[b]} of the parent come "
                f"within {pairs.r[clashing][0]:.2f} Å of each other. Take a larger box."
            )
        # rows are sorted by distance from the centre: of equals, the last is the farthest
        worst = int(np.flatnonzero(counts == counts.max())[-1])
        fragment = fragment.without(np.flatnonzero(groups == groups[worst]))


def with_composition(
    fragment: Fragment,
    distances: PairDistances,
    composition: Composition,
    *,
    molecules: IntArray | None = None,
) -> Fragment:
    """Return the fragment with as few further atoms deleted as its composition asks for.

    Raises
    ------
    CarvingError
        If the core alone does not allow it.
    """
    if composition.is_free:
        return fragment
    numbers = fragment.structure.numbers
    groups = fragment.rows if molecules is None else molecules[fragment.rows]
    if composition.charges:
        return _neutralised(fragment, distances, composition.charges, groups)
    surplus = _surplus(numbers, numbers[fragment.is_core], composition.formula)
    removed: list[int] = []
    for number, count in surplus.items():
        free = np.flatnonzero((numbers == number) & ~fragment.is_core)
        crowded = _crowding(fragment, distances)[free]
        removed += free[np.argsort(crowded, kind="stable")][:count].tolist()
    return fragment.without(np.array(removed, dtype=np.int64))


def pushed_apart(
    fragment: Fragment, distances: PairDistances, *, target: float = 0.88, max_steps: int = 100
) -> Fragment:
    """Return the fragment after a soft, model-free repulsion moved its boundary apart.

    Parameters
    ----------
    fragment
        Without atoms on top of each other.
    distances
        Usual distances in the parent.
    target
        Share of the usual distance up to which atoms repel.
    max_steps
        Of the minimiser.
    """
    free = np.flatnonzero(~fragment.is_core)
    pairs = _close_pairs(fragment, distances, target)
    if len(free) == 0 or not (pairs.crosses & (pairs.r < target * pairs.usual)).any():
        return fragment
    start = fragment.structure.positions

    def value(moves: FloatArray) -> tuple[float, FloatArray]:
        positions = start.copy()
        positions[free] += moves.reshape(-1, 3)
        energy, gradient = soft_repulsion(fragment.structure, positions, distances, target=target)
        return energy, gradient[free].ravel()

    limit = distances.nearest * 0.4
    found = minimize(
        value,
        np.zeros(3 * len(free)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-limit, limit)] * (3 * len(free)),
        options={"maxiter": max_steps, "ftol": 1e-6, "gtol": 1e-4},
    )
    positions = start.copy()
    positions[free] += found.x.reshape(-1, 3)
    return fragment.with_positions(positions)


def soft_repulsion(
    structure: Structure, positions: FloatArray, distances: PairDistances, *, target: float
) -> tuple[float, FloatArray]:
    """Return the sum of (1 - r / target)^2 over close pairs and its gradient, (n_atoms, 3), 1/Å.

    Parameters
    ----------
    structure
        The atoms.
    positions
        Where they are, shape (n_atoms, 3), Å.
    distances, target
        Pairs closer than this share of their usual distance count.
    """
    moved = Structure(structure.numbers, positions, structure.cell, structure.pbc)
    neighbours = neighbour_list(moved, target * distances.largest)
    vectors = pair_vectors(neighbours, positions, structure.cell)
    r = np.sqrt(np.einsum("pa,pa->p", vectors, vectors))
    kinds = distances.kinds(structure.numbers)
    first = np.repeat(np.arange(structure.n_atoms), np.diff(neighbours.offsets))
    limit = target * distances.usual[kinds[first], kinds[neighbours.indices]]
    depth = np.maximum(0.0, 1.0 - r / limit)
    slope = (-2.0 * depth / (limit * np.maximum(r, 1e-6)))[:, None] * vectors
    gradient = np.zeros_like(positions)
    for axis in range(3):
        # every pair is listed from both sides: half the energy, and the whole pull on one end
        gradient[:, axis] = -np.bincount(first, slope[:, axis], minlength=structure.n_atoms)
    return float(0.5 * (depth**2).sum()), gradient


def _close_pairs(fragment: Fragment, distances: PairDistances, share: float) -> _Pairs:
    structure = fragment.structure
    neighbours = neighbour_list(structure, share * distances.largest)
    vectors = pair_vectors(neighbours, structure.positions, structure.cell)
    first = np.repeat(np.arange(structure.n_atoms), np.diff(neighbours.offsets))
    second = neighbours.indices.astype(np.int64)
    once = first <= second
    kinds = distances.kinds(structure.numbers)
    return _Pairs(
        first[once],
        second[once],
        vectors[once],
        np.linalg.norm(vectors[once], axis=1),
        distances.usual[kinds[first], kinds[second]][once],
        fragment.crosses_face(neighbours.shifts)[neighbours.shift_index][once],
    )


def _crowding(fragment: Fragment, distances: PairDistances) -> FloatArray:
    """Return, for every atom, its nearest distance over the usual one: small for crowded atoms."""
    pairs = _close_pairs(fragment, distances, 1.5)
    crowding = np.full(fragment.n_atoms, np.inf)
    for ends in (pairs.first, pairs.second):
        np.minimum.at(crowding, ends, pairs.r / pairs.usual)
    return crowding


def _surplus(numbers: IntArray, core: IntArray, formula: Mapping[int, int]) -> dict[int, int]:
    """Return how many atoms of every element are too many for a whole number of formulas."""
    strangers = np.setdiff1d(numbers, list(formula))
    if len(strangers):
        raise CarvingError(
            f"The fragment holds {SYMBOLS[int(strangers[0])]}, which is not in the formula that it "
            "has to keep. Name all elements, or keep no composition."
        )
    units = min(int((numbers == number).sum()) // count for number, count in formula.items())
    surplus = {}
    for number, count in formula.items():
        n_core = int((core == number).sum())
        if n_core > units * count:
            raise CarvingError(
                f"The core holds {n_core} {SYMBOLS[number]}, more than {units} formula units have. "
                "Take a larger box, or keep no composition."
            )
        surplus[number] = int((numbers == number).sum()) - units * count
    return surplus


def _neutralised(
    fragment: Fragment, distances: PairDistances, charges: Mapping[int, float], groups: IntArray
) -> Fragment:
    """Return the fragment without the fewest, most crowded groups that leave it neutral."""
    numbers = fragment.structure.numbers
    missing = sorted({SYMBOLS[int(n)] for n in np.unique(numbers) if int(n) not in charges})
    if missing:
        raise CarvingError(
            f"There is no charge of {', '.join(missing)}. Give one for each element."
        )
    own = np.array([charges[int(number)] for number in numbers])
    total = float(own.sum())
    if abs(total) < 1e-6:
        return fragment
    names, which = np.unique(groups, return_inverse=True)
    charge = np.bincount(which, own)
    is_core = np.bincount(which, fragment.is_core) > 0
    crowding = np.full(len(names), np.inf)
    np.minimum.at(crowding, which, _crowding(fragment, distances))
    free = np.flatnonzero(~is_core)
    free = free[np.argsort(crowding[free], kind="stable")]
    helpful = free[charge[free] * np.sign(total) > 0.0]
    for n_removed in (1, 2, 3):
        for chosen in itertools.combinations(helpful[: 200 // n_removed**3].tolist(), n_removed):
            if abs(total - charge[list(chosen)].sum()) < 1e-6:
                return fragment.without(np.flatnonzero(np.isin(which, chosen)))
    same = helpful[charge[helpful] == charge[helpful][0]] if len(helpful) else helpful
    if len(same):
        count = round(total / charge[same[0]])
        if 0 < count <= len(same) and abs(total - count * charge[same[0]]) < 1e-6:
            return fragment.without(np.flatnonzero(np.isin(which, same[:count])))
    raise CarvingError(
        f"The fragment has a charge of {total:+g} that no removal outside of its core balances. "
        "Take a larger box, or another centre."
    )


__all__ = [
    "Composition",
    "molecules_of",
    "pushed_apart",
    "soft_repulsion",
    "with_composition",
    "without_clashes",
]
