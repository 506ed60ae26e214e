"""Memory of the training kernels: what one pass saves for the next, and working space."""

from typing import NamedTuple

from nepal_flows.core.nep.training.lanes import N_LANES, aligned_zeros
from nepal_flows.core.nep.training.layout import Sizes, padded
from nepal_flows.typing import AnyArray


class Saved(NamedTuple):
    """What the second pass needs of the first, for the atoms of one batch, flat.

    Per atom: descriptors q and their tangents, tanh of the neurons, dE/dq, the angular sums s and
    dE/ds. Per angular block: the contractions of dE/ds with the harmonics, and g_n and its slope.
    """

    q: AnyArray
    q_tangent: AnyArray
    neurons: AnyArray
    q_slope: AnyArray
    sums: AnyArray
    sums_slope: AnyArray
    contracted: AnyArray
    radial: AnyArray
    radial_slope: AnyArray


class Scratch(NamedTuple):
    """Working space of one thread."""

    chebyshev: AnyArray  # T_k(x) + 1
    chebyshev_slope: AnyArray  # k U_{k-1}(x)
    z_values: AnyArray  # Z_lm
    powers: AnyArray  # Re and Im of (x + iy)^m, then their tangents
    harmonics: AnyArray  # b_lm of every angular block of an atom
    harmonics_tangent: AnyArray
    block_radial: AnyArray  # g_n lambda-weighted slope of every angular block of an atom
    row: AnyArray  # lm by lane
    neuron: AnyArray
    descriptor: AnyArray
    slot: AnyArray  # coefficients of one slot, and sums over its pairs
    pair: AnyArray  # three vectors: pair forces, lambda
    tangent: AnyArray  # (n, lm)


def empty_saved(sizes: Sizes, n_atoms: int, n_angular_blocks: int, dtype: type) -> Saved:
    """Return space for a batch of so many atoms and angular blocks."""
    z = sizes
    lengths = {
        "q": n_atoms * z.descriptors_pad,
        "q_tangent": n_atoms * z.descriptors_pad,
        "neurons": n_atoms * z.neurons_pad,
        "q_slope": n_atoms * z.descriptors_pad,
        "sums": n_atoms * z.n_angular * z.harmonics_pad,
        "sums_slope": n_atoms * z.n_angular * z.harmonics_pad,
        "contracted": n_angular_blocks * z.n_angular * N_LANES,
        "radial": n_angular_blocks * z.n_angular * N_LANES,
        "radial_slope": n_angular_blocks * z.n_angular * N_LANES,
    }
    return Saved(**{name: aligned_zeros(length, dtype) for name, length in lengths.items()})


def empty_scratch(sizes: Sizes, most_angular_blocks: int, dtype: type) -> Scratch:
    """Return working space for one thread."""
    z = sizes
    k = max(z.k_radial, z.k_angular, 2)
    blocks = max(most_angular_blocks, 1)
    lengths = {
        "chebyshev": k * N_LANES,
        "chebyshev_slope": k * N_LANES,
        "z_values": (z.l_max + 1) * (z.l_max + 2) * N_LANES,
        "powers": 4 * (z.l_max + 1) * N_LANES,
        "harmonics": blocks * z.harmonics_pad * N_LANES,
        "harmonics_tangent": blocks * z.harmonics_pad * N_LANES,
        "block_radial": 2 * blocks * max(z.n_angular, 1) * N_LANES,
        "row": z.harmonics_pad * N_LANES,
        "neuron": 4 * z.neurons_pad,
        "descriptor": 4 * z.descriptors_pad,
        "slot": 4 * padded(k) + k * N_LANES,
        "pair": 3 * N_LANES,
        "tangent": max(z.n_angular, 1) * z.harmonics_pad,
    }
    return Scratch(**{name: aligned_zeros(length, dtype) for name, length in lengths.items()})


__all__ = ["Saved", "Scratch", "empty_saved", "empty_scratch"]
