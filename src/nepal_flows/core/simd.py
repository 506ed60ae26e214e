# ruff: noqa: ARG001 -- the arguments of a lowering function are fixed by Numba
"""Eight doubles at once in compiled code, where loops would not vectorise by themselves.

A value of Numba type `vector` is one LLVM vector of eight doubles; LLVM maps it to what the
processor has (one AVX-512 register, two of AVX2, four of NEON). The operators +, -, * and / work
between vectors and between a vector and a float. Memory goes through contiguous float64 arrays
whose last axis has length 8: ``load(array, i, j)`` is ``array[i, j, :]``, without a bounds check.
"""

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 8
"""Doubles in a vector."""

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, WIDTH)
_INTEGERS = ir.VectorType(ir.IntType(64), WIDTH)
_FLAGS = ("contract", "nsz")
_ALIGNMENT = 64


_COMPILED_ONLY: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that becomes part of its compiled caller.

    It has no entry points of its own, which for a wide tuple of arrays take longer to compile than
    the numerics, and no call passes such a tuple on the stack.
    """
    return numba.njit(forceinline=True, **_COMPILED_ONLY)(function)


def outer(function: Callable[..., Any]) -> Any:
    """Compile a function that is called from compiled code only, and stays a call."""
    return numba.njit(**_COMPILED_ONLY)(function)


class Vector(types.Type):
    """The Numba type of eight doubles."""

    def __init__(self) -> None:
        super().__init__(name="Float64x8")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    """An LLVM vector, in registers and in memory."""

    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _constant(value: float) -> Any:
    """Return a vector constant with the same double in every lane."""
    return ir.Constant(_VECTOR, [ir.Constant(_DOUBLE, value)] * WIDTH)


def _shuffled(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    """Return the chosen lanes of two vectors; lanes from 8 on are those of the right one."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(left, right, mask)


def _as_vector(builder: Any, kind: Any, value: Any) -> Any:
    """Return a vector: the value itself, or a float in every lane."""
    if kind == vector:
        return value
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.IntType(32)(0))
    return _shuffled(builder, single, undefined, [0] * WIDTH)


def _is_number(kind: Any) -> bool:
    return kind in (vector, types.float64)


def _register_arithmetic() -> None:
    """Teach Numba the four operations between vectors and between a vector and a float."""
    operations = {
        operator.add: "fadd",
        operator.sub: "fsub",
        operator.mul: "fmul",
        operator.truediv: "fdiv",
    }
    pairs = [(vector, vector), (vector, types.float64), (types.float64, vector)]
    for function, name in operations.items():
        cases = {"cases": [signature(vector, *pair) for pair in pairs]}
        infer_global(function)(type(f"_{name.title()}Vectors", (ConcreteTemplate,), cases))
        for pair in pairs:

            def lower(_: Any, builder: Any, sig: Any, args: Any, name: str = name) -> Any:
                left, right = map(_as_vector, [builder] * 2, sig.args, args)
                return getattr(builder, name)(left, right, flags=_FLAGS)

            lower_builtin(function, *pair)(lower)


_register_arithmetic()


def _address(context: Any, builder: Any, sig: Any, args: Any, position: int) -> Any:
    """Return the address of the vector that the array and indices from `position` on name."""
    array_type, index_types = sig.args[position], sig.args[position + 1]
    members = cgutils.unpack_tuple(builder, args[position + 1], len(index_types))
    indices = [
        context.cast(builder, member, kind, types.intp)
        for member, kind in zip(members, index_types, strict=True)
    ]
    view = context.make_array(array_type)(context, builder, value=args[position])
    first_lane = ir.Constant(ir.IntType(64), 0)
    item = cgutils.get_item_pointer(
        context, builder, array_type, view, [*indices, first_lane], wraparound=False
    )
    return builder.bitcast(item, _VECTOR.as_pointer())


def _holds_vectors(array: Any, indices: Any) -> bool:
    """Return whether the array, indexed so, is a row of eight doubles."""
    return (
        isinstance(array, types.Array)
        and array.dtype == types.float64
        and array.layout == "C"
        and array.ndim == len(indices) + 1
        and all(isinstance(index, types.Integer) for index in indices)
    )


def _compiled(function: Callable[..., Any]) -> Any:
    """Make a Numba intrinsic that type checkers let through."""
    return intrinsic(function)


@_compiled
def load(_: Any, array: Any, *indices: Any) -> Any:
    """Return the vector ``array[indices]``."""
    if not _holds_vectors(array, indices):
        return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, sig, args, 0), align=8)

    return vector(array, types.StarArgTuple(indices)), lower


@_compiled
def load_from(_: Any, array: Any, start: Any) -> Any:
    """Return the eight doubles ``array[start:start + 8]`` of a one-dimensional array."""
    if not (_holds_vectors(array, ()) and isinstance(start, types.Integer)):
        return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        view = context.make_array(sig.args[0])(context, builder, value=args[0])
        place = context.cast(builder, args[1], sig.args[1], types.intp)
        item = cgutils.get_item_pointer(
            context, builder, sig.args[0], view, [place], wraparound=False
        )
        return builder.load(builder.bitcast(item, _VECTOR.as_pointer()), align=8)

    return vector(array, start), lower


