r"""The posterior of a network's parameters around their trained values, by evidence.

With priors :math:`\alpha_g` per group of parameters and noises :math:`1/\beta_k` per kind of row
the posterior covariance is :math:`S = (A + \sum_k \beta_k G_k)^{-1}`. The evidence [1]_ is
maximised with the model as it was trained: :math:`\gamma_g = |g| - \alpha_g \mathrm{tr} S_{gg}`,
:math:`\alpha_g = \gamma_g / |\theta_g|^2` with the trained parameters, and
:math:`\nu_k = \beta_k \mathrm{tr}(S G_k)`, :math:`\beta_k = (N_k - \nu_k) / |r_k|^2` with the
model's own residuals. Groups are w0, b0 and w1 of every element, and b1; columns are not scaled.

The epistemic deviation of a prediction, :math:`s = \sqrt{\phi S \phi^T}`, shrinks with every row
although the misfit of the model does not. What is calibrated is :math:`e = c s`, with c the
root-mean-square residual over the root-mean-square s of the training rows of that kind.

References
----------
.. [1] D. J. C. MacKay, Neural Computation 4, 415 (1992).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import lapack

from nepal_flows.core.bayes.features import Layer, n_features
from nepal_flows.core.bayes.gram import KINDS, GramMatrices
from nepal_flows.core.design_rows import blocks
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.errors import TrainingError
from nepal_flows.typing import AnyArray, FloatArray, IntArray

_SMALLEST_PRIOR = 1e-13
"""Of the largest diagonal element of the inverse covariance: what keeps it positive definite."""

_MOST_ITERATIONS = 100
_TOLERANCE = 1e-3
_COLUMNS_AT_ONCE = 128
_SMALLEST_SHARE = 1e-3  # of the rows of a kind that may be left to measure its noise


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior of a model's parameters.

    Attributes
    ----------
    layer
        Which parameters.
    root
        Upper triangular R with S = R R^T, shape (n_features, n_features): s = abs(phi R).
    priors
        alpha of every group, in the order of :func:`parameter_groups`.
    noises
        1 / sqrt(beta) of energy, forces and virial: eV/atom, eV/Å, eV/atom; NaN without rows.
    scales
        The factor c of energy, forces and virial, dimensionless; NaN without rows.
    training_deviations
        Root-mean-square s of the training rows of each kind; NaN without rows.
    n_rows
        Training rows of each kind, shape (3,).
    n_determined
        Effective number of parameters that the data determine.
    n_iterations
        Iterations of the evidence.
    """

    layer: Layer
    root: AnyArray
    priors: FloatArray
    noises: FloatArray
    scales: FloatArray
    training_deviations: FloatArray
    n_rows: FloatArray
    n_determined: float
    n_iterations: int

    @property
    def force_scale(self) -> float:
        """The factor c of forces."""
        return float(self.scales[1])

    def deviations(self, features: FloatArray) -> FloatArray:
        """Return s of every row of features, shape (n_rows,), in the precision of `root`."""
        rows = np.asarray(features, dtype=self.root.dtype)
        squares = np.zeros(len(rows))
        for part in blocks(0, len(self.root), _COLUMNS_AT_ONCE):
            # Below the diagonal there is nothing.
            product = rows[:, : part.stop] @ self.root[: part.stop, part]
            squares += np.einsum("ij,ij->i", product, product)
        return np.sqrt(squares)

    def with_rows(self, rows: Sequence[FloatArray]) -> "Posterior":
        """Return the posterior that knows some more rows too; scales stay what they were.

        Parameters
        ----------
        rows
            Features of energies per atom, forces and virials per atom; kinds without training
            rows are passed over.
        """
        weighted = [
            block.astype(np.float64) @ self.root / noise
            for block, noise in zip(rows, self.noises, strict=True)
            if np.isfinite(noise)
        ]
        stacked = np.concatenate(weighted)
        precision = stacked.T @ stacked
        np.einsum("ii->i", precision)[:] += 1.0
        factor, info = lapack.dpotrf(precision, lower=1, overwrite_a=1, clean=1)
        _check_inverted(info)
        root = self.root @ _inverse(lapack.dtrtri, factor).T
        return replace(self, root=np.ascontiguousarray(root, dtype=self.root.dtype))

    def in_single_precision(self) -> "Posterior":
        """Return the posterior with a root of half the size; bars change by some 1e-6."""
        return replace(self, root=self.root.astype(np.float32))


def parameter_groups(architecture: NepArchitecture, layer: Layer = "all") -> IntArray:
    """Return the group of every column: w0, b0, w1 (or w1 alone) of every type, then b1.

    Examples
    --------
    >>> a = NepArchitecture(("Cu",), (6.0,), (5.0,), 0, 0, 1, 1, 0, False, False, 2)
    >>> parameter_groups(a).tolist()
    [0, 1, 2, 0, 1, 2, 3]
    """
    block = [0] * architecture.n_descriptors + [1, 2] if layer == "all" else [0]
    by_type = np.tile(block, (architecture.n_types, architecture.n_neurons, 1))
    by_type += (max(block) + 1) * np.arange(architecture.n_types)[:, None, None]
    return np.append(by_type.ravel(), by_type.max() + 1)


