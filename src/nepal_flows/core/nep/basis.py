r"""The functions a NEP expands an environment in: radial functions, harmonics, invariants.

Radial functions, with :math:`x = 2 (r/r_c - 1)^2 - 1` and
:math:`f_c = \cos^2(\pi r / 2 r_c)`:
:math:`f_0 = f_c`, :math:`f_k = \tfrac12 (T_k(x) + 1) f_c` [1]_.

Harmonics of the unit vector (x, y, z), unnormalised and real; component ``l*l - 1`` is
:math:`Z_{l0}(z)`, components ``l*l - 1 + (2m-1, 2m)`` are :math:`Z_{lm}(z)` times the real and
the imaginary part of :math:`(x + iy)^m`. :math:`Z_{lm}` is the m-th derivative of the Legendre
polynomial :math:`P_l`, scaled to coprime integer coefficients with a positive leading one.

The helpers here work on one pair and are callable from compiled code.

References
----------
.. [1] Z. Fan et al., J. Chem. Phys. 157, 114801 (2022).
"""

import math

import numba
import numpy as np

from nepal_flows.typing import FloatArray

L_MAX = 8
"""Largest l for which harmonics are tabulated."""

Q_222_COEFFICIENTS: FloatArray = np.array(
    [
        -0.007499480826664,
        -0.134990654879954,
        0.067495327439977,
        0.404971964639861,
        -0.809943929279723,
    ]
)
r"""Coefficients a of the four-body invariant of the l = 2 sums.

:math:`q_{222} = a_0 s_0^3 + a_1 s_0 (s_1^2 + s_2^2) + a_2 s_0 (s_3^2 + s_4^2)
+ a_3 s_3 (s_2^2 - s_1^2) + a_4 s_1 s_2 s_4`, with s the components 3 to 7 of the harmonics.
"""

Q_1111_COEFFICIENT = 0.026596810706114
r"""Coefficient of the five-body invariant :math:`(s_0^2 + s_1^2 + s_2^2)^2` of the l = 1 sums."""


