"""Whether a labeler's settings are consistent: eight labels, once for every setting.

Forces against differences of the energy, stress against differences under strain (a wrong sign or a
wrong energy shows here), a rigid translation (noise of the grid), and a doubled cell (k-points).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.pool import WorkerPool
from nepal_flows.errors import LabelError
from nepal_flows.labelers.kpoints import KPointRule
from nepal_flows.labelers.label import label_structures
from nepal_flows.labelers.protocol import Labeler
from nepal_flows.typing import FloatArray

_DIRECTION = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
_STRAIN = np.array([[1.0, 0.4, 0.0], [0.4, 0.5, 0.2], [0.0, 0.2, -0.3]])
_SHIFT = np.array([0.11, 0.07, 0.05])


@dataclass(frozen=True)
class Consistency:
    """How far a labeler contradicts itself on one structure.

    Attributes
    ----------
    force_error
        Force along one direction against the difference of energies, eV/Å.
    stress_error
        Stress along one strain against the difference of energies, eV/Å^3; None without a stress.
    translation_error
        Change of energy under a rigid translation, meV/atom.
    doubling_error
        Energy per atom of the doubled cell against that of the cell, meV/atom.
    pressure_sign
        Trace of the virial of the cell compressed by 3 % along each axis, eV: positive by
        convention; None without a stress.
    problems
        What is beyond its tolerance, in sentences.
    """

    force_error: float
    stress_error: float | None
    translation_error: float
    doubling_error: float
    pressure_sign: float | None
    problems: tuple[str, ...]


def check_consistency(
    labeler: Labeler,
    structure: Structure,
    *,
    pool: WorkerPool,
    time_limit_s: float | None = None,
    displacement: float = 0.01,
    strain: float = 0.001,
    force_tolerance: float = 2e-3,
    stress_tolerance: float = 5e-4,
    energy_tolerance: float = 0.1,
    doubling_tolerance: float | None = None,
    scratch: str | Path | None = None,
) -> Consistency:
    """Return how far a labeler contradicts itself on one structure.

    Parameters
    ----------
    labeler
        The labeler.
    structure
        A rattled cell; its double along the first vector is labelled too.
    pool
        Processes to label in.
    time_limit_s
        Time that one label may take, s.
    displacement
        Step of the difference of positions, Å.
    strain
        Step of the difference of strain, dimensionless.
    force_tolerance, stress_tolerance, energy_tolerance
        What is still consistent: eV/Å, eV/Å^3, meV/atom.
    doubling_tolerance
        The same for the doubled cell, meV/atom; by default 1 where k-points follow from a spacing
        (they agree only as far as it is converged), and the energy tolerance where they fold.
    scratch
        Directory to run in.

    Raises
    ------
    LabelError
        If one of the labels fails.
    """
    cells = _variants(structure, displacement, strain)
    outcomes = label_structures(
        labeler, cells, pool=pool, time_limit_s=time_limit_s, scratch=scratch
    )
    labels: list[LabelledStructure] = []
    for outcome in outcomes:
        if outcome.label is None:
            raise LabelError(f"Label {outcome.index} of the check failed: {outcome.reason}")
        labels.append(outcome.label)
    base, plus, minus, stretched, pressed, shifted, doubled, compressed = labels
    n_atoms = structure.n_atoms
    force = -(plus.energy - minus.energy) / (2.0 * displacement)
    force_error = abs(force - float(base.forces[0] @ _DIRECTION))
    stress_error = pressure_sign = None
    if base.virial is not None and compressed.virial is not None:
        slope = (stretched.energy - pressed.energy) / (2.0 * strain)
        expected = -float((base.virial * _STRAIN).sum())
        stress_error = abs(slope - expected) / structure.volume
        pressure_sign = float(np.trace(compressed.virial))
    translation_error = 1000.0 * abs(shifted.energy - base.energy) / n_atoms
    doubling_error = 1000.0 * abs(doubled.energy / 2.0 - base.energy) / n_atoms
    return Consistency(
        force_error,
        stress_error,
        translation_error,
        doubling_error,
        pressure_sign,
        tuple(
            _problems(
                force_error / force_tolerance,
                None if stress_error is None else stress_error / stress_tolerance,
                translation_error / energy_tolerance,
                doubling_error
                / (doubling_tolerance or _doubling_tolerance(labeler, energy_tolerance)),
                pressure_sign,
            )
        ),
    )


def _doubling_tolerance(labeler: Labeler, energy_tolerance: float) -> float:
    rule = getattr(labeler, "kpoints", None)
    return 1.0 if isinstance(rule, KPointRule) and rule.mode == "spacing" else energy_tolerance


def _variants(structure: Structure, displacement: float, strain: float) -> list[Structure]:
    step = np.zeros_like(structure.positions)
    step[0] = displacement * _DIRECTION
    moved = [_moved(structure, sign * step) for sign in (1.0, -1.0)]
    strained = [_strained(structure, sign * strain * _STRAIN) for sign in (1.0, -1.0)]
    shifted = _moved(structure, np.broadcast_to(_SHIFT, step.shape))
    compressed = _strained(structure, -0.03 * np.eye(3))
    return [structure, *moved, *strained, shifted, _doubled(structure), compressed]


def _moved(structure: Structure, step: FloatArray) -> Structure:
    positions = structure.positions + step
    return Structure(structure.numbers, positions, structure.cell, structure.pbc)


def _strained(structure: Structure, strain: FloatArray) -> Structure:
    deformation = np.eye(3) + strain
    positions = structure.positions @ deformation
    return Structure(structure.numbers, positions, structure.cell @ deformation, structure.pbc)


def _doubled(structure: Structure) -> Structure:
    positions = np.concatenate([structure.positions, structure.positions + structure.cell[0]])
    cell = structure.cell * np.array([[2.0], [1.0], [1.0]])
    return Structure(np.tile(structure.numbers, 2), positions, cell, structure.pbc)


def _problems(
    force: float,
    stress: float | None,
    translation: float,
    doubling: float,
    pressure_sign: float | None,
) -> Sequence[str]:
    """Return what is wrong, from errors in units of their tolerances."""
    found = []
    if force > 1.0:
        found.append(
            "The forces are not the gradient of the energy: with smearing, the energy must be the "
            "free energy; otherwise raise cutoffs or tighten self-consistency."
        )
    if stress is not None and stress > 1.0:
        found.append("The stress is not the derivative of the energy: raise the cutoffs.")
    if translation > 1.0:
        found.append("The energy depends on where the atoms lie on the grid: raise the cutoffs.")
    if doubling > 1.0:
        found.append(
            "A doubled cell has another energy per atom: its k-points do not fold into those of "
            "the cell, or their spacing is not converged."
        )
    if pressure_sign is not None and pressure_sign <= 0.0:
        found.append("A compressed cell has a negative virial: its sign is wrong.")
    return found


__all__ = ["Consistency", "check_consistency"]
