r"""Decorrelated windows of a trajectory, and how often the grade exceeds its limit in them.

Successive checks of one trajectory are alike, so they are no independent trials. A window is a
block of checks as long as the statistical inefficiency :math:`g = 1 + 2 \sum_k \rho_k` of the
frame's grade; exceedance is counted in windows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray

_FEWEST_CHECKS = 16
_SMALLEST_GRADE = 1e-12
_TREND_ORDER = 3


@dataclass(frozen=True)
class WindowCount:
    """How often the grade of a run exceeded its limit.

    Attributes
    ----------
    length
        Checks per decorrelated window.
    n_checks, n_exceeded_checks
        Frames graded, and those above the limit.
    n_windows, n_exceeded
        Windows, and those with a check above the limit.
    """

    length: int
    n_checks: int
    n_exceeded_checks: int
    n_windows: int
    n_exceeded: int


def clopper_pearson_upper(n_events: int, n_trials: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a binomial rate.

    Parameters
    ----------
    n_events, n_trials
        Events in independent trials; without trials the bound is 1.
    confidence
        Probability with which the bound holds, between 0 and 1.

    Raises
    ------
    InputError
        If there are more events than trials, a negative number, or no such confidence.

    Examples
    --------
    >>> round(clopper_pearson_upper(0, 100), 4)
    0.0295
    """
    if not 0 <= n_events <= n_trials or not 0.0 < confidence < 1.0:
        raise InputError(
            f"{n_events} events in {n_trials} trials at confidence {confidence}: give "
            "0 <= events <= trials and a confidence between 0 and 1."
        )
    if n_events == n_trials:
        return 1.0
    return float(betaincinv(n_events + 1, n_trials - n_events, confidence))


def statistical_inefficiency(series: FloatArray) -> float:
    r"""Return :math:`g = 1 + 2 \sum_k \rho_k`, how many checks make one independent one.

    The logarithm of the grade is used, less a cubic trend: along a temperature ramp the drift of
    the mean is the protocol, not memory. The sum ends where a pair of neighbouring correlations
    is no longer positive (the initial positive sequence of Geyer).

    Parameters
    ----------
    series
        Grade of successive checks, shape (n,).

    Returns
    -------
    float
        At least 1, at most n. Series shorter than 16 checks, and constant ones, say nothing about
        their memory and count as one.
    """
    values = np.log(np.maximum(np.asarray(series, dtype=np.float64), _SMALLEST_GRADE))
    values = values[np.isfinite(values)]
    n = len(values)
    if n < _FEWEST_CHECKS:
        return float(max(n, 1))
    time = np.linspace(-1.0, 1.0, n)
    trend = np.polynomial.Polynomial.fit(time, values, _TREND_ORDER)
    residual = values - trend(time)
    variance = float((residual**2).mean())
    if variance <= 1e-20 * max(float(np.abs(values).max()), 1.0) ** 2:
        return float(n)
    padded = np.fft.rfft(residual, 2 * n)
    correlation = np.fft.irfft(np.abs(padded) ** 2)[:n] / (n * variance)
    pairs = correlation[: n - n % 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0.0)
    stop = int(negative[0]) if len(negative) else len(pairs)
    return float(np.clip(2.0 * pairs[:stop].sum() - 1.0, 1.0, n))


def window_length(series: FloatArray) -> int:
    """Return how many checks of a trajectory make one decorrelated window.

    Parameters
    ----------
    series
        Grade of successive checks of one run, shape (n,).

    Returns
    -------
    int
        At least 1; the whole run where it is too short or too constant to tell.

    Examples
    --------
    >>> import numpy as np
    >>> window_length(np.ones(5))
    5
    """
    return max(int(np.ceil(statistical_inefficiency(series) - 1e-9)), 1)


def count_windows(
    series: FloatArray, gamma_low: float, *, length: int | None = None
) -> WindowCount:
    """Return how many decorrelated windows one run has, and in how many a check is too high.

    Parameters
    ----------
    series
        Grade of successive checks, shape (n,); NaN counts as above the limit.
    gamma_low
        The limit; a grade equal to it is not above.
    length
        Checks per window; from the series itself by default. A remainder of at least half a
        window is one more window, a shorter one belongs to the window before.

    Raises
    ------
    InputError
        If a window has no check.
    """
    series = np.asarray(series, dtype=np.float64)
    size = window_length(series) if length is None else length
    if size < 1:
        raise InputError(f"`length` is {size}; a window needs at least one check.")
    n = len(series)
    if n == 0:
        return WindowCount(size, 0, 0, 0, 0)
    above = ~(series <= gamma_low)
    n_windows = max(int(np.floor(n / size + 0.5)), 1)
    which = np.minimum(np.arange(n) // size, n_windows - 1)
    hit = np.bincount(which, weights=above, minlength=n_windows) > 0.0
    return WindowCount(size, n, int(above.sum()), n_windows, int(hit.sum()))


__all__ = [
    "WindowCount",
    "clopper_pearson_upper",
    "count_windows",
    "statistical_inefficiency",
    "window_length",
]
