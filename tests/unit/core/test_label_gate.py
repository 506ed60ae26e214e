"""Labels that no code gives are named as such; those of all electrons are not."""

import numpy as np
import pytest

from nepal_flows.core.label_gate import implausible_label

FORCES = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])


@pytest.mark.parametrize("energy", [-10.0, -2 * 763_000.0, 2e6])
def test_energies_up_to_those_of_all_electrons_pass(energy):
    assert implausible_label(energy, FORCES, np.eye(3)) is None


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ((1e300, FORCES), "the energy is 5e+299 eV per atom"),
        ((-1e8, FORCES), "the energy is 5e+07 eV per atom"),
        ((np.nan, FORCES), "the energy is NaN or infinite"),
        ((0.0, 1e300 * FORCES), "a force is 1e+300 eV/Å"),
        ((0.0, np.inf * np.ones((2, 3))), "a force is NaN or infinite"),
        ((0.0, FORCES, 1e10 * np.eye(3)), "the virial is 5e+09 eV per atom"),
        ((0.0, FORCES, np.full((3, 3), np.nan)), "the virial is NaN or infinite"),
    ],
)
def test_garbage_is_named(label, reason):
    assert reason in implausible_label(*label)
