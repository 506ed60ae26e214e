"""A label is used only if its numbers are sane."""

import numpy as np
import pytest

from nepal_flows.errors import LabelError
from nepal_flows.labelers import LabelGate, RawLabel, gated_label


def raw(forces=None, *, energy=-1.0, virial=None) -> RawLabel:
    forces = np.array([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]]) if forces is None else forces
    return RawLabel(energy, forces, np.diag([1.0, 2.0, 3.0]) if virial is None else virial)


def test_sane_label_passes_unchanged(silicon):
    label = gated_label(silicon, raw(), LabelGate())
    assert label.energy == -1.0
    np.testing.assert_array_equal(label.forces, raw().forces)
    np.testing.assert_array_equal(label.virial, np.diag([1.0, 2.0, 3.0]))


def test_small_asymmetry_of_the_virial_is_averaged(silicon):
    virial = np.array([[1.0, 1e-4, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    label = gated_label(silicon, raw(virial=virial), LabelGate())
    assert label.virial[0, 1] == label.virial[1, 0] == 5e-5


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (raw(energy=np.nan), "NaN or infinite"),
        (raw(np.array([[np.inf, 0, 0], [0, 0, 0]])), "NaN or infinite"),
        (raw(virial=np.full((3, 3), np.nan)), "NaN or infinite"),
        (raw(np.zeros((3, 3))), r"shape \(3, 3\), expected \(2, 3\)"),
        (raw(np.array([[0.1, 0, 0], [0, 0, 0]])), r"net force .* is 0\.07071 eV/Å"),
        (raw(np.array([[60.0, 0, 0], [-60.0, 0, 0]])), "largest force is 60"),
        (raw(virial=np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1.0]])), "transpose by 0.1 eV"),
        (raw(virial=np.zeros(6)), r"virial has shape \(6,\)"),
    ],
)
def test_insane_label_is_refused_with_the_reason(silicon, label, reason):
    with pytest.raises(LabelError, match=reason):
        gated_label(silicon, label, LabelGate(max_net_force=0.01, max_force=50.0))


def test_label_without_virial_passes(silicon):
    label = gated_label(silicon, RawLabel(-1.0, np.zeros((2, 3))), LabelGate())
    assert label.virial is None
