"""NumPy's reductions that leave nan out."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.tracer import operand, strengthen
from functrans.core.types import dtype_of
from functrans.numpy.elementwise import where
from functrans.numpy.reduction import all, cumprod, cumsum, floating, max, mean, min, prod, sum, var
from functrans.numpy.registry import NO_VALUE, delivered, implements
from functrans.ops import arithmetic


def without_nan(a: Any, neutral: Any) -> Any:
    """`a` with `neutral` in the place of nan."""
    a = strengthen(operand(a))
    return a if dtype_of(a).kind not in "fc" else where(arithmetic.isnan(a), neutral, a)


def numbers(a: Any, mask: Any) -> Any:
    """Where `a` is not nan, and `mask` holds."""
    here = arithmetic.logical_not(arithmetic.isnan(a))
    return here if mask is True or mask is NO_VALUE else here & operand(mask)


@implements(np.nansum)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    return sum(without_nan(a, 0), axis, dtype, out, keepdims, initial, where)


@implements(np.nanprod)
def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NO_VALUE,
    where: Any = True,
) -> Any:
    return prod(without_nan(a, 1), axis, dtype, out, keepdims, initial, where)


@implements(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    return cumsum(without_nan(a, 0), axis, dtype, out)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    return cumprod(without_nan(a, 1), axis, dtype, out)


@implements(np.nanmean)
def nanmean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
    a = floating(a)
    return mean(a, axis, dtype, out, keepdims, where=numbers(a, where))


@implements(np.nanvar)
def nanvar(
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
    a = floating(a)
    return var(a, axis, dtype, out, ddof, keepdims, where=numbers(a, where), mean=mean, correction=correction)


@implements(np.nanstd)
def nanstd(
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
    result = np.sqrt(nanvar(a, axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction))
    return delivered(result, out, "nanstd")


@implements(np.nanmax)
def nanmax(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True) -> Any:
    return extremum(max, -np.inf, a, axis, out, keepdims, initial, where)


@implements(np.nanmin)
def nanmin(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True) -> Any:
    return extremum(min, np.inf, a, axis, out, keepdims, initial, where)


def extremum(function: Any, worst: float, a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, mask: Any) -> Any:
    """The extremum of what is not nan; nan where nothing is left."""
    result = function(without_nan(a, worst), axis, None, keepdims, initial, mask)
    if dtype_of(result).kind == "f":
        nothing = all(arithmetic.isnan(strengthen(operand(a))), axis, keepdims=keepdims)
        result = where(nothing, np.nan, result)
    return delivered(result, out, "nan" + function.__name__)


@implements(np.nanargmax)
def nanargmax(a: Any, axis: int | None = None, out: Any = None, *, keepdims: Any = False) -> Any:
    return np.argmax(without_nan(a, -np.inf), axis, out, keepdims=keepdims)


@implements(np.nanargmin)
def nanargmin(a: Any, axis: int | None = None, out: Any = None, *, keepdims: Any = False) -> Any:
    return np.argmin(without_nan(a, np.inf), axis, out, keepdims=keepdims)
