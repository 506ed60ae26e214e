"""A fragment: the atoms of a box, closed to a cell of its own, and where they come from."""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.carving.boxes import Box
from nepal_flows.core.carving.regions import Region
from nepal_flows.core.lattices import cell_thicknesses
from nepal_flows.core.structure import Structure
from nepal_flows.typing import BoolArray, FloatArray, IntArray

KEEP_OUT = 1e-3
"""How far beyond the core's radius atoms are kept that were outside, Å."""

_IMAGES = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


@dataclass(frozen=True, eq=False)
class Fragment:
    """A periodic structure around one atom of a parent; row 0 is that atom.

    Attributes
    ----------
    structure
        What is labelled.
    rows
        Row of the region that every atom is, shape (n_atoms,).
    parents
        Atom of the parent that every atom is, shape (n_atoms,).
    is_core
        Atoms within the core's radius of the centre, which nothing moves, shape (n_atoms,).
    start
        Where the atoms are in the parent, in the frame of the fragment, shape (n_atoms, 3), Å.
    core_radius
        Å.
    box
        Where it was cut; None for a sphere in vacuum.
    n_removed
        Atoms of the box that were deleted.
    vacuum
        Vacuum that was added along every cell vector, Å, shape (3,).
    """

    structure: Structure
    rows: IntArray
    parents: IntArray
    is_core: BoolArray
    start: FloatArray
    core_radius: float
    box: Box | None
    n_removed: int
    vacuum: FloatArray

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.structure.n_atoms

    @property
    def displacements(self) -> FloatArray:
        """How far every atom was moved from its place in the parent, shape (n_atoms,), Å."""
        moved: FloatArray = np.linalg.norm(self.structure.positions - self.start, axis=1)
        return moved

    def with_positions(self, positions: FloatArray) -> "Fragment":
        """Return the fragment with its atoms elsewhere, none of them inside the core's sphere."""
        structure = dataclasses.replace(self.structure, positions=positions)
        moved = dataclasses.replace(self, structure=structure)
        return dataclasses.replace(
            moved, structure=dataclasses.replace(structure, positions=_kept_out(moved))
        )

    def without(self, atoms: IntArray) -> "Fragment":
        """Return the fragment without some of its atoms."""
        kept = np.setdiff1d(np.arange(self.n_atoms), atoms)
        old = self.structure
        return dataclasses.replace(
            self,
            structure=Structure(old.numbers[kept], old.positions[kept], old.cell, old.pbc),
            rows=self.rows[kept],
            parents=self.parents[kept],
            is_core=self.is_core[kept],
            start=self.start[kept],
            n_removed=self.n_removed + self.n_atoms - len(kept),
        )

    def crosses_face(self, shifts: IntArray) -> BoolArray:
        """Return which lattice translations, shape (n, 3), do not exist in the parent."""
        if self.box is None:
            return np.ones(len(shifts), dtype=np.bool_)
        crossing: BoolArray = (shifts[:, ~self.box.whole] != 0).any(axis=1)
        return crossing


def cut_fragment(
    region: Region, box: Box, core_radius: float, *, molecules: IntArray | None = None
) -> Fragment:
    """Return the atoms of a box as a periodic structure, nothing moved or removed.

    Parameters
    ----------
    region
        Around the centre.
    box
        Part of it.
    core_radius
        Atoms closer than this to the centre, images included, are the core, Å.
    molecules
        Molecule of every row of the region: they are in the box as a whole, where their middle
        is, or where they reach into the core, to which they then belong.
    """
    core = np.einsum("ia,ia->i", region.positions, region.positions) < core_radius**2
    if molecules is None:
        rows = box.atoms(region.fractions)
    else:
        core = np.isin(molecules, molecules[core])
        rows = np.flatnonzero(np.isin(molecules, _inside(region, box, molecules)) | core)
    origin = -box.low @ region.cell
    positions = region.positions[rows] + origin
    structure = Structure(region.numbers[rows], positions, box.cell(region.cell))
    return Fragment(
        structure=structure,
        rows=rows,
        parents=region.parents[rows],
        # of an atom that the parent repeats within the core's radius, any image counts
        is_core=np.isin(region.parents[rows], region.parents[core]),
        start=positions,
        core_radius=core_radius,
        box=box,
        n_removed=0,
        vacuum=np.zeros(3),
    )


