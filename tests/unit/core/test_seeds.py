"""Seeds and starts: sizes, strain, displacements, vacancies, mixtures."""

import numpy as np
import pytest
from ase.build import bulk
from ase.data import covalent_radii

from nepal_flows.core.seeds import (
    Mixture,
    Recipe,
    Size,
    close_pairs,
    made_structure,
    mixed,
    random_deformation,
    rattled,
    sized_cell,
    with_vacancies,
)
from nepal_flows.core.structure import Structure
from nepal_flows.errors import StructureError


def from_atoms(atoms):
    return Structure(atoms.numbers, atoms.positions, np.array(atoms.cell))


COPPER = from_atoms(bulk("Cu", cubic=True))
SILICON = from_atoms(bulk("Si"))


def generator(seed=0):
    return np.random.default_rng(seed)


def test_number_of_atoms_is_the_nearest_multiple():
    assert sized_cell(COPPER, Size(n_atoms=32), generator()).n_atoms == 32
    assert sized_cell(SILICON, Size(n_atoms=33), generator()).n_atoms in (32, 34)
    assert sized_cell(SILICON, Size(), generator()).n_atoms == 2
    assert sized_cell(SILICON, Size(repeats=(2, 1, 3)), generator()).n_atoms == 12


def test_range_draws_every_size_in_it():
    sizes = {
        sized_cell(COPPER, Size(n_atoms=(6, 8), shape="hnf"), generator(k)).n_atoms
        for k in range(40)
    }
    assert sizes == {6, 7, 8}


def test_range_without_a_multiple_is_refused():
    with pytest.raises(StructureError, match="multiple of 2"):
        sized_cell(SILICON, Size(n_atoms=(3, 3), shape="hnf"), generator())
    with pytest.raises(StructureError, match="folded"):
        sized_cell(SILICON, Size(n_atoms=(5, 7), shape="folded"), generator())


def test_folded_cells_are_diagonal_multiples_of_the_primitive_cell():
    seen = set()
    for k in range(30):
        made = sized_cell(SILICON, Size(n_atoms=(2, 8), shape="folded"), generator(k))
        repeats = made.cell @ np.linalg.inv(SILICON.cell)
        assert np.allclose(repeats, np.diag(np.diag(repeats)), atol=1e-9)
        assert set(np.rint(np.diag(repeats)).astype(int)) <= {1, 2, 4}
        seen.add(made.n_atoms)
    assert seen == {2, 4, 8}


def test_hnf_shapes_differ_between_draws():
    cells = {
        tuple(np.round(np.linalg.norm(made.cell, axis=1), 4))
        for made in (
            sized_cell(COPPER, Size(n_atoms=8, shape="hnf"), generator(k)) for k in range(20)
        )
    }
    assert len(cells) > 3


def test_slab_repeats_in_its_plane_only():
    slab = Structure([29], [[0.0, 0, 5]], np.diag([2.5, 2.5, 20.0]), (True, True, False))
    made = sized_cell(slab, Size(n_atoms=12), generator())
    assert made.n_atoms == 12
    assert np.allclose(made.cell[2], slab.cell[2])
    assert np.linalg.norm(made.cell[:2], axis=1).max() == pytest.approx(10.0)


def test_deformation_has_the_volume_asked_for_and_is_symmetric():
    for k in range(20):
        deformation = random_deformation(generator(k), 0.05, volume_factor=0.9)
        assert np.linalg.det(deformation) == pytest.approx(0.9)
        assert np.allclose(deformation, deformation.T)
    assert np.allclose(random_deformation(generator(), 0.0), np.eye(3))


def test_strain_components_have_the_standard_deviation_asked_for():
    draws = np.array([random_deformation(generator(k), 0.02) - np.eye(3) for k in range(2000)])
    assert draws[:, 0, 1].std() == pytest.approx(0.02, rel=0.06)
    assert draws[:, 0, 1].mean() == pytest.approx(0.0, abs=0.002)


def test_displacements_have_the_standard_deviation_asked_for():
    large = sized_cell(COPPER, Size(repeats=(5, 5, 5)), generator())
    moved = rattled(large, 0.1, generator(1))
    assert (moved.positions - large.positions).std() == pytest.approx(0.1, rel=0.06)
    assert np.array_equal(rattled(large, 0.0, generator()).positions, large.positions)


