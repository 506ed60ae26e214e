r"""How descriptors change with positions, pair by pair.

For a central atom a and a neighbour j the three rows
:math:`J_{aj,c} = \partial y_a / \partial r_{aj,c}` are written, y scaled, padded with
numbers without meaning to whole vectors. Rows come in blocks of 24: component c of lane k is row
``8 c + k`` of its block. The last block of an atom holds sums over its neighbours: lane 0 is
:math:`-\sum_j J_{aj}`, the pull on the atom itself; lanes 1 and 2 are
:math:`\sum_j J_{aj,\alpha} r_{aj,\beta}` for the strains xx, yy, zz and xy, yz, zx.
"""

from typing import NamedTuple

import numpy as np

from nepal_flows.core.nep.arrays import (
    ARGUMENT,
    CUT_ARGUMENT_SLOPE,
    CUT_SLOPE,
    INVERSE_R,
    TYPE,
    R,
    X,
    Y,
    Z,
)
from nepal_flows.core.nep.backward import invariants_backward
from nepal_flows.core.nep.basis import Z_SLOPE
from nepal_flows.core.nep.forward import only_type
from nepal_flows.core.simd import inner, outer, total
from nepal_flows.core.simd_memory import WIDTH, empty_vectors, load, shaped, splat, store, transpose
from nepal_flows.typing import FloatArray

BLOCK_ROWS = 3 * WIDTH
"""Rows of a block."""


class Work(NamedTuple):
    """Working memory of one thread; depth is the number of descriptors, rounded up."""

    kept: FloatArray  # (M, n / 8, 8): sums s
    change: FloatArray  # (kinds, M, n / 8, 8): slopes of the invariants in s
    change_flat: FloatArray  # (kinds, M, n): the same memory
    gradients: FloatArray  # (M, 3, 8): of the harmonics of a block
    slopes: FloatArray  # (k, 8): slopes of the radial functions of a block
    pair: FloatArray  # (depth, 3, 8): J of a block, pairs in lanes
    sums: FloatArray  # (9, depth, 8): over the neighbours


@outer
def jacobian_work(arrays, is_wanted):  # type: ignore[no-untyped-def]
    """Return an array, to be kept while the second, a :class:`Work`, is used."""
    if not is_wanted:
        return _work(np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0))
    n_kinds = arrays.l_max + int(arrays.has_q_222) + int(arrays.has_q_1111)
    components = (arrays.l_max * (arrays.l_max + 2) + WIDTH - 1) // WIDTH * WIDTH
    tiles = (arrays.n_angular + WIDTH - 1) // WIDTH
    depth = arrays.w0_by_descriptor.shape[2] * WIDTH
    return _work(n_kinds, components, tiles, arrays.c_radial_by_k.shape[2], depth)


@inner
def _work(n_kinds, components, tiles, n_radial, depth):  # type: ignore[no-untyped-def]
    room = empty_vectors(
        (n_kinds + 1) * components * tiles + 3 * components + n_radial + 12 * depth
    )
    kept = shaped(room, 0, components, tiles, WIDTH)
    at = components * tiles * WIDTH
    change = shaped(room, at, n_kinds, components, tiles, WIDTH)
    change_flat = shaped(room, at, n_kinds, components, tiles * WIDTH)
    at += n_kinds * components * tiles * WIDTH
    gradients = shaped(room, at, components, 3, WIDTH)
    at += 3 * components * WIDTH
    slopes = shaped(room, at, n_radial, WIDTH)
    at += n_radial * WIDTH
    pair = shaped(room, at, depth, 3, WIDTH)
    at += 3 * depth * WIDTH
    sums = shaped(room, at, 9, depth, WIDTH)
    return room, Work(kept, change, change_flat, gradients, slopes, pair, sums)


