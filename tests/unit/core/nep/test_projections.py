"""B-projections as derivatives of the energy, and their own derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.nep.descriptors import descriptors
from nepal_flows.core.nep.evaluation import ENERGIES, FACTORS, FORCES, empty_jacobian, evaluate
from nepal_flows.core.nep.model import NepModel, Zbl, model_from_parameters
from nepal_flows.core.nep.potential import potential_arrays, predict
from nepal_flows.core.nep.projections import (
    dense_projections,
    projection_factors,
    projection_gradient,
    projections,
)
from nepal_flows.core.structure import Structure
from nepal_flows.errors import ModelError

Factory = Callable[..., Any]


@pytest.fixture
def model(random_model: Factory) -> NepModel:
    return random_model(elements=("O", "Si"), n_neurons=5, l_max=2, zbl=Zbl(1.0, 2.0))


@pytest.fixture
def structure(random_structure: Factory) -> Structure:
    return random_structure((8, 14), 5, edge=4.5)


def test_projection_is_the_slope_of_the_energy_in_the_network(
    model: NepModel, structure: Structure
) -> None:
    a = model.architecture
    types = a.types_of(structure.numbers)
    b = projections(model, structure)
    parameters = model.parameters()
    n_weights = a.n_neurons * a.n_descriptors
    step = 1e-5
    for t in range(2):
        for neuron in range(a.n_neurons):
            block = b[:, neuron * (a.n_descriptors + 2) : (neuron + 1) * (a.n_descriptors + 2)]
            in_file = [neuron * a.n_descriptors + d for d in range(a.n_descriptors)]
            in_file += [n_weights + neuron, n_weights + a.n_neurons + neuron]
            for column, place in enumerate(in_file):
                energies = []
                for sign in (1.0, -1.0):
                    changed = parameters.copy()
                    changed[t * a.n_projection + place] += sign * step
                    other = model_from_parameters(a, changed, model.q_scaler)
                    energies.append(predict(other, structure).atomic_energies)
                slope = (energies[0] - energies[1]) / (2 * step)
                expected = np.where(types == t, block[:, column], 0.0)
                np.testing.assert_allclose(slope, expected, atol=2e-9)


def test_factors_hold_scaled_descriptors_and_neurons(model: NepModel, structure: Structure) -> None:
    factors = projection_factors(model, structure)
    y = descriptors(model, structure) * model.q_scaler
    np.testing.assert_allclose(factors.y, y, rtol=1e-13)
    w0, b0, w1 = (array[factors.types] for array in (model.w0, model.b0, model.w1))
    t = np.tanh(np.einsum("ihd,id->ih", w0, y) - b0)
    np.testing.assert_allclose(factors.t, t, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(factors.v, w1 * (1 - t**2), rtol=1e-11, atol=1e-15)


def test_tanh_is_accurate_from_tiny_to_saturated_arguments(random_model: Factory) -> None:
    z = np.array([1e-12, -1e-7, 1e-3, -0.02, 0.3, -0.7, 1.0, 5.0, -18.0, 25.0, -400.0])
    model = random_model()
    model = NepModel(
        model.architecture, 0 * model.w0, -z[None], model.w1, 0.0, model.c_radial,
        model.c_angular, model.q_scaler,
    )  # fmt: skip
    atom = Structure(np.array([29]), np.zeros((1, 3)), np.eye(3) * 30.0)
    np.testing.assert_allclose(projection_factors(model, atom).t[0], np.tanh(z), rtol=4e-16)


def test_dense_rows_can_be_chosen(model: NepModel, structure: Structure) -> None:
    factors = projection_factors(model, structure)
    dense = dense_projections(factors)
    assert dense.shape == (structure.n_atoms, factors.n_projection)
    assert factors.n_projection == model.architecture.n_projection
    np.testing.assert_array_equal(dense_projections(factors, [3, 0]), dense[[3, 0]])
    np.testing.assert_array_equal(projections(model, structure), dense)


def test_gradient_of_a_functional_is_its_slope(model: NepModel, structure: Structure) -> None:
    rng = np.random.default_rng(8)
    weights = rng.normal(size=(structure.n_atoms, model.architecture.n_projection))
    weights[1] = 0.0
    found = projection_gradient(model, structure, weights)

    def value(positions: np.ndarray, cell: np.ndarray) -> float:
        b = projections(model, Structure(structure.numbers, positions, cell))
        return float((weights * b).sum())

    assert found.value == pytest.approx(value(structure.positions, structure.cell), rel=1e-12)
    step = 1e-4
    scale = np.abs(found.positions).max()
    for atom in range(structure.n_atoms):
        for axis in range(3):
            move = np.zeros_like(structure.positions)
            move[atom, axis] = step
            slope = value(structure.positions + move, structure.cell)
            slope -= value(structure.positions - move, structure.cell)
            slope /= 2 * step
            assert found.positions[atom, axis] == pytest.approx(slope, abs=1e-6 * scale)
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] = step
            up, down = np.eye(3) + strain, np.eye(3) - strain
            slope = value(structure.positions @ up, structure.cell @ up)
            slope -= value(structure.positions @ down, structure.cell @ down)
            assert found.strain[a, b] == pytest.approx(slope / (2 * step), abs=1e-5 * scale)


def test_weights_of_the_last_layer_give_the_forces(
    random_model: Factory, random_structure: Factory
) -> None:
    model, structure = random_model(), random_structure()
    a = model.architecture
    weights = np.zeros((structure.n_atoms, a.n_neurons, a.n_descriptors + 2))
    weights[:, :, -1] = model.w1[0]  # the energy is w1 . t - b1
    found = projection_gradient(model, structure, weights.reshape(structure.n_atoms, -1))
    expected = predict(model, structure)
    assert found.value == pytest.approx(expected.energy + structure.n_atoms * model.b1, rel=1e-12)
    np.testing.assert_allclose(found.positions, -expected.forces, atol=1e-11)
    np.testing.assert_allclose(found.strain, -expected.virial, atol=1e-11)


def test_weights_of_another_shape_are_refused(model: NepModel, structure: Structure) -> None:
    with pytest.raises(ModelError, match="`weights` has shape"):
        projection_gradient(model, structure, np.zeros((structure.n_atoms, 3)))


def test_one_pass_gives_forces_and_factors(model: NepModel, structure: Structure) -> None:
    a, n = model.architecture, structure.n_atoms
    neighbours = neighbour_list(structure, a.largest_cutoff + 0.5)
    energies, forces, virial = np.empty(n), np.zeros((n, 3)), np.zeros((3, 3))
    y, v, t = np.empty((n, a.n_descriptors)), np.empty((n, 5)), np.empty((n, 5))
    empty = np.empty((0, 0))
    evaluate(
        ENERGIES | FORCES | FACTORS, potential_arrays(model), a.types_of(structure.numbers),
        structure.positions, structure.cell, neighbours.offsets, neighbours.indices,
        neighbours.shift_index, neighbours.shifts, 0, n, empty, energies, y, v, t, empty,
        forces, virial, empty_jacobian(),
    )  # fmt: skip
    factors, expected = projection_factors(model, structure), predict(model, structure)
    np.testing.assert_allclose(forces, expected.forces, atol=1e-11)
    np.testing.assert_allclose(energies, expected.atomic_energies, rtol=1e-12)
    np.testing.assert_allclose(y, factors.y, rtol=1e-12)
    np.testing.assert_allclose(v, factors.v, rtol=1e-11)
    np.testing.assert_allclose(t, factors.t, rtol=1e-11)
