"""A NEP model laid out for the compiled kernels, and their working memory."""

from typing import NamedTuple

import numpy as np

from nepal_flows.core.nep.basis import L_MAX
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.zbl import zbl_table
from nepal_flows.core.simd import outer
from nepal_flows.core.simd_memory import WIDTH, empty_vectors, shaped, store
from nepal_flows.errors import ModelError
from nepal_flows.typing import FloatArray

X, Y, Z, TYPE, R, INVERSE_R = range(6)
"""Rows of ``Scratch.lane``; the first four are also what is gathered of a neighbour."""

ANGULAR_SQUARE, LARGEST_SQUARE, INVERSE_RADIAL, INVERSE_ANGULAR = range(4)
"""Columns of ``PotentialArrays.pair_cutoffs``."""

ARGUMENT, CUT_SLOPE, CUT_ARGUMENT_SLOPE = range(3)
"""Rows of ``Scratch.radial``."""


class PotentialArrays(NamedTuple):
    """A model as plain arrays, to be passed to the kernels.

    T types, N neurons, D descriptors; a trailing axis of 8 holds neighbouring neurons or
    descriptors, padded with zeros. `c_radial` and `c_angular` multiply plain Chebyshev
    polynomials times the cutoff function, which is the basis of a NEP rearranged. `w0` includes
    the descriptor scale.
    """

    n_radial: int
    n_angular: int
    l_max: int
    has_q_222: bool
    has_q_1111: bool
    n_descriptors: int
    n_neurons: int
    largest_cutoff: float  # Å
    pair_cutoffs: FloatArray  # (T, T, 4): squares of the angular and larger cutoff; inverses
    c_radial_by_k: FloatArray  # (T, T, k, n_radial / 8, 8): central type, neighbour type
    c_radial_by_n: FloatArray  # (T, T, n_radial, k / 8, 8)
    c_angular: FloatArray  # (T, T, n_angular, k)
    w0_by_neuron: FloatArray  # (T, D, N / 8, 8)
    w0_by_descriptor: FloatArray  # (T, N rounded up, D / 8, 8)
    b0: FloatArray  # (T, N / 8, 8)
    w1: FloatArray  # (T, N / 8, 8)
    b1: float
    q_scaler: FloatArray  # (D,)
    zbl: FloatArray  # (T, T, 12), or (0, 0, 12) without repulsion


def potential_arrays(model: NepModel) -> PotentialArrays:
    """Return the model laid out for the kernels.

    Raises
    ------
    ModelError
        If a four- or five-body invariant lacks its harmonics, or l_max is beyond the tables.
    """
    a = model.architecture
    least = 2 if a.has_q_222 else int(a.has_q_1111)
    if not least <= a.l_max <= L_MAX:
        raise ModelError(
            f"`l_max` is {a.l_max}, but this model needs {least} to {L_MAX}: the four-body "
            "invariant is made of l = 2 and the five-body one of l = 1. Train with a larger "
            "`l_max`, or without the flag."
        )
    w0 = model.w0 * model.q_scaler
    c_radial = _chebyshev_coefficients(model.c_radial)
    return PotentialArrays(
        n_radial=a.n_max_radial + 1,
        n_angular=a.n_max_angular + 1 if a.l_max else 0,
        l_max=a.l_max,
        has_q_222=a.has_q_222,
        has_q_1111=a.has_q_1111,
        n_descriptors=a.n_descriptors,
        n_neurons=a.n_neurons,
        largest_cutoff=a.largest_cutoff,
        pair_cutoffs=_pair_cutoffs(a),
        c_radial_by_k=_in_tiles(np.swapaxes(c_radial, 2, 3)),
        c_radial_by_n=_in_tiles(c_radial),
        c_angular=_chebyshev_coefficients(model.c_angular),
        w0_by_neuron=_in_tiles(np.swapaxes(w0, 1, 2)),
        w0_by_descriptor=_in_tiles(np.pad(w0, ((0, 0), (0, -a.n_neurons % WIDTH), (0, 0)))),
        b0=_in_tiles(model.b0),
        w1=_in_tiles(model.w1),
        b1=model.b1,
        q_scaler=model.q_scaler,
        zbl=zbl_table(a),
    )


