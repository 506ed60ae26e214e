"""Vector values of compiled code against NumPy."""

import numba
import numpy as np
import pytest

from nepal_flows.core.nep.training.lanes import (
    N_LANES,
    add_lane_sums,
    aligned_zeros,
    filled,
    gather,
    lane_sum,
    larger,
    load,
    smaller,
    spread,
    store,
)
from nepal_flows.core.nep.training.vectors import replace_by_tanh


@numba.njit
def _arithmetic(a, b, out):
    x, y = load(a, 0), load(b, N_LANES)
    store(out, 0, x * y + filled(out, 3) - spread(b, 2) / x)
    store(out, N_LANES, smaller(larger(y, filled(out, -0.5)), spread(a, 1)))
    return lane_sum(x)


@numba.njit
def _gathered(a, indices, out):
    store(out, 0, gather(a, 2, indices, N_LANES))


@numba.njit
def _summed(a, out):
    add_lane_sums(out, 3, load(a, 0), load(a, N_LANES), load(a, 2 * N_LANES), load(a, 3 * N_LANES))


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


def test_arithmetic_works_lane_by_lane(dtype: type) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2 * N_LANES)).astype(dtype)
    out = np.zeros(2 * N_LANES, dtype)
    total = _arithmetic(a, b, out)
    x, y = a[:N_LANES], b[N_LANES:]
    tolerance = 20 * np.finfo(dtype).eps
    assert np.allclose(out[:N_LANES], x * y + 3 - b[2] / x, rtol=tolerance, atol=tolerance)
    assert np.array_equal(out[N_LANES:], np.minimum(np.maximum(y, dtype(-0.5)), a[1]))
    assert total == pytest.approx(float(x.sum()), rel=1e-5)


def test_gather_takes_the_named_elements(dtype: type) -> None:
    a = np.arange(40, dtype=dtype)
    indices = np.random.default_rng(1).integers(0, 38, 2 * N_LANES).astype(np.int32)
    out = np.zeros(N_LANES, dtype)
    _gathered(a, indices, out)
    assert np.array_equal(out, a[2 + indices[N_LANES:]])


def test_four_sums_are_added_in_place(dtype: type) -> None:
    a = np.random.default_rng(2).integers(-50, 50, 4 * N_LANES).astype(dtype)
    out = np.ones(8, dtype)
    _summed(a, out)
    assert out[3:7].tolist() == (1 + a.reshape(4, N_LANES).sum(axis=1)).tolist()
    assert out[[0, 1, 2, 7]].tolist() == [1.0] * 4


def test_hyperbolic_tangent_is_accurate_to_rounding(dtype: type) -> None:
    x = np.concatenate([np.linspace(-30, 30, 4001), [0.0, 1e-8, 200.0, -1e6, 0.1, -0.1, 9.9]])
    values = np.zeros(-(-len(x) // N_LANES) * N_LANES, dtype)
    values[: len(x)] = x
    replace_by_tanh(values, len(values))
    expected = np.tanh(x.astype(dtype).astype(np.float64))
    assert np.abs(values[: len(x)] - expected).max() < 2.5 * np.finfo(dtype).eps


def test_hyperbolic_tangent_of_nan_is_nan(dtype: type) -> None:
    values = np.full(N_LANES, np.nan, dtype)
    replace_by_tanh(values, N_LANES)
    assert np.isnan(values).all()


def test_aligned_memory_begins_at_a_cache_line(dtype: type) -> None:
    for n in (0, 1, 17):
        array = aligned_zeros(n, dtype)
        assert array.shape == (n,)
        assert array.ctypes.data % 64 == 0 or n == 0
