"""A NEP model laid out for the compiled kernels, and their working memory."""

from typing import NamedTuple

import numpy as np

from nepal_flows.core.nep.basis import L_MAX
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.zbl import zbl_table
from nepal_flows.core.simd import WIDTH, empty_vectors, outer, store
from nepal_flows.errors import ModelError
from nepal_flows.typing import FloatArray

X, Y, Z, INVERSE_R, R, TYPE, INVERSE_RADIAL_CUTOFF, INVERSE_ANGULAR_CUTOFF = range(8)
"""Rows of ``Scratch.lane``, and columns of the rows it is made from."""

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
    c_radial: FloatArray  # (T, T, n_radial, k): central type, neighbour type
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
        c_radial=_chebyshev_coefficients(model.c_radial),
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
    rows: FloatArray  # (B * 64,): a neighbour's row as it is gathered, later turned into lanes
    row_blocks: FloatArray  # (B * 8, 1, 8): the same memory
    lane: FloatArray  # (8, B, 8): unit vector, 1/r, r, type, 1/cutoffs
    first_type: np.ndarray  # (B,) int32, smallest type in the block
    last_type: np.ndarray  # (B,) int32
    radial: FloatArray  # (3, B, 8): Chebyshev argument, slope of f_c, f_c dx/dr
    chebyshev: FloatArray  # (2 K, 8): T_k, then k U_(k-1), of one block
    radial_sums: FloatArray  # (T, k, 8): sums of T_k f_c by type of neighbour
    radial_slopes: FloatArray  # (T, k): dE/d(radial_sums)
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
    q: FloatArray  # (D rounded up,)
    q_slope: FloatArray  # (D / 8, 8): dE/dq
    q_slope_flat: FloatArray  # the same memory
    hidden: FloatArray  # (2, N / 8, 8): tanh, and w1 (1 - tanh^2)
    hidden_flat: FloatArray  # (2, N rounded up): the same memory
    pair_force: FloatArray  # (3, B, 8): dE_i/dr_ij


@outer
def _room(n0, n1):  # type: ignore[no-untyped-def]
    """Return uninitialised room for n0 rows of n1 vectors, shape (n0, n1, 8)."""
    return empty_vectors(n0 * n1).reshape((n0, n1, WIDTH))


@outer
def new_scratch(arrays, n_neighbours):  # type: ignore[no-untyped-def]
    """Return working memory for atoms with up to so many neighbours."""
    blocks = n_neighbours // WIDTH + 3
    n_types = arrays.pair_cutoffs.shape[0]
    k_radial, k_angular = arrays.c_radial.shape[3], arrays.c_angular.shape[3]
    tiles = (arrays.n_angular + WIDTH - 1) // WIDTH
    l_max = arrays.l_max
    components = (l_max * (l_max + 2) + WIDTH - 1) // WIDTH * WIDTH
    d_tiles = (arrays.n_descriptors + WIDTH - 1) // WIDTH
    neuron_tiles = arrays.b0.shape[1]
    g = _room(tiles * WIDTH, blocks)
    harmonics = _room(components, blocks)
    # Padding rows are multiplied, and must be finite; they stay 0.
    for block in range(blocks):
        for n in range(tiles * WIDTH):
            store(0.0, g, n, block)
        for lm in range(components):
            store(0.0, harmonics, lm, block)
    rows = _room(blocks * WIDTH, 1)
    for k in range(blocks * WIDTH):
        rows[k, 0, INVERSE_R] = 0.0
        rows[k, 0, TYPE] = 0.0
        rows[k, 0, INVERSE_RADIAL_CUTOFF] = arrays.pair_cutoffs[0, 0, 2]
        rows[k, 0, INVERSE_ANGULAR_CUTOFF] = arrays.pair_cutoffs[0, 0, 3]
    s = _room(components, tiles)
    q_slope = empty_vectors(d_tiles)
    invariants = _room(l_max + 2, tiles)
    hidden = _room(2, neuron_tiles)
    return Scratch(
        np.zeros(blocks * WIDTH, np.int32),
        rows.reshape(blocks * WIDTH * WIDTH),
        rows,
        _room(8, blocks),
        np.zeros(blocks, np.int32),
        np.zeros(blocks, np.int32),
        _room(3, blocks),
        empty_vectors(2 * max(k_radial, k_angular)),
        _room(n_types, k_radial),
        np.empty((n_types, k_radial)),
        g,
        _room(tiles * WIDTH, blocks),
        _room(blocks * WIDTH, tiles),
        _room((l_max + 1) * (l_max + 1), blocks),
        _room(2 * l_max + 2, blocks),
        harmonics,
        harmonics.reshape((components, blocks * WIDTH)),
        s,
        s.reshape((components, tiles * WIDTH)),
        invariants,
        invariants.reshape((l_max + 2, tiles * WIDTH)),
        empty_vectors(d_tiles).reshape(d_tiles * WIDTH),
        q_slope,
        q_slope.reshape(d_tiles * WIDTH),
        hidden,
        hidden.reshape((2, neuron_tiles * WIDTH)),
        _room(3, blocks),
    )


__all__ = ["PotentialArrays", "Scratch", "new_scratch", "potential_arrays"]
