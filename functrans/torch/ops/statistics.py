"""Histograms, medians and quantiles without nans, differences, and distances of all pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.torch.dtypes import title
from functrans.torch.ops.further import distances
from functrans.torch.ops.reductions import along_with_places, picked
from functrans.torch.ops.shapes import axis_of
from functrans.torch.ops.table import checked_kind, define, function, returned
from functrans.torch.tensor import Tensor, made

Histogram = returned("histogram", ["hist", "bin_edges"])
HistogramOfMany = returned("histogramdd", ["hist", "bin_edges"])


def nan_median_place(raw: Any, axis: int) -> Any:
    """Where the lower median of what is no nan is; the first place where all is nan."""
    missing = np.isnan(raw)
    order = np.argsort(np.where(missing, np.inf, raw), axis=axis, kind="stable")
    middle = np.maximum(np.sum(~missing, axis=axis, keepdims=True) - 1, 0) // 2
    return np.squeeze(np.take_along_axis(order, middle, axis), axis)


_along = define("_nanmedian", along_with_places("nanmedian", nan_median_place), node="NanmedianBackward1", method=False, public=False)
_all = define(
    "_nanmedian_of_all",
    lambda x: picked(np.ravel(x), nan_median_place(np.ravel(x), 0), 0, False),
    node="NanmedianBackward0",
    method=False,
    public=False,
)


@function()
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, without nans, and along an axis where it is."""
    if input._array.dtype.kind != "f":
        return input.median() if dim is None else input.median(dim, keepdim)
    return _all(input) if dim is None else _along(input, dim, keepdim)


def checked_quantile(x: Any, q: Any, name: str) -> Any:
    """The input of a quantile, as torch asks for it."""
    if dtype_of(x).name not in ("float32", "float64"):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype{at_user_line()}")
    if hasattr(q, "dtype") and q.dtype != dtype_of(x):
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor{at_user_line()}")
    if np.any(np.asarray(q) < 0) or np.any(np.asarray(q) > 1):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]{at_user_line()}")
    return dtype_of(x).type(q) if type(q) in (int, float) else q


def quantile_of(name: str, run: Any) -> Any:
    """A quantile of elements along an axis."""
    def call(x: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
        q = checked_quantile(x, q, name)
        if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
            raise RuntimeError(
                f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}{at_user_line()}"
            )
        axis = None if dim is None else axis_of(dim, len(shape_of(x)))
        return run(x, q, axis=axis, keepdims=keepdim, method=interpolation)

    return call


define("quantile", quantile_of("quantile", np.quantile), node="LerpBackward0")
define("nanquantile", quantile_of("nanquantile", np.nanquantile), node="LerpBackward0")


def differences(x: Any, spacing: Any, dim: Any, edge_order: Any) -> Any:
    """Central differences along axes, as `numpy.gradient`."""
    rank = len(shape_of(x))
    dims = range(rank) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
    axes = [axis_of(each, rank) for each in dims]
    steps = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(axes)
    if len(steps) != len(axes):
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(axes)} but got a list of length "
            f"{len(steps)}{at_user_line()}"
        )
    if any(shape_of(x)[axis] < edge_order + 1 for axis in axes):
        raise RuntimeError(f"torch.gradient expected each dimension size to be at least edge_order+1{at_user_line()}")
    checked_kind(dtype_of(x), "gradient", "ifc")
    if dtype_of(x).kind in "iu":
        x = x.astype(np.float32)
    return tuple(np.gradient(x, step, axis=axis, edge_order=edge_order).astype(dtype_of(x)) for step, axis in zip(steps, axes))


_gradient = define("_gradient", differences, node="CatBackward0", method=False, public=False)


@function(method=False)
def gradient(input: Tensor, *, spacing: Any = 1.0, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """The slopes along axes of a function known at points: central differences, of `edge_order` at the edges."""
    return _gradient(input, spacing, dim, edge_order)


def counted(input: Tensor, name: str) -> Any:
    """The array of a tensor whose elements are sorted into bins."""
    if input._array.dtype.kind != "f":
        raise NotImplementedError(f'"{name}" not implemented for \'{title(input.dtype)}\'{at_user_line()}')
    return input._array


@function()
def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:
    """How many elements, or what weight of them, falls into each bin, and the edges of the bins."""
    array = counted(input, "histogram")
    edges = bins._array if isinstance(bins, Tensor) else bins
    hist, found = np.histogram(array, edges, range, density, None if weight is None else weight._array)
    return Histogram(made(hist.astype(array.dtype)), made(found.astype(array.dtype)))


@function(method=False)
def histogramdd(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:
    """How many rows, points of a space, fall into each box, and the edges of the boxes."""
    array = counted(input, "histogramdd")
    edges = [each._array if isinstance(each, Tensor) else each for each in bins] if isinstance(bins, Sequence) else bins
    pairs = None if range is None else [tuple(range[place : place + 2]) for place in np.arange(0, len(range), 2)]
    hist, found = np.histogramdd(array, edges, pairs, density, None if weight is None else weight._array)
    return HistogramOfMany(made(hist.astype(array.dtype)), tuple(made(each.astype(array.dtype)) for each in found))


def pairs_apart(x: Any, p: float = 2.0) -> Any:
    """The distances of all pairs of rows."""
    if len(shape_of(x)) != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {len(shape_of(x))}D{at_user_line()}")
    first, second = np.triu_indices(shape_of(x)[0], 1)
    return distances(x[first] - x[second], p)


pdist = define("pdist", pairs_apart, node="PdistBackward0", method=False, kinds="f")


@function("unravel_index", method=False)
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates in an array of `shape` of places in its order."""
    lengths = (shape,) if isinstance(shape, int) else tuple(int(length) for length in shape)
    array = indices._array
    if array.dtype.kind not in "iu":
        raise ValueError(f"expected 'indices' to be integer, but got torch.{array.dtype.name}{at_user_line()}")
    if array.size and (array.min() < -math.prod(lengths) or array.max() >= math.prod(lengths)):
        raise ValueError(f"indices must be within the {math.prod(lengths)} elements of shape {lengths}{at_user_line()}")
    return tuple(made(np.asarray(each)) for each in np.unravel_index(array % math.prod(lengths), lengths))
