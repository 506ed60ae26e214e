"""Energies, forces and virials of structures from a NEP."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numba
import numpy as np

from nepal_flows.core.neighbours import NeighbourList, neighbour_list
from nepal_flows.core.nep.arrays import PotentialArrays, potential_arrays
from nepal_flows.core.nep.evaluation import (
    ENERGIES,
    FORCES,
    empty_jacobian,
    evaluate,
    no_jacobian,
)
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.simd import outer
from nepal_flows.core.structure import Structure
from nepal_flows.errors import StructureError
from nepal_flows.typing import FloatArray, IntArray

_EMPTY = np.empty((0, 0))
_SMALLEST_CHUNK = 32
_PREPARED: "WeakKeyDictionary[NepModel, PotentialArrays]" = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a potential says about one structure.

    Attributes
    ----------
    atomic_energies
        Shape (n_atoms,), eV.
    forces
        Shape (n_atoms, 3), eV/Å.
    virial
        Shape (3, 3), eV, positive when compressed.
    """

    atomic_energies: FloatArray
    forces: FloatArray
    virial: FloatArray

    @property
    def energy(self) -> float:
        """Total energy, eV."""
        return float(self.atomic_energies.sum())


def predict(
    model: NepModel,
    structure: Structure,
    *,
    neighbours: NeighbourList | None = None,
    n_threads: int = 1,
) -> Prediction:
    """Return energies, forces and virial of one structure.

    Parameters
    ----------
    model, structure
        The potential and the atoms.
    neighbours
        A list of these atoms with at least the model's largest cutoff; made when absent.
    n_threads
        Threads to share the atoms among. Results are reproducible for a given number.

    Raises
    ------
    ModelError
        If the structure holds an element that the model does not know.
    StructureError
        If the neighbour list does not fit.
    """
    types, neighbours = prepared_input(model, structure, neighbours)
    arrays = prepared_arrays(model)
    n_atoms = structure.n_atoms
    energies = np.empty(n_atoms)

    def part(first: int, last: int) -> tuple[FloatArray, FloatArray]:
        forces, virial = np.zeros((n_atoms, 3)), np.zeros((3, 3))
        evaluate(
            ENERGIES | FORCES, arrays, types, structure.positions, structure.cell,
            neighbours.offsets, neighbours.indices, neighbours.shift_index, neighbours.shifts,
            first, last, _EMPTY, energies, _EMPTY, _EMPTY, _EMPTY, _EMPTY, forces, virial,
            empty_jacobian(),
        )  # fmt: skip
        return forces, virial

    n_chunks = max(1, min(n_threads, n_atoms // _SMALLEST_CHUNK))
    if n_chunks == 1:
        return Prediction(energies, *part(0, n_atoms))
    bounds = np.linspace(0, n_atoms, n_chunks + 1).astype(int).tolist()
    with ThreadPoolExecutor(n_chunks) as pool:
        parts = list(pool.map(part, bounds[:-1], bounds[1:]))
    forces, virial = parts[0]
    for more_forces, more_virial in parts[1:]:
        forces += more_forces
        virial += more_virial
    return Prediction(energies, forces, virial)


def predict_many(
    model: NepModel, structures: Sequence[Structure], *, n_threads: int = 1
) -> list[Prediction]:
    """Return energies, forces and virials of many structures, in order.

    Parameters
    ----------
    model, structures
        The potential and the structures.
    n_threads
        Threads to share the structures among; results do not depend on it.

    Raises
    ------
    ModelError
        If a structure holds an element that the model does not know.
    """
    if n_threads <= 1:
        return [predict(model, structure) for structure in structures]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(lambda structure: predict(model, structure), structures))


def prepared_arrays(model: NepModel) -> PotentialArrays:
    """Return :func:`potential_arrays` of the model, kept for as long as the model lives."""
    arrays = _PREPARED.get(model)
    if arrays is None:
        arrays = _PREPARED[model] = potential_arrays(model)
    return arrays


def prepared_input(
    model: NepModel, structure: Structure, neighbours: NeighbourList | None
) -> tuple[IntArray, NeighbourList]:
    """Return the types and a neighbour list that fits, its neighbours ordered by type.

    Raises
    ------
    ModelError
        If the structure holds an element that the model does not know.
    StructureError
        If the given list is of other atoms or ends below the model's cutoff.
    """
    architecture = model.architecture
    types = architecture.types_of(structure.numbers)
    if neighbours is None:
        neighbours = neighbour_list(structure, architecture.largest_cutoff)
    elif neighbours.n_atoms != structure.n_atoms or (
        neighbours.cutoff < architecture.largest_cutoff
    ):
        raise StructureError(
            f"`neighbours` lists {neighbours.n_atoms} atoms up to {neighbours.cutoff} Å, but the "
            f"structure has {structure.n_atoms} atoms and the model reaches "
            f"{architecture.largest_cutoff} Å. Build the list from this structure."
        )
    if architecture.n_types > 1:
        indices, shift_index = sorted_by_type(
            types, architecture.n_types, neighbours.offsets, neighbours.indices,
            neighbours.shift_index,
        )  # fmt: skip
        if indices is not neighbours.indices:
            neighbours = dataclasses.replace(neighbours, indices=indices, shift_index=shift_index)
    return types, neighbours


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sorted_by_type(types, n_types, offsets, indices, shift_index):  # type: ignore[no-untyped-def]
    """Return `indices` and `shift_index` with every atom's neighbours ordered by type.

    The kernels take any order, and are faster with this one when there are several types. Arrays
    that have it already are returned as they are.
    """
    if _are_sorted(types, offsets, indices):
        return indices, shift_index
    new_indices = np.empty_like(indices)
    new_shift_index = np.empty_like(shift_index)
    cursor = np.empty(n_types + 1, np.int64)
    for i in range(len(offsets) - 1):
        for t in range(n_types + 1):
            cursor[t] = 0
        for pair in range(offsets[i], offsets[i + 1]):
            cursor[types[indices[pair]] + 1] += 1
        cursor[0] = offsets[i]
        for t in range(n_types):
            cursor[t + 1] += cursor[t]
        for pair in range(offsets[i], offsets[i + 1]):
            t = types[indices[pair]]
            new_indices[cursor[t]] = indices[pair]
            new_shift_index[cursor[t]] = shift_index[pair]
            cursor[t] += 1
    return new_indices, new_shift_index


@outer
def _are_sorted(types, offsets, indices):  # type: ignore[no-untyped-def]
    """Return whether the neighbours of every atom are ordered by type."""
    for i in range(len(offsets) - 1):
        before = np.int64(0)
        for pair in range(np.uint64(offsets[i]), np.uint64(offsets[i + 1])):
            t = types[np.uint64(indices[pair])]
            if t < before:
                return False
            before = t
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def energy_forces_virial(  # type: ignore[no-untyped-def]
    arrays, types, positions, cell, offsets, indices, shift_index, shifts, energies, forces, virial
):
    """Write energies, forces and virial of all atoms; for callers that are compiled themselves.

    :func:`nepal_flows.core.nep.evaluation.evaluate` does the same for a range of atoms and gives
    the factors of the B-projections in the same pass.

    Parameters
    ----------
    arrays
        The model, from :func:`potential_arrays`.
    types, positions, cell
        Types (n,) int64, positions (n, 3) and cell (3, 3), float64, Å.
    offsets, indices, shift_index, shifts
        A neighbour list (:class:`NeighbourList` or :func:`build_neighbours`) with the model's
        cutoff or more: pairs beyond the cutoff are skipped, so it may include a skin.
    energies, forces, virial
        Written: (n,) eV, (n, 3) eV/Å and (3, 3) eV.
    """
    for i in range(forces.shape[0]):
        for c in range(3):
            forces[i, c] = 0.0
    for a in range(3):
        for c in range(3):
            virial[a, c] = 0.0
    empty = np.empty((0, 0))
    evaluate(
        ENERGIES | FORCES, arrays, types, positions, cell, offsets, indices, shift_index, shifts,
        0, len(types), empty, energies, empty, empty, empty, empty, forces, virial,
        no_jacobian(),
    )  # fmt: skip


__all__ = [
    "Prediction",
    "energy_forces_virial",
    "potential_arrays",
    "predict",
    "predict_many",
    "sorted_by_type",
]
