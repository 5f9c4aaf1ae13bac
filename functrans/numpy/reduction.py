"""NumPy's reductions, cumulative functions and elementwise functions that are no ufuncs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.tracer import ALTERNATIVES, HOOKS, UFUNC_METHODS, UFUNCS, Tracer, install_method, operand, strengthen
from functrans.core.types import dtype_of, shape_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.registry import implements, normalize_axes, normalize_axis
from functrans.numpy.structure import astype, conjugate, expand_dims, ravel, real, reshape
from functrans.ops import arithmetic, reduction
from functrans.ops.sorting import argsort as argsort_op
from functrans.ops.structure import cumsum as cumsum_op

NO_VALUE = np._NoValue  # type: ignore[attr-defined]


def reduce(primitive: Any, a: Any, axis: Any, keepdims: Any, out: Any, dtype: Any = None) -> Any:
    """`primitive` along the axes NumPy's arguments name."""
    a = strengthen(operand(a))
    if dtype is not None:
        a = astype(a, dtype, copy=False)
    axes = normalize_axes(axis, len(shape_of(a)), primitive.name)
    result = primitive(a, axes=axes)
    if keepdims and keepdims is not NO_VALUE:
        result = reshape(result, tuple(1 if i in axes else n for i, n in enumerate(shape_of(a))))
    return result if out is None else HOOKS["out"](out, result, primitive.name)


def masked(a: Any, where: Any, neutral: Any) -> Any:
    """`a` with `neutral` where a reduction is to leave elements out."""
    if where is True or where is NO_VALUE:
        return a
    return arithmetic.where(operand(where), operand(a), neutral)


def without_initial(initial: Any, name: str) -> None:
    if initial is not NO_VALUE and initial is not None:
        raise UnsupportedError(f"np.{name}: initial= is not supported on traced values{at_user_line()}")


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


@implements(np.max, methods=("max",))
def max(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True) -> Any:
    without_initial(initial, "max")
    return reduce(reduction.max, masked(a, where, -np.inf), axis, keepdims, out)


@implements(np.min, methods=("min",))
def min(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True) -> Any:
    without_initial(initial, "min")
    return reduce(reduction.min, masked(a, where, np.inf), axis, keepdims, out)


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
    if axis is None:
        result = primitive(ravel(a), axes=(0,))
        return reshape(result, (1,) * ndim) if keepdims and keepdims is not NO_VALUE else result
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
    number = count(a, axis, where)
    if keepdims and keepdims is not NO_VALUE and not isinstance(number, int):
        number = np.reshape(number, shape_of(sum(a, axis, keepdims=True)))
    result = sum(a, axis, dtype, keepdims=keepdims, where=where) / number
    return result if out is None else HOOKS["out"](out, result, "mean")


@implements(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    a = floating(a)
    if weights is None:
        result, total = mean(a, axis, keepdims=keepdims), count(a, axis, True)
        return (result, np.broadcast_to(float(total), shape_of(result))) if returned else result
    weights = operand(weights)
    if shape_of(weights) != shape_of(a):
        axis = normalize_axis(axis, len(shape_of(a)), "average")
        weights = reshape(weights, tuple(-1 if i == axis else 1 for i in range(len(shape_of(a)))))
        weights = weights * np.ones(shape_of(a))
    total = sum(weights, axis, keepdims=keepdims)
    result = sum(a * weights, axis, keepdims=keepdims) / total
    return (result, total) if returned else result


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
    divisor = np.maximum(number - ddof, 0)
    return total / (np.reshape(divisor, shape_of(total)) if np.ndim(divisor) else divisor)


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
    return np.sqrt(var(a, axis, dtype, out, ddof, keepdims, where=where, mean=mean, correction=correction))


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims)


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
    return result if out is None else HOOKS["out"](out, result, primitive.name)


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = NO_VALUE, append: Any = NO_VALUE) -> Any:
    if prepend is not NO_VALUE or append is not NO_VALUE:
        raise UnsupportedError(f"np.diff: use np.concatenate in place of prepend= and append= on traced values{at_user_line()}")
    a = operand(a)
    lead = (slice(None),) * normalize_axis(axis, len(shape_of(a)), "diff")
    for _ in range(n):
        a = a[(*lead, slice(1, None))] - a[(*lead, slice(None, -1))]
    return a


@implements(np.where)
def where(condition: Any, /, x: Any = NO_VALUE, y: Any = NO_VALUE) -> Any:
    condition = operand(condition)
    if x is NO_VALUE:
        if isinstance(condition, Tracer):
            condition = condition.peek("np.where with one argument, whose result's shape depends on values")
        return np.nonzero(condition)
    if dtype_of(condition).kind != "b":
        condition = arithmetic.not_equal(condition, 0)
    x, y = operand(x), operand(y)
    return arithmetic.where(condition, x, y)


