"""Random numbers for compiled dynamics: a generator whose whole state is one small array.

The generator is xoshiro256++ [1]_, the normal numbers are by Box and Muller. A run owns its state,
so runs do not disturb each other and equal seeds give equal numbers on every machine.

References
----------
.. [1] D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021).
"""

import math

import numba
import numpy as np

from nepal_flows.typing import AnyArray

_R5, _R11, _R17, _R19, _R23, _R41, _R45 = (np.uint64(n) for n in (5, 11, 17, 19, 23, 41, 45))
_TWO_TO_MINUS_53 = 2.0**-53


def random_state(seed: int, *stream: int) -> AnyArray:
    """Return the state of a generator, shape (4,), uint64.

    Parameters
    ----------
    seed
        Not negative.
    stream
        Further numbers that tell independent streams of one seed apart.
    """
    state: AnyArray = np.random.SeedSequence((seed, *stream)).generate_state(4, np.uint64)
    return state


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _next(state):  # type: ignore[no-untyped-def]
    """Return the next 64 random bits."""
    total = state[0] + state[3]
    result = ((total << _R23) | (total >> _R41)) + state[0]
    shifted = state[1] << _R17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << _R45) | (state[3] >> _R19)
    return result


@numba.njit(cache=True, nogil=True, error_model="numpy")
def uniform(state):  # type: ignore[no-untyped-def]
    """Return a number from the half-open interval (0, 1]."""
    return (np.float64(_next(state) >> _R11) + 1.0) * _TWO_TO_MINUS_53


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_normals(state, values):  # type: ignore[no-untyped-def]
    """Fill a flat array with independent standard normal numbers."""
    n = values.shape[0]
    for k in range(0, n, 2):
        radius = math.sqrt(-2.0 * math.log(uniform(state)))
        angle = 2.0 * math.pi * uniform(state)
        values[k] = radius * math.cos(angle)
        if k + 1 < n:
            values[k + 1] = radius * math.sin(angle)


__all__ = ["fill_normals", "random_state", "uniform"]
