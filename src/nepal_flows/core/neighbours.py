"""Neighbour lists of periodic and open structures, linear in the number of atoms.

Every pair is listed from both sides, periodic images of the central atom included, so cells
smaller than the cutoff and one-atom cells are ordinary input, and so are skewed and thin ones.
The search is in :mod:`nepal_flows.core.neighbour_search`.
"""

import math
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.neighbour_search import build_neighbours
from nepal_flows.core.structure import Structure
from nepal_flows.errors import StructureError
from nepal_flows.typing import AnyArray, FloatArray, IntArray


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


__all__ = ["NeighbourList", "neighbour_list", "pair_vectors"]
