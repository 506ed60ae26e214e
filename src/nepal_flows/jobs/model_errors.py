"""Errors of a model on labelled frames, as they are stored."""

from collections.abc import Mapping, Sequence

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.training import model_errors
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
        Labelled frames, at least one.
    references
        Energy of every element that was subtracted before training, eV.
    """
    errors = model_errors(model, frames, references)
    virial = errors.total_virial_rmse
    return Errors(
        n_structures=len(frames),
        n_atoms=int(errors.n_atoms.sum()),
        energy_rmse_meV_per_atom=_TO_MEV * errors.energy_rmse,
        force_rmse_meV_per_A=_TO_MEV * errors.total_force_rmse,
        force_max_meV_per_A=_TO_MEV * errors.total_force_max,
        virial_rmse_meV_per_atom=None if virial is None else _TO_MEV * virial,
        reference_force_rms_meV_per_A=_TO_MEV * errors.reference_force_rms,
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


__all__ = ["errors_by_condition", "errors_of"]
