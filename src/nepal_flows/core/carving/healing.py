r"""Healing: move the boundary of a fragment until a model knows it as well as it knows the parent.

The objective is a sum over *all* atoms, those of the core included, whose neighbours change [1]_:

.. math:: L = \sum_i \tau\, \mathrm{softplus}\!\left(\frac{1}{\tau}
   \ln\frac{\gamma_{p,i}}{\gamma_{p,i}^*}\right) + \text{walls},
   \qquad \gamma_{p,i} = \Big(\sum_k |(b_i M)_k|^p\Big)^{1/p},

with :math:`\gamma^*_{p,i} = \max(\gamma_\mathrm{target}, \gamma_{p,i}^\mathrm{parent})`. It is
logarithmic because a grade that is linear in the objective is won by burying the worst atoms
(tanh saturates), and relative because what is unknown in the parent may stay unknown. Walls keep
atoms apart and out of the core's sphere; a weak tether and bounds keep them where they were. The
gradient is exact: :math:`\partial L/\partial b_i` by the chain rule, then the kernels' functional
of the projections.

References
----------
.. [1] The idea of a boundary that is optimised towards the training data: arXiv:2604.13848.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from nepal_flows.core.carving.distances import PairDistances
from nepal_flows.core.carving.fragments import Fragment, nearest_vectors
from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import (
    ProjectionFactors,
    dense_projections,
    projection_factors,
    projection_gradient,
)
from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray, IntArray

_NEGLIGIBLE = -30.0
"""Atoms with ln(gamma / target) / tau below it have no weight in double precision."""


@dataclass(frozen=True)
class HealingOptions:
    """How the boundary is healed.

    Attributes
    ----------
    target
        Grade below which nothing is asked of an atom.
    softness
        tau, dimensionless.
    power
        p of the smooth maximum, even.
    wall
        Stiffness of the walls, 1/Å^2.
    nearest
        Share of the usual distance at which the wall between two atoms begins.
    tether
        Stiffness of the springs to the places before, 1/Å^2.
    max_displacement
        Å, along every axis.
    max_steps
        Of L-BFGS.
    relax_cell
        Whether the cut directions of the cell may change their lengths, by up to 5 %.
    """

    target: float = 1.0
    softness: float = 0.1
    power: int = 12
    wall: float = 200.0
    nearest: float = 0.85
    tether: float = 0.02
    max_displacement: float = 1.0
    max_steps: int = 40
    relax_cell: bool = False


@dataclass(frozen=True, eq=False)
class ObjectiveValue:
    """An objective and its gradient.

    Attributes
    ----------
    value
        Dimensionless, or eV.
    positions
        Gradient in the positions, shape (n_atoms, 3), 1/Å.
    strain
        Gradient in a strain of the cell with all its atoms, shape (3, 3).
    """

    value: float
    positions: FloatArray
    strain: FloatArray


Objective = Callable[[Structure], ObjectiveValue]


def smooth_grades(inverses: FloatArray, factors: ProjectionFactors, power: int) -> FloatArray:
    """Return the p-norm of b M of every atom, shape (n_atoms,); it bounds the grade from above."""
    grades = np.zeros(factors.n_atoms)
    for kind in np.unique(factors.types):
        atoms = np.flatnonzero(factors.types == kind)
        grades[atoms] = _norms(dense_projections(factors, atoms) @ inverses[kind], power)
    return grades


def grade_objective(
    model: NepModel,
    inverses: FloatArray,
    targets: FloatArray,
    *,
    softness: float = 0.1,
    power: int = 12,
) -> Objective:
    """Return the sum of soft logarithmic excesses as a function of a structure.

    Parameters
    ----------
    model
        The potential.
    inverses
        M of all types, shape (n_types, d, d).
    targets
        Smooth grade that every atom may have, shape (n_atoms,).
    softness, power
        tau and p of the module's docstring.
    """

    def objective(structure: Structure) -> ObjectiveValue:
        neighbours = neighbour_list(structure, model.architecture.largest_cutoff)
        factors = projection_factors(model, structure, neighbours=neighbours)
        weights = np.zeros((structure.n_atoms, model.architecture.n_projection))
        value = 0.0
        for kind in np.unique(factors.types):
            atoms = np.flatnonzero(factors.types == kind)
            products = dense_projections(factors, atoms) @ inverses[kind]
            grades = np.maximum(_norms(products, power), 1e-300)
            excess = np.log(grades / targets[atoms]) / softness
            value += float(softness * np.logaddexp(0.0, excess).sum())
            counted = excess > _NEGLIGIBLE
            share = 1.0 / (1.0 + np.exp(-np.clip(excess[counted], -500.0, 500.0)))
            scaled = products[counted] / grades[counted, None]
            slopes = _power(scaled, power - 1) * (share / grades[counted])[:, None]
            weights[atoms[counted]] = slopes @ inverses[kind].T
        gradient = projection_gradient(model, structure, weights, neighbours=neighbours)
        return ObjectiveValue(value, gradient.positions, gradient.strain)

    return objective


def energy_objective(model: NepModel) -> Objective:
    """Return the model's energy, eV, as a function of a structure."""

    def objective(structure: Structure) -> ObjectiveValue:
        predicted = predict(model, structure)
        return ObjectiveValue(predicted.energy, -predicted.forces, -predicted.virial)

    return objective


