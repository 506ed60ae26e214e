"""The loss and its gradient against the potential and finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from nepal_flows.core.nep.model import NepArchitecture, NepModel, model_from_parameters
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.training.feature_store import FeatureStore
from nepal_flows.core.nep.training.objective import Objective
from nepal_flows.core.nep.training.settings import TrainingSettings
from nepal_flows.core.nep.training.targets import build_targets
from nepal_flows.core.structure import LabelledStructure, Structure

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "one element": {},
    "three elements, both flags": {
        "elements": ("Cu", "Au", "H"),
        "radial_cutoffs": (4.0, 5.0, 3.5),
        "angular_cutoffs": (3.5, 3.5, 3.0),
        "has_q_1111": True,
        "n_neurons": 5,
    },
    "l to 8": {"l_max": 8, "has_q_222": False, "n_max_angular": 1, "n_neurons": 17},
    "radial only": {"l_max": 0, "has_q_222": False},
    "many functions": {"n_max_radial": 17, "n_max_angular": 0, "basis_size_angular": 1},
}
DOUBLE = TrainingSettings(precision="float64", lambda_e=2.0, lambda_f=0.7, lambda_v=0.4)


def objective(
    data: Sequence[LabelledStructure],
    model: NepModel,
    settings: TrainingSettings = DOUBLE,
    **options: Any,
) -> Objective:
    store = FeatureStore(
        [frame.structure for frame in data],
        model.architecture,
        dtype=np.dtype(settings.precision).type,
        memory_limit_MB=settings.memory_limit_MB,
    )
    targets = build_targets(
        data,
        model.architecture,
        settings,
        reference_energies=dict.fromkeys(model.elements, -1.0),
    )
    return Objective(store, targets, model.architecture, model.q_scaler, settings, **options)


def random_frames(
    architecture: NepArchitecture, random_structure: Callable[..., Structure]
) -> list[LabelledStructure]:
    """Return frames of 6, 1, 9 and 2 atoms with random labels; one has no virial."""
    rng = np.random.default_rng(5)
    frames = []
    for seed, n_atoms in enumerate((6, 1, 9, 2)):
        structure = random_structure(
            tuple(architecture.atomic_numbers), n_atoms, seed=seed, edge=2.2 + 0.5 * n_atoms**0.7
        )
        virial = rng.normal(size=(3, 3))
        frames.append(
            LabelledStructure(
                structure,
                float(rng.normal()),
                rng.normal(size=(n_atoms, 3)),
                None if seed == 2 else virial + virial.T,
                weight=0.5 + 0.4 * seed,
            )
        )
    return frames


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_errors_are_those_of_the_potential(
    name: str, random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model(**ARCHITECTURES[name])
    data = random_frames(model.architecture, random_structure)
    terms = objective(data, model).evaluate(model.parameters())
    predictions = [predict(model, frame.structure) for frame in data]
    weights = np.array([frame.weight for frame in data])
    n_atoms = np.array([frame.n_atoms for frame in data])
    energy = np.array([p.energy - f.energy for p, f in zip(predictions, data, strict=True)])
    energy = energy / n_atoms - 1.0
    offset = np.average(energy, weights=weights**2)
    forces = [
        f.weight * (p.forces - f.forces).ravel() for p, f in zip(predictions, data, strict=True)
    ]
    upper = np.triu_indices(3)
    virials = [
        f.weight * (p.virial - f.virial)[upper] / f.n_atoms
        for p, f in zip(predictions, data, strict=True)
        if f.virial is not None
    ]
    assert terms.offset == pytest.approx(offset, rel=1e-10)
    assert terms.energy == pytest.approx(np.sqrt(np.mean((weights * (energy - offset)) ** 2)))
    assert terms.force == pytest.approx(np.sqrt(np.mean(np.concatenate(forces) ** 2)), rel=1e-10)
    assert terms.virial == pytest.approx(np.sqrt(np.mean(np.square(virials))), rel=1e-10)
    assert terms.total == pytest.approx(2.0 * terms.energy + 0.7 * terms.force + 0.4 * terms.virial)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_is_that_of_central_differences(
    name: str, random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model(**ARCHITECTURES[name])
    function = objective(random_frames(model.architecture, random_structure), model)
    parameters = model.parameters()
    _, gradient = function.gradient(parameters)
    rng = np.random.default_rng(1)
    for index in rng.choice(len(parameters), 40, replace=False):
        step = np.zeros_like(parameters)
        step[index] = 2e-5
        difference = (
            function.evaluate(parameters + step).total - function.evaluate(parameters - step).total
        ) / 4e-5
        assert gradient[index] == pytest.approx(
            difference, rel=1e-7, abs=2e-8 * np.abs(gradient).max()
        )


def test_lonely_atoms_count_with_their_energy_alone(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model()
    alone = Structure(np.array([29]), np.zeros((1, 3)), 20.0 * np.eye(3), (False, False, False))
    apart = Structure(np.array([29, 29]), np.diag([0.0, 9.0, 0.0])[:2], 20.0 * np.eye(3))
    data = [LabelledStructure(s, 1.0, np.zeros((s.n_atoms, 3))) for s in (alone, apart)]
    data += random_frames(model.architecture, random_structure)[:1]
    function = objective(data, model)
    parameters = model.parameters()
    terms, gradient = function.gradient(parameters)
    direction = np.random.default_rng(3).normal(size=len(parameters))
    difference = (
        function.evaluate(parameters + 1e-5 * direction).total
        - function.evaluate(parameters - 1e-5 * direction).total
    ) / 2e-5
    assert gradient @ direction == pytest.approx(difference, rel=1e-7)
    only = objective(data[:2], model)
    assert only.evaluate(parameters).force == 0.0
    assert np.isfinite(only.gradient(parameters)[1]).all()
    assert terms.force > 0.0


def test_gradient_knows_every_weight(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model(elements=("Cu", "Au"), radial_cutoffs=(4.0,), angular_cutoffs=(3.5,))
    settings = TrainingSettings(
        precision="float64", lambda_shear=3.0, force_delta=0.5, type_weights=(1.0, 2.5)
    )
    function = objective(random_frames(model.architecture, random_structure), model, settings)
    plain = objective(random_frames(model.architecture, random_structure), model)
    parameters = model.parameters()
    terms, gradient = function.gradient(parameters)
    direction = np.random.default_rng(2).normal(size=len(parameters))
    difference = (
        function.evaluate(parameters + 1e-5 * direction).total
        - function.evaluate(parameters - 1e-5 * direction).total
    ) / 2e-5
    assert gradient @ direction == pytest.approx(difference, rel=1e-7)
    assert terms.force != pytest.approx(plain.evaluate(parameters).force, rel=1e-3)
    assert terms.virial != pytest.approx(plain.evaluate(parameters).virial, rel=1e-3)


def test_loss_does_not_depend_on_the_common_bias(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model()
    function = objective(random_frames(model.architecture, random_structure), model)
    a = model.architecture
    parameters = model.parameters()
    before, gradient = function.gradient(parameters)
    parameters[a.n_types * a.n_projection] += 0.3
    after = function.evaluate(parameters)
    assert gradient[a.n_types * a.n_projection] == 0.0
    assert after.total == pytest.approx(before.total, rel=1e-12)
    assert after.offset == pytest.approx(before.offset - 0.3, rel=1e-10)


def test_loss_of_a_selection_is_that_of_its_structures_alone(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model()
    data = random_frames(model.architecture, random_structure)
    terms, gradient = objective(data, model).gradient(model.parameters(), np.array([0, 2]))
    own_terms, own_gradient = objective([data[0], data[2]], model).gradient(model.parameters())
    assert terms == own_terms
    assert np.allclose(gradient, own_gradient, rtol=1e-13, atol=1e-13)


def test_single_precision_gradient_is_close(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model()
    data = random_frames(model.architecture, random_structure)
    _, exact = objective(data, model).gradient(model.parameters())
    single = TrainingSettings(lambda_e=2.0, lambda_f=0.7, lambda_v=0.4)
    _, gradient = objective(data, model, single).gradient(model.parameters())
    assert np.linalg.norm(gradient - exact) < 2e-5 * np.linalg.norm(exact)


def test_threads_change_the_gradient_by_rounding_only(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model()
    data = 3 * random_frames(model.architecture, random_structure)
    _, one = objective(data, model).gradient(model.parameters())
    function = objective(data, model, n_threads=3)
    _, three = function.gradient(model.parameters())
    _, again = function.gradient(model.parameters())
    function.close()
    assert np.allclose(one, three, rtol=1e-11, atol=1e-13)
    assert np.array_equal(three, again)


def test_features_made_piece_by_piece_give_the_same_gradient(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model()
    data = 3 * random_frames(model.architecture, random_structure)
    small = TrainingSettings(
        precision="float64", lambda_e=2.0, lambda_f=0.7, lambda_v=0.4, memory_limit_MB=0.2
    )
    tiny = objective(data, model, small)
    assert len(list(tiny._store.pieces(np.arange(len(data))))) > 3
    assert not tiny._store.is_kept
    terms, gradient = tiny.gradient(model.parameters())
    whole_terms, whole = objective(data, model).gradient(model.parameters())
    assert terms == whole_terms
    assert np.allclose(gradient, whole, rtol=1e-12, atol=1e-14)


def test_small_cell_has_the_gradient_of_its_supercell(
    random_model: Callable[..., NepModel],
) -> None:
    model = random_model(radial_cutoffs=(4.0,), angular_cutoffs=(3.5,))
    cell = np.array([[2.6, 0.1, 0.0], [0.3, 2.5, 0.2], [0.0, 0.4, 2.7]])
    shifts = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
    unit = Structure(np.array([29]), np.zeros((1, 3)), cell)
    repeated = Structure(np.full(8, 29), shifts @ cell, 2.0 * cell)
    virial = np.diag([0.3, 0.1, -0.2])
    one = [LabelledStructure(unit, 0.5, np.zeros((1, 3)), virial)]
    eight = [LabelledStructure(repeated, 4.0, np.zeros((8, 3)), 8.0 * virial)]
    terms, gradient = objective(one, model).gradient(model.parameters())
    large_terms, large = objective(eight, model).gradient(model.parameters())
    assert large_terms.virial == pytest.approx(terms.virial, rel=1e-12)
    assert np.allclose(gradient, large, rtol=1e-10, atol=1e-12)


def test_targets_are_zero_when_labels_come_from_the_model(
    random_model: Callable[..., NepModel],
    random_structure: Callable[..., Structure],
    labelled_by: Callable[..., LabelledStructure],
) -> None:
    model = random_model()
    data = [labelled_by(model, random_structure(n_atoms=5, seed=seed)) for seed in range(3)]
    terms = objective(data, model).evaluate(model.parameters())
    assert terms.force < 1e-12
    assert terms.virial < 1e-11
    shifted = model_from_parameters(model.architecture, 1.01 * model.parameters(), model.q_scaler)
    assert objective(data, shifted).evaluate(shifted.parameters()).force > 1e-3
