"""Errors of a model on labelled structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import Prediction, predict_many
from nepal_flows.core.nep.training.reference_energies import reference_energy
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import TrainingError
from nepal_flows.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class ModelErrors:
    """Errors of a model on a sequence of structures, unweighted.

    Attributes
    ----------
    n_atoms
        Atoms of every structure, shape (n,).
    energy_errors
        Predicted minus reference energy per atom, eV, shape (n,), before any offset is taken off.
    force_rmse, force_max
        Of every structure: root-mean-square over components and largest norm, eV/Å, shape (n,).
    virial_rmse
        Of every structure, over the six components per atom, eV; NaN where unknown.
    force_errors
        Norm of every atom's force error, eV/Å, shape (sum of n_atoms,).
    reference_force_rms
        Root-mean-square of the reference force components, eV/Å.
    """

    n_atoms: IntArray
    energy_errors: FloatArray
    force_rmse: FloatArray
    force_max: FloatArray
    virial_rmse: FloatArray
    force_errors: FloatArray
    reference_force_rms: float

    @property
    def energy_rmse(self) -> float:
        """Root-mean-square energy error after its mean is taken off, eV/atom."""
        return float(self.energy_errors.std())

    @property
    def total_force_rmse(self) -> float:
        """Root-mean-square force error over all components, eV/Å."""
        return float(np.sqrt(np.average(self.force_rmse**2, weights=self.n_atoms)))

    @property
    def total_force_max(self) -> float:
        """Largest norm of an atom's force error, eV/Å."""
        return float(self.force_max.max())

    @property
    def total_virial_rmse(self) -> float | None:
        """Root-mean-square virial error, eV/atom; None where no virial is known."""
        known = self.virial_rmse[~np.isnan(self.virial_rmse)]
        return float(np.sqrt(np.mean(known**2))) if len(known) else None


def model_errors(
    model: NepModel,
    data: Sequence[LabelledStructure],
    reference_energies: Mapping[str, float],
    *,
    predictions: Sequence[Prediction] | None = None,
    n_threads: int = 1,
) -> ModelErrors:
    """Return the errors of a model on labelled structures, in float64.

    Parameters
    ----------
    model
        The potential.
    data
        Labelled structures, at least one.
    reference_energies
        Symbol to eV per atom: what was taken off before the model was trained.
    predictions
        The model's, in the order of the data, if they exist already.
    n_threads
        Threads to predict with.

    Raises
    ------
    TrainingError
        If there is no structure, or an element has no reference energy.
    """
    if not data:
        raise TrainingError("There is no structure to compare the model with.")
    if predictions is None:
        structures = [frame.structure for frame in data]
        predictions = predict_many(model, structures, n_threads=n_threads)
    energy, rmse, largest, virials, norms = [], [], [], [], []
    for frame, prediction in zip(data, predictions, strict=True):
        reference = frame.energy - reference_energy(frame.structure, reference_energies)
        energy.append((prediction.energy - reference) / frame.n_atoms)
        error = prediction.forces - frame.forces
        norm = np.linalg.norm(error, axis=1)
        rmse.append(np.sqrt(np.mean(error**2)))
        largest.append(norm.max())
        norms.append(norm)
        virials.append(np.nan)
        if frame.virial is not None:
            difference = (prediction.virial - frame.virial)[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]
            virials[-1] = np.sqrt(np.mean((difference / frame.n_atoms) ** 2))
    forces = np.concatenate([frame.forces.ravel() for frame in data])
    return ModelErrors(
        n_atoms=np.array([frame.n_atoms for frame in data]),
        energy_errors=np.array(energy),
        force_rmse=np.array(rmse),
        force_max=np.array(largest),
        virial_rmse=np.array(virials),
        force_errors=np.concatenate(norms),
        reference_force_rms=float(np.sqrt(np.mean(forces**2))),
    )


__all__ = ["ModelErrors", "model_errors"]
