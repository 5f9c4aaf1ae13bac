"""Reductions and cumulative functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans import nn
from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.ops import reduction
from functrans.torch.autograd.graph import PrimitiveNode, named
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import default, numpy_dtype
from functrans.torch.ops.apply import converted, perform
from functrans.torch.ops.shapes import axes_of, axis_of
from functrans.torch.ops.table import checked_kind, define, function, returned
from functrans.torch.tensor import Tensor, made


def reduced_axes(dim: Any, ndim: int) -> tuple[int, ...]:
    """Sorted axes; all for None and ()."""
    if dim is None or dim == () or dim == []:
        return tuple(range(ndim))
    axes = axes_of(dim if isinstance(dim, (tuple, list)) else (dim,), ndim)
    return tuple(sorted(axes)) if ndim else ()


def keep(result: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
    """A reduced array with the reduced axes, of length 1."""
    return np.reshape(result, keep_shape(shape, axes))


def keep_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """A shape whose reduced axes have length 1."""
    return tuple([1 if axis in axes else n for axis, n in enumerate(shape)])


class ReducedNode(PrimitiveNode):
    """A sum, of which axes may stay with length 1, divided by the number of its terms if it is a mean.

    Attributes:
        shape: the result's without the axes that stay, or None if none do.
        count: the number of terms, 1 of a sum.
    """

    __slots__ = ("count", "shape")

    count: int
    shape: tuple[int, ...] | None

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        ct = cts[0]
        if self.shape is not None:
            ct = np.reshape(ct, self.shape)
        return super().pull([ct if self.count == 1 else ct / self.count], flag, trace)


SUM = named("SumBackward0", ReducedNode), named("SumBackward1", ReducedNode)
MEAN = named("MeanBackward0", ReducedNode), named("MeanBackward1", ReducedNode)


def reduced(input: Tensor, axes: tuple[int, ...], keepdim: bool, cls: Any, name: str, count: int = 1) -> Tensor:
    """The sum along axes, divided by `count`."""
    array = input._array
    result = perform(reduction.sum, (input,), {"axes": axes}, cls, name)
    value, edge, shape = result._array, result._edge, None
    if count != 1:
        value = result._array = state.quiet(np.divide, value, count, dtype=array.dtype)
    keepdim = keepdim and axes != ()
    if keepdim and not state.special:
        shape = value.shape
        result._array = keep(value, array.shape, axes)
    if edge is not None and isinstance(edge[0], ReducedNode):
        edge[0].count, edge[0].shape = count, shape
    # What else is asked for, a tangent say, takes on the shape by a step of its own.
    return result.reshape(keep_shape(array.shape, axes)) if keepdim and state.special else result


@function()
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None) -> Tensor:
    """The sum of all elements, or along axes."""
    dim = axis if dim is None else dim
    if dtype is not None:
        input = converted(input, numpy_dtype(dtype))
    result = reduced(input, reduced_axes(dim, input._array.ndim), keepdim, SUM[dim is not None], "sum")
    return converted(result, np.dtype(np.int64)) if result._array.dtype == np.uint64 else result


def checked_floating(x: Any, name: str) -> Any:
    """`x`, which must have a fraction."""
    if dtype_of(x).kind not in "fc":
        kinds = {"i": "Long", "u": "Byte", "b": "Bool"}
        got = {"int32": "Int", "int16": "Short", "int8": "Char"}.get(dtype_of(x).name, kinds[dtype_of(x).kind])
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {got}{at_user_line()}"
        )
    return x


@function()
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None) -> Tensor:
    """The mean of all elements, or along axes."""
    dim = axis if dim is None else dim
    if dtype is not None:
        input = converted(input, numpy_dtype(dtype))
    array = checked_floating(input._array, "mean")
    axes = reduced_axes(dim, array.ndim)
    count = math.prod([array.shape[place] for place in axes])
    if state.special or array.dtype == np.float16 or isinstance(array, Tracer):
        result = _mean(input, axes)
        return result.reshape(keep_shape(array.shape, axes)) if keepdim and axes else result
    return reduced(input, axes, keepdim, MEAN[dim is not None], "mean", count)


_mean = define("_mean", lambda x, axes: np.mean(x, axis=axes), node="MeanBackward0", method=False, public=False)


def variance(x: Any, dim: Any, correction: float, keepdim: bool) -> Any:
    """The variance over axes."""
    x = checked_floating(x, "var")
    axes = reduced_axes(dim, x.ndim)
    return np.var(x, axis=axes, ddof=correction, keepdims=keepdim)


def spread(name: str, root: bool) -> None:
    """`var` and `std`, which share torch's several ways to say the correction."""
    along = define(
        f"_{name}",
        lambda x, dim, correction, keepdim: np.sqrt(variance(x, dim, correction, keepdim)) if root else variance(x, dim, correction, keepdim),
        node=f"{name.capitalize()}Backward0",
        method=False,
        public=False,
    )

    def call(input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None, axis: Any = None) -> Tensor:
        dim = axis if dim is None else dim
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        return along(input, dim, (1 if unbiased else 0) if correction is None else correction, keepdim)

    function(name)(call)


