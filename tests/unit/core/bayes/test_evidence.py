"""The posterior against brute force, and the bars against errors on held-out frames."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from nepal_flows.core.bayes.bars import bars_by_frame, calibration, frame_bars
from nepal_flows.core.bayes.evidence import (
    Posterior,
    network_parameters,
    parameter_groups,
    posterior,
)
from nepal_flows.core.bayes.features import frame_features
from nepal_flows.core.bayes.gram import GramMatrices, gram_matrices
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.training import TrainingResult, TrainingSettings, train_model
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError, TrainingError
from nepal_flows.io.structures import labelled_from_atoms
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA

REFERENCES = {"Cu": -0.01}


def rattled(count: int, *, seed: int, width: float = 0.12) -> list[LabelledStructure]:
    """Return strained, rattled copper of twelve atoms, labelled by EMT."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True) * (3, 1, 1)
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True
        )
        atoms.positions += width * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(labelled_from_atoms(atoms))
    return frames


@pytest.fixture(scope="module")
def fitted() -> tuple[TrainingResult, list[LabelledStructure]]:
    student = NepArchitecture(("Cu",), (5.0,), (4.5,), 4, 3, 6, 6, 4, False, False, 8)
    train = rattled(20, seed=0)
    settings = TrainingSettings(n_adam_steps=300)
    return train_model(train, student, settings, reference_energies=REFERENCES), train


@pytest.fixture(scope="module")
def gram(fitted: tuple[TrainingResult, list[LabelledStructure]]) -> GramMatrices:
    result, train = fitted
    return gram_matrices(result.model, train, REFERENCES)


@pytest.fixture(scope="module")
def found(fitted: tuple[TrainingResult, list[LabelledStructure]], gram: GramMatrices) -> Posterior:
    return posterior(fitted[0].model, gram)


def all_rows(model: NepModel, frames: list[LabelledStructure]) -> list[np.ndarray]:
    """Return the features of all energies, forces and virials."""
    features = [frame_features(model, frame.structure) for frame in frames]
    n = [frame.n_atoms for frame in frames]
    return [
        np.array([f.energy / k for f, k in zip(features, n, strict=True)]),
        np.concatenate([f.forces for f in features]),
        np.concatenate([f.virial / k for f, k in zip(features, n, strict=True)]),
    ]