def _legendre_derivative(l: int, m: int) -> list[int]:
    """Return the integer coefficients of 2^l d^m P_l / dz^m, lowest power first."""
    coefficients = [0] * (l + 1)
    for k in range(l // 2 + 1):
        coefficients[l - 2 * k] = (-1) ** k * math.comb(l, k) * math.comb(2 * (l - k), l)
    for _ in range(m):
        coefficients = [power * c for power, c in enumerate(coefficients)][1:]
    return coefficients


def _tables() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the recurrence, derivative and normalisation coefficients of Z_lm."""
    scale = np.zeros((L_MAX + 2, L_MAX + 2))  # Z_lm = scale * d^m P_l / dz^m
    for l in range(L_MAX + 1):
        for m in range(l + 1):
            scale[l, m] = 2**l / math.gcd(*_legendre_derivative(l, m))
    up, down, slope = (np.zeros((L_MAX + 1, L_MAX + 2)) for _ in range(3))
    weights = np.zeros(L_MAX * (L_MAX + 2))
    for l in range(1, L_MAX + 1):
        for m in range(l + 1):
            if m < l:
                up[l, m] = (2 * l - 1) / (l - m) * scale[l, m] / scale[l - 1, m]
                slope[l, m] = scale[l, m] / scale[l, m + 1]
            if m < l - 1:
                down[l, m] = (l + m - 1) / (l - m) * scale[l, m] / scale[l - 2, m]
            norm = (2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m)
            if m == 0:
                weights[l * l - 1] = norm / scale[l, m] ** 2
            else:
                weights[l * l - 2 + 2 * m : l * l + 2 * m] = 2 * norm / scale[l, m] ** 2
    return up, down, slope, weights


Z_UP, Z_DOWN, Z_SLOPE, HARMONIC_WEIGHTS = _tables()
"""``Z[l, m] = Z_UP[l, m] z Z[l-1, m] - Z_DOWN[l, m] Z[l-2, m]`` with ``Z[m, m] = 1``;
``dZ[l, m]/dz = Z_SLOPE[l, m] Z[l, m+1]``; ``HARMONIC_WEIGHTS`` are the weights w of the
three-body invariants :math:`q_l = \\sum_m w_{lm} s_{lm}^2` (normalised power spectrum), one per
component, shape (80,); the first ``l_max (l_max + 2)`` serve a given l_max."""


def harmonic_degrees(l_max: int) -> FloatArray:
    """Return l of every harmonic component, shape (l_max (l_max + 2),), int64.

    Examples
    --------
    >>> harmonic_degrees(2).tolist()
    [1, 1, 1, 2, 2, 2, 2, 2]
    """
    return np.repeat(np.arange(1, l_max + 1), 2 * np.arange(1, l_max + 1) + 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def radial_basis(r, cutoff, values, derivatives):  # type: ignore[no-untyped-def]
    """Write the radial functions and their slopes at one distance.

    Parameters
    ----------
    r, cutoff
        Distance and cutoff, Å; 0 < r. At and beyond the cutoff everything is 0.
    values, derivatives
        Written: f_k (dimensionless) and df_k/dr (1/Å), shape (basis_size + 1,) each.
    """
    n = values.shape[0]
    if r >= cutoff:
        values[:] = 0.0
        derivatives[:] = 0.0
        return
    u = r / cutoff
    half = math.sin(0.5 * math.pi * (1.0 - u))
    fc = half * half
    dfc = -math.pi / cutoff * half * math.cos(0.5 * math.pi * (1.0 - u))
    x = 2.0 * (u - 1.0) * (u - 1.0) - 1.0
    dx = 4.0 * (u - 1.0) / cutoff
    values[0] = fc
    derivatives[0] = dfc
    t_before, t = 1.0, x  # Chebyshev, first kind
    u_before, u_now = 0.0, 1.0  # Chebyshev, second kind: dT_k/dx = k U_{k-1}
    for k in range(1, n):
        shape = 0.5 * (t + 1.0)
        values[k] = shape * fc
        derivatives[k] = shape * dfc + 0.5 * k * u_now * dx * fc
        t_before, t = t, 2.0 * x * t - t_before
        u_before, u_now = u_now, 2.0 * x * u_now - u_before


@numba.njit(cache=True, nogil=True, error_model="numpy")
def harmonics(x, y, z, l_max, values):  # type: ignore[no-untyped-def]
    """Write the real harmonics of a unit vector.

    Parameters
    ----------
    x, y, z
        Components of the unit vector.
    l_max
        Largest l, 1 to 8.
    values
        Written: b_lm, shape (l_max (l_max + 2),).
    """
    re, im = 1.0, 0.0
    for m in range(l_max + 1):
        before, now = 0.0, 1.0
        for l in range(m, l_max + 1):
            if l > m:
                before, now = now, Z_UP[l, m] * z * now - Z_DOWN[l, m] * before
            if l == 0:
                continue
            if m == 0:
                values[l * l - 1] = now
            else:
                values[l * l - 2 + 2 * m] = now * re
                values[l * l - 1 + 2 * m] = now * im
        re, im = re * x - im * y, re * y + im * x


@numba.njit(cache=True, nogil=True, error_model="numpy")
def harmonics_and_gradients(x, y, z, r, l_max, values, gradients):  # type: ignore[no-untyped-def]
    """Write the real harmonics of a unit vector and their gradients in the full vector.

    Parameters
    ----------
    x, y, z
        Components of the unit vector.
    r
        Length of the full vector, Å.
    l_max
        Largest l, 1 to 8.
    values
        Written: b_lm, shape (l_max (l_max + 2),).
    gradients
        Written: db_lm/dr_ij, shape (l_max (l_max + 2), 3), 1/Å; perpendicular to r_ij.
    """
    re, im = 1.0, 0.0  # of (x + iy)^m
    re_below, im_below = 0.0, 0.0  # of (x + iy)^(m-1)
    inverse = 1.0 / r
    for m in range(l_max + 1):
        before, now = 0.0, 1.0  # Z[l-1, m], Z[l, m]
        slope_before, slope = 0.0, 0.0  # Z[l-1, m+1], Z[l, m+1]
        for l in range(m, l_max + 1):
            if l > m:
                before, now = now, Z_UP[l, m] * z * now - Z_DOWN[l, m] * before
            if l == m + 1:
                slope = 1.0
            elif l > m + 1:
                up, down = Z_UP[l, m + 1], Z_DOWN[l, m + 1]
                slope_before, slope = slope, up * z * slope - down * slope_before
            if l == 0:
                continue
            dz = Z_SLOPE[l, m] * slope
            for part in range(2):
                if part == 0:
                    first = l * l - 1 if m == 0 else l * l - 2 + 2 * m
                    c, c_below, s_below = re, re_below, -im_below
                elif m == 0:
                    break
                else:
                    first = l * l - 1 + 2 * m
                    c, c_below, s_below = im, im_below, re_below
                gx, gy, gz = m * now * c_below, m * now * s_below, dz * c
                along = gx * x + gy * y + gz * z
                values[first] = now * c
                gradients[first, 0] = (gx - along * x) * inverse
                gradients[first, 1] = (gy - along * y) * inverse
                gradients[first, 2] = (gz - along * z) * inverse
        re_below, im_below = re, im
        re, im = re * x - im * y, re * y + im * x


__all__ = [
    "HARMONIC_WEIGHTS",
    "L_MAX",
    "Q_222_COEFFICIENTS",
    "Q_1111_COEFFICIENT",
    "Z_DOWN",
    "Z_SLOPE",
    "Z_UP",
    "harmonic_degrees",
    "harmonics",
    "harmonics_and_gradients",
    "radial_basis",
]
