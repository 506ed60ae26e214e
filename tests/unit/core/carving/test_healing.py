"""The objective of healing: its exact gradient, its limits, its invariances."""

import dataclasses

import numpy as np
import pytest

from nepal_flows.core.carving.boxes import centred_box
from nepal_flows.core.carving.distances import pair_distances
from nepal_flows.core.carving.fragments import cut_fragment
from nepal_flows.core.carving.healing import (
    HealingOptions,
    _Shape,
    energy_objective,
    grade_objective,
    smooth_grades,
    wall_energy,
)
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure


@pytest.fixture
def alloy(make_fcc) -> Structure:
    return make_fcc((2, 2, 2), rattle=0.25, seed=9, numbers=(29, 79))


@pytest.mark.parametrize("power", [6, 12])
def test_smooth_grade_bounds_the_grade_and_approaches_it(two_element_case, alloy, power) -> None:
    model, active_set = two_element_case
    factors = projection_factors(model, alloy)
    grades = structure_grades(active_set, factors)
    smooth = smooth_grades(active_set.inverses, factors, power)
    d = active_set.n_projection
    assert (smooth >= grades * (1.0 - 1e-12)).all()
    assert (smooth <= grades * d ** (1.0 / power)).all()


@pytest.mark.parametrize("power", [6, 12])
def test_gradient_is_that_of_central_differences(two_element_case, alloy, power) -> None:
    model, active_set = two_element_case
    smooth = smooth_grades(active_set.inverses, projection_factors(model, alloy), power)
    targets = np.maximum(1.0, np.where(np.arange(len(smooth)) % 3, 0.7, 1.5) * smooth)
    objective = grade_objective(model, active_set.inverses, targets, power=power)
    found = objective(alloy)
    step = 1e-5
    for atom, axis in [(0, 0), (7, 1), (19, 2), (30, 0)]:
        values = []
        for sign in (1.0, -1.0):
            positions = alloy.positions.copy()
            positions[atom, axis] += sign * step
            values.append(objective(dataclasses.replace(alloy, positions=positions)).value)
        slope = (values[0] - values[1]) / (2.0 * step)
        assert found.positions[atom, axis] == pytest.approx(slope, rel=2e-6, abs=1e-7)
    for a, b in [(0, 0), (1, 2)]:
        values = []
        for sign in (1.0, -1.0):
            strain = np.eye(3)
            strain[a, b] += sign * step
            moved = Structure(alloy.numbers, alloy.positions @ strain, alloy.cell @ strain)
            values.append(objective(moved).value)
        slope = (values[0] - values[1]) / (2.0 * step)
        assert found.strain[a, b] == pytest.approx(slope, rel=2e-6, abs=1e-6)


def test_objective_does_not_change_with_rotation_translation_or_order(
    two_element_case, alloy
) -> None:
    model, active_set = two_element_case
    rng = np.random.default_rng(1)
    targets = rng.uniform(0.5, 2.0, alloy.n_atoms)
    reference = grade_objective(model, active_set.inverses, targets)(alloy)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    order = rng.permutation(alloy.n_atoms)
    moved = Structure(
        alloy.numbers[order],
        ((alloy.positions + np.array([0.3, -7.0, 2.0])) @ rotation)[order],
        alloy.cell @ rotation,
    )
    other = grade_objective(model, active_set.inverses, targets[order])(moved)
    assert other.value == pytest.approx(reference.value, rel=1e-9)
    np.testing.assert_allclose(
        other.positions, (reference.positions @ rotation)[order], rtol=1e-6, atol=1e-8
    )


def test_objective_vanishes_where_every_atom_is_far_below_its_target(
    two_element_case, alloy
) -> None:
    model, active_set = two_element_case
    objective = grade_objective(model, active_set.inverses, np.full(alloy.n_atoms, 1e6))
    found = objective(alloy)
    assert found.value < 1e-12
    assert not found.positions.any()


def test_energy_objective_is_the_energy_and_its_gradient(two_element_case, alloy) -> None:
    model, _ = two_element_case
    objective = energy_objective(model)
    found = objective(alloy)
    step = 1e-5
    positions = alloy.positions.copy()
    positions[4, 1] += step
    up = objective(dataclasses.replace(alloy, positions=positions)).value
    positions[4, 1] -= 2.0 * step
    down = objective(dataclasses.replace(alloy, positions=positions)).value
    assert found.positions[4, 1] == pytest.approx((up - down) / (2.0 * step), rel=1e-6, abs=1e-8)


@pytest.fixture
def cut(void_parent):
    """A fragment with atoms inside its walls, in a box that is not quite its parent's lattice."""
    region = AtomBins(void_parent).region(680, 14.0)
    distances = pair_distances(void_parent)
    return cut_fragment(region, centred_box(region, 12.3), 4.0), distances


def test_walls_have_the_gradient_of_central_differences(cut) -> None:
    fragment, distances = cut
    options = HealingOptions(nearest=1.02)
    found = wall_energy(fragment, distances, options)
    assert found.value > 0.0
    step = 1e-6
    core_free = np.flatnonzero(~fragment.is_core)
    for atom in [*core_free[[0, 5, -1]].tolist(), 0]:
        values = []
        for sign in (1.0, -1.0):
            positions = fragment.structure.positions.copy()
            positions[atom, 0] += sign * step
            structure = dataclasses.replace(fragment.structure, positions=positions)
            moved = dataclasses.replace(fragment, structure=structure)
            values.append(wall_energy(moved, distances, options).value)
        if atom == 0:
            continue  # the centre is fixed: its pairs with the core are left out on purpose
        slope = (values[0] - values[1]) / (2.0 * step)
        assert found.positions[atom, 0] == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_gradient_in_cell_lengths_is_that_of_central_differences(
    cut, copper_model, copper_inverses
) -> None:
    fragment, distances = cut
    free = np.flatnonzero(~fragment.is_core)
    shape = _Shape(fragment, free, relax_cell=True)
    assert shape.n_lengths == 3
    targets = np.ones(fragment.n_atoms)
    objective = grade_objective(copper_model, copper_inverses, targets)
    options = HealingOptions()

    def value(variables: np.ndarray) -> float:
        moved = shape.moved(variables)
        return objective(moved.structure).value + wall_energy(moved, distances, options).value

    rng = np.random.default_rng(0)
    variables = np.concatenate([0.05 * rng.standard_normal(3 * len(free)), [0.01, -0.02, 0.015]])
    moved = shape.moved(variables)
    at = objective(moved.structure)
    walls = wall_energy(moved, distances, options)
    gradient = shape.gradient(variables, at.positions + walls.positions, at.strain + walls.strain)
    np.testing.assert_allclose(
        moved.structure.positions[fragment.is_core],
        fragment.structure.positions[fragment.is_core],
        atol=1e-12,
    )
    for place in [0, 10, len(gradient) - 3, len(gradient) - 2, len(gradient) - 1]:
        step = 1e-5
        values = []
        for sign in (1.0, -1.0):
            changed = variables.copy()
            changed[place] += sign * step
            values.append(value(changed))
        slope = (values[0] - values[1]) / (2.0 * step)
        assert gradient[place] == pytest.approx(slope, rel=1e-4, abs=1e-4)
