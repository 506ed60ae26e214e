"""The compiled loop of molecular dynamics: one call runs many steps.

The loop keeps its own Verlet list, judges every step by the physics gate, and writes a record (with
the factors of the B-projections, which grade the frame) at every check. It works on a state that
the caller owns, so it can be called again and again; how a run is cut into calls changes nothing.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from nepal_flows.core.md.geometry import closest_pair, farthest_move, volume_of, wrap_atoms
from nepal_flows.core.md.integrators import (
    LARGEST_VOLUME_STEP,
    drift,
    kick,
    kinetic_energy,
    kinetic_temperature,
    thermalise,
    volume_factor,
)
from nepal_flows.core.neighbour_search import build_neighbours
from nepal_flows.core.nep.evaluation import ENERGIES, FACTORS, FORCES, evaluate, no_jacobian
from nepal_flows.core.nep.potential import sorted_by_type
from nepal_flows.typing import AnyArray, BoolArray, FloatArray, IntArray

NVE, NVT, NPT = 0, 1, 2
SOUND, NOT_FINITE, TOO_HOT, BAD_VOLUME, TOO_CLOSE, VOLUME_JUMP = 0, 1, 2, 3, 4, 5
"""How a call ended; anything but SOUND ends the run."""

_FARTHEST_MOVE = 50.0
"""Å between two neighbour lists; beyond it the run has exploded."""


class MdState(NamedTuple):
    """Atoms in motion; every array is changed in place.

    Attributes
    ----------
    types, masses
        Shapes (n_atoms,), masses in amu.
    pbc
        Shape (3,).
    positions, velocities, forces
        Shapes (n_atoms, 3): Å, Å/fs, eV/Å.
    cell, virial
        Shapes (3, 3): Å, eV.
    energies
        Of every atom, shape (n_atoms,), eV.
    reference
        Positions when the neighbour list was built, shape (n_atoms, 3), Å.
    scale
        Linear size of the cell over that of the neighbour list, shape (1,); 0 before the first
        list, which :func:`advance` then makes, together with the first forces.
    random
        State of the random numbers, shape (4,).
    noise
        Scratch, shape (3 n_atoms,).
    nothing
        Shape (0, 0), for what is not asked of the potential.
    """

    types: IntArray
    masses: FloatArray
    pbc: BoolArray
    positions: FloatArray
    velocities: FloatArray
    forces: FloatArray
    cell: FloatArray
    virial: FloatArray
    energies: FloatArray
    reference: FloatArray
    scale: FloatArray
    random: AnyArray
    noise: FloatArray
    nothing: FloatArray


class Stretch(NamedTuple):
    """One stretch of dynamics: ensemble, ramps and couplings.

    Temperatures in K, pressures in eV/Å^3, times in fs; `mobility` is the compressibility over the
    barostat's relaxation time, Å^3/(eV fs). Targets run linearly from the first to the second
    value over `n_steps`.
    """

    ensemble: int
    first_temperature: float
    last_temperature: float
    first_pressure: float
    last_pressure: float
    n_steps: int
    time_step: float
    thermostat_time: float
    mobility: float


class Limits(NamedTuple):
    """The physics gate as numbers.

    `distances` is the smallest distance by pair of types, shape (n_types, n_types), Å; volumes in
    Å^3; the hottest allowed temperature is ``temperature_factor`` times the target plus
    ``temperature_margin`` (K).
    """

    distances: FloatArray
    smallest_volume: float
    largest_volume: float
    temperature_factor: float
    temperature_margin: float


class Records(NamedTuple):
    """Room for the checks of one call; the first axis counts checks.

    `scalars` holds step, temperature (K), target temperature (K), potential energy (eV), kinetic
    energy (eV), pressure (eV/Å^3) and volume (Å^3). `y`, `v`, `t` are the factors of the
    B-projections and have no rows when frames are not graded.
    """

    scalars: FloatArray
    positions: FloatArray
    cells: FloatArray
    y: FloatArray
    v: FloatArray
    t: FloatArray


N_SCALARS = 7


@numba.njit(inline="always")
def _update_forces(potential, state, neighbours, y, v, t):  # type: ignore[no-untyped-def]
    """Write energies, forces and virial of the current positions; return the energy, eV.

    The factors of the B-projections are written too where `y` has rows.
    """
    offsets, indices, shift_index, shifts = neighbours
    wanted = ENERGIES | FORCES
    if y.shape[0] > 0:
        wanted |= FACTORS
    state.forces[:] = 0.0
    state.virial[:] = 0.0
    n_atoms = state.masses.shape[0]
    evaluate(
        wanted,
        potential,
        state.types,
        state.positions,
        state.cell,
        offsets,
        indices,
        shift_index,
        shifts,
        np.int64(0),  # a literal 0 would compile the kernel a second time
        n_atoms,
        state.nothing,
        state.energies,
        y,
        v,
        t,
        state.nothing,
        state.forces,
        state.virial,
        no_jacobian(),
    )
    energy = 0.0
    for i in range(n_atoms):
        energy += state.energies[i]
    return energy


@numba.njit(inline="always")
def _list_neighbours(state, cutoff, n_types):  # type: ignore[no-untyped-def]
    """Wrap the atoms, note where they are, and return their neighbours up to a cutoff, Å."""
    wrap_atoms(state.positions, state.cell, state.pbc)
    state.reference[:] = state.positions
    state.scale[0] = 1.0
    offsets, indices, shift_index, shifts = build_neighbours(
        state.positions, state.cell, state.pbc, cutoff
    )
    if n_types > 1:
        indices, shift_index = sorted_by_type(state.types, n_types, offsets, indices, shift_index)
    return offsets, indices, shift_index, shifts


@numba.njit(cache=True, nogil=True, error_model="numpy")
def advance(  # type: ignore[no-untyped-def]
    potential,
    state,
    neighbours,
    reach,
    skin,
    stretch,
    limits,
    records,
    n_done,
    n_steps,
    n_before,
    check_interval,
    burn_in,
):
    """Run a number of steps of one stretch.

    Parameters
    ----------
    potential
        Of :func:`nepal_flows.core.nep.arrays.potential_arrays`.
    state
        :class:`MdState`; changed.
    neighbours
        Verlet list that the last call returned; at the beginning, any of the right types.
    reach, skin
        Largest cutoff of the potential, and by how much that of the list exceeds it, Å.
    stretch, limits, records
        :class:`Stretch`, :class:`Limits` and :class:`Records` (filled from its first row).
    n_done, n_steps
        Steps of the stretch that are done, and how many to do now.
    n_before
        Steps of the run before this stretch.
    check_interval, burn_in
        Checks fall on steps of the run that are multiples of the interval, from the first one
        after the burn-in on.

    Returns
    -------
    tuple
        ``(status, values, n_finished, n_records, neighbours)``. ``values`` tells what was
        wrong: the offending temperature, volume, or atoms and distance.
    """
    n_atoms = state.masses.shape[0]
    dt = stretch.time_step
    values = np.zeros(3)
    n_records = 0
    n_finished = 0
    status = SOUND
    if state.scale[0] == 0.0:
        neighbours = _list_neighbours(state, reach + skin, limits.distances.shape[0])
        _update_forces(potential, state, neighbours, state.nothing, state.nothing, state.nothing)
    for k in range(n_steps):
        progress = (n_done + k + 1) / stretch.n_steps
        temperature = stretch.first_temperature + progress * (
            stretch.last_temperature - stretch.first_temperature
        )
        kick(state.velocities, state.forces, state.masses, 0.5 * dt)
        if stretch.ensemble == NPT:
            pressure = stretch.first_pressure + progress * (
                stretch.last_pressure - stretch.first_pressure
            )
            trace = state.virial[0, 0] + state.virial[1, 1] + state.virial[2, 2]
            factor = volume_factor(
                volume_of(state.cell),
                trace,
                n_atoms,
                temperature,
                pressure,
                stretch.mobility,
                dt,
                state.random,
                state.noise,
            )
            if not abs(factor - 1.0) <= LARGEST_VOLUME_STEP:
                status, values[0] = VOLUME_JUMP, factor
                break
            linear = factor ** (1.0 / 3.0)
            state.cell[:] *= linear
            state.positions[:] *= linear
            state.scale[0] *= linear
        volume = volume_of(state.cell)
        if not limits.smallest_volume <= volume <= limits.largest_volume:
            status, values[0] = BAD_VOLUME, volume
            break
        drift(state.positions, state.velocities, 0.5 * dt)
        if stretch.ensemble != NVE:
            thermalise(
                state.velocities,
                state.masses,
                temperature,
                dt,
                stretch.thermostat_time,
                state.random,
                state.noise,
            )
        drift(state.positions, state.velocities, 0.5 * dt)

        moved = farthest_move(state.positions, state.reference, state.scale[0])
        if not moved < _FARTHEST_MOVE:
            status = NOT_FINITE
            break
        if 2.0 * moved > state.scale[0] * (reach + skin) - reach:
            neighbours = _list_neighbours(state, reach + skin, limits.distances.shape[0])
        step = n_before + n_done + n_finished + 1
        is_check = step % check_interval == 0 and step > burn_in
        y = v = t = state.nothing
        if is_check and records.y.shape[0] > 0:
            y, v, t = records.y[n_records], records.v[n_records], records.t[n_records]
        energy = _update_forces(potential, state, neighbours, y, v, t)
        kick(state.velocities, state.forces, state.masses, 0.5 * dt)

        kinetic = kinetic_energy(state.velocities, state.masses)
        if not abs(energy + kinetic) < math.inf:
            status = NOT_FINITE
            break
        actual = kinetic_temperature(kinetic, n_atoms)
        if actual > limits.temperature_factor * temperature + limits.temperature_margin:
            status, values[0], values[1] = TOO_HOT, actual, temperature
            break
        first, second, nearest = closest_pair(
            state.types, state.positions, state.cell, neighbours, limits.distances
        )
        if first >= 0:
            status, values[0], values[1], values[2] = TOO_CLOSE, first, second, nearest
            break
        n_finished += 1
        if is_check:
            record = records.scalars[n_records]
            trace = state.virial[0, 0] + state.virial[1, 1] + state.virial[2, 2]
            ideal = 2.0 * kinetic * n_atoms / max(1, n_atoms - 1)
            record[0], record[1], record[2] = step, actual, temperature
            record[3], record[4] = energy, kinetic
            record[5], record[6] = (ideal + trace) / (3.0 * volume), volume
            records.positions[n_records] = state.positions
            records.cells[n_records] = state.cell
            n_records += 1
    return status, values, n_finished, n_records, neighbours


__all__ = [
    "BAD_VOLUME",
    "NOT_FINITE",
    "NPT",
    "NVE",
    "NVT",
    "N_SCALARS",
    "SOUND",
    "TOO_CLOSE",
    "TOO_HOT",
    "VOLUME_JUMP",
    "Limits",
    "MdState",
    "Records",
    "Stretch",
    "advance",
]
