"""What the next calculation will cost, learnt from those that were made."""

import math
from dataclasses import dataclass

import numpy as np

from nepal_flows.typing import FloatArray

FACTOR_SPREAD = math.log(10.0)
"""Standard deviation of a first guess, in logarithms: another code, another machine."""

POWER_SPREAD = 0.5
"""Standard deviation of the power of the size by which a first guess may be wrong."""

NOISE = 0.25
"""Scatter of calculations of one size, in logarithms: they take more or fewer cycles."""


@dataclass(frozen=True)
class CostModel:
    """A first guess, corrected by measurement: ``cost = guess exp(a + b log(size / middle))``.

    Attributes
    ----------
    log_factor, power
        a and b.
    middle
        Size about which the power turns.
    n_measured
        Calculations it was learnt from.
    """

    log_factor: float = 0.0
    power: float = 0.0
    middle: float = 1.0
    n_measured: int = 0

    def cost(self, guess: float, size: float) -> float:
        """Return the expected cost, in the units of the guess."""
        scatter = 0.5 * NOISE**2  # the mean of a logarithmic normal distribution
        turned = self.power * math.log(size / self.middle)
        return guess * math.exp(self.log_factor + turned + (scatter if self.n_measured else 0.0))


def fit_cost_model(guesses: FloatArray, sizes: FloatArray, costs: FloatArray) -> CostModel:
    """Return the guess corrected by measured costs, by Bayesian linear regression of logarithms.

    Parameters
    ----------
    guesses
        First guesses, shape (n,), positive.
    sizes
        Sizes (numbers of atoms), shape (n,), positive.
    costs
        What was measured, shape (n,); entries that are not positive are passed over.
    """
    usable = (costs > 0.0) & (guesses > 0.0) & (sizes > 0.0)
    if not usable.any():
        return CostModel()
    target = np.log(costs[usable] / guesses[usable])
    logs = np.log(sizes[usable])
    design = np.stack([np.ones_like(logs), logs - logs.mean()], axis=1)
    precision = design.T @ design / NOISE**2
    precision += np.diag([FACTOR_SPREAD**-2, POWER_SPREAD**-2])
    factor, power = np.linalg.solve(precision, design.T @ target / NOISE**2)
    return CostModel(float(factor), float(power), float(np.exp(logs.mean())), int(usable.sum()))


__all__ = ["CostModel", "fit_cost_model"]
