"""The basis of :mod:`nepal_flows.core.nep.basis` for a block of pairs at once; compiled code only.

Also the four-body invariant's derivatives and a hyperbolic tangent, which both passes need.
"""

import math

import numba

from nepal_flows.core.nep.training.lanes import (
    N_LANES,
    filled,
    larger,
    load,
    smaller,
    spread,
    store,
)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gradient_222(a, s, at):  # type: ignore[no-untyped-def]
    """Return the derivatives of the four-body invariant of the five sums that begin at ``at``."""
    s0, s1, s2, s3, s4 = s[at], s[at + 1], s[at + 2], s[at + 3], s[at + 4]
    two, three = a.dtype.type(2.0), a.dtype.type(3.0)
    return (
        three * a[0] * s0 * s0 + a[1] * (s1 * s1 + s2 * s2) + a[2] * (s3 * s3 + s4 * s4),
        two * a[1] * s0 * s1 - two * a[3] * s3 * s1 + a[4] * s2 * s4,
        two * a[1] * s0 * s2 + two * a[3] * s3 * s2 + a[4] * s1 * s4,
        two * a[2] * s0 * s3 + a[3] * (s2 * s2 - s1 * s1),
        two * a[2] * s0 * s4 + a[4] * s1 * s2,
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def curvature_222(a, s, at, d, dat):  # type: ignore[no-untyped-def]
    """Return the Hessian of the four-body invariant times the five tangents d."""
    s0, s1, s2, s3, s4 = s[at], s[at + 1], s[at + 2], s[at + 3], s[at + 4]
    d0, d1, d2, d3, d4 = d[dat], d[dat + 1], d[dat + 2], d[dat + 3], d[dat + 4]
    two, six = a.dtype.type(2.0), a.dtype.type(6.0)
    return (
        six * a[0] * s0 * d0 + two * a[1] * (s1 * d1 + s2 * d2) + two * a[2] * (s3 * d3 + s4 * d4),
        two * a[1] * (d0 * s1 + s0 * d1)
        - two * a[3] * (d3 * s1 + s3 * d1)
        + a[4] * (d2 * s4 + s2 * d4),
        two * a[1] * (d0 * s2 + s0 * d2)
        + two * a[3] * (d3 * s2 + s3 * d2)
        + a[4] * (d1 * s4 + s1 * d4),
        two * a[2] * (d0 * s3 + s0 * d3) + two * a[3] * (s2 * d2 - s1 * d1),
        two * a[2] * (d0 * s4 + s0 * d4) + a[4] * (d1 * s2 + s1 * d2),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def replace_by_tanh(values, n):  # type: ignore[no-untyped-def]
    """Replace the first n numbers by their hyperbolic tangents.

    Single precision takes a continued fraction of a ninth of the argument and three doublings
    tanh 2u = 2 tanh u / (1 + tanh^2 u), accurate to rounding; double precision takes libm's.
    """
    if values.itemsize == 8:
        for h in range(n):
            values[h] = math.tanh(values[h])
        return
    one, two = filled(values, 1.0), filled(values, 2.0)
    for h in range(0, n, N_LANES):
        u = smaller(10.0, larger(-10.0, load(values, h)))  # keeps NaN
        u = 0.125 * u
        v = u * u
        above = filled(values, 10395.0) + v * (filled(values, 1260.0) + v * filled(values, 21.0))
        below = filled(values, 4725.0) + v * (filled(values, 210.0) + v)
        t = u * above / (filled(values, 10395.0) + v * below)
        for _ in range(3):
            t = two * t / (one + t * t)
        store(values, h, t)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_chebyshev(x, count, scratch):  # type: ignore[no-untyped-def]
    """Write T_k(x) + 1 and k U_{k-1}(x) for k below ``count``."""
    values, slopes = scratch.chebyshev, scratch.chebyshev_slope
    one = filled(values, 1.0)
    double = x + x
    store(values, 0, one + one)
    store(slopes, 0, filled(values, 0.0))
    t_before, t = one, x
    u_before, u = filled(values, 0.0), one
    for k in range(1, count):
        store(values, k * N_LANES, t + one)
        store(slopes, k * N_LANES, filled(values, k) * u)
        t_after = double * t - t_before
        u_after = double * u - u_before
        t_before, t = t, t_after
        u_before, u = u, u_after


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_harmonics(ux, uy, uz, sizes, tables, scratch, out):  # type: ignore[no-untyped-def]
    """Write Z_lm, the powers of x + iy and, from row ``out`` on, b_lm of a block of pairs."""
    zs, powers, b = scratch.z_values, scratch.powers, scratch.harmonics
    width = sizes.l_max + 1
    re, im = filled(b, 1.0), filled(b, 0.0)
    for m in range(width):
        store(powers, m * N_LANES, re)
        store(powers, (width + m) * N_LANES, im)
        before, now = filled(b, 0.0), filled(b, 1.0)
        store(zs, (m * (width + 1) + m) * N_LANES, now)
        if m > 0:
            store(b, (out + m * m - 2 + 2 * m) * N_LANES, re)
            store(b, (out + m * m - 1 + 2 * m) * N_LANES, im)
        for l in range(m + 1, width):
            at = l * tables.z_stride + m
            after = spread(tables.z_up, at) * uz * now - spread(tables.z_down, at) * before
            before, now = now, after
            store(zs, (l * (width + 1) + m) * N_LANES, now)
            if m == 0:
                store(b, (out + l * l - 1) * N_LANES, now)
            else:
                store(b, (out + l * l - 2 + 2 * m) * N_LANES, now * re)
                store(b, (out + l * l - 1 + 2 * m) * N_LANES, now * im)
        re, im = re * ux - im * uy, re * uy + im * ux


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_harmonics_tangent(dx, dy, dz, sizes, tables, scratch, out):  # type: ignore[no-untyped-def]
    """Write the change of b_lm when the unit vector changes; after :func:`fill_harmonics`."""
    zs, powers, b = scratch.z_values, scratch.powers, scratch.harmonics_tangent
    width = sizes.l_max + 1
    for m in range(width):
        re, im = load(powers, m * N_LANES), load(powers, (width + m) * N_LANES)
        re_tangent, im_tangent = filled(b, 0.0), filled(b, 0.0)
        if m > 0:
            order = filled(b, m)
            below = load(powers, (m - 1) * N_LANES)
            below_im = load(powers, (width + m - 1) * N_LANES)
            re_tangent = order * (below * dx - below_im * dy)
            im_tangent = order * (below * dy + below_im * dx)
            store(b, (out + m * m - 2 + 2 * m) * N_LANES, re_tangent)
            store(b, (out + m * m - 1 + 2 * m) * N_LANES, im_tangent)
        for l in range(m + 1, width):
            at = l * (width + 1) + m
            value = load(zs, at * N_LANES)
            slope = spread(tables.z_slope, l * tables.z_stride + m) * load(zs, (at + 1) * N_LANES)
            change = slope * dz
            if m == 0:
                store(b, (out + l * l - 1) * N_LANES, change)
            else:
                first = out + l * l - 2 + 2 * m
                store(b, first * N_LANES, change * re + value * re_tangent)
                store(b, (first + 1) * N_LANES, change * im + value * im_tangent)


__all__ = [
    "curvature_222",
    "fill_chebyshev",
    "fill_harmonics",
    "fill_harmonics_tangent",
    "gradient_222",
    "replace_by_tanh",
]
