"""What a model says about a few atoms of a large structure, at the cost of those few."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.carving.regions import Region, open_cluster
from nepal_flows.core.neighbours import NeighbourList, neighbour_list
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import ProjectionFactors, projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError
from nepal_flows.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Environment:
    """The surroundings of a centre in its parent, as a model sees them.

    Attributes
    ----------
    model
        The potential.
    region
        Around the centre.
    cluster
        The region as a structure without periodicity.
    neighbours
        Of the cluster, up to the model's largest cutoff.
    """

    model: NepModel
    region: Region
    cluster: Structure
    neighbours: NeighbourList

    def factors(self, rows: IntArray) -> ProjectionFactors:
        """Return the factors of some rows' B-projections.

        Raises
        ------
        CarvingError
            If a row is so near the region's edge that a neighbour may be missing.
        """
        self._require_inside(rows, self.model.architecture.largest_cutoff)
        own = projection_factors(self.model, self.cluster, neighbours=self._only(rows))
        return ProjectionFactors(own.types[rows], own.y[rows], own.v[rows], own.t[rows])

    def forces(self, rows: IntArray) -> FloatArray:
        """Return the model's forces on some rows in the parent, shape (n_rows, 3), eV/Å.

        Raises
        ------
        CarvingError
            As for `factors`, where neighbours' neighbours count.
        """
        self._require_inside(rows, 2.0 * self.model.architecture.largest_cutoff)
        felt = np.zeros(self.region.n_atoms, dtype=np.bool_)
        felt[rows] = True
        for row in rows:
            first, last = self.neighbours.offsets[row : row + 2]
            felt[self.neighbours.indices[first:last]] = True
        neighbours = self._only(np.flatnonzero(felt))
        return predict(self.model, self.cluster, neighbours=neighbours).forces[rows]

    def inside(self, margin: float) -> IntArray:
        """Return the rows that are at least so far from the region's faces, Å."""
        depths = np.abs(self.region.fractions) * self.region.thicknesses
        return np.flatnonzero((depths <= self.region.half_widths - margin).all(axis=1))

    def _require_inside(self, rows: IntArray, margin: float) -> None:
        beyond = np.setdiff1d(rows, self.inside(margin - 1e-6))
        if len(beyond):
            raise CarvingError(
                f"Atom {int(self.region.parents[beyond[0]])} is closer than {margin:g} Å to the "
                "edge of the region. Take a wider region."
            )

    def _only(self, rows: IntArray) -> NeighbourList:
        """Return the list with the pairs of some atoms alone: the kernels pass over the others."""
        counts = np.diff(self.neighbours.offsets)
        wanted = np.zeros(len(counts), dtype=np.bool_)
        wanted[rows] = True
        pairs = np.repeat(wanted, counts)
        return dataclasses.replace(
            self.neighbours,
            offsets=np.concatenate([[0], np.cumsum(np.where(wanted, counts, 0))]),
            indices=np.ascontiguousarray(self.neighbours.indices[pairs]),
            shift_index=np.ascontiguousarray(self.neighbours.shift_index[pairs]),
        )


def environment_of(model: NepModel, region: Region) -> Environment:
    """Return what a model sees of a region.

    Raises
    ------
    ModelError
        If the region holds an element that the model does not know.
    """
    model.architecture.types_of(region.numbers)
    cluster = open_cluster(region)
    neighbours = neighbour_list(cluster, model.architecture.largest_cutoff)
    return Environment(model, region, cluster, neighbours)


__all__ = ["Environment", "environment_of"]
