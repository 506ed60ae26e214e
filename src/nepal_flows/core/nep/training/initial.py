"""Where a training starts: a random model, or one that exists."""

from collections.abc import Sequence

import numpy as np

from nepal_flows.core.nep.descriptors import descriptors
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.structure import Structure
from nepal_flows.errors import TrainingError
from nepal_flows.typing import FloatArray

_MOST_ATOMS = 10_000  # whose descriptors are looked at
_SMALLEST_RANGE = 0.05  # of the median range
_OUTPUT_SCALE = 0.1
_SATURATED_SLOPE = 1e-3  # of tanh, whose largest slope is 1


def random_model(
    architecture: NepArchitecture, structures: Sequence[Structure], rng: np.random.Generator
) -> NepModel:
    """Return a random model whose neurons see the data in their sensitive range.

    Parameters
    ----------
    architecture
        Of the model.
    structures
        The training structures; an even sample of them is looked at when they are many.
    rng
        Source of the numbers.

    Notes
    -----
    c ~ N(0, 1); ``q_scaler`` is one over the range of every descriptor; w0 ~ N(0, 1) / sqrt(D) in
    units of the descriptor's standard deviation; b0 centres every neuron; w1 ~ 0.1 N(0, 1) /
    sqrt(N). Symmetric structures leave descriptors without any spread: ranges and standard
    deviations are at least 5 % of their median.
    """
    a = architecture
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    c_radial = rng.normal(size=(a.n_max_radial + 1, a.basis_size_radial + 1, T, T))
    c_angular = rng.normal(size=(a.n_max_angular + 1, a.basis_size_angular + 1, T, T))
    silent = NepModel(
        architecture=a,
        w0=np.zeros((T, N, D)),
        b0=np.zeros((T, N)),
        w1=np.zeros((T, N)),
        b1=0.0,
        c_radial=c_radial,
        c_angular=c_angular,
        q_scaler=np.ones(D),
    )
    sample = _even_sample(structures)
    q = np.concatenate([descriptors(silent, structure) for structure in sample])
    types = np.concatenate([a.types_of(structure.numbers) for structure in sample])
    q_scaler = 1.0 / _floored(np.ptp(q, axis=0))
    y = q * q_scaler
    w0 = np.empty((T, N, D))
    b0 = np.empty((T, N))
    for t in range(T):
        own = y[types == t] if (types == t).any() else y
        spread = _floored(np.maximum(own.std(axis=0), 1e-3 * y.std(axis=0)))
        w0[t] = rng.normal(size=(N, D)) / np.sqrt(D) / spread
        b0[t] = w0[t] @ own.mean(axis=0)
    return NepModel(
        architecture=a,
        w0=w0,
        b0=b0,
        w1=_OUTPUT_SCALE * rng.normal(size=(T, N)) / np.sqrt(N),
        b1=0.0,
        c_radial=c_radial,
        c_angular=c_angular,
        q_scaler=q_scaler,
    )


def warm_model(architecture: NepArchitecture, initial: NepModel) -> NepModel:
    """Return the model to start from, with its types in the order of the architecture.

    Raises
    ------
    TrainingError
        If the two differ in more than the order of the elements.
    """
    own = initial.architecture
    if set(own.elements) != set(architecture.elements):
        raise TrainingError(
            f"The initial model is for {', '.join(own.elements)}, the training for "
            f"{', '.join(architecture.elements)}. Start without an initial model to change the "
            "elements."
        )
    order = [own.elements.index(symbol) for symbol in architecture.elements]
    expected = {
        "radial_cutoffs": tuple(own.radial_cutoffs[t] for t in order),
        "angular_cutoffs": tuple(own.angular_cutoffs[t] for t in order),
    }
    names = (
        "n_max_radial n_max_angular basis_size_radial basis_size_angular l_max has_q_222 "
        "has_q_1111 n_neurons zbl"
    )
    expected.update({name: getattr(own, name) for name in names.split()})
    for name, value in expected.items():
        wanted = getattr(architecture, name)
        if wanted != value:
            raise TrainingError(
                f"The initial model has `{name}` {value}, the training asks for {wanted}. Use "
                "the same hyper-parameters, or start without an initial model."
            )
    if order == list(range(len(order))):
        return initial
    return NepModel(
        architecture=architecture,
        w0=initial.w0[order],
        b0=initial.b0[order],
        w1=initial.w1[order],
        b1=initial.b1,
        c_radial=initial.c_radial[:, :, order][:, :, :, order],
        c_angular=initial.c_angular[:, :, order][:, :, :, order],
        q_scaler=initial.q_scaler,
    )


def saturated_share(model: NepModel, structures: Sequence[Structure]) -> float:
    """Return the share of atoms that no neuron responds to: the slopes of all vanish there.

    Parameters
    ----------
    model
        The potential.
    structures
        What it was fitted to; an even sample of them is looked at when they are many.
    """
    largest = []
    for structure in _even_sample(structures):
        types = model.architecture.types_of(structure.numbers)
        y = descriptors(model, structure) * model.q_scaler
        z = np.einsum("ad,and->an", y, model.w0[types]) - model.b0[types]
        largest.append((1.0 - np.tanh(z) ** 2).max(axis=1))
    return float(np.mean(np.concatenate(largest) < _SATURATED_SLOPE))


def _even_sample(structures: Sequence[Structure]) -> Sequence[Structure]:
    """Return every structure, or every n-th, so that there are not too many atoms."""
    n_atoms = sum(structure.n_atoms for structure in structures)
    return structures[:: max(1, -(-n_atoms // _MOST_ATOMS))]


def _floored(values: FloatArray) -> FloatArray:
    """Return the values, raised to a share of their median (or to 1 where all vanish)."""
    positive = values[values > 1e-10]
    floor = _SMALLEST_RANGE * float(np.median(positive)) if len(positive) else 1.0
    return np.maximum(values, floor)


__all__ = ["random_model", "saturated_share", "warm_model"]
