"""One configuration of atoms, and one with its labels, as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.errors import LabelledDataError, StructureError
from nepal_flows.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Structure:
    """One configuration of atoms.

    Attributes
    ----------
    numbers
        Atomic numbers, shape (n_atoms,).
    positions
        Cartesian positions, shape (n_atoms, 3), Å; they need not lie inside the cell.
    cell
        Cell vectors as rows, shape (3, 3), Å.
    pbc
        Which directions repeat.

    Raises
    ------
    StructureError
        If shapes disagree, a number is not finite, there is no atom, or the cell has no volume.
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray
    pbc: tuple[bool, bool, bool] = (True, True, True)

    def __post_init__(self) -> None:
        numbers = np.ascontiguousarray(self.numbers, dtype=np.int64)
        positions = np.ascontiguousarray(self.positions, dtype=np.float64)
        cell = np.ascontiguousarray(self.cell, dtype=np.float64)
        if numbers.ndim != 1 or len(numbers) == 0:
            raise StructureError("A structure needs at least one atom; it has none.")
        if positions.shape != (len(numbers), 3) or cell.shape != (3, 3):
            raise StructureError(
                f"`positions` has shape {positions.shape} and `cell` {cell.shape}, "
                f"expected ({len(numbers)}, 3) and (3, 3)."
            )
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise StructureError("Positions or cell hold NaN or infinity. Drop the frame.")
        if abs(np.linalg.det(cell)) < 1e-6:
            raise StructureError(
                f"The cell {cell.tolist()} has no volume. Give three linearly independent cell "
                "vectors (surround a molecule with vacuum)."
            )
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "pbc", tuple(bool(flag) for flag in self.pbc))

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å^3."""
        return float(abs(np.linalg.det(self.cell)))


@dataclass(frozen=True, eq=False)
class LabelledStructure:
    """A structure with its reference energy, forces and, where known, virial.

    Attributes
    ----------
    structure
        The configuration.
    energy
        Total energy whose gradient the forces are (free energy with smearing), eV.
    forces
        Forces, shape (n_atoms, 3), eV/Å.
    virial
        Virial, shape (3, 3), eV, positive when compressed (``-stress * volume`` in ASE's sign);
        None where it is not known.
    weight
        Weight of the structure in the loss, dimensionless.

    Raises
    ------
    LabelledDataError
        If shapes disagree or a number is not finite.
    """

    structure: Structure
    energy: float
    forces: FloatArray
    virial: FloatArray | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        forces = np.ascontiguousarray(self.forces, dtype=np.float64)
        if forces.shape != (self.structure.n_atoms, 3):
            raise LabelledDataError(
                f"`forces` has shape {forces.shape}, expected ({self.structure.n_atoms}, 3)."
            )
        values: list[FloatArray] = [np.asarray(float(self.energy)), forces]
        if self.virial is not None:
            virial = np.ascontiguousarray(self.virial, dtype=np.float64)
            if virial.shape != (3, 3):
                raise LabelledDataError(f"`virial` has shape {virial.shape}, expected (3, 3).")
            object.__setattr__(self, "virial", virial)
            values.append(virial)
        if not all(np.isfinite(value).all() for value in values):
            raise LabelledDataError("Energy, forces or virial hold NaN or infinity. Drop it.")
        object.__setattr__(self, "energy", float(self.energy))
        object.__setattr__(self, "forces", forces)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.structure.n_atoms


def elements_present(structures: Sequence[Structure]) -> IntArray:
    """Return the sorted atomic numbers that occur in any of the structures."""
    return np.unique(np.concatenate([structure.numbers for structure in structures]))


__all__ = ["LabelledStructure", "Structure", "elements_present"]
