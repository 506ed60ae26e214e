r"""Features of a potential: the gradients of what it predicts in the parameters of its networks.

To first order a change :math:`\delta` of the parameters changes a prediction f by
:math:`\phi \cdot \delta` with :math:`\phi = \partial f / \partial \theta`. Columns are, type by
type, the components of the B-projection (neuron-major blocks of w0, b0, w1), then the common bias
b1; or w1 and b1 alone. The features of an energy are sums of B-projections; those of forces and
virials are their derivatives in positions and strains. Columns are not scaled.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nepal_flows.core.bayes.rows import feature_rows
from nepal_flows.core.neighbours import NeighbourList
from nepal_flows.core.nep.evaluation import empty_jacobian
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.potential import prepared_input
from nepal_flows.core.nep.projections import (
    ProjectionFactors,
    dense_projections,
    evaluated_factors,
)
from nepal_flows.core.simd_memory import WIDTH
from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray

Layer = Literal["all", "last"]
"""Which parameters: all of the networks, or the last layer (w1 and b1) alone."""


@dataclass(frozen=True, eq=False)
class FrameFeatures:
    """The features of one structure's predictions.

    Attributes
    ----------
    atoms
        Of every atom's energy, shape (n_atoms, n_features), eV per unit of a parameter.
    forces
        Shape (3 n_atoms, n_features), the components of one atom together, eV/Å per unit.
    virial
        Of xx, yy, zz, xy, yz and zx, shape (6, n_features), eV per unit.
    """

    atoms: FloatArray
    forces: FloatArray
    virial: FloatArray

    @property
    def energy(self) -> FloatArray:
        """Features of the total energy, shape (n_features,)."""
        total: FloatArray = self.atoms.sum(axis=0)
        return total


def n_features(architecture: NepArchitecture, layer: Layer = "all") -> int:
    """Return the number of columns.

    Examples
    --------
    >>> a = NepArchitecture(("Cu",), (6.0,), (5.0,), 4, 4, 8, 8, 4, True, False, 20)
    >>> n_features(a), n_features(a, "last")
    (641, 21)
    """
    per_type = architecture.n_projection if layer == "all" else architecture.n_neurons
    return architecture.n_types * per_type + 1


def frame_features(
    model: NepModel,
    structure: Structure,
    *,
    layer: Layer = "all",
    neighbours: NeighbourList | None = None,
) -> FrameFeatures:
    """Return the features of a structure's energies, forces and virial.

    Parameters
    ----------
    model, structure
        The potential and the atoms. A repulsion of nuclei has no parameters and no part in it.
    layer
        Which parameters.
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
    architecture = model.architecture
    n_atoms, n_neurons = structure.n_atoms, architecture.n_neurons
    D = architecture.n_descriptors
    n_blocks = int((np.diff(neighbours.offsets) // WIDTH + 4).sum())
    jacobian = empty_jacobian(n_blocks, D, n_atoms)
    factors = evaluated_factors(model, types, structure, neighbours, jacobian=jacobian)
    w0 = np.zeros((architecture.n_types, D + 1, n_neurons))
    w0[:, :D] = model.w0.swapaxes(1, 2)
    columns = n_features(architecture, layer)
    forces, virial = np.empty((3 * n_atoms, columns)), np.empty((6, columns))
    forces[:, -1] = virial[:, -1] = 0.0
    feature_rows(
        types, w0, factors.y, factors.v, factors.t,
        jacobian.rows.reshape(len(jacobian.rows), -1), jacobian.first_block, jacobian.lanes,
        layer == "all", 0, n_atoms, forces, virial,
    )  # fmt: skip
    return FrameFeatures(_energy_rows(architecture, factors, layer), forces, virial)


def _energy_rows(
    architecture: NepArchitecture, factors: ProjectionFactors, layer: Layer
) -> FloatArray:
    """Return the features of atomic energies: B-projections in the columns of their type."""
    rows = np.zeros((factors.n_atoms, n_features(architecture, layer)))
    rows[:, -1] = -1.0
    blocks = rows[:, :-1].reshape(factors.n_atoms, architecture.n_types, -1)
    for kind in range(architecture.n_types):
        atoms = np.flatnonzero(factors.types == kind)
        dense = dense_projections(factors, atoms) if layer == "all" else factors.t[atoms]
        blocks[atoms, kind] = dense
    return rows


__all__ = ["FrameFeatures", "Layer", "frame_features", "n_features"]
