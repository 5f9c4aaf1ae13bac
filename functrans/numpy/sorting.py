"""NumPy's functions that sort, search and select by order."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.tracer import HOOKS, Tracer, install_method, operand
from functrans.core.types import dtype_of, shape_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.joining import concatenate
from functrans.numpy.reduction import sum
from functrans.numpy.registry import delivered, implements, normalize_axis
from functrans.numpy.structure import (
    astype,
    expand_dims,
    ravel,
    take,
)
from functrans.ops import arithmetic
from functrans.ops import sorting as ops


@implements(np.argsort, methods=("argsort",))
def argsort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    a = operand(a)
    if axis is None:
        a, axis = ravel(a), 0
    return ops.argsort(a, axis=normalize_axis(axis, len(shape_of(a)), "argsort"))


@implements(np.sort)
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    a = operand(a)
    if axis is None:
        a, axis = ravel(a), 0
    return ops.sort(a, axis=normalize_axis(axis, len(shape_of(a)), "sort"))


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    arr, indices = operand(arr), operand(indices)
    if axis is None:
        arr, axis = ravel(arr), 0
    return HOOKS["getitem"](arr, index_along(arr, indices, axis))


def index_along(arr: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """The index that `take_along_axis` reads and `put_along_axis` writes."""
    ndim = len(shape_of(arr))
    axis = normalize_axis(axis, ndim, "take_along_axis")
    grids = np.ogrid[tuple(slice(n) for n in shape_of(arr))]
    return tuple(indices if place == axis else grids[place] for place in range(ndim))


@implements(np.searchsorted, methods=("searchsorted",))
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    a, v = operand(a), operand(v)
    compare = arithmetic.less if side == "left" else arithmetic.less_equal
    if sorter is not None:
        a = HOOKS["getitem"](a, operand(sorter))
    v = expand_dims(v, -1)
    is_before = compare(a, v)
    if dtype_of(v).kind == "f":  # nan comes after all numbers, which no comparison says
        is_before = is_before | (v != v) & (True if side == "right" else (a == a))
    return sum(is_before, -1)


@implements(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: Any = None, order: Any = None) -> Any:
    """Sorted entirely, which is a partition at every place."""
    return sort(a, axis)


@implements(np.argpartition, methods=("argpartition",))
def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: Any = None, order: Any = None) -> Any:
    return argsort(a, axis)


@implements(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """By stable sorts, from the first key, the least important, to the last."""
    first, *others = (operand(key) for key in keys)
    order = argsort(first, axis)
    for key in others:
        order = take_along_axis(order, argsort(take_along_axis(key, order, axis), axis), axis)
    return order


def concrete(a: Any, function: str) -> Any:
    """The values behind `a`, for a function the shape of whose result depends on them."""
    a = operand(a)
    return np.asarray(a.peek(f"np.{function}, whose result depends on values,") if isinstance(a, Tracer) else a)


@implements(np.nonzero, methods=("nonzero",))
def nonzero(a: Any) -> tuple[Any, ...]:
    return np.nonzero(concrete(a, "nonzero"))


@implements(np.flatnonzero)
def flatnonzero(a: Any) -> Any:
    return np.flatnonzero(concrete(a, "flatnonzero"))


@implements(np.argwhere)
def argwhere(a: Any) -> Any:
    return np.argwhere(concrete(a, "argwhere"))


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return take(ravel(arr), np.flatnonzero(concrete(condition, "extract")), 0)


@implements(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    result = take(a, np.flatnonzero(concrete(condition, "compress")), axis)
    return delivered(result, out, "compress")


install_method("compress", lambda self, condition, axis=None, out=None: compress(condition, self, axis, out))


@implements(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The first of equal elements, gathered: each keeps its derivative."""
    values = concrete(ar, "unique")
    _, first, inverse, counts = np.unique(values, True, True, True, axis, equal_nan=equal_nan)
    found = take(ar, first, axis)
    extra = [part for part, asked in ((first, return_index), (inverse, return_inverse), (counts, return_counts)) if asked]
    return (found, *extra) if extra else found


@implements(np.unique_values)
def unique_values(x: Any, /) -> Any:
    return unique(x, equal_nan=False)


@implements(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    return unique(concatenate([ar1, ar2], None))


@implements(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    first = ravel(ar1) if assume_unique else unique(ar1)
    return extract(~np.isin(concrete(first, "setdiff1d"), concrete(ar2, "setdiff1d")), first)


@implements(np.isin)
def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None) -> Any:
    found = np.any(arithmetic.equal(expand_dims(operand(element), -1), ravel(test_elements)), axis=-1)
    return ~found if invert else found


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    side = "left" if right else "right"
    edges = concrete(bins, "digitize")
    if np.all(edges[1:] >= edges[:-1]):
        return searchsorted(bins, x, side)
    if np.any(edges[1:] > edges[:-1]):
        raise ValueError(f"np.digitize: bins must be monotonically increasing or decreasing{at_user_line()}")
    return len(edges) - searchsorted(edges[::-1], x, side)


@implements(np.sort_complex)
def sort_complex(a: Any) -> Any:
    a = sort(a)
    return a if dtype_of(a).kind == "c" else astype(a, np.result_type(dtype_of(a), np.complex64))


@implements(np.intersect1d)
def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    if return_indices:
        raise UnsupportedError(
            f"np.intersect1d: return_indices= is not supported on traced values\n  Remedy: use np.isin.{at_user_line()}"
        )
    first = unique(ar1)
    return extract(np.isin(concrete(first, "intersect1d"), concrete(ar2, "intersect1d")), first)


@implements(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    return unique(concatenate([setdiff1d(ar1, ar2), setdiff1d(ar2, ar1)]))
