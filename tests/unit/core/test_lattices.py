"""Hermite normal forms, reduction and supercells."""

import numpy as np
import pytest
from ase.build import bulk, fcc111, make_supercell
from ase.geometry.minkowski_reduction import minkowski_reduce

from nepal_flows.core.lattices import (
    cell_thicknesses,
    compact_matrix,
    cubic_matrix,
    hermite_normal_forms,
    random_matrix,
    reduced_matrices,
    supercell,
    widest_gap,
)
from nepal_flows.core.structure import Structure
from nepal_flows.errors import StructureError

FCC = 1.8 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])


def from_atoms(atoms):
    return Structure(atoms.numbers, atoms.positions, np.array(atoms.cell))


def distances(structure, reach=6.0):
    """All distances up to a reach, sorted: a fingerprint that no choice of cell changes."""
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True)
    return np.sort(neighbor_list("d", atoms, reach))


def test_counts_are_those_of_sublattices():
    # Sum over divisors d of n of d sigma(d): 1, 7, 13, 35, 31, 91 for n = 1..6.
    assert [len(hermite_normal_forms(n)) for n in range(1, 7)] == [1, 7, 13, 35, 31, 91]
    for n in (8, 12, 30):
        divisors = [d for d in range(1, n + 1) if n % d == 0]
        sigma = {d: sum(k for k in range(1, d + 1) if d % k == 0) for d in divisors}
        assert len(hermite_normal_forms(n)) == sum(d * sigma[d] for d in divisors)


def test_forms_are_distinct_sublattices():
    forms = hermite_normal_forms(7)
    assert np.allclose(np.abs(np.linalg.det(forms)), 7)
    # Two row bases span one lattice when one is an integer multiple of the other.
    for i, a in enumerate(forms):
        for b in forms[i + 1 :]:
            ratio = a @ np.linalg.inv(b)
            assert not np.allclose(ratio, np.rint(ratio), atol=1e-9)


def test_prime_numbers_give_more_than_needles():
    cells = reduced_matrices(hermite_normal_forms(7), np.eye(3) * 2.5) @ (np.eye(3) * 2.5)
    assert (np.linalg.norm(cells, axis=2).max(axis=1) < 7 * 2.5 - 1e-6).mean() > 0.9


def test_too_large_an_index_is_refused():
    with pytest.raises(StructureError, match="n_cells"):
        hermite_normal_forms(1000)


def test_reduction_agrees_with_ase():
    rng = np.random.default_rng(1)
    for _ in range(30):
        cell = np.eye(3) * 3.0 + rng.normal(0, 0.8, (3, 3))
        forms = hermite_normal_forms(5)
        reduced = reduced_matrices(forms, cell)
        for k in rng.choice(len(forms), 3, replace=False):
            expected, _ = minkowski_reduce(forms[k] @ cell)
            lengths = np.sort(np.linalg.norm(expected, axis=1))
            ours = np.linalg.norm(reduced[k] @ cell, axis=1)
            assert np.allclose(ours, lengths, atol=1e-6)
            assert np.linalg.det(reduced[k]) == pytest.approx(5)


def test_compact_cell_of_the_primitive_fcc_cell_is_the_cube():
    for n_cells, edge in ((4, 3.6), (32, 7.2), (108, 10.8)):
        cell = compact_matrix(FCC, n_cells) @ FCC
        assert np.allclose(cell @ cell.T, np.eye(3) * edge**2, atol=1e-9)


def test_random_cells_differ_and_keep_their_limits():
    rng = np.random.default_rng(2)
    cells = np.array([random_matrix(FCC, 6, rng) @ FCC for _ in range(40)])
    assert cell_thicknesses(cells).min() >= 1.7
    assert np.linalg.norm(cells, axis=2).max() <= 14.0
    shapes = {tuple(np.round(np.linalg.norm(cell, axis=1), 6)) for cell in cells}
    assert len(shapes) > 3


def test_impossible_limits_fall_back_to_the_compact_cell():
    matrix = random_matrix(FCC, 5, np.random.default_rng(3), min_thickness=100.0)
    assert np.array_equal(matrix, compact_matrix(FCC, 5))


def test_supercell_is_that_of_ase():
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    matrix = np.array([[1, 1, -1], [0, 2, 1], [-1, 0, 3]])
    ours = supercell(from_atoms(atoms), matrix)
    theirs = from_atoms(make_supercell(atoms, matrix))
    assert ours.n_atoms == theirs.n_atoms
    assert np.allclose(ours.cell, theirs.cell)
    assert np.allclose(distances(ours), distances(theirs), atol=1e-9)


def test_supercells_of_long_skewed_matrices_hold_every_cell_once():
    matrix = np.array([[40, 1, 0], [-7, 30, 11], [3, -2, 25]])
    cells = supercell(Structure([29], [[0.4, 0.2, 0.1]], FCC), matrix)
    assert cells.n_atoms == round(np.linalg.det(matrix))
    multiples = (cells.positions - [0.4, 0.2, 0.1]) @ np.linalg.inv(FCC)
    assert np.allclose(multiples, np.rint(multiples), atol=1e-9)
    inside = cells.positions @ np.linalg.inv(cells.cell)
    assert inside.min() > -1e-8
    assert inside.max() < 1.0
    assert len(np.unique(np.rint(multiples), axis=0)) == cells.n_atoms


def test_supercell_keeps_what_is_not_periodic():
    slab = Structure([29], [[0.0, 0, 5]], np.diag([2.5, 2.5, 20.0]), (True, True, False))
    assert supercell(slab, [2, 3, 1]).n_atoms == 6
    with pytest.raises(StructureError, match="not periodic"):
        supercell(slab, [1, 1, 2])


def test_widest_gap_is_the_vacuum_of_a_slab_and_the_layer_distance_of_a_crystal():
    slab = fcc111("Cu", (2, 2, 4), a=3.6, vacuum=8.0)
    slab.pbc = True
    slab.wrap()
    moved = slab.copy()
    moved.positions += [0.3, 0.2, 5.0]
    moved.wrap()
    assert widest_gap(from_atoms(slab)) == pytest.approx(16.0)
    assert widest_gap(from_atoms(moved)) == pytest.approx(16.0)
    assert widest_gap(from_atoms(bulk("Cu", cubic=True, a=3.6) * (2, 3, 4))) == pytest.approx(1.8)


@pytest.mark.parametrize("cell", [FCC, np.diag([3.0, 4.0, 7.5]), FCC[[1, 0, 2]]])
@pytest.mark.parametrize("n_cells", [513, 1000, 27_000, 250_000])
def test_large_cells_are_nearly_cubic_and_of_nearly_the_size(cell, n_cells) -> None:
    matrix = cubic_matrix(cell, n_cells)
    assert abs(np.linalg.det(matrix) - n_cells) < 0.04 * n_cells
    assert np.linalg.det(matrix) > 0
    large = matrix @ cell
    edge = (n_cells * abs(np.linalg.det(cell))) ** (1 / 3)
    assert np.linalg.norm(large, axis=1) == pytest.approx(edge, rel=0.2)
    assert cell_thicknesses(large) == pytest.approx(edge, rel=0.25)
