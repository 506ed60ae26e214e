r"""Energies, forces and virials, and the exact gradient of any function of them.

Two passes over the atoms of each structure. The first gives energies, the gradients
g = dE/d(R, A) and from them pair forces :math:`p_{ij} = dE_i/dr_{ij}`, forces and virial. The
second takes dL/dE, dL/dF and dL/dW, forms

.. math:: \lambda_{ij} = \frac{dL}{dF_i} - \frac{dL}{dF_j} - \frac{dL}{dW} r_{ij},

carries :math:`\lambda` to the tangent of (R, A), and differentiates
:math:`\sum_i (dL/dE)\, E_i + dE_i/d(R, A) \cdot (R', A')_i` in closed form: that is the gradient
of L with respect to every parameter, without differentiating a force.

Arithmetic is in the precision of the arrays that come in (float32 for speed, float64 for
checks); energies and gradients are summed over structures in float64. The loops are long because
every function here is a single pass over memory; their parts are marked.
"""

import math
from typing import NamedTuple

import numba

from nepal_flows.core.nep.training.features import (
    ANGULAR_CHANNELS,
    RADIAL_CHANNELS,
    Features,
)
from nepal_flows.core.nep.training.lanes import (
    N_LANES,
    add_lane_sums,
    aligned_zeros,
    clamp,
    filled,
    gather,
    lane_sum,
    load,
    spread,
    store,
)
from nepal_flows.core.nep.training.layout import Sizes, move_gradient, padded
from nepal_flows.typing import AnyArray

VIRIAL_COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))
"""Order of the six components of a virial: xx yy zz xy yz zx."""


class Saved(NamedTuple):
    """What the second pass needs of the first, for the atoms of one batch, flat.

    Per atom: descriptors q and their tangents, tanh of the neurons, dE/dq, the angular sums s and
    dE/ds. Per angular block: the contractions of dE/ds with the harmonics, and g_n and its slope.
    """

    q: AnyArray
    q_tangent: AnyArray
    neurons: AnyArray
    q_slope: AnyArray
    sums: AnyArray
    sums_slope: AnyArray
    contracted: AnyArray
    radial: AnyArray
    radial_slope: AnyArray


class Scratch(NamedTuple):
    """Working space of one thread."""

    chebyshev: AnyArray  # T_k(x) + 1
    chebyshev_slope: AnyArray  # k U_{k-1}(x)
    z_values: AnyArray  # Z_lm
    powers: AnyArray  # Re and Im of (x + iy)^m, then their tangents
    harmonics: AnyArray  # b_lm of every angular block of an atom
    harmonics_tangent: AnyArray
    block_radial: AnyArray  # g_n lambda-weighted slope of every angular block of an atom
    row: AnyArray  # lm by lane
    neuron: AnyArray
    descriptor: AnyArray
    slot: AnyArray  # coefficients of one slot, and sums over its pairs
    pair: AnyArray  # three vectors: pair forces, lambda
    tangent: AnyArray  # (n, lm)


def empty_saved(sizes: Sizes, n_atoms: int, n_angular_blocks: int, dtype: type) -> Saved:
    """Return space for a batch of so many atoms and angular blocks."""
    z = sizes
    lengths = {
        "q": n_atoms * z.descriptors_pad,
        "q_tangent": n_atoms * z.descriptors_pad,
        "neurons": n_atoms * z.neurons_pad,
        "q_slope": n_atoms * z.descriptors_pad,
        "sums": n_atoms * z.n_angular * z.harmonics_pad,
        "sums_slope": n_atoms * z.n_angular * z.harmonics_pad,
        "contracted": n_angular_blocks * z.n_angular * N_LANES,
        "radial": n_angular_blocks * z.n_angular * N_LANES,
        "radial_slope": n_angular_blocks * z.n_angular * N_LANES,
    }
    return Saved(**{name: aligned_zeros(length, dtype) for name, length in lengths.items()})


