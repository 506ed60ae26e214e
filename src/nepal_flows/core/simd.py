# ruff: noqa: ARG001, ARG002 -- the arguments of a lowering function are fixed by Numba
"""Several numbers at once in compiled code, where loops would not vectorise by themselves.

A value of a Numba type :class:`Vector` is one LLVM vector, which LLVM maps to what the processor
has. The operators +, -, * and / work between vectors and between a vector and a float. A product
stays a pair of factors, a :class:`Product`, until it is needed: added to something it becomes one
fused multiply-add, where the processor has that. So what is fused follows from the source alone.
Left to the optimiser it would be decided anew in every copy of a function, and equal calls would
differ in their last digits.

:mod:`nepal_flows.core.simd_memory` brings vectors from memory and back.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typeconv.castgraph import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
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


def compiled(function: Callable[..., Any]) -> Any:
    """Make a Numba intrinsic that type checkers let through."""
    return intrinsic(function)


class Vector(types.Type):
    """The Numba type of several floats of one precision."""

    def __init__(self, dtype: Any, width: int) -> None:
        self.dtype = dtype
        self.width = width
        super().__init__(name=f"Vector({dtype} x {width})")


class Product(types.Type):
    """The Numba type of a product of two vectors that is not taken yet."""

    def __init__(self, vector: Vector) -> None:
        self.vector = vector
        super().__init__(name=f"Product({vector})")

    def can_convert_to(self, typingctx: Any, other: Any) -> Any:
        """Return how safe it is to take the product, for a variable of another type."""
        return Conversion.safe if other == self.vector else None

    def unify(self, typingctx: Any, other: Any) -> Any:
        """Return the type of a variable that holds this or the other type."""
        return self.vector if other == self.vector else None


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    """An LLVM vector, in registers and in memory."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        element = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, kind.width))


@register_model(Product)
class _ProductModel(models.StructModel):
    """Two factors."""

    def __init__(self, manager: Any, kind: Product) -> None:
        super().__init__(manager, kind, [("left", kind.vector), ("right", kind.vector)])


def vector_type(*kinds: Any) -> Any:
    """Return the type of vector that the arguments have in common, or None.

    A number goes with every vector.
    """
    found = {getattr(kind, "vector", kind) for kind in kinds if not isinstance(kind, types.Float)}
    common = found.pop() if len(found) == 1 else None
    return common if isinstance(common, Vector) else None


def as_vector(context: Any, builder: Any, value: Any, kind: Any, to: Vector) -> Any:
    """Return the LLVM vector of a vector, of a product, or of a number in every lane."""
    if isinstance(kind, Vector):
        return value
    if isinstance(kind, Product):
        return builder.fmul(*_factors(builder, value))
    number = context.cast(builder, value, kind, to.dtype)
    undefined = ir.Constant(ir.VectorType(number.type, to.width), ir.Undefined)
    single = builder.insert_element(undefined, number, _INT32(0))
    return shuffled(builder, single, undefined, [0] * to.width)


def shuffled(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    """Return the chosen lanes of two LLVM vectors; those of the right one count on."""
    mask = ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes)
    return builder.shuffle_vector(left, right, mask)


def halves(builder: Any, value: Any) -> Any:
    """Return the first and the second half of an LLVM vector."""
    n, half = value.type.count, value.type.count // 2
    return (
        shuffled(builder, value, value, list(range(half))),
        shuffled(builder, value, value, list(range(half, n))),
    )


def _factors(builder: Any, value: Any) -> tuple[Any, Any]:
    return builder.extract_value(value, 0), builder.extract_value(value, 1)


def _called(builder: Any, name: str, *args: Any) -> Any:
    """Call the LLVM intrinsic of this name on vectors."""
    kind = args[0].type
    bits = 32 if isinstance(kind.element, ir.FloatType) else 64
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind] * len(args)),
        f"llvm.{name}.v{kind.count}f{bits}",
    )
    return builder.call(function, args)


def _define(
    function: Callable[..., Any], lower: Callable[..., Any], result: Callable[[Vector], Any]
) -> None:
    """Teach Numba an operator between vectors, products and floats."""

    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            kind = vector_type(*args) if len(args) == 2 else None
            return None if kind is None else signature(result(kind), *args)

    kinds = (Vector, Product, types.Float)
    for left in kinds:
        for right in kinds:
            if left is not types.Float or right is not types.Float:
                lower_builtin(function, left, right)(lower)


def _vectors(context: Any, builder: Any, sig: Any, args: Any) -> list[Any]:
    """Return the arguments as LLVM vectors."""
    to = vector_type(*sig.args)
    return [
        as_vector(context, builder, value, kind, to)
        for value, kind in zip(args, sig.args, strict=True)
    ]


