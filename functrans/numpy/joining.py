"""NumPy's functions that join, split, repeat and pad arrays."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import HOOKS, Tracer, operand, strengthen
from functrans.core.types import describe, dtype_of, shape_of, type_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.registry import delivered, implements, normalize_axes, normalize_axis
from functrans.numpy.structure import (
    astype,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_values,
    expand_dims,
    moveaxis,
    ravel,
    reshape,
    take,
)
from functrans.ops import structure as ops


def common_dtype(arrays: Sequence[Any]) -> np.dtype[Any]:
    """The dtype arrays are joined in; scalars count by their own."""
    return np.result_type(*map(dtype_of, arrays))


@implements(np.concatenate, np.concat)
def concatenate(arrays: Any, /, axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    arrays = [operand(a) for a in arrays]
    if axis is None:
        arrays, axis = [ravel(a) for a in arrays], 0
    ndim = len(shape_of(arrays[0]))
    if ndim == 0:
        raise ValueError(f"zero-dimensional arrays cannot be concatenated{at_user_line()}")
    axis = normalize_axis(axis, ndim, "concatenate")
    expected = shape_of(arrays[0])
    for a in arrays:
        shape = shape_of(a)
        if len(shape) != ndim or any(n != m for i, (n, m) in enumerate(zip(shape, expected)) if i != axis):
            raise ValueError(
                f"np.concatenate: {', '.join(map(describe, arrays))} differ outside axis {axis}"
                f"\n  Remedy: make the other axes fit, with np.reshape or x[None].{at_user_line()}"
            )
    dtype = common_dtype(arrays) if dtype is None else np.dtype(dtype)
    result = ops.concatenate(*(a if dtype_of(a) == dtype else astype(a, dtype) for a in arrays), axis=axis)
    return delivered(result, out, "concatenate")


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    arrays = [operand(a) for a in arrays]
    if len({shape_of(a) for a in arrays}) > 1:
        raise ValueError(
            f"all input arrays must have the same shape, got {', '.join(str(shape_of(a)) for a in arrays)}{at_user_line()}"
        )
    axis = normalize_axis(axis, len(shape_of(arrays[0])) + 1, "stack")
    return concatenate([expand_dims(strengthen(a), axis) for a in arrays], axis, out, dtype=dtype)


HOOKS["stack"] = stack


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return concatenate([atleast_2d(a) for a in tup], 0, dtype=dtype)


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    arrays = [atleast_1d(a) for a in tup]
    return concatenate(arrays, 0 if len(shape_of(arrays[0])) == 1 else 1, dtype=dtype)


@implements(np.dstack)
def dstack(tup: Any) -> Any:
    return concatenate([atleast_3d(a) for a in tup], 2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Any:
    return concatenate([a if len(shape_of(operand(a))) > 1 else reshape(a, (-1, 1)) for a in tup], 1)


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if not hasattr(indices_or_sections, "__len__") and shape_of(ary)[axis] % indices_or_sections:
        raise ValueError(f"array split does not result in an equal division{at_user_line()}")
    return array_split(ary, indices_or_sections, axis)


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    length = shape_of(ary)[axis]
    axis = normalize_axis(axis, len(shape_of(ary)), "array_split")
    if hasattr(indices_or_sections, "__len__"):
        bounds = [0, *indices_or_sections, length]
    else:
        each, extra = divmod(length, indices_or_sections)
        bounds = [0]
        for part in range(indices_or_sections):
            bounds.append(bounds[-1] + each + (part < extra))
    return [ary[(slice(None),) * axis + (slice(start, stop),)] for start, stop in zip(bounds, bounds[1:])]


implements(np.vsplit)(lambda ary, indices_or_sections: split(ary, indices_or_sections, 0))


implements(np.hsplit)(lambda ary, indices_or_sections: split(ary, indices_or_sections, 0 if ary.ndim == 1 else 1))


implements(np.dsplit)(lambda ary, indices_or_sections: split(ary, indices_or_sections, 2))


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    a = operand(a)
    if axis is None:
        return reshape(roll(ravel(a), shift, 0), shape_of(a))
    shifts, axes = np.broadcast_arrays(shift, axis)
    for amount, place in zip(shifts.ravel().tolist(), axes.ravel().tolist()):
        place = normalize_axis(place, len(shape_of(a)), "roll")
        length = shape_of(a)[place]
        cut = -amount % length if length else 0
        if cut:
            lead = (slice(None),) * place
            a = concatenate([a[(*lead, slice(cut, None))], a[(*lead, slice(None, cut))]], place)
    return a


@implements(np.repeat, methods=("repeat",))
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    a = operand(a)
    if axis is None:
        a, axis = ravel(a), 0
    axis = normalize_axis(axis, len(shape_of(a)), "repeat")
    return take(a, np.repeat(np.arange(shape_of(a)[axis]), np.asarray(repeats)), axis)


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    a = operand(A)
    counts = tuple(reps) if isinstance(reps, (tuple, list)) else (reps,)
    shape = shape_of(a)
    ndim = max(len(counts), len(shape))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - len(shape)) + shape
    spread = ops.reshape(a, shape=tuple(n for length in shape for n in (1, length)))
    spread = ops.broadcast_to(spread, shape=tuple(n for pair in zip(counts, shape) for n in pair))
    return ops.reshape(spread, shape=tuple(c * n for c, n in zip(counts, shape)))


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0, **keywords: Any) -> Any:
    array = operand(array)
    widths = pad_widths(pad_width, len(shape_of(array)))
    if mode == "constant":
        if type(constant_values) is not int or constant_values:
            return pad_with(array, widths, constant_values)
        low, high = (tuple(side) for side in zip(*widths)) if widths else ((), ())
        return ops.pad(array, low=low, high=high, interior=(0,) * len(widths))
    if mode in {"edge", "reflect", "symmetric", "wrap"} and not keywords:
        for axis, width in enumerate(widths):
            array = take(array, np.pad(np.arange(shape_of(array)[axis]), width, mode), axis)  # type: ignore[call-overload]
        return array
    given = f"mode={mode!r}" + "".join(f", {name}=" for name in keywords)
    raise UnsupportedError(
        f"np.pad: {given} is not supported on traced values"
        f"\n  Remedy: use constant, edge, reflect, symmetric or wrap, or np.concatenate.{at_user_line()}"
    )


def pad_widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    """How many elements go before and after each axis."""
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(axis, pad_width.get(axis - ndim, (0, 0))) for axis in range(ndim)]
        pad_width = [(width, width) if isinstance(width, int) else width for width in pad_width]
    return [tuple(pair) for pair in np.broadcast_to(pad_width, (ndim, 2)).tolist()]


def pad_with(array: Any, widths: list[tuple[int, int]], values: Any) -> Any:
    """`array` with constants around it, axis by axis: so later axes have the corners, as NumPy has it."""
    values = np.broadcast_to(operand(values), (len(widths), 2))
    for axis, width in enumerate(widths):
        shape = shape_of(array)
        sides = [
            broadcast_values(
                astype(HOOKS["getitem"](values, (axis, side)), dtype_of(array)), (*shape[:axis], n, *shape[axis + 1 :])
            )
            for side, n in enumerate(width)
        ]
        array = concatenate([sides[0], array, sides[1]], axis)
    return array


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        return concatenate([ravel(arr), ravel(values)])
    return concatenate([arr, values], axis)


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    if axis is None:
        arr, axis = ravel(arr), 0
    if isinstance(obj, Tracer):
        raise UnsupportedError(
            f"np.delete: what is deleted is traced, of type {type_of(obj)}, so that the result has no shape"
            f"\n  Remedy: make it a static argument, or choose what to keep with np.where.{at_user_line()}"
        )
    return take(arr, np.delete(np.arange(shape_of(arr)[axis]), obj), axis)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        arr, axis = ravel(arr), 0
    arr, values = operand(arr), operand(values)
    shape = shape_of(arr)
    axis = normalize_axis(axis, len(shape), "insert")
    values = astype(values, dtype_of(arr))
    if np.ndim(obj) == 0:
        # NumPy's rule for one position: the first axis of the values goes along `axis`.
        values = reshape(values, (1,) * (len(shape) - len(shape_of(values))) + shape_of(values))
        values = moveaxis(values, 0, axis)
        places = np.full(shape_of(values)[axis], obj)
    else:
        places = np.arange(shape[axis])[obj] if isinstance(obj, slice) else np.asarray(obj)
        places = np.full(shape_of(values)[axis], places[0]) if places.size == 1 and shape_of(values) else places
    if np.any((places < -shape[axis]) | (places > shape[axis])):
        raise IndexError(f"np.insert: index {obj} is out of bounds for axis {axis} with size {shape[axis]}{at_user_line()}")
    places = np.where(places < 0, places + shape[axis], places)
    values = broadcast_values(values, (*shape[:axis], len(places), *shape[axis + 1 :]))
    # What is inserted at a place comes before the element that is there.
    order = np.lexsort((np.r_[np.ones(shape[axis], int), np.zeros(len(places), int)], np.r_[np.arange(shape[axis]), places]))
    return take(concatenate([arr, values], axis), order, axis)


@implements(np.block)
def block(arrays: Any) -> Any:
    depth = nesting(arrays)
    ndim = builtins.max(depth, *(len(shape_of(operand(leaf))) for leaf in flattened(arrays)))
    return blocks(arrays, depth, ndim)


def nesting(arrays: Any) -> int:
    """How many lists surround each array; raises where they differ, as NumPy does."""
    if not isinstance(arrays, list):
        return 0
    depths = {nesting(item) for item in arrays}
    if len(depths) != 1:
        raise ValueError(f"np.block: list depths are mismatched{at_user_line()}")
    return depths.pop() + 1


def flattened(arrays: Any) -> list[Any]:
    """The arrays of nested lists."""
    return [leaf for item in arrays for leaf in flattened(item)] if isinstance(arrays, list) else [arrays]


def blocks(arrays: Any, depth: int, ndim: int) -> Any:
    """Nested lists joined along the last `depth` axes, the innermost along the last."""
    if not isinstance(arrays, list):
        array = operand(arrays)
        return reshape(array, (1,) * (ndim - len(shape_of(array))) + shape_of(array))
    return concatenate([blocks(item, depth - 1, ndim) for item in arrays], -depth)


@implements(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(moveaxis(operand(x), axis, 0))


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    shape = tuple(new_shape) if isinstance(new_shape, (tuple, list)) else (new_shape,)
    a = ravel(a)
    if not shape_of(a)[0]:
        return np.zeros_like(a, shape=shape)
    return reshape(take(a, np.arange(math.prod(shape)) % shape_of(a)[0], 0), shape)


@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    return rolled_by_half(x, axes, lambda length: length // 2)


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    return rolled_by_half(x, axes, lambda length: -(length // 2))


def rolled_by_half(x: Any, axes: Any, shift: Any) -> Any:
    """`x` rolled along each of the axes by a shift that depends on its length."""
    x = operand(x)
    places = normalize_axes(axes, len(shape_of(x)), "fftshift")
    return roll(x, [shift(shape_of(x)[place]) for place in places], places)
