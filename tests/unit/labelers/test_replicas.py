"""A cell against its supercell."""

import sys

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.campaign.small_cells import SmallCellsSection
from nepal_flows.core.seeds import rattled
from nepal_flows.engines.pool import WorkerPool
from nepal_flows.errors import LabelError
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.jobs.replicas import replica_problem
from nepal_flows.labelers.kpoints import KPointRule
from nepal_flows.labelers.replicas import replica_difference, replica_repeats
from nepal_flows.schemas import ReplicaDoc

MODULE = '''
from dataclasses import dataclass, replace
from nepal_flows.labelers import AseLabeler


@dataclass(frozen=True)
class Sized(AseLabeler):
    """EMT whose labels depend on the size of the cell."""

    flaw: str = ""

    def label(self, structure, directory, *, helpers=None):
        raw = AseLabeler("emt").label(structure, directory)
        if self.flaw == "energy":
            return replace(raw, energy=raw.energy + 0.004 * structure.n_atoms**0)
        if self.flaw == "force" and structure.n_atoms > 2:
            return replace(raw, forces=1.2 * raw.forces)
        if self.flaw == "failure" and structure.n_atoms > 2:
            raise ValueError("out of memory")
        return raw
'''


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sized")
    (directory / "sized_labeler.py").write_text(MODULE)
    sys.path.insert(0, str(directory))
    import sized_labeler

    cell = structure_from_atoms(bulk("Cu") * (1, 1, 2))
    cell = rattled(cell, 0.1, np.random.default_rng(0))
    with WorkerPool(1) as pool:
        yield lambda flaw: replica_difference(
            sized_labeler.Sized(flaw=flaw), cell, (2, 2, 2), pool=pool
        )
    sys.path.remove(str(directory))


def problem(found):
    document = ReplicaDoc(
        key="k",
        labeler="ase",
        n_atoms=found.n_atoms[0],
        n_atoms_supercell=found.n_atoms[1],
        repeats=[2, 2, 2],
        energy_difference_meV_per_atom=1000.0 * found.energy,
        force_difference_meV_per_A=1000.0 * found.force,
    )
    return replica_problem(document, SmallCellsSection())


def test_labels_that_do_not_depend_on_the_cell_agree(compared):
    found = compared("")
    assert found.n_atoms == (2, 16)
    assert found.energy < 1e-12
    assert found.force < 1e-12
    assert problem(found) is None


def test_an_energy_that_depends_on_the_cell_is_refused_with_the_number(compared):
    found = compared("energy")
    assert found.energy == pytest.approx(0.004 / 2 - 0.004 / 16)
    assert "1.75 meV/atom" in problem(found)


def test_forces_that_depend_on_the_cell_are_refused(compared):
    found = compared("force")
    assert found.energy < 1e-12
    assert "meV/Å" in problem(found)


def test_a_label_that_fails_is_told(compared):
    with pytest.raises(LabelError, match="out of memory"):
        compared("failure")


def test_supercells_fold_where_the_grid_does():
    cell = structure_from_atoms(bulk("Si"))
    for grid, repeats in (((6, 6, 6), (2, 2, 2)), ((6, 9, 5), (2, 3, 5)), ((4, 4, 1), (2, 2, 1))):
        assert replica_repeats(cell, KPointRule.folded(cell, grid=grid)) == repeats


@pytest.mark.parametrize("spacing", [0.2, 0.3])
def test_grids_of_a_spacing_are_compared_with_ones_that_do_not_happen_to_fold(spacing):
    cell = structure_from_atoms(bulk("Si"))
    rule = KPointRule("spacing", spacing=spacing)
    repeats = replica_repeats(cell, rule)
    larger = structure_from_atoms(bulk("Si") * repeats)
    assert tuple(np.array(rule.mesh(larger).grid) * repeats) != rule.mesh(cell).grid


def test_large_cells_are_doubled_once():
    cell = structure_from_atoms(bulk("Cu") * (3, 3, 3))
    assert replica_repeats(cell, KPointRule("spacing", spacing=0.3))[1:] == (1, 1)