def network_parameters(model: NepModel, layer: Layer = "all") -> FloatArray:
    """Return the parameters in the order of the columns, shape (n_features,)."""
    if layer == "last":
        return np.append(model.w1.ravel(), model.b1)
    blocks = np.concatenate([model.w0, model.b0[:, :, None], model.w1[:, :, None]], axis=2)
    return np.append(blocks.ravel(), model.b1)


def posterior(model: NepModel, gram: GramMatrices, *, layer: Layer = "all") -> Posterior:
    """Return the posterior of a model's parameters, given what the data say.

    Parameters
    ----------
    model
        The potential, trained.
    gram
        Of the same model, its training data and the same layer.
    layer
        Which parameters.

    Raises
    ------
    TrainingError
        If the matrices are of other parameters, hold no force row, or are not finite; or if all
        neurons are saturated.

    Notes
    -----
    Defined for any number of rows: what the data do not determine keeps its prior.
    """
    theta = network_parameters(model, layer)
    _check(gram, n_features(model.architecture, layer))
    groups = parameter_groups(model.architecture, layer)
    sizes = np.bincount(groups)
    squares = np.bincount(groups, weights=theta**2)
    present = gram.n_rows > 0
    # A residual of nothing would mean a noise of nothing, and no finite covariance.
    residuals = np.maximum(gram.squared_residuals, 1e-16 * np.maximum(gram.n_rows, 1.0))
    squares = np.maximum(squares, 1e-12 * sizes)
    alpha, beta = sizes / squares, np.where(present, gram.n_rows / residuals, 0.0)
    count = 0
    while True:
        count += 1
        factor = _cholesky_factor(gram, alpha[groups], beta)
        covariance = _inverse(lapack.dpotri, factor)
        variances = np.diag(covariance)
        traces = np.bincount(groups, weights=variances)
        determined = np.clip(sizes - alpha * traces, 0.0, sizes)
        # The lower triangle holds all of a symmetric matrix.
        found = np.array(
            [2.0 * np.vdot(covariance, g) - np.vdot(variances, np.diag(g)) for g in gram.products]
        )
        left = np.maximum(gram.n_rows - beta * found, _SMALLEST_SHARE * gram.n_rows)
        new_alpha = np.maximum(determined, 1e-10) / squares
        new_beta = np.where(present, left / residuals, 0.0)
        change = max(_change(alpha, new_alpha), _change(beta[present], new_beta[present]))
        if change < _TOLERANCE or count == _MOST_ITERATIONS:
            break
        alpha, beta = new_alpha, new_beta
    rows = np.where(present, gram.n_rows, np.nan)
    deviations = np.sqrt(found / rows)
    return Posterior(
        layer=layer,
        root=np.ascontiguousarray(_inverse(lapack.dtrtri, factor).T),
        priors=alpha,
        noises=np.where(present, 1.0 / np.sqrt(np.where(present, beta, 1.0)), np.nan),
        scales=np.sqrt(residuals / rows) / deviations,
        training_deviations=deviations,
        n_rows=gram.n_rows,
        n_determined=float(determined.sum()),
        n_iterations=count,
    )


def _change(before: FloatArray, after: FloatArray) -> float:
    return float(np.abs(np.log(after / before)).max())


def _cholesky_factor(gram: GramMatrices, alpha: FloatArray, beta: FloatArray) -> FloatArray:
    """Return the lower triangular L with S^-1 = L L^T."""
    precision = np.tensordot(beta, gram.products, axes=1)
    diagonal = np.einsum("ii->i", precision)
    floor = _SMALLEST_PRIOR * float((diagonal + alpha).max())
    diagonal += np.maximum(alpha, floor)
    factor: FloatArray
    factor, info = lapack.dpotrf(precision.T, lower=1, overwrite_a=1, clean=1)
    _check_inverted(info)
    return factor


def _inverse(routine: Callable[..., tuple[FloatArray, int]], factor: FloatArray) -> FloatArray:
    """Return the lower triangle that a LAPACK routine makes of the factor."""
    inverse, info = routine(factor, lower=1)
    _check_inverted(info)
    return inverse


def _check_inverted(info: int) -> None:
    if info != 0:
        raise TrainingError(
            "The posterior of the networks cannot be computed: the matrix of the features is not "
            "positive definite, so some of them are not finite or differ by more than 13 orders "
            "of magnitude. Look for frames with colliding atoms."
        )


def _check(gram: GramMatrices, columns: int) -> None:
    if gram.products.shape != (len(KINDS), columns, columns):
        raise TrainingError(
            f"The Gram matrices have shape {gram.products.shape}, but the model has {columns} "
            "parameters of this kind. Build them from the same model and layer."
        )
    if gram.n_rows[1] < 1:
        raise TrainingError("There is no force among the rows; the error of forces needs some.")
    if not (np.isfinite(gram.products).all() and np.isfinite(gram.squared_residuals).all()):
        raise TrainingError(
            "Features or residuals are not finite. Look for frames with colliding atoms, or for a "
            "training that diverged."
        )
    if not np.diag(gram.products[1]).any():
        raise TrainingError(
            "The forces of this model do not depend on its networks: every neuron is saturated, so "
            "the training has collapsed. Train with more frames or neurons, or a lower rate."
        )


__all__ = ["Posterior", "network_parameters", "parameter_groups", "posterior"]
