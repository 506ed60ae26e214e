"""The Bayesian fit of a linear model against its textbook definition."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from nepal_flows.core.bayes.linear import NormalEquations, fit_linear
from nepal_flows.errors import TrainingError


def problem(n_rows=60, noise=0.1, seed=0):
    """Rows of two groups of parameters of very different size and unit."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n_rows, 7)) * np.array([1, 2, 1, 1, 40, 30, 50])
    truth = np.array([3.0, -1, 0.5, 2, 0.05, -0.02, 0.01])
    groups = np.array([0, 0, 0, 0, 1, 1, 1])
    return rows, rows @ truth + noise * rng.standard_normal(n_rows), truth, groups


def equations_of(rows, values):
    equations = NormalEquations.empty(rows.shape[1])
    for part in np.array_split(np.arange(len(rows)), 4):
        equations.add(rows[part], values[part])
    return equations


def test_priors_and_noise_are_those_of_the_largest_evidence():
    rows, values, _, groups = problem()
    found = fit_linear(equations_of(rows, values), groups)

    def minus_log_evidence(logs):
        prior = np.exp(-logs[:2])[groups]
        covariance = np.exp(2 * logs[2]) * np.eye(len(values)) + (rows * prior) @ rows.T
        return -multivariate_normal.logpdf(values, cov=covariance, allow_singular=True)

    best = minimize(minus_log_evidence, [0.0, 5.0, -2.0], method="Nelder-Mead")
    assert found.noise == pytest.approx(np.exp(best.x[2]), rel=2e-3)
    alpha, beta = np.exp(best.x[:2]), np.exp(-2 * best.x[2])
    covariance = np.linalg.inv(np.diag(alpha[groups]) + beta * rows.T @ rows)
    assert np.allclose(found.root @ found.root.T, covariance, rtol=2e-2, atol=1e-12)
    assert np.allclose(found.parameters, beta * covariance @ rows.T @ values, rtol=1e-3)


def test_parameters_are_found_within_their_deviations():
    rows, values, truth, groups = problem(n_rows=400)
    found = fit_linear(equations_of(rows, values), groups)
    assert found.noise == pytest.approx(0.1, rel=0.1)
    deviations = found.deviations(np.eye(7))
    assert (np.abs(found.parameters - truth) < 4.0 * deviations).all()
    assert found.n_determined == pytest.approx(7.0, abs=0.2)


def test_error_bar_of_the_training_set_is_its_residual():
    rows, values, _, groups = problem()
    found = fit_linear(equations_of(rows, values), groups)
    bars = found.scale * found.deviations(rows)
    residual = rows @ found.parameters - values
    assert np.sqrt(np.mean(bars**2)) == pytest.approx(np.sqrt(np.mean(residual**2)))
    assert found.rmse == pytest.approx(np.sqrt(np.mean(residual**2)))


def test_fewer_rows_than_parameters_leave_their_priors():
    rows, values, _, groups = problem(n_rows=3)
    found = fit_linear(equations_of(rows, values), groups)
    assert np.isfinite(found.parameters).all()
    assert found.n_determined <= 3.0 + 1e-6
    seen = found.deviations(rows).max()
    null = np.linalg.svd(rows)[2][-1]
    assert found.deviations(null[None])[0] > seen / 50.0


def test_units_of_a_group_change_nothing():
    rows, values, _, groups = problem()
    units = np.where(groups == 0, 1.0, 1e4)
    found = fit_linear(equations_of(rows, values), groups)
    other = fit_linear(equations_of(rows * units, values), groups)
    assert np.allclose(other.parameters * units, found.parameters, rtol=1e-4)
    assert np.allclose(other.deviations(rows * units), found.deviations(rows), rtol=1e-3)


def test_noise_free_values_are_fitted_to_rounding():
    rows, values, truth, groups = problem(noise=0.0)
    found = fit_linear(equations_of(rows, values), groups)
    assert np.allclose(found.parameters, truth, atol=1e-6)


def test_no_rows_and_rows_without_sense_are_refused():
    with pytest.raises(TrainingError, match="no row"):
        fit_linear(NormalEquations.empty(3), np.zeros(3, dtype=int))
    broken = NormalEquations.empty(2)
    broken.add(np.array([[1.0, np.nan]]), np.array([1.0]))
    with pytest.raises(TrainingError, match="not finite"):
        fit_linear(broken, np.zeros(2, dtype=int))
