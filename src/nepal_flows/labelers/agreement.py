"""Whether two labels of one structure are of the same physics."""

from dataclasses import dataclass

import numpy as np

from nepal_flows.core.structure import LabelledStructure

LARGEST_FORCE_DIFFERENCE = 0.010
"""Largest root-mean-square difference of forces, eV/Å."""

LARGEST_ENERGY_DIFFERENCE = 0.001
"""Largest difference of energies, eV per atom."""


@dataclass(frozen=True)
class Agreement:
    """How far two labels of one structure differ.

    Attributes
    ----------
    energy
        Difference of the energies, eV per atom.
    forces
        Root-mean-square difference of the forces, eV/Å.
    """

    energy: float
    forces: float

    @property
    def is_good(self) -> bool:
        """Whether both are within what labels of one kind differ by."""
        return self.energy <= LARGEST_ENERGY_DIFFERENCE and self.forces <= LARGEST_FORCE_DIFFERENCE

    def __str__(self) -> str:
        return (
            f"its energy differs by {1000.0 * self.energy:.2f} meV/atom and its forces by "
            f"{1000.0 * self.forces:.1f} meV/Å ({1000.0 * LARGEST_ENERGY_DIFFERENCE:g} and "
            f"{1000.0 * LARGEST_FORCE_DIFFERENCE:g} are allowed)"
        )


def label_agreement(one: LabelledStructure, other: LabelledStructure) -> Agreement:
    """Return how far two labels of one structure differ.

    Examples
    --------
    >>> from nepal_flows.core.structure import Structure
    >>> atom = Structure(np.array([29]), np.zeros((1, 3)), np.eye(3))
    >>> one = LabelledStructure(atom, -1.0, np.zeros((1, 3)))
    >>> label_agreement(one, LabelledStructure(atom, -1.5, np.zeros((1, 3)))).energy
    0.5
    """
    return Agreement(
        energy=abs(one.energy - other.energy) / one.n_atoms,
        forces=float(np.sqrt(np.mean((one.forces - other.forces) ** 2))),
    )


__all__ = ["LARGEST_ENERGY_DIFFERENCE", "LARGEST_FORCE_DIFFERENCE", "Agreement", "label_agreement"]
