"""Indexing, assignment, and functions that take and put elements at places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.numpy.indexing import At, extremes, normalize
from functrans.ops.indexing import ARRAY, Slice, getitem, index_set
from functrans.torch.autograd.graph import PrimitiveNode, named
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import DTYPES, title
from functrans.torch.ops.apply import perform, seen
from functrans.torch.ops.shapes import axis_of
from functrans.torch.ops.table import define, function
from functrans.torch.storage.views import view
from functrans.torch.storage.writes import assign, check_writable, put, requires_grad, view_of_leaf
from functrans.torch.tensor import Tensor, current_edge, install_members, made, memory

INDEX = named("IndexBackward0", PrimitiveNode)
PUT = named("IndexPutBackward0", PrimitiveNode)


def plain_key(key: Any) -> Any:
    """An index with tensors and lists of them replaced by arrays."""
    if isinstance(key, Tensor):
        array = seen(key)._array
        if array.dtype.kind not in "iub":
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors{at_user_line()}")
        return array if array.ndim or array.dtype.kind == "b" or isinstance(array, Tracer) else int(array)
    if isinstance(key, tuple):
        return tuple(map(plain_key, key))
    if isinstance(key, list):
        return np.asarray([plain_key(item) for item in key]) if key else np.zeros(0, np.int64)
    if isinstance(key, range):
        return np.arange(key.start, key.stop, key.step)
    if isinstance(key, slice):
        if key.step is not None and int(key.step) <= 0:
            raise ValueError(f"step must be greater than zero{at_user_line()}")
        return slice(*(None if part is None else int(part) for part in (key.start, key.stop, key.step)))
    return key


def normalized(tensor: Tensor, key: Any) -> tuple[Any, Any]:
    """The template and arrays of an index, checked."""
    array = tensor._array
    key = plain_key(key)
    parts = key if isinstance(key, tuple) else (key,)
    used = sum((part.ndim if isinstance(part, np.ndarray) and part.dtype.kind == "b" else 1) for part in parts if part is not None and part is not Ellipsis)
    if used > array.ndim:
        if not array.ndim and used == 1:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor "
                f"to a number{at_user_line()}"
            )
        raise IndexError(f"too many indices for tensor of dimension {array.ndim}{at_user_line()}")
    axis = 0
    for part in parts:
        if part is Ellipsis:
            axis += array.ndim - used
        elif part is not None:
            n = array.shape[axis]
            if isinstance(part, int) and not -n <= part < n:
                raise IndexError(f"index {part} is out of bounds for dimension {axis} with size {n}{at_user_line()}")
            if isinstance(part, np.ndarray):
                if part.dtype.kind == "b" and part.shape != array.shape[axis : axis + part.ndim]:
                    raise IndexError(
                        f"The shape of the mask {list(part.shape)} at index {axis} does not match the shape of the indexed tensor "
                        f"{list(array.shape)} at index {axis}{at_user_line()}"
                    )
                if part.dtype.kind != "b" and part.size and not (-n <= part.min() and part.max() < n):
                    wrong = int(part.min() if part.min() < -n else part.max())
                    raise IndexError(f"index {wrong} is out of bounds for dimension {axis} with size {n}{at_user_line()}")
            axis += part.ndim if isinstance(part, np.ndarray) and part.dtype.kind == "b" else 1
    return normalize(array, key)


def single(part: Any) -> bool:
    """Whether a part of an index is one bool."""
    return isinstance(part, (bool, np.bool_)) or isinstance(part, (Tensor, np.ndarray)) and not part.ndim and part.dtype in BOOLEANS


BOOLEANS = (np.dtype(np.bool_), DTYPES[np.dtype(np.bool_)])


def without_bools(tensor: Tensor, key: Any) -> tuple[Tensor, Any]:
    """A view and an index of it without single bools: each is an index of a new axis, of its one element or of none."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if not any(map(single, parts)):
        return tensor, key
    taken = [rank_of(part) for part in parts]
    axis = 0
    for place, part in enumerate(parts):
        if single(part):
            tensor = tensor.unsqueeze(axis)
            parts[place] = np.zeros(int(bool(part)), np.int64)
            taken[place] = 1
        axis += tensor._array.ndim - sum(taken) if part is Ellipsis else taken[place]
    return tensor, tuple(parts)


