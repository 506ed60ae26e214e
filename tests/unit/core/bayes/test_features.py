"""Features against differences of the engine, the last-layer identity, and what must not matter."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nepal_flows.core.bayes.evidence import network_parameters
from nepal_flows.core.bayes.features import frame_features, n_features
from nepal_flows.core.bayes.gram import VOIGT
from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projections
from nepal_flows.core.structure import Structure
from nepal_flows.errors import ModelError, StructureError

Factory = Callable[..., Any]


def with_parameters(model: NepModel, theta: np.ndarray) -> NepModel:
    """Return the model with other network parameters, in the order of the columns."""
    a = model.architecture
    blocks = theta[:-1].reshape(a.n_types, a.n_neurons, a.n_descriptors + 2)
    return NepModel(
        a, blocks[:, :, :-2], blocks[:, :, -2], blocks[:, :, -1], float(theta[-1]),
        model.c_radial, model.c_angular, model.q_scaler,
    )  # fmt: skip


SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"elements": ("O", "Si"), "has_q_1111": True, "n_neurons": 8},
    {"l_max": 0, "has_q_222": False, "n_neurons": 3},
    {"l_max": 1, "has_q_222": False, "n_max_radial": 8, "n_max_angular": 8, "n_neurons": 1},
    {"l_max": 8, "radial_cutoffs": (6.5,), "angular_cutoffs": (3.5,), "n_neurons": 4},
)


@pytest.mark.parametrize("changes", SHAPES)
def test_features_are_slopes_of_energies_forces_and_virial(
    changes: dict[str, Any], random_model: Factory, random_structure: Factory
) -> None:
    model = random_model(**changes)
    numbers = tuple(model.architecture.atomic_numbers)
    structure = random_structure(numbers, 6, edge=4.8)
    features = frame_features(model, structure)
    theta = network_parameters(model)
    assert features.forces.shape == (18, n_features(model.architecture))
    rng = np.random.default_rng(0)
    step = 3e-6
    for column in [*rng.choice(len(theta), min(25, len(theta)), replace=False), len(theta) - 1]:
        found = []
        for sign in (1.0, -1.0):
            changed = theta.copy()
            changed[column] += sign * step
            found.append(predict(with_parameters(model, changed), structure))
        plus, minus = found
        for slope, expected in (
            (plus.atomic_energies - minus.atomic_energies, features.atoms),
            ((plus.forces - minus.forces).ravel(), features.forces),
            ((plus.virial - minus.virial)[VOIGT], features.virial),
        ):
            scale = 1.0 + np.abs(expected).max()
            np.testing.assert_allclose(
                slope / (2 * step), expected[:, column], atol=3e-8 * scale, rtol=0
            )


def test_energy_features_are_projections(random_model: Factory, random_structure: Factory) -> None:
    model = random_model(elements=("O", "Si"))
    structure = random_structure((8, 14), 9)
    b = projections(model, structure)
    features = frame_features(model, structure)
    d = b.shape[1]
    types = model.architecture.types_of(structure.numbers)
    for atom, kind in enumerate(types):
        own = features.atoms[atom, kind * d : (kind + 1) * d]
        np.testing.assert_array_equal(own, b[atom])
        assert np.count_nonzero(features.atoms[atom, :-1]) == np.count_nonzero(b[atom])
    np.testing.assert_array_equal(features.atoms[:, -1], -1.0)


def test_network_of_one_neuron_returns_its_last_layer_feature(
    random_model: Factory, random_structure: Factory
) -> None:
    model = random_model(n_neurons=6)
    structure = random_structure((29,), 10)
    features = frame_features(model, structure, layer="last")
    for neuron in range(6):
        w1 = np.zeros((1, 6))
        w1[0, neuron] = 1.0
        single = NepModel(
            model.architecture, model.w0, model.b0, w1, 0.0, model.c_radial, model.c_angular,
            model.q_scaler,
        )  # fmt: skip
        expected = predict(single, structure)
        np.testing.assert_allclose(features.atoms[:, neuron], expected.atomic_energies, atol=1e-13)
        np.testing.assert_allclose(features.forces[:, neuron], expected.forces.ravel(), atol=1e-11)
        np.testing.assert_allclose(features.virial[:, neuron], expected.virial[VOIGT], atol=1e-11)


def test_last_layer_is_a_part_of_all(random_model: Factory, random_structure: Factory) -> None:
    model = random_model(elements=("O", "Si"), n_neurons=5)
    structure = random_structure((8, 14), 7)
    everything = frame_features(model, structure)
    last = frame_features(model, structure, layer="last")
    width = model.architecture.n_descriptors + 2
    for name in ("atoms", "forces", "virial"):
        all_rows, rows = getattr(everything, name), getattr(last, name)
        np.testing.assert_allclose(rows[:, :-1], all_rows[:, width - 1 : -1 : width], rtol=1e-13)
        np.testing.assert_array_equal(rows[:, -1], all_rows[:, -1])


def test_force_features_sum_to_zero(random_model: Factory, random_structure: Factory) -> None:
    features = frame_features(random_model(), random_structure())
    total = features.forces.reshape(-1, 3, features.forces.shape[1]).sum(axis=0)
    assert np.abs(total).max() < 1e-11 * (1.0 + np.abs(features.forces).max())


def test_a_list_with_a_skin_changes_nothing(
    random_model: Factory, random_structure: Factory
) -> None:
    model, structure = random_model(), random_structure()
    near = neighbour_list(structure, model.architecture.largest_cutoff + 1.0)
    bare, skinned = (
        frame_features(model, structure),
        frame_features(model, structure, neighbours=near),
    )
    np.testing.assert_allclose(skinned.forces, bare.forces, atol=1e-11)
    np.testing.assert_allclose(skinned.virial, bare.virial, atol=1e-10)


def test_a_lonely_atom_has_no_force_features(random_model: Factory) -> None:
    structure = Structure(np.array([29]), np.zeros((1, 3)), np.eye(3) * 30.0)
    features = frame_features(random_model(), structure)
    assert not features.forces.any()
    assert not features.virial.any()
    assert features.atoms.any()


def test_what_does_not_fit_is_refused(random_model: Factory, random_structure: Factory) -> None:
    model, structure = random_model(), random_structure()
    with pytest.raises(ModelError, match="Au"):
        frame_features(model, random_structure((79,)))
    with pytest.raises(StructureError, match="reaches"):
        frame_features(model, structure, neighbours=neighbour_list(structure, 3.0))
