"""Structures that occur twice, and whether their labels agree.

Atoms are compared in their order, cells and positions by component, positions up to lattice
vectors; a copy that was rotated or re-ordered is not found (its descriptors are, see
``core.duplicates``).
"""

import itertools
from collections.abc import Sequence

import numpy as np

from nepal_flows.core.lattices import cell_thicknesses
from nepal_flows.core.structure import LabelledStructure, Structure

SAME_STRUCTURE = 1e-4
"""Largest difference of any component of cells and positions of one structure, Å."""

ENERGY_ROUNDING = 1e-5
"""Largest difference of two energies of one structure, eV per atom."""

FORCE_ROUNDING = 0.01
"""Largest difference of two forces on an atom of one structure, eV/Å."""


def repeated_structures(
    structures: Sequence[Structure], *, tolerance: float = SAME_STRUCTURE
) -> list[tuple[int, int]]:
    """Return pairs (first, repeated) of structures with the same atoms in the same places.

    Parameters
    ----------
    structures
        The structures.
    tolerance
        Largest difference of any component, Å.
    """
    peers_of: dict[bytes, list[int]] = {}
    for index, structure in enumerate(structures):
        peers_of.setdefault(_label(structure), []).append(index)
    pairs = []
    for peers in peers_of.values():
        own = [structures[index] for index in peers]
        pairs += [(peers[a], peers[b]) for a, b in _repeated_peers(own, tolerance)]
    return sorted(pairs, key=lambda pair: pair[1])


def is_same(first: Structure, second: Structure, *, tolerance: float = SAME_STRUCTURE) -> bool:
    """Return whether two structures agree within a tolerance in Å, atom by atom."""
    if _label(first) != _label(second):
        return False
    if np.abs(first.cell - second.cell).max() > tolerance:
        return False
    difference = np.linalg.solve(first.cell.T, (second.positions - first.positions).T).T
    difference -= np.round(difference) * np.array(first.pbc)
    return bool(np.abs(difference @ first.cell).max() <= tolerance)


def contradiction(
    first: LabelledStructure, second: LabelledStructure, *, tolerance: float = SAME_STRUCTURE
) -> str | None:
    """Return how two labels of one structure contradict each other, None if they agree.

    Parameters
    ----------
    first, second
        Labels of structures that agree within the tolerance.
    tolerance
        Of the structures, Å: their energies may differ by the work of the forces over it.
    """
    energy = abs(first.energy - second.energy)
    if energy > ENERGY_ROUNDING * first.n_atoms + tolerance * float(np.abs(first.forces).sum()):
        return f"their energies are {first.energy:.6f} and {second.energy:.6f} eV"
    force = float(np.abs(first.forces - second.forces).max())
    if force > FORCE_ROUNDING:
        return f"their forces differ by up to {force:.4g} eV/Å"
    return None


def _repeated_peers(structures: Sequence[Structure], tolerance: float) -> list[tuple[int, int]]:
    """Return the pairs among structures with the same elements; time grows with their number.

    Structures are hashed by a number in the plane that no lattice vector changes; equal ones lie
    in the same or in adjacent squares.
    """
    if len(structures) < 2:
        return []
    points = [_fingerprint(structure, tolerance) for structure in structures]
    width = max(reach for _, reach in points)
    squares: dict[tuple[int, int], list[int]] = {}
    pairs = []
    for index, (point, _) in enumerate(points):
        square = (int(point.real // width), int(point.imag // width))
        near = [
            k
            for step in itertools.product((-1, 0, 1), repeat=2)
            for k in squares.get((square[0] + step[0], square[1] + step[1]), ())
        ]
        same = (
            k
            for k in sorted(near)
            if is_same(structures[k], structures[index], tolerance=tolerance)
        )
        twin = next(same, None)
        if twin is None:
            squares.setdefault(square, []).append(index)
        else:
            pairs.append((twin, index))
    return pairs


def _fingerprint(structure: Structure, tolerance: float) -> tuple[complex, float]:
    """Return a number of a structure, and by how much it may differ from that of an equal one.

    It is a weighted structure factor: to first order, fractional coordinates s of equal
    structures differ by at most 3 t (1 + |s|) / h, for tolerance t and thickness h of the cell.
    """
    fractional = np.linalg.solve(structure.cell.T, structure.positions.T).T
    weights = np.cos(np.arange(structure.n_atoms))
    phases = np.exp(2j * np.pi * fractional.sum(axis=1))
    thinnest = float(cell_thicknesses(structure.cell).min())
    change = 3.0 * tolerance * (1.0 + float(np.abs(fractional).sum(axis=1).max())) / thinnest
    return complex(np.mean(weights * phases)), 4.0 * np.pi * 3.0 * change


def _label(structure: Structure) -> bytes:
    return structure.numbers.tobytes() + bytes(structure.pbc)


__all__ = [
    "ENERGY_ROUNDING",
    "FORCE_ROUNDING",
    "SAME_STRUCTURE",
    "contradiction",
    "is_same",
    "repeated_structures",
]
