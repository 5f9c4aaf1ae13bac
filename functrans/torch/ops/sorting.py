"""Sorting and selecting by rank. Values are differentiated; places, which are integers, are not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.errors import at_user_line
from functrans.torch.dtypes import result_dtype
from functrans.torch.ops.joining import stack
from functrans.torch.ops.reductions import picked
from functrans.torch.ops.shapes import axis_of
from functrans.torch.ops.table import checked_kind, define, function, returned
from functrans.torch.tensor import Tensor, made

Sorted = returned("sort", ["values", "indices"])
Top = returned("topk", ["values", "indices"])
Kth = returned("kthvalue", ["values", "indices"])


def plain_values(x: Any, name: str) -> Any:
    """What places are found of: an array, or a tracer, whose places then are traced as well."""
    return x if isinstance(x, Tracer) else np.asarray(x)


def order(raw: Any, axis: int, descending: bool) -> Any:
    """The stable permutation that sorts."""
    if not descending:
        return np.argsort(raw, axis=axis, kind="stable")
    back = np.flip(np.argsort(np.flip(raw, axis), axis=axis, kind="stable"), axis)
    return raw.shape[axis] - 1 - back


def sorted_along(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements in order along an axis, and where they were."""
    axis = axis_of(dim, x.ndim)
    if not x.ndim:
        return Sorted(x, np.int64(0))
    places = order(plain_values(x, "sort"), axis, descending)
    return Sorted(np.take_along_axis(x, places, axis), places)


define("sort", sorted_along, kinds="bif")
function("msort")(lambda input: input.sort(0)[0])


@function()
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The permutation that sorts along an axis."""
    checked_kind(input._array.dtype, "argsort", "bif")
    axis = axis_of(dim, input._array.ndim)
    return made(order(input._array, axis, descending) if input._array.ndim else np.zeros((), np.int64))


def top(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The `k` largest or smallest elements along an axis, and where they are."""
    axis = axis_of(dim, x.ndim)
    if not x.ndim and k == 1:
        return Top(x, np.int64(0))
    if not 0 <= k <= (x.shape[axis] if x.ndim else 1):
        raise RuntimeError(f"selected index k out of range{at_user_line()}")
    places = order(plain_values(x, "topk"), axis, largest)[(*(slice(None),) * axis, slice(k))]
    return Top(np.take_along_axis(x, places, axis), places)


define("topk", top, kinds="if")


def kth(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The `k`-th smallest element along an axis, and where it is."""
    axis = axis_of(dim, x.ndim)
    if not x.ndim and k == 1:
        return Kth(x, np.int64(0))
    if not 1 <= k <= (x.shape[axis] if x.ndim else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}{at_user_line()}")
    places = np.take(order(plain_values(x, "kthvalue"), axis, False), k - 1, axis=axis)
    return Kth(picked(x, places, axis, keepdim), np.expand_dims(places, axis) if keepdim else places)


define("kthvalue", kth, kinds="if")


@function()
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None) -> Any:
    """The different elements, in order."""
    checked_kind(input._array.dtype, "unique", "bif")
    values, inverse, counts = np.unique(input._array, return_inverse=True, return_counts=True, axis=dim)
    shape = input._array.shape if dim is None else (-1,)
    results = [made(values), *([made(inverse.reshape(shape))] if return_inverse else []), *([made(counts)] if return_counts else [])]
    return results[0] if len(results) == 1 else tuple(results)


@function()
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The elements without those that equal the one before."""
    checked_kind(input._array.dtype, "unique_consecutive", "bif")
    flat = input._array.reshape(-1)
    first = np.r_[True, flat[1:] != flat[:-1]] if flat.size else np.zeros(0, bool)
    counts = np.diff(np.r_[np.flatnonzero(first), flat.size])
    results = [made(flat[first])]
    if return_inverse:
        results.append(made((np.cumsum(first) - 1).reshape(input._array.shape)))
    if return_counts:
        results.append(made(counts))
    return results[0] if len(results) == 1 else tuple(results)


@function()
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number occurs."""
    checked_kind(input._array.dtype, "bincount", "i")
    if input._array.ndim != 1 or input._array.size and input._array.min() < 0:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs.{at_user_line()}")
    return made(np.bincount(input._array, None if weights is None else weights._array, minlength))


@function()
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of `bins` stretches."""
    raw = input._array
    checked_kind(raw.dtype, "histc", "f")
    low, high = (raw.min(), raw.max()) if min == max == 0 else (min, max)
    return made(np.histogram(raw, bins, (low, high))[0].astype(raw.dtype))


@function(method=False)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Which elements are among others."""
    plain = [each._array if isinstance(each, Tensor) else each for each in (elements, test_elements)]
    checked_kind(result_dtype(*plain), "isin", "if")
    return made(np.isin(plain[0], plain[1], invert=invert))


@function(method=False)
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid, one tensor per axis."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing == "xy" and len(tensors) > 1:
        second, first, *rest = meshgrid(tensors[1], tensors[0], *tensors[2:])
        return tuple(grid for grid in (first, second, *rest))
    for each in tensors:
        if each._array.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {each._array.ndim}D{at_user_line()}")
    shape = tuple(each._array.size for each in tensors)
    views = [each.reshape(*[-1 if axis == place else 1 for axis in range(len(shape))]) for place, each in enumerate(tensors)]
    return tuple(each.expand(shape) for each in views)


def one_axis(tensor: Tensor) -> None:
    """Raise unless a tensor is a vector."""
    if tensor._array.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(tensor._array.shape)}{at_user_line()}")


@function(method=False)
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All tuples of elements, as rows."""
    for each in tensors:
        one_axis(each)
    if len(tensors) == 1:
        return tensors[0]
    return stack([grid.reshape(-1) for grid in meshgrid(*tensors)], dim=-1)


@function(method=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of `r` elements, as rows."""
    one_axis(input)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(input._array.size), r)), np.int64).reshape(-1, r)
    return input[made(places)]


@function()
def searchsorted(
    sorted_sequence: Tensor, input: Any = None, *, out_int32: bool = False, right: bool = False, side: Any = None, sorter: Any = None, values: Any = None
) -> Tensor:
    """Where values would go in sorted sequences: in one, or in the one of the same row."""
    input = values if input is None else input
    wanted = input._array if isinstance(input, Tensor) else np.asarray(input)
    lines = sorted_sequence._array
    if sorter is not None:
        lines = np.take_along_axis(lines, sorter._array, -1)
    side = side or ("right" if right else "left")
    kind = np.int32 if out_int32 else np.int64
    if lines.ndim == 1:
        return made(np.asarray(np.searchsorted(lines, wanted, side)).astype(kind))
    if lines.shape[:-1] != wanted.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and input value "
            f"tensor must match, but we got boundaries tensor {list(lines.shape)} and input value tensor {list(wanted.shape)}{at_user_line()}"
        )
    rows = [np.searchsorted(line, row, side) for line, row in zip(lines.reshape(-1, lines.shape[-1]), wanted.reshape(-1, wanted.shape[-1]))]
    return made(np.array(rows).reshape(wanted.shape).astype(kind))


@function()
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket of each value."""
    return searchsorted(boundaries, input, right=right, out_int32=out_int32)
