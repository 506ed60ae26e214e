"""Cells of diamond-structure silicon: multiples of the primitive cell, strained, with a vacancy."""

from typing import Any

import numpy as np

from nepal_flows.core.lattices import supercell
from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray, IntArray

SILICON = 14


def primitive_cell(lattice_constant: float) -> Structure:
    """Return the two-atom cell of the diamond structure; the lattice constant is in Å."""
    cell = 0.5 * lattice_constant * (1.0 - np.eye(3))
    positions = np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]]) * lattice_constant
    return Structure(np.full(2, SILICON), positions, cell)


def cubic_cell(lattice_constant: float) -> Structure:
    """Return the eight-atom cell of the diamond structure."""
    to_cubic = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    return supercell(primitive_cell(lattice_constant), to_cubic)


def multiple(structure: Structure, repeats: tuple[int, int, int]) -> Structure:
    """Return a structure repeated along its cell vectors."""
    return supercell(structure, np.array(repeats))


def strained(structure: Structure, strain: FloatArray) -> Structure:
    """Return the structure under a homogeneous strain (3, 3); fractional positions are kept."""
    deformation = np.eye(3) + strain
    return changed(
        structure, cell=structure.cell @ deformation, positions=structure.positions @ deformation
    )


def scaled(structure: Structure, factor: float) -> Structure:
    """Return the structure with all lengths multiplied by a factor."""
    return changed(structure, cell=structure.cell * factor, positions=structure.positions * factor)


def displaced(structure: Structure, displacements: FloatArray) -> Structure:
    """Return the structure with its atoms moved by (n_atoms, 3), Å."""
    return changed(structure, positions=structure.positions + displacements)


def without_atom(structure: Structure, atom: int = 0) -> Structure:
    """Return the structure without one of its atoms."""
    kept: IntArray = np.delete(np.arange(structure.n_atoms), atom)
    return changed(structure, numbers=structure.numbers[kept], positions=structure.positions[kept])


def changed(structure: Structure, **arrays: Any) -> Structure:
    """Return a structure with some of its arrays replaced."""
    return Structure(
        arrays.get("numbers", structure.numbers),
        arrays.get("positions", structure.positions),
        arrays.get("cell", structure.cell),
        structure.pbc,
    )


__all__ = [
    "SILICON",
    "changed",
    "cubic_cell",
    "displaced",
    "multiple",
    "primitive_cell",
    "scaled",
    "strained",
    "without_atom",
]
