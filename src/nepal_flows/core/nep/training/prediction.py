r"""First pass of training: energies, forces and virials, and what their gradient will need.

For every atom the gradient g = dE/d(R, A) of its energy with respect to its sums over neighbours;
from it the pair forces :math:`p_{ij} = dE_i/dr_{ij}`, hence :math:`F_i \mathrel{+}= p_{ij}`,
:math:`F_j \mathrel{-}= p_{ij}` and the virial :math:`W \mathrel{-}= r_{ij} \otimes p_{ij}`.

Arithmetic is in the precision of the arrays that come in (float32 for speed, float64 for checks);
energies are summed over atoms in float64. The loops are long because every function is a single
pass over memory; their parts are marked.
"""

import numba

from nepal_flows.core.nep.training.features import ANGULAR_CHANNELS, RADIAL_CHANNELS
from nepal_flows.core.nep.training.lanes import (
    N_LANES,
    filled,
    lane_sum,
    load,
    spread,
    store,
)
from nepal_flows.core.nep.training.vectors import (
    fill_chebyshev,
    fill_harmonics,
    gradient_222,
    replace_by_tanh,
)

VIRIAL_COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))
"""Order of the six components of a virial: xx yy zz xy yz zx."""


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
                total = filled(q, 0.0)
                for block in range((l * l - 1) // N_LANES * N_LANES, l * (l + 2), N_LANES):
                    value = load(s, at + block)
                    total = total + load(tables.weights, (l - 1) * h_pad + block) * value * value
                q[q_n] = lane_sum(total)
                q_n += z.n_angular
            if z.has_q_222:
                gradient = gradient_222(tables.q_222, s, at + 3)
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
        replace_by_tanh(tau, n_pad)
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
            for block in range(0, h_pad, N_LANES):
                factor = filled(q, 0.0)
                for l in range(z.l_max):
                    weights = load(tables.weights, l * h_pad + block)
                    factor = factor + spread(saved.q_slope, q_n + l * z.n_angular) * weights
                value = load(s, at + block)
                store(gs, at + block, (value + value) * factor)
            q_n += z.l_max * z.n_angular
            if z.has_q_222:
                gradient = gradient_222(tables.q_222, s, at + 3)
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
                    fill_chebyshev(load(features.angular_pairs, at_angular), z.k_angular, scratch)
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
                    fill_harmonics(ux, uy, uz, z, tables, scratch, 0)
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


__all__ = ["VIRIAL_COMPONENTS", "predict_structures"]