@outer
def jacobian_rows(  # type: ignore[no-untyped-def]
    arrays, scratch, work, i, nobody, central, n_near, first_far, begin, rows, lanes
):
    """Write the blocks of atom i from block `begin` on; return the block after the last one."""
    n_kinds = arrays.l_max + int(arrays.has_q_222) + int(arrays.has_q_1111)
    n_blocks = scratch.lane.shape[1]
    pair, sums = work.pair, work.sums
    if n_near > 0:
        _invariant_slopes(arrays, scratch, work.kept, work.change, n_kinds)
    for row in range(9):
        for d in range(sums.shape[1]):
            store(0.0, sums, row, d)
    for count in range(n_near + n_blocks - first_far):
        block = count if count < n_near else count - n_near + first_far
        _radial_rows(arrays, scratch, central, block, work.slopes, pair)
        if block < n_near:
            _angular_rows(arrays, scratch, block, n_kinds, work.change_flat, work.gradients, pair)
        else:
            for d in range(arrays.n_radial, arrays.n_descriptors):
                for c in range(3):
                    store(0.0, pair, d, c)
        _add_sums(scratch, block, arrays.n_descriptors, pair, sums)
        for tile in range(rows.shape[1]):
            for c in range(3):
                transpose(pair, tile * WIDTH, c, rows, begin * BLOCK_ROWS + c * WIDTH, tile)
        for k in range(WIDTH):
            lanes[begin * WIDTH + k] = scratch.neighbour[block * WIDTH + k]
        begin += 1
    top = begin * BLOCK_ROWS
    for c in range(3):
        for d in range(arrays.n_descriptors):
            at, k = d // WIDTH, d % WIDTH
            rows[top + c * WIDTH, at, k] = -total(load(sums, c, d))
            for part in range(1, 3):
                rows[top + c * WIDTH + part, at, k] = total(load(sums, 3 * part + c, d))
    for k in range(WIDTH):
        lanes[begin * WIDTH + k] = nobody
    lanes[begin * WIDTH] = i
    return begin + 1


@inner
def _invariant_slopes(arrays, scratch, kept, change, n_kinds):  # type: ignore[no-untyped-def]
    """Write the slope of every invariant in the sums s, one kind of invariant at a time."""
    s, factor = scratch.s, scratch.invariants
    for tile in range(s.shape[1]):
        for lm in range(s.shape[0]):
            store(load(s, lm, tile), kept, lm, tile)
        for kind in range(n_kinds):
            for other in range(n_kinds):
                store(1.0 if other == kind else 0.0, factor, other, tile)
            for lm in range(s.shape[0]):
                store(load(kept, lm, tile), s, lm, tile)
            invariants_backward(arrays, scratch, tile)
            for lm in range(s.shape[0]):
                store(load(s, lm, tile), change, kind, lm, tile)


