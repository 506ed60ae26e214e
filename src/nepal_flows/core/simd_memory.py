# ruff: noqa: ARG001, ARG002 -- the arguments of a lowering function are fixed by Numba
"""Vectors of :mod:`nepal_flows.core.simd` in memory; nothing here checks bounds.

Doubles are kept in rows of eight: contiguous arrays whose last axis has length 8, so that
``load(array, i, j)`` is ``array[i, j, :]``. Vectors of other lengths and precisions lie in flat
arrays and are found by the index of their first number, see :func:`flat_access`.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model
from numba.np.arrayobj import populate_array

from nepal_flows.core.simd import Vector, as_vector, compiled, outer, shuffled, vector_type

WIDTH = 8
"""Doubles in a row."""

_ALIGNMENT = 64
_INT64 = ir.IntType(64)
_ROW = Vector(types.float64, WIDTH)


def alignment(array: Any) -> int:
    """Return the size of an array's elements, bytes."""
    return int(np.dtype(str(array.dtype)).itemsize)


def element_address(context: Any, builder: Any, to: Any, kind: Any, array: Any, index: Any) -> Any:
    """Return the address of an element of a flat array, as that of another LLVM type."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), to.as_pointer())


def flat_access(width: int) -> tuple[Any, Any]:
    """Return functions that load and store so many neighbouring numbers of a flat array."""

    @compiled
    def load_flat(typingctx: Any, array: Any, start: Any) -> Any:
        """Return the vector that begins at ``array[start]``."""

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = context.get_value_type(sig.return_type)
            pointer = element_address(context, builder, lanes, sig.args[0], *args)
            return builder.load(pointer, align=alignment(array))

        return Vector(array.dtype, width)(array, types.intp), code

    @compiled
    def store_flat(typingctx: Any, array: Any, start: Any, value: Any) -> Any:
        """Write a vector, or a float in every lane, from ``array[start]`` on."""
        kind = Vector(array.dtype, width)
        if not isinstance(value, types.Float) and vector_type(value) != kind:
            return None

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = as_vector(context, builder, args[2], sig.args[2], kind)
            pointer = element_address(context, builder, lanes.type, sig.args[0], *args[:2])
            builder.store(lanes, pointer, align=alignment(array))
            return context.get_dummy_value()

        return types.void(array, types.intp, value), code

    return load_flat, store_flat


load_four, store_four = flat_access(4)
load_eight, store_eight = flat_access(8)


def _address(context: Any, builder: Any, kind: Any, array: Any, indices: Any) -> Any:
    """Return the address of a row; ``indices`` are pairs of a Numba type and a value."""
    places = [context.cast(builder, value, of, types.intp) for of, value in indices]
    view = context.make_array(kind)(context, builder, value=array)
    item = cgutils.get_item_pointer(
        context, builder, kind, view, [*places, _INT64(0)], wraparound=False
    )
    return builder.bitcast(item, context.get_value_type(_ROW).as_pointer())


def _unpacked(builder: Any, kinds: Any, members: Any) -> Any:
    """Return pairs of type and value of a tuple."""
    return zip(kinds, cgutils.unpack_tuple(builder, members, len(kinds)), strict=True)


def _holds_rows(array: Any, *indices: Any) -> bool:
    """Return whether the array, indexed so, is a row."""
    return (
        isinstance(array, types.Array)
        and array.dtype == types.float64
        and array.layout == "C"
        and array.ndim == len(indices) + 1
        and all(isinstance(index, types.Integer) for index in indices)
    )


@compiled
def load(typingctx: Any, array: Any, *indices: Any) -> Any:
    """Return the row ``array[indices]``."""
    if not _holds_rows(array, *indices):
        return None

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = _unpacked(builder, sig.args[1], args[1])
        return builder.load(_address(context, builder, sig.args[0], args[0], places), align=8)

    return _ROW(array, types.StarArgTuple(indices)), code


@compiled
def store(typingctx: Any, value: Any, array: Any, *indices: Any) -> Any:
    """Write a vector, or a float in every lane, to the row ``array[indices]``."""
    is_value = isinstance(value, types.Float) or vector_type(value) == _ROW
    if not (is_value and _holds_rows(array, *indices)):
        return None

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = as_vector(context, builder, args[0], sig.args[0], _ROW)
        places = _unpacked(builder, sig.args[2], args[2])
        builder.store(lanes, _address(context, builder, sig.args[1], args[1], places), align=8)
        return context.get_dummy_value()

    return types.void(value, array, types.StarArgTuple(indices)), code


@compiled
def splat(typingctx: Any, value: Any) -> Any:
    """Return a row with a float in every lane."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return as_vector(context, builder, args[0], sig.args[0], _ROW)

    return (_ROW(value), code) if isinstance(value, types.Float) else None


