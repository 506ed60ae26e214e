"""Errors of a model on labelled frames, all together and condition by condition."""

from collections.abc import Mapping, Sequence

import numpy as np

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import Prediction, predict_many
from nepal_flows.core.nep.training import reference_energy
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.schemas import Errors

_TO_MEV = 1000.0


def errors_of(
    model: NepModel, frames: Sequence[LabelledStructure], references: Mapping[str, float]
) -> Errors:
    """Return the errors of a model on frames.

    Parameters
    ----------
    model
        The model; it predicts energies without the references.
    frames
        Labelled frames.
    references
        Energy of every element that was subtracted before training, eV.
    """
    return errors_from(predict_many(model, [f.structure for f in frames]), frames, references)


def errors_from(
    predictions: Sequence[Prediction],
    frames: Sequence[LabelledStructure],
    references: Mapping[str, float],
) -> Errors:
    """Return the errors of predictions, one per frame; see :func:`errors_of`."""
    if not frames:
        return Errors(n_structures=0, n_atoms=0)
    n_atoms = np.array([frame.n_atoms for frame in frames])
    energies = np.array(
        [
            prediction.energy + reference_energy(frame.structure, references) - frame.energy
            for prediction, frame in zip(predictions, frames, strict=True)
        ]
    )
    per_atom = energies / n_atoms
    per_atom -= per_atom.mean() if len(frames) > 1 else 0.0
    forces = np.concatenate(
        [p.forces - frame.forces for p, frame in zip(predictions, frames, strict=True)]
    )
    virials = [
        (prediction.virial - frame.virial) / frame.n_atoms
        for prediction, frame in zip(predictions, frames, strict=True)
        if frame.virial is not None
    ]
    reference = np.concatenate([frame.forces for frame in frames])
    return Errors(
        n_structures=len(frames),
        n_atoms=int(n_atoms.sum()),
        energy_rmse_meV_per_atom=_TO_MEV * _rms(per_atom),
        force_rmse_meV_per_A=_TO_MEV * _rms(forces),
        force_max_meV_per_A=_TO_MEV * float(np.linalg.norm(forces, axis=1).max()),
        virial_rmse_meV_per_atom=_TO_MEV * _rms(np.array(virials)) if virials else None,
        reference_force_rms_meV_per_A=_TO_MEV * _rms(reference),
    )


def errors_by_condition(
    model: NepModel,
    frames: Sequence[LabelledStructure],
    conditions: Sequence[str],
    references: Mapping[str, float],
) -> dict[str, Errors]:
    """Return the errors of the frames of every condition."""
    grouped: dict[str, list[LabelledStructure]] = {}
    for frame, condition in zip(frames, conditions, strict=True):
        grouped.setdefault(condition, []).append(frame)
    return {name: errors_of(model, group, references) for name, group in sorted(grouped.items())}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


__all__ = ["errors_by_condition", "errors_from", "errors_of"]
