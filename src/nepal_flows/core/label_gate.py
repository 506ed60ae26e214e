"""Which energies, forces and virials no code gives: bounds far beyond physics, against garbage."""

import numpy as np

from nepal_flows.typing import FloatArray

LARGEST_ENERGY = 1e7
"""Largest |energy| per atom, eV. All electrons of the heaviest elements have 1.5e6."""

LARGEST_FORCE = 1e5
"""Largest component of a force, eV/Å. Two atoms at half an ångström push with 1e3."""

LARGEST_VIRIAL = 1e6
"""Largest component of a virial per atom, eV."""


def implausible_label(
    energy: float, forces: FloatArray, virial: FloatArray | None = None
) -> str | None:
    """Return why a label cannot be what a code meant to give, None if it can.

    Parameters
    ----------
    energy
        Total energy, eV.
    forces
        Forces, shape (n_atoms, 3), eV/Å.
    virial
        Virial, shape (3, 3), eV, or None.

    Examples
    --------
    >>> implausible_label(1e300, np.zeros((2, 3)))
    'the energy is 5e+299 eV per atom; beyond 1e+07 it is garbage'
    """
    n_atoms = len(forces)
    sizes = [
        ("the energy", abs(float(energy)) / n_atoms, LARGEST_ENERGY, "eV per atom"),
        ("a force", float(np.abs(forces).max()), LARGEST_FORCE, "eV/Å"),
    ]
    if virial is not None:
        largest = float(np.abs(virial).max()) / n_atoms
        sizes.append(("the virial", largest, LARGEST_VIRIAL, "eV per atom"))
    for name, size, limit, unit in sizes:
        if not np.isfinite(size):
            return f"{name} is NaN or infinite"
        if size > limit:
            return f"{name} is {size:.4g} {unit}; beyond {limit:g} it is garbage"
    return None


__all__ = ["LARGEST_ENERGY", "LARGEST_FORCE", "LARGEST_VIRIAL", "implausible_label"]
