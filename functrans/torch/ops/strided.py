"""Views by strides, `as_strided`, and functions that put a tensor where such a view, or a diagonal, lies.

Strides and offsets count elements of the memory of the tensor's base, in the order they have there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, shape_of, type_of
from functrans.errors import at_user_line
from functrans.numpy.indexing import At
from functrans.ops import structure
from functrans.ops.arithmetic import where
from functrans.ops.indexing import ARRAY, getitem
from functrans.torch.autograd.graph import Node, PrimitiveNode, named
from functrans.torch.autograd.modes import state
from functrans.torch.ops.apply import perform, special
from functrans.torch.ops.shapes import axis_of
from functrans.torch.ops.table import define, function
from functrans.torch.storage.views import Step, View, view
from functrans.torch.tensor import Tensor, current_edge, like, memory

__all__ = ["as_strided", "places_of"]


class StridedNode(Node):
    """From elements of a memory, at `source`, to a view of it, at `places`, as torch has it.

    What of the view lies at no element passes on nothing, and elements at one place, `count` of them, share evenly.
    """

    __slots__ = ("count", "places", "size", "source")

    count: Any
    places: Any
    size: int
    source: Any

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        (ct,) = cts
        whole = At(np.zeros(self.size, dtype_of(ct)))[self.places].add(ct)
        if self.count is not None:
            whole = whole / self.count.astype(dtype_of(ct))
        return (whole[self.source],)


NODE = named("AsStridedBackward0", StridedNode)
FILL_DIAGONAL = named("FillDiagonalBackward0", PrimitiveNode)


def places_of(size: Sequence[int], stride: Sequence[int], offset: int) -> Any:
    """Where elements lie in memory."""
    places = np.full(tuple(size), offset)
    for axis, (length, step) in enumerate(zip(size, stride)):
        places += np.arange(length).reshape(-1, *(1,) * (len(size) - axis - 1)) * step
    return places


def flat(base: Tensor) -> Tensor:
    """A view of the whole memory of a base, in its order."""
    array = memory(base)
    if not isinstance(array, Tracer) and not array.flags.c_contiguous:
        order = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
        if not array.transpose(order).flags.c_contiguous:
            raise NotImplementedError(
                "as_strided of a tensor of part of a NumPy array is not supported"
                f"\n  Remedy: call it on a contiguous() tensor.{at_user_line()}"
            )
        base = view(base, structure.transpose, {"axes": order}, "PermuteBackward0")
    return view(base, structure.reshape, {"shape": (array.size,)}, "ViewBackward0")


def checked(size: tuple[int, ...], stride: tuple[int, ...], offset: int, room: int, itemsize: int) -> None:
    """Raise torch's errors for a view that is none, or leaves the memory."""
    if len(size) != len(stride):
        raise RuntimeError(f"mismatch in length of strides and shape{at_user_line()}")
    if any(step < 0 for step in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}{at_user_line()}")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    if math.prod(size) and not 0 <= offset <= last < room:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize {itemsize} requiring a "
            f"storage size of {(last + 1) * itemsize} are out of bounds for storage of size {room * itemsize}{at_user_line()}"
        )