def _lower_product(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    left, right = _vectors(context, builder, sig, args)
    pair = ir.Constant(context.get_value_type(sig.return_type), ir.Undefined)
    return builder.insert_value(builder.insert_value(pair, left, 0), right, 1)


def _lower_sum(context: Any, builder: Any, sig: Any, args: Any, sign: int = 1) -> Any:
    """Add or subtract; of two products the left one is fused."""
    left, right = _vectors(context, builder, sig, args)
    if isinstance(sig.args[0], Product):
        rest = right if sign > 0 else builder.fneg(right)
        return _called(builder, "fmuladd", *_factors(builder, args[0]), rest)
    if isinstance(sig.args[1], Product):
        first, second = _factors(builder, args[1])
        first = first if sign > 0 else builder.fneg(first)
        return _called(builder, "fmuladd", first, second, left)
    return builder.fadd(left, right) if sign > 0 else builder.fsub(left, right)


def _lower_quotient(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fdiv(*_vectors(context, builder, sig, args))


def _same(kind: Vector) -> Vector:
    return kind


_define(operator.mul, _lower_product, Product)
_define(operator.add, _lower_sum, _same)
_define(operator.sub, functools.partial(_lower_sum, sign=-1), _same)
_define(operator.truediv, _lower_quotient, _same)


@lower_cast(Product, Vector)
def _take_product(context: Any, builder: Any, kind: Any, to: Any, value: Any) -> Any:
    return as_vector(context, builder, value, kind, to)


def _lane_by_lane(lower: Callable[..., Any]) -> Any:
    """Make a function of vectors, products and floats from its code for LLVM vectors."""

    @functools.wraps(lower)
    def typed(typingctx: Any, *kinds: Any) -> Any:
        kind = vector_type(*kinds)

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return lower(builder, *_vectors(context, builder, sig, args))

        return None if kind is None else (signature(kind, *kinds), code)

    return intrinsic(typed)


@_lane_by_lane
def below(builder: Any, left: Any, right: Any, value: Any, otherwise: Any) -> Any:
    """Return the value in lanes where left < right, and the other one elsewhere."""
    return builder.select(builder.fcmp_ordered("<", left, right), value, otherwise)


@_lane_by_lane
def smaller(builder: Any, left: Any, right: Any) -> Any:
    """Return the smaller of two vectors; the right one where one is not a number."""
    return builder.select(builder.fcmp_ordered("<", left, right), left, right)


@_lane_by_lane
def larger(builder: Any, left: Any, right: Any) -> Any:
    """Return the larger of two vectors; the right one where one is not a number."""
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


@_lane_by_lane
def square_root(builder: Any, value: Any) -> Any:
    """Return the square root of every lane."""
    return _called(builder, "sqrt", value)


@_lane_by_lane
def nearest(builder: Any, value: Any) -> Any:
    """Return every lane rounded to the nearest integer."""
    return _called(builder, "rint", value)


@_lane_by_lane
def rounded_down(builder: Any, value: Any) -> Any:
    """Return the largest integer that is not above, for every lane."""
    return _called(builder, "floor", value)


@_lane_by_lane
def power_of_two(builder: Any, exponent: Any) -> Any:
    """Return 2 to the power of every double; they hold integers from -1000 to 1000."""
    # The sum has the exponent in its lowest bits; shifted, they are those of the result.
    n = exponent.type.count
    magic = ir.Constant(exponent.type, [ir.Constant(ir.DoubleType(), 1.5 * 2.0**52 + 1023.0)] * n)
    integers = ir.VectorType(_INT64, n)
    places = ir.Constant(integers, [_INT64(52)] * n)
    bits = builder.bitcast(builder.fadd(exponent, magic), integers)
    return builder.bitcast(builder.shl(bits, places), exponent.type)


def _over_lanes(lower: Callable[..., Any]) -> Any:
    """Make a function that combines the halves of a vector, their halves, and so on."""

    def typed(typingctx: Any, value: Any) -> Any:
        kind = vector_type(value)

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            (lanes,) = _vectors(context, builder, sig, args)
            while lanes.type.count > 1:
                lanes = lower(builder, *halves(builder, lanes))
            return builder.extract_element(lanes, _INT32(0))

        return None if kind is None else (signature(kind.dtype, value), code)

    typed.__name__, typed.__doc__ = lower.__name__, lower.__doc__
    return intrinsic(typed)


@_over_lanes
def total(builder: Any, left: Any, right: Any) -> Any:
    """Return the sum of the lanes."""
    return builder.fadd(left, right)


@_over_lanes
def least(builder: Any, left: Any, right: Any) -> Any:
    """Return the smallest lane."""
    return builder.select(builder.fcmp_ordered("<", left, right), left, right)


@_over_lanes
def most(builder: Any, left: Any, right: Any) -> Any:
    """Return the largest lane."""
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


@compiled
def vector_of(typingctx: Any, *values: Any) -> Any:
    """Return the vector of some floats."""
    kind = Vector(types.float64, len(values))

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        members = cgutils.unpack_tuple(builder, args[0], kind.width)
        vector = ir.Constant(context.get_value_type(kind), ir.Undefined)
        for lane, (value, of) in enumerate(zip(members, values, strict=True)):
            number = context.cast(builder, value, of, kind.dtype)
            vector = builder.insert_element(vector, number, _INT32(lane))
        return vector

    return kind(types.StarArgTuple(values)), code


@compiled
def square_of_three(typingctx: Any, value: Any) -> Any:
    """Return the sum of the squares of the first three lanes."""
    kind = vector_type(value)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (lanes,) = _vectors(context, builder, sig, args)
        squares = builder.fmul(lanes, lanes)
        x, y, z = (builder.extract_element(squares, _INT32(lane)) for lane in range(3))
        return builder.fadd(builder.fadd(x, y), z)

    return None if kind is None else (kind.dtype(value), code)
