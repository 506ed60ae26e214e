"""Whole trainings on frames that a NEP can fit."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from nepal_flows.core.nep.model import NepArchitecture, NepModel, Zbl, model_from_parameters
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.training import (
    HISTORY_COLUMNS,
    TrainingSettings,
    train_model,
)
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import ModelError, TrainingError

Frames = Sequence[LabelledStructure]

ARCHITECTURE = NepArchitecture(("Cu",), (4.5,), (3.5,), 2, 1, 4, 4, 2, False, False, 6)
SHORT = TrainingSettings(n_adam_steps=30, batch_atoms=32)


def force_rms(data: Frames) -> float:
    return float(np.sqrt(np.mean(np.concatenate([f.forces.ravel() for f in data]) ** 2)))


def test_training_learns_its_teacher(copper: Frames) -> None:
    settings = TrainingSettings(n_adam_steps=600, n_lbfgs_steps=30, batch_atoms=32)
    result = train_model(copper[:10], ARCHITECTURE, settings, test=copper[10:])
    assert result.training_errors.total_force_rmse < 0.05 * force_rms(copper)
    assert result.test_errors is not None
    assert result.test_errors.total_force_rmse < 0.1 * force_rms(copper)
    assert abs(result.training_errors.energy_errors.mean()) < 1e-6
    assert result.n_steps == 630


def test_equal_seeds_give_equal_models(copper: Frames) -> None:
    models = [
        train_model(copper, ARCHITECTURE, SHORT, seed=seed, n_threads=n_threads).model
        for seed, n_threads in ((5, 1), (5, 1), (6, 1), (5, 2), (5, 2))
    ]
    parameters = [model.parameters() for model in models]
    assert np.array_equal(parameters[0], parameters[1])
    assert not np.allclose(parameters[0], parameters[2])
    assert np.array_equal(parameters[3], parameters[4])


def test_frames_to_test_on_change_nothing(copper: Frames) -> None:
    settings = dataclasses.replace(SHORT, n_adam_steps=60, n_lbfgs_steps=10, check_interval=5)
    alone = train_model(copper[:4], ARCHITECTURE, settings)
    tested = train_model(copper[:4], ARCHITECTURE, settings, test=copper[4:])
    assert np.array_equal(alone.model.parameters(), tested.model.parameters())
    assert np.array_equal(alone.history[:, :7], tested.history[:, :7])
    assert alone.test_errors is None
    assert tested.test_errors is not None
    last = dict(zip(HISTORY_COLUMNS, tested.history[-1], strict=True))
    assert last["force_test"] == pytest.approx(tested.test_errors.total_force_rmse, rel=1e-4)
    assert last["step"] == tested.n_steps


def test_warm_start_continues_where_the_model_is(copper: Frames) -> None:
    first = train_model(copper, ARCHITECTURE, dataclasses.replace(SHORT, n_adam_steps=300))
    settings = TrainingSettings(n_adam_steps=1, warm_learning_rate=0.0, weight_decay=0.0)
    again = train_model(copper, ARCHITECTURE, settings, initial=first.model)
    assert np.allclose(again.model.parameters(), first.model.parameters(), atol=1e-7)
    longer = train_model(
        copper,
        ARCHITECTURE,
        dataclasses.replace(SHORT, n_adam_steps=200),
        initial=first.model,
        reference_energies=first.reference_energies,
    )
    assert np.array_equal(longer.q_scaler, first.q_scaler)
    assert longer.reference_energies == first.reference_energies
    assert longer.training_errors.total_force_rmse < first.training_errors.total_force_rmse


def test_energy_of_the_elements_is_taken_off_and_on_record(copper: Frames) -> None:
    shifted = [
        dataclasses.replace(frame, energy=frame.energy - 1234.5 * frame.n_atoms) for frame in copper
    ]
    plain = train_model(copper, ARCHITECTURE, SHORT)
    result = train_model(shifted, ARCHITECTURE, SHORT)
    difference = result.reference_energies["Cu"] - plain.reference_energies["Cu"]
    assert difference == pytest.approx(-1234.5)
    assert result.training_errors.total_force_rmse == pytest.approx(
        plain.training_errors.total_force_rmse, rel=0.02
    )


def test_missing_virials_are_left_out(copper: Frames) -> None:
    mixed = [dataclasses.replace(f, virial=None) for f in copper[:6]] + list(copper[6:])
    result = train_model(mixed, ARCHITECTURE, SHORT)
    assert np.isnan(result.training_errors.virial_rmse[:6]).all()
    assert np.isfinite(result.training_errors.virial_rmse[6:]).all()
    none = [dataclasses.replace(f, virial=None) for f in copper]
    assert train_model(none, ARCHITECTURE, SHORT).history[-1, 6] == 0.0


def test_repulsion_is_not_learnt_but_added(
    random_structure: Callable[..., Structure],
) -> None:
    architecture = dataclasses.replace(ARCHITECTURE, zbl=Zbl(inner=1.0, outer=2.0))
    silent = model_from_parameters(
        architecture,
        np.zeros(architecture.n_parameters),
        np.ones(architecture.n_descriptors),
    )
    data = []
    for seed in range(4):
        structure = random_structure(n_atoms=10, seed=seed, edge=4.5)
        p = predict(silent, structure)
        data.append(LabelledStructure(structure, p.energy, p.forces, p.virial))
    assert force_rms(data) > 1.0
    settings = dataclasses.replace(SHORT, n_adam_steps=200)
    result = train_model(data, architecture, settings, reference_energies={"Cu": 0.0})
    assert result.training_errors.total_force_rmse < 1e-2 * force_rms(data)


def test_regularisation_is_part_of_the_loss(copper: Frames) -> None:
    settings = dataclasses.replace(SHORT, lambda_1=0.2, lambda_2=0.1, n_lbfgs_steps=3)
    result = train_model(copper, ARCHITECTURE, settings)
    row = dict(zip(HISTORY_COLUMNS, result.history[-1], strict=True))
    parameters = result.model.parameters()
    parameters[ARCHITECTURE.n_projection] = 0.0
    assert row["L1"] == pytest.approx(0.2 * np.abs(parameters).mean(), rel=0.02)
    assert row["L2"] == pytest.approx(0.1 * np.sqrt(np.mean(parameters**2)), rel=0.02)
    errors = row["energy_train"] + row["force_train"] + 0.1 * row["virial_train"]
    assert row["total"] == pytest.approx(errors + row["L1"] + row["L2"])


def test_whole_set_iterations_lower_the_loss(copper: Frames) -> None:
    settings = TrainingSettings(n_adam_steps=0, n_lbfgs_steps=40, check_interval=1)
    result = train_model(copper, ARCHITECTURE, settings)
    assert (np.diff(result.history[:, 1]) <= 0.0).all()
    assert result.history[-1, 1] < 0.7 * result.history[0, 1]


def test_progress_is_told_and_may_interrupt(copper: Frames) -> None:
    seen: list[tuple[int, int, Mapping[str, float]]] = []

    def progress(step: int, n_steps: int, row: Mapping[str, float]) -> None:
        seen.append((step, n_steps, row))
        if step >= 20:
            raise KeyboardInterrupt

    settings = dataclasses.replace(SHORT, check_interval=10)
    with pytest.raises(KeyboardInterrupt):
        train_model(copper, ARCHITECTURE, settings, progress=progress, n_threads=2)
    assert [(step, n_steps) for step, n_steps, _ in seen] == [(10, 30), (20, 30)]
    assert tuple(seen[0][2]) == HISTORY_COLUMNS


def test_divergence_is_refused_with_a_remedy(copper: Frames) -> None:
    settings = dataclasses.replace(SHORT, learning_rate=1e30)
    with pytest.raises(TrainingError, match="Lower `learning_rate`"):
        train_model(copper, ARCHITECTURE, settings)


def test_saturated_networks_are_fitted_again(copper: Frames) -> None:
    few = copper[:3]
    narrow = dataclasses.replace(ARCHITECTURE, n_neurons=2)
    settings = TrainingSettings(n_adam_steps=200, batch_atoms=16, learning_rate=0.3)
    errors = [
        train_model(few, narrow, settings, seed=seed).training_errors.total_force_rmse
        for seed in range(12)
    ]
    assert max(errors) < 0.98 * force_rms(few)


def test_network_that_stays_saturated_is_refused(copper: Frames) -> None:
    start = train_model(copper, ARCHITECTURE, SHORT).model
    far = dataclasses.replace(start, b0=start.b0 + 1e3)
    with pytest.raises(TrainingError, match="saturated after the training, 4 times"):
        train_model(copper, ARCHITECTURE, SHORT, initial=far)


def test_bad_data_are_refused(copper: Frames, random_model: Callable[..., NepModel]) -> None:
    with pytest.raises(TrainingError, match="no structure to train on"):
        train_model([], ARCHITECTURE)
    gold = dataclasses.replace(ARCHITECTURE, elements=("Au",))
    with pytest.raises((TrainingError, ModelError), match="Cu"):
        train_model(copper, gold, SHORT)
    with pytest.raises(TrainingError, match="radial_cutoffs"):
        train_model(copper, ARCHITECTURE, SHORT, initial=random_model())


def test_neighbour_counts_reach_the_model(copper: Frames) -> None:
    result = train_model(copper, ARCHITECTURE, dataclasses.replace(SHORT, n_adam_steps=1))
    radial, angular = result.model.max_neighbours
    assert radial > angular > 0
