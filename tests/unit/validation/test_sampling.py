"""Cells of the unseen frames fold, and have the atoms and volumes they are meant to have."""

import numpy as np
import pytest

from nepal_flows.labelers import KPointRule
from silicon.cells import primitive_cell
from silicon.sampling import LIQUID_VOLUME, PHASES, Group, groups

SOLID, _, VACANCY, LIQUID = PHASES


@pytest.mark.parametrize(("shape", "n_atoms"), [("2x2x2", 16), ("3x2x1", 12), ("3x3x3", 54)])
def test_folding_cells_have_the_grid_of_the_primitive_one(shape, n_atoms):
    rule = KPointRule.folded(primitive_cell(5.43), grid=(6, 6, 6))
    for phase in PHASES:
        cell = Group(phase, shape, "model", 1).crystal()
        assert cell.n_atoms == n_atoms - phase.n_vacancies
        assert np.prod(rule.mesh(cell).grid) * n_atoms == 6**3 * 2


def test_cubic_cell_is_cubic():
    cell = Group(SOLID, "cubic", "tersoff", 1).crystal()
    assert cell.n_atoms == 64
    np.testing.assert_allclose(cell.cell, 2 * 5.47 * np.eye(3), atol=1e-9)


def test_liquid_has_its_own_volume_and_a_vacancy_leaves_the_cell():
    liquid = Group(LIQUID, "2x2x2", "model", 1).crystal()
    assert liquid.volume / liquid.n_atoms == pytest.approx(LIQUID_VOLUME)
    solid, vacancy = (Group(p, "2x2x2", "model", 1).crystal() for p in (SOLID, VACANCY))
    np.testing.assert_array_equal(solid.cell, vacancy.cell)
    np.testing.assert_allclose(solid.positions[1:], vacancy.positions)


def test_every_group_has_its_own_seed():
    made = [*groups("model", "2x2x2", 1), *groups("model", "3x2x1", 1), *groups("x", "2x2x2", 1)]
    assert len({group.seed() for group in made}) == len(made) == 12
