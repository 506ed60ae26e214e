"""Errors of a model, against numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.training import model_errors
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import TrainingError


def test_known_deviations_are_reported(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    model = random_model()
    data = []
    for seed, n_atoms in enumerate((4, 8)):
        structure = random_structure(n_atoms=n_atoms, seed=seed)
        p = predict(model, structure)
        forces = p.forces.copy()
        forces[1] -= [0.3, 0.0, -0.4]
        data.append(
            LabelledStructure(
                structure,
                p.energy - 10.0 * n_atoms - 0.1 * n_atoms * seed,
                forces,
                p.virial - 0.6 * n_atoms if seed else None,
            )
        )
    errors = model_errors(model, data, {"Cu": -10.0}, n_threads=2)
    assert errors.energy_errors == pytest.approx([0.0, 0.1])
    assert errors.energy_rmse == pytest.approx(0.05)
    assert errors.force_rmse == pytest.approx(np.sqrt([0.25 / 12, 0.25 / 24]))
    assert errors.total_force_rmse == pytest.approx(np.sqrt(0.5 / 36))
    assert errors.force_max == pytest.approx([0.5, 0.5])
    assert errors.force_errors == pytest.approx([0, 0.5, 0, 0] + [0, 0.5] + [0] * 6)
    assert np.isnan(errors.virial_rmse[0])
    assert errors.total_virial_rmse == pytest.approx(0.6)


def test_no_virial_and_no_data(
    random_model: Callable[..., NepModel], random_structure: Callable[..., Structure]
) -> None:
    frame = LabelledStructure(random_structure(n_atoms=2), 0.0, np.zeros((2, 3)))
    assert model_errors(random_model(), [frame], {"Cu": 0.0}).total_virial_rmse is None
    with pytest.raises(TrainingError, match="no structure"):
        model_errors(random_model(), [], {"Cu": 0.0})