def test_vacancies_leave_the_others_in_place():
    large = sized_cell(COPPER, Size(n_atoms=32), generator())
    made = with_vacancies(large, 3, generator())
    assert made.n_atoms == 29
    rows = {tuple(row) for row in large.positions}
    assert {tuple(row) for row in made.positions} < rows
    with pytest.raises(StructureError, match="leave nothing"):
        with_vacancies(large, 32, generator())


def test_vacancy_probability_spares_small_cells():
    recipe = Recipe(size=Size(n_atoms=4), vacancy_probability=1.0)
    assert made_structure(COPPER, recipe, generator()).n_atoms == 4
    recipe = Recipe(size=Size(n_atoms=8), vacancy_probability=1.0)
    assert made_structure(COPPER, recipe, generator()).n_atoms == 7


def test_mixture_has_the_composition_and_the_volume_of_its_elements():
    large = sized_cell(COPPER, Size(n_atoms=32), generator())
    gold = from_atoms(bulk("Au", cubic=True))
    volumes = {29: COPPER.volume / 4, 79: gold.volume / 4}
    made = mixed(large, Mixture((29, 79), (0.25, 0.75), volumes), generator())
    assert (made.numbers == 29).sum() == 8
    assert made.volume == pytest.approx(8 * volumes[29] + 24 * volumes[79])


def test_random_compositions_cover_the_range():
    large = sized_cell(COPPER, Size(n_atoms=32), generator())
    mixture = Mixture((29, 79), None, {29: 12.0, 79: 17.0})
    counts = [(mixed(large, mixture, generator(k)).numbers == 29).sum() for k in range(200)]
    assert min(counts) <= 2
    assert max(counts) >= 30
    assert np.mean(counts) == pytest.approx(16, abs=2.5)


def test_mixing_leaves_other_sublattices_alone():
    salt = from_atoms(bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (2, 2, 2))
    made = mixed(salt, Mixture((11, 19), (0.5, 0.5), {11: 20.0, 19: 30.0}), generator())
    assert (made.numbers == 17).sum() == 32
    assert (made.numbers == 19).sum() == 16
    assert made.volume > salt.volume
    with pytest.raises(StructureError, match="nothing to mix"):
        mixed(COPPER, Mixture((11, 19), None, {}), generator())


def test_close_pairs_are_found_across_faces_and_with_own_images():
    thin = Structure([29], [[0.0, 0, 0]], np.diag([1.5, 8.0, 8.0]))
    assert close_pairs(thin, {(29, 29): 2.0}) == [(29, 29, 1.5)]
    pair = Structure([29, 79], [[0.2, 0, 0], [7.9, 0, 0]], np.diag([8.0, 8.0, 8.0]))
    ((a, b, distance),) = close_pairs(pair, {(29, 79): 2.0})
    assert (a, b) == (29, 79)
    assert distance == pytest.approx(0.3)
    assert close_pairs(COPPER, {(29, 29): 2.5}) == []
    assert len(close_pairs(COPPER, {(29, 29): 2.6})) == 1


def test_close_pairs_see_atoms_outside_the_cell():
    moved = Structure(
        COPPER.numbers,
        COPPER.positions + np.array([[0, 0, 0], [20.0, 0, 0]] * 2),
        COPPER.cell,
    )
    ((_, _, distance),) = close_pairs(moved, {(29, 29): 2.5})
    from ase import Atoms

    atoms = Atoms(moved.numbers, moved.positions, cell=moved.cell, pbc=True)
    matrix = atoms.get_all_distances(mic=True)
    assert distance == pytest.approx(matrix[matrix > 0].min())


def test_made_structures_keep_the_smallest_distance():
    limit = 0.8 * 2 * covalent_radii[29]
    recipe = Recipe(
        size=Size(n_atoms=32), rattle=0.5, min_distances={(29, 29): limit}, shear_strain=0.02
    )
    for k in range(5):
        assert not close_pairs(made_structure(COPPER, recipe, generator(k)), {(29, 29): limit})


def test_overlap_that_no_displacement_cures_is_refused():
    recipe = Recipe(size=Size(), volume_factor=0.2, min_distances={(29, 29): 2.0})
    with pytest.raises(StructureError, match="Cu-Cu 1"):
        made_structure(COPPER, recipe, generator())


def test_equal_generators_make_equal_structures():
    recipe = Recipe(
        size=Size(n_atoms=(6, 8), shape="hnf"), volume_strain=0.04, shear_strain=0.02, rattle=0.1
    )
    first, second = (made_structure(COPPER, recipe, generator(5)) for _ in range(2))
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(first.cell, second.cell)
