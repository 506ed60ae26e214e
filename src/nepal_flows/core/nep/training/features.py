r"""What training needs to know about structures: everything that no parameter changes.

Descriptors are linear in the expansion coefficients c, so the sums over neighbours
:math:`R_{i,t,k} = \sum_j f_k(r_{ij})` and :math:`A_{i,t,k,lm} = \sum_j f_k(r_{ij}) b_{lm}`,
j of type t, are made once. Forces need the pairs too: their unit vectors and the few numbers from
which :math:`f_k` and :math:`f'_k` follow by Chebyshev recurrence.

The pairs of an atom are sorted by the type of the neighbour; those of one type are a *slot*. In a
slot the pairs within the angular cutoff come first, and the whole is padded to blocks of
:data:`~nepal_flows.core.nep.training.lanes.N_LANES` pairs that contribute nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np

from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.nep.basis import harmonics, radial_basis
from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.lanes import N_LANES, aligned_zeros
from nepal_flows.core.nep.training.layout import sizes_of
from nepal_flows.core.structure import Structure
from nepal_flows.errors import ModelError, StructureError
from nepal_flows.typing import AnyArray, FloatArray

RADIAL_CHANNELS = 7
"""Numbers kept of a pair: unit vector, r, then x, f_c x'/2 and f_c'/2 of the radial basis."""

ANGULAR_CHANNELS = 5
"""Further numbers of a pair in an angular block: x, f_c/2, f_c x'/2, f_c'/2, 1/r."""


class Features(NamedTuple):
    """Parameter-free data of a sequence of structures, as flat arrays for the kernels.

    Attributes
    ----------
    atom_start
        First atom of every structure, shape (n_structures + 1,).
    atom_type
        Type of every atom, shape (n_atoms,).
    slot_start
        First slot of every atom, shape (n_atoms + 1,).
    slot_type
        Neighbour type of every slot, shape (n_slots,).
    radial_start, angular_start
        First block and first angular block of every slot, shape (n_slots + 1,); the angular
        blocks of a slot are the first of its blocks.
    neighbours
        Neighbour of every pair, counted within the structure, shape (n_blocks * N_LANES,).
    radial_pairs
        :data:`RADIAL_CHANNELS` vectors per block.
    angular_pairs
        :data:`ANGULAR_CHANNELS` vectors per angular block.
    radial_sums
        R, indexed [slot, k].
    angular_sums
        A, indexed [slot, k, lm], lm padded.
    most_angular_blocks
        Largest number of angular blocks of one atom.
    max_neighbours
        Largest radial and angular number of neighbours of one atom.
    """

    atom_start: AnyArray
    atom_type: AnyArray
    slot_start: AnyArray
    slot_type: AnyArray
    radial_start: AnyArray
    angular_start: AnyArray
    neighbours: AnyArray
    radial_pairs: AnyArray
    angular_pairs: AnyArray
    radial_sums: AnyArray
    angular_sums: AnyArray
    most_angular_blocks: int
    max_neighbours: tuple[int, int]

    @property
    def n_structures(self) -> int:
        """Number of structures."""
        return len(self.atom_start) - 1

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atom_type)

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self if isinstance(array, np.ndarray))


def build_features(
    structures: Sequence[Structure], architecture: NepArchitecture, *, dtype: type = np.float64
) -> Features:
    """Return the parameter-free data of structures.

    Parameters
    ----------
    structures
        At least one; every element must be one of the architecture's.
    architecture
        Fixes cutoffs and basis.
    dtype
        ``np.float32`` or ``np.float64``: precision of what is kept. It is computed in float64.

    Raises
    ------
    ModelError
        If there is no structure, or an element the architecture does not name.
    StructureError
        If two atoms coincide.
    """
    if not structures:
        raise ModelError("There is no structure to build features of; give at least one.")
    sizes = sizes_of(architecture)
    radial_cutoffs = _pair_cutoffs(architecture.radial_cutoffs)
    angular_cutoffs = _pair_cutoffs(architecture.angular_cutoffs)
    if not sizes.n_blocks:
        angular_cutoffs = np.zeros_like(angular_cutoffs)
    parts = []
    for index, structure in enumerate(structures):
        types = architecture.types_of(structure.numbers)
        neighbours = neighbour_list(structure, architecture.largest_cutoff)
        vectors = pair_vectors(neighbours, structure.positions, structure.cell)
        distances = np.linalg.norm(vectors, axis=1)
        if len(distances) and distances.min() < 1e-3:
            raise StructureError(
                f"Structure {index} has two atoms {distances.min():.1e} Å apart. Drop the frame."
            )
        parts.append(
            (
                types,
                *_structure_features(
                    neighbours.offsets,
                    neighbours.indices,
                    vectors,
                    distances,
                    types,
                    radial_cutoffs,
                    angular_cutoffs,
                    sizes,
                ),
            )
        )
    return _joined(parts, dtype)


def _pair_cutoffs(cutoffs: tuple[float, ...]) -> FloatArray:
    """Return the cutoff of every pair of types: the mean of the two."""
    values = np.array(cutoffs)
    return 0.5 * (values[:, None] + values[None, :])


def _joined(parts: list[tuple[AnyArray, ...]], dtype: type) -> Features:
    """Concatenate the arrays of structures, shifting what points into them."""

    def starts(index: int) -> AnyArray:
        """Concatenate arrays of start offsets."""
        pieces, shift = [np.zeros(1, dtype=np.int64)], 0
        for part in parts:
            pieces.append(part[index][1:] + shift)
            shift += int(part[index][-1])
        return np.concatenate(pieces)

    def floats(index: int) -> AnyArray:
        joined = aligned_zeros(sum(part[index].size for part in parts), dtype)
        position = 0
        for part in parts:
            joined[position : position + part[index].size] = part[index]
            position += part[index].size
        return joined

    return Features(
        atom_start=np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]),
        atom_type=np.concatenate([part[0] for part in parts]),
        slot_start=starts(1),
        slot_type=np.concatenate([part[2] for part in parts]),
        radial_start=starts(3),
        angular_start=starts(4),
        neighbours=np.concatenate([part[5] for part in parts]),
        radial_pairs=floats(6),
        angular_pairs=floats(7),
        radial_sums=floats(8),
        angular_sums=floats(9),
        most_angular_blocks=max(int(part[10][0]) for part in parts),
        max_neighbours=(
            max(int(part[10][1]) for part in parts),
            max(int(part[10][2]) for part in parts),
        ),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _structure_features(  # type: ignore[no-untyped-def]
    offsets, indices, vectors, distances, types, radial_cutoffs, angular_cutoffs, sizes
):
    """Return the arrays of :class:`Features` for one structure, in its order of fields."""
    n_atoms = len(types)
    counts = np.zeros((n_atoms, sizes.n_types, 2), np.int64)  # [.., all or angular]
    largest = np.zeros(3, np.int64)
    for i in range(n_atoms):
        n_radial = 0
        for p in range(offsets[i], offsets[i + 1]):
            t = types[indices[p]]
            within = distances[p] < radial_cutoffs[types[i], t]
            angular = distances[p] < angular_cutoffs[types[i], t]
            n_radial += within
            counts[i, t, 0] += within or angular
            counts[i, t, 1] += angular
        largest[1] = max(largest[1], n_radial)
        largest[2] = max(largest[2], counts[i, :, 1].sum())

    n_slots = 0
    n_blocks = 0
    n_angular = 0
    for i in range(n_atoms):
        own = 0
        for t in range(sizes.n_types):
            n_slots += counts[i, t, 0] > 0
            n_blocks += (counts[i, t, 0] + N_LANES - 1) // N_LANES
            own += (counts[i, t, 1] + N_LANES - 1) // N_LANES
        n_angular += own
        largest[0] = max(largest[0], own)

    slot_start = np.zeros(n_atoms + 1, np.int64)
    slot_type = np.empty(n_slots, np.int64)
    radial_start = np.zeros(n_slots + 1, np.int64)
    angular_start = np.zeros(n_slots + 1, np.int64)
    neighbours = np.empty(n_blocks * N_LANES, np.int32)
    radial_pairs = np.zeros(n_blocks * RADIAL_CHANNELS * N_LANES)
    angular_pairs = np.zeros(n_angular * ANGULAR_CHANNELS * N_LANES)
    radial_sums = np.zeros(n_slots * sizes.k_radial)
    angular_sums = np.zeros(n_slots * sizes.k_angular * sizes.harmonics_pad)
    radial = np.empty(sizes.k_radial)
    radial_slopes = np.empty(sizes.k_radial)
    angular = np.empty(sizes.k_angular)
    angular_slopes = np.empty(sizes.k_angular)
    b = np.empty(max(sizes.n_harmonics, 1))
    slot = 0
    for i in range(n_atoms):
        for t in range(sizes.n_types):
            if counts[i, t, 0] == 0:
                continue
            slot_type[slot] = t
            first = radial_start[slot]
            first_angular = angular_start[slot]
            last = first + (counts[i, t, 0] + N_LANES - 1) // N_LANES
            radial_start[slot + 1] = last
            angular_start[slot + 1] = first_angular + (counts[i, t, 1] + N_LANES - 1) // N_LANES
            for lane in range(first * N_LANES, last * N_LANES):  # padding: harmless numbers
                block = lane // N_LANES
                at = block * RADIAL_CHANNELS * N_LANES + lane % N_LANES
                neighbours[lane] = i
                radial_pairs[at + 2 * N_LANES] = 1.0
                radial_pairs[at + 4 * N_LANES] = -1.0
            next_angular = first * N_LANES
            next_radial = next_angular + counts[i, t, 1]
            for p in range(offsets[i], offsets[i + 1]):
                j = indices[p]
                r = distances[p]
                rc = radial_cutoffs[types[i], t]
                rc_angular = angular_cutoffs[types[i], t]
                if types[j] != t or (r >= rc and r >= rc_angular):
                    continue
                if r < rc_angular:
                    lane = next_angular
                    next_angular += 1
                else:
                    lane = next_radial
                    next_radial += 1
                block = lane // N_LANES
                at = block * RADIAL_CHANNELS * N_LANES + lane % N_LANES
                neighbours[lane] = j
                x, y, z = vectors[p, 0] / r, vectors[p, 1] / r, vectors[p, 2] / r
                radial_pairs[at] = x
                radial_pairs[at + N_LANES] = y
                radial_pairs[at + 2 * N_LANES] = z
                radial_pairs[at + 3 * N_LANES] = r
                if r < rc:
                    radial_basis(r, rc, radial, radial_slopes)
                    u = r / rc - 1.0
                    radial_pairs[at + 4 * N_LANES] = 2.0 * u * u - 1.0
                    radial_pairs[at + 5 * N_LANES] = 2.0 * radial[0] * u / rc
                    radial_pairs[at + 6 * N_LANES] = 0.5 * radial_slopes[0]
                    for k in range(sizes.k_radial):
                        radial_sums[slot * sizes.k_radial + k] += radial[k]
                if r >= rc_angular:
                    continue
                radial_basis(r, rc_angular, angular, angular_slopes)
                u = r / rc_angular - 1.0
                at = (block - first + first_angular) * ANGULAR_CHANNELS * N_LANES + lane % N_LANES
                angular_pairs[at] = 2.0 * u * u - 1.0
                angular_pairs[at + N_LANES] = 0.5 * angular[0]
                angular_pairs[at + 2 * N_LANES] = 2.0 * angular[0] * u / rc_angular
                angular_pairs[at + 3 * N_LANES] = 0.5 * angular_slopes[0]
                angular_pairs[at + 4 * N_LANES] = 1.0 / r
                if sizes.n_harmonics:
                    harmonics(x, y, z, sizes.l_max, b)
                for k in range(sizes.k_angular):
                    row = (slot * sizes.k_angular + k) * sizes.harmonics_pad
                    for m in range(sizes.n_harmonics):
                        angular_sums[row + m] += angular[k] * b[m]
            slot += 1
        slot_start[i + 1] = slot
    return (
        slot_start,
        slot_type,
        radial_start,
        angular_start,
        neighbours,
        radial_pairs,
        angular_pairs,
        radial_sums,
        angular_sums,
        largest,
    )


__all__ = [
    "ANGULAR_CHANNELS",
    "RADIAL_CHANNELS",
    "Features",
    "build_features",
]
