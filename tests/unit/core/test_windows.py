import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from nepal_flows.core.windows import (
    clopper_pearson_upper,
    count_windows,
    statistical_inefficiency,
    window_length,
)
from nepal_flows.errors import InputError


def correlated(n: int, time: float, seed: int) -> np.ndarray:
    """Return exp of a first-order process whose correlation falls as exp(-k / time)."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-1.0 / time)
    noise = rng.standard_normal(n) * np.sqrt(1 - decay**2)
    series = np.zeros(n)
    series[0] = rng.standard_normal()
    for k in range(1, n):
        series[k] = decay * series[k - 1] + noise[k]
    return np.exp(0.3 * series)


@pytest.mark.parametrize("time", [2.0, 5.0, 20.0])
def test_inefficiency_is_that_of_the_process(time: float) -> None:
    found = [statistical_inefficiency(correlated(3000, time, seed)) for seed in range(20)]
    exact = (1 + np.exp(-1 / time)) / (1 - np.exp(-1 / time))
    assert np.mean(found) == pytest.approx(exact, rel=0.2)


def test_independent_checks_are_their_own_windows() -> None:
    lengths = [
        window_length(np.random.default_rng(seed).lognormal(size=1000)) for seed in range(20)
    ]
    assert np.median(lengths) <= 2


def test_a_drift_is_not_memory() -> None:
    rng = np.random.default_rng(0)
    ramp = np.exp(np.linspace(0.0, 3.0, 800) + 0.1 * rng.standard_normal(800))
    assert window_length(ramp) <= 3


def test_scale_of_the_grade_does_not_matter() -> None:
    series = correlated(500, 5.0, 1)
    assert statistical_inefficiency(7.0 * series) == pytest.approx(statistical_inefficiency(series))


@pytest.mark.parametrize("series", [[1.0] * 5, [2.0] * 100, [0.0] * 40, [3.0]])
def test_short_and_constant_series_are_one_window(series: list[float]) -> None:
    assert window_length(np.array(series)) == len(series)
    assert count_windows(np.array(series), 5.0).n_windows == 1


def test_no_check_is_no_window() -> None:
    assert count_windows(np.zeros(0), 5.0).n_windows == 0


def test_windows_count_what_lies_in_them() -> None:
    series = np.ones(23)
    series[[4, 5, 21]] = 9.0
    found = count_windows(series, 5.0, length=5)
    assert found.n_checks == 23
    assert found.n_exceeded_checks == 3
    assert (found.n_windows, found.n_exceeded) == (5, 3)
    short_rest = count_windows(series[:22], 5.0, length=5)
    assert (short_rest.n_windows, short_rest.n_exceeded) == (4, 3)


def test_nan_counts_as_too_high_and_the_limit_itself_does_not() -> None:
    assert count_windows(np.array([np.nan, 5.0]), 5.0, length=1).n_exceeded == 1


@given(st.integers(0, 40), st.integers(0, 200), st.floats(0.5, 0.99))
def test_bound_is_that_of_the_exact_test(k: int, extra: int, confidence: float) -> None:
    n = k + extra
    bound = clopper_pearson_upper(k, n, confidence)
    if n in (0, k):
        assert bound == 1.0
        return
    exact = binomtest(k, n, alternative="less").proportion_ci(confidence, method="exact").high
    assert bound == pytest.approx(exact, abs=1e-9)
    assert binom.cdf(k, n, bound) == pytest.approx(1.0 - confidence, abs=1e-6)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(InputError, match="5 events in 3 trials"):
        clopper_pearson_upper(5, 3)
    with pytest.raises(InputError, match="length"):
        count_windows(np.ones(3), 5.0, length=0)
