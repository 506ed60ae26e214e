"""What is fitted: energies, forces and virials of the data, with their weights, as flat arrays."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.lanes import aligned_zeros
from nepal_flows.core.nep.training.prediction import VIRIAL_COMPONENTS
from nepal_flows.core.nep.training.reference_energies import reference_energy
from nepal_flows.core.nep.training.settings import TrainingSettings
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.typing import AnyArray, FloatArray


class Targets(NamedTuple):
    """References of a sequence of structures.

    Attributes
    ----------
    atom_start
        First atom of every structure, shape (n + 1,).
    energies
        Without reference energies and prior, eV, shape (n,).
    forces
        Without the prior, eV/Å; rows x, y, z per structure, flat, shape (3 n_atoms,).
    virials
        Without the prior, eV, flat, six components per structure; 0 where unknown.
    has_virial
        Shape (n,).
    weights
        Squared weights of the structures, shape (n,).
    force_weights
        Squared weights of the atoms' force errors, shape (n_atoms,).
    """

    atom_start: AnyArray
    energies: FloatArray
    forces: AnyArray
    virials: AnyArray
    has_virial: AnyArray
    weights: FloatArray
    force_weights: AnyArray


class Prior(NamedTuple):
    """What is added to the network analytically, for one structure."""

    energy: float
    forces: FloatArray
    virial: FloatArray


def build_targets(
    data: Sequence[LabelledStructure],
    architecture: NepArchitecture,
    settings: TrainingSettings,
    *,
    reference_energies: Mapping[str, float],
    priors: Sequence[Prior] | None = None,
) -> Targets:
    """Return what is left to fit when reference energies and the prior are taken off.

    Parameters
    ----------
    data
        Labelled structures.
    architecture, settings
        Give types and weights; ``settings.precision`` that of forces and virials.
    reference_energies
        Symbol to eV.
    priors
        One per structure, or None.
    """
    dtype = np.dtype(settings.precision).type
    counts = np.array([frame.n_atoms for frame in data], dtype=np.int64)
    atom_start = np.concatenate([[0], np.cumsum(counts)])
    forces = aligned_zeros(3 * int(atom_start[-1]), dtype)
    force_weights = aligned_zeros(int(atom_start[-1]), dtype)
    energies = np.empty(len(data))
    virials = np.zeros((len(data), 6), dtype=dtype)
    type_weights = np.array(settings.type_weights or [1.0] * architecture.n_types)
    for n, frame in enumerate(data):
        first, last = atom_start[n], atom_start[n + 1]
        energy, force, virial = frame.energy, frame.forces, frame.virial
        weights = type_weights[architecture.types_of(frame.structure.numbers)] ** 2
        if settings.force_delta > 0.0:
            size = np.linalg.norm(force, axis=1)
            weights = weights * settings.force_delta / (settings.force_delta + size)
        if priors is not None:
            energy = energy - priors[n].energy
            force = force - priors[n].forces
            virial = None if virial is None else virial - priors[n].virial
        energies[n] = energy - reference_energy(frame.structure, reference_energies)
        forces[3 * first : 3 * last] = force.T.ravel()
        force_weights[first:last] = weights * frame.weight**2
        if virial is not None:
            symmetric = 0.5 * (virial + virial.T)
            virials[n] = [symmetric[a, b] for a, b in VIRIAL_COMPONENTS]
    return Targets(
        atom_start=atom_start,
        energies=energies,
        forces=forces,
        virials=virials.ravel(),
        has_virial=np.array([frame.virial is not None for frame in data]),
        weights=np.array([frame.weight for frame in data]) ** 2,
        force_weights=force_weights,
    )


__all__ = ["Prior", "Targets", "build_targets"]
