"""NumPy's statistics."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from functrans.core.tracer import operand
from functrans.core.types import PYTHON_SCALARS, dtype_of, result_dtype, shape_of, type_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.elementwise import where
from functrans.numpy.joining import concatenate
from functrans.numpy.reduction import count, floating, max, mean, min, sum
from functrans.numpy.registry import NO_VALUE, delivered, implements, normalize_axes, normalize_axis
from functrans.numpy.sorting import concrete, sort, take_along_axis
from functrans.numpy.structure import (
    astype,
    atleast_2d,
    broadcast_values,
    conjugate,
    expand_dims,
    ravel,
    reshape,
)
from functrans.ops import arithmetic


@implements(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    a = floating(a)
    if weights is None:
        result, total = mean(a, axis, keepdims=keepdims), count(a, axis, True)
        if not returned:
            return result
        return result, np.full_like(result, total) if shape_of(result) else dtype_of(result).type(total)
    weights = operand(weights)
    if shape_of(weights) != shape_of(a):
        axis = normalize_axis(axis, len(shape_of(a)), "average")
        weights = reshape(weights, tuple(-1 if i == axis else 1 for i in range(len(shape_of(a)))))
        weights = weights * np.ones(shape_of(a))
    total = sum(weights, axis, keepdims=keepdims)
    result = sum(a * weights, axis, keepdims=keepdims) / total
    return (result, total) if returned else result


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    result = max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims)
    return delivered(result, out, "ptp")


@implements(np.median)
def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    return quantile(a, 0.5, axis, out, keepdims=keepdims)


@implements(np.percentile)
def percentile(a: Any, q: Any, axis: Any = None, out: Any = None, *others: Any, **keywords: Any) -> Any:
    return quantile(a, hundredths(q), axis, out, *others, **keywords)


def hundredths(q: Any) -> Any:
    """Percent as parts of one, weak where they are."""
    return q / 100 if type(q) in PYTHON_SCALARS else np.true_divide(q, 100)


# The continuous definitions of Hyndman and Fan, Sample quantiles in statistical packages (1996).
PLOTTING_POSITIONS = {
    "linear": (1.0, 1.0), "hazen": (0.5, 0.5), "weibull": (0.0, 0.0), "interpolated_inverted_cdf": (0.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3), "normal_unbiased": (3 / 8, 3 / 8),
}  # fmt: skip
ROUNDINGS = {
    "lower": np.floor,
    "higher": np.ceil,
    "nearest": np.rint,
    "midpoint": lambda position: 0.5 * (np.floor(position) + np.ceil(position)),
}
# Those that give an element as it is.
ELEMENTS = {"lower", "higher", "nearest"}


def place_of(q: Any, number: Any, method: str) -> Any:
    """Where in `number` sorted elements the quantile lies, counted from 0; between two it is interpolated."""
    if method in ROUNDINGS:
        return ROUNDINGS[method](q * (number - 1))
    if method not in PLOTTING_POSITIONS:
        known = ", ".join([*PLOTTING_POSITIONS, *ROUNDINGS])
        raise UnsupportedError(
            f"np.quantile: method={method!r} is not supported on traced values\n  Remedy: use one of {known}.{at_user_line()}"
        )
    alpha, beta = PLOTTING_POSITIONS[method]
    return np.clip(q * number + (alpha + q * (1 - alpha - beta)) - 1, 0, number - 1)


@implements(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """nan where there is one: sorted, it is the last."""
    result = sorted_quantile(a, q, axis, method, keepdims, weights, leave_out=False)
    return delivered(result, out, "quantile")


@implements(np.nanquantile)
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    result = sorted_quantile(a, q, axis, method, keepdims is not NO_VALUE and keepdims, weights, leave_out=True)
    return delivered(result, out, "nanquantile")


def sorted_quantile(a: Any, q: Any, axis: Any, method: str, keepdims: bool, weights: Any, *, leave_out: bool) -> Any:
    """By sorting, along the one axis that all reduced ones are merged into."""
    if weights is not None:
        raise UnsupportedError(
            f"np.quantile: weights= is not supported on traced values\n  Remedy: leave it out.{at_user_line()}"
        )
    a, q = operand(a), operand(q)
    is_element = method in ELEMENTS
    dtype = dtype_of(a) if is_element else weighted_dtype(a, q)
    a = a if is_element else floating(a)
    shape = shape_of(a)
    axes = normalize_axes(axis, len(shape), "quantile")
    kept = [i for i in range(len(shape)) if i not in axes]
    merged = reshape(np.transpose(a, [*kept, *axes]), (*(shape[i] for i in kept), math.prod(shape[i] for i in axes)))
    ordered = sort(merged, -1)
    ranks = reshape(q, (-1,))
    if leave_out:
        number = sum(~np.isnan(merged), -1, keepdims=True)
        ranks = broadcast_values(ranks, (*shape_of(merged)[:-1], *shape_of(ranks)))
    else:
        number = shape_of(merged)[-1]
    position = arithmetic.maximum(place_of(ranks, number, method), 0.0)
    result = elements(ordered, position) if is_element else interpolated(ordered, position, dtype)
    if not leave_out and dtype_of(result).kind in "fc":
        result = where(np.isnan(ordered[..., -1:]), np.nan, result)
    result = astype(result, dtype)
    result = reshape(np.moveaxis(result, -1, 0), shape_of(q) + tuple(shape[i] for i in kept)) if shape_of(q) else result[..., 0]
    return expand_dims(result, tuple(len(shape_of(q)) + i for i in axes)) if keepdims and axes else result


def weighted_dtype(a: Any, q: Any) -> np.dtype[Any]:
    """What NumPy interpolates in: the common dtype, where a Python number `q` takes on that of floats only."""
    if dtype_of(a).kind not in "iub":
        return result_dtype(dtype_of(a), type_of(q).promoting)
    return result_dtype(dtype_of(a), dtype_of(q)) if dtype_of(q).kind == "f" else np.dtype(np.float64)


def elements(ordered: Any, position: Any) -> Any:
    """Elements of the last axis: at the same places for all, or at as many as there are leading axes."""
    places = astype(position, np.intp)
    return ordered[..., places] if len(shape_of(places)) == 1 else take_along_axis(ordered, places, -1)


def interpolated(ordered: Any, position: Any, dtype: np.dtype[Any]) -> Any:
    """Elements of the last axis at places between them, weighted in `dtype`."""
    lower, upper = np.floor(position), np.ceil(position)
    low, high = elements(ordered, lower), elements(ordered, upper)
    part, step = astype(position - lower, dtype), high - low
    # From the nearer one, as NumPy does it. Where both are infinite, or nan, the difference would make a nan.
    return where(lower == upper, low, where(part < 0.5, low + part * step, high - (1 - part) * step))


@implements(np.nanpercentile)
def nanpercentile(a: Any, q: Any, axis: Any = None, out: Any = None, *others: Any, **keywords: Any) -> Any:
    return nanquantile(a, hundredths(q), axis, out, *others, **keywords)


@implements(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    return nanquantile(a, 0.5, axis, out, keepdims=keepdims)


@implements(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    rows = variables(m, rowvar) if y is None else concatenate([variables(m, rowvar), variables(y, rowvar)], 0)
    rows = rows if dtype is None else astype(rows, dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    given = [operand(w) for w in (fweights, aweights) if w is not None]
    weights = given[0] * given[1] if len(given) == 2 else given[0] if given else None
    center, total = average(rows, 1, weights, returned=True)
    number = shape_of(rows)[1]
    if weights is None:
        divisor: Any = number - ddof
    else:
        total = total[0]
        divisor = total - ddof if aweights is None else total - ddof * np.sum(weights * operand(aweights)) / total
    deviation = rows - center[:, None]
    weighted = deviation if weights is None else deviation * weights
    return np.squeeze(np.dot(deviation, conjugate(weighted).T) / divisor)


def variables(m: Any, rowvar: bool) -> Any:
    """A matrix with one variable in each row."""
    m = floating(m)
    return atleast_2d(m) if rowvar or len(shape_of(m)) == 1 else m.T


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    c = cov(x, y, rowvar, dtype=dtype)
    if not shape_of(c):
        return c / c
    deviation = np.sqrt(np.real(np.diagonal(c)))
    c = c / deviation[:, None] / deviation[None, :]
    return np.clip(c, -1, 1) if dtype_of(c).kind != "c" else c


@implements(np.histogram)
def histogram(a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> tuple[Any, Any]:
    if isinstance(bins, str):
        raise UnsupportedError(
            f"np.histogram: bins={bins!r} is not supported on traced values\n  Remedy: give their number.{at_user_line()}"
        )
    a = ravel(a)
    edges = operand(bins) if np.ndim(bins) else equal_bins(a, bins, range)
    last = arithmetic.less_equal(a, edges[-1])
    before = concatenate([arithmetic.less(a, edges[:-1, None]), last[None]], 0)
    counts = np.diff(sum(before if weights is None else where(before, ravel(weights), 0), 1))
    if density:
        return counts / np.diff(edges) / sum(counts), edges
    return counts, edges


def equal_bins(a: Any, number: int, limits: Any) -> Any:
    """Edges of bins of equal width, over the range of `a` where no limits are given."""
    low, high = (min(a), max(a)) if limits is None else map(operand, limits)
    equal = arithmetic.equal(low, high)
    low, high = where(equal, low - 0.5, low), where(equal, high + 0.5, high)
    return np.linspace(low, high, number + 1)


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    x = concrete(x, "bincount")
    if weights is None:
        return np.bincount(x, minlength=minlength)
    length = builtins.max(int(np.max(x, initial=-1)) + 1, minlength)
    weights = astype(operand(weights), np.float64)
    return np.zeros_like(weights, shape=length).at[x].add(weights)
