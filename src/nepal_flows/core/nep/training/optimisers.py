"""Adam with averaged parameters, and the mini-batches and rates it goes by."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.lanes import aligned_zeros
from nepal_flows.core.nep.training.layout import padded
from nepal_flows.core.nep.training.rotation import advance
from nepal_flows.core.nep.training.settings import TrainingSettings
from nepal_flows.typing import AnyArray, BoolArray, FloatArray, IntArray

_BETAS = (0.95, 0.95)  # decay of the averages of the gradient and of its squares
_EPSILON = 1e-12
_FEWEST_STRUCTURES = 2  # of a batch: the error of one energy is its offset
_LARGEST_VECTOR = 128  # coefficients of a pair of types whose full correlation is kept


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
    n_batches = round(int(n_atoms.sum()) / settings.batch_atoms)
    if settings.batch_structures:
        n_batches = round(len(n_atoms) / settings.batch_structures)
    n_batches = max(1, min(n_batches, len(n_atoms) // _FEWEST_STRUCTURES))
    while True:
        order = rng.permutation(len(n_atoms))
        sizes = np.ones(len(order)) if settings.batch_structures else n_atoms[order]
        middles = np.cumsum(sizes) - 0.5 * sizes
        cuts = np.searchsorted(middles, sizes.sum() * np.arange(1, n_batches) / n_batches)
        for batch in np.split(order, cuts):
            if len(batch):
                yield np.sort(batch)


class RotatedAdam:
    """Adam in slowly turning coordinates in which the gradient is uncorrelated.

    The parameters are divided into blocks: the network of a type, a matrix (N, D + 2) of the
    rows of w0 with b0 and w1; and the coefficients c of a pair of types, one vector or, where
    they are many, a matrix (n, k). For every block the averages of G G^T and G^T G are kept; Adam
    works on the gradient in their eigenvectors, which one QR step follows at intervals [1]_.
    Without rotation it is plain Adam. Decay is decoupled; an exponential average of the parameters
    is what a training keeps.

    Parameters
    ----------
    start
        Parameters in the order of nep.txt, shape (P,); copied.
    architecture
        Gives the blocks. The common bias b1 is left alone.
    settings
        Gives decays and the interval of the rotation.

    Attributes
    ----------
    parameters
        Current, shape (P,).
    average
        Their exponential average.

    References
    ----------
    .. [1] N. Vyas et al., SOAP: improving and stabilizing Shampoo using Adam, arXiv:2409.11321;
       V. Gupta et al., Shampoo, ICML (2018).
    """

    def __init__(
        self, start: FloatArray, architecture: NepArchitecture, settings: TrainingSettings
    ) -> None:
        self.parameters = start.copy()
        self.average = start.copy()
        self._averaging_decay = settings.averaging_decay
        self._weight_decay = settings.weight_decay
        self._interval = settings.rotation_interval
        self._blocks = [
            (where, _new_state(where))
            for where in map(np.ascontiguousarray, _parameter_blocks(architecture))
        ]
        self._decays = _decaying(architecture)
        self._step = 0

    def step(self, gradient: FloatArray, rate: float) -> None:
        """Take one step."""
        self._step += 1
        if self._weight_decay:
            self.parameters[self._decays] *= 1.0 - rate * self._weight_decay
        rotates = self._interval > 0
        for where, state in self._blocks:
            if self._step == 1:
                _set_bases(state, gradient[where])
            advance(
                self.parameters,
                gradient,
                where,
                state,
                self._step,
                rate,
                _BETAS,
                _EPSILON,
                rotates,
                rotates and self._step % self._interval == 0,
            )
        decay = min(self._averaging_decay, self._step / (self._step + 10.0))
        self.average += (1.0 - decay) * (self.parameters - self.average)


class _State(NamedTuple):
    """What the optimiser knows about a stack of (n, m) matrices, flat, and room to work in.

    Rows are padded to whole vectors.
    """

    mean: AnyArray
    square: AnyArray
    left: AnyArray  # average of G G^T
    right: AnyArray  # average of G^T G
    left_rows: AnyArray  # eigenvectors, as rows
    right_rows: AnyArray
    right_columns: AnyArray
    matrix: AnyArray
    turned: AnyArray
    moved: AnyArray
    transposed: AnyArray
    scratch: AnyArray


def _new_state(where: IntArray) -> _State:
    stack, n, m = where.shape
    n_pad, m_pad = padded(n), padded(m)
    lengths = {
        "mean": stack * n * m_pad,
        "square": stack * n * m_pad,
        "left": stack * n * n_pad,
        "right": stack * m * m_pad,
        "left_rows": stack * n * n_pad,
        "right_rows": stack * m * m_pad,
        "right_columns": stack * m * m_pad,
        "matrix": n * m_pad,
        "turned": n * m_pad,
        "moved": n * m_pad,
        "transposed": m * n_pad,
        "scratch": max(n * n_pad, m * m_pad),
    }
    return _State(**{name: aligned_zeros(size, np.float64) for name, size in lengths.items()})


def _set_bases(state: _State, gradient: FloatArray) -> None:
    """Begin with the eigenvectors of the first gradient's correlations."""
    stack, n, m = gradient.shape
    turned = np.swapaxes(gradient, 1, 2)
    left = np.linalg.eigh(gradient @ turned)[1]
    right = np.linalg.eigh(turned @ gradient)[1]
    state.left_rows.reshape(stack, n, -1)[:, :, :n] = np.swapaxes(left, 1, 2)
    state.right_rows.reshape(stack, m, -1)[:, :, :m] = np.swapaxes(right, 1, 2)
    state.right_columns.reshape(stack, m, -1)[:, :, :m] = right


def _parameter_blocks(architecture: NepArchitecture) -> list[IntArray]:
    """Return where the parameters of every stack of blocks are, shapes (stack, rows, columns)."""
    a = architecture
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    where = np.arange(a.n_parameters)
    networks = where[: T * a.n_projection].reshape(T, a.n_projection)
    rows = networks[:, : N * D].reshape(T, N, D)
    b0 = networks[:, N * D : N * D + N, None]
    w1 = networks[:, N * D + N :, None]
    blocks = [np.concatenate([rows, b0, w1], axis=2)]
    at = T * a.n_projection + 1
    for n, k in (
        (a.n_max_radial + 1, a.basis_size_radial + 1),
        (a.n_max_angular + 1, a.basis_size_angular + 1),
    ):
        pairs = where[at : at + n * k * T * T].reshape(n, k, T * T).transpose(2, 0, 1)
        blocks.append(pairs.reshape(T * T, 1, n * k) if n * k <= _LARGEST_VECTOR else pairs)
        at += n * k * T * T
    return blocks


def _decaying(architecture: NepArchitecture) -> BoolArray:
    """Return which parameters decay: the coefficients c alone, shape (P,).

    Smaller descriptors make a smoother model, which errs less where there are few frames; decay of
    the network's weights only slows its fit (docs/concepts/training.md).
    """
    decays = np.zeros(architecture.n_parameters, dtype=np.bool_)
    decays[architecture.n_types * architecture.n_projection + 1 :] = True
    return decays


def cosine_rate(step: int, settings: TrainingSettings, largest: float) -> float:
    """Return the learning rate of a step, counted from 0: a short rise, then a cosine to 0."""
    rise = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    fall = 0.5 * (1.0 + math.cos(math.pi * step / max(settings.n_adam_steps, 1)))
    return largest * rise * fall


__all__ = ["RotatedAdam", "cosine_rate", "mini_batches"]
