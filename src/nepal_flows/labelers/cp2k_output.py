"""What CP2K prints: energy, forces, stress, and whether self-consistency was found."""

import re
from dataclasses import dataclass

import numpy as np

from nepal_flows.errors import LabelError
from nepal_flows.labelers.protocol import CorruptOutputError, UnconvergedLabelError
from nepal_flows.typing import FloatArray

_NUMBER = r"([-+]?\d+\.\d+(?:[ED][-+]?\d+)?)"
_ENERGY = re.compile(r"ENERGY\| Total FORCE_EVAL.*\[(?:a\.u\.|hartree)\][:\s]+" + _NUMBER, re.I)
_FORCE = re.compile(rf"^\s*(\d+)\s+\d+\s+[A-Z][a-z]?\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s*$", re.M)
_STRESS = re.compile(rf"^ STRESS\|\s+([xyz])\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s*$", re.M)
_STEPS = re.compile(r"SCF run converged in\s+(\d+) steps")
_VERSION = re.compile(r"CP2K\| version string:\s+CP2K version (\S+)")


@dataclass(frozen=True, eq=False)
class Cp2kOutput:
    """What one run of CP2K printed, in its own units.

    Attributes
    ----------
    energy
        Total energy (the free energy with smearing), Ha.
    forces
        Forces, shape (n_atoms, 3), Ha/bohr.
    stress
        Stress, shape (3, 3), GPa, positive when compressed.
    n_scf_steps
        Iterations to self-consistency.
    version
        Version of CP2K.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray
    n_scf_steps: int
    version: str | None


def parse_cp2k_output(text: str, *, n_atoms: int) -> Cp2kOutput:
    """Return what a run of energy, forces and stress printed.

    Parameters
    ----------
    text
        The output.
    n_atoms
        Atoms expected.

    Raises
    ------
    UnconvergedLabelError
        If self-consistency was not found or (`CorruptOutputError`) the output stops before its end.
    LabelError
        If a result is missing.
    """
    if "SCF run NOT converged" in text:
        raise UnconvergedLabelError("CP2K's self-consistency did not converge.")
    if "PROGRAM ENDED AT" not in text:
        raise CorruptOutputError("CP2K did not come to its end.")
    steps, energy = _STEPS.findall(text), _ENERGY.findall(text)
    if not steps or not energy:
        raise LabelError("CP2K's output has no converged energy.")
    rows = _FORCE.findall(text.partition("ATOMIC FORCES in [a.u.]")[2].partition("SUM OF")[0])
    if [int(row[0]) for row in rows] != list(range(1, n_atoms + 1)):
        raise LabelError(f"CP2K's output has forces on {len(rows)} of {n_atoms} atoms.")
    block = text.partition("Analytical stress tensor [GPa]")[2].partition("1/3 Trace")[0]
    stress = _STRESS.findall(block)
    if [row[0] for row in stress] != ["x", "y", "z"]:
        raise LabelError("CP2K's output has no analytical stress tensor in GPa.")
    version = _VERSION.search(text)
    return Cp2kOutput(
        energy=_real(energy[-1]),
        forces=np.array([[_real(x) for x in row[1:]] for row in rows]),
        stress=np.array([[_real(x) for x in row[1:]] for row in stress]),
        n_scf_steps=int(steps[-1]),
        version=version.group(1) if version else None,
    )


def _real(text: str) -> float:
    return float(text.upper().replace("D", "E"))


__all__ = ["Cp2kOutput", "parse_cp2k_output"]
