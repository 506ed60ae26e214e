"""Whole carvings: what is equal by construction, what can fail, and how methods compare."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from nepal_flows.core.carving.carve import carve
from nepal_flows.core.carving.centres import regraded_centres
from nepal_flows.core.carving.distances import pair_distances
from nepal_flows.core.carving.environment import environment_of
from nepal_flows.core.carving.fidelity import Acceptance, fidelity_of, shortcomings
from nepal_flows.core.carving.healing import HealingOptions
from nepal_flows.core.carving.options import METHODS, CarvingOptions
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.carving.warming import warmed
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import ProjectionFactors, projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError

QUICK = HealingOptions(max_steps=8)


@pytest.fixture(scope="module")
def graded(void_parent, copper_model, copper_inverses):
    grades = structure_grades(copper_inverses, projection_factors(copper_model, void_parent))
    return AtomBins(void_parent, grades), int(grades.argmax())


@pytest.fixture(scope="module")
def carvings(graded, copper_model, copper_inverses):
    bins, centre = graded
    return {
        method: carve(
            partial(bins.region, centre),
            copper_model,
            copper_inverses,
            options=CarvingOptions(method=method, healing=QUICK, max_enlargements=0),
            rng=np.random.default_rng(0),
        )
        for method in METHODS
    }


@pytest.mark.parametrize("method", METHODS)
def test_grade_and_descriptor_of_the_centre_are_the_parents(carvings, graded, method) -> None:
    bins, centre = graded
    carving = carvings[method]
    assert carving.fragment.parents[0] == centre
    assert carving.fidelity.centre_grade == pytest.approx(bins.grades[centre], rel=1e-9)
    assert carving.fidelity.descriptor_distance < 1e-12
    assert carving.fidelity.parent_grades == pytest.approx(
        bins.grades[carving.fragment.parents], rel=1e-8
    )


@pytest.mark.parametrize("method", METHODS)
def test_core_atoms_keep_their_places(carvings, graded, method) -> None:
    bins, _ = graded
    fragment = carvings[method].fragment
    parent = bins.structure
    vectors = parent.positions[fragment.parents] - parent.positions[fragment.parents[0]]
    vectors -= np.round(vectors @ np.linalg.inv(parent.cell)) @ parent.cell
    moved = fragment.structure.positions - fragment.structure.positions[0]
    np.testing.assert_allclose(moved[fragment.is_core], vectors[fragment.is_core], atol=1e-9)
    assert len(np.unique(fragment.parents)) == fragment.n_atoms


def test_forces_of_the_parent_are_those_of_the_whole_parent(
    graded, copper_model, copper_inverses, void_parent
) -> None:
    bins, centre = graded
    environment = environment_of(copper_model, bins.region(centre, 14.0))
    rows = np.arange(10)
    whole = predict(copper_model, void_parent)
    np.testing.assert_allclose(
        environment.forces(rows), whole.forces[environment.region.parents[rows]], atol=1e-9
    )
    with pytest.raises(CarvingError, match="wider region"):
        environment.forces(np.array([environment.region.n_atoms - 1]))


def test_searching_and_healing_bring_the_boundary_nearer_to_the_parent(carvings) -> None:
    score = {name: carving.fidelity.log_excess for name, carving in carvings.items()}
    assert score["searched"] < score["naive"] < score["isolated"]
    assert score["healed"] < score["searched"]


def test_auto_is_the_best_of_what_it_tried(carvings) -> None:
    auto = carvings["auto"]
    tried = [carvings[name] for name in auto.scores if name != "relaxed"]
    assert {carving.method for carving in tried} == {"searched", "healed"}
    fewest = min(len(carving.shortcomings) for carving in tried)
    best = min(
        (carving for carving in tried if len(carving.shortcomings) == fewest),
        key=lambda carving: carving.fidelity.log_excess,
    )
    assert auto.method == best.method
    assert auto.fidelity.log_excess == auto.scores[auto.method]


def test_carving_is_reproducible(graded, copper_model, copper_inverses, carvings) -> None:
    bins, centre = graded
    options = CarvingOptions(method="healed", healing=QUICK, max_enlargements=0)
    rng = np.random.default_rng(0)
    again = carve(
        partial(bins.region, centre), copper_model, copper_inverses, options=options, rng=rng
    )
    before = carvings["healed"].fragment.structure
    np.testing.assert_array_equal(again.fragment.structure.positions, before.positions)


def test_cold_boundary_is_warmed_to_the_forces_asked_for(
    carvings, copper_model, void_parent
) -> None:
    distances = pair_distances(void_parent)
    cold = carvings["searched"].fragment
    free = ~cold.is_core
    here = np.sqrt((predict(copper_model, cold.structure).forces[free] ** 2).mean())
    for factor in (0.5, 1.1):
        warm, amplitude = warmed(
            cold,
            copper_model,
            force_rms=factor * here,
            distances=distances,
            rng=np.random.default_rng(1),
        )
        forces = predict(copper_model, warm.structure).forces[free]
        assert (amplitude > 0.0) == (factor > 1.0)
        if factor > 1.0:
            assert here < np.sqrt((forces**2).mean()) <= factor * here
            assert not warm.displacements[warm.is_core].any()


def test_changed_centre_is_found_out(carvings, graded, copper_model, copper_inverses) -> None:
    bins, centre = graded
    carving = carvings["searched"]
    structure = carving.fragment.structure
    positions = structure.positions.copy()
    positions[3] += 0.01  # an atom of the core
    wrong = dataclasses.replace(
        carving.fragment, structure=Structure(structure.numbers, positions, structure.cell)
    )
    environment = environment_of(copper_model, bins.region(centre, 20.0))
    with pytest.raises(CarvingError, match="the fragment is wrong"):
        fidelity_of(wrong, environment, copper_inverses, pair_distances(bins.structure))


def test_gate_names_what_a_fragment_lost(carvings) -> None:
    fidelity = dataclasses.replace(
        carvings["searched"].fidelity,
        centre_force_change=9.0,
        smallest_distance=0.2,
        kept_density=0.5,
        excess_share=0.9,
    )
    found = " ".join(shortcomings(fidelity, Acceptance(excess_share=0.02)))
    for word in ("centre", "usual distance", "50 % of the atoms", "90 % of the boundary"):
        assert word in found


def test_larger_boxes_are_tried_until_one_is_accepted(
    graded, copper_model, copper_inverses
) -> None:
    bins, centre = graded
    strict = Acceptance(force_change=1e-9, force_share=0.0)
    options = CarvingOptions(method="searched", acceptance=strict, max_enlargements=1)
    carving = carve(
        partial(bins.region, centre),
        copper_model,
        copper_inverses,
        options=options,
        rng=np.random.default_rng(0),
    )
    assert not carving.is_accepted
    assert "force" in carving.shortcomings[0]


def test_fragment_beyond_the_limit_is_refused(graded, copper_model, copper_inverses) -> None:
    bins, centre = graded
    options = CarvingOptions(method="searched", max_atoms=40)
    with pytest.raises(CarvingError, match="more than 40"):
        carve(partial(bins.region, centre), copper_model, copper_inverses, options=options,
            rng=np.random.default_rng(0),
        )  # fmt: skip


def test_second_of_two_equal_defects_is_covered_by_the_first(
    graded, copper_model, copper_inverses
) -> None:
    bins, centre = graded
    environment = environment_of(copper_model, bins.region(centre, 12.0))
    own = environment.factors(np.arange(13))
    other = environment_of(copper_model, bins.region(5, 12.0)).factors(np.arange(13))
    scale = np.random.default_rng(0).uniform(1.0 - 1e-6, 1.0 + 1e-6, own.y.shape)
    twin = ProjectionFactors(own.types, own.y * scale, own.v, own.t)
    choice = regraded_centres([other, own, twin], copper_inverses, budget=3, threshold=1.5)
    assert choice.chosen[0] in (1, 2)
    assert {1, 2} - set(choice.chosen), "the twin is covered"
    assert choice.remaining[1] < 1.5
    assert choice.remaining[2] < 1.5


def test_unknown_options_are_refused() -> None:
    with pytest.raises(CarvingError, match="isolated, naive"):
        CarvingOptions(method="best")  # type: ignore[arg-type]
    with pytest.raises(CarvingError, match="at least 1"):
        CarvingOptions(max_atoms=0)
    with pytest.raises(CarvingError, match="positive length"):
        CarvingOptions(core_radius=-1.0)