def empty_scratch(sizes: Sizes, most_angular_blocks: int, dtype: type) -> Scratch:
    """Return working space for one thread."""
    z = sizes
    k = max(z.k_radial, z.k_angular, 2)
    blocks = max(most_angular_blocks, 1)
    lengths = {
        "chebyshev": k * N_LANES,
        "chebyshev_slope": k * N_LANES,
        "z_values": (z.l_max + 1) * (z.l_max + 2) * N_LANES,
        "powers": 4 * (z.l_max + 1) * N_LANES,
        "harmonics": blocks * z.harmonics_pad * N_LANES,
        "harmonics_tangent": blocks * z.harmonics_pad * N_LANES,
        "block_radial": 2 * blocks * max(z.n_angular, 1) * N_LANES,
        "row": z.harmonics_pad * N_LANES,
        "neuron": 4 * z.neurons_pad,
        "descriptor": 4 * z.descriptors_pad,
        "slot": 4 * padded(k) + k * N_LANES,
        "pair": 3 * N_LANES,
        "tangent": max(z.n_angular, 1) * z.harmonics_pad,
    }
    return Scratch(**{name: aligned_zeros(length, dtype) for name, length in lengths.items()})


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gradient_222(a, s, at):  # type: ignore[no-untyped-def]
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
def _curvature_222(a, s, at, d, dat):  # type: ignore[no-untyped-def]
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
def _tanh_in_place(values, n):  # type: ignore[no-untyped-def]
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
        u = clamp(load(values, h), filled(values, -10.0), filled(values, 10.0))
        u = u * filled(values, 0.125)
        v = u * u
        above = filled(values, 10395.0) + v * (filled(values, 1260.0) + v * filled(values, 21.0))
        below = filled(values, 4725.0) + v * (filled(values, 210.0) + v)
        t = u * above / (filled(values, 10395.0) + v * below)
        for _ in range(3):
            t = two * t / (one + t * t)
        store(values, h, t)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def atom_energies(features, sizes, tables, network, saved, scratch, first, last, place):  # type: ignore[no-untyped-def]
    """Return the energy of atoms ``first`` to ``last``; save q, dE/dq, s and dE/ds from ``place``.

    The common bias b1 is not in it.
    """
    z = sizes
    d_pad, n_pad, h_pad = z.descriptors_pad, z.neurons_pad, z.harmonics_pad
    row = (z.n_radial + N_LANES - 1) // N_LANES * N_LANES
    q, s, gs = saved.q, saved.sums, saved.sums_slope
    slope = scratch.neuron
    energy = 0.0
    for i in range(first, last):
        t = features.atom_type[i]
        b = place + i - first
        q_at = b * d_pad
        s_at = b * z.n_angular * h_pad
        slots = range(features.slot_start[i], features.slot_start[i + 1])

        # Radial descriptors, n along the lanes; the lanes beyond n_radial stay zero.
        for block in range(0, d_pad, N_LANES):
            store(q, q_at + block, filled(q, 0.0))
        for block in range(0, row, N_LANES):
            value = filled(q, 0.0)
            for slot in slots:
                c_at = (t * z.n_types + features.slot_type[slot]) * z.k_radial
                for k in range(z.k_radial):
                    column = load(network.c_radial_columns, (c_at + k) * row + block)
                    value = value + spread(features.radial_sums, slot * z.k_radial + k) * column
            store(q, q_at + block, value)

        # Angular sums s = c A, lm along the lanes.
        for n in range(z.n_angular):
            for block in range(0, h_pad, N_LANES):
                value = filled(q, 0.0)
                for slot in slots:
                    pair = t * z.n_types + features.slot_type[slot]
                    c_at = (pair * z.n_angular + n) * z.k_angular
                    for k in range(z.k_angular):
                        sums = load(features.angular_sums, (slot * z.k_angular + k) * h_pad + block)
                        value = value + spread(network.c_angular, c_at + k) * sums
                store(s, s_at + n * h_pad + block, value)

        # Angular descriptors.
        for n in range(z.n_angular):
            at = s_at + n * h_pad
            q_n = q_at + z.n_radial + n
            for l in range(1, z.l_max + 1):
                value = tables.weights[l * l - 1] * s[at + l * l - 1] * s[at + l * l - 1]
                for m in range(l * l, (l + 1) * (l + 1) - 1):
                    value += tables.weights[m] * s[at + m] * s[at + m]
                q[q_n] = value
                q_n += z.n_angular
            if z.has_q_222:
                gradient = _gradient_222(tables.q_222, s, at + 3)
                value = gradient[0] * s[at + 3]
                for m in range(1, 5):
                    value += gradient[m] * s[at + 3 + m]
                q[q_n] = value / q.dtype.type(3.0)  # homogeneous of degree three
                q_n += z.n_angular
            if z.has_q_1111:
                norm = s[at] * s[at] + s[at + 1] * s[at + 1] + s[at + 2] * s[at + 2]
                q[q_n] = tables.q_1111[0] * norm * norm

        # Network: E, dE/dz, dE/dq.
        tau = saved.neurons[b * n_pad : (b + 1) * n_pad]
        for block in range(0, n_pad, N_LANES):
            value = filled(q, 0.0) - load(network.b0, t * n_pad + block)
            for d in range(z.n_descriptors):
                column = load(network.w0_columns, (t * z.n_descriptors + d) * n_pad + block)
                value = value + spread(q, q_at + d) * column
            store(tau, block, value)
        _tanh_in_place(tau, n_pad)
        total = filled(q, 0.0)
        for block in range(0, n_pad, N_LANES):
            w1 = load(network.w1, t * n_pad + block)
            value = load(tau, block)
            total = total + w1 * value
            store(slope, block, w1 * (filled(q, 1.0) - value * value))
        energy += lane_sum(total)
        for block in range(0, d_pad, N_LANES):
            value = filled(q, 0.0)
            for h in range(z.n_neurons):
                value = value + spread(slope, h) * load(
                    network.w0, (t * z.n_neurons + h) * d_pad + block
                )
            store(saved.q_slope, q_at + block, value)

        # dE/ds.
        for n in range(z.n_angular):
            at = s_at + n * h_pad
            q_n = q_at + z.n_radial + n
            for l in range(1, z.l_max + 1):
                factor = saved.q_slope[q_n] + saved.q_slope[q_n]
                for m in range(l * l - 1, (l + 1) * (l + 1) - 1):
                    gs[at + m] = factor * tables.weights[m] * s[at + m]
                q_n += z.n_angular
            if z.has_q_222:
                gradient = _gradient_222(tables.q_222, s, at + 3)
                for m in range(5):
                    gs[at + 3 + m] += saved.q_slope[q_n] * gradient[m]
                q_n += z.n_angular
            if z.has_q_1111:
                norm = s[at] * s[at] + s[at + 1] * s[at + 1] + s[at + 2] * s[at + 2]
                factor = q.dtype.type(4.0) * tables.q_1111[0] * norm * saved.q_slope[q_n]
                for m in range(3):
                    gs[at + m] += factor * s[at + m]
    return energy


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fill_chebyshev(x, count, scratch):  # type: ignore[no-untyped-def]
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
def _fill_harmonics(ux, uy, uz, sizes, tables, scratch, out):  # type: ignore[no-untyped-def]
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
def _fill_harmonics_tangent(dx, dy, dz, sizes, tables, scratch, out):  # type: ignore[no-untyped-def]
    """Write the change of b_lm when the unit vector changes; after :func:`_fill_harmonics`."""
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pair_forces(  # type: ignore[no-untyped-def]
    features,
    sizes,
    tables,
    network,
    saved,
    scratch,
    first,
    last,
    place,
    block_place,
    forces,
    force_at,
    virial,
    virial_at,
):
    """Add the forces and the virial of the pairs of atoms ``first`` to ``last``.

    Forces go to ``forces[force_at:]`` as three rows x, y, z; the six components of the virial to
    ``virial[virial_at:]``. Angular contractions are saved from ``block_place``.
    """
    z = sizes
    h_pad = z.harmonics_pad
    n_atoms = last - first
    width = z.l_max + 1
    p = scratch.pair
    slot_sum, slot_slope = scratch.slot, scratch.slot[(z.k_radial + N_LANES) // N_LANES * N_LANES :]
    zero = filled(p, 0.0)
    w_xx, w_yy, w_zz, w_xy, w_yz, w_zx = zero, zero, zero, zero, zero, zero
    angular_first = features.angular_start[features.slot_start[first]]
    for i in range(first, last):
        t = features.atom_type[i]
        q_at = (place + i - first) * z.descriptors_pad
        s_at = (place + i - first) * z.n_angular * h_pad
        fx, fy, fz = zero, zero, zero
        for slot in range(features.slot_start[i], features.slot_start[i + 1]):
            pair = t * z.n_types + features.slot_type[slot]
            for k in range(z.k_radial):
                value = network.c_radial[pair * z.n_radial * z.k_radial + k] * saved.q_slope[q_at]
                for n in range(1, z.n_radial):
                    c = network.c_radial[(pair * z.n_radial + n) * z.k_radial + k]
                    value += c * saved.q_slope[q_at + n]
                slot_sum[k] = value
                slot_slope[k] = k * value
            n_angular = features.angular_start[slot + 1] - features.angular_start[slot]
            for block in range(features.radial_start[slot], features.radial_start[slot + 1]):
                at = block * RADIAL_CHANNELS * N_LANES
                ux = load(features.radial_pairs, at)
                uy = load(features.radial_pairs, at + N_LANES)
                uz = load(features.radial_pairs, at + 2 * N_LANES)

                # Radial: p = (dE/dq . c f') along the pair.
                x = load(features.radial_pairs, at + 4 * N_LANES)
                one = filled(p, 1.0)
                double = x + x
                t_before, t_now = one, x
                u_before, u_now = zero, one
                weighted = spread(slot_sum, 0) + spread(slot_sum, 0)
                sloped = zero
                for k in range(1, z.k_radial):
                    weighted = weighted + spread(slot_sum, k) * (t_now + one)
                    sloped = sloped + spread(slot_slope, k) * u_now
                    t_after = double * t_now - t_before
                    u_after = double * u_now - u_before
                    t_before, t_now = t_now, t_after
                    u_before, u_now = u_now, u_after
                along = (
                    load(features.radial_pairs, at + 5 * N_LANES) * sloped
                    + load(features.radial_pairs, at + 6 * N_LANES) * weighted
                )
                px, py, pz = along * ux, along * uy, along * uz

                offset = block - features.radial_start[slot]
                if offset < n_angular:
                    # g_n and its slope.
                    block_index = features.angular_start[slot] + offset
                    at_angular = block_index * ANGULAR_CHANNELS * N_LANES
                    save_at = (block_place + block_index - angular_first) * z.n_angular * N_LANES
                    _fill_chebyshev(load(features.angular_pairs, at_angular), z.k_angular, scratch)
                    half_fc = load(features.angular_pairs, at_angular + N_LANES)
                    half_fc_dx = load(features.angular_pairs, at_angular + 2 * N_LANES)
                    half_dfc = load(features.angular_pairs, at_angular + 3 * N_LANES)
                    inverse_r = load(features.angular_pairs, at_angular + 4 * N_LANES)
                    for n in range(z.n_angular):
                        c_at = (pair * z.n_angular + n) * z.k_angular
                        weighted, sloped = zero, zero
                        for k in range(z.k_angular):
                            c = spread(network.c_angular, c_at + k)
                            weighted = weighted + c * load(scratch.chebyshev, k * N_LANES)
                            sloped = sloped + c * load(scratch.chebyshev_slope, k * N_LANES)
                        store(saved.radial, save_at + n * N_LANES, half_fc * weighted)
                        store(
                            saved.radial_slope,
                            save_at + n * N_LANES,
                            half_fc_dx * sloped + half_dfc * weighted,
                        )

                    # Along the pair: sum_n g'_n sum_lm dE/ds b_lm.
                    _fill_harmonics(ux, uy, uz, z, tables, scratch, 0)
                    along = zero
                    for n in range(z.n_angular):
                        value = zero
                        for m in range(z.n_harmonics):
                            value = value + spread(saved.sums_slope, s_at + n * h_pad + m) * load(
                                scratch.harmonics, m * N_LANES
                            )
                        store(saved.contracted, save_at + n * N_LANES, value)
                        along = along + value * load(saved.radial_slope, save_at + n * N_LANES)

                    # Across: the gradient of sum_lm h_lm b_lm, h_lm = sum_n g_n dE/ds.
                    for m in range(z.n_harmonics):
                        value = zero
                        for n in range(z.n_angular):
                            value = value + spread(saved.sums_slope, s_at + n * h_pad + m) * load(
                                saved.radial, save_at + n * N_LANES
                            )
                        store(scratch.row, m * N_LANES, value)
                    vx, vy, vz = zero, zero, zero
                    for l in range(1, width):
                        h = load(scratch.row, (l * l - 1) * N_LANES)
                        slope = spread(tables.z_slope, l * tables.z_stride)
                        vz = vz + h * slope * load(
                            scratch.z_values, (l * (width + 1) + 1) * N_LANES
                        )
                    for m in range(1, width):
                        re_sum, im_sum, re_slope, im_slope = zero, zero, zero, zero
                        for l in range(m, width):
                            re_h = load(scratch.row, (l * l - 2 + 2 * m) * N_LANES)
                            im_h = load(scratch.row, (l * l - 1 + 2 * m) * N_LANES)
                            z_at = l * (width + 1) + m
                            value = load(scratch.z_values, z_at * N_LANES)
                            re_sum = re_sum + re_h * value
                            im_sum = im_sum + im_h * value
                            if l > m:
                                slope = spread(tables.z_slope, l * tables.z_stride + m) * load(
                                    scratch.z_values, (z_at + 1) * N_LANES
                                )
                                re_slope = re_slope + re_h * slope
                                im_slope = im_slope + im_h * slope
                        re = load(scratch.powers, m * N_LANES)
                        im = load(scratch.powers, (width + m) * N_LANES)
                        vz = vz + re_slope * re + im_slope * im
                        order = filled(p, m)
                        re = order * load(scratch.powers, (m - 1) * N_LANES)
                        im = order * load(scratch.powers, (width + m - 1) * N_LANES)
                        vx = vx + re_sum * re + im_sum * im
                        vy = vy + im_sum * re - re_sum * im
                    along = along - (ux * vx + uy * vy + uz * vz) * inverse_r
                    px = px + along * ux + inverse_r * vx
                    py = py + along * uy + inverse_r * vy
                    pz = pz + along * uz + inverse_r * vz

                # Forces and virial.
                fx, fy, fz = fx + px, fy + py, fz + pz
                r = load(features.radial_pairs, at + 3 * N_LANES)
                rx, ry, rz = r * ux, r * uy, r * uz
                w_xx, w_yy, w_zz = w_xx - rx * px, w_yy - ry * py, w_zz - rz * pz
                w_xy, w_yz, w_zx = w_xy - rx * py, w_yz - ry * pz, w_zx - rz * px
                store(p, 0, px)
                store(p, N_LANES, py)
                store(p, 2 * N_LANES, pz)
                for lane in range(N_LANES):
                    j = force_at + features.neighbours[block * N_LANES + lane]
                    forces[j] -= p[lane]
                    forces[j + n_atoms] -= p[N_LANES + lane]
                    forces[j + 2 * n_atoms] -= p[2 * N_LANES + lane]
        i_at = force_at + i - first
        forces[i_at] += lane_sum(fx)
        forces[i_at + n_atoms] += lane_sum(fy)
        forces[i_at + 2 * n_atoms] += lane_sum(fz)
    virial[virial_at] = lane_sum(w_xx)
    virial[virial_at + 1] = lane_sum(w_yy)
    virial[virial_at + 2] = lane_sum(w_zz)
    virial[virial_at + 3] = lane_sum(w_xy)
    virial[virial_at + 4] = lane_sum(w_yz)
    virial[virial_at + 5] = lane_sum(w_zx)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pair_tangents(  # type: ignore[no-untyped-def]
    features,
    sizes,
    tables,
    network,
    saved,
    scratch,
    gradient,
    first,
    last,
    place,
    block_place,
    force_slopes,
    force_at,
    virial_slopes,
    virial_at,
):
    """Carry dL/dF and dL/dW to the tangents of the sums over neighbours.

    Leaves the tangents of the radial descriptors in ``saved.q_tangent``; those of the angular
    sums *replace* ``saved.sums_slope``, which is not needed any more. Adds the part of the
    gradient with respect to c that holds the tangents of R and A.
    """
    z = sizes
    h_pad = z.harmonics_pad
    n_atoms = last - first
    row = (z.n_radial + N_LANES - 1) // N_LANES * N_LANES
    lam, tangent = scratch.pair, scratch.tangent
    zero = filled(lam, 0.0)
    g_xx, g_yy = spread(virial_slopes, virial_at), spread(virial_slopes, virial_at + 1)
    g_zz, g_xy = spread(virial_slopes, virial_at + 2), spread(virial_slopes, virial_at + 3)
    g_yz, g_zx = spread(virial_slopes, virial_at + 4), spread(virial_slopes, virial_at + 5)
    radial_sums = scratch.slot[2 * ((z.k_radial + N_LANES) // N_LANES * N_LANES) :]
    angular_first = features.angular_start[features.slot_start[first]]
    for i in range(first, last):
        t = features.atom_type[i]
        b = place + i - first
        s_at = b * z.n_angular * h_pad
        ax = spread(force_slopes, force_at + i - first)
        ay = spread(force_slopes, force_at + i - first + n_atoms)
        az = spread(force_slopes, force_at + i - first + 2 * n_atoms)
        for block in range(0, z.descriptors_pad, N_LANES):
            store(saved.q_tangent, b * z.descriptors_pad + block, zero)
        n_blocks = 0
        for slot in range(features.slot_start[i], features.slot_start[i + 1]):
            pair = t * z.n_types + features.slot_type[slot]
            n_angular = features.angular_start[slot + 1] - features.angular_start[slot]
            for k in range(z.k_radial):
                store(radial_sums, k * N_LANES, zero)
            for block in range(features.radial_start[slot], features.radial_start[slot + 1]):
                at = block * RADIAL_CHANNELS * N_LANES
                ux = load(features.radial_pairs, at)
                uy = load(features.radial_pairs, at + N_LANES)
                uz = load(features.radial_pairs, at + 2 * N_LANES)
                r = load(features.radial_pairs, at + 3 * N_LANES)
                rx, ry, rz = r * ux, r * uy, r * uz
                lx = ax - gather(force_slopes, force_at, features.neighbours, block * N_LANES)
                ly = ay - gather(
                    force_slopes, force_at + n_atoms, features.neighbours, block * N_LANES
                )
                lz = az - gather(
                    force_slopes, force_at + 2 * n_atoms, features.neighbours, block * N_LANES
                )
                lx = lx - (g_xx * rx + g_zx * rz)
                ly = ly - (g_yy * ry + g_xy * rx)
                lz = lz - (g_zz * rz + g_yz * ry)
                along = lx * ux + ly * uy + lz * uz

                # Tangent of R.
                x = load(features.radial_pairs, at + 4 * N_LANES)
                one = filled(lam, 1.0)
                double = x + x
                t_before, t_now = one, x
                u_before, u_now = zero, one
                sloped = load(features.radial_pairs, at + 5 * N_LANES) * along
                weighted = load(features.radial_pairs, at + 6 * N_LANES) * along
                store(radial_sums, 0, load(radial_sums, 0) + weighted + weighted)
                for k in range(1, z.k_radial):
                    value = weighted * (t_now + one) + sloped * filled(lam, k) * u_now
                    store(radial_sums, k * N_LANES, load(radial_sums, k * N_LANES) + value)
                    t_after = double * t_now - t_before
                    u_after = double * u_now - u_before
                    t_before, t_now = t_now, t_after
                    u_before, u_now = u_now, u_after

                offset = block - features.radial_start[slot]
                if offset >= n_angular:
                    continue
                # Harmonics and their change.
                block_index = features.angular_start[slot] + offset
                at = block_index * ANGULAR_CHANNELS * N_LANES
                save_at = (block_place + block_index - angular_first) * z.n_angular * N_LANES
                inverse_r = load(features.angular_pairs, at + 4 * N_LANES)
                out = n_blocks * h_pad
                _fill_harmonics(ux, uy, uz, z, tables, scratch, out)
                _fill_harmonics_tangent(
                    (lx - along * ux) * inverse_r,
                    (ly - along * uy) * inverse_r,
                    (lz - along * uz) * inverse_r,
                    z,
                    tables,
                    scratch,
                    out,
                )
                # dE/ds . dA'/dc: lanes are summed when the gradient is moved.
                _fill_chebyshev(load(features.angular_pairs, at), z.k_angular, scratch)
                half_fc = load(features.angular_pairs, at + N_LANES)
                half_fc_dx = load(features.angular_pairs, at + 2 * N_LANES) * along
                half_dfc = load(features.angular_pairs, at + 3 * N_LANES) * along
                for n in range(z.n_angular):
                    value = zero
                    for m in range(z.n_harmonics):
                        value = value + spread(saved.sums_slope, s_at + n * h_pad + m) * load(
                            scratch.harmonics_tangent, (out + m) * N_LANES
                        )
                    contracted = load(saved.contracted, save_at + n * N_LANES)
                    weighted = half_fc * value + half_dfc * contracted
                    sloped = half_fc_dx * contracted
                    c_at = ((pair * z.n_angular + n) * z.k_angular) * N_LANES
                    for k in range(z.k_angular):
                        value = load(gradient.c_angular, c_at + k * N_LANES)
                        value = value + weighted * load(scratch.chebyshev, k * N_LANES)
                        value = value + sloped * load(scratch.chebyshev_slope, k * N_LANES)
                        store(gradient.c_angular, c_at + k * N_LANES, value)
                    to = (n_blocks * z.n_angular + n) * 2 * N_LANES
                    store(scratch.block_radial, to, load(saved.radial, save_at + n * N_LANES))
                    store(
                        scratch.block_radial,
                        to + N_LANES,
                        load(saved.radial_slope, save_at + n * N_LANES) * along,
                    )
                n_blocks += 1

            # Tangent of the radial descriptors, and dE/dq . dR'/dc.
            for k in range(z.k_radial):
                scratch.slot[k] = lane_sum(load(radial_sums, k * N_LANES))
            q_at = b * z.descriptors_pad
            for block in range(0, row, N_LANES):
                slopes = load(saved.q_slope, q_at + block)
                value = load(saved.q_tangent, q_at + block)
                for k in range(z.k_radial):
                    c_at = (pair * z.k_radial + k) * row + block
                    change = spread(scratch.slot, k)
                    value = value + change * load(network.c_radial_columns, c_at)
                    store(
                        gradient.c_radial_columns,
                        c_at,
                        load(gradient.c_radial_columns, c_at) + change * slopes,
                    )
                store(saved.q_tangent, q_at + block, value)

        # Tangent of s, over all blocks of the atom.
        for index in range(0, z.n_angular * h_pad, N_LANES):
            store(tangent, index, zero)
        for n in range(z.n_angular):
            for m in range(0, z.n_harmonics, 4):
                first_sum, second_sum, third_sum, fourth_sum = zero, zero, zero, zero
                for block in range(n_blocks):
                    g = load(scratch.block_radial, (block * z.n_angular + n) * 2 * N_LANES)
                    dg = load(scratch.block_radial, ((block * z.n_angular + n) * 2 + 1) * N_LANES)
                    at = (block * h_pad + m) * N_LANES
                    first_sum = (
                        first_sum
                        + g * load(scratch.harmonics_tangent, at)
                        + dg * load(scratch.harmonics, at)
                    )
                    at += N_LANES
                    second_sum = (
                        second_sum
                        + g * load(scratch.harmonics_tangent, at)
                        + dg * load(scratch.harmonics, at)
                    )
                    at += N_LANES
                    third_sum = (
                        third_sum
                        + g * load(scratch.harmonics_tangent, at)
                        + dg * load(scratch.harmonics, at)
                    )
                    at += N_LANES
                    fourth_sum = (
                        fourth_sum
                        + g * load(scratch.harmonics_tangent, at)
                        + dg * load(scratch.harmonics, at)
                    )
                add_lane_sums(tangent, n * h_pad + m, first_sum, second_sum, third_sum, fourth_sum)
        for index in range(0, z.n_angular * h_pad, N_LANES):
            store(saved.sums_slope, s_at + index, load(tangent, index))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def atom_gradients(  # type: ignore[no-untyped-def]
    features, sizes, tables, network, saved, scratch, gradient, first, last, place, energy_slope
):
    """Add the gradient of ``energy_slope * E_i + dE_i/d(R, A) . (R', A')_i`` of some atoms.

    With the tangents held fixed; the part with c in front of them is in :func:`pair_tangents`.
    """
    z = sizes
    d_pad, n_pad, h_pad = z.descriptors_pad, z.neurons_pad, z.harmonics_pad
    row = (z.n_radial + N_LANES - 1) // N_LANES * N_LANES
    s, ds, dq = saved.sums, saved.sums_slope, saved.q_tangent
    by_z = scratch.neuron  # dPhi/dz
    by_dz = scratch.neuron[n_pad:]  # dPhi/d(z tangent)
    by_q = scratch.descriptor
    two = s.dtype.type(2.0)
    one_lane, zero = filled(s, 1.0), filled(s, 0.0)
    weight = filled(s, energy_slope)
    for i in range(first, last):
        t = features.atom_type[i]
        b = place + i - first
        q_at = b * d_pad
        s_at = b * z.n_angular * h_pad

        # Tangents of the angular descriptors.
        for n in range(z.n_angular):
            at = s_at + n * h_pad
            q_n = q_at + z.n_radial + n
            for l in range(1, z.l_max + 1):
                value = tables.weights[l * l - 1] * s[at + l * l - 1] * ds[at + l * l - 1]
                for m in range(l * l, (l + 1) * (l + 1) - 1):
                    value += tables.weights[m] * s[at + m] * ds[at + m]
                dq[q_n] = two * value
                q_n += z.n_angular
            if z.has_q_222:
                slopes = _gradient_222(tables.q_222, s, at + 3)
                value = slopes[0] * ds[at + 3]
                for m in range(1, 5):
                    value += slopes[m] * ds[at + 3 + m]
                dq[q_n] = value
                q_n += z.n_angular
            if z.has_q_1111:
                norm = s[at] * s[at] + s[at + 1] * s[at + 1] + s[at + 2] * s[at + 2]
                dot = s[at] * ds[at] + s[at + 1] * ds[at + 1] + s[at + 2] * ds[at + 2]
                dq[q_n] = two * two * tables.q_1111[0] * norm * dot

        # Network.
        for block in range(0, n_pad, N_LANES):
            dz = zero
            for d in range(z.n_descriptors):
                column = load(network.w0_columns, (t * z.n_descriptors + d) * n_pad + block)
                dz = dz + spread(dq, q_at + d) * column
            tau = load(saved.neurons, b * n_pad + block)
            rest = one_lane - tau * tau
            slope = load(network.w1, t * n_pad + block) * rest
            store(by_dz, block, slope)
            change = weight * slope - (tau + tau) * slope * dz
            store(by_z, block, change)
            at = t * n_pad + block
            store(gradient.w1, at, load(gradient.w1, at) + weight * tau + rest * dz)
            store(gradient.b0, at, load(gradient.b0, at) - change)
        for block in range(0, d_pad, N_LANES):
            q = load(saved.q, q_at + block)
            q_tangent = load(dq, q_at + block)
            value = zero
            for h in range(z.n_neurons):
                at = (t * z.n_neurons + h) * d_pad + block
                change = spread(by_z, h)
                value = value + change * load(network.w0, at)
                outer = load(gradient.w0, at) + change * q + spread(by_dz, h) * q_tangent
                store(gradient.w0, at, outer)
            store(by_q, block, value)

        # dPhi/ds replaces s, which is not needed any more.
        for n in range(z.n_angular):
            at = s_at + n * h_pad
            q_n = z.n_radial + n
            slopes_222 = (
                _gradient_222(tables.q_222, s, at + 3) if z.has_q_222 else (two, two, two, two, two)
            )
            curved_222 = (
                _curvature_222(tables.q_222, s, at + 3, ds, at + 3) if (z.has_q_222) else slopes_222
            )
            norm, dot = two, two
            s0, s1, s2 = two, two, two
            if z.has_q_1111:
                s0, s1, s2 = s[at], s[at + 1], s[at + 2]
                norm = s0 * s0 + s1 * s1 + s2 * s2
                dot = s0 * ds[at] + s1 * ds[at + 1] + s2 * ds[at + 2]
            for l in range(1, z.l_max + 1):
                first_factor = two * by_q[q_n]
                second_factor = two * saved.q_slope[q_at + q_n]
                for m in range(l * l - 1, (l + 1) * (l + 1) - 1):
                    s[at + m] = tables.weights[m] * (
                        first_factor * s[at + m] + second_factor * ds[at + m]
                    )
                q_n += z.n_angular
            if z.has_q_222:
                for m in range(5):
                    s[at + 3 + m] += (
                        by_q[q_n] * slopes_222[m] + saved.q_slope[q_at + q_n] * curved_222[m]
                    )
                q_n += z.n_angular
            if z.has_q_1111:
                four = two * two * tables.q_1111[0]
                own = four * (by_q[q_n] * norm + two * saved.q_slope[q_at + q_n] * dot)
                other = four * saved.q_slope[q_at + q_n] * norm
                s[at] += own * s0 + other * ds[at]
                s[at + 1] += own * s1 + other * ds[at + 1]
                s[at + 2] += own * s2 + other * ds[at + 2]

        # c: dPhi/dq . R and dPhi/ds . A.
        for slot in range(features.slot_start[i], features.slot_start[i + 1]):
            pair = t * z.n_types + features.slot_type[slot]
            for block in range(0, row, N_LANES):
                slopes = load(by_q, block)
                for k in range(z.k_radial):
                    at = (pair * z.k_radial + k) * row + block
                    value = spread(features.radial_sums, slot * z.k_radial + k) * slopes
                    store(
                        gradient.c_radial_columns, at, load(gradient.c_radial_columns, at) + value
                    )
            for n in range(z.n_angular):
                for k in range(z.k_angular):
                    at = ((pair * z.n_angular + n) * z.k_angular + k) * N_LANES
                    value = load(gradient.c_angular, at)
                    for block in range(0, h_pad, N_LANES):
                        sums = load(features.angular_sums, (slot * z.k_angular + k) * h_pad + block)
                        value = value + load(s, s_at + n * h_pad + block) * sums
                    store(gradient.c_angular, at, value)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def predict_structures(  # type: ignore[no-untyped-def]
    features,
    sizes,
    tables,
    network,
    saved,
    scratch,
    selected,
    start,
    stop,
    atom_place,
    block_place,
    energies,
    forces,
    virials,
):
    """Write energies, forces and virials of ``selected[start:stop]``; save what a gradient needs.

    ``atom_place`` and ``block_place`` give the first atom and the first angular block of every
    selected structure in the batch. Forces are three rows x, y, z per structure, at three times
    its first atom; virials have six components.
    """
    for index in range(start, stop):
        first = features.atom_start[selected[index]]
        last = features.atom_start[selected[index] + 1]
        place = atom_place[index]
        energy = atom_energies(features, sizes, tables, network, saved, scratch, first, last, place)
        energies[index] = energy - (last - first) * network.b1[0]
        forces[3 * place : 3 * (place + last - first)] = 0.0
        pair_forces(
            features,
            sizes,
            tables,
            network,
            saved,
            scratch,
            first,
            last,
            place,
            block_place[index],
            forces,
            3 * place,
            virials,
            6 * index,
        )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_gradients(  # type: ignore[no-untyped-def]
    features,
    sizes,
    tables,
    network,
    saved,
    scratch,
    selected,
    start,
    stop,
    atom_place,
    block_place,
    energy_slopes,
    force_slopes,
    virial_slopes,
    q_scaler,
    gradient,
    total,
):
    """Add to ``total``, shape (P,), the gradient of L over ``selected[start:stop]``.

    The slopes dL/dE, dL/dF and dL/dW have the shapes of the results of
    :func:`predict_structures`, which must have run before on the same batch.
    """
    n_pending = 0
    for index in range(start, stop):
        first = features.atom_start[selected[index]]
        last = features.atom_start[selected[index] + 1]
        place = atom_place[index]
        pair_tangents(
            features,
            sizes,
            tables,
            network,
            saved,
            scratch,
            gradient,
            first,
            last,
            place,
            block_place[index],
            force_slopes,
            3 * place,
            virial_slopes,
            6 * index,
        )
        atom_gradients(
            features,
            sizes,
            tables,
            network,
            saved,
            scratch,
            gradient,
            first,
            last,
            place,
            energy_slopes[index],
        )
        total[sizes.n_types * sizes.n_neurons * (sizes.n_descriptors + 2)] -= (
            last - first
        ) * energy_slopes[index]
        n_pending += last - first
        if n_pending >= 64:  # short float32 sums
            move_gradient(gradient, q_scaler, sizes, total)
            n_pending = 0
    move_gradient(gradient, q_scaler, sizes, total)


__all__ = [
    "VIRIAL_COMPONENTS",
    "Features",
    "Saved",
    "Scratch",
    "add_gradients",
    "empty_saved",
    "empty_scratch",
    "predict_structures",
]