def numbers_first(key: Any) -> tuple[Any, Any] | None:
    """An index with both ints and arrays in two, as torch takes it: without arrays first, then the arrays; else None."""
    parts = list(key) if isinstance(key, tuple) else [key]
    arrays = [is_array(part) for part in parts]
    if not any(arrays) or all(array or part is None or part is Ellipsis or isinstance(part, slice) for array, part in zip(arrays, parts)):
        return None
    everything = slice(None)
    first, then = [], []
    for array, part in zip(arrays, parts):
        first += [everything] * rank_of(part) if array else [part]
        if array or part is Ellipsis:
            then.append(part)
        elif part is None or isinstance(part, slice):
            then.append(everything)
    return tuple(first), tuple(then)


def is_array(part: Any) -> bool:
    """Whether a part of an index selects places of its own."""
    return isinstance(part, (list, range)) or isinstance(part, (Tensor, np.ndarray)) and (part.ndim > 0 or part.dtype in BOOLEANS)


def rank_of(part: Any) -> int:
    """How many axes of a tensor a part of an index takes."""
    if part is None or part is Ellipsis or single(part):
        return 0
    if isinstance(part, Tensor) and part._array.dtype.kind == "b" or isinstance(part, np.ndarray) and part.dtype.kind == "b":
        return int(part.ndim)
    return int(np.ndim(part)) if isinstance(part, list) and np.asarray(part).dtype.kind == "b" else 1


def view_name(template: Any) -> str:
    """The node of the last step torch makes of a basic index."""
    if not template:
        return "AliasBackward0"
    last = template[-1]
    return "SelectBackward0" if isinstance(last, int) else "UnsqueezeBackward0" if last is None else "SliceBackward0"


PLAIN_KEYS = frozenset({int, slice, type(None), type(Ellipsis)})


def arranged(tensor: Tensor, key: Any) -> tuple[Tensor, Any]:
    """A view and an index of it without single bools, and without ints beside arrays."""
    if type(key) is tuple and all(type(part) in PLAIN_KEYS for part in key):
        return tensor, key
    tensor, key = without_bools(tensor, key)
    in_two = numbers_first(key)
    return (tensor, key) if in_two is None else (get(tensor, in_two[0]), in_two[1])


def get(self: Tensor, key: Any) -> Tensor:
    """``self[key]``: a view, or a copy if there are arrays in `key`."""
    self = seen(self)
    if type(key) not in PLAIN_KEYS:
        self, key = arranged(self, key)
    template, arrays = normalized(self, key)
    if not arrays:
        significant = [part for part in template if part != Slice(None, None, None)]
        return view(self, getitem, {"index": template}, "SliceBackward0" if template and not significant and key is not Ellipsis else view_name(significant))
    return perform(getitem, (self, *arrays), {"index": template}, INDEX, "index")


