"""From the slope in the descriptors to pair forces, one atom at a time, eight neighbours at a time.

dE/dq goes back to the slopes in the radial and angular sums, and one pass over the neighbours
gives every :math:`p_{ij} = \\partial E_i / \\partial r_{ij}`.
"""

from nepal_flows.core.nep.arrays import (
    ARGUMENT,
    CUT_ARGUMENT_SLOPE,
    CUT_SLOPE,
    INVERSE_R,
    TYPE,
    X,
    Y,
    Z,
)
from nepal_flows.core.nep.basis import (
    HARMONIC_WEIGHTS,
    Q_222_COEFFICIENTS,
    Q_1111_COEFFICIENT,
    Z_SLOPE,
)
from nepal_flows.core.nep.forward import only_type
from nepal_flows.core.simd import inner
from nepal_flows.core.simd_memory import WIDTH, load, splat, store


@inner
def invariants_backward(arrays, scratch, tile):  # type: ignore[no-untyped-def]
    """Replace the sums s by dE/ds, given dE/d(invariants) in ``scratch.invariants``."""
    s, slopes = scratch.s, scratch.invariants
    d0 = d1 = d2 = d3 = d4 = splat(0.0)
    kind = arrays.l_max
    if arrays.has_q_222:
        s0, s1, s2 = load(s, 3, tile), load(s, 4, tile), load(s, 5, tile)
        s3, s4 = load(s, 6, tile), load(s, 7, tile)
        a = Q_222_COEFFICIENTS
        f = load(slopes, kind, tile)
        square12, square34 = s1 * s1 + s2 * s2, s3 * s3 + s4 * s4
        d0 = f * (3.0 * a[0] * s0 * s0 + a[1] * square12 + a[2] * square34)
        d1 = f * (2.0 * a[1] * s0 * s1 - 2.0 * a[3] * s3 * s1 + a[4] * s2 * s4)
        d2 = f * (2.0 * a[1] * s0 * s2 + 2.0 * a[3] * s3 * s2 + a[4] * s1 * s4)
        d3 = f * (2.0 * a[2] * s0 * s3 + a[3] * (s2 * s2 - s1 * s1))
        d4 = f * (2.0 * a[2] * s0 * s4 + a[4] * s1 * s2)
        kind += 1
    e0 = e1 = e2 = splat(0.0)
    if arrays.has_q_1111:
        s0, s1, s2 = load(s, 0, tile), load(s, 1, tile), load(s, 2, tile)
        square = s0 * s0 + s1 * s1 + s2 * s2
        f = 4.0 * Q_1111_COEFFICIENT * square * load(slopes, kind, tile)
        e0, e1, e2 = f * s0, f * s1, f * s2
    for l in range(1, arrays.l_max + 1):
        slope = 2.0 * load(slopes, l - 1, tile)
        for lm in range(l * l - 1, l * (l + 2)):
            store(HARMONIC_WEIGHTS[lm] * slope * load(s, lm, tile), s, lm, tile)
    if arrays.has_q_222:
        store(load(s, 3, tile) + d0, s, 3, tile)
        store(load(s, 4, tile) + d1, s, 4, tile)
        store(load(s, 5, tile) + d2, s, 5, tile)
        store(load(s, 6, tile) + d3, s, 6, tile)
        store(load(s, 7, tile) + d4, s, 7, tile)
    if arrays.has_q_1111:
        store(load(s, 0, tile) + e0, s, 0, tile)
        store(load(s, 1, tile) + e1, s, 1, tile)
        store(load(s, 2, tile) + e2, s, 2, tile)


@inner
def backward(arrays, scratch, central, n_near, first_far):  # type: ignore[no-untyped-def]
    """Write p_ij = dE_i/dr_ij of every neighbour, given dE/dq in ``scratch.q_slope_flat``."""
    slopes, c = scratch.radial_slopes, arrays.c_radial_by_n
    for t in range(slopes.shape[0]):
        for tile in range(slopes.shape[1]):
            slope = splat(0.0)
            for n in range(arrays.n_radial):
                slope = slope + scratch.q_slope_flat[n] * load(c, central, t, n, tile)
            store(slope, slopes, t, tile)
    n_angular = arrays.n_angular
    if n_near > 0:
        n_kinds = arrays.l_max + int(arrays.has_q_222) + int(arrays.has_q_1111)
        for tile in range(scratch.s.shape[1]):
            for kind in range(n_kinds):
                store(0.0, scratch.invariants, kind, tile)
                for n in range(tile * WIDTH, min(n_angular, (tile + 1) * WIDTH)):
                    d = arrays.n_radial + kind * n_angular + n
                    scratch.invariants_flat[kind, n] = scratch.q_slope_flat[d]
            invariants_backward(arrays, scratch, tile)
    n_blocks = scratch.lane.shape[1]
    for count in range(n_near + n_blocks - first_far):
        block = count if count < n_near else count - n_near + first_far
        pair_forces(arrays, scratch, block, block < n_near)


