"""Adam with averaged parameters, and the mini-batches and rates it goes by."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.nep.training.settings import TrainingSettings
from nepal_flows.typing import BoolArray, FloatArray, IntArray

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-12


def mini_batches(
    n_atoms: IntArray, settings: TrainingSettings, rng: np.random.Generator
) -> Iterator[IntArray]:
    """Yield indices of structures for ever: every structure once per pass, in random order.

    Parameters
    ----------
    n_atoms
        Atoms of every structure.
    settings
        Gives the size of a batch.
    rng
        Source of the order.
    """
    n_batches = max(1, round(int(n_atoms.sum()) / settings.batch_atoms))
    if settings.batch_structures:
        n_batches = max(1, round(len(n_atoms) / settings.batch_structures))
    n_batches = min(n_batches, len(n_atoms))
    while True:
        order = rng.permutation(len(n_atoms))
        ends = np.cumsum(np.ones_like(n_atoms) if settings.batch_structures else n_atoms[order])
        targets = ends[-1] * np.arange(1, n_batches) / n_batches
        cuts = np.searchsorted(ends, targets - 0.5 * n_atoms.mean()) + 1
        for batch in np.split(order, np.unique(np.minimum(cuts, len(order) - 1))):
            if len(batch):
                yield np.sort(batch)


@dataclass
class Adam:
    """Adam with decoupled weight decay and an exponential average of what it passes through.

    Attributes
    ----------
    parameters
        Current, shape (P,); changed in place.
    average
        Their exponential average.
    decays
        Which parameters decay.
    averaging_decay, weight_decay
        As in the settings.
    """

    parameters: FloatArray
    decays: BoolArray
    averaging_decay: float
    weight_decay: float

    def __post_init__(self) -> None:
        self.average = self.parameters.copy()
        self._mean = np.zeros_like(self.parameters)
        self._square = np.zeros_like(self.parameters)
        self._step = 0

    def step(self, gradient: FloatArray, rate: float) -> None:
        """Take one step."""
        self._step += 1
        self._mean += (1.0 - _BETA_1) * (gradient - self._mean)
        self._square += (1.0 - _BETA_2) * (gradient * gradient - self._square)
        mean = self._mean / (1.0 - _BETA_1**self._step)
        size = np.sqrt(self._square / (1.0 - _BETA_2**self._step)) + _EPSILON
        if self.weight_decay:
            self.parameters[self.decays] *= 1.0 - rate * self.weight_decay
        self.parameters -= rate * mean / size
        decay = min(self.averaging_decay, self._step / (self._step + 10.0))
        self.average += (1.0 - decay) * (self.parameters - self.average)


def cosine_rate(step: int, settings: TrainingSettings, largest: float) -> float:
    """Return the learning rate of a step, counted from 0: a short rise, then a cosine to 0."""
    rise = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    fall = 0.5 * (1.0 + math.cos(math.pi * step / max(settings.n_adam_steps, 1)))
    return largest * rise * fall


__all__ = ["Adam", "cosine_rate", "mini_batches"]
