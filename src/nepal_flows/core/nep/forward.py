"""From neighbours to descriptors, one atom at a time, eight neighbours at a time.

The neighbours inside their cutoffs are gathered into blocks of eight. Radial sums
:math:`R_{tk} = \\sum_j T_k f_c` and angular sums :math:`s_{n,lm} = \\sum_j g_n b_{lm}` give the
descriptors q. Radial functions are used as plain Chebyshev polynomials times the cutoff function
(see `PotentialArrays`), so that the radial coefficients of a central atom are folded once, not for
every pair.
"""

import math

import numpy as np

from nepal_flows.core.nep.arrays import (
    ANGULAR_SQUARE,
    ARGUMENT,
    CUT_ARGUMENT_SLOPE,
    CUT_SLOPE,
    INVERSE_ANGULAR,
    INVERSE_R,
    INVERSE_RADIAL,
    LARGEST_SQUARE,
    TYPE,
    R,
    X,
    Y,
    Z,
)
from nepal_flows.core.nep.basis import (
    HARMONIC_WEIGHTS,
    Q_222_COEFFICIENTS,
    Q_1111_COEFFICIENT,
    Z_DOWN,
    Z_UP,
)
from nepal_flows.core.simd import (
    below,
    inner,
    least,
    most,
    smaller,
    square_of_three,
    square_root,
    total,
    vector_of,
)
from nepal_flows.core.simd_memory import (
    WIDTH,
    load,
    load_eight,
    load_four,
    splat,
    spread_fours,
    store,
    store_four,
    transpose,
)


