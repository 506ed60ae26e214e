"""Cells of every size share one set of k-points, or are refused."""

import itertools

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from scipy.spatial.transform import Rotation

from nepal_flows.core.structure import Structure
from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.labelers.kpoints import KPointRule, Mesh

PRIMITIVE = bulk("Si", a=5.47)
RULE = KPointRule.folded(structure_from_atoms(PRIMITIVE), grid=(4, 4, 4))


def unfolded(mesh: Mesh, repeats: tuple[int, int, int]) -> set[tuple[float, ...]]:
    """Return the points of the primitive zone that a mesh of a multiple samples."""
    grid, offset = np.array(mesh.grid), 0.5 * np.array(mesh.offset)
    steps = itertools.product(*(range(n) for n in mesh.grid))
    points = [(np.array(step) + offset) / grid for step in steps]
    images = list(itertools.product(*(range(r) for r in repeats)))
    shifted = [(k + np.array(i)) / np.array(repeats) for k in points for i in images]
    return {tuple(np.round(k % 1.0, 9)) for k in shifted}


@pytest.mark.parametrize("offset", [(True, True, True), (False, False, False), (True, False, True)])
@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 1), (2, 2, 2), (4, 1, 2), (4, 4, 4)])
def test_multiples_sample_the_points_of_the_primitive_cell(repeats, offset):
    rule = KPointRule.folded(structure_from_atoms(PRIMITIVE), grid=(4, 4, 4), offset=offset)
    mesh = rule.mesh(structure_from_atoms(PRIMITIVE.repeat(repeats)))
    assert unfolded(mesh, repeats) == unfolded(Mesh((4, 4, 4), offset), (1, 1, 1))


def test_strained_rattled_rotated_and_defective_cells_are_recognised(rng):
    for repeats in [(1, 1, 1), (2, 1, 4), (2, 2, 2)]:
        atoms = PRIMITIVE.repeat(repeats)
        strain = np.eye(3) + rng.normal(scale=0.04, size=(3, 3))
        rotation = Rotation.random(random_state=rng.integers(100)).as_matrix()
        atoms.set_cell(atoms.cell.array @ strain @ rotation, scale_atoms=True)
        atoms.rattle(0.2, seed=3)
        assert RULE.repeats(structure_from_atoms(atoms)) == repeats
        if len(atoms) > 8:
            del atoms[[0, 3]]
            assert RULE.repeats(structure_from_atoms(atoms)) == repeats


@pytest.mark.parametrize(
    "matrix",
    [
        [[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
        [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
        [[2, 1, 0], [0, 2, 0], [0, 0, 1]],
        [[3, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[8, 0, 0], [0, 1, 0], [0, 0, 1]],
    ],
    ids=["conventional", "skewed", "leaning", "three", "eight"],
)
def test_other_cells_are_refused(matrix):
    structure = structure_from_atoms(make_supercell(PRIMITIVE, matrix))
    with pytest.raises(LabelError, match="no diagonal multiple"):
        RULE.mesh(structure)


def test_cell_with_too_many_atoms_is_refused():
    crowded = structure_from_atoms(PRIMITIVE)
    doubled = Structure(
        np.tile(crowded.numbers, 2),
        np.concatenate([crowded.positions, crowded.positions + 0.9]),
        crowded.cell,
    )
    with pytest.raises(LabelError, match="4 atoms"):
        RULE.mesh(doubled)


def test_folded_rule_needs_its_primitive_cell():
    with pytest.raises(CampaignError, match="primitive cell"):
        KPointRule("folded")


def test_points_hold_one_of_each_pair_and_weigh_one():
    for grid, offset in [
        ((4, 4, 4), (True,) * 3),
        ((3, 2, 1), (False,) * 3),
        ((1, 1, 1), (True,) * 3),
    ]:
        points = Mesh(grid, offset).points()
        assert points[:, 3].sum() == pytest.approx(1.0)
        whole = {tuple(np.round(k % 1.0, 9)) for k in points[:, :3]}
        opposite = {tuple(np.round(-k % 1.0, 9)) for k in points[:, :3]}
        assert len(whole | opposite) == np.prod(grid)
    assert len(Mesh((4, 4, 4), (True,) * 3).points()) == 32


def test_points_average_a_periodic_function_as_the_whole_grid_does():
    mesh = Mesh((4, 2, 3), (True, False, True))

    def energy(k):
        return np.cos(2 * np.pi * k @ [1, 0, 2]) + np.cos(2 * np.pi * k @ [4, 2, -3]) ** 2

    steps = np.array(list(itertools.product(range(4), range(2), range(3))))
    whole = (steps + 0.5 * np.array(mesh.offset)) / np.array(mesh.grid)
    points = mesh.points()
    assert points[:, 3] @ energy(points[:, :3]) == pytest.approx(energy(whole).mean())


def test_spacing_bounds_the_distance_of_points():
    rule = KPointRule("spacing", spacing=0.3, offset=(False,) * 3)
    atoms = bulk("Cu", cubic=True).repeat((1, 2, 3))
    mesh = rule.mesh(structure_from_atoms(atoms))
    lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    assert (lengths / mesh.grid <= 0.3 + 1e-9).all()
    assert (lengths / (np.array(mesh.grid) - 1 + 1e-9) > 0.3).all()


def test_direction_that_does_not_repeat_has_one_point():
    atoms = bulk("Cu", cubic=True)
    atoms.pbc = (True, True, False)
    mesh = KPointRule("spacing", spacing=0.3, offset=(True,) * 3).mesh(structure_from_atoms(atoms))
    assert mesh.grid[2] == 1
    assert mesh.offset == (True, True, False)


def test_rule_survives_json():
    assert KPointRule.from_dict(RULE.as_dict()) == RULE


def test_physics_is_the_rule_and_not_its_orientation():
    turned = PRIMITIVE.copy()
    turned.rotate(33, (1, 2, 3), rotate_cell=True)
    rule = KPointRule.folded(structure_from_atoms(turned), grid=(4, 4, 4))
    assert rule.physics() == RULE.physics()
    assert KPointRule("spacing").physics() != RULE.physics()
