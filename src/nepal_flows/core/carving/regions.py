"""Neighbourhoods in large parents, found in a time that does not depend on the parent's size."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.lattices import cell_thicknesses
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError
from nepal_flows.typing import FloatArray, IntArray

_BIN_WIDTH = 5.0  # Å
_ROUNDING = 1e-6  # of a bin


@dataclass(frozen=True, eq=False)
class Region:
    """Atoms around one atom of a parent, images written out; row 0 is that atom.

    Attributes
    ----------
    numbers
        Atomic numbers, shape (n,).
    positions
        Relative to the centre, by rising distance from it, shape (n, 3), Å.
    parents
        Which atom of the parent every row is an image of, shape (n,).
    grades
        Grades in the parent, shape (n,); NaN where they are not known.
    cell, pbc
        Of the parent.
    half_widths
        Distance from the centre to the faces of the region, shape (3,), Å: along a direction
        without periodicity, the region ends where the parent does.
    """

    numbers: IntArray
    positions: FloatArray
    parents: IntArray
    grades: FloatArray
    cell: FloatArray
    pbc: tuple[bool, bool, bool]
    half_widths: FloatArray

    @property
    def n_atoms(self) -> int:
        """Number of rows, images counted."""
        return len(self.numbers)

    def within(self, half_width: float) -> "Region":
        """Return the part of the region that reaches no farther from the centre.

        Raises
        ------
        CarvingError
            If the region is not that wide.
        """
        if half_width > self.half_widths.min() + 1e-9:
            raise CarvingError(
                f"The region reaches {self.half_widths.min():.1f} Å from the centre, but "
                f"{half_width:.1f} Å are needed. Take a wider region."
            )
        half = half_width / self.thicknesses
        kept = np.logical_and(self.fractions >= -half, self.fractions < half).all(axis=1)
        return Region(
            self.numbers[kept],
            self.positions[kept],
            self.parents[kept],
            self.grades[kept],
            self.cell,
            self.pbc,
            np.full(3, half_width),
        )

    @property
    def fractions(self) -> FloatArray:
        """Positions in units of the parent's cell vectors, relative to the centre, (n, 3)."""
        return self.positions @ np.linalg.inv(self.cell)

    @property
    def thicknesses(self) -> FloatArray:
        """Distance of the parent's opposite faces, shape (3,), Å."""
        return cell_thicknesses(self.cell)


