"""Costs are learnt from what was measured, and guessed where nothing was."""

import numpy as np
import pytest

from nepal_flows.core.cost_model import NOISE, CostModel, fit_cost_model


def test_without_measurements_the_guess_stands():
    assert fit_cost_model(np.zeros(0), np.zeros(0), np.zeros(0)).cost(7.0, 12.0) == 7.0
    assert fit_cost_model(np.ones(2), np.ones(2), np.array([0.0, -1.0])) == CostModel()


def test_factor_and_power_are_learnt_from_many(rng):
    sizes = rng.uniform(4, 64, 200)
    guesses = 0.5 * sizes
    costs = 2.0 * sizes**1.6 * np.exp(rng.normal(0.0, NOISE, 200))
    model = fit_cost_model(guesses, sizes, costs)
    for size in (4.0, 16.0, 100.0):
        mean = 2.0 * size**1.6 * np.exp(0.5 * NOISE**2)
        assert model.cost(0.5 * size, size) == pytest.approx(mean, rel=0.1)
    assert model.power == pytest.approx(0.6, abs=0.05)


def test_one_measurement_moves_the_factor_and_hardly_the_power():
    model = fit_cost_model(np.array([10.0]), np.array([16.0]), np.array([40.0]))
    assert model.n_measured == 1
    assert model.power == pytest.approx(0.0, abs=1e-12)
    assert 35.0 < model.cost(10.0, 16.0) < 42.0


def test_it_is_the_posterior_mean_of_the_regression(rng):
    """Against augmented least squares: prior as further rows."""
    sizes, guesses = rng.uniform(2, 30, 7), rng.uniform(1, 5, 7)
    costs = guesses * rng.uniform(0.3, 4, 7)
    model = fit_cost_model(guesses, sizes, costs)
    x = np.log(sizes) - np.log(sizes).mean()
    rows = np.vstack([np.stack([np.ones(7), x], axis=1) / NOISE, np.diag([1 / np.log(10.0), 2.0])])
    right = np.concatenate([np.log(costs / guesses) / NOISE, [0.0, 0.0]])
    expected = np.linalg.lstsq(rows, right)[0]
    np.testing.assert_allclose([model.log_factor, model.power], expected)
