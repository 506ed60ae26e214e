"""Committees: the deviation of GPUMD's `active`, the calibrated bar, and who is trained on what."""

import dataclasses
import math

import numpy as np
import pytest

from nepal_flows.core.committee import (
    Committee,
    bootstrap_indices,
    calibrated_committee,
    force_deviations,
    member_forces,
)
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError, ModelError, TrainingError

CELL = 3.61


def a_model(seed: int) -> NepModel:
    a = NepArchitecture(("Cu",), (4.5,), (4.0,), 2, 2, 4, 4, 2, False, False, 4)
    rng = np.random.default_rng(seed)
    D = a.n_descriptors
    return NepModel(
        a, rng.normal(size=(1, 4, D)) / np.sqrt(D), 0.3 * rng.normal(size=(1, 4)),
        0.3 * rng.normal(size=(1, 4)), 1.0, rng.normal(size=(3, 5, 1, 1)),
        rng.normal(size=(3, 5, 1, 1)), rng.uniform(0.05, 0.2, size=D),
    )  # fmt: skip


@pytest.fixture(scope="module")
def members() -> list[NepModel]:
    return [a_model(seed) for seed in (2, 3, 5, 7)]


def rattled(seed: int, numbers: tuple[int, ...] = (29,) * 4) -> Structure:
    rng = np.random.default_rng(seed)
    sites = CELL * np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(
        np.array(numbers), sites[: len(numbers)] + 0.1 * rng.normal(size=(len(numbers), 3)),
        np.eye(3) * CELL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def training(members: list[NepModel]) -> list[LabelledStructure]:
    rng = np.random.default_rng(4)
    frames = []
    for seed in range(3):
        structure = rattled(seed)
        p = predict(members[0], structure)
        forces = p.forces + 0.05 * rng.normal(size=(4, 3))
        frames.append(LabelledStructure(structure, p.energy, forces))
    return frames


def by_hand(forces: np.ndarray) -> list[float]:
    """Return the formula of GPUMD's documentation, term by term."""
    deviations = []
    for atom in range(forces.shape[1]):
        total = 0.0
        for component in range(3):
            values = [float(member[atom, component]) for member in forces]
            mean = sum(values) / len(values)
            total += sum((value - mean) ** 2 for value in values) / len(values)
        deviations.append(math.sqrt(total))
    return deviations


def test_deviations_are_those_of_the_formula(members: list[NepModel]) -> None:
    structure = rattled(11)
    forces = np.array([predict(member, structure).forces for member in members])
    np.testing.assert_array_equal(member_forces(members, structure), forces)
    np.testing.assert_allclose(force_deviations(forces), by_hand(forces), rtol=1e-12)
    committee = Committee(tuple(members), 1.0, 1.0)
    np.testing.assert_allclose(committee.deviations(structure), by_hand(forces), rtol=1e-12)


def test_deviations_do_not_change_with_axes_order_or_what_all_members_share(
    members: list[NepModel],
) -> None:
    rng = np.random.default_rng(1)
    forces = rng.normal(size=(4, 6, 3))
    expected = force_deviations(forces)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(force_deviations(forces @ axes), expected, rtol=1e-12)
    np.testing.assert_allclose(force_deviations(forces[::-1]), expected, rtol=1e-12)
    np.testing.assert_allclose(force_deviations(forces[:, ::-1]), expected[::-1], rtol=1e-12)
    shared = forces + rng.normal(size=(1, 6, 3))
    np.testing.assert_allclose(force_deviations(shared), expected, rtol=1e-10)
    np.testing.assert_allclose(force_deviations(-3.0 * forces), 3.0 * expected, rtol=1e-12)
    structure = rattled(11)
    turned = Structure(structure.numbers, structure.positions @ axes, structure.cell @ axes)
    committee = Committee(tuple(members), 1.0, 1.0)
    np.testing.assert_allclose(
        committee.deviations(turned), committee.deviations(structure), rtol=1e-7
    )


def test_bars_are_right_on_the_average_for_the_training_forces(
    members: list[NepModel], training: list[LabelledStructure]
) -> None:
    committee = calibrated_committee(members, training, n_threads=2)
    bars = [committee.bars(frame.structure) for frame in training]
    residuals = [predict(members[0], f.structure).forces - f.forces for f in training]
    np.testing.assert_allclose(
        np.sqrt(np.mean(np.concatenate([bar.forces for bar in bars]) ** 2)),
        np.sqrt(np.mean(np.concatenate(residuals) ** 2)),
    )
    np.testing.assert_allclose(np.mean(np.concatenate([bar.ratios for bar in bars]) ** 2), 1.0)
    # so that neither depends on whether a variance is divided by K or K - 1
    twice = dataclasses.replace(
        committee, training_deviation=2.0 * committee.training_deviation,
        force_scale=0.5 * committee.force_scale,
    )  # fmt: skip
    np.testing.assert_allclose(
        twice.force_scale * twice.training_deviation,
        committee.force_scale * committee.training_deviation,
    )


def test_a_committee_that_says_nothing_is_refused(
    members: list[NepModel], training: list[LabelledStructure]
) -> None:
    with pytest.raises(TrainingError, match="cannot tell known from unknown"):
        calibrated_committee([members[0]] * 3, training)
    with pytest.raises(InputError, match="committee of 1"):
        calibrated_committee(members[:1], training)
    with pytest.raises(InputError, match="0 frames"):
        calibrated_committee(members, [])
    for shape in ((1, 4, 3), (4, 3), (4, 4, 2)):
        with pytest.raises(InputError, match="n_members"):
            force_deviations(np.zeros(shape))
    with pytest.raises(ModelError, match="Au"):
        calibrated_committee(members, training).bars(rattled(1, (29, 79)))


def test_a_member_keeps_what_it_was_trained_on_when_frames_are_added() -> None:
    frames = [rattled(seed) for seed in range(9)]
    batches = [-1] * 5 + [0] * 4
    first = bootstrap_indices(batches[:5], frames[:5], seed=3)
    both = bootstrap_indices(batches, frames, seed=3)
    np.testing.assert_array_equal(both[:5], first)
    assert len(both) == 9
    assert set(both[5:]) <= {5, 6, 7, 8}
    draws = {tuple(bootstrap_indices(batches, frames, seed=seed)) for seed in range(6)}
    assert len(draws) == 6
    counts = np.zeros(9)
    for seed in range(300):
        counts[bootstrap_indices(batches, frames, seed=seed)] += 1  # each frame once a draw
    expected = [1.0 - (1.0 - 1.0 / 5) ** 5] * 5 + [1.0 - (1.0 - 1.0 / 4) ** 4] * 4
    np.testing.assert_allclose(counts / 300, expected, atol=0.1)
    with pytest.raises(InputError, match="2 batches for 9 frames"):
        bootstrap_indices([0, 0], frames, seed=1)


def test_every_member_knows_every_element() -> None:
    frames = [*(rattled(seed) for seed in range(5)), rattled(8, (29, 79))]
    for seed in range(20):
        assert 5 in bootstrap_indices([0] * 6, frames, seed=seed)
