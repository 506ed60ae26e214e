"""Sixteen numbers at a time: vector values for compiled kernels.

A :class:`Lanes` value is a vector of :data:`N_LANES` floats that lives in registers. Kernels load
it from a flat, contiguous array, combine it with ``+ - * /``, and store it or sum its lanes. It
exists because the loops of a trainer run over short, padded blocks of neighbours: written with
arrays, each of them pays for bounds, aliasing checks and a remainder that cost more than its
arithmetic. LLVM splits the vectors where the processor has shorter ones.

Everything here is callable from code compiled by numba only. Indices are offsets into the flat
array, in elements, and are not checked.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from nepal_flows.typing import AnyArray

N_LANES = 16
"""Length of a vector."""

_INT32 = ir.IntType(32)


class Lanes(types.Type):
    """The numba type of a vector of :data:`N_LANES` floats."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        element = manager.lookup(lanes.dtype).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(element, N_LANES))


def _define_operator(function: Callable[..., Any], instruction: str) -> None:
    """Make an arithmetic operator work on two vectors; products and sums may be fused."""

    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:  # noqa: ARG002
            if len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(function, Lanes, Lanes)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ARG001
        return getattr(builder, instruction)(args[0], args[1], flags=("contract",))


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


def _intrinsic(function: Callable[..., Any]) -> Any:
    """Make a function of compiled code from one that writes its LLVM instructions."""
    return intrinsic(function)


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _vector_pointer(
    context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: Any
) -> Any:
    pointer = _element_pointer(context, builder, array_type, array, index)
    return builder.bitcast(pointer, vector.as_pointer())


def _alignment(array_type: Any) -> int:
    return int(np.dtype(str(array_type.dtype)).itemsize)


def _broadcast(builder: Any, scalar: Any) -> Any:
    vector = ir.VectorType(scalar.type, N_LANES)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT32, 0))
    mask = ir.Constant(ir.VectorType(_INT32, N_LANES), [0] * N_LANES)
    return builder.shuffle_vector(first, undefined, mask)


@_intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Return ``array[index : index + N_LANES]``."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = context.get_value_type(sig.return_type)
        pointer = _vector_pointer(context, builder, sig.args[0], args[0], args[1], vector)
        return builder.load(pointer, align=_alignment(sig.args[0]))

    return Lanes(array.dtype)(array, types.intp), code


@_intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:  # noqa: ARG001
    """Write the vector to ``array[index : index + N_LANES]``."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _vector_pointer(context, builder, sig.args[0], args[0], args[1], args[2].type)
        builder.store(args[2], pointer, align=_alignment(sig.args[0]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), code


@_intrinsic
def spread(typingctx: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Return a vector of ``array[index]`` repeated."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalar = builder.load(_element_pointer(context, builder, sig.args[0], *args))
        return _broadcast(builder, scalar)

    return Lanes(array.dtype)(array, types.intp), code


@_intrinsic
def filled(typingctx: Any, array: Any, value: Any) -> Any:  # noqa: ARG001
    """Return a vector of ``value`` repeated, in the precision of ``array``."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalar = context.cast(builder, args[1], sig.args[1], sig.return_type.dtype)
        return _broadcast(builder, scalar)

    return Lanes(array.dtype)(array, value), code


@_intrinsic
def gather(typingctx: Any, array: Any, offset: Any, indices: Any, start: Any) -> Any:  # noqa: ARG001
    """Return ``array[offset + indices[start : start + N_LANES]]``."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = context.get_value_type(sig.return_type)
        index_vector = ir.VectorType(context.get_value_type(sig.args[2].dtype), N_LANES)
        pointer = _vector_pointer(context, builder, sig.args[2], args[2], args[3], index_vector)
        positions = builder.load(pointer, align=_alignment(sig.args[2]))
        base = _element_pointer(context, builder, sig.args[0], *args[:2])
        value = ir.Constant(vector, ir.Undefined)
        for lane in range(N_LANES):
            where = ir.Constant(_INT32, lane)
            item = builder.gep(base, [builder.extract_element(positions, where)])
            value = builder.insert_element(value, builder.load(item), where)
        return value

    return Lanes(array.dtype)(array, types.intp, indices, types.intp), code


@_intrinsic
def lane_sum(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
    """Return the sum over the lanes, in a fixed tree order."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ARG001
        vector = args[0].type
        suffix = "f32" if isinstance(vector.element, ir.FloatType) else "f64"
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector.element, [vector.element, vector]),
            f"llvm.vector.reduce.fadd.v{N_LANES}{suffix}",
        )
        zero = ir.Constant(vector.element, 0.0)
        return builder.call(function, [zero, args[0]], fastmath=("reassoc", "nsz"))

    return value.dtype(value), code


def _fold(builder: Any, left: Any, right: Any, width: int) -> Any:
    """Interleave the lane sums of two vectors: half as many partial sums of each."""
    even = list(range(0, 2 * width, 2))
    odd = list(range(1, 2 * width, 2))
    masks = [ir.Constant(ir.VectorType(_INT32, width), picks) for picks in (even, odd)]
    return builder.fadd(*(builder.shuffle_vector(left, right, mask) for mask in masks))


def _halve(builder: Any, value: Any) -> Any:
    """Add the upper half of a vector to its lower half."""
    width = value.type.count // 2
    undefined = ir.Constant(value.type, ir.Undefined)
    halves = []
    for start in (0, width):
        picks = list(range(start, start + width))
        mask = ir.Constant(ir.VectorType(_INT32, width), picks)
        halves.append(builder.shuffle_vector(value, undefined, mask))
    return builder.fadd(*halves)


@_intrinsic
def add_lane_sums(
    typingctx: Any,  # noqa: ARG001
    array: Any,
    index: Any,  # noqa: ARG001
    first: Any,
    second: Any,
    third: Any,
    fourth: Any,
) -> Any:
    """Add the lane sums of four vectors to ``array[index : index + 4]``."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, c, d = (_halve(builder, _halve(builder, value)) for value in args[2:])
        sums = _fold(builder, _fold(builder, a, b, 4), _fold(builder, c, d, 4), 4)
        pointer = _vector_pointer(context, builder, sig.args[0], args[0], args[1], sums.type)
        size = _alignment(sig.args[0])
        before = builder.load(pointer, align=size)
        builder.store(builder.fadd(before, sums), pointer, align=size)
        return context.get_dummy_value()

    return types.void(array, types.intp, first, second, third, fourth), code


@_intrinsic
def clamp(typingctx: Any, value: Any, lower: Any, upper: Any) -> Any:  # noqa: ARG001
    """Return the vector with its lanes kept between two vectors of bounds."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ARG001
        below = builder.fcmp_ordered("<", args[0], args[1])
        raised = builder.select(below, args[1], args[0])
        above = builder.fcmp_ordered(">", raised, args[2])
        return builder.select(above, args[2], raised)

    return value(value, value, value), code


def aligned_zeros(n: int, dtype: Any) -> AnyArray:
    """Return ``n`` zeros that begin at a cache line, so that no vector straddles two."""
    size = np.dtype(dtype).itemsize
    memory = np.zeros(n * size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n * size].view(dtype)


__all__ = [
    "N_LANES",
    "Lanes",
    "add_lane_sums",
    "aligned_zeros",
    "clamp",
    "filled",
    "gather",
    "lane_sum",
    "load",
    "spread",
    "store",
]
