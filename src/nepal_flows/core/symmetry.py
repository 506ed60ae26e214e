"""Which rotations leave a crystal as it is, and whether a k-point grid has them too."""

from collections.abc import Sequence

import numpy as np
import spglib.error

from nepal_flows.core.structure import Structure
from nepal_flows.typing import IntArray

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


__all__ = ["crystal_rotations", "grid_keeps_symmetry"]