def put_at(self: Tensor, key: Any, value: Any) -> None:
    """``self[key] = value``."""
    if type(key) not in PLAIN_KEYS:
        self, key = arranged(self, key)
    template, arrays = normalized(self, key)
    if not isinstance(value, (Tensor, bool, int, float, complex, np.generic)):
        raise TypeError(f"can't assign a {type(value).__name__} to a {self.type()}{at_user_line()}")
    if not isinstance(value, Tensor):
        value = made(number_of(value, self._array.dtype))
    elif arrays:
        value = same_dtype(self, key, value)
    recorded = state.grad and (requires_grad(self) or requires_grad(value))
    if not arrays and recorded and self._view is None and self.is_leaf and self.requires_grad:
        raise view_of_leaf()
    check_writable(self, recorded)
    staged = state.transform is not None and state.transform.stages
    if staged or isinstance(self._array, Tracer) or isinstance(seen(value)._array, Tracer):
        put_traced(self, template, arrays, seen(value))
        return
    if not recorded and type(memory(self)) is np.ndarray and type(value._array) is not list:
        whole = memory(self)
        copy = value._array
        index = tuple(slice(*part) if isinstance(part, Slice) else part for part in _filled(template, arrays))
        target = whole[index]
        check_fits(copy.shape, np.shape(target), bool(arrays))
        full = whole.copy() if arrays else whole
        full[index] = np.reshape(copy, _squeezed(copy.shape, np.ndim(target)))
        put(self, full if arrays else whole)
        return
    if not arrays:
        part = get(self, key)
        copy_(part, of_rank(value, part._array.ndim))
        return
    shape = get(made(self._array), key)._array.shape
    value = of_rank(value, len(shape))
    value = value.expand(shape) if value._array.shape != shape else value
    source = made(self._array.copy())
    source._edge = self._edge if self._view is None else self._view.edge(self)
    assign(self, perform(index_set, (source, value, *arrays), {"index": template}, PUT, "index_put_"), "index_put_")


def number_of(value: Any, dtype: Any) -> Any:
    """A number as a scalar of a dtype, which complex ones are not if it is real."""
    if isinstance(value, (complex, np.complexfloating)) and dtype.kind not in "bc":
        raise RuntimeError(f"value cannot be converted to type {title(dtype).lower()} without overflow{at_user_line()}")
    return np.asarray(value).astype(dtype)[()]


def same_dtype(self: Tensor, key: Any, value: Tensor) -> Tensor:
    """A value that is put at places, which must be of the dtype; under a mask one number need not."""
    given, wanted = value._array.dtype, self._array.dtype
    if given == wanted:
        return value
    chosen = [part for part in (key if isinstance(key, tuple) else (key,)) if is_array(part)]
    masked = len(chosen) == 1 and isinstance(chosen[0], Tensor) and chosen[0]._array.dtype.kind == "b"
    if not value._array.ndim and masked and (wanted.kind == "c" or given.kind != "c"):
        return value.to(self.dtype)
    raise RuntimeError(
        f"Index put requires the source and destination dtypes match, got {title(self.dtype)} for the destination and "
        f"{title(value.dtype)} for the source.\n  Remedy: convert with Tensor.to.{at_user_line()}"
    )


def put_traced(self: Tensor, template: Any, arrays: Any, value: Tensor) -> None:
    """Assignment inside a transform of functrans, which makes a new array."""
    inside = seen(self)
    source = made(inside._array)
    source._edge = current_edge(inside)
    shape = perform(getitem, (made(inside._array), *arrays), {"index": template}, INDEX)._array.shape
    value = value.to(self.dtype)
    value = value.expand(shape) if value._array.shape != shape else value
    assign(self, perform(index_set, (source, value, *arrays), {"index": template}, PUT, "index_put_"), "index_put_")


def check_fits(given: tuple[int, ...], wanted: tuple[int, ...], at_places: bool) -> None:
    """Raise torch's error unless a value of one shape can be repeated to that of what an index selects."""
    given = _squeezed(given, len(wanted))
    if len(given) <= len(wanted) and all(n in (1, length) for n, length in zip(given[::-1], wanted[::-1])):
        return
    if at_places:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(given)} cannot be broadcast to indexing result of shape {list(wanted)}{at_user_line()}"
        )
    made(np.zeros(given)).expand(wanted)  # raises


def of_rank(value: Tensor, rank: int) -> Tensor:
    """A value without leading axes of length 1 beyond a rank."""
    shape = _squeezed(value._array.shape, rank)
    return value if shape == value._array.shape else value.reshape(shape)


