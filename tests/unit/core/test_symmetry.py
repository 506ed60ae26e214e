"""Rotations and translations of crystals, and the k-point grids that keep them."""

import itertools

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list

from nepal_flows.core.lattices import compact_matrix, supercell
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import (
    crystal_rotations,
    forceless_sites,
    grid_keeps_symmetry,
    primitive_cell,
)
from nepal_flows.io.structures import atoms_from_structure, structure_from_atoms

CRYSTALS = {
    "fcc": bulk("Cu"),
    "bcc": bulk("Fe"),
    "hcp": bulk("Mg"),
    "cubic": bulk("Cu", cubic=True),
    "diamond": bulk("Si"),
    "zincblende": bulk("SiC", "zincblende", 4.3),
}


@pytest.mark.parametrize(
    ("name", "order"),
    [("fcc", 48), ("bcc", 48), ("hcp", 24), ("cubic", 48), ("diamond", 48), ("zincblende", 24)],
)
def test_crystals_have_the_rotations_of_their_class(name, order):
    assert len(crystal_rotations(structure_from_atoms(CRYSTALS[name]))) == order


def test_displaced_atoms_leave_the_identity():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    assert crystal_rotations(structure_from_atoms(atoms)).tolist() == [np.eye(3).tolist()]


def test_coinciding_atoms_leave_the_identity():
    twice = Structure(np.array([29, 29]), np.zeros((2, 3)), 4.0 * np.eye(3), (True, True, True))
    assert crystal_rotations(twice).tolist() == [np.eye(3).tolist()]


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("grid", [(4, 4, 4), (3, 3, 3), (4, 4, 2), (2, 4, 4)])
@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 1, 1), (0, 0, 1)])
def test_grid_keeps_the_symmetry_where_every_point_meets_another(name, grid, offset):
    """The points themselves, rotated in Cartesian space, against the criterion on integers."""
    atoms = CRYSTALS[name]
    rotations = crystal_rotations(structure_from_atoms(atoms))
    cell, reciprocal = atoms.cell.array, np.linalg.inv(atoms.cell.array).T
    steps = np.array(list(itertools.product(*(range(n) for n in grid))))
    points = (steps + 0.5 * np.array(offset)) / np.array(grid)

    def names(fractions):
        return {tuple(x) for x in np.round(fractions * 24).astype(int) % 24}

    kept = True
    for rotation in rotations:
        cartesian = cell.T @ rotation @ np.linalg.inv(cell.T)
        rotated = points @ reciprocal @ cartesian.T
        kept = kept and names(rotated @ cell.T) == names(points)
    assert grid_keeps_symmetry(grid, offset, rotations) == kept


@pytest.mark.parametrize(
    ("atoms", "n_atoms"),
    [
        (bulk("Cu", cubic=True), 1),
        (bulk("Si", cubic=True) * (2, 1, 1), 2),
        (bulk("NaCl", "rocksalt", a=5.6, cubic=True), 2),
        (bulk("Ti") * (3, 1, 2), 2),
    ],
)
def test_primitive_cell_is_the_smallest(atoms, n_atoms):
    structure = structure_from_atoms(atoms)
    primitive = primitive_cell(structure)
    assert primitive.n_atoms == n_atoms
    repeated = supercell(primitive, compact_matrix(primitive.cell, structure.n_atoms // n_atoms))
    assert repeated.volume == pytest.approx(structure.volume)
    found, expected = (
        np.sort(neighbor_list("d", atoms_from_structure(cells), 6.0))
        for cells in (repeated, structure)
    )
    assert np.allclose(found, expected, atol=1e-6)


def test_perturbed_structure_is_its_own_primitive_cell():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    assert primitive_cell(structure_from_atoms(atoms)).n_atoms == 4


@pytest.mark.parametrize("name", sorted(CRYSTALS))
def test_no_force_acts_on_the_atoms_of_these_crystals(name):
    assert forceless_sites(structure_from_atoms(CRYSTALS[name].repeat((2, 1, 1)))).all()


def test_atoms_that_left_their_sites_feel_forces():
    cell = bulk("Cu").repeat((2, 1, 1))
    cell.positions[1] += (0.2, 0.13, -0.1)
    assert not forceless_sites(structure_from_atoms(cell)).any()


def test_sites_called_forceless_have_no_force_by_a_calculator():
    cell = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    cell.positions[[1, 2]] += [[0.3, 0.0, 0.0], [-0.3, 0.0, 0.0]]
    forceless = forceless_sites(structure_from_atoms(cell))
    cell.calc = LennardJones(sigma=2.2, epsilon=0.1, rc=7.0, smooth=True)
    forces = np.linalg.norm(cell.get_forces(), axis=1)
    assert forces[forceless].max(initial=0.0) < 1e-9
    assert (forces > 1e-3).any()


def test_a_site_that_may_move_along_its_axis_has_a_force():
    cell = bulk("Cu").repeat((1, 1, 3))
    cell.positions[1] += 0.3 * cell.cell[2] / np.linalg.norm(cell.cell[2])
    assert not forceless_sites(structure_from_atoms(cell))[1]
