"""Limited-memory BFGS for functions whose evaluation dwarfs the vector algebra."""

from collections.abc import Callable

import numpy as np

from nepal_flows.typing import FloatArray

_SUFFICIENT_DECREASE = 1e-4
_CURVATURE = 0.9
_MOST_TRIALS = 12

Function = Callable[[FloatArray], tuple[float, FloatArray]]


def minimise_lbfgs(
    function: Function,
    start: FloatArray,
    *,
    n_steps: int,
    memory: int = 30,
    callback: Callable[[FloatArray], None],
) -> FloatArray:
    """Return where at most so many iterations of L-BFGS lead.

    It ends early when no step along the search direction lowers the function any more, which is
    what happens at the rounding of a float32 function.

    Parameters
    ----------
    function
        Returns value and gradient.
    start
        Shape (P,).
    n_steps
        Largest number of iterations.
    memory
        Pairs of steps and gradient changes that are kept.
    callback
        Called with the point of every iteration.

    Notes
    -----
    Two-loop recursion, with a bisecting line search for the weak Wolfe conditions: see J. Nocedal,
    S. Wright, Numerical Optimization, 2nd ed. (2006), Alg. 7.4, and A. Lewis, M. Overton, Math.
    Program. 141, 135 (2013).
    """
    point = start.copy()
    value, gradient = function(point)
    steps: list[FloatArray] = []
    changes: list[FloatArray] = []
    for _ in range(n_steps):
        direction = -_inverse_hessian_times(gradient, steps, changes)
        if gradient @ direction >= 0.0:
            steps.clear()
            changes.clear()
            direction = -gradient
        if not steps:
            direction = direction / max(np.abs(direction).max() / 1e-3, 1e-300)
        found = _line_search(function, point, value, gradient, direction)
        if found is None:
            if not steps:
                break
            steps.clear()
            changes.clear()
            continue
        step, value, new_gradient = found
        change = new_gradient - gradient
        point = point + step
        gradient = new_gradient
        if step @ change > 1e-12 * np.linalg.norm(step) * np.linalg.norm(change):
            steps.append(step)
            changes.append(change)
            del steps[:-memory], changes[:-memory]
        callback(point)
    return point


def _inverse_hessian_times(
    vector: FloatArray, steps: list[FloatArray], changes: list[FloatArray]
) -> FloatArray:
    """Return the product with the inverse Hessian that the kept pairs describe."""
    product = vector.copy()
    factors = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        factor = (step @ product) / (step @ change)
        product -= factor * change
        factors.append(factor)
    if steps:
        product *= (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for step, change, factor in zip(steps, changes, reversed(factors), strict=True):
        product += (factor - (change @ product) / (step @ change)) * step
    return product


def _line_search(
    function: Function,
    point: FloatArray,
    value: float,
    gradient: FloatArray,
    direction: FloatArray,
) -> tuple[FloatArray, float, FloatArray] | None:
    """Return a step along the direction, with value and gradient there; None if none is lower."""
    slope = float(gradient @ direction)
    length, low, high = 1.0, 0.0, np.inf
    best: tuple[FloatArray, float, FloatArray] | None = None
    for _ in range(_MOST_TRIALS):
        step = length * direction
        trial, trial_gradient = function(point + step)
        if not (trial < value and trial <= value + _SUFFICIENT_DECREASE * length * slope):
            high = length
        else:
            best = step, trial, trial_gradient
            if trial_gradient @ direction >= _CURVATURE * slope:
                return best
            low = length
        length = 0.5 * (low + high) if np.isfinite(high) else 2.0 * length
    return best


__all__ = ["minimise_lbfgs"]
