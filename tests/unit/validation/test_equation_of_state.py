"""The equation of state recovers what it was given, and Tersoff's silicon."""

import numpy as np
import pytest

from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import InputError
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA
from silicon.cells import primitive_cell, scaled
from silicon.equation_of_state import equation_of_state, fitted_equation_of_state


def _labels(volumes, energy):
    cell = primitive_cell(5.4)
    cells = [scaled(cell, (2.0 * v / cell.volume) ** (1 / 3)) for v in volumes]
    return [LabelledStructure(c, 2.0 * energy(c.volume / 2.0), np.zeros((2, 3))) for c in cells]


def _birch_murnaghan(volume, e0, v0, bulk, derivative):
    """The form in which it is usually printed."""
    x = (v0 / volume) ** (2.0 / 3.0)
    bracket = (x - 1.0) ** 3 * derivative + (x - 1.0) ** 2 * (6.0 - 4.0 * x)
    return e0 + 9.0 * v0 * bulk / 16.0 * bracket


def test_fit_recovers_birch_murnaghan_to_rounding():
    bulk = 90.0 / EV_PER_CUBIC_ANGSTROM_TO_GPA
    labels = _labels(
        np.linspace(18.0, 22.0, 9), lambda v: _birch_murnaghan(v, -107.0, 20.4, bulk, 4.2)
    )
    fit = fitted_equation_of_state(labels)
    assert fit.volume == pytest.approx(20.4, abs=1e-8)
    assert fit.energy == pytest.approx(-107.0, abs=1e-10)
    assert fit.bulk_modulus == pytest.approx(90.0, abs=1e-5)
    assert fit.bulk_modulus_derivative == pytest.approx(4.2, abs=1e-6)
    assert fit.lattice_constant == pytest.approx((8 * 20.4) ** (1 / 3))
    assert fit.residual < 1e-11
    middle = np.array([19.3, 21.1])
    expected = _birch_murnaghan(middle, -107.0, 20.4, bulk, 4.2)
    np.testing.assert_allclose(fit.fitted(middle), expected, atol=1e-10)


def test_tersoff_silicon_is_as_published(tersoff):
    """J. Tersoff, Physical Review B 38, 9902 (1988): 4.63 eV, 5.432 Å, 0.98 Mbar."""
    fit = equation_of_state(tersoff, primitive_cell(5.44))
    assert fit.energy == pytest.approx(-4.6296, abs=1e-3)
    assert fit.lattice_constant == pytest.approx(5.432, abs=1e-3)
    assert fit.bulk_modulus == pytest.approx(98.0, abs=1.5)
    assert fit.pressure_at_minimum == pytest.approx(0.0, abs=0.1)


def test_energies_without_minimum_are_refused():
    with pytest.raises(InputError, match="no single minimum"):
        fitted_equation_of_state(_labels(np.linspace(18.0, 22.0, 6), lambda v: -v))


def test_four_volumes_are_refused():
    with pytest.raises(InputError, match="4 volumes"):
        fitted_equation_of_state(_labels(np.linspace(18.0, 22.0, 4), lambda v: (v - 20.0) ** 2))