def healed(
    fragment: Fragment, objective: Objective, distances: PairDistances, options: HealingOptions
) -> Fragment:
    """Return the fragment with its boundary where an objective is lowest.

    Parameters
    ----------
    fragment
        Its core stays where it is.
    objective
        From `grade_objective` or `energy_objective`.
    distances
        Usual distances, for the walls.
    options
        Walls, tether, bounds, and whether the cell may change.
    """
    free = np.flatnonzero(~fragment.is_core)
    if len(free) == 0:
        return fragment
    shape = _Shape(fragment, free, options.relax_cell)
    start = np.zeros(3 * len(free) + shape.n_lengths)

    def value(variables: FloatArray) -> tuple[float, FloatArray]:
        moved = shape.moved(variables)
        found = objective(moved.structure)
        walls = wall_energy(moved, distances, options)
        positions, strain = found.positions + walls.positions, found.strain + walls.strain
        moves = variables[: 3 * len(free)]
        tether = 0.5 * options.tether * float(moves @ moves)
        gradient = shape.gradient(variables, positions, strain)
        gradient[: 3 * len(free)] += options.tether * moves
        return found.value + walls.value + tether, gradient

    limit = options.max_displacement
    bounds = [(-limit, limit)] * (3 * len(free)) + [(-0.05, 0.05)] * shape.n_lengths
    found = minimize(
        value,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": options.max_steps, "ftol": 1e-5, "gtol": 1e-4, "maxcor": 20},
    )
    moved = shape.moved(found.x)
    return moved.with_positions(moved.structure.positions)


