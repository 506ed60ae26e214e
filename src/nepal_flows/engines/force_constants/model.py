r"""A force-constant expansion of a crystal's energy, fitted with its error.

The energy is expanded in displacements from the ideal positions [1]_ to the order given; hiPhive
finds the parameters that symmetry and translations leave, and the matrix from parameters to
forces. The fit is Bayesian, one prior an order. The error of a force is :math:`e = c s`, with
the posterior deviation s and the factor c that makes it right on the training set.

References
----------
.. [1] F. Eriksson, E. Fransson and P. Erhart, Adv. Theory Simul. 2, 1800184 (2019).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
from ase.geometry import find_mic

from nepal_flows.core.bayes.bars import FrameBars
from nepal_flows.core.bayes.linear import LinearPosterior, NormalEquations, fit_linear
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.force_constants.library import hiphive
from nepal_flows.errors import InputError
from nepal_flows.io.structures import atoms_from_structure
from nepal_flows.typing import FloatArray, IntArray

FARTHEST = 0.5
"""Displacement from which an atom belongs to another site, in distances of nearest neighbours."""

_CELL_TOLERANCE = 1e-4


class ForceConstantBasis:
    """The terms of an expansion in one ideal supercell.

    Parameters
    ----------
    primitive
        The ideal crystal; its primitive cell is found by symmetry.
    supercell
        The ideal supercell that displacements are counted from.
    cutoffs_A
        Largest distance of two atoms of a cluster, Å, for the second order and those that follow.

    Raises
    ------
    InputError
        If a cutoff does not fit into the supercell or leaves no parameter, or the supercell is
        none of the crystal.
    """

    def __init__(
        self, primitive: Structure, supercell: Structure, cutoffs_A: Sequence[float]
    ) -> None:
        library = hiphive()
        self.supercell = supercell
        self.cutoffs_A = tuple(float(cutoff) for cutoff in cutoffs_A)
        ideal = atoms_from_structure(supercell)
        _check_cutoffs(self.cutoffs_A, library.estimate_maximum_cutoff(ideal))
        self.space = _cluster_space(packed(primitive), self.cutoffs_A)
        try:
            self._model = library.ForceConstantModel(ideal, self.space)
        except (ValueError, KeyError, IndexError) as error:
            raise InputError(
                f"The supercell of {supercell.n_atoms} atoms is none of the crystal "
                f"`{self.space.primitive_structure.get_chemical_formula()}` ({error}). Give the "
                "ideal positions, and whole multiples of the same cell."
            ) from error
        self.groups = self._orders() - 2
        distances = ideal.get_all_distances(mic=True)  # type: ignore[no-untyped-call]
        self.farthest_A = FARTHEST * float(distances[distances > 0.0].min())

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return len(self.groups)

    def displacements(self, structure: Structure) -> FloatArray:
        """Return the displacements from the ideal positions without drift, shape (n_atoms, 3), Å.

        Raises
        ------
        InputError
            If the structure is not the supercell with atoms displaced, or an atom left its site.
        """
        ideal = self.supercell
        same = np.array_equal(structure.numbers, ideal.numbers) and np.allclose(
            structure.cell, ideal.cell, atol=_CELL_TOLERANCE
        )
        if not same:
            raise InputError(
                "Force constants describe the atoms of their supercell in its order and cell; "
                f"this structure of {structure.n_atoms} atoms is another."
            )
        raw = structure.positions - ideal.positions
        moved = find_mic(raw, ideal.cell, pbc=True)[0]  # type: ignore[no-untyped-call]
        moved -= moved.mean(axis=0)
        farthest = float(np.linalg.norm(moved, axis=1).max())
        if not farthest < self.farthest_A:
            raise InputError(
                f"An atom is {farthest:.2f} Å away from its site, more than {self.farthest_A:.2f} "
                "Å, half the nearest distance: the crystal melts or atoms diffuse, which force "
                "constants cannot describe."
            )
        found: FloatArray = moved
        return found

    def rows(self, structure: Structure) -> FloatArray:
        """Return the matrix from parameters to forces, shape (3 n_atoms, n_parameters)."""
        matrix: FloatArray = self._model.get_fit_matrix(self.displacements(structure))
        return matrix

    def force_constants(self, parameters: FloatArray) -> Any:
        """Return hiPhive's force constants of the supercell."""
        library = hiphive()
        potential = library.ForceConstantPotential(self.space, parameters)
        return potential.get_force_constants(atoms_from_structure(self.supercell))

    def _orders(self) -> IntArray:
        orders = np.zeros(self.space.n_dofs, dtype=np.int64)
        for order in range(2, 2 + len(self.cutoffs_A)):
            indices = self.space.get_parameter_indices(order)
            if len(indices) == 0:
                raise InputError(
                    f"The cutoff of {self.cutoffs_A[order - 2]:g} Å leaves no parameter of order "
                    f"{order}. Give a longer one, or leave the order out."
                )
            orders[indices] = order
        return orders