def _inside(region: Region, box: Box, molecules: IntArray) -> IntArray:
    """Return the molecules whose middle is in the box."""
    counts = np.bincount(molecules)
    middles = [np.bincount(molecules, region.fractions[:, k]) / counts for k in range(3)]
    return box.atoms(np.stack(middles, axis=1))


def isolated_fragment(
    region: Region, core_radius: float, *, shell: float, vacuum: float
) -> Fragment:
    """Return a sphere in vacuum, as other codes cut it: no periodic neighbours at all.

    Parameters
    ----------
    region
        Around the centre.
    core_radius
        Å.
    shell
        How much larger the sphere is than the core, Å.
    vacuum
        Least distance to its images, Å.
    """
    distances = np.linalg.norm(region.positions, axis=1)
    rows = np.flatnonzero(distances < core_radius + shell)
    width = np.ptp(region.positions[rows], axis=0) + vacuum
    positions = region.positions[rows] - region.positions[rows].min(axis=0) + 0.5 * vacuum
    return Fragment(
        structure=Structure(region.numbers[rows], positions, np.diag(width)),
        rows=rows,
        parents=region.parents[rows],
        is_core=distances[rows] < core_radius,
        start=positions,
        core_radius=core_radius,
        box=None,
        n_removed=0,
        vacuum=np.full(3, vacuum),
    )


def with_vacuum(fragment: Fragment, vacuum: float, smallest_gap: float) -> Fragment:
    """Return the fragment with its empty layers widened to what a code needs.

    Parameters
    ----------
    fragment
        As cut.
    vacuum
        Width that empty layers get, Å. Those that are wider stay as they are.
    smallest_gap
        Layers without the middle of an atom count as empty from this width on, Å. Thinner ones,
        and those that part the core, are left alone.
    """
    cell = fragment.structure.cell.copy()
    positions = fragment.structure.positions.copy()
    added = np.zeros(3)
    vectors = nearest_vectors(fragment)
    # core atoms that are reached through a face are not parted by a layer inside the cell
    is_beside = np.abs(positions - positions[0] - vectors).max(axis=1) < 1e-6
    core = fragment.is_core & is_beside
    for k in range(3):
        height = float(cell_thicknesses(cell)[k])
        depth = (positions @ np.linalg.inv(cell))[:, k] * height
        order = np.argsort(depth)
        gaps = np.diff(np.append(depth[order], depth[order[0]] + height))
        widest = int(gaps.argmax())
        below, above = order[: widest + 1], order[widest + 1 :]
        if not smallest_gap <= gaps[widest] < vacuum or (core[above].any() and core[below].any()):
            continue
        added[k] = vacuum - gaps[widest]
        more = added[k] * cell[k] / height
        positions[above] += more
        cell[k] += more
    if not added.any():
        return fragment
    return dataclasses.replace(
        fragment,
        structure=Structure(fragment.structure.numbers, positions, cell),
        start=fragment.start + positions - fragment.structure.positions,
        vacuum=added,
    )


def nearest_vectors(fragment: Fragment) -> FloatArray:
    """Return the shortest vector from the centre to any image of every atom, (n_atoms, 3), Å."""
    structure = fragment.structure
    fractions = (structure.positions - structure.positions[0]) @ np.linalg.inv(structure.cell)
    home = (fractions - np.round(fractions)) @ structure.cell
    images = home[:, None, :] + (_IMAGES @ structure.cell)[None]
    best = np.einsum("ima,ima->im", images, images).argmin(axis=1)
    vectors: FloatArray = images[np.arange(len(best)), best]
    return vectors


def _kept_out(fragment: Fragment) -> FloatArray:
    """Return positions with every atom that is not core outside of the core's sphere."""
    vectors = nearest_vectors(fragment)
    r = np.linalg.norm(vectors, axis=1)
    limit = fragment.core_radius + KEEP_OUT
    inside = np.flatnonzero((r < limit) & ~fragment.is_core)
    positions = fragment.structure.positions.copy()
    positions[inside] += vectors[inside] * (limit / r[inside] - 1.0)[:, None]
    return positions


__all__ = [
    "KEEP_OUT",
    "Fragment",
    "cut_fragment",
    "isolated_fragment",
    "nearest_vectors",
    "with_vacuum",
]