class _Shape:
    """A fragment as a function of displacements of its boundary and relative lengths of its cell.

    The cell is strained about the centre, the boundary with it, the core not.
    """

    def __init__(self, fragment: Fragment, free: IntArray, relax_cell: bool) -> None:
        self.fragment = fragment
        self.free = free
        self.core = np.flatnonzero(fragment.is_core)
        self.centre = fragment.structure.positions[0]
        cell = fragment.structure.cell
        inverse = np.linalg.inv(cell)
        whole = np.zeros(3, dtype=np.bool_) if fragment.box is None else fragment.box.whole
        is_cut = ~whole & (fragment.vacuum == 0.0) & relax_cell
        # the strain that lengthens vector k alone; rows are vectors: r -> r + r @ modes[k]
        self.modes = [np.outer(inverse[:, k], cell[k]) for k in np.flatnonzero(is_cut)]

    @property
    def n_lengths(self) -> int:
        return len(self.modes)

    def moved(self, variables: FloatArray) -> Fragment:
        structure = self.fragment.structure
        n_moves = 3 * len(self.free)
        positions = structure.positions.copy()
        positions[self.free] += variables[:n_moves].reshape(-1, 3)
        cell = structure.cell
        for amount, mode in zip(variables[n_moves:], self.modes, strict=True):
            cell = cell + amount * structure.cell @ mode
            offsets = positions[self.free] - self.centre
            positions[self.free] += amount * offsets @ mode
        return dataclasses.replace(
            self.fragment,
            structure=Structure(structure.numbers, positions, cell, structure.pbc),
        )

    def gradient(
        self, variables: FloatArray, positions: FloatArray, strain: FloatArray
    ) -> FloatArray:
        """Return the gradient in the variables from that in positions and strain."""
        n_moves = 3 * len(self.free)
        if not self.modes:
            return positions[self.free].ravel().copy()
        # modes commute: they are diagonal in the frame of the cell vectors
        deformation = np.eye(3)
        for amount, mode in zip(variables[n_moves:], self.modes, strict=True):
            deformation = deformation @ (np.eye(3) + amount * mode)
        moves = positions[self.free] @ deformation.T
        now = self.moved(variables).structure.positions
        core = positions[self.core].T @ (now[self.core] - self.centre)
        lengths = []
        for amount, mode in zip(variables[n_moves:], self.modes, strict=True):
            rate = mode / (1.0 + amount)
            # a strain of everything, less what the core does not follow
            lengths.append(float((strain * rate.T).sum() - (core * rate.T).sum()))
        return np.concatenate([moves.ravel(), lengths])


def wall_energy(
    fragment: Fragment, distances: PairDistances, options: HealingOptions
) -> ObjectiveValue:
    """Return what keeps atoms apart and out of the core's sphere.

    Pairs of core atoms do not count: nothing moves them.
    """
    structure = fragment.structure
    neighbours = neighbour_list(structure, options.nearest * distances.largest)
    vectors = pair_vectors(neighbours, structure.positions, structure.cell)
    r = np.sqrt(np.einsum("pa,pa->p", vectors, vectors))
    kinds = distances.kinds(structure.numbers)
    first = np.repeat(np.arange(structure.n_atoms), np.diff(neighbours.offsets))
    second = neighbours.indices
    limits = options.nearest * distances.usual[kinds[first], kinds[second]]
    crosses = fragment.crosses_face(neighbours.shifts)[neighbours.shift_index]
    fixed = fragment.is_core[first] & fragment.is_core[second] & ~crosses
    depth = np.where(fixed, 0.0, np.maximum(0.0, limits - r))
    pulls = (-options.wall * depth / np.maximum(r, 1e-6))[:, None] * vectors
    gradient = np.zeros((structure.n_atoms, 3))
    for axis in range(3):
        gradient[:, axis] = -np.bincount(first, pulls[:, axis], minlength=structure.n_atoms)
    strain = 0.5 * vectors.T @ pulls
    value = 0.25 * options.wall * float((depth**2).sum())
    away = nearest_vectors(fragment)
    distance = np.linalg.norm(away, axis=1)
    inside = np.where(fragment.is_core, 0.0, np.maximum(0.0, fragment.core_radius - distance))
    push = (-options.wall * inside / np.maximum(distance, 1e-6))[:, None] * away
    gradient += push
    gradient[0] -= push.sum(axis=0)
    strain = strain + away.T @ push
    value += 0.5 * options.wall * float((inside**2).sum())
    return ObjectiveValue(value, gradient, strain)


def _norms(products: FloatArray, power: int) -> FloatArray:
    largest = np.maximum(np.abs(products).max(axis=1), 1e-300)
    sums = _power(products / largest[:, None], power).sum(axis=1)
    norms: FloatArray = largest * sums ** (1.0 / power)
    return norms


def _power(values: FloatArray, exponent: int) -> FloatArray:
    """Return values to a whole power by repeated squaring: a tenth of the time of ``**``."""
    result: FloatArray | None = None
    square = values
    while exponent:
        if exponent & 1:
            result = square if result is None else result * square
        exponent >>= 1
        if exponent:
            square = square * square
    assert result is not None
    return result


__all__ = [
    "HealingOptions",
    "Objective",
    "ObjectiveValue",
    "energy_objective",
    "grade_objective",
    "healed",
    "smooth_grades",
    "wall_energy",
]