class _Rows:
    """Rows ``array[first:, column]`` that an argument of an intrinsic names, to be moved about."""

    def __init__(self, context: Any, builder: Any, sig: Any, args: Any, position: int) -> None:
        self._kinds = sig.args[position : position + 3]
        self._array, lead, self._column = args[position : position + 3]
        self._lead = context.cast(builder, lead, self._kinds[1], types.intp)
        self._context, self._builder = context, builder

    def _row(self, step: int) -> Any:
        lead = self._builder.add(self._lead, _INT64(step))
        places = [(types.intp, lead), (self._kinds[2], self._column)]
        return _address(self._context, self._builder, self._kinds[0], self._array, places)

    def load(self, n: int) -> list[Any]:
        """Return the first n rows."""
        return [self._builder.load(self._row(a), align=8) for a in range(n)]

    def store(self, values: list[Any]) -> None:
        """Write the first rows."""
        for a, value in enumerate(values):
            self._builder.store(value, self._row(a), align=8)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of an 8 x 8 block of doubles."""
    for step in (1, 2, 4):
        low = [a + (8 if a & step else 0) - (step if a & step else 0) for a in range(WIDTH)]
        high = [a + (8 if a & step else 0) + (0 if a & step else step) for a in range(WIDTH)]
        mixed = list(rows)
        for a in range(WIDTH):
            if not a & step:
                mixed[a] = shuffled(builder, rows[a], rows[a + step], low)
                mixed[a + step] = shuffled(builder, rows[a], rows[a + step], high)
        rows = mixed
    return rows


@compiled
def transpose(
    typingctx: Any, source: Any, row: Any, block: Any, target: Any, first: Any, tile: Any
) -> Any:
    """Write ``source[row:row + 8, block]`` transposed to ``target[first:first + 8, tile]``."""
    if not (_holds_rows(source, row, block) and _holds_rows(target, first, tile)):
        return None

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows = _Rows(context, builder, sig, args, 0).load(WIDTH)
        _Rows(context, builder, sig, args, 3).store(_transposed(builder, rows))
        return context.get_dummy_value()

    return types.void(source, row, block, target, first, tile), code


@compiled
def spread_fours(
    typingctx: Any, source: Any, start: Any, target: Any, first: Any, block: Any
) -> Any:
    """Write eight fours from ``source[start]`` on, transposed, to ``target[first:, block]``."""
    if not _holds_rows(target, first, block):
        return None

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = context.get_value_type(_ROW)
        begin = element_address(context, builder, lanes, sig.args[0], *args[:2])
        pairs = [builder.load(builder.gep(begin, [_INT64(a)]), align=8) for a in range(4)]
        low, high = [0, 4, 8, 12, 1, 5, 9, 13], [2, 6, 10, 14, 3, 7, 11, 15]
        front, back = list(range(4)) + list(range(8, 12)), list(range(4, 8)) + list(range(12, 16))
        rows = []
        for picks in (low, high):
            quads = [shuffled(builder, pairs[a], pairs[a + 1], picks) for a in (0, 2)]
            rows += [shuffled(builder, quads[0], quads[1], side) for side in (front, back)]
        _Rows(context, builder, sig, args, 2).store(rows)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, first, block), code


@compiled
def gather_fours(
    typingctx: Any, source: Any, first: Any, block: Any, target: Any, start: Any
) -> Any:
    """Write lanes of ``source[first:first + 3, block]``, and 0, to eight fours."""
    if not _holds_rows(source, first, block):
        return None

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y, z = _Rows(context, builder, sig, args, 0).load(3)
        zero = ir.Constant(x.type, None)
        low, high = (
            [lane for a in half for lane in (a, a + 8)] for half in (range(4), range(4, 8))
        )
        begin = element_address(context, builder, x.type, sig.args[3], *args[3:])
        for a, picks in enumerate((low, high)):
            xy, z0 = shuffled(builder, x, y, picks), shuffled(builder, z, zero, picks)
            for b, pair in enumerate(([0, 1, 8, 9, 2, 3, 10, 11], [4, 5, 12, 13, 6, 7, 14, 15])):
                where = builder.gep(begin, [_INT64(2 * a + b)])
                builder.store(shuffled(builder, xy, z0, pair), where, align=8)
        return context.get_dummy_value()

    return types.void(source, first, block, target, types.intp), code


@outer
def empty_vectors(n):  # type: ignore[no-untyped-def]
    """Return uninitialised room for n rows, shape (8 n,), aligned to a cache line."""
    room = np.empty(n * WIDTH + WIDTH)
    skip = (_ALIGNMENT - room.ctypes.data % _ALIGNMENT) % _ALIGNMENT // 8
    return room[skip : skip + n * WIDTH]


class Borrowed(types.Array):
    """The Numba type of an array that somebody else keeps alive: nobody counts its references.

    Counting them in an inner loop costs more than the arithmetic, and the optimiser does not see
    through long functions that it is in vain.
    """

    def __init__(self, array: types.Array) -> None:
        super().__init__(array.dtype, array.ndim, array.layout, name=f"borrowed({array})")


@register_model(Borrowed)
class _BorrowedModel(models.ArrayModel):
    """An array without the part that owns."""

    def traverse(self, builder: Any) -> list[Any]:
        """Return what is counted within: nothing."""
        return []


def _borrowed_type(kind: Any) -> Any:
    if isinstance(kind, types.NamedTuple):
        return types.NamedTuple(
            [_borrowed_type(field) for field in kind.types], kind.instance_class
        )
    return Borrowed(kind) if isinstance(kind, types.Array) else kind


@compiled
def borrowed(typingctx: Any, value: Any) -> Any:
    """Return an array, or a named tuple of them, whose references nobody counts."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0]

    return _borrowed_type(value)(value), code


@compiled
def keep(typingctx: Any, owner: Any) -> Any:
    """Do nothing, with an array that must live until here because parts of it are used."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_dummy_value()

    return types.void(owner), code


@compiled
def shaped(typingctx: Any, room: Any, start: Any, *shape: Any) -> Any:
    """Return the part of a flat array from ``start`` on, in this shape; borrowed."""
    kind = Borrowed(types.Array(room.dtype, len(shape), "C"))

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source = context.make_array(sig.args[0])(context, builder, args[0])
        sizes = [
            context.cast(builder, value, of, types.intp)
            for of, value in _unpacked(builder, sig.args[2], args[2])
        ]
        strides = [_INT64(alignment(room))]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        view = context.make_array(kind)(context, builder)
        data = builder.gep(source.data, [args[1]])
        populate_array(view, data, sizes, strides, source.itemsize, None)
        return view._getvalue()  # Numba's own way to the value of a struct

    return kind(room, types.intp, types.StarArgTuple(shape)), code
