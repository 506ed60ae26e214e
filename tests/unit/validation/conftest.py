"""Evaluators with known answers: Tersoff's silicon, and isotropic springs."""

from collections.abc import Sequence

import numpy as np
import pytest
from ase.calculators.tersoff import Tersoff
from ase.neighborlist import neighbor_list

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.io.structures import atoms_from_structure, labelled_from_atoms
from silicon.evaluation import relaxed
from silicon.sampling import TERSOFF


class TersoffEvaluator:
    """Labels by Tersoff's potential."""

    def __call__(self, name: str, structures: Sequence[Structure]) -> list[LabelledStructure]:
        return [self._label(structure) for structure in structures]

    def relaxed(self, name: str, start: Structure) -> LabelledStructure:
        return relaxed(self._label, start)

    def _label(self, structure: Structure) -> LabelledStructure:
        atoms = atoms_from_structure(structure)
        atoms.calc = Tersoff({("Si", "Si", "Si"): TERSOFF})
        atoms.get_stress()
        return labelled_from_atoms(atoms)


class SpringEvaluator:
    """Every atom tied to its four neighbours' sites by isotropic springs; forces alone.

    The dynamical matrix is (4 k / m) (1 ± |f|), three times each, with f the mean of the four
    phases: 1 at Gamma, 0 at X, 1/2 at L.
    """

    def __init__(self, spring: float, lattice_constant: float) -> None:
        self.spring = spring
        corner = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
        self.bonds = 0.25 * lattice_constant * np.concatenate([corner, -corner])

    def __call__(self, name: str, structures: Sequence[Structure]) -> list[LabelledStructure]:
        return [self._label(structure) for structure in structures]

    def relaxed(self, name: str, start: Structure) -> LabelledStructure:
        return relaxed(self._label, start)

    def _label(self, structure: Structure) -> LabelledStructure:
        i, bonds = neighbor_list("iD", atoms_from_structure(structure), cutoff=2.9)
        offsets = bonds[:, None, :] - self.bonds[None, :, :]
        nearest = np.linalg.norm(offsets, axis=2).argmin(axis=1)
        stretches = offsets[np.arange(len(i)), nearest]
        forces = np.zeros((structure.n_atoms, 3))
        np.add.at(forces, i, self.spring * stretches)
        energy = 0.25 * self.spring * float((stretches**2).sum())
        return LabelledStructure(structure, energy, forces)


@pytest.fixture(scope="session")
def tersoff() -> TersoffEvaluator:
    return TersoffEvaluator()


@pytest.fixture(scope="session")
def make_springs() -> type[SpringEvaluator]:
    return SpringEvaluator
