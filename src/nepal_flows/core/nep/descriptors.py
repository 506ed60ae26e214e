"""The descriptors of atomic environments."""

import numpy as np

from nepal_flows.core.neighbours import NeighbourList
from nepal_flows.core.nep.evaluation import DESCRIPTORS, empty_jacobian, evaluate
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import prepared_arrays, prepared_input
from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray


def descriptors(
    model: NepModel, structure: Structure, *, neighbours: NeighbourList | None = None
) -> FloatArray:
    """Return the unscaled descriptors of every atom.

    Parameters
    ----------
    model, structure
        The model (its network plays no part) and the atoms.
    neighbours
        A list of these atoms with at least the model's largest cutoff; made when absent.

    Returns
    -------
    FloatArray
        Shape (n_atoms, n_descriptors), not multiplied by ``q_scaler``: radial n, then l-major
        angular components.

    Raises
    ------
    ModelError
        If the structure holds an element that the model does not know.
    StructureError
        If the neighbour list does not fit.
    """
    types, neighbours = prepared_input(model, structure, neighbours)
    values = np.empty((structure.n_atoms, model.architecture.n_descriptors))
    empty = np.empty((0, 0))
    evaluate(
        DESCRIPTORS, prepared_arrays(model), types, structure.positions, structure.cell,
        neighbours.offsets, neighbours.indices, neighbours.shift_index, neighbours.shifts,
        0, structure.n_atoms, values, np.empty(0), empty, empty, empty, empty, empty, empty,
        empty_jacobian(),
    )  # fmt: skip
    return values


__all__ = ["descriptors"]
