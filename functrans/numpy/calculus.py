"""NumPy's differences, integrals, interpolation and polynomials."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from functrans.core.tracer import operand
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.numpy.contraction import convolve
from functrans.numpy.elementwise import where
from functrans.numpy.joining import concatenate
from functrans.numpy.reduction import cumsum, floating, sum
from functrans.numpy.registry import NO_VALUE, implements, normalize_axis
from functrans.numpy.sorting import argsort, searchsorted
from functrans.numpy.structure import (
    astype,
    broadcast_values,
    moveaxis,
    ravel,
    take,
)
from functrans.ops import arithmetic


def along(axis: int, *part: Any) -> Any:
    """The index of a slice of `axis`."""
    return (*(slice(None),) * axis, slice(*part))


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = NO_VALUE, append: Any = NO_VALUE) -> Any:
    a = operand(a)
    axis = normalize_axis(axis, len(shape_of(a)), "diff")
    if n < 0:
        raise ValueError(f"np.diff: order must be non-negative but got {n}{at_user_line()}")
    if n and not (prepend is append is NO_VALUE):
        parts = [prepend, a, append]
        a = concatenate([edge(part, a, axis) for part in parts if part is not NO_VALUE], axis)
    difference = arithmetic.not_equal if dtype_of(a).kind == "b" else arithmetic.subtract
    for _ in range(n):
        a = difference(a[along(axis, 1, None)], a[along(axis, None, -1)])
    return a


def edge(part: Any, a: Any, axis: int) -> Any:
    """What goes before or after `a`: a number is one slice of it."""
    part = operand(part)
    shape = shape_of(a)
    return broadcast_values(part, (*shape[:axis], 1, *shape[axis + 1 :])) if not shape_of(part) else part


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    ary = ravel(ary)
    ends = [to_begin, diff(ary), to_end]
    return concatenate([astype(ravel(part), dtype_of(ary)) for part in ends if part is not None])


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    f = floating(f)
    ndim = len(shape_of(f))
    axes = range(ndim) if axis is None else [normalize_axis(i, ndim, "gradient") for i in np.atleast_1d(axis).tolist()]
    spacings = [operand(item) for item in (varargs or (1.0,))]
    if len(spacings) == 1:
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"np.gradient: {len(varargs)} spacings for {len(axes)} axes{at_user_line()}")
    if edge_order not in (1, 2):
        raise ValueError(f"np.gradient: edge_order={edge_order} is neither 1 nor 2{at_user_line()}")
    results = [slope(f, spacing, i, edge_order) for i, spacing in zip(axes, spacings)]
    return results[0] if len(results) == 1 else tuple(results)


def slope(f: Any, spacing: Any, axis: int, edge_order: int) -> Any:
    """Second order inside, `edge_order` at the ends, exact for parabolas on any grid."""
    f = moveaxis(f, axis, -1)
    length = shape_of(f)[-1]
    if length < edge_order + 1:
        raise ValueError(f"np.gradient: an axis of {length} elements is too short for edge_order={edge_order}{at_user_line()}")
    steps = diff(spacing) if shape_of(spacing) else np.broadcast_to(spacing, (length - 1,))
    slopes = diff(f) / steps
    before, after = steps[:-1], steps[1:]
    inside = (slopes[..., :-1] * after + slopes[..., 1:] * before) / (before + after)
    if edge_order == 1:
        ends = slopes[..., :1], slopes[..., -1:]
    else:
        bend = diff(slopes) / (before + after)
        ends = slopes[..., :1] - bend[..., :1] * steps[:1], slopes[..., -1:] + bend[..., -1:] * steps[-1:]
    return moveaxis(concatenate([ends[0], inside, ends[1]], -1), -1, axis)


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = moveaxis(operand(y), axis, -1)
    if x is None:
        widths = dx
    else:
        x = operand(x)
        widths = diff(x) if len(shape_of(x)) == 1 else diff(moveaxis(x, axis, -1))
    return sum(widths * (y[..., 1:] + y[..., :-1]) / 2.0, -1)


@implements(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    x, xp, fp = floating(x), floating(xp), floating(fp)
    if period is not None:
        x, xp = x % period, xp % period
        order = argsort(xp)
        xp, fp = take(xp, order), take(fp, order)
        xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = concatenate([fp[-1:], fp, fp[:1]])
    after = np.clip(searchsorted(xp, x, "right"), 1, builtins.max(shape_of(xp)[0] - 1, 1))
    before = np.minimum(after - 1, shape_of(xp)[0] - 1)
    after = np.minimum(after, shape_of(xp)[0] - 1)
    low, high = take(fp, before), take(fp, after)
    width = take(xp, after) - take(xp, before)
    inside = low + (x - take(xp, before)) * ((high - low) / where(arithmetic.equal(width, 0), 1.0, width))
    inside = where(arithmetic.less(x, xp[0]), fp[0] if left is None else left, inside)
    return where(arithmetic.greater(x, xp[-1]), fp[-1] if right is None else right, inside)


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Any:
    p = floating(p)
    axis = normalize_axis(axis, len(shape_of(p)), "unwrap")
    jump = diff(p, axis=axis)
    half = period / 2
    wrapped = (jump + half) % period - half
    wrapped = where((wrapped == -half) & (jump > 0), half, wrapped)
    correction = where(np.abs(jump) < (half if discont is None else discont), 0.0, wrapped - jump)
    return concatenate([p[along(axis, 1)], p[along(axis, 1, None)] + cumsum(correction, axis)], axis)


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    p, x = operand(p), operand(x)
    result = np.zeros_like(x)
    for coefficient in p:
        result = result * x + coefficient
    return result


@implements(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    first, second = same_degree(a1, a2)
    return first + second


@implements(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    first, second = same_degree(a1, a2)
    return first - second


def same_degree(*polynomials: Any) -> list[Any]:
    """Coefficients with zeros in front, so that all are equally many."""
    polynomials = tuple(np.atleast_1d(operand(p)) for p in polynomials)
    length = builtins.max(shape_of(p)[0] for p in polynomials)
    return [np.pad(p, (length - shape_of(p)[0], 0)) for p in polynomials]


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    return convolve(np.atleast_1d(operand(a1)), np.atleast_1d(operand(a2)))


@implements(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    p = operand(p)
    for _ in range(m):
        p = p[:-1] * np.arange(shape_of(p)[0] - 1, 0, -1)
    return p


@implements(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    p = operand(p)
    constants = np.broadcast_to(operand(0.0 if k is None else k), (m,))
    for number in range(m):
        p = concatenate([p / np.arange(shape_of(p)[0], 0, -1), constants[number : number + 1]])
    return p


@implements(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    x = operand(x)
    x = astype(x, np.promote_types(dtype_of(x), int), copy=False)
    columns = [np.ones_like(x)]
    while len(columns) < (shape_of(x)[0] if N is None else N):
        columns.append(columns[-1] * x)
    columns = columns[: shape_of(x)[0] if N is None else N]
    return np.stack(columns if increasing else columns[::-1], 1)