@inner
def gather(arrays, scratch, i, types, xyz, images, offsets, indices, shift_index):  # type: ignore[no-untyped-def]
    """Collect the neighbours of atom i that are inside their cutoffs, a four each.

    ``xyz`` holds a four (x, y, z, type) of every atom, ``images`` one (x, y, z, 0) of every
    translation.

    Returns
    -------
    tuple of int
        Blocks with angular neighbours (from the front) and first block of the others.
    """
    fours, squares, neighbour = scratch.fours, scratch.squares, scratch.neighbour
    cutoffs = arrays.pair_cutoffs
    n_types = cutoffs.shape[0]
    front = np.uint64(0)
    back = np.uint64(neighbour.shape[0] - 1)
    central = np.uint64(types[i])
    here = vector_of(xyz[4 * i], xyz[4 * i + 1], xyz[4 * i + 2], 0.0)
    angular_square = cutoffs[central, 0, ANGULAR_SQUARE]
    largest_square = cutoffs[central, 0, LARGEST_SQUARE]
    for pair in range(np.uint64(offsets[i]), np.uint64(offsets[i + 1])):
        j = np.uint64(indices[pair])
        image = load_four(images, np.uint64(4) * np.uint64(shift_index[pair]))
        four = (load_four(xyz, np.uint64(4) * j) - here) + image
        square = square_of_three(four)
        if n_types > 1:
            t = np.uint64(types[j])
            angular_square = cutoffs[central, t, ANGULAR_SQUARE]
            largest_square = cutoffs[central, t, LARGEST_SQUARE]
        # Written in any case and kept by moving a cursor: there is no branch to mispredict.
        near = np.uint64(square < angular_square)
        place = back + near * (front - back)
        store_four(fours, np.uint64(4) * place, four)
        squares[place] = square
        neighbour[place] = j
        front += near
        back -= np.uint64(square < largest_square) - near
    n_near = np.int64((front + np.uint64(WIDTH - 1)) // np.uint64(WIDTH))
    first_far = np.int64((back + np.uint64(1)) // np.uint64(WIDTH))
    # Empty lanes are neighbours beyond every cutoff, of the type of the last one.
    nobody = np.int32(len(types))
    outside = 2.0 * arrays.largest_cutoff
    for empty in range(np.int64(front), n_near * WIDTH):
        store_four(fours, 4 * empty, vector_of(outside, 0.0, 0.0, fours[4 * empty - 1]))
        squares[empty], neighbour[empty] = outside * outside, nobody
    for empty in range(np.int64(back), first_far * WIDTH - 1, -1):
        store_four(fours, 4 * empty, vector_of(outside, 0.0, 0.0, fours[4 * empty + 7]))
        squares[empty], neighbour[empty] = outside * outside, nobody
    return n_near, first_far


@inner
def fill_block(arrays, scratch, block, with_directions):  # type: ignore[no-untyped-def]
    """Turn eight fours into lanes; find the range of types; normalise the vectors if asked."""
    lane = scratch.lane
    spread_fours(scratch.fours, 4 * WIDTH * block, lane, X, block)
    r = square_root(load_eight(scratch.squares, WIDTH * block))
    store(r, lane, R, block)
    if with_directions:
        inverse = 1.0 / r
        store(inverse, lane, INVERSE_R, block)
        for c in range(3):
            store(load(lane, c, block) * inverse, lane, c, block)
    first = last = 0.0
    if arrays.pair_cutoffs.shape[0] > 1:
        kind = load(lane, TYPE, block)
        first, last = least(kind), most(kind)
    scratch.first_type[block] = np.int32(first)
    scratch.last_type[block] = np.int32(last)


@inner
def inverse_cutoff(arrays, scratch, central, block, column):  # type: ignore[no-untyped-def]
    """Return the inverse cutoff of the neighbours in a block."""
    cutoffs = arrays.pair_cutoffs
    kind = load(scratch.lane, TYPE, block)
    first = scratch.first_type[block]
    inverse = splat(cutoffs[central, first, column])
    for t in range(first + 1, scratch.last_type[block] + 1):
        inverse = below(float(t) - 0.5, kind, cutoffs[central, t, column], inverse)
    return inverse


@inner
def cosine_cutoff(r, inverse_cutoff):  # type: ignore[no-untyped-def]
    """Return f_c, its slope, the Chebyshev argument and f_c times the slope of the argument."""
    u = r * inverse_cutoff
    # cos(pi u / 2) = (S + C) / sqrt(2) with S, C = sin, cos(pi w), |pi w| <= pi / 4.
    w = math.pi * (0.25 - 0.5 * smaller(u, 1.0))
    w2 = w * w
    sine = 1.0 / 6227020800.0 - w2 * (1.0 / 1307674368000.0)
    sine = 1.0 / 39916800.0 - w2 * sine
    sine = 1.0 / 362880.0 - w2 * sine
    sine = 1.0 / 5040.0 - w2 * sine
    sine = 1.0 / 120.0 - w2 * sine
    sine = 1.0 / 6.0 - w2 * sine
    sine = w - w * w2 * sine
    cosine = 1.0 / 87178291200.0 - w2 * (1.0 / 20922789888000.0)
    cosine = 1.0 / 479001600.0 - w2 * cosine
    cosine = 1.0 / 3628800.0 - w2 * cosine
    cosine = 1.0 / 40320.0 - w2 * cosine
    cosine = 1.0 / 720.0 - w2 * cosine
    cosine = 1.0 / 24.0 - w2 * cosine
    cosine = 0.5 - w2 * cosine
    cosine = 1.0 - w2 * cosine
    half = below(u, 1.0, sine + cosine, 0.0)
    fc = 0.5 * half * half
    slope = (-0.5 * math.pi) * inverse_cutoff * half * (cosine - sine)
    away = u - 1.0
    return fc, slope, 2.0 * away * away - 1.0, 4.0 * inverse_cutoff * away * fc


@inner
def only_type(kind, t, value):  # type: ignore[no-untyped-def]
    """Return the value in lanes of neighbours of type t, and 0 elsewhere."""
    return below(t - 0.5, kind, below(kind, t + 0.5, value, 0.0), 0.0)


@inner
def radial_forward(arrays, scratch, central, n_near, first_far, with_slopes):  # type: ignore[no-untyped-def]
    """Write the radial descriptors of one atom to ``scratch.q``; keep what their slopes need."""
    lane, radial, sums = scratch.lane, scratch.radial, scratch.radial_sums
    n_types, n_k = sums.shape[0], sums.shape[1]
    n_blocks = lane.shape[1]
    for t in range(n_types):
        for k in range(n_k):
            store(0.0, sums, t, k)
    for count in range(n_near + n_blocks - first_far):
        block = count if count < n_near else count - n_near + first_far
        fill_block(arrays, scratch, block, with_slopes or block < n_near)
        inverse = inverse_cutoff(arrays, scratch, central, block, INVERSE_RADIAL)
        fc, slope, x, dx = cosine_cutoff(load(lane, R, block), inverse)
        if with_slopes:
            store(x, radial, ARGUMENT, block)
            store(slope, radial, CUT_SLOPE, block)
            store(dx, radial, CUT_ARGUMENT_SLOPE, block)
        kind = load(lane, TYPE, block)
        first, last = scratch.first_type[block], scratch.last_type[block]
        for t in range(first, last + 1):
            weight = fc if first == last else only_type(kind, float(t), fc)
            store(load(sums, t, 0) + weight, sums, t, 0)
            before, now = weight, x * weight
            for k in range(1, n_k):
                store(load(sums, t, k) + now, sums, t, k)
                before, now = now, 2.0 * x * now - before
    totals, c = scratch.radial_totals, arrays.c_radial_by_k
    for t in range(n_types):
        for k in range(n_k):
            totals[t, k] = total(load(sums, t, k))
    for tile in range(c.shape[3]):
        q = splat(0.0)
        for t in range(n_types):
            for k in range(n_k):
                q = q + totals[t, k] * load(c, central, t, k, tile)
        store(q, scratch.q, tile)


@inner
def angular_block(arrays, scratch, central, block, with_slopes):  # type: ignore[no-untyped-def]
    """Write the angular radial functions (their slopes too, if asked) and harmonics of a block."""
    lane, chebyshev = scratch.lane, scratch.chebyshev
    g, g_slope, z_lm, xy = scratch.g, scratch.g_slope, scratch.z, scratch.xy
    c = arrays.c_angular
    n_k = c.shape[3]
    inverse = inverse_cutoff(arrays, scratch, central, block, INVERSE_ANGULAR)
    fc, slope, x, dx = cosine_cutoff(load(lane, R, block), inverse)
    kind = load(lane, TYPE, block)
    n_angular = arrays.n_angular
    # T_k in the first rows, dT_k/dx = k U_(k-1) in the others.
    before, now = splat(1.0), x
    for k in range(1, n_k):
        store(now, chebyshev, k)
        before, now = now, 2.0 * x * now - before
    if with_slopes:
        before, now = splat(0.0), splat(1.0)
        for k in range(1, n_k):
            store(float(k) * now, chebyshev, n_k + k)
            before, now = now, 2.0 * x * now - before
    first, last = scratch.first_type[block], scratch.last_type[block]
    for t in range(first, last + 1):
        chosen = splat(1.0) if first == last else only_type(kind, float(t), 1.0)
        for n in range(n_angular):
            value, derivative = splat(c[central, t, n, 0]), splat(0.0)
            for k in range(1, n_k):
                value = value + c[central, t, n, k] * load(chebyshev, k)
            if with_slopes:
                for k in range(1, n_k):
                    derivative = derivative + c[central, t, n, k] * load(chebyshev, n_k + k)
                here = chosen * (slope * value + dx * derivative)
                store(here if t == first else here + load(g_slope, n, block), g_slope, n, block)
            here = chosen * (fc * value)
            store(here if t == first else here + load(g, n, block), g, n, block)
    l_max = arrays.l_max
    ux, uy, uz = load(lane, X, block), load(lane, Y, block), load(lane, Z, block)
    out = scratch.harmonics
    z_before, z_now = splat(1.0), uz
    for l in range(1, l_max + 1):
        store(z_now, out, l * l - 1, block)
        if with_slopes:
            store(z_now, z_lm, l * (l_max + 1), block)
        if l < l_max:
            z_before, z_now = z_now, Z_UP[l + 1, 0] * uz * z_now - Z_DOWN[l + 1, 0] * z_before
    if with_slopes:
        store(1.0, xy, 0, block)
        store(0.0, xy, 1, block)
    re, im = ux, uy
    for m in range(1, l_max + 1):
        if with_slopes:
            store(re, xy, 2 * m, block)
            store(im, xy, 2 * m + 1, block)
        z_before, z_now = splat(0.0), splat(1.0)
        for l in range(m, l_max + 1):
            store(z_now * re, out, l * l - 2 + 2 * m, block)
            store(z_now * im, out, l * l - 1 + 2 * m, block)
            if with_slopes:
                store(z_now, z_lm, l * (l_max + 1) + m, block)
            if l < l_max:
                z_before, z_now = z_now, Z_UP[l + 1, m] * uz * z_now - Z_DOWN[l + 1, m] * z_before
        re, im = re * ux - im * uy, re * uy + im * ux
    for tile in range(scratch.s.shape[1]):
        transpose(g, tile * WIDTH, block, scratch.g_columns, block * WIDTH, tile)


@inner
def angular_forward(arrays, scratch, central, n_near, with_slopes):  # type: ignore[no-untyped-def]
    """Write the angular descriptors of one atom to ``scratch.q``."""
    columns, s = scratch.g_columns, scratch.s
    for block in range(n_near):
        angular_block(arrays, scratch, central, block, with_slopes)
    n_lanes = n_near * WIDTH
    rows = scratch.harmonics.shape[0]
    flat = scratch.harmonics_flat
    for tile in range(s.shape[1]):
        for lm in range(0, rows, WIDTH):
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = splat(0.0)
            for j in range(n_lanes):
                g = load(columns, j, tile)
                s0 = s0 + flat[lm, j] * g
                s1 = s1 + flat[lm + 1, j] * g
                s2 = s2 + flat[lm + 2, j] * g
                s3 = s3 + flat[lm + 3, j] * g
                s4 = s4 + flat[lm + 4, j] * g
                s5 = s5 + flat[lm + 5, j] * g
                s6 = s6 + flat[lm + 6, j] * g
                s7 = s7 + flat[lm + 7, j] * g
            store(s0, s, lm, tile)
            store(s1, s, lm + 1, tile)
            store(s2, s, lm + 2, tile)
            store(s3, s, lm + 3, tile)
            store(s4, s, lm + 4, tile)
            store(s5, s, lm + 5, tile)
            store(s6, s, lm + 6, tile)
            store(s7, s, lm + 7, tile)
        invariants_forward(arrays, scratch, tile)
    n_angular = arrays.n_angular
    n_kinds = arrays.l_max + int(arrays.has_q_222) + int(arrays.has_q_1111)
    for kind in range(n_kinds):
        for n in range(n_angular):
            d = arrays.n_radial + kind * n_angular + n
            scratch.q_flat[d] = scratch.invariants_flat[kind, n]


@inner
def invariants_forward(arrays, scratch, tile):  # type: ignore[no-untyped-def]
    """Write the rotational invariants of eight angular functions."""
    s, out = scratch.s, scratch.invariants
    for l in range(1, arrays.l_max + 1):
        value = splat(0.0)
        for lm in range(l * l - 1, l * (l + 2)):
            component = load(s, lm, tile)
            value = value + HARMONIC_WEIGHTS[lm] * component * component
        store(value, out, l - 1, tile)
    kind = arrays.l_max
    if arrays.has_q_222:
        s0, s1, s2 = load(s, 3, tile), load(s, 4, tile), load(s, 5, tile)
        s3, s4 = load(s, 6, tile), load(s, 7, tile)
        a = Q_222_COEFFICIENTS
        value = s0 * (a[0] * s0 * s0 + a[1] * (s1 * s1 + s2 * s2) + a[2] * (s3 * s3 + s4 * s4))
        value = value + a[3] * s3 * (s2 * s2 - s1 * s1) + a[4] * s1 * s2 * s4
        store(value, out, kind, tile)
        kind += 1
    if arrays.has_q_1111:
        s0, s1, s2 = load(s, 0, tile), load(s, 1, tile), load(s, 2, tile)
        square = s0 * s0 + s1 * s1 + s2 * s2
        store(Q_1111_COEFFICIENT * square * square, out, kind, tile)
