"""The tables of `nep`: columns, units, signs and order."""

from pathlib import Path

import numpy as np
import pytest
from calorine.nep import read_loss as read_loss_with_calorine

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError
from nepal_flows.io.nep_outputs import (
    LOSS_COLUMNS,
    read_loss,
    read_parity,
    write_loss,
    write_parity_tables,
)


def frame(n: int, energy: float, virial: np.ndarray | None) -> LabelledStructure:
    rng = np.random.default_rng(n)
    structure = Structure(np.full(n, 29), rng.normal(size=(n, 3)), 4.0 * np.eye(3))
    return LabelledStructure(structure, energy, rng.normal(size=(n, 3)), virial)


VIRIAL = np.array([[1.0, 4.0, 6.0], [4.0, 2.0, 5.0], [6.0, 5.0, 3.0]])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    references = [frame(2, -4.0, 2 * VIRIAL), frame(3, -9.0, None)]
    predictions = [frame(2, -4.2, VIRIAL), frame(3, -8.7, 3 * VIRIAL)]
    write_parity_tables(references, predictions, tmp_path, name="train")
    return tmp_path


def test_energies_are_per_atom_and_predicted_first(directory: Path) -> None:
    parity = read_parity(directory / "energy_train.out")
    np.testing.assert_allclose(parity.predicted[:, 0], [-2.1, -2.9])
    np.testing.assert_allclose(parity.reference[:, 0], [-2.0, -3.0])


def test_forces_have_one_row_per_atom(directory: Path) -> None:
    parity = read_parity(directory / "force_train.out")
    expected = np.concatenate([frame(2, 0, None).forces, frame(3, 0, None).forces])
    np.testing.assert_allclose(parity.predicted, expected, rtol=1e-8)


def test_virials_are_per_atom_in_the_order_of_nep(directory: Path) -> None:
    parity = read_parity(directory / "virial_train.out")
    np.testing.assert_allclose(parity.predicted[0], np.arange(1.0, 7.0) / 2)
    np.testing.assert_allclose(parity.reference[0], np.arange(1.0, 7.0))
    assert np.isnan(parity.reference[1]).all()
    assert (np.loadtxt(directory / "virial_train.out")[1, 6:] == -1e6).all()


def test_stress_is_the_virial_over_the_volume_in_gpa(directory: Path) -> None:
    parity = read_parity(directory / "stress_train.out")
    np.testing.assert_allclose(parity.predicted[0], np.arange(1.0, 7.0) * 160.21766208 / 64)


def test_loss_is_read_by_calorine(tmp_path: Path) -> None:
    rows = np.abs(np.random.default_rng(0).normal(size=(3, 10)))
    rows[:, 0] = [100, 200, 300]
    path = write_loss(rows, tmp_path / "loss.out")
    np.testing.assert_allclose(read_loss(path), rows, rtol=1e-5)
    theirs = read_loss_with_calorine(str(path))
    np.testing.assert_allclose(
        theirs.RMSE_F_train, rows[:, LOSS_COLUMNS.index("force_train")], rtol=1e-5
    )


def test_other_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="columns"):
        write_loss(np.zeros((2, 4)), tmp_path / "loss.out")
    np.savetxt(tmp_path / "x.out", np.zeros((2, 4)))
    with pytest.raises(InputError, match="4 columns"):
        read_loss(tmp_path / "x.out")
    with pytest.raises(InputError, match="cannot be read"):
        read_parity(tmp_path / "absent.out")