spread("var", False)
spread("std", True)
function("var_mean", method=False)(lambda input, dim=None, **kw: (input.var(dim, **kw), input.mean(dim, kw.get("keepdim", False))))
function("std_mean", method=False)(lambda input, dim=None, **kw: (input.std(dim, **kw), input.mean(dim, kw.get("keepdim", False))))


def signed(result: Any) -> Any:
    """A sum or product of integers, of whatever kind, as torch has it: in int64."""
    return result.astype(np.int64) if dtype_of(result) == np.uint64 else result


def product(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The product over axes."""
    x = x if dtype is None else x.astype(numpy_dtype(dtype))
    axes = reduced_axes(dim, x.ndim)
    result = signed(reduction.prod(x, axes=axes))
    return keep(result, x.shape, axes) if keepdim else result


_prod_all = define("_prod_all", lambda x, dtype: product(x, None, False, dtype), node="ProdBackward0", method=False, public=False)
_prod_along = define("_prod_along", product, node="ProdBackward1", method=False, public=False)


@function()
def prod(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product of all elements, or along an axis."""
    return _prod_all(input, dtype) if dim is None else _prod_along(input, dim, keepdim, dtype)


define("nansum", lambda x, dim=None, keepdim=False, *, dtype=None: without_nans(np.nansum, x, dim, keepdim, dtype), kinds="bif")
define("nanmean", lambda x, dim=None, keepdim=False, *, dtype=None: without_nans(np.nanmean, x, dim, keepdim, dtype), kinds="fc")
define("amax", lambda x, dim=(), keepdim=False: np.max(x, axis=reduced_axes(dim, x.ndim), keepdims=keepdim), kinds="bif")
define("amin", lambda x, dim=(), keepdim=False: np.min(x, axis=reduced_axes(dim, x.ndim), keepdims=keepdim), kinds="bif")
AminMax = returned("aminmax", ["min", "max"])
define("aminmax", lambda x, *, dim=None, keepdim=False: AminMax(np.min(x, axis=dim, keepdims=keepdim), np.max(x, axis=dim, keepdims=keepdim)), kinds="bif")
define("logsumexp", lambda x, dim, keepdim=False: nn.logsumexp(as_floating(x), reduced_axes(dim, x.ndim), keepdim))
define("all", lambda x, dim=None, keepdim=False: truth(np.all, x, dim, keepdim))
define("any", lambda x, dim=None, keepdim=False: truth(np.any, x, dim, keepdim))
define("count_nonzero", lambda x, dim=None: np.count_nonzero(x, axis=reduced_axes(dim, x.ndim)))


def without_nans(reduce: Any, x: Any, dim: Any, keepdim: bool, dtype: Any) -> Any:
    """A reduction that leaves nans out, of numbers in `dtype`."""
    x = x if dtype is None else x.astype(numpy_dtype(dtype))
    return signed(reduce(x, axis=reduced_axes(dim, x.ndim), keepdims=keepdim))


def truth(reduce: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    """Whether elements are not 0: of uint8 as uint8, else as bool. Of no axes it is that of each element."""
    axes = () if dim is not None and not isinstance(dim, int) and not len(dim) else reduced_axes(dim, x.ndim)
    result = reduce(x, axis=axes, keepdims=keepdim)
    return result.astype(np.uint8) if dtype_of(x) == np.uint8 else result




def as_floating(x: Any) -> Any:
    """`x`, with integers in the default dtype."""
    return x if dtype_of(x).kind in "fc" else x.astype(default.numpy)


def picked(x: Any, places: Any, axis: int, keepdim: bool) -> Any:
    """The elements of `x` at one place each along an axis."""
    if not shape_of(x):
        return x
    values = np.take_along_axis(x, np.expand_dims(places, axis), axis)
    return values if keepdim else np.squeeze(values, axis)


def along_with_places(name: str, find: Any) -> Any:
    """A function along an axis that gives values, which are differentiated, and where they are."""
    pair = returned(name, ["values", "indices"])

    def call(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
        axis = axis_of(dim, x.ndim)
        raw = x if isinstance(x, Tracer) and find is not mode_place else np.asarray(x.peek(name) if isinstance(x, Tracer) else x)
        places = find(raw, axis) if raw.ndim else np.int64(0)
        shown = np.expand_dims(places, axis) if keepdim and raw.ndim else places
        return pair(picked(x, places, axis, keepdim), shown)

    call.__name__ = name
    return call


def first_of(compare: Any) -> Any:
    """A search for places that looks at values only."""
    return lambda raw, axis: compare(raw, axis=axis)


_max_along = define("_max_along", along_with_places("max", first_of(np.argmax)), node="MaxBackward0", method=False, public=False, kinds="bif")
_min_along = define("_min_along", along_with_places("min", first_of(np.argmin)), node="MinBackward0", method=False, public=False, kinds="bif")
_max_all = define("_max_all", lambda x: np.max(x), node="MaxBackward1", method=False, public=False, kinds="bif")
_min_all = define("_min_all", lambda x: np.min(x), node="MinBackward1", method=False, public=False, kinds="bif")


def extremum(name: str, everything: Any, along: Any, pairwise: str) -> None:
    """`max` or `min`: of all, along an axis with places, or of two tensors."""

    def call(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if isinstance(dim, Tensor):
            return getattr(input, pairwise)(dim)
        if other is not None:
            return getattr(input, pairwise)(other)
        if dim is None:
            if not input._array.size:
                raise RuntimeError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
                )
            return everything(input)
        return along(input, dim, keepdim)

    function(name)(call)


extremum("max", _max_all, _max_along, "maximum")
extremum("min", _min_all, _min_along, "minimum")


def median_place(raw: Any, axis: int) -> Any:
    """Where the lower median is; the first nan where there is one."""
    places = np.take(np.argsort(raw, axis=axis, kind="stable"), (raw.shape[axis] - 1) // 2, axis=axis)
    if dtype_of(raw).kind != "f":
        return places
    missing = np.isnan(raw)
    return np.where(np.any(missing, axis=axis), np.argmax(missing, axis=axis), places)


def mode_place(raw: Any, axis: int) -> Any:
    """The last place of the most frequent element, the least of several."""
    lines = np.moveaxis(raw, axis, -1)
    flat = lines.reshape(-1, lines.shape[-1])
    found = []
    for line in flat:
        values, counts = np.unique(line, return_counts=True)
        found.append(np.flatnonzero(line == values[np.argmax(counts)])[-1])
    return np.array(found).reshape(lines.shape[:-1])


_median_along = define("_median_along", along_with_places("median", median_place), node="MedianBackward1", method=False, public=False, kinds="if")
define("mode", along_with_places("mode", mode_place), kinds="bif")


_median = define(
    "_median",
    lambda x: picked(np.ravel(x), median_place(np.ravel(x), 0), 0, False),
    node="MedianBackward0",
    method=False,
    public=False,
    kinds="if",
)


@function()
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower of the middle elements, and along an axis where it is."""
    if dim is None:
        return _median(input)
    return _median_along(input, dim, keepdim)


@function()
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the greatest element is."""
    checked_kind(input._array.dtype, "argmax", "if")
    return made(_arg(np.argmax, input._array, dim, keepdim))


@function()
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the least element is."""
    checked_kind(input._array.dtype, "argmin", "if")
    return made(_arg(np.argmin, input._array, dim, keepdim))


def _arg(find: Any, array: Any, dim: int | None, keepdim: bool) -> Any:
    axis = None if dim is None else axis_of(dim, array.ndim)
    if axis is None or not array.ndim:
        place = find(array)
        return np.reshape(place, (1,) * array.ndim) if keepdim else place
    return find(array, axis=axis, keepdims=keepdim)


def cumulative(run: Any) -> Any:
    """A running sum or product, in torch's dtypes."""
    def call(x: Any, dim: int, dtype: Any = None) -> Any:
        x = x if dtype is None else x.astype(numpy_dtype(dtype))
        axis = axis_of(dim, x.ndim)
        if shape_of(x):
            return signed(run(x, axis=axis))
        return x if dtype is not None or dtype_of(x).kind in "fc" else x.astype(np.int64)

    return call


define("cumsum", cumulative(np.cumsum), in_place=True)
define("cumprod", cumulative(np.cumprod), in_place=True)
define("logcumsumexp", lambda x, dim: log_of_sums(x, axis_of(dim, x.ndim)), kinds="fc")


def log_of_sums(x: Any, axis: int) -> Any:
    """The logarithm of the cumulative sum of exponentials, by pairs, so that nothing overflows."""
    if not shape_of(x):
        return x
    step = 1
    before = (slice(None),) * axis
    while step < x.shape[axis]:
        later = np.logaddexp(x[(*before, slice(step, None))], x[(*before, slice(None, -step))])
        x = np.concatenate([x[(*before, slice(None, step))], later], axis=axis)
        step *= 2
    return x




def running_extreme(name: str, compare: Any) -> Any:
    """A running maximum or minimum, and where it is."""
    pair = returned(name, ["values", "indices"])

    def call(x: Any, dim: int) -> Any:
        axis = axis_of(dim, x.ndim)
        if not shape_of(x):
            return pair(x, np.int64(0))
        raw = np.moveaxis(np.asarray(x.peek("cummax") if hasattr(x, "peek") else x), axis, 0)
        places = np.zeros(raw.shape, np.int64)
        best = raw[0].copy()
        for place in range(1, raw.shape[0]):
            wins = compare(raw[place], best)
            best = np.where(wins, raw[place], best)
            places[place] = np.where(wins, place, places[place - 1])
        places = np.moveaxis(places, 0, axis)
        return pair(np.take_along_axis(x, places, axis), places)

    return call


define("cummax", running_extreme("cummax", np.greater_equal), kinds="bif")
define("cummin", running_extreme("cummin", np.less_equal), kinds="bif")
define("diff", lambda x, n=1, dim=-1, prepend=None, append=None: np.diff(x, n, dim, *(np._NoValue if end is None else end for end in (prepend, append))))
define("trapezoid", lambda y, x=None, *, dx=1, dim=-1: np.trapezoid(y, x, dx, dim), aliases=("trapz",), kinds="ifc", floating=True)