def test_streamed_products_are_those_of_all_rows(
    fitted: tuple[TrainingResult, list[LabelledStructure]],
    gram: GramMatrices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, train = fitted
    for product, n, rows in zip(
        gram.products, gram.n_rows, all_rows(result.model, train), strict=True
    ):
        assert n == len(rows)
        np.testing.assert_allclose(product, rows.T @ rows, atol=1e-12 * np.abs(product).max())
    monkeypatch.setattr("nepal_flows.core.bayes.gram._BATCH_ROWS", 40)
    again = gram_matrices(result.model, train, REFERENCES, n_threads=2)
    np.testing.assert_allclose(again.products[1], gram.products[1], rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(again.n_rows, gram.n_rows)
    errors = result.training_errors
    np.testing.assert_allclose(
        np.sqrt(gram.squared_residuals[1] / gram.n_rows[1]), errors.total_force_rmse, rtol=1e-6
    )
    np.testing.assert_allclose(
        np.sqrt(gram.squared_residuals[2] / gram.n_rows[2]), errors.total_virial_rmse, rtol=1e-6
    )


def test_posterior_is_the_fixed_point_of_the_evidence(
    fitted: tuple[TrainingResult, list[LabelledStructure]], gram: GramMatrices, found: Posterior
) -> None:
    model = fitted[0].model
    theta, groups = network_parameters(model), parameter_groups(model.architecture)
    rows = all_rows(model, fitted[1])
    beta = found.noises**-2
    precision = np.diag(found.priors[groups])
    for b, part in zip(beta, rows, strict=True):
        precision = precision + b * part.T @ part
    covariance = np.linalg.inv(precision)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.abs(found.root @ found.root.T - covariance).max() < 1e-4 * scale.max()
    for group in range(4):
        own = groups == group
        determined = own.sum() - found.priors[group] * np.diag(covariance)[own].sum()
        np.testing.assert_allclose(
            found.priors[group], determined / (theta[own] ** 2).sum(), rtol=1e-2
        )
    for kind, part in enumerate(rows):
        used = beta[kind] * np.einsum("ij,jk,ik->", part, covariance, part)
        left = (len(part) - used) / gram.squared_residuals[kind]
        np.testing.assert_allclose(beta[kind], left, rtol=1e-2)
        s = np.sqrt(np.einsum("ij,jk,ik->i", part, covariance, part))
        np.testing.assert_allclose(found.deviations(part), s, rtol=1e-5)
        np.testing.assert_allclose(
            found.training_deviations[kind], np.sqrt(np.mean(s**2)), rtol=1e-5
        )
        residual = np.sqrt(gram.squared_residuals[kind] / len(part))
        np.testing.assert_allclose(found.scales[kind], residual / np.sqrt(np.mean(s**2)), rtol=1e-5)


def test_bars_of_training_frames_have_the_size_of_the_training_error(
    fitted: tuple[TrainingResult, list[LabelledStructure]], found: Posterior
) -> None:
    result, train = fitted
    bars = bars_by_frame(found, result.model, [frame.structure for frame in train], n_threads=2)
    rms = np.sqrt(np.mean(np.concatenate([bar.forces for bar in bars]) ** 2))
    np.testing.assert_allclose(rms, result.training_errors.total_force_rmse, rtol=1e-6)
    ratios = np.concatenate([bar.ratios for bar in bars])
    np.testing.assert_allclose(np.sqrt(np.mean(ratios**2)), 1.0, rtol=1e-6)
    frame, bar = train[0], bars[0]
    s = found.deviations(frame_features(result.model, frame.structure).virial)
    expected = found.scales[2] * s * EV_PER_CUBIC_ANGSTROM_TO_GPA / frame.structure.volume
    np.testing.assert_allclose(bar.stress, expected, rtol=1e-10)
    assert bar.largest_force == bar.forces.max()


def test_bars_cover_errors_on_held_out_frames(
    fitted: tuple[TrainingResult, list[LabelledStructure]], found: Posterior
) -> None:
    model = fitted[0].model
    for width, allowed in ((0.12, (0.67, 1.5)), (0.25, (0.5, 2.0))):
        test = rattled(15, seed=99, width=width)
        bars = bars_by_frame(found, model, [frame.structure for frame in test])
        errors = [predict(model, f.structure).forces - f.forces for f in test]
        worth = calibration(np.concatenate([b.forces for b in bars]), np.concatenate(errors))
        assert worth is not None
        assert allowed[0] < worth.factor < allowed[1]
    assert worth.is_sound


def test_bars_do_not_depend_on_axes_order_or_cell(
    fitted: tuple[TrainingResult, list[LabelledStructure]], found: Posterior
) -> None:
    result, train = fitted
    s = train[0].structure
    bar = frame_bars(found, result.model, s)
    rng = np.random.default_rng(5)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(s.n_atoms)
    turned = Structure(s.numbers[order], (s.positions @ turn.T)[order] + 0.7, s.cell @ turn.T)
    other = frame_bars(found, result.model, turned)
    np.testing.assert_allclose(other.forces, bar.forces[order], rtol=1e-6)
    np.testing.assert_allclose(other.ratios, bar.ratios[order], rtol=1e-6)
    np.testing.assert_allclose(other.energy, bar.energy, rtol=1e-6)
    positions = np.concatenate([s.positions, s.positions + s.cell[1]])
    double = Structure(np.tile(s.numbers, 2), positions, s.cell * [[1], [2], [1]])
    repeated = frame_bars(found, result.model, double)
    np.testing.assert_allclose(repeated.forces, np.tile(bar.forces, 2), rtol=1e-6)
    np.testing.assert_allclose(repeated.energy, bar.energy, rtol=1e-6)
    np.testing.assert_allclose(repeated.stress, bar.stress, rtol=1e-6)


def test_a_frame_of_one_force_row_still_has_a_posterior(
    fitted: tuple[TrainingResult, list[LabelledStructure]],
) -> None:
    result, train = fitted
    few = gram_matrices(result.model, train[:1], REFERENCES)
    sparse = posterior(result.model, few)
    assert sparse.n_determined <= few.n_rows.sum()
    far = frame_bars(sparse, result.model, train[5].structure)
    assert np.isfinite(far.forces).all()
    own = frame_bars(sparse, result.model, train[0].structure)
    assert far.ratios.mean() > own.ratios.mean()


def test_without_virials_stress_has_no_bar(
    fitted: tuple[TrainingResult, list[LabelledStructure]],
) -> None:
    result, train = fitted
    bare = [LabelledStructure(f.structure, f.energy, f.forces) for f in train]
    found = posterior(result.model, gram_matrices(result.model, bare, REFERENCES))
    bar = frame_bars(found, result.model, train[0].structure)
    assert np.isnan(bar.stress).all()
    assert np.isfinite(bar.forces).all()
    assert np.isnan(found.scales[2])


def test_single_precision_suffices_for_bars(
    fitted: tuple[TrainingResult, list[LabelledStructure]], found: Posterior
) -> None:
    result, train = fitted
    single = found.in_single_precision()
    for frame in train[:3]:
        exact = frame_bars(found, result.model, frame.structure).forces
        np.testing.assert_allclose(
            frame_bars(single, result.model, frame.structure).forces, exact, rtol=1e-3
        )


def test_last_layer_alone_has_a_posterior(
    fitted: tuple[TrainingResult, list[LabelledStructure]],
) -> None:
    result, train = fitted
    small = posterior(
        result.model, gram_matrices(result.model, train, REFERENCES, layer="last"), layer="last"
    )
    assert small.root.shape == (9, 9)
    bars = [frame_bars(small, result.model, frame.structure) for frame in train]
    rms = np.sqrt(np.mean(np.concatenate([bar.forces for bar in bars]) ** 2))
    np.testing.assert_allclose(rms, result.training_errors.total_force_rmse, rtol=1e-6)


def test_what_does_not_fit_is_refused(
    fitted: tuple[TrainingResult, list[LabelledStructure]], gram: GramMatrices, found: Posterior
) -> None:
    result, train = fitted
    with pytest.raises(TrainingError, match="at least one"):
        gram_matrices(result.model, [], REFERENCES)
    with pytest.raises(TrainingError, match="same model and layer"):
        posterior(result.model, gram, layer="last")
    empty = GramMatrices(gram.products, np.zeros(3), gram.squared_residuals)
    with pytest.raises(TrainingError, match="no force"):
        posterior(result.model, empty)
    broken = GramMatrices(gram.products * np.nan, gram.n_rows, gram.squared_residuals)
    with pytest.raises(TrainingError, match="not finite"):
        posterior(result.model, broken)
    dead = GramMatrices(0.0 * gram.products, gram.n_rows, gram.squared_residuals)
    with pytest.raises(TrainingError, match="saturated"):
        posterior(result.model, dead)
    wrong = Posterior(**{**found.__dict__, "root": np.eye(3)})
    with pytest.raises(InputError, match="posterior of this model"):
        frame_bars(wrong, result.model, train[0].structure)


def test_calibration_counts_what_lies_within_the_bars() -> None:
    rng = np.random.default_rng(1)
    bars = rng.uniform(0.1, 1.0, size=4000)
    errors = bars[:, None] * rng.normal(size=(4000, 3))
    worth = calibration(bars, errors)
    assert worth is not None
    np.testing.assert_allclose(
        [worth.factor, worth.within_one, worth.within_two], [1.0, 0.683, 0.954], atol=0.02
    )
    assert calibration(np.zeros(0), np.zeros((0, 3))) is None
    assert not calibration(bars, 3.0 * errors).is_sound  # type: ignore[union-attr]
    with pytest.raises(InputError, match="shape"):
        calibration(bars, errors[1:])
    with pytest.raises(InputError, match="NaN"):
        calibration(bars, errors * np.nan)
