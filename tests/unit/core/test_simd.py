"""Vectors against NumPy."""

from fractions import Fraction

import numba
import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features
from numba.core.errors import TypingError

from nepal_flows.core.simd import (
    below,
    larger,
    least,
    most,
    nearest,
    power_of_two,
    rounded_down,
    smaller,
    square_of_three,
    square_root,
    total,
    vector_of,
)
from nepal_flows.core.simd_memory import (
    empty_vectors,
    gather_fours,
    keep,
    load,
    load_four,
    shaped,
    splat,
    spread_fours,
    store,
    store_four,
    transpose,
)


@numba.njit
def _elementwise(a, b, out):  # type: ignore[no-untyped-def]
    x, y = load(a, 0, np.int32(1)), load(b, 0)
    store(x + y, out, 0)
    store(x - 2.0, out, 1)
    store(3.0 * y, out, 2)
    store(x / y, out, 3)
    store(below(x, y, 5.0, y), out, 4)
    store(smaller(x, y), out, 5)
    store(larger(x, 0.0), out, 6)
    store(square_root(y), out, 7)
    store(nearest(x), out, 8)
    store(power_of_two(nearest(x)), out, 9)
    store(splat(7.0), out, 10)
    store(1.5, out, 11)
    store(rounded_down(x), out, 12)
    return total(x)


def test_operations_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b, out = rng.normal(size=(2, 3, 8)) * 9, rng.uniform(0.1, 9, size=(1, 8)), np.empty((13, 8))
    found = _elementwise(a, b, out)
    x, y = a[0, 1], b[0]
    expected = [
        x + y, x - 2, 3 * y, x / y, np.where(x < y, 5.0, y), np.minimum(x, y),
        np.maximum(x, 0), np.sqrt(y), np.rint(x), 2.0 ** np.rint(x), np.full(8, 7.0),
        np.full(8, 1.5), np.floor(x),
    ]  # fmt: skip
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    assert found == pytest.approx(x.sum(), rel=1e-14)


@numba.njit
def _combined(a, out):  # type: ignore[no-untyped-def]
    x, y, z = load(a, 0), load(a, 1), load(a, 2)
    product = x * y
    store(product - z, out, 0)
    store(z - product, out, 1)
    store(product + x * z, out, 2)
    store(product / z, out, 3)
    store(2.0 * product * z, out, 4)
    for k in range(3):  # holds a product first, then a sum
        if k > 0:
            product = product + z
    store(product, out, 5)
    return total(x * y)


def _fused(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[float]:
    """Return x y + z, rounded once."""
    numbers = zip(x, y, z, strict=True)
    return [float(Fraction(a) * Fraction(b) + Fraction(c)) for a, b, c in numbers]


@pytest.mark.skipif(not get_host_cpu_features().get("fma"), reason="no fused multiply-add")
def test_a_product_in_a_sum_is_not_rounded() -> None:
    a, out = np.random.default_rng(2).normal(size=(3, 8)), np.empty((6, 8))
    a[2] = -a[0] * a[1]  # so that rounding shows
    found = _combined(a, out)
    x, y, z = a
    np.testing.assert_array_equal(out[0], _fused(x, y, -z))
    np.testing.assert_array_equal(out[1], _fused(-x, y, z))
    np.testing.assert_array_equal(out[2], _fused(x, y, x * z))
    np.testing.assert_array_equal(out[3], x * y / z)
    np.testing.assert_array_equal(out[4], 2 * (x * y) * z)
    np.testing.assert_array_equal(out[5], np.array(_fused(x, y, z)) + z)
    assert _fused(x, y, z) != (x * y + z).tolist()
    assert found == pytest.approx((x * y).sum(), rel=1e-14)


@numba.njit
def _transposed(a, out):  # type: ignore[no-untyped-def]
    for block in range(a.shape[1]):
        transpose(a, 8, block, out, 8 * block, 1)


def test_transpose_turns_blocks() -> None:
    a, out = np.random.default_rng(1).normal(size=(16, 3, 8)), np.zeros((24, 2, 8))
    _transposed(a, out)
    np.testing.assert_array_equal(out[:, 1], a[8:].reshape(8, 24).T)
    assert not out[:, 0].any()


@numba.njit
def _moved(fours, lanes, back):  # type: ignore[no-untyped-def]
    spread_fours(fours, 4, lanes, 1, 2)
    gather_fours(lanes, 1, 2, back, 8)


def test_fours_become_rows_and_rows_fours() -> None:
    fours = np.random.default_rng(3).normal(size=40)
    lanes, back = np.zeros((6, 3, 8)), np.zeros(48)
    _moved(fours, lanes, back)
    expected = fours[4:36].reshape(8, 4)
    np.testing.assert_array_equal(lanes[1:5, 2], expected.T)
    assert not lanes[:, :2].any()
    assert not lanes[[0, 5]].any()
    np.testing.assert_array_equal(back[8:40].reshape(8, 4)[:, :3], expected[:, :3])
    assert not back[8:40].reshape(8, 4)[:, 3].any()
    assert not back[:8].any()
    assert not back[40:].any()


@numba.njit
def _of_four(a, out):  # type: ignore[no-untyped-def]
    four = load_four(a, 3)
    store_four(out, 1, four - vector_of(1.0, 2.0, 3.0, a[0]))
    return least(four), most(four), square_of_three(four)


def test_fours_are_taken_from_anywhere() -> None:
    a, out = np.random.default_rng(4).normal(size=9), np.zeros(6)
    smallest, largest, square = _of_four(a, out)
    np.testing.assert_array_equal(out[1:5], a[3:7] - [1, 2, 3, a[0]])
    assert out[[0, 5]].tolist() == [0, 0]
    assert (smallest, largest) == (a[3:7].min(), a[3:7].max())
    assert square == pytest.approx((a[3:6] ** 2).sum(), rel=1e-15)


@numba.njit
def _room(n):  # type: ignore[no-untyped-def]
    room = empty_vectors(n)
    part = shaped(room, 8, n - 1, 2, 4)
    room[:] = np.arange(8 * n)
    found = np.empty((n - 1, 2, 4))
    for i in range(n - 1):
        for j in range(8):
            found[i, j // 4, j % 4] = part[i, j // 4, j % 4]
    keep(room)
    return room.ctypes.data, found


def test_room_is_aligned_to_a_cache_line_and_shared_by_its_parts() -> None:
    for n in (2, 5, 100):
        address, part = _room(n)
        assert address % 64 == 0
        np.testing.assert_array_equal(part, np.arange(8, 8 * n).reshape(n - 1, 2, 4))


@numba.njit
def _load_rows(a):  # type: ignore[no-untyped-def]
    return total(load(a, 0))


@pytest.mark.parametrize("array", [np.zeros((2, 8), np.float32), np.zeros((2, 2, 8))])
def test_arrays_that_hold_no_vectors_do_not_compile(array: np.ndarray) -> None:
    with pytest.raises(TypingError):
        _load_rows(array)