class AtomBins:
    """The atoms of a structure in bins along its cell vectors.

    Parameters
    ----------
    structure
        The parent; building takes a time linear in its atoms, looking up only what is found.
    grades
        Grade of every atom, shape (n_atoms,), handed on to the regions.
    """

    def __init__(self, structure: Structure, grades: FloatArray | None = None) -> None:
        self.structure = structure
        self.grades = grades
        self.heights = cell_thicknesses(structure.cell)
        self._periodic = np.array(structure.pbc)
        fractions = structure.positions @ np.linalg.inv(structure.cell)
        home = np.where(self._periodic, np.floor(fractions), 0.0)
        home += self._periodic & (fractions - home >= 1.0)  # just below a face, in rounding
        self._home = home.astype(np.int64)
        self._fractions = fractions - home
        low, high = self._fractions.min(axis=0), self._fractions.max(axis=0)
        self._low = np.where(self._periodic, 0.0, low)
        self._extent = extent = np.where(
            self._periodic, 1.0, np.maximum(high - low, 1e-9) * (1.0 + 1e-9)
        )
        self._n_bins = np.maximum(1, (extent * self.heights / _BIN_WIDTH).astype(np.int64))
        self._width = extent / self._n_bins
        bins = np.minimum(
            ((self._fractions - self._low) / self._width).astype(np.int64), self._n_bins - 1
        )
        flat = (bins[:, 0] * self._n_bins[1] + bins[:, 1]) * self._n_bins[2] + bins[:, 2]
        self._order = np.argsort(flat, kind="stable")
        counts = np.bincount(flat, minlength=int(self._n_bins.prod()))
        self._first = np.concatenate([[0], np.cumsum(counts)])

    def atoms_in_box(self, low: FloatArray, high: FloatArray) -> tuple[IntArray, IntArray]:
        """Return the atoms, images included, with low <= fraction < high along every vector.

        Parameters
        ----------
        low, high
            Shape (3,), in units of the cell vectors.

        Returns
        -------
        tuple
            Indices, shape (n,), and the translations that bring those atoms, as they are stored,
            into the box, in cell vectors, shape (n, 3).
        """
        rows, images = zip(
            *(self._bins_between(k, float(low[k]), float(high[k])) for k in range(3)), strict=True
        )
        n1, n2 = self._n_bins[1], self._n_bins[2]
        flat = (
            (rows[0] * n1)[:, None, None] * n2
            + (rows[1] * n2)[None, :, None]
            + rows[2][None, None, :]
        ).ravel()
        shifts = np.stack(np.meshgrid(*images, indexing="ij"), axis=-1).reshape(-1, 3)
        counts = self._first[flat + 1] - self._first[flat]
        ends = np.cumsum(counts)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
        atoms = self._order[np.repeat(self._first[flat], counts) + within]
        translations = np.repeat(shifts, counts, axis=0)
        fractions = self._fractions[atoms] + translations
        inside = np.logical_and(fractions >= low, fractions < high).all(axis=1)
        atoms = atoms[inside]
        return atoms, translations[inside] - self._home[atoms]

    def region(self, centre: int, half_width: float) -> Region:
        """Return what lies within a distance of an atom, across the parent's directions.

        Parameters
        ----------
        centre
            Index of the atom.
        half_width
            Distance from the centre to every face of the region, Å.
        """
        parent = self.structure
        half = half_width / self.heights
        atoms, shifts = self.atoms_in_box(
            self._fractions[centre] - half, self._fractions[centre] + half
        )
        # the box is around the wrapped centre, the region around the centre as it is stored
        shifts = shifts + self._home[centre]
        vectors = parent.positions[atoms] + shifts @ parent.cell - parent.positions[centre]
        distances = np.einsum("ia,ia->i", vectors, vectors)
        order = np.argsort(np.round(distances, 9), kind="stable")
        atoms, vectors = atoms[order], vectors[order]
        return Region(
            numbers=parent.numbers[atoms],
            positions=vectors,
            parents=atoms,
            grades=np.full(len(atoms), np.nan) if self.grades is None else self.grades[atoms],
            cell=parent.cell,
            pbc=parent.pbc,
            half_widths=np.full(3, half_width),
        )

    def blocks(self, width: float, halo: float) -> Iterator[tuple[Structure, IntArray]]:
        """Yield the structure in parts, each with what surrounds it.

        Parameters
        ----------
        width
            Of a part, about, Å.
        halo
            How far its surroundings reach, Å.

        Yields
        ------
        tuple
            An open cluster, and the atoms of the parent that its first atoms are: every atom is
            in one part.
        """
        n_parts = np.maximum(1, np.round(self._extent * self.heights / width)).astype(np.int64)
        size = self._extent / n_parts
        margin = halo / self.heights
        for place in np.ndindex(*n_parts.tolist()):
            low = self._low + np.array(place) * size
            is_last = np.array(place) == n_parts - 1
            high = np.where(is_last, self._low + self._extent, low + size)
            high = np.where(is_last & ~self._periodic, high + 1e-6, high)
            atoms, shifts = self.atoms_in_box(low - margin, high + margin)
            fractions = self._fractions[atoms] + shifts + self._home[atoms]
            own = np.logical_and(fractions >= low, fractions < high).all(axis=1)
            if not own.any():
                continue
            order = np.concatenate([np.flatnonzero(own), np.flatnonzero(~own)])
            atoms, shifts = atoms[order], shifts[order]
            positions = self.structure.positions[atoms] + shifts @ self.structure.cell
            positions -= positions[0]
            yield _open(self.structure.numbers[atoms], positions), atoms[: int(own.sum())]

    def _bins_between(self, k: int, low: float, high: float) -> tuple[IntArray, IntArray]:
        """Return bins along one vector that meet [low, high), and the images they are in."""
        n = int(self._n_bins[k])
        first = int(np.floor((low - self._low[k]) / self._width[k] - _ROUNDING))
        last = int(np.floor((high - self._low[k]) / self._width[k] + _ROUNDING))
        if not self._periodic[k]:
            first, last = max(first, 0), min(last, n - 1)
        bins = np.arange(first, last + 1)
        return bins % n, bins // n


def open_cluster(region: Region) -> Structure:
    """Return the atoms of a region as a structure without periodicity."""
    return _open(region.numbers, region.positions)


def _open(numbers: IntArray, positions: FloatArray) -> Structure:
    cell = np.eye(3) * (2.0 * float(np.abs(positions).max(initial=0.0)) + 20.0)
    return Structure(numbers, positions, cell, (False, False, False))


__all__ = ["AtomBins", "Region", "open_cluster"]