@dataclass(frozen=True, eq=False)
class ForceConstantFit:
    """Force constants with their errors.

    Attributes
    ----------
    basis
        The terms.
    posterior
        Parameters and their covariance.
    calibration
        Error bars over those of the training set: what labels showed that were not yet known.
    """

    basis: ForceConstantBasis
    posterior: LinearPosterior
    calibration: float = 1.0

    @property
    def parameters(self) -> FloatArray:
        """The parameters, shape (n_parameters,)."""
        return self.posterior.parameters

    def truncated(self, order: int) -> "ForceConstantFit":
        """Return the fit with the parameters of higher orders set to 0."""
        kept = np.where(self.basis.groups + 2 <= order, self.parameters, 0.0)
        return replace(self, posterior=replace(self.posterior, parameters=kept))

    def evaluate(self, displacements: FloatArray) -> tuple[float, FloatArray]:
        """Return energy over the ideal crystal's, eV, and forces, shape (n_atoms, 3), eV/Å."""
        calculator = self._calculator
        calculator.displacements = displacements
        energy, forces = calculator.compute_energy_and_forces()
        return float(energy), forces

    def forces(self, structure: Structure) -> FloatArray:
        """Return forces, shape (n_atoms, 3), eV/Å."""
        return self.evaluate(self.basis.displacements(structure))[1]

    def energy(self, structure: Structure) -> float:
        """Return the energy over the ideal crystal's, eV."""
        return self.evaluate(self.basis.displacements(structure))[0]

    @cached_property
    def _calculator(self) -> Any:
        """Force constants written out in the supercell, which takes a second, then ms a call."""
        calculator = hiphive().ForceConstantCalculator(self.basis.force_constants(self.parameters))
        calculator.atoms = calculator.atoms_ideal
        return calculator

    def force_errors(self, structure: Structure) -> FloatArray:
        """Return the norm of the error c s of every atom's force, shape (n_atoms,), eV/Å."""
        return float(np.sqrt(3.0)) * self.bars(structure).forces

    def bars(self, structure: Structure) -> FrameBars:
        """Return the error bars of a frame's force components; none of its energy and stress."""
        posterior = self.posterior
        deviations = posterior.deviations(self.basis.rows(structure)).reshape(-1, 3)
        of_atoms = np.sqrt(np.mean(deviations**2, axis=1))
        return FrameBars(
            energy=float("nan"),
            forces=self.calibration * posterior.scale * of_atoms,
            stress=np.full(6, np.nan),
            ratios=of_atoms / posterior.training_deviation,
        )


def fit_force_constants(
    basis: ForceConstantBasis, frames: Iterable[LabelledStructure]
) -> ForceConstantFit:
    """Return the force constants that fit the forces of displaced supercells.

    Parameters
    ----------
    basis
        The terms.
    frames
        The supercell with its atoms displaced, and their forces, eV/Å.

    Raises
    ------
    InputError
        If a frame is not the displaced supercell.
    TrainingError
        If there is no frame.
    """
    equations = NormalEquations.empty(basis.n_parameters)
    for frame in frames:
        equations.add(basis.rows(frame.structure), np.asarray(frame.forces).ravel())
    return ForceConstantFit(basis, fit_linear(equations, basis.groups))


PackedStructure: TypeAlias = tuple[bytes, bytes, bytes]
"""Numbers, positions and cell of a crystal, which can be looked up by."""


def packed(structure: Structure) -> PackedStructure:
    """Return a periodic structure as something to look up by."""
    return (
        structure.numbers.tobytes(),
        structure.positions.tobytes(),
        structure.cell.tobytes(),
    )


def unpacked(content: PackedStructure) -> Structure:
    """Return the structure of :func:`packed`."""
    numbers, positions, cell = content
    return Structure(
        np.frombuffer(numbers, dtype=np.int64).copy(),
        np.frombuffer(positions).reshape(-1, 3).copy(),
        np.frombuffer(cell).reshape(3, 3).copy(),
    )


@lru_cache(maxsize=8)
def _cluster_space(primitive: PackedStructure, cutoffs_A: tuple[float, ...]) -> Any:
    """Return hiPhive's terms of a crystal, which all its supercells share."""
    return hiphive().ClusterSpace(atoms_from_structure(unpacked(primitive)), list(cutoffs_A))


def _check_cutoffs(cutoffs_A: Sequence[float], largest: float) -> None:
    if not cutoffs_A:
        raise InputError("`cutoffs_A` is empty; give one cutoff an order, from the second on.")
    for order, cutoff in enumerate(cutoffs_A, start=2):
        if not 0.0 < cutoff <= largest:
            raise InputError(
                f"The cutoff of order {order} is {cutoff:g} Å; it must be above 0 and at most "
                f"{largest:.2f} Å in this supercell, or an atom would meet its own image. Shorten "
                "it, or take a larger supercell."
            )


__all__ = [
    "FARTHEST",
    "ForceConstantBasis",
    "ForceConstantFit",
    "PackedStructure",
    "fit_force_constants",
    "packed",
    "unpacked",
]