def _squeezed(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def _filled(template: Any, arrays: Any) -> Any:
    remaining = iter(arrays)
    return [next(remaining) if isinstance(part, str) and part == ARRAY else part for part in template]


install_members(__getitem__=get, __setitem__=put_at)


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write another tensor's values, broadcast and cast."""
    src = src if isinstance(src, Tensor) else made(np.asarray(src, self._array.dtype)[()])
    if src._array.shape != self._array.shape:
        src = src.expand(self._array.shape)
    return assign(self, src, "copy_")


install_members(copy_=copy_)


def constant_(name: str, value_of: Any) -> None:
    """Methods that write one value everywhere: `fill_` and `zero_`."""

    def method(self: Tensor, *value: Any) -> Tensor:
        filling = value_of(*value)
        if isinstance(filling, Tensor):
            return copy_(self, filling)
        return assign(self, made(np.full(self._array.shape, filling, self._array.dtype)), name)

    method.__name__ = name
    setattr(Tensor, name, method)


constant_("fill_", lambda value: value)
constant_("zero_", lambda: 0)


def long_index(index: Any, name: str) -> Any:
    """Checked places."""
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index{at_user_line()}")
    return index


def in_range(index: Any, n: int, axis: int) -> Any:
    """Places that torch takes: not negative, and within the axis."""
    if index.size and not (0 <= index.min() and index.max() < n):
        wrong = int(index.min()) if index.min() < 0 else int(index.max())
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {axis} with size {n}{at_user_line()}")
    return index


def grid(index: Any, axis: int) -> tuple[Any, ...]:
    """An index of every element of `index`, with its values along `axis`."""
    places = np.indices(index.shape, sparse=True)
    return tuple(index if place == axis else each for place, each in enumerate(places))


def gathered(x: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """The elements at places along an axis."""
    if sparse_grad:
        raise NotImplementedError(f"gather(sparse_grad=True) is not supported\n  Remedy: leave it away: gradients are dense.{at_user_line()}")
    axis = axis_of(dim, x.ndim)
    index = long_index(index, "gather")
    if not x.ndim:
        return x.reshape(1)[index]
    if index.ndim != x.ndim:
        raise RuntimeError(f"Index tensor must have the same number of dimensions as input tensor{at_user_line()}")
    return x[grid(in_range(index, x.shape[axis], axis), axis)]


define("gather", gathered)


REDUCTIONS = {"add": "add", "sum": "add", "multiply": "multiply", "prod": "multiply", "mean": "add", "amax": "max", "amin": "min"}


def reduced_at(x: Any, places: Any, src: Any, reduce: str, include_self: bool = True) -> Any:
    """`x` with what is put at `places` combined with what is there, or if not `include_self` with each other only."""
    kind = REDUCTIONS[reduce]
    if not include_self:
        neutral = {"add": 0, "multiply": 1, "max": extremes(dtype_of(x))[0], "min": extremes(dtype_of(x))[1]}[kind]
        x = At(x)[places].set(dtype_of(x).type(neutral))
    x = getattr(At(x)[places], kind)(src)
    if reduce != "mean":
        return x
    count = np.full(shape_of(x), 1 if include_self else 0)
    np.add.at(count, places, 1)
    count = np.maximum(count, 1).astype(dtype_of(x))
    return x // count if dtype_of(x).kind in "iu" else x / count


def scattered(name: str, combine: str | None = None) -> Any:
    """`x` with values put, or combined with what is there, at places along an axis."""

    def call(
        x: Any, dim: int, index: Any, src: Any = None, reduce: str | None = combine, *, value: Any = None, include_self: bool = True
    ) -> Any:
        src = value if src is None else src
        axis = axis_of(dim, x.ndim)
        whole, x, index = shape_of(x), np.atleast_1d(x), np.atleast_1d(index)
        if hasattr(src, "shape") and (src.shape != () or not whole):
            src = np.atleast_1d(src)[tuple(slice(n) for n in index.shape)]
        if index.size and index.ndim != x.ndim:
            raise RuntimeError(f"Index tensor must have the same number of dimensions as self tensor{at_user_line()}")
        places = grid(in_range(long_index(index, name), x.shape[axis], axis), axis)
        if reduce is None:
            result = At(x)[places].set(src)
        elif reduce not in REDUCTIONS:
            raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}{at_user_line()}")
        else:
            result = reduced_at(x, places, src, reduce, include_self)
        return result if whole else result.reshape(())

    return call


define("scatter", scattered("scatter"), in_place=True)
define("scatter_add", scattered("scatter_add", "sum"), in_place=True)
define("scatter_reduce", scattered("scatter_reduce"), in_place=True)


def along(x: Any, dim: int, index: Any) -> tuple[Any, ...]:
    """An index of places of one axis."""
    axis = axis_of(dim, x.ndim)
    index = np.atleast_1d(long_index(index, "index_select"))
    if not x.ndim:
        if np.any(index):
            raise IndexError(f"index out of range in self{at_user_line()}")
        return (...,)
    if index.size and not (0 <= index.min() and index.max() < x.shape[axis]):
        raise IndexError(f"index out of range in self{at_user_line()}")
    return (*(slice(None),) * axis, index)


define("index_select", lambda x, dim, index: x[along(x, dim, index)] if shape_of(x) else x[None][along(x[None], dim, index)][0])
define("index_add", lambda x, dim, index, source, alpha=1: At(x)[along(x, dim, index)].add(source * alpha if alpha != 1 else source), in_place=True)
define("index_copy", lambda x, dim, index, source: At(x)[along(x, dim, index)].set(source), in_place=True)
define("index_fill", lambda x, dim, index, value: At(x)[along(x, dim, index)].set(value), in_place=True)


def index_reduced(x: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """`x` with slices of `source` combined with those at places of an axis."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.{at_user_line()}")
    return reduced_at(x, along(x, dim, index), source, reduce, include_self)


define("index_reduce", index_reduced, in_place=True)


def anywhere(index: Any, size: int) -> Any:
    """Places in the order of elements, which may be counted from the end."""
    index = long_index(index, "take")
    if index.size and not (-size <= index.min() and index.max() < size):
        raise IndexError(f"index out of range: tried to access index {int(index.max())} of {size} elements{at_user_line()}")
    return index


define("take", lambda x, index: np.ravel(x)[anywhere(index, math.prod(shape_of(x)))])


def put_anywhere(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """`x` with values put, or added, at places in the order of elements."""
    if math.prod(shape_of(source)) != index.size:
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{math.prod(shape_of(source))}, index.numel() = {index.size}{at_user_line()}"
        )
    flat = At(np.ravel(x))[np.ravel(anywhere(index, math.prod(shape_of(x))))]
    values = np.ravel(source)
    return np.reshape(flat.add(values) if accumulate else flat.set(values), shape_of(x))


define("put", put_anywhere, in_place=True)
define("take_along_dim", lambda x, indices, dim=None: np.take_along_axis(x, indices, dim), node="GatherBackward0")


def masked_selected(x: Any, mask: Any) -> Any:
    """The elements under a mask."""
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return np.broadcast_to(x, shape)[np.broadcast_to(mask, shape)]


define("masked_select", masked_selected)


def masked_scattered(x: Any, mask: Any, source: Any) -> Any:
    """`x` with elements of `source`, in their order, under a mask."""
    mask = np.broadcast_to(mask, x.shape)
    return At(x)[mask].set(np.ravel(source)[: int(mask.sum())])


define("masked_scatter", masked_scattered, in_place=True)


@function("index_put", in_place=True)
def index_put(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """With values put, or added, at places."""
    if isinstance(values, Tensor):
        values = same_dtype(input, None, values)
    return _index_put(input, tuple(indices), values, accumulate)


def _put(x: Any, indices: Any, values: Any, accumulate: bool) -> Any:
    return At(x)[indices].add(values) if accumulate else At(x)[indices].set(values)


_index_put = define("_index_put", _put, node="IndexPutBackward0", method=False, public=False)


@function()
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where elements are not 0."""
    array = input._array
    if as_tuple:
        return tuple(map(made, np.nonzero(np.atleast_1d(array))))
    return made(np.argwhere(array))


function("argwhere")(nonzero)


@function()
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` places of elements that are not 0, filled up."""
    places = np.argwhere(input._array)[:size]
    result = np.full((size, places.shape[1]), fill_value)
    result[: len(places)] = places
    return made(result)
