r"""Bayesian fit of a linear model: parameters, their covariance, priors and noise by evidence.

For rows :math:`y = \Phi w + \epsilon` with noise :math:`1/\beta` and a prior :math:`\alpha_g` for
every group of parameters, :math:`S = (A + \beta \Phi^T \Phi)^{-1}` and
:math:`m = \beta S \Phi^T y`. The evidence is largest [1]_ where
:math:`\alpha_g = \gamma_g / |m_g|^2`, :math:`\gamma_g = |g| - \alpha_g \mathrm{tr} S_{gg}`, and
:math:`\beta = (N - \sum_g \gamma_g) / |y - \Phi m|^2`.

References
----------
.. [1] D. J. C. MacKay, Neural Computation 4, 415 (1992).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from nepal_flows.errors import TrainingError
from nepal_flows.typing import FloatArray, IntArray

_MOST_ITERATIONS = 300
_TOLERANCE = 1e-4
_SMALLEST_PRIOR = 1e-12
"""Of the largest diagonal element of the inverse covariance, in columns of unit norm."""


@dataclass
class NormalEquations:
    """What a linear fit needs of its rows, added up frame by frame.

    Attributes
    ----------
    product
        :math:`\\Phi^T \\Phi`, shape (n, n).
    projection
        :math:`\\Phi^T y`, shape (n,).
    square
        :math:`y^T y`.
    n_rows
        Rows added.
    """

    product: FloatArray
    projection: FloatArray
    square: float = 0.0
    n_rows: int = 0

    @classmethod
    def empty(cls, n_parameters: int) -> "NormalEquations":
        """Return the equations of no rows."""
        return cls(np.zeros((n_parameters, n_parameters)), np.zeros(n_parameters))

    def add(self, rows: FloatArray, values: FloatArray) -> None:
        """Add rows, shape (n_rows, n), and what they should give, shape (n_rows,)."""
        self.product += rows.T @ rows
        self.projection += rows.T @ values
        self.square += float(values @ values)
        self.n_rows += len(values)

    def squared_residual(self, parameters: FloatArray) -> float:
        """Return the sum of squared residuals of given parameters."""
        quadratic = parameters @ self.product @ parameters
        return max(float(self.square - 2.0 * parameters @ self.projection + quadratic), 0.0)


@dataclass(frozen=True, eq=False)
class LinearPosterior:
    """Parameters of a linear model with their covariance.

    Attributes
    ----------
    parameters
        Posterior mean, shape (n,).
    root
        R with S = R R^T, shape (n, n): the deviation of a row is ``abs(row R)``.
    noise
        1 / sqrt(beta), in units of the values.
    rmse
        Root-mean-square residual of the training rows.
    training_deviation
        Root-mean-square deviation of the training rows.
    n_rows
        Training rows.
    determined
        Effective number of parameters of every group that they determine, shape (n_groups,).
    n_iterations
        Of the evidence.
    """

    parameters: FloatArray
    root: FloatArray
    noise: float
    rmse: float
    training_deviation: float
    n_rows: int
    determined: FloatArray
    n_iterations: int

    @property
    def n_determined(self) -> float:
        """Effective number of parameters that the training rows determine."""
        return float(self.determined.sum())

    @property
    def scale(self) -> float:
        """The factor c that makes ``c * deviation`` the error of the training rows."""
        return self.rmse / self.training_deviation

    def deviations(self, rows: FloatArray) -> FloatArray:
        """Return the deviation of each row, shape (n_rows,), in units of the values."""
        found: FloatArray = np.linalg.norm(rows @ self.root, axis=1)
        return found


def fit_linear(equations: NormalEquations, groups: IntArray) -> LinearPosterior:
    """Return the posterior of a linear model.

    Parameters
    ----------
    equations
        Of the training rows.
    groups
        Group of every parameter, shape (n,), from 0: those of one group share a prior.

    Raises
    ------
    TrainingError
        If there is no row, or one is not finite.
    """
    _check(equations)
    norms = np.sqrt(np.diag(equations.product))
    norms[norms == 0.0] = 1.0
    scaled = NormalEquations(
        equations.product / np.outer(norms, norms),
        equations.projection / norms,
        equations.square,
        equations.n_rows,
    )
    sizes = np.bincount(groups)
    weights = 1.0 / norms**2  # the prior is one of unscaled parameters
    alpha = np.full(len(sizes), 1e-6) / np.bincount(groups, weights) * sizes
    variance = equations.square / equations.n_rows
    beta = 100.0 / max(variance, 1e-300)
    count = 0
    while True:
        count += 1
        root = _root(scaled.product, alpha[groups] * weights, beta)
        covariance = root @ root.T
        mean = beta * covariance @ scaled.projection
        traces = np.bincount(groups, np.diag(covariance) * weights, minlength=len(sizes))
        determined = np.clip(sizes - alpha * traces, 1e-10, sizes)
        squares = np.bincount(groups, mean**2 * weights, minlength=len(sizes))
        residual = scaled.squared_residual(mean)
        new_alpha = determined / np.maximum(squares, 1e-300)
        left = max(equations.n_rows - determined.sum(), 1e-3 * equations.n_rows)
        # A residual below rounding would mean a noise of nothing.
        new_beta = left / max(residual, 1e-14 * equations.square, 1e-300)
        change = np.abs(np.log(np.append(new_alpha / alpha, new_beta / beta))).max()
        if change < _TOLERANCE or count == _MOST_ITERATIONS:
            break
        alpha, beta = new_alpha, new_beta
    deviation = np.sqrt(np.einsum("ij,ji->", scaled.product, covariance) / equations.n_rows)
    return LinearPosterior(
        parameters=mean / norms,
        root=root / norms[:, None],
        noise=float(1.0 / np.sqrt(beta)),
        rmse=float(np.sqrt(residual / equations.n_rows)),
        training_deviation=float(deviation),
        n_rows=equations.n_rows,
        determined=determined,
        n_iterations=count,
    )


def _root(product: FloatArray, priors: FloatArray, beta: float) -> FloatArray:
    """Return the upper triangular R with (beta G + A)^-1 = R R^T."""
    precision = beta * product
    diagonal = np.einsum("ii->i", precision)
    diagonal += np.maximum(priors, _SMALLEST_PRIOR * float((diagonal + priors).max()))
    try:
        factor = cholesky(precision, lower=True)
    except LinAlgError as error:
        raise TrainingError(
            "The covariance of the linear model cannot be computed: its columns are too alike. "
            "Shorten the cutoffs of the highest order, or add structures."
        ) from error
    inverse: FloatArray = solve_triangular(factor, np.eye(len(factor)), lower=True)
    return np.ascontiguousarray(inverse.T)


def _check(equations: NormalEquations) -> None:
    if equations.n_rows < 1:
        raise TrainingError("There is no row to fit a linear model to.")
    if not (np.isfinite(equations.product).all() and np.isfinite(equations.projection).all()):
        raise TrainingError("Rows or values of the linear model are not finite.")


__all__ = ["LinearPosterior", "NormalEquations", "fit_linear"]
