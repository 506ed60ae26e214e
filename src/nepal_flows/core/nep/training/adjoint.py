r"""Second pass of training: the exact gradient of any function of energies, forces and virials.

With the slopes dL/dE, dL/dF and dL/dW of the loss,

.. math:: \lambda_{ij} = \frac{dL}{dF_i} - \frac{dL}{dF_j} - \frac{dL}{dW} r_{ij}

is carried to the tangent (R', A') of every atom's sums over neighbours: the adjoint of the first
pass. The gradient of :math:`\sum_i (dL/dE)\, E_i + dE_i/d(R, A) \cdot (R', A')_i` with the
tangents held fixed, taken in closed form, is that of L with respect to every parameter.

Sums over at most some 64 atoms are in the precision of the arrays, longer ones in float64.
"""

import numba

from nepal_flows.core.nep.training.lanes import (
    N_LANES,
    filled,
    lane_sum,
    load,
    spread,
    store,
)
from nepal_flows.core.nep.training.layout import move_gradient
from nepal_flows.core.nep.training.pair_tangents import pair_tangents
from nepal_flows.core.nep.training.vectors import (
    curvature_222,
    gradient_222,
)


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
                total = zero
                for block in range((l * l - 1) // N_LANES * N_LANES, l * (l + 2), N_LANES):
                    product = load(s, at + block) * load(ds, at + block)
                    total = total + load(tables.weights, (l - 1) * h_pad + block) * product
                dq[q_n] = two * lane_sum(total)
                q_n += z.n_angular
            if z.has_q_222:
                slopes = gradient_222(tables.q_222, s, at + 3)
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
                gradient_222(tables.q_222, s, at + 3) if z.has_q_222 else (two, two, two, two, two)
            )
            curved_222 = (
                curvature_222(tables.q_222, s, at + 3, ds, at + 3) if (z.has_q_222) else slopes_222
            )
            norm, dot = two, two
            s0, s1, s2 = two, two, two
            if z.has_q_1111:
                s0, s1, s2 = s[at], s[at + 1], s[at + 2]
                norm = s0 * s0 + s1 * s1 + s2 * s2
                dot = s0 * ds[at] + s1 * ds[at + 1] + s2 * ds[at + 2]
            for block in range(0, h_pad, N_LANES):
                own_factor, other_factor = zero, zero
                for l in range(z.l_max):
                    weights = load(tables.weights, l * h_pad + block)
                    q_l = q_n + l * z.n_angular
                    own_factor = own_factor + spread(by_q, q_l) * weights
                    other_factor = other_factor + spread(saved.q_slope, q_at + q_l) * weights
                value = load(s, at + block) * own_factor + load(ds, at + block) * other_factor
                store(s, at + block, value + value)
            q_n += z.l_max * z.n_angular
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


__all__ = ["add_gradients"]
