"""One compiled loop over atoms that serves energies, forces, descriptors and projections."""

from typing import NamedTuple

import numba
import numpy as np

from nepal_flows.core.nep.arrays import TYPE, R, X, Y, Z, new_scratch
from nepal_flows.core.nep.backward import backward
from nepal_flows.core.nep.forward import angular_forward, gather, radial_forward
from nepal_flows.core.nep.jacobian import jacobian_rows, jacobian_work
from nepal_flows.core.nep.network import network, network_backward
from nepal_flows.core.nep.zbl import pair_repulsion
from nepal_flows.core.simd import inner, outer, total
from nepal_flows.core.simd_memory import (
    WIDTH,
    borrowed,
    gather_fours,
    keep,
    load,
    load_four,
    splat,
    store,
    store_four,
)
from nepal_flows.typing import AnyArray, FloatArray

DESCRIPTORS, ENERGIES, FACTORS, FORCES, FUNCTIONAL, JACOBIAN = 1, 2, 4, 8, 16, 32
"""What :func:`evaluate` writes; add them up. FUNCTIONAL replaces the energy by the functional of
the projections that `weights` defines, and excludes the repulsion of nuclei."""


class Jacobian(NamedTuple):
    """Changes of the scaled descriptors with positions, for :mod:`nepal_flows.core.nep.jacobian`.

    Attributes
    ----------
    rows
        Shape (24 blocks, D / 8, 8), 1/Å.
    first_block
        First block of every atom, shape (n_atoms + 1,), int64.
    lanes
        Neighbour of every lane, n_atoms for an empty one, shape (8 blocks,), int32.
    """

    rows: FloatArray
    first_block: AnyArray
    lanes: AnyArray


def empty_jacobian(n_blocks: int = 0, n_descriptors: int = 0, n_atoms: int = 0) -> Jacobian:
    """Return room for so many blocks, uninitialised; without arguments what is not written."""
    tiles = -(-n_descriptors // WIDTH)
    return Jacobian(
        np.empty((3 * WIDTH * n_blocks, tiles, WIDTH)),
        np.empty(n_atoms + 1, np.int64),
        np.empty(WIDTH * n_blocks, np.int32),
    )


@outer
def no_jacobian():  # type: ignore[no-untyped-def]
    """Return an empty :class:`Jacobian`, for callers that are compiled."""
    return Jacobian(np.empty((0, 0, 8)), np.empty(0, np.int64), np.empty(0, np.int32))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def evaluate(  # type: ignore[no-untyped-def]
    wanted,
    arrays,
    types,
    positions,
    cell,
    offsets,
    indices,
    shift_index,
    shifts,
    first,
    last,
    descriptors,
    energies,
    y,
    v,
    t,
    weights,
    forces,
    virial,
    jacobian,
):
    """Evaluate the atoms first to last - 1; callable from compiled code.

    Parameters
    ----------
    wanted
        Sum of the constants of this module. Arrays that are not wanted may be empty.
    arrays
        The model, from :func:`potential_arrays`.
    types, positions, cell
        Types (n,), positions (n, 3) and cell (3, 3), Å.
    offsets, indices, shift_index, shifts
        A neighbour list with at least the model's cutoff; pairs beyond it are skipped.
    first, last
        Range of central atoms.
    descriptors
        Written: unscaled descriptors, (n, D).
    energies
        Written: energy of every atom, or its share of the functional, (n,), eV.
    y, v, t
        Written: scaled descriptors (n, D), w1 (1 - tanh^2) and tanh (n, N) each.
    weights
        Read: weights of the projections in the functional, (n, N (D + 2)).
    forces, virial
        *Added to*: (n, 3) eV/Å and (3, 3) eV. Forces also reach atoms outside the range.
    jacobian
        Written, from block 0 on: a :class:`Jacobian` of the atoms in the range.
    """
    most = np.int64(0)
    for i in range(first, last):
        most = max(most, offsets[i + 1] - offsets[i])
    room, integers, scratch = new_scratch(arrays, most)
    arrays = borrowed(arrays)
    n_blocks = scratch.lane.shape[1]
    # Copies in fours: addresses are cheap, and one vector operation serves x, y and z. Empty lanes
    # pull at an atom too many.
    n_atoms = len(types)
    xyz, images = _fours_of(positions, types, cell, shifts)
    pulls = np.zeros(4 * n_atoms + 4 if wanted & FORCES else 0)
    xx, yy, zz, xy, xz, yz = (
        splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0),
    )  # fmt: skip
    n_descriptors, n_neurons = arrays.n_descriptors, arrays.n_neurons
    with_slopes = wanted & (FORCES | JACOBIAN) != 0
    own, work = jacobian_work(arrays, wanted & JACOBIAN != 0)
    next_block = np.int64(0)
    has_zbl = arrays.zbl.shape[0] > 0 and wanted & FUNCTIONAL == 0
    for i in range(first, last):
        central = types[i]
        n_near, first_far = gather(
            arrays, scratch, i, types, xyz, images, offsets, indices, shift_index
        )
        radial_forward(arrays, scratch, central, n_near, first_far, with_slopes)
        if arrays.n_angular > 0:
            angular_forward(arrays, scratch, central, n_near, with_slopes)
        if wanted & DESCRIPTORS:
            for d in range(n_descriptors):
                descriptors[i, d] = scratch.q_flat[d]
        if wanted & (ENERGIES | FACTORS | FORCES | FUNCTIONAL | JACOBIAN) == 0:
            continue
        energy = network(arrays, scratch, central)
        if wanted & FACTORS:
            for d in range(n_descriptors):
                y[i, d] = scratch.q_flat[d] * arrays.q_scaler[d]
            for n in range(n_neurons):
                t[i, n] = scratch.hidden_flat[0, n]
                v[i, n] = scratch.hidden_flat[1, n]
        if wanted & JACOBIAN:
            jacobian.first_block[i] = next_block
            next_block = jacobian_rows(
                arrays, scratch, work, i, np.int32(n_atoms), central, n_near, first_far, next_block,
                jacobian.rows, jacobian.lanes,
            )  # fmt: skip
        if wanted & FUNCTIONAL:
            energy = functional(arrays, scratch, central, weights[i])
        elif wanted & FORCES:
            network_backward(arrays, scratch, central)
        if wanted & FORCES:
            backward(arrays, scratch, central, n_near, first_far)
        if has_zbl:
            energy += repulsion(arrays, scratch, central, n_near, wanted & FORCES)
        if wanted & ENERGIES:
            energies[i] = energy
        if wanted & FORCES == 0:
            continue
        fx, fy, fz = splat(0.0), splat(0.0), splat(0.0)
        lane, pair_force = scratch.lane, scratch.pair_force
        fours, neighbour = scratch.fours, scratch.neighbour
        for count in range(n_near + n_blocks - first_far):
            block = count if count < n_near else count - n_near + first_far
            px, py, pz = (
                load(pair_force, 0, block), load(pair_force, 1, block), load(pair_force, 2, block),
            )  # fmt: skip
            fx, fy, fz = fx + px, fy + py, fz + pz
            r = load(lane, R, block)
            rx, ry, rz = (
                r * load(lane, X, block),
                r * load(lane, Y, block),
                r * load(lane, Z, block),
            )
            xx, yy, zz = xx + rx * px, yy + ry * py, zz + rz * pz
            xy, xz, yz = xy + rx * py, xz + rx * pz, yz + ry * pz
            gather_fours(pair_force, 0, block, fours, 4 * WIDTH * block)
            for k in range(WIDTH * block, WIDTH * (block + 1)):
                j = np.uint64(4) * np.uint64(neighbour[k])
                store_four(pulls, j, load_four(pulls, j) + load_four(fours, 4 * k))
        forces[i, 0] += total(fx)
        forces[i, 1] += total(fy)
        forces[i, 2] += total(fz)
    if wanted & JACOBIAN:
        jacobian.first_block[last] = next_block
    if wanted & FORCES:
        for i in range(n_atoms):
            for c in range(3):
                forces[i, c] -= pulls[4 * i + c]
        virial[0, 0] -= total(xx)
        virial[1, 1] -= total(yy)
        virial[2, 2] -= total(zz)
        # The sum over a central atom is symmetric, because its energy does not change on rotation.
        virial[0, 1] -= total(xy)
        virial[1, 0] -= total(xy)
        virial[0, 2] -= total(xz)
        virial[2, 0] -= total(xz)
        virial[1, 2] -= total(yz)
        virial[2, 1] -= total(yz)
    keep(room)
    keep(integers)
    keep(own)


