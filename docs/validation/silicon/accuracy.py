"""Errors on frames that were not trained on, and what the grade said about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.calibration import GradeErrorTable, grade_error_table
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import LabelError
from nepal_flows.typing import FloatArray
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA
from silicon.evaluation import ModelEvaluator
from silicon.subject import Subject


@dataclass(frozen=True, eq=False)
class Compared:
    """Labels and predictions of frames, and the grades of their atoms.

    Attributes
    ----------
    reference_energies, energies
        Labels and predictions per frame, shape (n_frames,), eV/atom.
    reference_forces, forces
        Per atom, shape (n_atoms, 3), eV/Å.
    reference_virials, virials
        Per frame, shape (n_frames, 3, 3), eV/atom.
    volumes
        Per atom and frame, shape (n_frames,), Å^3.
    grades
        Per atom, shape (n_atoms,), dimensionless.
    """

    reference_energies: FloatArray
    energies: FloatArray
    reference_forces: FloatArray
    forces: FloatArray
    reference_virials: FloatArray
    virials: FloatArray
    volumes: FloatArray
    grades: FloatArray

    @property
    def force_errors(self) -> FloatArray:
        """Norm of every atom's force error, eV/Å."""
        return np.asarray(np.linalg.norm(self.forces - self.reference_forces, axis=1))


@dataclass(frozen=True)
class FrameErrors:
    """Errors over a number of frames.

    Attributes
    ----------
    n_frames, n_atoms
        What was compared.
    energy_bias_meV_per_atom, energy_rmse_meV_per_atom, energy_max_meV_per_atom
        Mean, root mean square and largest error, nothing subtracted.
    force_rmse_meV_per_A, force_max_meV_per_A
        Over components; largest norm of an atom's error.
    force_rms_eV_per_A
        Of the labels' components.
    virial_rmse_meV_per_atom, virial_max_meV_per_atom
        Over components.
    pressure_bias_GPa
        Mean error of the pressure.
    gamma_max
        Largest grade.
    """

    n_frames: int
    n_atoms: int
    energy_bias_meV_per_atom: float
    energy_rmse_meV_per_atom: float
    energy_max_meV_per_atom: float
    force_rmse_meV_per_A: float
    force_max_meV_per_A: float
    force_rms_eV_per_A: float
    virial_rmse_meV_per_atom: float
    virial_max_meV_per_atom: float
    pressure_bias_GPa: float
    gamma_max: float


@dataclass(frozen=True)
class SafetyCheck:
    """What the grade said about unseen atoms, and what was true.

    Attributes
    ----------
    table
        Grade against true error; errors in eV/Å.
    largest_error_unsafe
        Largest error among atoms above the threshold, eV/Å; None when there is none.
    largest_training_error
        Largest error of any atom trained on, eV/Å.
    """

    table: GradeErrorTable
    largest_error_unsafe: float | None
    largest_training_error: float


def compared(frames: Sequence[LabelledStructure], subject: Subject) -> Compared:
    """Return frames beside the model's predictions and grades.

    Raises
    ------
    LabelError
        If a label has no virial.
    """
    evaluate = ModelEvaluator(subject.model, subject.references)
    structures = [frame.structure for frame in frames]
    predicted = evaluate("", structures)
    n_atoms = np.array([frame.n_atoms for frame in frames], dtype=np.float64)
    factors = [projection_factors(subject.model, structure) for structure in structures]
    return Compared(
        reference_energies=np.array([frame.energy for frame in frames]) / n_atoms,
        energies=np.array([frame.energy for frame in predicted]) / n_atoms,
        reference_forces=np.concatenate([frame.forces for frame in frames]),
        forces=np.concatenate([frame.forces for frame in predicted]),
        reference_virials=np.array([_virial(f) for f in frames]) / n_atoms[:, None, None],
        virials=np.array([_virial(f) for f in predicted]) / n_atoms[:, None, None],
        volumes=np.array([structure.volume for structure in structures]) / n_atoms,
        grades=np.concatenate([structure_grades(subject.active_set, one) for one in factors]),
    )


def frame_errors(one: Compared) -> FrameErrors:
    """Return the errors over all frames compared."""
    energy = 1000.0 * (one.energies - one.reference_energies)
    force = 1000.0 * (one.forces - one.reference_forces)
    virial = 1000.0 * (one.virials - one.reference_virials)
    pressure = np.trace(virial, axis1=1, axis2=2) / (3000.0 * one.volumes)
    return FrameErrors(
        n_frames=len(energy),
        n_atoms=len(force),
        energy_bias_meV_per_atom=float(energy.mean()),
        energy_rmse_meV_per_atom=_rms(energy),
        energy_max_meV_per_atom=float(np.abs(energy).max()),
        force_rmse_meV_per_A=_rms(force),
        force_max_meV_per_A=1000.0 * float(one.force_errors.max()),
        force_rms_eV_per_A=_rms(one.reference_forces),
        virial_rmse_meV_per_atom=_rms(virial),
        virial_max_meV_per_atom=float(np.abs(virial).max()),
        pressure_bias_GPa=float(pressure.mean()) * EV_PER_CUBIC_ANGSTROM_TO_GPA,
        gamma_max=float(one.grades.max()),
    )


def joined(parts: Sequence[Compared]) -> Compared:
    """Return several comparisons as one."""
    names = Compared.__dataclass_fields__
    return Compared(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def safety_check(unseen: Compared, trained: Compared, *, gamma_low: float) -> SafetyCheck:
    """Return what the grade said about unseen atoms.

    Parameters
    ----------
    unseen, trained
        Frames that were not trained on, and those that were.
    gamma_low
        Atoms up to this grade are called safe.
    """
    errors = unseen.force_errors
    unsafe = unseen.grades > gamma_low
    return SafetyCheck(
        table=grade_error_table(unseen.grades, errors, gamma_low=gamma_low),
        largest_error_unsafe=float(errors[unsafe].max()) if unsafe.any() else None,
        largest_training_error=float(trained.force_errors.max()),
    )


def by_key(groups: Mapping[str, Compared], key: int) -> dict[str, Compared]:
    """Return groups named ``frames/class/shape/sampler`` joined by one part of their names."""
    parts: dict[str, list[Compared]] = {}
    for name, one in groups.items():
        parts.setdefault(name.split("/")[key], []).append(one)
    return {name: joined(members) for name, members in parts.items()}


def _virial(frame: LabelledStructure) -> FloatArray:
    if frame.virial is None:
        raise LabelError("A label has no virial; pw.x and CP2K give one for every label.")
    return frame.virial


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


__all__ = [
    "Compared",
    "FrameErrors",
    "SafetyCheck",
    "by_key",
    "compared",
    "frame_errors",
    "joined",
    "safety_check",
]
