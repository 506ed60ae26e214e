"""What leaves a crystal as it is: translations within its cell, rotations, and a k-point grid's."""

from collections.abc import Sequence

import numpy as np
import spglib.error

from nepal_flows.core.lattices import reduced_matrices, wrapped_positions
from nepal_flows.core.structure import Structure
from nepal_flows.typing import BoolArray, FloatArray, IntArray

spglib.error.OLD_ERROR_HANDLING = False  # failures are exceptions, as spglib advises


def crystal_rotations(structure: Structure, *, tolerance: float = 1e-3) -> IntArray:
    """Return the rotations of a crystal's space group, in units of its cell vectors.

    Parameters
    ----------
    structure
        A crystal.
    tolerance
        Largest distance between an atom and the image of another, Å.

    Returns
    -------
    IntArray
        Matrices W that act on fractional coordinates as columns, shape (n, 3, 3); the identity
        alone where spglib finds no group.
    """
    scaled = np.linalg.solve(structure.cell.T, structure.positions.T).T
    crystal = (structure.cell.tolist(), scaled.tolist(), structure.numbers.tolist())
    try:
        found = spglib.get_symmetry(crystal, symprec=tolerance)
    except spglib.error.SpglibError:
        return np.eye(3, dtype=np.int64)[None]
    assert found is not None
    return np.unique(np.asarray(found["rotations"], dtype=np.int64), axis=0)


def forceless_sites(structure: Structure, *, tolerance: float = 0.02) -> BoolArray:
    """Return which atoms have no force by symmetry alone, shape (n_atoms,).

    What leaves a site where it is leaves the force on it as it is, too: a force is possible only
    where the point group of the site is one of the ten polar ones.

    Parameters
    ----------
    structure
        A structure that is periodic throughout.
    tolerance
        Largest distance between an atom and the image of another, Å.
    """
    scaled = np.linalg.solve(structure.cell.T, structure.positions.T).T
    crystal = (structure.cell.tolist(), scaled.tolist(), structure.numbers.tolist())
    try:
        found = spglib.get_symmetry_dataset(crystal, symprec=tolerance)
    except spglib.error.SpglibError:
        return np.zeros(structure.n_atoms, dtype=np.bool_)
    assert found is not None
    symbols = found.site_symmetry_symbols
    return np.array([not _is_polar(symbol) for symbol in symbols], dtype=np.bool_)


def _is_polar(symbol: str) -> bool:
    """Return whether a point group leaves a direction as it is: 1, m, and one axis with mirrors."""
    if "-" in symbol or "/" in symbol:
        return False
    return sum(letter.isdigit() for letter in symbol) <= 1 and symbol.count("m") <= 2


def grid_keeps_symmetry(grid: Sequence[int], offset: Sequence[bool], rotations: IntArray) -> bool:
    """Return whether a regular k-point grid is mapped onto itself by all rotations.

    The points are ``k_i = (m_i + offset_i / 2) / grid_i`` in units of the reciprocal vectors, and a
    rotation W takes the row k to k W. A grid that is not mapped onto itself gives the perfect
    crystal forces and stresses that its symmetry forbids: silicon on a 4 x 4 x 4 grid shifted along
    all three vectors of its primitive cell has a shear stress of 1 GPa.

    Parameters
    ----------
    grid
        Divisions along the three reciprocal vectors.
    offset
        Whether each is shifted by half a step.
    rotations
        Of the crystal, as `crystal_rotations` returns them, shape (n, 3, 3).
    """
    n = np.array(grid, dtype=np.int64)
    steps = rotations * n  # steps[w, i, j] / n[i] is step i, rotated, in steps along j
    if (steps % n[None, :, None]).any():
        return False
    start = np.array(offset, dtype=np.int64)
    moved = np.einsum("i,wij->wj", start, steps // n[None, :, None]) - start
    return not bool((moved % 2).any())


def primitive_cell(structure: Structure, *, tolerance: float = 1e-3) -> Structure:
    """Return the smallest cell that repeats to the given structure, reduced.

    Only pure translations count; a structure that is perturbed by more than the tolerance, or is
    not periodic in every direction, comes back as it is.

    Parameters
    ----------
    structure
        Any structure.
    tolerance
        Largest distance between an atom and a translated one, Å.
    """
    if not all(structure.pbc):
        return structure
    translations = _pure_translations(structure, tolerance)
    n_cells = len(translations)
    if n_cells == 1:
        return structure
    generators = np.rint(np.concatenate([np.eye(3), translations]) * n_cells).astype(np.int64)
    basis = _row_basis(generators)
    lattice = (basis / n_cells) @ structure.cell
    cell = reduced_matrices(np.eye(3, dtype=np.int64)[None], lattice)[0] @ lattice
    if np.linalg.det(cell) * np.linalg.det(structure.cell) < 0.0:
        cell = -cell
    positions = wrapped_positions(structure.positions, cell, structure.pbc)
    kept = _first_of_each_site(structure.numbers, positions, cell, 3.0 * tolerance)
    if len(kept) * n_cells != structure.n_atoms:
        return structure
    return Structure(structure.numbers[kept], positions[kept], cell, structure.pbc)


def _pure_translations(structure: Structure, tolerance: float) -> FloatArray:
    """Return the translations that map the structure onto itself, as fractions of the cell."""
    scaled = np.linalg.solve(structure.cell.T, structure.positions.T).T
    kinds, counts = np.unique(structure.numbers, return_counts=True)
    rarest = np.flatnonzero(structure.numbers == kinds[counts.argmin()])
    found = []
    for shift in scaled[rarest] - scaled[rarest[0]]:
        matched = True
        for kind in kinds:
            sites = scaled[structure.numbers == kind]
            difference = (sites + shift)[:, None, :] - sites[None, :, :]
            difference -= np.rint(difference)
            distance = np.linalg.norm(difference @ structure.cell, axis=-1)
            matched = matched and bool((distance.min(axis=1) < tolerance).all())
        if matched:
            found.append(shift - np.floor(shift + 1e-9))
    return np.array(found)


def _row_basis(generators: IntArray) -> IntArray:
    """Return three integer rows that span what the generators span (Euclid's algorithm)."""
    rows = [row.copy() for row in generators]
    basis = []
    for column in range(3):
        while True:
            live = [k for k, row in enumerate(rows) if row[column] != 0]
            pivot = min(live, key=lambda k: abs(rows[k][column]))
            if len(live) == 1:
                break
            for k in live:
                if k != pivot:
                    rows[k] = rows[k] - (rows[k][column] // rows[pivot][column]) * rows[pivot]
        basis.append(rows.pop(pivot))
    return np.array(basis)


def _first_of_each_site(
    numbers: IntArray, positions: FloatArray, cell: FloatArray, tolerance: float
) -> IntArray:
    scaled = np.linalg.solve(cell.T, positions.T).T
    kept: list[int] = []
    for atom in range(len(numbers)):
        same = [k for k in kept if numbers[k] == numbers[atom]]
        difference = scaled[same] - scaled[atom]
        difference -= np.rint(difference)
        if not (np.linalg.norm(difference @ cell, axis=-1) < tolerance).any():
            kept.append(atom)
    return np.array(kept, dtype=np.int64)


__all__ = ["crystal_rotations", "forceless_sites", "grid_keeps_symmetry", "primitive_cell"]
