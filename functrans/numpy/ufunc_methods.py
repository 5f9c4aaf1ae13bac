"""The methods of ufuncs: ``reduce``, ``accumulate``, ``outer``, ``reduceat`` and ``at``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.mutation import assign, cast_into, check_traced
from functrans.core.tracer import UFUNC_METHODS, operand
from functrans.core.types import shape_of
from functrans.errors import at_user_line
from functrans.numpy.indexing import AtIndex
from functrans.numpy.joining import concatenate
from functrans.numpy.reduction import all, any, cumprod, cumsum, max, min, prod, sum
from functrans.numpy.registry import normalize_axis
from functrans.numpy.structure import expand_dims, reshape, take


def outer(ufunc: Any, a: Any, b: Any) -> Any:
    """`ufunc` of every element of `a` with every element of `b`."""
    a, b = operand(a), operand(b)
    return ufunc(reshape(a, shape_of(a) + (1,) * len(shape_of(b))), b)


def accumulate(ufunc: Any, a: Any, axis: int = 0) -> Any:
    """All prefixes in log2(n) rounds (Hillis and Steele 1986)."""
    a = operand(a)
    axis = normalize_axis(axis, len(shape_of(a)), "accumulate")
    lead = (slice(None),) * axis
    step = 1
    while step < shape_of(a)[axis]:
        later = ufunc(a[(*lead, slice(step, None))], a[(*lead, slice(None, -step))])
        a = concatenate([a[(*lead, slice(None, step))], later], axis)
        step *= 2
    return a


def fold(ufunc: Any, a: Any, axis: int = 0, keepdims: bool = False) -> Any:
    """The last of all prefixes: the reduction by an associative `ufunc` that has no reduction of its own."""
    a = operand(a)
    axis = normalize_axis(axis, len(shape_of(a)), "reduce")
    if not shape_of(a)[axis]:
        raise ValueError(f"np.{ufunc.__name__}.reduce: an axis without elements has no reduction{at_user_line()}")
    result = take(accumulate(ufunc, a, axis), -1, axis)
    return expand_dims(result, axis) if keepdims else result


def reduceat(a: Any, indices: Any, axis: int = 0) -> Any:
    """The sums of the stretches that begin at `indices`."""
    axis = normalize_axis(axis, len(shape_of(a)), "reduceat")
    indices = np.asarray(indices)
    stops = np.where(indices[1:] > indices[:-1], indices[1:], indices[:-1] + 1)
    lead = (slice(None),) * axis
    bounds = zip(indices.tolist(), [*stops.tolist(), shape_of(a)[axis]])
    return np.stack([sum(a[(*lead, slice(start, stop))], axis) for start, stop in bounds], axis)


def at(name: str, update: Callable[[AtIndex, Any], Any]) -> Callable[..., None]:
    """A ufunc's ``at``: an update in place that counts equal indices as often as they occur."""

    def write(a: Any, indices: Any, b: Any) -> None:
        check_traced(a, operand(b), f"{name}.at")
        assign(a, lambda target: cast_into(target, update(AtIndex(target, indices), b), f"{name}.at"))

    return write


for _ufunc, _update in {
    np.add: AtIndex.add, np.subtract: lambda place, b: place.add(-operand(b)), np.multiply: AtIndex.multiply,
    np.divide: AtIndex.divide, np.maximum: AtIndex.max, np.minimum: AtIndex.min,
}.items():  # fmt: skip
    UFUNC_METHODS[_ufunc, "at"] = at(_ufunc.__name__, _update)
for _ufunc, _function in {
    np.add: sum, np.multiply: prod, np.maximum: max, np.minimum: min, np.logical_and: all, np.logical_or: any,
}.items():  # fmt: skip
    UFUNC_METHODS[_ufunc, "reduce"] = lambda a, axis=0, _function=_function, **keywords: _function(a, axis, **keywords)
for _ufunc in (np.logaddexp, np.fmax, np.fmin):
    UFUNC_METHODS[_ufunc, "reduce"] = lambda a, axis=0, _ufunc=_ufunc, **keywords: fold(_ufunc, a, axis, **keywords)
for _ufunc in (np.maximum, np.minimum, np.logaddexp, np.fmax, np.fmin):
    UFUNC_METHODS[_ufunc, "accumulate"] = lambda a, axis=0, _ufunc=_ufunc: accumulate(_ufunc, a, axis)
for _ufunc in (
    np.add, np.subtract, np.multiply, np.divide, np.power, np.maximum, np.minimum,
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
):  # fmt: skip
    UFUNC_METHODS[_ufunc, "outer"] = lambda a, b, _ufunc=_ufunc: outer(_ufunc, a, b)
UFUNC_METHODS[np.add, "accumulate"] = lambda a, axis=0, dtype=None: cumsum(a, axis, dtype)
UFUNC_METHODS[np.multiply, "accumulate"] = lambda a, axis=0, dtype=None: cumprod(a, axis, dtype)
UFUNC_METHODS[np.add, "reduceat"] = reduceat
