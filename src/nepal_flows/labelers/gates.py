"""What every label must satisfy before it is used."""

from dataclasses import dataclass

import numpy as np

from nepal_flows.core.label_gate import implausible_label
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import LabelError
from nepal_flows.labelers.protocol import RawLabel
from nepal_flows.typing import FloatArray

VIRIAL_ASYMMETRY = 1e-3
"""Largest difference of a virial and its transpose: in eV per atom, or relative to the virial."""


@dataclass(frozen=True)
class LabelGate:
    """Limits on a label.

    Attributes
    ----------
    max_net_force
        Largest |sum F| / sqrt(n_atoms), eV/Å: noise of the grid shows here first.
    max_force
        Largest force on an atom, eV/Å; None for no limit.
    """

    max_net_force: float = 0.01
    max_force: float | None = None


def gated_label(structure: Structure, raw: RawLabel, gate: LabelGate) -> LabelledStructure:
    """Return a label that passes the gate, its virial symmetric.

    Raises
    ------
    LabelError
        If a number is not finite or beyond anything physical, the forces have another shape, the
        net force or a force is above its limit, or the virial is not symmetric.
    """
    n_atoms = structure.n_atoms
    forces = np.asarray(raw.forces, dtype=np.float64)
    if forces.shape != (n_atoms, 3):
        raise LabelError(f"The forces have shape {forces.shape}, expected ({n_atoms}, 3).")
    virial = None if raw.virial is None else np.asarray(raw.virial, dtype=np.float64)
    reason = implausible_label(raw.energy, forces, virial)
    if reason is not None:
        raise LabelError(f"{reason[0].upper()}{reason[1:]}.")
    net = net_force(forces, raw.drift)
    if net > gate.max_net_force:
        raise LabelError(
            f"The net force |sum F| / sqrt(n) is {net:.4g} eV/Å, above the limit of "
            f"{gate.max_net_force:g}: the forces carry noise of the grid or the basis. Raise the "
            "cutoff, or choose another pseudopotential."
        )
    largest = float(np.linalg.norm(forces, axis=1).max())
    if gate.max_force is not None and largest > gate.max_force:
        raise LabelError(
            f"The largest force is {largest:.4g} eV/Å, above the limit of {gate.max_force:g}: the "
            "structure is far from anything physical."
        )
    return LabelledStructure(
        structure, energy=float(raw.energy), forces=forces, virial=_symmetric(virial, n_atoms)
    )


def net_force(forces: FloatArray, drift: FloatArray | None = None) -> float:
    """Return |sum F| / sqrt(n_atoms), eV/Å.

    Parameters
    ----------
    forces
        Forces, shape (n_atoms, 3), eV/Å.
    drift
        Sum of the forces that was taken off before, shape (3,), eV/Å.

    Examples
    --------
    >>> net_force(np.array([[0.0, 0.0, 3.0], [0.0, 0.0, -1.0]]))
    1.4142135623730951
    """
    total = forces.sum(axis=0) if drift is None else forces.sum(axis=0) + drift
    return float(np.linalg.norm(total) / np.sqrt(len(forces)))


def _symmetric(virial: FloatArray | None, n_atoms: int) -> FloatArray | None:
    if virial is None:
        return None
    if virial.shape != (3, 3):
        raise LabelError(f"The virial has shape {virial.shape}, expected (3, 3).")
    asymmetry = float(np.abs(virial - virial.T).max())
    if asymmetry > VIRIAL_ASYMMETRY * max(n_atoms, float(np.abs(virial).max())):
        raise LabelError(
            f"The virial differs from its transpose by {asymmetry:.4g} eV: the stress is wrong."
        )
    return 0.5 * (virial + virial.T)


__all__ = ["LabelGate", "gated_label", "net_force"]
