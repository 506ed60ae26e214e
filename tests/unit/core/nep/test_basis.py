"""Radial functions and harmonics against closed forms, scipy and finite differences."""

import numpy as np
import pytest
from scipy.special import eval_chebyt, sph_harm_y

from nepal_flows.core.nep.basis import (
    HARMONIC_WEIGHTS,
    L_MAX,
    Q_222_COEFFICIENTS,
    harmonic_degrees,
    harmonics,
    harmonics_and_gradients,
    radial_basis,
)


@pytest.fixture
def units(rng: np.random.Generator) -> np.ndarray:
    vectors = rng.normal(size=(20, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def harmonics_of(unit: np.ndarray, l_max: int = L_MAX) -> np.ndarray:
    values = np.empty(l_max * (l_max + 2))
    harmonics(*unit, l_max, values)
    return values


@pytest.mark.parametrize("r", [0.3, 2.0, 4.999])
def test_radial_functions_are_chebyshev_times_cosine(r: float) -> None:
    values, derivatives = np.empty(17), np.empty(17)
    radial_basis(r, 5.0, values, derivatives)
    fc = 0.5 * (1 + np.cos(np.pi * r / 5.0))
    expected = 0.5 * (eval_chebyt(np.arange(17), 2 * (r / 5.0 - 1) ** 2 - 1) + 1) * fc
    expected[0] = fc
    np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-14)
    above, below = np.empty(17), np.empty(17)
    radial_basis(r + 1e-6, 5.0, above, np.empty(17))
    radial_basis(r - 1e-6, 5.0, below, np.empty(17))
    np.testing.assert_allclose(derivatives, (above - below) / 2e-6, atol=2e-8)


def test_radial_functions_vanish_from_the_cutoff_on() -> None:
    values, derivatives = np.ones(5), np.ones(5)
    radial_basis(5.0, 5.0, values, derivatives)
    assert not values.any()
    assert not derivatives.any()


def test_low_harmonics_are_the_documented_polynomials(units: np.ndarray) -> None:
    for x, y, z in units:
        expected = [z, x, y]
        expected += [3 * z**2 - 1, z * x, z * y, x**2 - y**2, 2 * x * y]
        xy2 = (x + 1j * y) ** 2
        xy3 = (x + 1j * y) ** 3
        expected += [5 * z**3 - 3 * z, (5 * z**2 - 1) * x, (5 * z**2 - 1) * y]
        expected += [z * xy2.real, z * xy2.imag, xy3.real, xy3.imag]
        np.testing.assert_allclose(harmonics_of([x, y, z], 3), expected, atol=1e-14)
        l4 = harmonics_of([x, y, z], 4)[15:]
        assert l4[0] == pytest.approx(35 * z**4 - 30 * z**2 + 3, abs=1e-13)
        assert l4[1] == pytest.approx((7 * z**3 - 3 * z) * x, abs=1e-13)
        assert l4[3] == pytest.approx((7 * z**2 - 1) * xy2.real, abs=1e-13)


def test_weighted_harmonics_are_the_orthonormal_ones_of_scipy(units: np.ndarray) -> None:
    for unit in units:
        theta, phi = np.arccos(unit[2]), np.arctan2(unit[1], unit[0])
        ours = np.sqrt(HARMONIC_WEIGHTS) * harmonics_of(unit)
        theirs = []
        for l in range(1, L_MAX + 1):
            theirs.append(sph_harm_y(l, 0, theta, phi).real)
            for m in range(1, l + 1):
                value = (-1) ** m * np.sqrt(2) * sph_harm_y(l, m, theta, phi)
                theirs += [value.real, value.imag]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_power_of_one_harmonic_degree_is_constant_on_the_sphere(units: np.ndarray) -> None:
    degrees = harmonic_degrees(L_MAX)
    for unit in units:
        power = np.bincount(degrees, HARMONIC_WEIGHTS * harmonics_of(unit) ** 2)[1:]
        np.testing.assert_allclose(power, (2 * np.arange(1, 9) + 1) / (4 * np.pi), rtol=1e-12)


def test_four_body_invariant_is_rotation_invariant(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(6, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]

    def invariant(points: np.ndarray) -> float:
        s0, s1, s2, s3, s4 = sum(harmonics_of(point, 2) for point in points)[3:]
        a = Q_222_COEFFICIENTS
        return (
            a[0] * s0**3
            + a[1] * s0 * (s1**2 + s2**2)
            + a[2] * s0 * (s3**2 + s4**2)
            + a[3] * s3 * (s2**2 - s1**2)
            + a[4] * s1 * s2 * s4
        )

    assert invariant(vectors @ rotation.T) == pytest.approx(invariant(vectors), rel=1e-11)


@pytest.mark.parametrize("l_max", [1, 2, 4, 8])
def test_harmonic_gradients_match_finite_differences(l_max: int, rng: np.random.Generator) -> None:
    vector = rng.normal(size=3) * 2
    r = np.linalg.norm(vector)
    values, gradients = np.empty(l_max * (l_max + 2)), np.empty((l_max * (l_max + 2), 3))
    harmonics_and_gradients(*(vector / r), r, l_max, values, gradients)
    np.testing.assert_allclose(values, harmonics_of(vector / r, l_max), rtol=1e-13, atol=1e-13)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 1e-6
        above, below = vector + step, vector - step
        slope = harmonics_of(above / np.linalg.norm(above), l_max)
        slope = (slope - harmonics_of(below / np.linalg.norm(below), l_max)) / 2e-6
        scale = np.abs(gradients).max()
        np.testing.assert_allclose(gradients[:, axis], slope, atol=1e-8 * scale)
