"""The neighbour list against a brute-force sum over images and ASE's primitive list."""

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import primitive_neighbor_list

from nepal_flows.core.neighbour_search import build_neighbours
from nepal_flows.core.neighbours import NeighbourList, neighbour_list, pair_vectors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import StructureError


def structure_of(atoms: ase.Atoms) -> Structure:
    return Structure(atoms.numbers, atoms.positions, atoms.cell.array, tuple(atoms.pbc))


def rows(neighbours: NeighbourList) -> list[tuple[int, ...]]:
    central = np.repeat(np.arange(neighbours.n_atoms), np.diff(neighbours.offsets))
    shifts = neighbours.shifts[neighbours.shift_index]
    return sorted(map(tuple, np.column_stack([central, neighbours.indices, shifts]).tolist()))


def rows_by_brute_force(structure: Structure, cutoff: float) -> list[tuple[int, ...]]:
    heights = 1.0 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    reach = np.ceil(cutoff / heights + np.ptp(fractional, axis=0)).astype(int)
    reach[~np.array(structure.pbc)] = 0
    found = []
    for s in np.ndindex(*(2 * reach + 1)):
        shift = np.array(s) - reach
        d = structure.positions[None] + shift @ structure.cell - structure.positions[:, None]
        close = np.linalg.norm(d, axis=2) < cutoff
        if not shift.any():
            np.fill_diagonal(close, False)
        found += [(int(i), int(j), *map(int, shift)) for i, j in np.argwhere(close)]
    return sorted(found)


def random_structure(
    seed: int, n_atoms: int, pbc: tuple[bool, bool, bool], *, spread: float = 1.5
) -> Structure:
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) * rng.uniform(1, 7, size=(3, 1))
    while abs(np.linalg.det(cell)) < 10:
        cell *= 1.2
    positions = rng.uniform(-spread, spread, size=(n_atoms, 3)) @ cell
    return Structure(np.full(n_atoms, 29), positions, cell, pbc)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (0, 1, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("seed", range(6))
def test_list_equals_brute_force_in_random_cells(seed: int, pbc: tuple[int, int, int]) -> None:
    structure = random_structure(seed, 1 + 4 * seed, tuple(map(bool, pbc)))
    cutoff = (1.7, 3.0, 5.5)[seed % 3]
    assert rows(neighbour_list(structure, cutoff)) == rows_by_brute_force(structure, cutoff)


@pytest.mark.parametrize(
    "cell",
    [
        [[2.0, 0, 0], [1.9, 0.6, 0], [0.3, 1.5, 4.0]],  # skewed and thin
        [[1.2, 0, 0], [0, 25.0, 0], [0, 0, 3.0]],
        [[3.0, 0, 0], [30.0, 3.0, 0], [-20.0, 10.0, 3.0]],  # lattice vectors nearly parallel
        [[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]],
        [[0, 0, -3.0], [0, 3.0, 0], [3.0, 0, 0]],  # left-handed
    ],
)
def test_one_atom_cells_count_their_own_images(cell: list[list[float]]) -> None:
    structure = Structure(np.array([29]), np.array([[0.1, -7.0, 22.0]]), np.array(cell))
    assert rows(neighbour_list(structure, 5.1)) == rows_by_brute_force(structure, 5.1)


def test_list_equals_that_of_ase() -> None:
    atoms = bulk("Cu", cubic=True) * (3, 2, 4)
    atoms.rattle(0.2, seed=1)
    atoms.set_cell(atoms.cell.array @ [[1, 0.2, 0], [0, 1, -0.3], [0, 0, 1]], scale_atoms=True)
    ours = rows(neighbour_list(structure_of(atoms), 5.0))
    i, j, shifts = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell.array, atoms.positions, 5.0)
    assert ours == sorted(map(tuple, np.column_stack([i, j, shifts]).tolist()))


@pytest.mark.parametrize("scale", [1.0, 1.0 + 1e-15, 1.0 + 1e-12, 1.0 - 1e-12])
def test_shell_exactly_at_the_cutoff_is_in_or_out_as_a_whole(scale: float) -> None:
    atoms = bulk("Cu", "sc", a=2.5) * (4, 4, 4)
    neighbours = neighbour_list(structure_of(atoms), 5.0 * scale)
    listed = rows(neighbours)
    assert len(listed) == len(set(listed))
    assert {(j, i, -a, -b, -c) for i, j, a, b, c in listed} == set(listed)
    if abs(scale - 1.0) > 1e-14:
        expected = 32 if scale > 1 else 26  # neighbours of a simple cubic site within 2 a
        assert set(np.diff(neighbours.offsets)) == {expected}


