"""Reference energies, also where compositions leave them open."""

import numpy as np
import pytest

from nepal_flows.core.nep.training import fit_reference_energies, reference_energy
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import TrainingError


def frame(numbers: list[int], energy: float, weight: float = 1.0) -> LabelledStructure:
    n = len(numbers)
    structure = Structure(np.array(numbers), np.arange(3 * n).reshape(n, 3) * 1.0, 9.0 * np.eye(3))
    return LabelledStructure(structure, energy, np.zeros((n, 3)), weight=weight)


def test_energies_of_free_atoms_are_found() -> None:
    data = [
        frame([29] * a + [79] * b, -1200.5 * a - 33.25 * b) for a, b in ((1, 3), (2, 2), (4, 0))
    ]
    energies = fit_reference_energies(data, ("Cu", "Au"))
    assert energies == pytest.approx({"Cu": -1200.5, "Au": -33.25}, rel=1e-12)


def test_one_stoichiometry_shares_the_energy_equally() -> None:
    data = [frame([29, 79, 79], -9.0 - 0.3 * k) for k in range(3)]
    energies = fit_reference_energies(data, ("Cu", "Au"))
    assert energies == pytest.approx({"Cu": -3.1, "Au": -3.1})


def test_absent_element_gets_no_wild_energy() -> None:
    data = [frame([29, 79], -8.0), frame([29, 29, 79], -11.0)]
    energies = fit_reference_energies(data, ("Cu", "Au", "H"))
    assert energies["Cu"] == pytest.approx(-3.0)
    assert energies["Au"] == pytest.approx(-5.0)
    assert -5.0 <= energies["H"] <= -3.0


def test_weights_decide_between_contradicting_energies() -> None:
    data = [frame([29], -3.0, weight=3.0), frame([29], -4.0, weight=1.0)]
    assert fit_reference_energies(data, ("Cu",))["Cu"] == pytest.approx(-3.25)


def test_energy_of_a_structure_is_the_sum_over_its_atoms() -> None:
    structure = frame([29, 79, 29], 0.0).structure
    assert reference_energy(structure, {"Cu": -3.0, "Au": -5.0}) == pytest.approx(-11.0)
    with pytest.raises(TrainingError, match="no reference energy of Au"):
        reference_energy(structure, {"Cu": -3.0})


def test_strangers_and_no_data_are_refused() -> None:
    with pytest.raises(TrainingError, match="hold Au, but the model is for Cu"):
        fit_reference_energies([frame([29, 79], 0.0)], ("Cu",))
    with pytest.raises(TrainingError, match="no structure"):
        fit_reference_energies([], ("Cu",))
