"""Sixteen numbers at a time, of flat arrays: vector values for the kernels of training.

Kernels load a vector from a flat, contiguous array, combine it with ``+ - * /`` (see
:mod:`nepal_flows.core.simd`), and store it or sum its lanes. It exists because the loops of a
trainer run over short, padded blocks of neighbours: written with arrays, each of them pays for
bounds, aliasing checks and a remainder that cost more than its arithmetic. LLVM splits the vectors
where the processor has shorter ones.

Everything here is callable from code compiled by numba only. Indices are offsets into the flat
array, in elements, and are not checked.
"""
# ruff: noqa: ARG001 -- the arguments of a lowering function are fixed by Numba

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from nepal_flows.core.simd import (
    Vector,
    as_vector,
    compiled,
    halves,
    larger,
    shuffled,
    smaller,
    total,
    vector_type,
)
from nepal_flows.core.simd_memory import alignment, element_address, flat_access
from nepal_flows.typing import AnyArray

N_LANES = 16
"""Length of a vector."""

lane_sum = total
load, store = flat_access(N_LANES)


@compiled
def spread(typingctx: Any, array: Any, index: Any) -> Any:
    """Return a vector of ``array[index]`` repeated."""
    kind = Vector(array.dtype, N_LANES)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.get_value_type(array.dtype)
        value = builder.load(element_address(context, builder, number, sig.args[0], *args))
        return as_vector(context, builder, value, array.dtype, kind)

    return kind(array, types.intp), code


@compiled
def filled(typingctx: Any, array: Any, value: Any) -> Any:
    """Return a vector of ``value`` repeated, in the precision of ``array``."""
    kind = Vector(array.dtype, N_LANES)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return as_vector(context, builder, args[1], sig.args[1], kind)

    return kind(array, value), code


@compiled
def gather(typingctx: Any, array: Any, offset: Any, indices: Any, start: Any) -> Any:
    """Return ``array[offset + indices[start : start + N_LANES]]``."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = context.get_value_type(sig.return_type)
        whole = ir.VectorType(context.get_value_type(sig.args[2].dtype), N_LANES)
        pointer = element_address(context, builder, whole, sig.args[2], args[2], args[3])
        positions = builder.load(pointer, align=alignment(indices))
        base = element_address(context, builder, lanes.element, sig.args[0], *args[:2])
        value = ir.Constant(lanes, ir.Undefined)
        for lane in range(N_LANES):
            where = ir.IntType(32)(lane)
            item = builder.gep(base, [builder.extract_element(positions, where)])
            value = builder.insert_element(value, builder.load(item), where)
        return value

    return Vector(array.dtype, N_LANES)(array, types.intp, indices, types.intp), code


def _folded(builder: Any, left: Any, right: Any) -> Any:
    """Return the sums of neighbouring lanes of the left vector, then those of the right one."""
    n = left.type.count
    even, odd = (list(range(start, 2 * n, 2)) for start in (0, 1))
    return builder.fadd(shuffled(builder, left, right, even), shuffled(builder, left, right, odd))


@compiled
def add_lane_sums(
    typingctx: Any, array: Any, index: Any, first: Any, second: Any, third: Any, fourth: Any
) -> Any:
    """Add the lane sums of four vectors to ``array[index : index + 4]``."""
    kind = vector_type(first, second, third, fourth)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        quarters = []
        for value, of in zip(args[2:], sig.args[2:], strict=True):
            lanes = as_vector(context, builder, value, of, kind)
            for _ in range(2):
                lanes = builder.fadd(*halves(builder, lanes))
            quarters.append(lanes)
        a, b, c, d = quarters
        sums = _folded(builder, _folded(builder, a, b), _folded(builder, c, d))
        pointer = element_address(context, builder, sums.type, sig.args[0], *args[:2])
        size = alignment(array)
        before = builder.load(pointer, align=size)
        builder.store(builder.fadd(before, sums), pointer, align=size)
        return context.get_dummy_value()

    return types.void(array, types.intp, first, second, third, fourth), code


def aligned_zeros(n: int, dtype: Any) -> AnyArray:
    """Return ``n`` zeros that begin at a cache line, so that no vector straddles two."""
    size = np.dtype(dtype).itemsize
    memory = np.zeros(n * size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n * size].view(dtype)


__all__ = [
    "N_LANES",
    "add_lane_sums",
    "aligned_zeros",
    "filled",
    "gather",
    "lane_sum",
    "larger",
    "load",
    "smaller",
    "spread",
    "store",
]
