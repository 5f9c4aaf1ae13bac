"""NumPy's reductions and cumulative functions."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from functrans.core.tracer import operand, strengthen
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.numpy.joining import concatenate
from functrans.numpy.registry import NO_VALUE, delivered, implements, normalize_axes, normalize_axis
from functrans.numpy.structure import (
    astype,
    conjugate,
    ravel,
    real,
    reshape,
)
from functrans.ops import arithmetic, reduction
from functrans.ops.structure import cumsum as cumsum_op


def reduced_axes(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """The axes of a reduction; NumPy lets 0-d arrays have axis 0 and -1 there."""
    return () if ndim == 0 and axis in (0, -1) else normalize_axes(axis, ndim, name)


def reduce(primitive: Any, a: Any, axis: Any, keepdims: Any, out: Any, dtype: Any = None) -> Any:
    """`primitive` along the axes NumPy's arguments name."""
    a = strengthen(operand(a))
    if dtype is not None:
        a = astype(a, dtype, copy=False)
    axes = reduced_axes(axis, len(shape_of(a)), primitive.name)
    result = primitive(a, axes=axes)
    if dtype is not None:
        result = astype(result, dtype, copy=False)  # a narrow integer wraps around, as NumPy's sums in it do
    if keepdims and keepdims is not NO_VALUE:
        result = reshape(result, tuple(1 if i in axes else n for i, n in enumerate(shape_of(a))))
    return delivered(result, out, primitive.name)


def masked(a: Any, where: Any, neutral: Any) -> Any:
    """`a` with `neutral` where a reduction is to leave elements out."""
    if where is True or where is NO_VALUE:
        return a
    return arithmetic.where(operand(where), operand(a), neutral)


def extremum(primitive: Any, pick: Any, a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any) -> Any:
    """`primitive`, max or min, with NumPy's ``initial=`` and ``where=``; `pick` is the ufunc of two operands."""
    a = strengthen(operand(a))
    if initial is NO_VALUE or initial is None:
        if where is not True and where is not NO_VALUE:
            raise ValueError(f"np.{primitive.name}: where= needs initial=, for nothing may be left{at_user_line()}")
        return reduce(primitive, a, axis, keepdims, out)
    a = masked(a, where, initial)
    shape = shape_of(a)
    axes = reduced_axes(axis, len(shape), primitive.name)
    if math.prod(shape[i] for i in axes):
        result = pick(reduce(primitive, a, axis, keepdims, None), initial)
    else:
        result = sum(a, axis, keepdims=keepdims) + initial
    return delivered(result, out, primitive.name)


@implements(np.sum, methods=("sum",))
def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    result = reduce(reduction.sum, masked(a, where, 0), axis, keepdims, out, dtype)
    return result if initial is NO_VALUE else result + initial


@implements(np.prod, methods=("prod",))
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    result = reduce(reduction.prod, masked(a, where, 1), axis, keepdims, out, dtype)
    return result if initial is NO_VALUE else result * initial


@implements(np.max, np.amax, methods=("max",))
def max(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True) -> Any:
    return extremum(reduction.max, arithmetic.maximum, a, axis, out, keepdims, initial, where)


@implements(np.min, np.amin, methods=("min",))
def min(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True) -> Any:
    return extremum(reduction.min, arithmetic.minimum, a, axis, out, keepdims, initial, where)


