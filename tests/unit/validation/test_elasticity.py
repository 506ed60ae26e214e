"""Elastic constants without an optimizer agree with published, relaxed ones."""

import numpy as np
import pytest

from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import LabelError
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA
from silicon.cells import primitive_cell, strained
from silicon.elasticity import elastic_constants
from silicon.equation_of_state import equation_of_state
from silicon.evaluation import relaxed

LATTICE_CONSTANT_A = 5.432


@pytest.fixture
def constants(tersoff):
    return elastic_constants(tersoff, primitive_cell(LATTICE_CONSTANT_A))


def test_tersoff_silicon_is_as_published(constants):
    """H. Balamane et al., Physical Review B 46, 2250 (1992): their T3, in Mbar."""
    expected = {"C11": 142.5, "C12": 75.4, "C44": 69.0, "C44 clamped": 118.8}
    for name, value in expected.items():
        assert constants.cubic[name] == pytest.approx(value, abs=0.7), name


def test_relaxed_shear_agrees_with_relaxing_the_atoms(constants, tersoff):
    stresses = []
    for sign in (1.0, -1.0):
        shear = np.zeros((3, 3))
        shear[1, 2] = shear[2, 1] = 0.5 * sign * 0.004
        start = strained(primitive_cell(LATTICE_CONSTANT_A), shear)
        label = relaxed(lambda one: tersoff("", [one])[0], start, tolerance=1e-4)
        stresses.append(-label.virial[1, 2] / start.volume * EV_PER_CUBIC_ANGSTROM_TO_GPA)
    by_relaxing = (stresses[0] - stresses[1]) / 0.008
    assert constants.cubic["C44"] == pytest.approx(by_relaxing, abs=0.3)


def test_bulk_modulus_follows_from_the_constants(constants, tersoff):
    bulk = (constants.cubic["C11"] + 2.0 * constants.cubic["C12"]) / 3.0
    fit = equation_of_state(tersoff, primitive_cell(LATTICE_CONSTANT_A))
    assert bulk == pytest.approx(fit.bulk_modulus, abs=1.0)


def test_a_cubic_potential_keeps_cubic_symmetry(constants):
    assert constants.spread < 0.05


def test_labels_that_break_the_symmetry_are_noticed(tersoff):
    class Biased:
        def __call__(self, name, structures):
            labels = tersoff(name, structures)
            return [self._biased(label) for label in labels]

        def _biased(self, label):
            strain_xx = label.structure.cell[1, 0] / (0.5 * LATTICE_CONSTANT_A) - 1.0
            virial = label.virial.copy()
            virial[0, 1] -= 5.0 * strain_xx * label.structure.volume / EV_PER_CUBIC_ANGSTROM_TO_GPA
            virial[1, 0] = virial[0, 1]
            return LabelledStructure(label.structure, label.energy, label.forces, virial)

    spread = elastic_constants(Biased(), primitive_cell(LATTICE_CONSTANT_A)).spread
    assert spread == pytest.approx(2.5, abs=0.3)  # 5 GPa in one of the two triangles


def test_labels_without_virial_are_refused():
    def no_virials(name, structures):
        return [LabelledStructure(s, 0.0, np.zeros((s.n_atoms, 3))) for s in structures]

    with pytest.raises(LabelError, match="has none"):
        elastic_constants(no_virials, primitive_cell(LATTICE_CONSTANT_A))