@inner
def _radial_rows(arrays, scratch, central, block, slopes, pair):  # type: ignore[no-untyped-def]
    """Write the change of the radial descriptors with the pairs of a block."""
    lane, radial, c = scratch.lane, scratch.radial, arrays.c_radial_by_n
    n_k = arrays.c_radial_by_k.shape[2]
    x = load(radial, ARGUMENT, block)
    cut, argument = load(radial, CUT_SLOPE, block), load(radial, CUT_ARGUMENT_SLOPE, block)
    store(cut, slopes, 0)
    before, now = splat(1.0), x
    second_before, second = splat(0.0), splat(1.0)
    for k in range(1, n_k):
        store(cut * now + argument * (float(k) * second), slopes, k)
        before, now = now, 2.0 * x * now - before
        second_before, second = second, 2.0 * x * second - second_before
    kind = load(lane, TYPE, block)
    first, last = scratch.first_type[block], scratch.last_type[block]
    ux, uy, uz = load(lane, X, block), load(lane, Y, block), load(lane, Z, block)
    for n in range(arrays.n_radial):
        along = splat(0.0)
        for t in range(first, last + 1):
            here = splat(0.0)
            for k in range(n_k):
                here = here + c[central, t, n, k // WIDTH, k % WIDTH] * load(slopes, k)
            along = along + (here if first == last else only_type(kind, float(t), here))
        along = arrays.q_scaler[n] * along
        store(along * ux, pair, n, 0)
        store(along * uy, pair, n, 1)
        store(along * uz, pair, n, 2)


@inner
def _angular_rows(  # type: ignore[no-untyped-def]
    arrays, scratch, block, n_kinds, change, gradients, pair
):
    """Write the change of the angular descriptors with the pairs of a block."""
    lane, z_lm, xy, harmonics = scratch.lane, scratch.z, scratch.xy, scratch.harmonics
    l_max, n_angular = arrays.l_max, arrays.n_angular
    for l in range(1, l_max + 1):
        store(0.0, gradients, l * l - 1, 0)
        store(0.0, gradients, l * l - 1, 1)
        slope = Z_SLOPE[l, 0] * load(z_lm, l * (l_max + 1) + 1, block)
        store(slope, gradients, l * l - 1, 2)
        for m in range(1, l + 1):
            lm = l * l - 2 + 2 * m
            z = float(m) * load(z_lm, l * (l_max + 1) + m, block)
            x_below, y_below = load(xy, 2 * m - 2, block), load(xy, 2 * m - 1, block)
            store(z * x_below, gradients, lm, 0)
            store(0.0 - z * y_below, gradients, lm, 1)
            store(z * y_below, gradients, lm + 1, 0)
            store(z * x_below, gradients, lm + 1, 1)
            slope = splat(0.0)
            if l > m:
                slope = slope + Z_SLOPE[l, m] * load(z_lm, l * (l_max + 1) + m + 1, block)
            store(slope * load(xy, 2 * m, block), gradients, lm, 2)
            store(slope * load(xy, 2 * m + 1, block), gradients, lm + 1, 2)
    ux, uy, uz = load(lane, X, block), load(lane, Y, block), load(lane, Z, block)
    inverse = load(lane, INVERSE_R, block)
    for kind in range(n_kinds):
        first, last = np.int64(0), np.int64(3)
        if kind < l_max:
            first, last = np.int64(kind * (kind + 2)), np.int64((kind + 1) * (kind + 3))
        elif kind == l_max and arrays.has_q_222:
            first, last = np.int64(3), np.int64(8)
        for n in range(n_angular):
            value, gx, gy, gz = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for lm in range(first, last):
                factor = change[kind, lm, n]
                value = value + factor * load(harmonics, lm, block)
                gx = gx + factor * load(gradients, lm, 0)
                gy = gy + factor * load(gradients, lm, 1)
                gz = gz + factor * load(gradients, lm, 2)
            d = arrays.n_radial + kind * n_angular + n
            scale = arrays.q_scaler[d]
            g = scale * load(scratch.g, n, block) * inverse
            inward = ux * gx + uy * gy + uz * gz
            along = scale * load(scratch.g_slope, n, block) * value - g * inward
            store(along * ux + g * gx, pair, d, 0)
            store(along * uy + g * gy, pair, d, 1)
            store(along * uz + g * gz, pair, d, 2)


@inner
def _add_sums(scratch, block, n_descriptors, pair, sums):  # type: ignore[no-untyped-def]
    """Add the pairs of a block to the nine sums over neighbours."""
    lane = scratch.lane
    r = load(lane, R, block)
    x, y, z = r * load(lane, X, block), r * load(lane, Y, block), r * load(lane, Z, block)
    for d in range(n_descriptors):
        jx, jy, jz = load(pair, d, 0), load(pair, d, 1), load(pair, d, 2)
        store(load(sums, 0, d) + jx, sums, 0, d)
        store(load(sums, 1, d) + jy, sums, 1, d)
        store(load(sums, 2, d) + jz, sums, 2, d)
        store(load(sums, 3, d) + x * jx, sums, 3, d)
        store(load(sums, 4, d) + y * jy, sums, 4, d)
        store(load(sums, 5, d) + z * jz, sums, 5, d)
        store(load(sums, 6, d) + x * jy, sums, 6, d)
        store(load(sums, 7, d) + y * jz, sums, 7, d)
        store(load(sums, 8, d) + x * jz, sums, 8, d)


__all__ = ["BLOCK_ROWS", "jacobian_rows", "jacobian_work"]