@implements(np.all, methods=("all",))
def all(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
    return reduce(reduction.all, masked(a, where, True), axis, keepdims, out)


@implements(np.any, methods=("any",))
def any(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
    return reduce(reduction.any, masked(a, where, False), axis, keepdims, out)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return sum(arithmetic.not_equal(strengthen(operand(a)), 0), axis, keepdims=keepdims)


def arg_reduce(primitive: Any, a: Any, axis: int | None, out: Any, keepdims: Any) -> Any:
    a = operand(a)
    ndim = len(shape_of(a))
    if axis is None or ndim == 0 and axis in (0, -1):
        result = primitive(ravel(a), axes=(0,))
        result = reshape(result, (1,) * ndim) if keepdims and keepdims is not NO_VALUE else result
        return delivered(result, out, primitive.name)
    return reduce(primitive, a, normalize_axis(axis, ndim, primitive.name), keepdims, out)


@implements(np.argmax, methods=("argmax",))
def argmax(a: Any, axis: int | None = None, out: Any = None, *, keepdims: Any = False) -> Any:
    return arg_reduce(reduction.argmax, a, axis, out, keepdims)


@implements(np.argmin, methods=("argmin",))
def argmin(a: Any, axis: int | None = None, out: Any = None, *, keepdims: Any = False) -> Any:
    return arg_reduce(reduction.argmin, a, axis, out, keepdims)


def count(a: Any, axis: Any, where: Any) -> Any:
    """How many elements each result of a reduction is made of."""
    shape = shape_of(operand(a))
    axes = normalize_axes(axis, len(shape), "mean")
    if where is True or where is NO_VALUE:
        return math.prod(shape[i] for i in axes)
    return sum(np.broadcast_to(where, shape), axis)


def floating(a: Any) -> Any:
    """`a`, with integers and booleans as float64."""
    a = strengthen(operand(a))
    return a if dtype_of(a).kind in "fc" else astype(a, np.float64)


@implements(np.mean, methods=("mean",))
def mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
    a = floating(a)
    if dtype is None and dtype_of(a) == np.float16:
        result = astype(mean(a, axis, np.float32, None, keepdims, where=where), np.float16)
        return delivered(result, out, "mean")
    number = count(a, axis, where)
    total = sum(a, axis, dtype, keepdims=keepdims, where=where)
    if not isinstance(number, int):
        number = astype(number, dtype_of(total))
        number = reshape(number, shape_of(total)) if shape_of(total) else number
    result = total / number
    return delivered(result, out, "mean")


@implements(np.var, methods=("var",))
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NO_VALUE,
    correction: Any = NO_VALUE,
) -> Any:
    a = floating(a) if dtype is None else astype(a, dtype)
    ddof = ddof if correction is NO_VALUE else correction
    number = count(a, axis, where)
    center = globals()["mean"](a, axis, keepdims=True, where=where) if mean is NO_VALUE else mean
    deviation = a - center
    squared = real(deviation * conjugate(deviation)) if dtype_of(a).kind == "c" else deviation * deviation
    total = sum(squared, axis, keepdims=keepdims, where=where)
    if isinstance(number, int):
        result = total / builtins.max(number - ddof, 0)
    else:
        divisor = arithmetic.maximum(astype(number, dtype_of(total)) - ddof, 0)
        result = total / (reshape(divisor, shape_of(total)) if shape_of(total) else divisor)
    return delivered(result, out, "var")


@implements(np.std, methods=("std",))
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NO_VALUE,
    correction: Any = NO_VALUE,
) -> Any:
    result = np.sqrt(var(a, axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction))
    return delivered(result, out, "std")


@implements(np.cumsum, methods=("cumsum",))
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    return cumulative(cumsum_op, a, axis, dtype, out)


@implements(np.cumprod, methods=("cumprod",))
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    return cumulative(reduction.cumprod, a, axis, dtype, out)


def cumulative(primitive: Any, a: Any, axis: int | None, dtype: Any, out: Any) -> Any:
    a = operand(a) if dtype is None else astype(a, dtype)
    if axis is None:
        a, axis = ravel(a), 0
    result = primitive(a, axis=normalize_axis(axis, len(shape_of(a)), primitive.name))
    if dtype is not None:
        result = astype(result, dtype, copy=False)
    return delivered(result, out, primitive.name)


@implements(np.cumulative_sum)
def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Any:
    return from_neutral(cumsum, 0, x, axis, dtype, out, include_initial)


@implements(np.cumulative_prod)
def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Any:
    return from_neutral(cumprod, 1, x, axis, dtype, out, include_initial)


def from_neutral(function: Any, neutral: int, x: Any, axis: int | None, dtype: Any, out: Any, include_initial: bool) -> Any:
    """A cumulative function, whose result may begin with the neutral element."""
    x = operand(x)
    shape = shape_of(x)
    if axis is None and len(shape) != 1:
        raise ValueError(f"np.cumulative_{function.__name__[3:]}: more than one dimension needs axis={at_user_line()}")
    place = normalize_axis(-1 if axis is None else axis, len(shape), function.__name__)
    result = function(x, place, dtype)
    if include_initial:
        first = np.full((*shape[:place], 1, *shape[place + 1 :]), neutral, dtype_of(result))
        result = concatenate([first, result], place)
    return delivered(result, out, function.__name__)
