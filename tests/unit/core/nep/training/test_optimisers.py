"""Optimisers on problems with known answers."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.lbfgs import minimise_lbfgs
from nepal_flows.core.nep.training.optimisers import RotatedAdam, cosine_rate, mini_batches
from nepal_flows.core.nep.training.settings import TrainingSettings

ARCHITECTURE = NepArchitecture(("Cu", "Au"), (5.0,), (4.0,), 2, 1, 3, 3, 2, False, False, 3)


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    a, b = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[1:] += 200.0 * a
    gradient[:-1] += -400.0 * a * x[:-1] - 2.0 * b
    return float(100.0 * a @ a + b @ b), gradient


def test_lbfgs_finds_the_minimum_of_a_curved_valley() -> None:
    start = np.full(12, -0.5)
    end = minimise_lbfgs(rosenbrock, start, n_steps=300, callback=lambda _: None)
    assert np.allclose(end, 1.0, atol=1e-6)
    assert start.tolist() == [-0.5] * 12


def test_lbfgs_never_rises() -> None:
    values: list[float] = []

    def callback(point: np.ndarray) -> None:
        values.append(rosenbrock(point)[0])

    minimise_lbfgs(rosenbrock, np.full(5, -1.2), n_steps=20, callback=callback)
    assert len(values) == 20
    assert all(after < before for before, after in pairwise(values))


def test_lbfgs_ends_at_a_minimum_it_cannot_leave() -> None:
    calls: list[np.ndarray] = []
    end = minimise_lbfgs(
        lambda x: (float(x @ x), 2.0 * x), np.zeros(3), n_steps=50, callback=calls.append
    )
    assert end.tolist() == [0.0] * 3
    assert not calls


def test_every_structure_is_in_one_batch_of_a_pass() -> None:
    rng = np.random.default_rng(0)
    n_atoms = rng.integers(1, 40, 57)
    batches = mini_batches(n_atoms, TrainingSettings(batch_atoms=64), rng)
    seen: Counter[int] = Counter()
    sizes = []
    while sum(seen.values()) < 57 * 4:
        batch = next(batches)
        seen.update(batch.tolist())
        sizes.append(n_atoms[batch].sum())
    assert set(seen.values()) == {4}
    assert 64 - 40 < np.mean(sizes) < 64 + 40


def test_batches_can_go_by_structures_and_hold_two_at_least() -> None:
    n_atoms = np.array([5, 400, 5, 5, 5, 5, 5, 5])
    rng = np.random.default_rng(1)
    by_structures = mini_batches(n_atoms, TrainingSettings(batch_structures=4), rng)
    assert {len(next(by_structures)) for _ in range(10)} == {4}
    small = mini_batches(np.full(8, 100), TrainingSettings(batch_atoms=100), rng)
    assert {len(next(small)) for _ in range(10)} == {2}
    single = mini_batches(np.array([7]), TrainingSettings(), rng)
    assert next(single).tolist() == [0]


def test_rate_rises_then_falls_to_nothing() -> None:
    settings = TrainingSettings(n_adam_steps=100, warmup_steps=10)
    rates = [cosine_rate(step, settings, 0.5) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(0.5, rel=0.03)
    assert rates[-1] < 2e-4


def quadratic(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return a Hessian with eigenvalues over six decades in coordinates that are mixed."""
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return basis @ np.diag(np.logspace(-3, 3, n)) @ basis.T


@pytest.mark.parametrize(("interval", "worst", "best"), [(5, 0.02, 0.0), (0, 1.0, 0.02)])
def test_rotation_takes_care_of_correlated_coefficients(
    interval: int, worst: float, best: float
) -> None:
    rng = np.random.default_rng(3)
    settings = TrainingSettings(
        n_adam_steps=400, rotation_interval=interval, weight_decay=0.0, averaging_decay=0.5
    )
    n = ARCHITECTURE.n_parameters
    first = ARCHITECTURE.n_types * ARCHITECTURE.n_projection + 1
    where = first + 4 * np.arange(12)  # radial coefficients of the first pair of types
    hessian = quadratic(rng, 12)
    start = np.zeros(n)
    start[where] = rng.normal(size=12)
    optimiser = RotatedAdam(start, ARCHITECTURE, settings)
    for step in range(400):
        gradient = np.zeros(n)
        gradient[where] = hessian @ optimiser.parameters[where] / np.sqrt(12)
        optimiser.step(gradient, cosine_rate(step, settings, 0.1))
    left = np.linalg.norm(optimiser.average[where]) / np.linalg.norm(start[where])
    assert best <= left < worst


def test_bias_and_parameters_without_gradient_stay() -> None:
    settings = TrainingSettings(weight_decay=0.0)
    start = np.random.default_rng(4).normal(size=ARCHITECTURE.n_parameters)
    optimiser = RotatedAdam(start, ARCHITECTURE, settings)
    for _ in range(25):
        optimiser.step(np.zeros_like(start), 0.1)
    assert np.array_equal(optimiser.parameters, start)


def test_decay_shrinks_the_coefficients_alone() -> None:
    start = np.ones(ARCHITECTURE.n_parameters)
    optimiser = RotatedAdam(start, ARCHITECTURE, TrainingSettings(weight_decay=0.1))
    optimiser.step(np.zeros_like(start), 1.0)
    n_network = ARCHITECTURE.n_types * ARCHITECTURE.n_projection + 1
    assert np.array_equal(optimiser.parameters[:n_network], start[:n_network])
    np.testing.assert_allclose(optimiser.parameters[n_network:], 0.9)
