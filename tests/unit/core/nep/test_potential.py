"""Energies, forces and virials: against calorine, finite differences and invariances."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from nepal_flows.core.neighbour_search import build_neighbours
from nepal_flows.core.neighbours import NeighbourList, neighbour_list
from nepal_flows.core.nep.evaluation import ENERGIES, FORCES, empty_jacobian, evaluate
from nepal_flows.core.nep.model import NepModel, Zbl
from nepal_flows.core.nep.potential import (
    energy_forces_virial,
    potential_arrays,
    predict,
    predict_many,
    sorted_by_type,
)
from nepal_flows.core.structure import Structure
from nepal_flows.errors import ModelError, StructureError

Factory = Callable[..., Any]
FLEXIBLE = np.array(
    [
        [0.4, 1.6, 0.2, 3.0, 0.5, 0.9, 0.3, 0.4, 0.03, 0.2],
        [0.6, 1.9, 0.1, 2.7, 0.4, 1.1, 0.2, 0.5, 0.05, 0.3],
        [0.9, 2.4, 0.3, 3.3, 0.6, 0.8, 0.1, 0.3, 0.02, 0.1],
    ]
)
PAIR = {"elements": ("O", "Si")}
MODELS: dict[str, dict[str, Any]] = {
    "one element": {},
    "no angular part": {"l_max": 0, "has_q_222": False},
    "l_max 1": {"l_max": 1, "has_q_222": False},
    "l_max 2, five-body": {"l_max": 2, "has_q_1111": True},
    "l_max 8, nine functions": {"l_max": 8, "n_max_angular": 8, "basis_size_angular": 12},
    "one function, one basis function": {
        "n_max_radial": 0, "n_max_angular": 0, "basis_size_radial": 0, "basis_size_angular": 0,
        "n_neurons": 1,
    },
    "largest sizes": {
        "n_max_radial": 12, "basis_size_radial": 16, "n_max_angular": 8, "basis_size_angular": 12,
        "l_max": 5, "has_q_1111": True, "n_neurons": 120,
    },
    "equal cutoffs": {"radial_cutoffs": (5.0,), "angular_cutoffs": (5.0,)},
    "two elements": PAIR,
    "cutoffs by type": PAIR | {"radial_cutoffs": (5.0, 6.0), "angular_cutoffs": (3.5, 5.5)},
    "three elements, two present": {"elements": ("Si", "H", "O"), "has_q_1111": True},
    "universal ZBL": PAIR | {"zbl": Zbl(1.0, 2.2)},
    "typewise ZBL": PAIR | {"zbl": Zbl(1.25, 2.5, 0.7)},
    "flexible ZBL": PAIR | {"zbl": Zbl(0.0, 0.0, parameters=FLEXIBLE)},
}  # fmt: skip


def of_model(changes: dict[str, Any]) -> tuple[int, ...]:
    return (8, 14) if "elements" in changes else (29,)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", MODELS)
def test_prediction_equals_that_of_calorine(
    name: str, reference: Factory, random_model: Factory, random_structure: Factory
) -> None:
    structure = random_structure(of_model(MODELS[name]))
    model, expected = reference(random_model(**MODELS[name]), structure)
    found = predict(model, structure)
    assert relative(found.atomic_energies, expected.energies) < 1e-11
    assert relative(found.forces, expected.forces) < 1e-10
    assert relative(found.virial, expected.virial) < 1e-10
    assert found.energy == pytest.approx(expected.energies.sum(), rel=1e-11)


@pytest.mark.parametrize("n_atoms", [1, 2, 3])
def test_cells_smaller_than_the_cutoff_equal_calorine(
    n_atoms: int, reference: Factory, random_model: Factory, random_structure: Factory
) -> None:
    structure = random_structure((8, 14), n_atoms, edge=2.3 * n_atoms ** (1 / 3))
    model, expected = reference(random_model(elements=("O", "Si")), structure)
    found = predict(model, structure)
    assert relative(found.atomic_energies, expected.energies) < 1e-11
    assert np.abs(found.forces - expected.forces).max() < 1e-10
    assert relative(found.virial, expected.virial) < 1e-10


def test_open_directions_equal_a_box_of_vacuum(
    reference: Factory, random_model: Factory, random_structure: Factory
) -> None:
    inside = random_structure(n_atoms=10)
    cell = inside.cell + np.diag([30.0, 0.0, 30.0])
    model, expected = reference(random_model(), Structure(inside.numbers, inside.positions, cell))
    wire = Structure(inside.numbers, inside.positions, cell, (False, True, False))
    np.testing.assert_allclose(predict(model, wire).forces, expected.forces, atol=1e-11)


def test_lonely_atom_has_the_energy_of_an_empty_environment(random_model: Factory) -> None:
    model: NepModel = random_model()
    atom = Structure(np.array([29]), np.zeros((1, 3)), np.eye(3) * 30.0)
    found = predict(model, atom)
    expected = (model.w1[0] * np.tanh(-model.b0[0])).sum() - model.b1
    assert found.energy == pytest.approx(expected, rel=1e-14)
    assert not found.forces.any()
    assert not found.virial.any()


@pytest.mark.parametrize("name", ["one element", "cutoffs by type", "flexible ZBL", "typewise ZBL"])
def test_forces_and_virial_are_slopes_of_the_energy(
    name: str, random_model: Factory, random_structure: Factory
) -> None:
    model = random_model(1, **MODELS[name])
    structure = random_structure(of_model(MODELS[name]), 6, edge=4.5, seed=2)
    found = predict(model, structure)

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        return predict(model, Structure(structure.numbers, positions, cell)).energy

    step = 1e-4
    for atom, axis in [(0, 0), (3, 1), (5, 2)]:
        move = np.zeros_like(structure.positions)
        move[atom, axis] = step
        slope = energy(structure.positions + move, structure.cell)
        slope -= energy(structure.positions - move, structure.cell)
        assert found.forces[atom, axis] == pytest.approx(-slope / (2 * step), rel=2e-6, abs=2e-6)
    for a, b in [(0, 0), (1, 2), (2, 1)]:
        strain = np.zeros((3, 3))
        strain[a, b] = step
        up, down = np.eye(3) + strain, np.eye(3) - strain
        slope = energy(structure.positions @ up, structure.cell @ up)
        slope -= energy(structure.positions @ down, structure.cell @ down)
        assert found.virial[a, b] == pytest.approx(-slope / (2 * step), rel=2e-6, abs=2e-6)


def test_virial_is_positive_under_compression(random_model: Factory) -> None:
    model = random_model(zbl=Zbl(1.0, 2.4))
    crystal = Structure(np.array([29]), np.zeros((1, 3)), np.eye(3) * 1.2)
    assert np.diag(predict(model, crystal).virial).min() > 0.0


def test_rotation_turns_forces_and_virial(random_model: Factory, random_structure: Factory) -> None:
    model, structure = random_model(l_max=8), random_structure()
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    turned = Structure(structure.numbers, structure.positions @ rotation, structure.cell @ rotation)
    before, after = predict(model, structure), predict(model, turned)
    np.testing.assert_allclose(after.atomic_energies, before.atomic_energies, rtol=1e-10)
    np.testing.assert_allclose(after.forces, before.forces @ rotation, atol=1e-9)
    np.testing.assert_allclose(after.virial, rotation.T @ before.virial @ rotation, atol=1e-8)


def test_translation_changes_nothing(random_model: Factory, random_structure: Factory) -> None:
    model, structure = random_model(), random_structure()
    shift = np.array([17.3, -8.1, 100.0])
    moved = Structure(structure.numbers, structure.positions + shift, structure.cell)
    np.testing.assert_allclose(
        predict(model, moved).forces, predict(model, structure).forces, atol=1e-10
    )


def test_forces_and_net_torque_free_virial_balance(
    random_model: Factory, random_structure: Factory
) -> None:
    found = predict(random_model(), random_structure())
    np.testing.assert_allclose(found.forces.sum(axis=0), 0.0, atol=1e-11)
    np.testing.assert_array_equal(found.virial, found.virial.T)


def test_permutation_permutes(random_model: Factory, random_structure: Factory) -> None:
    model, structure = random_model(**PAIR), random_structure((8, 14))
    order = np.random.default_rng(1).permutation(structure.n_atoms)
    shuffled = Structure(structure.numbers[order], structure.positions[order], structure.cell)
    before, after = predict(model, structure), predict(model, shuffled)
    np.testing.assert_allclose(after.forces, before.forces[order], atol=1e-11)
    np.testing.assert_allclose(after.atomic_energies, before.atomic_energies[order], rtol=1e-12)


def test_supercell_repeats_the_cell(random_model: Factory, random_structure: Factory) -> None:
    model, cell = random_model(), random_structure(n_atoms=3, edge=3.4)
    shifts = np.array(list(np.ndindex(2, 3, 1))) @ cell.cell
    supercell = Structure(
        np.tile(cell.numbers, 6),
        (cell.positions[None] + shifts[:, None]).reshape(-1, 3),
        cell.cell * [[2], [3], [1]],
    )
    small, large = predict(model, cell), predict(model, supercell)
    np.testing.assert_allclose(large.forces, np.tile(small.forces, (6, 1)), atol=1e-11)
    np.testing.assert_allclose(large.virial, 6 * small.virial, rtol=1e-11, atol=1e-11)


def test_energy_is_smooth_where_a_neighbour_leaves(random_model: Factory) -> None:
    model = random_model()

    def pair(distance: float) -> float:
        positions = np.array([[0.0, 0, 0], [distance, 0, 0]])
        return predict(model, Structure(np.array([29, 29]), positions, np.eye(3) * 40.0)).energy

    for cutoff in (4.5, 5.5):
        inside, at, outside = pair(cutoff - 1e-4), pair(cutoff), pair(cutoff + 1e-4)
        assert abs(inside - 2 * at + outside) < 1e-7
        assert inside != outside


@pytest.mark.parametrize("elements", [("Cu",), ("O", "Si", "H")])
def test_order_of_the_list_and_a_skin_do_not_matter(
    elements: tuple[str, ...], random_model: Factory, random_structure: Factory
) -> None:
    model = random_model(elements=elements)
    structure = random_structure((29,) if elements == ("Cu",) else (1, 8, 14))
    expected = predict(model, structure)
    exact = neighbour_list(structure, 5.5)
    wide = neighbour_list(structure, 7.0)
    rng = np.random.default_rng(0)
    orders = [
        first + rng.permutation(last - first)
        for first, last in zip(wide.offsets[:-1], wide.offsets[1:], strict=True)
    ]
    order = np.concatenate(orders)
    shuffled = NeighbourList(
        wide.offsets, wide.indices[order], wide.shift_index[order], wide.shifts, 7.0
    )
    for neighbours in (exact, wide, shuffled):
        found = predict(model, structure, neighbours=neighbours)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-11)
        np.testing.assert_allclose(found.virial, expected.virial, atol=1e-10)
    # The kernel itself takes an unsorted list too.
    forces, virial, energies = np.zeros((14, 3)), np.zeros((3, 3)), np.empty(14)
    empty = np.empty((0, 0))
    evaluate(
        ENERGIES | FORCES, potential_arrays(model),
        model.architecture.types_of(structure.numbers), structure.positions, structure.cell,
        shuffled.offsets, shuffled.indices, shuffled.shift_index, shuffled.shifts, 0, 14,
        empty, energies, empty, empty, empty, empty, forces, virial, empty_jacobian(),
    )  # fmt: skip
    np.testing.assert_allclose(forces, expected.forces, atol=1e-11)
    np.testing.assert_allclose(energies, expected.atomic_energies, rtol=1e-12)


def test_sorting_by_type_keeps_every_pair(random_structure: Factory) -> None:
    structure = random_structure((8, 14))
    types = (structure.numbers == 14).astype(np.int64)
    n = neighbour_list(structure, 4.0)
    indices, shift_index = sorted_by_type(types, 2, n.offsets, n.indices, n.shift_index)
    for i in range(structure.n_atoms):
        here = slice(n.offsets[i], n.offsets[i + 1])
        assert (np.diff(types[indices[here]]) >= 0).all()
        ours = sorted(zip(indices[here], shift_index[here], strict=True))
        assert ours == sorted(zip(n.indices[here], n.shift_index[here], strict=True))
    again, _ = sorted_by_type(types, 2, n.offsets, indices, shift_index)
    assert again is indices or np.shares_memory(again, indices)


def test_threads_agree_and_repeat(random_model: Factory, random_structure: Factory) -> None:
    model, structure = random_model(), random_structure(n_atoms=100, edge=11.0)
    one = predict(model, structure)
    for n_threads in (2, 3):
        first = predict(model, structure, n_threads=n_threads)
        again = predict(model, structure, n_threads=n_threads)
        np.testing.assert_array_equal(first.forces, again.forces)
        np.testing.assert_array_equal(first.virial, again.virial)
        np.testing.assert_allclose(first.forces, one.forces, atol=1e-12)
        np.testing.assert_array_equal(first.atomic_energies, one.atomic_energies)


def test_many_structures_do_not_depend_on_threads(
    random_model: Factory, random_structure: Factory
) -> None:
    model = random_model()
    structures = [random_structure(n_atoms=n, edge=4.0, seed=n) for n in (1, 2, 4, 5, 3)]
    one, two = predict_many(model, structures), predict_many(model, structures, n_threads=2)
    for a, b, structure in zip(one, two, structures, strict=True):
        assert a.forces.shape == (structure.n_atoms, 3)
        np.testing.assert_array_equal(a.forces, b.forces)
        np.testing.assert_array_equal(a.virial, b.virial)


def test_unknown_element_is_refused(random_model: Factory, random_structure: Factory) -> None:
    with pytest.raises(ModelError, match="Cu, but the structure holds O"):
        predict(random_model(), random_structure((8,), 3))


def test_list_of_other_atoms_or_too_short_is_refused(
    random_model: Factory, random_structure: Factory
) -> None:
    model, structure = random_model(), random_structure()
    with pytest.raises(StructureError, match="14 atoms up to 5"):
        predict(model, structure, neighbours=neighbour_list(structure, 5.0))
    other = neighbour_list(random_structure(n_atoms=3), 6.0)
    with pytest.raises(StructureError, match="3 atoms"):
        predict(model, structure, neighbours=other)


def test_invariant_without_its_harmonics_is_refused(random_model: Factory) -> None:
    with pytest.raises(ModelError, match="four-body"):
        potential_arrays(random_model(l_max=1))


@numba.njit
def _list_and_evaluate(arrays, types, positions, cell, cutoff, energies, forces, virial):  # type: ignore[no-untyped-def]
    offsets, indices, shift_index, shifts = build_neighbours(
        positions, cell, np.ones(3, np.bool_), cutoff
    )
    energy_forces_virial(
        arrays, types, positions, cell, offsets, indices, shift_index, shifts,
        energies, forces, virial,
    )  # fmt: skip


def test_kernels_are_callable_from_compiled_code(
    random_model: Factory, random_structure: Factory
) -> None:
    model, structure = random_model(), random_structure()
    energies, forces, virial = np.empty(14), np.empty((14, 3)), np.empty((3, 3))
    _list_and_evaluate(
        potential_arrays(model), np.zeros(14, np.int64), structure.positions, structure.cell, 6.0,
        energies, forces, virial,
    )  # fmt: skip
    expected = predict(model, structure)
    np.testing.assert_allclose(forces, expected.forces, atol=1e-12)
    np.testing.assert_allclose(energies, expected.atomic_energies, rtol=1e-13)
    np.testing.assert_allclose(virial, expected.virial, atol=1e-11)