def _pair_cutoffs(architecture: NepArchitecture) -> FloatArray:
    """Return, for every pair of types, what decides which of its neighbours count.

    Squares of the angular cutoff (0 without angular functions) and of the larger cutoff, Å^2;
    inverses of the radial and the angular cutoff, 1/Å; a pair's cutoff is the mean of two.
    Shape (T, T, 4).
    """
    radial, angular = (
        0.5 * np.add.outer(cutoffs, cutoffs)
        for cutoffs in (architecture.radial_cutoffs, architecture.angular_cutoffs)
    )
    near = angular if architecture.l_max else np.zeros_like(angular)
    return np.stack([near**2, np.maximum(near, radial) ** 2, 1.0 / radial, 1.0 / angular], axis=2)


def _chebyshev_coefficients(c: FloatArray) -> FloatArray:
    """Return coefficients of T_k f_c from those of the NEP basis, shape (T, T, n, k).

    The functions are f_0 = f_c and f_k = (T_k + 1) f_c / 2.
    """
    half = 0.5 * c
    half[:, 0] = c[:, 0] + half[:, 1:].sum(axis=1)
    return np.ascontiguousarray(np.moveaxis(half, (2, 3), (0, 1)))


def _in_tiles(array: FloatArray) -> FloatArray:
    """Return the array with its last axis padded with zeros and split into rows of 8."""
    n_tiles = -(-array.shape[-1] // WIDTH)
    flat = _aligned((*array.shape[:-1], n_tiles * WIDTH))
    flat[...] = 0.0
    flat[..., : array.shape[-1]] = array
    return flat.reshape(*array.shape[:-1], n_tiles, WIDTH)


def _aligned(shape: tuple[int, ...]) -> FloatArray:
    """Return an uninitialised array that begins on a cache line."""
    size = int(np.prod(shape))
    room = np.empty(size + WIDTH)
    skip = -(room.ctypes.data // 8) % WIDTH
    return room[skip : skip + size].reshape(shape)


class Scratch(NamedTuple):
    """Working memory of one thread, reused for every atom.

    B blocks of 8 neighbours; the angular neighbours fill blocks from the front, the others
    from the back. K is the larger basis size, M the number of harmonics rounded up to a multiple
    of 8, n the number of angular functions, also rounded up.
    """

    neighbour: np.ndarray  # (B * 8,) int32, the neighbour in every lane
    first_type: np.ndarray  # (B,) int32, smallest type in the block
    last_type: np.ndarray  # (B,) int32
    fours: FloatArray  # (B * 32,): vector and type of every neighbour; later its pair force
    squares: FloatArray  # (B * 8,): its squared distance
    lane: FloatArray  # (6, B, 8): unit vector, type, r, 1/r
    radial: FloatArray  # (3, B, 8): Chebyshev argument, slope of f_c, f_c dx/dr
    chebyshev: FloatArray  # (2 K, 8): T_k, then k U_(k-1), of one block
    radial_sums: FloatArray  # (T, k, 8): sums of T_k f_c by type of neighbour
    radial_totals: FloatArray  # (T, k): summed over lanes
    radial_slopes: FloatArray  # (T, k / 8, 8): dE/d(radial_sums)
    radial_slopes_flat: FloatArray  # (T, k rounded up): the same memory
    g: FloatArray  # (n, B, 8): angular radial functions
    g_slope: FloatArray  # (n, B, 8)
    g_columns: FloatArray  # (B * 8, n / 8, 8): g transposed, functions in lanes
    z: FloatArray  # ((l_max + 1)^2, B, 8): Z_lm in row l (l_max + 1) + m
    xy: FloatArray  # (2 l_max + 2, B, 8): real and imaginary part of (x + iy)^m
    harmonics: FloatArray  # (M, B, 8)
    harmonics_flat: FloatArray  # (M, B * 8): the same memory
    s: FloatArray  # (M, n / 8, 8): sums of g b_lm; later dE/ds
    s_flat: FloatArray  # (M, n): the same memory
    invariants: FloatArray  # (kinds, n / 8, 8): angular descriptors; later dE/dq
    invariants_flat: FloatArray  # (kinds, n): the same memory
    q: FloatArray  # (D / 8, 8)
    q_flat: FloatArray  # (D rounded up,): the same memory
    q_slope: FloatArray  # (D / 8, 8): dE/dq
    q_slope_flat: FloatArray  # the same memory
    hidden: FloatArray  # (2, N / 8, 8): tanh, and w1 (1 - tanh^2)
    hidden_flat: FloatArray  # (2, N rounded up): the same memory
    pair_force: FloatArray  # (3, B, 8): dE_i/dr_ij


@outer
def new_scratch(arrays, n_neighbours):  # type: ignore[no-untyped-def]
    """Return working memory for atoms with up to so many neighbours, and what owns it.

    Returns
    -------
    tuple
        Two arrays, to be kept while the third, a :class:`Scratch`, is used.
    """
    blocks = n_neighbours // WIDTH + 3
    places = blocks * WIDTH
    n_types, k_tiles = arrays.pair_cutoffs.shape[0], arrays.c_radial_by_n.shape[3]
    k_radial, k_angular = arrays.c_radial_by_k.shape[2], arrays.c_angular.shape[3]
    k_most = max(k_radial, k_angular)
    n_angular, l_max = arrays.n_angular, arrays.l_max
    tiles = (n_angular + WIDTH - 1) // WIDTH
    n = tiles * WIDTH
    n_z = (l_max + 1) * (l_max + 1)
    n_harmonics = l_max * (l_max + 2)
    components = (n_harmonics + WIDTH - 1) // WIDTH * WIDTH
    d_tiles, neuron_tiles = arrays.w0_by_descriptor.shape[2], arrays.b0.shape[1]
    room = empty_vectors(
        (4 + 1 + 6 + 3 + 2 * n + n + n_z + 2 * l_max + 2 + components + 3) * blocks
        + 2 * k_most + 2 * n_types * (k_radial + k_tiles)
        + (components + l_max + 2) * tiles + 2 * d_tiles + 2 * neuron_tiles
    )  # fmt: skip
    at = np.int64(0)
    fours = shaped(room, at, 4 * places)
    at += 4 * places
    squares = shaped(room, at, places)
    at += places
    lane = shaped(room, at, 6, blocks, WIDTH)
    at += 6 * places
    radial = shaped(room, at, 3, blocks, WIDTH)
    at += 3 * places
    pair_force = shaped(room, at, 3, blocks, WIDTH)
    at += 3 * places
    g = shaped(room, at, n, blocks, WIDTH)
    at += n * places
    g_slope = shaped(room, at, n, blocks, WIDTH)
    at += n * places
    g_columns = shaped(room, at, places, tiles, WIDTH)
    at += n * places
    z = shaped(room, at, n_z, blocks, WIDTH)
    at += n_z * places
    xy = shaped(room, at, 2 * l_max + 2, blocks, WIDTH)
    at += (2 * l_max + 2) * places
    harmonics = shaped(room, at, components, blocks, WIDTH)
    harmonics_flat = shaped(room, at, components, places)
    at += components * places
    chebyshev = shaped(room, at, 2 * k_most, WIDTH)
    at += 2 * k_most * WIDTH
    radial_sums = shaped(room, at, n_types, k_radial, WIDTH)
    at += n_types * k_radial * WIDTH
    radial_totals = shaped(room, at, n_types, k_radial)
    at += n_types * k_radial * WIDTH
    radial_slopes = shaped(room, at, n_types, k_tiles, WIDTH)
    radial_slopes_flat = shaped(room, at, n_types, k_tiles * WIDTH)
    at += n_types * k_tiles * WIDTH
    s = shaped(room, at, components, tiles, WIDTH)
    s_flat = shaped(room, at, components, n)
    at += components * n
    invariants = shaped(room, at, l_max + 2, tiles, WIDTH)
    invariants_flat = shaped(room, at, l_max + 2, n)
    at += (l_max + 2) * n
    q = shaped(room, at, d_tiles, WIDTH)
    q_flat = shaped(room, at, d_tiles * WIDTH)
    at += d_tiles * WIDTH
    q_slope = shaped(room, at, d_tiles, WIDTH)
    q_slope_flat = shaped(room, at, d_tiles * WIDTH)
    at += d_tiles * WIDTH
    hidden = shaped(room, at, 2, neuron_tiles, WIDTH)
    hidden_flat = shaped(room, at, 2, neuron_tiles * WIDTH)
    # Padding rows are multiplied, and must be finite; they stay 0.
    for block in range(blocks):
        for row in range(n_angular, n):
            store(0.0, g, row, block)
        for lm in range(n_harmonics, components):
            store(0.0, harmonics, lm, block)
    integers = np.zeros(places + 2 * blocks, np.int32)
    scratch = Scratch(
        shaped(integers, 0, places), shaped(integers, places, blocks),
        shaped(integers, places + blocks, blocks), fours, squares, lane, radial, chebyshev,
        radial_sums, radial_totals, radial_slopes, radial_slopes_flat, g, g_slope, g_columns, z,
        xy, harmonics, harmonics_flat, s, s_flat, invariants, invariants_flat, q, q_flat, q_slope,
        q_slope_flat, hidden, hidden_flat, pair_force,
    )  # fmt: skip
    return room, integers, scratch


__all__ = ["PotentialArrays", "Scratch", "new_scratch", "potential_arrays"]