@inner
def pair_forces(arrays, scratch, block, is_near):  # type: ignore[no-untyped-def]
    """Write p_ij of the neighbours in one block."""
    lane, radial, slopes = scratch.lane, scratch.radial, scratch.radial_slopes_flat
    n_k = arrays.c_radial_by_k.shape[2]
    x = load(radial, ARGUMENT, block)
    kind = load(lane, TYPE, block)
    along = splat(0.0)
    first, last = scratch.first_type[block], scratch.last_type[block]
    for t in range(first, last + 1):
        value, derivative = splat(slopes[t, 0]), splat(0.0)
        before, now = splat(1.0), x
        second_before, second = splat(0.0), splat(1.0)
        for k in range(1, n_k):
            value = value + slopes[t, k] * now
            derivative = derivative + (float(k) * slopes[t, k]) * second
            before, now = now, 2.0 * x * now - before
            second_before, second = second, 2.0 * x * second - second_before
        here = load(radial, CUT_SLOPE, block) * value
        here = here + load(radial, CUT_ARGUMENT_SLOPE, block) * derivative
        along = along + (here if first == last else only_type(kind, float(t), here))
    ux, uy, uz = load(lane, X, block), load(lane, Y, block), load(lane, Z, block)
    if not is_near:
        store(along * ux, scratch.pair_force, 0, block)
        store(along * uy, scratch.pair_force, 1, block)
        store(along * uz, scratch.pair_force, 2, block)
        return
    g, g_slope, s = scratch.g, scratch.g_slope, scratch.s_flat
    z_lm, xy = scratch.z, scratch.xy
    n_angular, l_max = arrays.n_angular, arrays.l_max
    gx, gy, gz = splat(0.0), splat(0.0), splat(0.0)
    for l in range(1, l_max + 1):
        a, b = splat(0.0), splat(0.0)
        for n in range(n_angular):
            a = a + s[l * l - 1, n] * load(g, n, block)
            b = b + s[l * l - 1, n] * load(g_slope, n, block)
        along = along + b * load(z_lm, l * (l_max + 1), block)
        gz = gz + Z_SLOPE[l, 0] * a * load(z_lm, l * (l_max + 1) + 1, block)
    for m in range(1, l_max + 1):
        # Sums over l of Z_lm times what multiplies the cosine- and sine-like harmonics.
        re, im, re_slope, im_slope = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        re_z, im_z = splat(0.0), splat(0.0)
        for l in range(m, l_max + 1):
            lm = l * l - 2 + 2 * m
            a, b, a_slope, b_slope = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for n in range(n_angular):
                value, derivative = load(g, n, block), load(g_slope, n, block)
                a = a + s[lm, n] * value
                b = b + s[lm + 1, n] * value
                a_slope = a_slope + s[lm, n] * derivative
                b_slope = b_slope + s[lm + 1, n] * derivative
            z = load(z_lm, l * (l_max + 1) + m, block)
            re, im = re + z * a, im + z * b
            re_slope, im_slope = re_slope + z * a_slope, im_slope + z * b_slope
            if l > m:
                z = Z_SLOPE[l, m] * load(z_lm, l * (l_max + 1) + m + 1, block)
                re_z, im_z = re_z + z * a, im_z + z * b
        x_m, y_m = load(xy, 2 * m, block), load(xy, 2 * m + 1, block)
        x_below, y_below = load(xy, 2 * m - 2, block), load(xy, 2 * m - 1, block)
        along = along + re_slope * x_m + im_slope * y_m
        gz = gz + re_z * x_m + im_z * y_m
        gx = gx + float(m) * (re * x_below + im * y_below)
        gy = gy + float(m) * (im * x_below - re * y_below)
    inverse = load(lane, INVERSE_R, block)
    along = along - inverse * (ux * gx + uy * gy + uz * gz)
    store(along * ux + inverse * gx, scratch.pair_force, 0, block)
    store(along * uy + inverse * gy, scratch.pair_force, 1, block)
    store(along * uz + inverse * gz, scratch.pair_force, 2, block)
