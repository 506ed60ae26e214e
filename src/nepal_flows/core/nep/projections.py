r"""B-projections: the gradient of an atom's energy in the parameters of its network.

For an atom with scaled descriptor y, neurons :math:`t_n = \tanh(w^0_n y - b^0_n)` and
:math:`v_n = w^1_n (1 - t_n^2)`, the projection b holds per neuron the block
:math:`(v_n y_1 .. v_n y_D, -v_n, t_n) = \partial E / \partial (w^0_n, b^0_n, w^1_n)` [1]_.
It has N (D + 2) components but is made of D + 2 N numbers, its factors.

References
----------
.. [1] arXiv:2604.13848.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.neighbours import NeighbourList
from nepal_flows.core.nep.evaluation import (
    ENERGIES,
    FACTORS,
    FORCES,
    FUNCTIONAL,
    JACOBIAN,
    Jacobian,
    empty_jacobian,
    evaluate,
)
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import prepared_arrays, prepared_input
from nepal_flows.core.structure import Structure
from nepal_flows.errors import ModelError
from nepal_flows.typing import FloatArray, IntArray

_EMPTY = np.empty((0, 0))


@dataclass(frozen=True, eq=False)
class ProjectionFactors:
    """The B-projections of a structure's atoms in factorised form, dimensionless.

    The arrays are float64. Where millions of environments are kept they may be float32: the
    numerics stay in float64, on projections that are rounded to 1e-7 relative.

    Attributes
    ----------
    types
        Type of every atom, shape (n_atoms,).
    y
        Scaled descriptors, shape (n_atoms, n_descriptors).
    v
        w1 (1 - tanh^2) of every neuron, shape (n_atoms, n_neurons).
    t
        tanh of every neuron, shape (n_atoms, n_neurons).
    """

    types: IntArray
    y: FloatArray
    v: FloatArray
    t: FloatArray

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.types)

    @property
    def n_projection(self) -> int:
        """Length of a projection, N (D + 2)."""
        return self.v.shape[1] * (self.y.shape[1] + 2)


@dataclass(frozen=True, eq=False)
class ProjectionGradient:
    """A linear functional of the projections and its gradient.

    Attributes
    ----------
    value
        Sum over atoms of weights . b.
    positions
        Gradient in the positions, shape (n_atoms, 3), 1/Å.
    strain
        Gradient in a strain of the cell with its atoms, shape (3, 3), symmetric.
    """

    value: float
    positions: FloatArray
    strain: FloatArray


def projection_factors(
    model: NepModel, structure: Structure, *, neighbours: NeighbourList | None = None
) -> ProjectionFactors:
    """Return the factors of every atom's B-projection.

    Parameters
    ----------
    model, structure
        The potential and the atoms.
    neighbours
        A list of these atoms with at least the model's largest cutoff; made when absent.

    Raises
    ------
    ModelError
        If the structure holds an element that the model does not know.
    StructureError
        If the neighbour list does not fit.
    """
    types, neighbours = prepared_input(model, structure, neighbours)
    return evaluated_factors(model, types, structure, neighbours)


def evaluated_factors(
    model: NepModel,
    types: IntArray,
    structure: Structure,
    neighbours: NeighbourList,
    *,
    jacobian: Jacobian | None = None,
) -> ProjectionFactors:
    """Return the factors of input that is prepared; fill the blocks of a Jacobian if one is given.

    Parameters
    ----------
    model, structure
        The potential and the atoms.
    types, neighbours
        As `prepared_input` returns them.
    jacobian
        Room for the derivatives of the descriptors, as `empty_jacobian` makes it.
    """
    architecture = model.architecture
    y = np.empty((structure.n_atoms, architecture.n_descriptors))
    v = np.empty((structure.n_atoms, architecture.n_neurons))
    t = np.empty_like(v)
    flags = FACTORS if jacobian is None else FACTORS | JACOBIAN
    evaluate(
        flags, prepared_arrays(model), types, structure.positions, structure.cell,
        neighbours.offsets, neighbours.indices, neighbours.shift_index, neighbours.shifts,
        0, structure.n_atoms, _EMPTY, np.empty(0), y, v, t, _EMPTY, _EMPTY, _EMPTY,
        empty_jacobian() if jacobian is None else jacobian,
    )  # fmt: skip
    return ProjectionFactors(types, y, v, t)


def dense_projections(
    factors: ProjectionFactors, atoms: Sequence[int] | IntArray | None = None
) -> FloatArray:
    """Return B-projections written out, neuron-major in blocks of D + 2.

    Parameters
    ----------
    factors
        Their factors.
    atoms
        Which atoms, in which order; all when absent.

    Returns
    -------
    FloatArray
        Shape (n_atoms, n_projection), dimensionless.
    """
    y, v, t = factors.y, factors.v, factors.t
    if atoms is not None:
        chosen = np.asarray(atoms)
        y, v, t = y[chosen], v[chosen], t[chosen]
    n_atoms, n_descriptors = y.shape
    blocks = np.empty((n_atoms, v.shape[1], n_descriptors + 2))
    np.multiply(v[:, :, None], y[:, None, :], out=blocks[:, :, :n_descriptors], dtype=np.float64)
    blocks[:, :, n_descriptors] = -v
    blocks[:, :, n_descriptors + 1] = t
    return blocks.reshape(n_atoms, -1)


def projections(
    model: NepModel, structure: Structure, *, neighbours: NeighbourList | None = None
) -> FloatArray:
    """Return the B-projection of every atom, shape (n_atoms, n_projection), dimensionless.

    Parameters
    ----------
    model, structure, neighbours
        As in :func:`projection_factors`, which stores the same in far less memory.

    Raises
    ------
    ModelError
        If the structure holds an element that the model does not know.
    """
    return dense_projections(projection_factors(model, structure, neighbours=neighbours))


def projection_gradient(
    model: NepModel,
    structure: Structure,
    weights: FloatArray,
    *,
    neighbours: NeighbourList | None = None,
) -> ProjectionGradient:
    r"""Return :math:`\sum_i \mathrm{weights}_i \cdot b_i` and its gradient.

    Parameters
    ----------
    model, structure
        The potential and the atoms.
    weights
        Shape (n_atoms, n_projection). Rows of zeros leave atoms out.
    neighbours
        A list of these atoms with at least the model's largest cutoff; made when absent.

    Raises
    ------
    ModelError
        If `weights` has another shape, or an element is not one of the model's.
    StructureError
        If the neighbour list does not fit.
    """
    types, neighbours = prepared_input(model, structure, neighbours)
    shape = (structure.n_atoms, model.architecture.n_projection)
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if weights.shape != shape:
        raise ModelError(
            f"`weights` has shape {weights.shape}, expected {shape}: a row for every atom, a "
            "column for every component of its projection."
        )
    values = np.empty(structure.n_atoms)
    forces, virial = np.zeros((structure.n_atoms, 3)), np.zeros((3, 3))
    evaluate(
        ENERGIES | FORCES | FUNCTIONAL, prepared_arrays(model), types, structure.positions,
        structure.cell, neighbours.offsets, neighbours.indices, neighbours.shift_index,
        neighbours.shifts, 0, structure.n_atoms, _EMPTY, values, _EMPTY, _EMPTY, _EMPTY, weights,
        forces, virial, empty_jacobian(),
    )  # fmt: skip
    return ProjectionGradient(float(values.sum()), -forces, -virial)


__all__ = [
    "ProjectionFactors",
    "ProjectionGradient",
    "dense_projections",
    "projection_factors",
    "projection_gradient",
    "projections",
]