def test_atoms_outside_the_cell_keep_their_pair_vectors() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=2)
    inside = structure_of(atoms)
    hops = np.random.default_rng(0).integers(-3, 4, size=(len(atoms), 3))
    outside = Structure(inside.numbers, inside.positions + hops @ inside.cell, inside.cell)

    def vectors(structure: Structure) -> np.ndarray:
        neighbours = neighbour_list(structure, 4.2)
        found = pair_vectors(neighbours, structure.positions, structure.cell)
        assert np.linalg.norm(found, axis=1).max() < 4.2 + 1e-12
        central = np.repeat(np.arange(8), np.diff(neighbours.offsets))
        found = np.column_stack([central, found]).round(9) + 0.0
        return found[np.lexsort(found.T)]

    np.testing.assert_allclose(vectors(outside), vectors(inside), atol=1e-8)


def test_atoms_many_cells_apart_are_listed_too() -> None:
    positions = np.array([[0.0, 0, 0], [40000.5, -12000.0, 3.0], [1.0, 90001.0, -77.0]])
    structure = Structure(np.array([1, 1, 1]), positions, np.diag([3.0, 4.0, 5.0]))
    neighbours = neighbour_list(structure, 3.5)
    lengths = np.linalg.norm(pair_vectors(neighbours, positions, structure.cell), axis=1)
    wrapped = Structure(np.array([1, 1, 1]), positions % [3.0, 4.0, 5.0], structure.cell)
    again = neighbour_list(wrapped, 3.5)
    expected = np.linalg.norm(pair_vectors(again, wrapped.positions, wrapped.cell), axis=1)
    np.testing.assert_allclose(np.sort(lengths), np.sort(expected), atol=1e-9)


def test_lonely_atom_has_no_neighbours() -> None:
    structure = Structure(np.array([1]), np.zeros((1, 3)), np.eye(3) * 9, (False, False, False))
    neighbours = neighbour_list(structure, 4.0)
    assert neighbours.n_pairs == 0
    assert neighbours.offsets.tolist() == [0, 0]


def test_sparse_and_large_box_is_exact() -> None:
    rng = np.random.default_rng(5)
    positions = rng.uniform(0, 400, size=(60, 3))
    positions[30:] = positions[:30] + rng.normal(size=(30, 3))
    structure = Structure(np.full(60, 1), positions, np.eye(3) * 400.0)
    assert rows(neighbour_list(structure, 6.0)) == rows_by_brute_force(structure, 6.0)


def test_large_crystal_has_its_coordination_everywhere() -> None:
    structure = structure_of(bulk("Cu", cubic=True) * (20, 20, 20))
    counts = np.diff(neighbour_list(structure, 4.0).offsets)
    assert len(counts) == 32_000
    assert set(counts) == {18}


def test_core_serves_compiled_callers() -> None:
    structure = random_structure(3, 9, (True, True, True))
    offsets, indices, shift_index, shifts = build_neighbours(
        structure.positions, structure.cell, np.ones(3, np.bool_), 4.0
    )
    assert (offsets.dtype, indices.dtype) == (np.int64, np.int32)
    assert (shift_index.dtype, shifts.dtype) == (np.int32, np.int32)
    assert offsets[-1] == len(indices) == len(shift_index)


def test_compiled_core_refuses_exploded_atoms() -> None:
    positions = np.array([[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
    for bad in (np.nan, 1e300, 1e6):
        positions[1, 0] = bad
        with pytest.raises(ValueError, match="cell"):
            build_neighbours(positions, np.eye(3) * 1.0, np.ones(3, np.bool_), 2.0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.inf, np.nan])
def test_senseless_cutoff_is_refused(cutoff: float) -> None:
    structure = random_structure(3, 2, (True, True, True))
    with pytest.raises(StructureError, match="cutoff"):
        neighbour_list(structure, cutoff)


def test_more_images_than_can_be_looked_through_are_refused() -> None:
    atoms = bulk("Cu", cubic=True)
    cell = atoms.cell.array.copy()
    cell[2] += 100_000 * cell[0]
    skewed = Structure(atoms.numbers, atoms.positions, cell)
    with pytest.raises(StructureError, match="niggli_reduce"):
        neighbour_list(skewed, 5.0)
    with pytest.raises(StructureError, match="shorter cutoff"):
        neighbour_list(structure_of(atoms), 1e8)