@outer
def _fours_of(positions, types, cell, shifts):  # type: ignore[no-untyped-def]
    """Return (x, y, z, type) of every atom and (x, y, z, 0) of every translation, flat."""
    xyz, images = np.empty(4 * len(types)), np.zeros(4 * len(shifts))
    for i in range(len(types)):
        for c in range(3):
            xyz[4 * i + c] = positions[i, c]
        xyz[4 * i + 3] = types[i]
    for s in range(len(shifts)):
        for c in range(3):
            images[4 * s + c] = (
                shifts[s, 0] * cell[0, c] + shifts[s, 1] * cell[1, c] + shifts[s, 2] * cell[2, c]
            )
    return xyz, images


@inner
def repulsion(arrays, scratch, central, n_near, with_forces):  # type: ignore[no-untyped-def]
    """Return one atom's share of the repulsion; add its part to the pair forces."""
    energy = 0.0
    for block in range(n_near):
        for k in range(WIDTH):
            parameters = arrays.zbl[central, np.int64(scratch.lane[TYPE, block, k])]
            r = scratch.lane[R, block, k]
            if r >= parameters[1]:
                continue
            pair, slope = pair_repulsion(parameters, r)
            energy += 0.5 * pair
            if with_forces:
                for c in range(3):
                    scratch.pair_force[c, block, k] += 0.5 * slope * scratch.lane[X + c, block, k]
    return energy


@inner
def functional(arrays, scratch, central, weights):  # type: ignore[no-untyped-def]
    r"""Return weights . b of one atom, and write its slope in q to ``scratch.q_slope``.

    With :math:`v = w^1 (1 - t^2)` a neuron's block of b is (v y, -v, t), and
    :math:`\partial t / \partial y = (1 - t^2) w^0`,
    :math:`\partial v / \partial y = -2 t v w^0`.
    """
    n_descriptors = arrays.n_descriptors
    width = n_descriptors + 2
    for tile in range(scratch.q_slope.shape[0]):
        store(0.0, scratch.q_slope, tile)
    value = 0.0
    for n in range(arrays.n_neurons):
        t, v = scratch.hidden_flat[0, n], scratch.hidden_flat[1, n]
        begin = n * width
        bracket = -weights[begin + n_descriptors]
        for d in range(n_descriptors):
            bracket += weights[begin + d] * scratch.q_flat[d] * arrays.q_scaler[d]
        last = weights[begin + n_descriptors + 1]
        value += v * bracket + t * last
        through_neuron = (1.0 - t * t) * last - 2.0 * t * v * bracket
        for d in range(n_descriptors):
            w0 = arrays.w0_by_descriptor[central, n, d // WIDTH, d % WIDTH]
            slope = v * weights[begin + d] * arrays.q_scaler[d] + through_neuron * w0
            scratch.q_slope_flat[d] += slope
    return value
