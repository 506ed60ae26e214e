"""Where trainings start."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from nepal_flows.core.nep.descriptors import descriptors
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.training.initial import random_model as new_model
from nepal_flows.core.nep.training.initial import saturated_share, warm_model
from nepal_flows.core.structure import Structure
from nepal_flows.errors import TrainingError


def test_neurons_of_a_new_model_see_the_data(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    a = random_model(elements=("Cu", "Au"), radial_cutoffs=(4.5,), angular_cutoffs=(3.5,))
    structures = [random_structure((29, 79), 10, seed=seed) for seed in range(6)]
    model = new_model(a.architecture, structures, np.random.default_rng(0))
    y = np.concatenate([descriptors(model, s) for s in structures]) * model.q_scaler
    types = np.concatenate([a.architecture.types_of(s.numbers) for s in structures])
    assert np.allclose(np.ptp(y, axis=0), 1.0)
    for t in range(2):
        z = y[types == t] @ model.w0[t].T - model.b0[t]
        assert np.abs(z.mean(axis=0)).max() < 1e-9
        assert 0.2 < z.std() < 3.0


def test_symmetric_structures_leave_a_usable_scale(random_model: Callable[..., NepModel]) -> None:
    cells = [a * (np.ones((3, 3)) - np.eye(3)) / 2 for a in (3.5, 3.6, 3.7)]
    structures = [Structure(np.array([29]), np.zeros((1, 3)), cell) for cell in cells]
    architecture = random_model().architecture
    model = new_model(architecture, structures, np.random.default_rng(0))
    silent = dataclasses.replace(model, q_scaler=np.ones_like(model.q_scaler))
    ranges = np.ptp(np.concatenate([descriptors(silent, s) for s in structures]), axis=0)
    assert (ranges < 1e-10).any()
    floor = 0.05 * np.median(ranges[ranges > 1e-10])
    assert model.q_scaler.max() == pytest.approx(1.0 / floor)
    assert np.abs(model.w0).max() < 1e3


def test_types_are_put_in_the_order_asked_for(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model(
        elements=("Cu", "Au"), radial_cutoffs=(4.5, 4.0), angular_cutoffs=(3.5, 3.0)
    )
    other = dataclasses.replace(
        model.architecture,
        elements=("Au", "Cu"),
        radial_cutoffs=(4.0, 4.5),
        angular_cutoffs=(3.0, 3.5),
    )
    turned = warm_model(other, model)
    structure = random_structure((29, 79), 9)
    assert turned.elements == ("Au", "Cu")
    assert np.allclose(predict(turned, structure).forces, predict(model, structure).forces)
    assert np.array_equal(turned.q_scaler, model.q_scaler)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ("Cu", "Ag")}, "for Cu, the training for Cu, Ag"),
        ({"n_neurons": 12}, "`n_neurons` 11, the training asks for 12"),
        ({"radial_cutoffs": (6.0,)}, "radial_cutoffs"),
    ],
)
def test_other_hyper_parameters_are_refused(
    changes: dict[str, object], message: str, random_model: Callable[..., NepModel]
) -> None:
    with pytest.raises(TrainingError, match=message):
        warm_model(random_model(**changes).architecture, random_model())


def test_atoms_that_move_no_neuron_are_counted(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    a = random_model(elements=("Cu", "Au"), radial_cutoffs=(4.5,), angular_cutoffs=(3.5,))
    structures = [random_structure((29, 79), 10, seed=seed) for seed in range(6)]
    model = new_model(a.architecture, structures, np.random.default_rng(0))
    assert saturated_share(model, structures) == 0.0
    b0 = model.b0.copy()
    b0[:, 1:] += 50.0
    one_left = dataclasses.replace(model, b0=b0)
    assert saturated_share(one_left, structures) < 0.5
    b0[:, 0] += 50.0
    assert saturated_share(dataclasses.replace(model, b0=b0), structures) == 1.0