@function()
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the memory with any shape and steps."""
    array = memory(input)
    size, stride = (tuple(int(length) for length in lengths) for lengths in (size, stride))
    if isinstance(array, Tracer) and input._view is not None:
        raise NotImplementedError(
            f"as_strided of a view inside a transform of functrans is not supported\n  Remedy: call it on the tensor itself.{at_user_line()}"
        )
    if storage_offset is None:
        storage_offset = 0 if isinstance(array, Tracer) else input.storage_offset()
    offset = int(storage_offset)
    base = input if input._view is None else input._view.base
    whole = flat(base)
    checked(size, stride, offset, whole._array.size, dtype_of(array).itemsize)
    places = places_of(size, stride, offset)
    if state.special:
        seen = lambda whole: getitem(whole, places, index=(ARRAY,))
        return special("as_strided", seen, (whole,), {}, lambda whole: strided(input, whole, places, (size, stride, offset)))
    return strided(input, whole, places, (size, stride, offset))


def strided(input: Tensor, whole: Tensor, places: Any, strides: Any) -> Tensor:
    """The view of `whole`, the memory of the base of `input`, and its history, which goes on to `input`."""
    step = Step(getitem, {"index": (ARRAY,)}, type_of(whole._array), (places,), strides)
    result = like(whole, step.look(whole._array))
    edge = current_edge(input)
    if not isinstance(result._array, Tracer) and np.unique(places).size != places.size:
        result._array.flags.writeable = False  # several elements at one place
    if edge is not None and state.grad:
        node = NODE((edge,))
        node.places, node.size, node.source, node.count = places, whole._array.size, source_of(input), None
        if isinstance(node.source, np.ndarray):
            count = np.bincount(node.source.reshape(-1), minlength=node.size)
            if count.size and count.max() > 1:
                node.count = np.maximum(count, 1)
        result._edge = node, 0
    assert whole._view is not None and whole._view.steps is not None
    origin = whole._view.origin if input._view is None or input._view.origin != "multiple" else "multiple"
    result._view = View(whole._view.base, (*whole._view.steps, step), len(whole._changes), origin, "AsStridedBackward0")
    return result


def source_of(tensor: Tensor) -> Any:
    """Where the elements of a tensor lie in the memory of its base."""
    if isinstance(tensor._array, Tracer):
        return np.arange(tensor._array.size).reshape(tensor._array.shape)
    return places_of(tensor._array.shape, tensor.stride(), tensor.storage_offset())


@function()
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy of `input` with `src` where the view of these strides lies."""
    if isinstance(input._array, np.ndarray) and not input._array.flags.c_contiguous:
        raise NotImplementedError(
            f"as_strided_scatter of a tensor that is not contiguous is not supported\n  Remedy: pass its contiguous().{at_user_line()}"
        )
    size, stride = tuple(size), tuple(stride)
    checked(size, stride, int(storage_offset or 0), input._array.size, input._array.dtype.itemsize)
    same_size(src._array.shape, size)
    return _put_at(input, src, places_of(size, stride, int(storage_offset or 0)), "as_strided_scatter")


def same_size(given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raise unless what is put somewhere has the size of the place."""
    if given != wanted:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(given)}, slice size = {list(wanted)}{at_user_line()}"
        )


def diagonal_places(shape: tuple[int, ...], offset: int, dim1: int, dim2: int) -> Any:
    """The places of a diagonal, in the order of the shape."""
    first, second = axis_of(dim1, len(shape)), axis_of(dim2, len(shape))
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}{at_user_line()}")
    return np.arange(math.prod(shape)).reshape(shape).diagonal(offset, first, second)


@function()
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal."""
    places = diagonal_places(input._array.shape, offset, dim1, dim2)
    same_size(src._array.shape, places.shape)
    return _put_at(input, src, places, "diagonal_scatter")


def put_at(x: Any, src: Any, places: Any, name: str) -> Any:
    """`x` with `src` at places in its order."""
    return np.reshape(At(np.reshape(x, -1))[places].set(src), shape_of(x))


_put_at = define("_put_at", put_at, node="SliceScatterBackward0", method=False, public=False)


@function("fill_diagonal", in_place=True, public=False, method=False)
def filled_diagonal(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """A copy with one value on the main diagonal; of a tall matrix, with `wrap`, on one diagonal below the other."""
    shape = input._array.shape
    if len(shape) < 2:
        raise RuntimeError(f"dimensions must larger than 1{at_user_line()}")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError(f"all dimensions of input must be of equal length{at_user_line()}")
    step = 1 + sum(math.prod(shape[axis:]) for axis in range(1, len(shape)))
    end = math.prod(shape) if wrap and len(shape) == 2 else min(shape) * step
    mask = np.zeros(math.prod(shape), np.bool_)
    mask[:end:step] = True
    return perform(where, (mask.reshape(shape), input._array.dtype.type(fill_value), input), {}, FILL_DIAGONAL, "fill_diagonal")