HOOKS["where"] = where


@implements(np.clip)
def clip(
    a: Any, a_min: Any = NO_VALUE, a_max: Any = NO_VALUE, out: Any = None, *, min: Any = NO_VALUE, max: Any = NO_VALUE
) -> Any:
    low = min if a_min is NO_VALUE else a_min
    high = max if a_max is NO_VALUE else a_max
    result = operand(a)
    if low is not None and low is not NO_VALUE:
        result = arithmetic.maximum(result, operand(low))
    if high is not None and high is not NO_VALUE:
        result = arithmetic.minimum(result, operand(high))
    return result if out is None else HOOKS["out"](out, result, "clip")


install_method("clip", lambda self, min=None, max=None, out=None: clip(self, min, max, out))
UFUNCS[np._core.umath.clip] = clip  # type: ignore[attr-defined]
UFUNCS[np.conjugate] = conjugate


@implements(np.round, np.around, methods=("round",))
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    a = operand(a)
    if dtype_of(a).kind in "iub":
        return a
    power = 10.0**decimals
    return arithmetic.rint(a * power) / power if decimals else arithmetic.rint(a)


@implements(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    return arithmetic.trunc(operand(x))


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = operand(default)
    for condition, choice in reversed(list(zip(condlist, choicelist))):
        result = where(condition, choice, result)
    return result


@implements(np.choose)
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    a = operand(a)
    number = len(choices)
    if mode == "wrap":
        a = a % number
    elif mode == "clip":
        a = clip(a, 0, number - 1)
    elif not isinstance(a, Tracer) and (np.any(np.asarray(a) < 0) or np.any(np.asarray(a) >= number)):
        raise ValueError(f"np.choose: invalid entry in choice array{at_user_line()}")
    result = operand(choices[0])
    for position in range(1, number):
        result = where(arithmetic.equal(a, position), choices[position], result)
    return result


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    x = operand(x)
    info = np.finfo(dtype_of(x))
    high = float(info.max) if posinf is None else posinf
    low = float(info.min) if neginf is None else neginf
    x = where(arithmetic.isnan(x), nan, x)
    return where(arithmetic.equal(x, np.inf), high, where(arithmetic.equal(x, -np.inf), low, x))


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    z = operand(z)
    result = np.arctan2(z.imag, z.real)
    return np.rad2deg(result) if deg else result


@implements(np.sinc)
def sinc(x: Any) -> Any:
    z = np.pi * floating(x)
    near = np.abs(z) < 1e-4
    safe = np.where(near, 1.0, z)
    squared = z * z
    return np.where(near, 1 - squared / 6 * (1 - squared / 20), np.sin(safe) / safe)


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    a, b = operand(a), operand(b)
    close = np.abs(a - b) <= atol + rtol * np.abs(b)
    close = close & np.isfinite(b) | arithmetic.equal(a, b)
    return close | np.isnan(a) & np.isnan(b) if equal_nan else close


@implements(np.allclose)
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    return bool(all(isclose(a, b, rtol, atol, equal_nan)))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    if shape_of(operand(a1)) != shape_of(operand(a2)):
        return False
    return bool(all(arithmetic.equal(operand(a1), operand(a2))))


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = floating(x)
    if axis is None:
        if ord is None:
            result = np.sqrt(squares(ravel(x), None))
            return reshape(result, (1,) * len(shape_of(x))) if keepdims else result
        axis = tuple(range(len(shape_of(x))))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if len(axes) == 1:
        return vector_norm_along(x, 2 if ord is None else ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError(f"np.linalg.norm: improper number of dimensions to norm{at_user_line()}")
    rows, columns = normalize_axis(axes[0], len(shape_of(x)), "norm"), normalize_axis(axes[1], len(shape_of(x)), "norm")
    if ord is None or ord == "fro":
        return np.sqrt(squares(x, (rows, columns), keepdims))
    if ord in (1, -1, np.inf, -np.inf):
        inner, outer = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = sum(np.abs(x), inner, keepdims=True)
        result = (max if ord > 0 else min)(sums, outer, keepdims=True)
        return result if keepdims else reshape(result, tuple(n for i, n in enumerate(shape_of(x)) if i not in (rows, columns)))
    raise UnsupportedError(
        f"np.linalg.norm: ord={ord!r} of a matrix needs a singular value decomposition, which is not supported on traced values"
        f"\n  Remedy: use the Frobenius norm, or ord 1 or inf.{at_user_line()}"
    )


def squares(x: Any, axis: Any, keepdims: bool = False) -> Any:
    """The sum of squared magnitudes."""
    return sum(real(x * conjugate(x)) if dtype_of(x).kind == "c" else x * x, axis, keepdims=keepdims)


def vector_norm_along(x: Any, ord: Any, axis: int, keepdims: bool) -> Any:
    if ord == 2:
        return np.sqrt(squares(x, axis, keepdims))
    if ord in (np.inf, -np.inf):
        return (max if ord > 0 else min)(np.abs(x), axis, keepdims=keepdims)
    if ord == 1:
        return sum(np.abs(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum(astype(arithmetic.not_equal(x, 0), np.float64), axis, keepdims=keepdims)
    return sum(np.abs(x) ** float(ord), axis, keepdims=keepdims) ** (1.0 / ord)


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    if axis is None:
        result = vector_norm_along(ravel(floating(x)), ord, 0, False)
        return reshape(result, (1,) * len(shape_of(x))) if keepdims else result
    if isinstance(axis, int):
        return vector_norm_along(floating(x), ord, axis, keepdims)
    raise UnsupportedError(f"np.linalg.vector_norm: several axes are not supported on traced values{at_user_line()}")


@implements(np.argsort, methods=("argsort",))
def argsort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    a = operand(a)
    if axis is None:
        a, axis = ravel(a), 0
    return argsort_op(a, axis=normalize_axis(axis, len(shape_of(a)), "argsort"))


@implements(np.sort)
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    a = operand(a)
    if axis is None:
        a, axis = ravel(a), 0
    return take_along_axis(a, argsort(a, axis), axis)


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    arr, indices = operand(arr), operand(indices)
    if axis is None:
        arr, axis = ravel(arr), 0
    ndim = len(shape_of(arr))
    axis = normalize_axis(axis, ndim, "take_along_axis")
    index = []
    for place in range(ndim):
        if place == axis:
            index.append(indices)
        else:
            grid = np.arange(shape_of(arr)[place])
            index.append(np.reshape(grid, tuple(-1 if i == place else 1 for i in range(ndim))))
    return HOOKS["getitem"](arr, tuple(index))


@implements(np.median)
def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    return quantile(a, 0.5, axis, keepdims=keepdims)


@implements(np.percentile)
def percentile(
    a: Any, q: Any, axis: Any = None, out: Any = None, method: str = "linear", keepdims: bool = False, **keywords: Any
) -> Any:
    return quantile(a, np.true_divide(q, 100), axis, method=method, keepdims=keepdims, **keywords)


@implements(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """By sorting; along the one axis that all reduced ones are merged into."""
    if method != "linear":
        raise UnsupportedError(
            f"np.quantile: method={method!r} is not supported on traced values; use 'linear'{at_user_line()}"
        )
    a = floating(a)
    shape = shape_of(a)
    axes = normalize_axes(axis, len(shape), "quantile")
    kept = [i for i in range(len(shape)) if i not in axes]
    merged = reshape(np.transpose(a, [*kept, *axes]), (*(shape[i] for i in kept), math.prod(shape[i] for i in axes)))
    ordered = sort(merged, -1)
    position = np.asarray(q) * (shape_of(merged)[-1] - 1)
    lower = np.floor(position).astype(int)
    upper = np.ceil(position).astype(int)
    fraction = (position - lower).astype(dtype_of(a))
    low, high = HOOKS["getitem"](ordered, (..., lower)), HOOKS["getitem"](ordered, (..., upper))
    result = low + fraction * (high - low)
    if np.ndim(q):
        result = np.moveaxis(result, -1, 0)
    if keepdims:
        result = reshape(result, np.shape(q) + tuple(1 if i in axes else n for i, n in enumerate(shape)))
    return result


@implements(np.searchsorted, methods=("searchsorted",))
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    a, v = operand(a), operand(v)
    compare = arithmetic.less if side == "left" else arithmetic.less_equal
    if sorter is not None:
        a = HOOKS["getitem"](a, operand(sorter))
    return sum(compare(a, expand_dims(v, -1)), -1)


for _ufunc, _function in ((np.add, sum), (np.multiply, prod), (np.maximum, max), (np.minimum, min)):
    UFUNC_METHODS[_ufunc, "reduce"] = lambda a, axis=0, _function=_function, **keywords: _function(a, axis, **keywords)
UFUNC_METHODS[np.add, "accumulate"] = lambda a, axis=0, dtype=None: cumsum(a, axis, dtype)
UFUNC_METHODS[np.multiply, "accumulate"] = lambda a, axis=0, dtype=None: cumprod(a, axis, dtype)

ALTERNATIVES[np.fft.fft] = "multiply by the matrix np.fft.fft(np.eye(n))"
ALTERNATIVES[np.linalg.svd] = "use np.linalg.norm, np.linalg.solve or np.linalg.cholesky where they suffice"
ALTERNATIVES[np.linalg.eigh] = "use np.linalg.cholesky or np.linalg.solve where they suffice"
ALTERNATIVES[np.nancumsum] = "use np.cumsum(np.where(np.isnan(x), 0, x))"
ALTERNATIVES[np.nansum] = "use np.sum(x, where=~np.isnan(x))"
