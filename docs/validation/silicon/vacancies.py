r"""The vacancy: what it costs to take an atom out, before and after the others have relaxed.

:math:`E_f = E_{N-1} - \frac{N-1}{N} E_N`, at the lattice constant of the perfect crystal. With
smeared occupations the energies are free energies of the electrons.
"""

from dataclasses import dataclass

import numpy as np

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.typing import FloatArray
from silicon.cells import displaced, without_atom
from silicon.evaluation import Evaluator

NUDGE_A = 0.03
"""Random displacements before a relaxation, so that no symmetry holds it at a saddle."""


@dataclass(frozen=True, eq=False)
class Vacancy:
    """A vacancy in one cell.

    Attributes
    ----------
    n_atoms
        Atoms of the perfect cell.
    unrelaxed, relaxed
        Formation energies, eV.
    perfect
        The perfect cell.
    final
        The relaxed one.
    """

    n_atoms: int
    unrelaxed: float
    relaxed: float
    perfect: LabelledStructure
    final: LabelledStructure

    def formation_energy(self, defective: LabelledStructure) -> float:
        """Return the formation energy of another structure with the vacancy, eV."""
        n = self.n_atoms
        return defective.energy - (n - 1) / n * self.perfect.energy

    def neighbour_distances(self) -> FloatArray:
        """Return the six distances between the four atoms around the vacancy, rising, Å."""
        return _edges(self.final.structure, self.perfect.structure)


def vacancy(evaluate: Evaluator, name: str, crystal: Structure) -> Vacancy:
    """Return the vacancy in a cell of the perfect crystal.

    Parameters
    ----------
    evaluate
        Who answers.
    name
        Name of the cell.
    crystal
        The perfect cell; its first atom is taken out.
    """
    ideal = without_atom(crystal)
    (perfect,) = evaluate(f"vacancy/{name}/perfect", [crystal])
    (unrelaxed,) = evaluate(f"vacancy/{name}/unrelaxed", [ideal])
    rng = np.random.default_rng(crystal.n_atoms)
    nudged = displaced(ideal, rng.normal(0.0, NUDGE_A, (ideal.n_atoms, 3)))
    final = evaluate.relaxed(f"vacancy/{name}/relaxed", nudged)
    share = ideal.n_atoms / crystal.n_atoms * perfect.energy
    return Vacancy(
        n_atoms=crystal.n_atoms,
        unrelaxed=unrelaxed.energy - share,
        relaxed=final.energy - share,
        perfect=perfect,
        final=final,
    )


def _edges(defective: Structure, perfect: Structure) -> FloatArray:
    site = perfect.positions[0]
    offsets = _nearest_images(defective.positions - site, defective.cell)
    around = offsets[np.argsort(np.linalg.norm(offsets, axis=1))[:4]]
    pairs = [around[i] - around[j] for i in range(4) for j in range(i)]
    return np.sort(np.linalg.norm(np.array(pairs), axis=1))


def _nearest_images(vectors: FloatArray, cell: FloatArray) -> FloatArray:
    """Return the shortest periodic image of every vector, shape (n, 3)."""
    fractions = np.linalg.solve(cell.T, vectors.T).T
    base = fractions - np.rint(fractions)
    shifts = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)])
    images = (base[:, None, :] + shifts[None, :, :]) @ cell
    nearest = np.linalg.norm(images, axis=2).argmin(axis=1)
    chosen: FloatArray = images[np.arange(len(vectors)), nearest]
    return chosen


__all__ = ["NUDGE_A", "Vacancy", "vacancy"]
