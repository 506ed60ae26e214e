"""Scores by R, a posterior that learns frames, and selection by it."""

import dataclasses

import numpy as np
import pytest

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.bayes.bars import bars_by_frame
from nepal_flows.core.bayes.evidence import Posterior, posterior
from nepal_flows.core.bayes.features import frame_features
from nepal_flows.core.bayes.gram import gram_matrices
from nepal_flows.core.bayes.pool import PosteriorPool
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.scoring import ForceBars, atom_scores
from nepal_flows.core.selection import select_frames
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError


@pytest.fixture(scope="module")
def model() -> NepModel:
    a = NepArchitecture(("Cu",), (4.5,), (4.0,), 2, 2, 4, 4, 2, False, False, 4)
    rng = np.random.default_rng(2)
    D = a.n_descriptors
    return NepModel(
        a, rng.normal(size=(1, 4, D)) / np.sqrt(D), 0.3 * rng.normal(size=(1, 4)),
        0.3 * rng.normal(size=(1, 4)), 1.0, rng.normal(size=(3, 5, 1, 1)),
        rng.normal(size=(3, 5, 1, 1)), rng.uniform(0.05, 0.2, size=D),
    )  # fmt: skip


def rattled(count: int, width: float, seed: int) -> list[Structure]:
    rng = np.random.default_rng(seed)
    sites = 3.61 * np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return [
        Structure(np.full(4, 29), sites + width * rng.normal(size=(4, 3)), np.eye(3) * 3.61)
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def training(model: NepModel) -> list[LabelledStructure]:
    rng = np.random.default_rng(4)
    frames = []
    for structure in rattled(4, 0.05, 0):
        p = predict(model, structure)
        noise = 0.05 * rng.normal(size=(4, 3))
        frames.append(
            LabelledStructure(structure, p.energy + 0.02 * rng.normal(), p.forces + noise, p.virial)
        )
    return frames


@pytest.fixture(scope="module")
def found(model: NepModel, training: list[LabelledStructure]) -> Posterior:
    return posterior(model, gram_matrices(model, training, {"Cu": 0.0}))


def test_rows_update_the_covariance_as_if_they_had_been_there(
    model: NepModel, found: Posterior
) -> None:
    structure = rattled(1, 0.3, 9)[0]
    features = frame_features(model, structure)
    rows = (features.energy[None] / 4, features.forces, features.virial / 4)
    precision = np.linalg.inv(found.root @ found.root.T)
    for block, noise in zip(rows, found.noises, strict=True):
        precision += block.T @ block / noise**2
    updated = found.with_rows(rows)
    expected = np.sqrt(np.einsum("ij,ji->i", features.forces, np.linalg.solve(
        precision, features.forces.T)))  # fmt: skip
    np.testing.assert_allclose(updated.deviations(features.forces), expected, rtol=1e-3)
    assert not np.tril(updated.root, -1).any()
    assert (updated.deviations(features.forces) < found.deviations(features.forces)).all()


def test_taking_a_frame_lowers_every_score(model: NepModel, found: Posterior) -> None:
    pool = PosteriorPool(found.in_single_precision(), model, rattled(6, 0.3, 5))
    before = pool.grades()
    place = int(before.argmax())
    pool.take([place])
    after = pool.grades()
    assert (after <= before * (1.0 + 1e-5)).all()
    assert after[place] < 0.7 * before[place]
    np.testing.assert_array_equal(pool.part([3, 1]).grades(), after[[3, 1]])


def test_accuracy_that_is_wanted_makes_atoms_known() -> None:
    bars = ForceBars(forces=np.array([0.01, 0.02, 0.03]), ratios=np.array([0.5, 4.0, 6.0]))
    np.testing.assert_array_equal(atom_scores(bars), [0.5, 4.0, 6.0])
    np.testing.assert_array_equal(atom_scores(bars, 0.02), [0.5 / 1.5, 0.8, 6.0])


def test_selection_takes_the_largest_ratio_and_scores_again(
    model: NepModel, training: list[LabelledStructure], found: Posterior
) -> None:
    candidates = [*rattled(3, 0.05, 7), *rattled(5, 0.25, 8)]
    factors = [projection_factors(model, frame.structure) for frame in training]
    active = build_active_set(factors, model.elements)
    pool = PosteriorPool(found, model, candidates)
    ratios = np.array([b.ratios.max() for b in bars_by_frame(found, model, candidates)])
    chosen = select_frames(
        active, factors, [projection_factors(model, s) for s in candidates],
        budget=2, threshold=2.0, ceiling=1e6, scores=pool,
    )  # fmt: skip
    np.testing.assert_allclose([d.grade for d in chosen.decisions], ratios, rtol=1e-6)
    assert chosen.selected[0] == ratios.argmax()
    again = PosteriorPool(found, model, candidates)
    again.take([chosen.selected[0]])
    left = np.where(np.arange(8) == chosen.selected[0], 0.0, again.grades())
    assert chosen.selected[1] == left.argmax()
    second = chosen.decisions[chosen.selected[1]]
    np.testing.assert_allclose(second.grade_at_decision, left.max(), rtol=1e-6)
    with pytest.raises(InputError, match="maxvol"):
        select_frames(active, factors, factors, budget=1, scores=pool, method="maxvol")


def test_posterior_without_virials_learns_from_the_rest(
    model: NepModel, training: list[LabelledStructure]
) -> None:
    bare = [dataclasses.replace(frame, virial=None) for frame in training]
    found = posterior(model, gram_matrices(model, bare, {"Cu": 0.0}))
    structure = rattled(1, 0.3, 9)[0]
    pool = PosteriorPool(found, model, [structure])
    before = pool.grades()
    pool.take([0])
    assert pool.grades()[0] < before[0]
