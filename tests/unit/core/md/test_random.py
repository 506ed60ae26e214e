"""The compiled generator: its sequence, its moments, its independence."""

import numpy as np
from scipy.stats import kstest

from nepal_flows.core.md.random import fill_normals, random_state, uniform

MASK = (1 << 64) - 1


def rotl(x: int, k: int) -> int:
    return ((x << k) | (x >> (64 - k))) & MASK


def reference_sequence(state: list[int], n: int) -> list[int]:
    s = list(state)
    out = []
    for _ in range(n):
        out.append((rotl((s[0] + s[3]) & MASK, 23) + s[0]) & MASK)
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
    return out


def test_sequence_is_that_of_xoshiro256_plus_plus() -> None:
    state = random_state(7)
    expected = reference_sequence([int(word) for word in state], 50)
    drawn = [uniform(state) for _ in range(50)]
    assert drawn == [((word >> 11) + 1) * 2.0**-53 for word in expected]


def test_first_output_of_the_published_state() -> None:
    state = np.array([1, 2, 3, 4], dtype=np.uint64)
    assert uniform(state) == ((41943041 >> 11) + 1) * 2.0**-53


def test_normals_are_normal() -> None:
    values = np.empty(50_001)
    fill_normals(random_state(0), values)
    assert kstest(values, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02


def test_equal_seeds_repeat_and_others_differ() -> None:
    one, two, three, stream = np.empty((4, 9))
    fill_normals(random_state(5), one)
    fill_normals(random_state(5), two)
    fill_normals(random_state(6), three)
    fill_normals(random_state(5, 1), stream)
    assert (one == two).all()
    assert not (one == three).any()
    assert not (one == stream).any()
