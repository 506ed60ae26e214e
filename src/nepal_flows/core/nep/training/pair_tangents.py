"""Tangents of the sums over neighbours: first half of the second pass of training (`adjoint`)."""

import numba

from nepal_flows.core.nep.training.features import ANGULAR_CHANNELS, RADIAL_CHANNELS
from nepal_flows.core.nep.training.lanes import (
    N_LANES,
    add_lane_sums,
    filled,
    gather,
    lane_sum,
    load,
    spread,
    store,
)
from nepal_flows.core.nep.training.vectors import (
    fill_chebyshev,
    fill_harmonics,
    fill_harmonics_tangent,
)


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
                fill_harmonics(ux, uy, uz, z, tables, scratch, out)
                fill_harmonics_tangent(
                    (lx - along * ux) * inverse_r,
                    (ly - along * uy) * inverse_r,
                    (lz - along * uz) * inverse_r,
                    z,
                    tables,
                    scratch,
                    out,
                )
                # dE/ds . dA'/dc: lanes are summed when the gradient is moved.
                fill_chebyshev(load(features.angular_pairs, at), z.k_angular, scratch)
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


__all__ = ["pair_tangents"]
