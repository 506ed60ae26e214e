"""Frames labelled by a random NEP: data that a NEP can fit exactly."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.structure import LabelledStructure, Structure

Label = Callable[..., LabelledStructure]


def labelled_by(
    model: NepModel, structure: Structure, *, noise: float = 0.0, virial: bool = True
) -> LabelledStructure:
    """Return the structure with a model's labels, and errors on them if asked for."""
    prediction = predict(model, structure)
    rng = np.random.default_rng(structure.n_atoms)
    strain = noise * rng.normal(size=(3, 3))
    return LabelledStructure(
        structure,
        prediction.energy + noise * float(rng.normal()),
        prediction.forces + noise * rng.normal(size=(structure.n_atoms, 3)),
        prediction.virial + strain + strain.T if virial else None,
    )


@pytest.fixture(name="labelled_by")
def _labelled_by() -> Label:
    return labelled_by


@pytest.fixture
def copper(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> Sequence[LabelledStructure]:
    """Return twelve frames of rattled copper of a teacher."""
    teacher = random_model(
        3,
        radial_cutoffs=(4.5,),
        angular_cutoffs=(3.5,),
        n_max_radial=2,
        n_max_angular=1,
        basis_size_radial=4,
        basis_size_angular=4,
        l_max=2,
        has_q_222=False,
        n_neurons=3,
    )
    frames = [random_structure(n_atoms=8, seed=seed, edge=5.2) for seed in range(12)]
    return [labelled_by(teacher, frame) for frame in frames]
