"""The repulsion of nuclei: closed form, slope, cutoffs."""

import numpy as np
import pytest

from nepal_flows.core.nep.model import NepArchitecture, Zbl
from nepal_flows.core.nep.zbl import covalent_radius, pair_repulsion, zbl_table
from nepal_flows.errors import ModelError

UNIVERSAL = [0.18175, 3.1998, 0.50986, 0.94229, 0.28022, 0.4029, 0.02817, 0.20162]


def architecture(zbl: Zbl | None, elements: tuple[str, ...] = ("C", "Au")) -> NepArchitecture:
    return NepArchitecture(elements, (6.0,), (4.0,), 2, 2, 3, 3, 2, False, False, 4, zbl)


def test_inside_the_inner_cutoff_it_is_the_bare_formula() -> None:
    table = zbl_table(architecture(Zbl(1.0, 2.0)))
    r = 0.7
    x = r * (6**0.23 + 79**0.23) * 2.134563
    phi = sum(a * np.exp(-b * x) for a, b in zip(UNIVERSAL[::2], UNIVERSAL[1::2], strict=True))
    energy, _ = pair_repulsion.py_func(table[0, 1], r)
    assert energy == pytest.approx(14.399645 * 6 * 79 / r * phi, rel=1e-13)


@pytest.mark.parametrize("r", [0.3, 0.999, 1.3, 1.9])
def test_slope_is_that_of_the_energy(r: float) -> None:
    parameters = zbl_table(architecture(Zbl(1.0, 2.0)))[1, 1]
    above = pair_repulsion.py_func(parameters, r + 1e-6)[0]
    below = pair_repulsion.py_func(parameters, r - 1e-6)[0]
    slope = pair_repulsion.py_func(parameters, r)[1]
    assert slope == pytest.approx((above - below) / 2e-6, rel=1e-7, abs=1e-5)


def test_it_ends_smoothly_at_the_outer_cutoff() -> None:
    parameters = zbl_table(architecture(Zbl(1.0, 2.0)))[0, 0]
    energy, slope = pair_repulsion.py_func(parameters, 2.0 - 1e-7)
    assert 0.0 < energy < 1e-10
    assert abs(slope) < 1e-4
    assert pair_repulsion.py_func(parameters, 2.0) == (0.0, 0.0)


def test_flexible_form_with_universal_numbers_is_the_universal_one() -> None:
    rows = np.tile([1.0, 2.0, *UNIVERSAL], (3, 1))
    flexible = zbl_table(architecture(Zbl(0.0, 0.0, parameters=rows)))
    np.testing.assert_array_equal(flexible, zbl_table(architecture(Zbl(1.0, 2.0))))


def test_flexible_rows_run_over_the_upper_triangle() -> None:
    rows = np.arange(30.0).reshape(3, 10)
    table = zbl_table(architecture(Zbl(0.0, 0.0, parameters=rows)))
    assert table[0, 1, 0] == table[1, 0, 0] == 10.0
    assert table[1, 1, 0] == 20.0


def test_typewise_cutoff_is_bounded_by_radii_and_the_outer_one() -> None:
    table = zbl_table(architecture(Zbl(1.0, 2.0, 0.7)))
    assert table[0, 0, 1] == pytest.approx(0.7 * 2 * covalent_radius(6))
    assert table[1, 1, 1] == 2.0
    assert not table[:, :, 0].any()
    assert covalent_radius(6) == pytest.approx(1.0)


def test_no_repulsion_is_an_empty_table() -> None:
    assert zbl_table(architecture(None)).shape == (0, 0, 12)


def test_missing_radius_and_wrong_number_of_rows_are_refused() -> None:
    with pytest.raises(ModelError, match="atomic number 96"):
        zbl_table(architecture(Zbl(1.0, 2.0, 0.7), ("C", "Cm")))
    with pytest.raises(ModelError, match="expected \\(3, 10\\)"):
        zbl_table(architecture(Zbl(0.0, 0.0, parameters=np.zeros((2, 10)))))