@_compiled
def store(_: Any, value: Any, array: Any, *indices: Any) -> Any:
    """Write a vector, or a float in every lane, to ``array[indices]``."""
    if not (_is_number(value) and _holds_vectors(array, indices)):
        return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = _as_vector(builder, sig.args[0], args[0])
        builder.store(lanes, _address(context, builder, sig, args, 1), align=8)
        return context.get_dummy_value()

    return types.void(value, array, types.StarArgTuple(indices)), lower


@_compiled
def splat(_: Any, value: Any) -> Any:
    """Return a vector with a float in every lane."""
    if value != types.float64:
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _as_vector(builder, types.float64, args[0])

    return vector(value), lower


@_compiled
def below(_: Any, left: Any, right: Any, value: Any) -> Any:
    """Return the value in lanes where left < right, and 0 in the others."""
    if not (_is_number(left) and _is_number(right) and _is_number(value)):
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, c = map(_as_vector, [builder] * 3, sig.args, args)
        return builder.select(builder.fcmp_ordered("<", a, b), c, _constant(0.0))

    return vector(left, right, value), lower


@_compiled
def smaller(_: Any, left: Any, right: Any) -> Any:
    """Return the smaller of two vectors, lane by lane."""
    if not (_is_number(left) and _is_number(right)):
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = map(_as_vector, [builder] * 2, sig.args, args)
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    return vector(left, right), lower


@_compiled
def larger(_: Any, left: Any, right: Any) -> Any:
    """Return the larger of two vectors, lane by lane."""
    if not (_is_number(left) and _is_number(right)):
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = map(_as_vector, [builder] * 2, sig.args, args)
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return vector(left, right), lower


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call an LLVM intrinsic function."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@_compiled
def square_root(_: Any, value: Any) -> Any:
    """Return the square root of every lane."""
    if value != vector:
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.sqrt.v8f64", _VECTOR, args[0])

    return vector(value), lower


@_compiled
def nearest(_: Any, value: Any) -> Any:
    """Return every lane rounded to the nearest integer."""
    if value != vector:
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.rint.v8f64", _VECTOR, args[0])

    return vector(value), lower


@_compiled
def power_of_two(_: Any, exponent: Any) -> Any:
    """Return 2 to the power of every lane; the lanes hold integers from -1000 to 1000."""
    if exponent != vector:
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        # The sum has the exponent in its lowest bits; shifted, they are those of the result.
        magic = 1.5 * 2.0**52 + 1023.0
        shifted = builder.bitcast(builder.fadd(args[0], _constant(magic)), _INTEGERS)
        places = ir.Constant(_INTEGERS, [ir.Constant(ir.IntType(64), 52)] * WIDTH)
        return builder.bitcast(builder.shl(shifted, places), _VECTOR)

    return vector(exponent), lower


@_compiled
def total(_: Any, value: Any) -> Any:
    """Return the sum of the lanes, in a fixed order."""
    if value != vector:
        return None

    def lower(_: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes, width = args[0], WIDTH
        while width > 1:
            half = width // 2
            low = _shuffled(builder, lanes, lanes, list(range(half)))
            high = _shuffled(builder, lanes, lanes, list(range(half, width)))
            lanes, width = builder.fadd(low, high), half
        return builder.extract_element(lanes, ir.IntType(32)(0))

    return types.float64(value), lower


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of an 8 x 8 block of doubles."""
    for step in (1, 2, 4):
        low = [a + (8 if a & step else 0) - (step if a & step else 0) for a in range(WIDTH)]
        high = [a + (8 if a & step else 0) + (0 if a & step else step) for a in range(WIDTH)]
        mixed = list(rows)
        for a in range(WIDTH):
            if not a & step:
                mixed[a] = _shuffled(builder, rows[a], rows[a + step], low)
                mixed[a + step] = _shuffled(builder, rows[a], rows[a + step], high)
        rows = mixed
    return rows


@_compiled
def transpose(_: Any, source: Any, row: Any, block: Any, target: Any, first: Any, tile: Any) -> Any:
    """Write ``source[row:row + 8, block]`` transposed to ``target[first:first + 8, tile]``."""
    if not (_holds_vectors(source, (row, block)) and _holds_vectors(target, (first, tile))):
        return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def pointer(array: int, step: int) -> Any:
            kind, value = sig.args[array], args[array]
            lead, second = (
                context.cast(builder, args[a], sig.args[a], types.intp)
                for a in (array + 1, array + 2)
            )
            lead = builder.add(lead, ir.Constant(lead.type, step))
            view = context.make_array(kind)(context, builder, value=value)
            lane = ir.Constant(lead.type, 0)
            item = cgutils.get_item_pointer(
                context, builder, kind, view, [lead, second, lane], wraparound=False
            )
            return builder.bitcast(item, _VECTOR.as_pointer())

        rows = [builder.load(pointer(0, a), align=8) for a in range(WIDTH)]
        for a, column in enumerate(_transposed(builder, rows)):
            builder.store(column, pointer(3, a), align=8)
        return context.get_dummy_value()

    return types.void(source, row, block, target, first, tile), lower


@outer
def empty_vectors(n):  # type: ignore[no-untyped-def]
    """Return uninitialised room for n vectors, shape (n, 8), aligned to a cache line."""
    room = np.empty(n * WIDTH + WIDTH)
    skip = (_ALIGNMENT - room.ctypes.data % _ALIGNMENT) % _ALIGNMENT // 8
    return room[skip : skip + n * WIDTH].reshape((n, WIDTH))
