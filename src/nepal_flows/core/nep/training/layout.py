"""How a model's numbers lie in memory for the training kernels.

Rows that are worked on as vectors are padded with zeros to a multiple of the vector length, so
that kernels need no remainder loops. ``q_scaler`` is folded into the first network layer, so that
kernels see unscaled descriptors only.
"""

from typing import NamedTuple

import numba
import numpy as np

from nepal_flows.core.nep.basis import (
    HARMONIC_WEIGHTS,
    Q_222_COEFFICIENTS,
    Q_1111_COEFFICIENT,
    Z_DOWN,
    Z_SLOPE,
    Z_UP,
)
from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.lanes import N_LANES, aligned_zeros
from nepal_flows.typing import AnyArray


def padded(n: int) -> int:
    """Return ``n`` rounded up to a multiple of the vector length.

    Examples
    --------
    >>> padded(24)
    32
    """
    return -(-n // N_LANES) * N_LANES


class Sizes(NamedTuple):
    """The sizes that kernels need; ``*_pad`` are rounded up to whole vectors."""

    n_types: int
    n_radial: int  # n_max_radial + 1
    k_radial: int  # basis_size_radial + 1
    n_angular: int
    k_angular: int
    l_max: int
    n_harmonics: int
    harmonics_pad: int
    n_blocks: int  # angular families: l = 1..l_max, then the flags
    has_q_222: int
    has_q_1111: int
    n_descriptors: int
    descriptors_pad: int
    n_neurons: int
    neurons_pad: int


class Tables(NamedTuple):
    """Constants of the basis in the kernels' precision, flat."""

    z_up: AnyArray
    z_down: AnyArray
    z_slope: AnyArray
    z_stride: int
    weights: AnyArray  # of the three-body invariants, (l_max, harmonics_pad), 0 for other l
    q_222: AnyArray
    q_1111: AnyArray


class Network(NamedTuple):
    """A model's numbers as the kernels read them, flat.

    ``w0`` is indexed [t, neuron, descriptor], ``w0_columns`` [t, descriptor, neuron]; both carry
    ``q_scaler``. ``c_radial`` and ``c_angular`` are indexed [t1, t2, n, k], ``c_radial_columns``
    [t1, t2, k, n] with n padded to one vector.
    """

    w0: AnyArray
    w0_columns: AnyArray
    b0: AnyArray
    w1: AnyArray
    b1: AnyArray
    c_radial: AnyArray
    c_radial_columns: AnyArray
    c_angular: AnyArray


def sizes_of(architecture: NepArchitecture) -> Sizes:
    """Return the sizes of an architecture."""
    a = architecture
    n_harmonics = a.l_max * (a.l_max + 2)
    return Sizes(
        n_types=a.n_types,
        n_radial=a.n_max_radial + 1,
        k_radial=a.basis_size_radial + 1,
        n_angular=a.n_max_angular + 1 if a.n_angular_blocks else 0,
        k_angular=a.basis_size_angular + 1 if a.n_angular_blocks else 0,
        l_max=a.l_max,
        n_harmonics=n_harmonics,
        harmonics_pad=padded(n_harmonics),
        n_blocks=a.n_angular_blocks,
        has_q_222=int(a.has_q_222),
        has_q_1111=int(a.has_q_1111),
        n_descriptors=a.n_descriptors,
        descriptors_pad=padded(a.n_descriptors),
        n_neurons=a.n_neurons,
        neurons_pad=padded(a.n_neurons),
    )


def _aligned(array: AnyArray, dtype: type) -> AnyArray:
    flat = aligned_zeros(array.size, dtype)
    flat[:] = array.ravel()
    return flat


def tables_of(sizes: Sizes, dtype: type) -> Tables:
    """Return the constants of the basis in the given precision."""
    weights = np.zeros((sizes.l_max, sizes.harmonics_pad))
    for l in range(1, sizes.l_max + 1):
        own = slice(l * l - 1, l * (l + 2))
        weights[l - 1, own] = HARMONIC_WEIGHTS[own]
    return Tables(
        z_up=_aligned(Z_UP, dtype),
        z_down=_aligned(Z_DOWN, dtype),
        z_slope=_aligned(Z_SLOPE, dtype),
        z_stride=Z_UP.shape[1],
        weights=_aligned(weights, dtype),
        q_222=_aligned(Q_222_COEFFICIENTS, dtype),
        q_1111=_aligned(np.array([Q_1111_COEFFICIENT]), dtype),
    )


def empty_network(sizes: Sizes, dtype: type) -> Network:
    """Return zeroed arrays for :func:`fill_network`, in the given precision."""
    z = sizes
    pairs = z.n_types**2
    lengths = {
        "w0": z.n_types * z.n_neurons * z.descriptors_pad,
        "w0_columns": z.n_types * z.n_descriptors * z.neurons_pad,
        "b0": z.n_types * z.neurons_pad,
        "w1": z.n_types * z.neurons_pad,
        "b1": 1,
        "c_radial": pairs * z.n_radial * z.k_radial,
        "c_radial_columns": pairs * z.k_radial * padded(z.n_radial),
        "c_angular": pairs * z.n_angular * z.k_angular,
    }
    return Network(**{name: aligned_zeros(length, dtype) for name, length in lengths.items()})


class Gradient(NamedTuple):
    """Sums over atoms of the loss gradient, as the kernels gather them.

    ``c_angular`` holds one vector per coefficient, whose lanes are still to be summed; the other
    arrays are laid out as those of :class:`Network`.
    """

    w0: AnyArray
    b0: AnyArray
    w1: AnyArray
    c_radial_columns: AnyArray
    c_angular: AnyArray


def empty_gradient(sizes: Sizes, dtype: type) -> Gradient:
    """Return a zeroed gradient in the given precision."""
    z = sizes
    pairs = z.n_types**2
    lengths = {
        "w0": z.n_types * z.n_neurons * z.descriptors_pad,
        "b0": z.n_types * z.neurons_pad,
        "w1": z.n_types * z.neurons_pad,
        "c_radial_columns": pairs * z.k_radial * padded(z.n_radial),
        "c_angular": pairs * z.n_angular * z.k_angular * N_LANES,
    }
    return Gradient(**{name: aligned_zeros(length, dtype) for name, length in lengths.items()})


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_network(parameters, q_scaler, sizes, network):  # type: ignore[no-untyped-def]
    """Write parameters in the order of nep.txt, shape (P,), into the kernels' arrays."""
    z = sizes
    n, d = z.n_neurons, z.n_descriptors
    at = 0
    for t in range(z.n_types):
        for h in range(n):
            for j in range(d):
                value = parameters[at] * q_scaler[j]
                network.w0[(t * n + h) * z.descriptors_pad + j] = value
                network.w0_columns[(t * d + j) * z.neurons_pad + h] = value
                at += 1
        for h in range(n):
            network.b0[t * z.neurons_pad + h] = parameters[at]
            network.w1[t * z.neurons_pad + h] = parameters[at + n]
            at += 1
        at += n
    network.b1[0] = parameters[at]
    at += 1
    pairs = z.n_types * z.n_types
    row = (z.n_radial + N_LANES - 1) // N_LANES * N_LANES
    for m in range(z.n_radial):
        for k in range(z.k_radial):
            for pair in range(pairs):
                network.c_radial[(pair * z.n_radial + m) * z.k_radial + k] = parameters[at]
                network.c_radial_columns[(pair * z.k_radial + k) * row + m] = parameters[at]
                at += 1
    for m in range(z.n_angular):
        for k in range(z.k_angular):
            for pair in range(pairs):
                network.c_angular[(pair * z.n_angular + m) * z.k_angular + k] = parameters[at]
                at += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def move_gradient(gradient, q_scaler, sizes, total):  # type: ignore[no-untyped-def]
    """Add the kernels' sums to ``total``, shape (P,), float64, and set them to zero."""
    z = sizes
    n, d = z.n_neurons, z.n_descriptors
    at = 0
    for t in range(z.n_types):
        for h in range(n):
            row = (t * n + h) * z.descriptors_pad
            for j in range(d):
                total[at] += gradient.w0[row + j] * q_scaler[j]
                at += 1
        for h in range(n):
            total[at] += gradient.b0[t * z.neurons_pad + h]
            total[at + n] += gradient.w1[t * z.neurons_pad + h]
            at += 1
        at += n
    at += 1
    pairs = z.n_types * z.n_types
    row = (z.n_radial + N_LANES - 1) // N_LANES * N_LANES
    for m in range(z.n_radial):
        for k in range(z.k_radial):
            for pair in range(pairs):
                total[at] += gradient.c_radial_columns[(pair * z.k_radial + k) * row + m]
                at += 1
    for m in range(z.n_angular):
        for k in range(z.k_angular):
            for pair in range(pairs):
                first = ((pair * z.n_angular + m) * z.k_angular + k) * N_LANES
                for lane in range(first, first + N_LANES):
                    total[at] += gradient.c_angular[lane]
                at += 1
    gradient.w0[:] = 0.0
    gradient.b0[:] = 0.0
    gradient.w1[:] = 0.0
    gradient.c_radial_columns[:] = 0.0
    gradient.c_angular[:] = 0.0


__all__ = [
    "Gradient",
    "Network",
    "Sizes",
    "Tables",
    "empty_gradient",
    "empty_network",
    "fill_network",
    "move_gradient",
    "padded",
    "sizes_of",
    "tables_of",
]
