"""Functions of shapes: views of the same memory, and joining, repeating and splitting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from functrans.core.tracer import Tracer
from functrans.errors import at_user_line
from functrans.ops import structure
from functrans.ops.indexing import Slice, getitem
from functrans.torch.autograd.graph import PrimitiveNode, named
from functrans.torch.dtypes import dtype as DType
from functrans.torch.dtypes import numpy_dtype, title
from functrans.torch.ops.apply import perform
from functrans.torch.ops.table import function
from functrans.torch.storage.views import view
from functrans.torch.tensor import Tensor, axis_message, install_members, like, memory

__all__ = ["axis_of", "axes_of", "joined_shape"]


def axis_of(dim: Any, ndim: int) -> int:
    """An axis that is not negative, or torch's error."""
    dim = dim.__index__()
    room = max(ndim, 1)
    if not -room <= dim < room:
        raise IndexError(axis_message(dim, ndim) + at_user_line())
    return dim % room


def axes_of(dims: Sequence[Any], ndim: int) -> tuple[int, ...]:
    """Axes that are not negative and differ."""
    axes = tuple(axis_of(dim, ndim) for dim in dims)
    for axis in axes:
        if axes.count(axis) > 1:
            raise RuntimeError(f"dim {axis} appears multiple times in the list of dims{at_user_line()}")
    return axes


def joined_shape(args: Sequence[Any]) -> tuple[int, ...]:
    """Lengths given as one sequence or one by one."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    return tuple(int(length) for length in args)


def complete(shape: tuple[int, ...], size: int, old: Sequence[int]) -> tuple[int, ...]:
    """A shape with its one -1 worked out."""
    unknown = [place for place, length in enumerate(shape) if length == -1]
    if len(unknown) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if unknown:
        rest = math.prod(length for length in shape if length != -1)
        if rest == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 can be any value and is ambiguous"
            )
        if size % rest == 0:
            shape = (*shape[: unknown[0]], size // rest, *shape[unknown[0] + 1 :])
    if math.prod(shape) != size:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}{at_user_line()}")
    return shape


def is_viewable(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether an array can have this shape without a copy."""
    if isinstance(array, Tracer) or array.flags.c_contiguous:
        return True
    try:
        array.view().reshape(shape, copy=False)
    except ValueError:
        return False
    return True


def shaped(tensor: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """A view of this shape, which must be possible."""
    return view(tensor, structure.reshape, {"shape": shape}, name)


def reinterpreted(tensor: Tensor, dtype: Any) -> Tensor:
    """The bytes of a tensor as numbers of another dtype, in the same memory and without a history, as torch has it."""
    array = memory(tensor)
    if isinstance(array, Tracer):
        raise NotImplementedError(
            f"Tensor.view(dtype) of a traced tensor is not supported\n  Remedy: use Tensor.to(dtype) for a copy.{at_user_line()}"
        )
    old, new = array.dtype.itemsize, dtype.itemsize
    words = f"to view {title(array.dtype)} as {title(dtype)} (different element sizes)"
    if old != new:
        if not array.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 {words}{at_user_line()}")
        if array.strides[-1] != old:
            raise RuntimeError(f"self.stride(-1) must be 1 {words}, but got {array.strides[-1] // old}{at_user_line()}")
        if array.shape[-1] * old % new:
            raise RuntimeError(f"self.size(-1) must be divisible by {new // old} {words}, but got {array.shape[-1]}{at_user_line()}")
    return like(tensor, array.view(dtype))


def view_method(self: Tensor, *shape: Any, dtype: Any = None, size: Any = None) -> Tensor:
    """A view of another shape, or of the same bytes as numbers of another dtype."""
    shape = shape if size is None else (size,)
    if dtype is not None or len(shape) == 1 and isinstance(shape[0], DType):
        return reinterpreted(self, numpy_dtype(shape[0] if dtype is None else dtype))
    array = memory(self)
    wanted = complete(joined_shape(shape), array.size, array.shape)
    if not is_viewable(array, wanted):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous "
            f"subspaces). Use .reshape(...) instead.{at_user_line()}"
        )
    return shaped(self, wanted, "ViewBackward0")


install_members(view=view_method, view_as=lambda self, other: view_method(self, other.shape))


def reshaped(tensor: Tensor, wanted: tuple[int, ...], name: str = "ViewBackward0") -> Tensor:
    """A view where that is possible, else a copy."""
    if is_viewable(memory(tensor), wanted):
        return shaped(tensor, wanted, name)
    return perform(structure.reshape, (tensor,), {"shape": wanted}, named("UnsafeViewBackward0", PrimitiveNode), "reshape")


@function()
def reshape(input: Tensor, *size: Any, shape: Any = None) -> Tensor:
    """The same elements in another shape."""
    shape = size if shape is None else (shape,)
    array = memory(input)
    return reshaped(input, complete(joined_shape(shape), array.size, array.shape))


install_members(reshape_as=lambda self, other: reshape(self, other.shape))


@function()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes from `start_dim` to `end_dim` as one."""
    shape = input._array.shape
    start, end = axis_of(start_dim, len(shape)), axis_of(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshaped(input, (1,))
    if start == end:
        return input
    return reshaped(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@function()
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One axis as several."""
    shape = input._array.shape
    axis = axis_of(dim, len(shape))
    if not shape:
        raise RuntimeError(f"unflatten: Expected a tensor with at least one dimension{at_user_line()}")
    return shaped(input, (*shape[:axis], *complete(tuple(sizes), shape[axis], shape), *shape[axis + 1 :]), "ViewBackward0")


@function()
def ravel(input: Tensor) -> Tensor:
    """The elements in one axis."""
    return reshaped(input, (input._array.size,))


@function(in_place=False)
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without axes of length 1."""
    shape = input._array.shape
    axes = range(len(shape)) if dim is None else axes_of(dim if isinstance(dim, (tuple, list)) else (dim,), len(shape))
    name = "SqueezeBackward0" if dim is None else "SqueezeBackward1"
    return shaped(input, tuple(n for axis, n in enumerate(shape) if n != 1 or axis not in axes), name)


@function()
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of length 1."""
    shape = input._array.shape
    axis = axis_of(dim, len(shape) + 1)
    return shaped(input, (*shape[:axis], 1, *shape[axis:]), "UnsqueezeBackward0")


def transposed(tensor: Tensor, axes: tuple[int, ...], name: str) -> Tensor:
    """A view with axes in another order."""
    return view(tensor, structure.transpose, {"axes": axes}, name)


@function(aliases=("swapdims",))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    ndim = input._array.ndim
    first, second = axis_of(dim0, ndim), axis_of(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[first], order[second] = second, first
    return transposed(input, tuple(order), "TransposeBackward0")


@function()
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two axes exchanged."""
    return transpose(input, axis0, axis1)


@function()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix."""
    ndim = input._array.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D{at_user_line()}")
    return transposed(input, tuple(range(ndim))[::-1], "TBackward0")


@function()
def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """Axes in another order."""
    dims = order if dims is None else (dims,)
    ndim = input._array.ndim
    order = joined_shape(dims)
    if len(order) != ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    return transposed(input, axes_of(order, ndim), "PermuteBackward0")


@function(aliases=("moveaxis",))
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes at other places, the others in their order."""
    ndim = input._array.ndim
    sources, targets = (axes_of(dims if isinstance(dims, (tuple, list)) else (dims,), ndim) for dims in (source, destination))
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({len(sources)}) should contain the same number of dims as destination "
            f"({len(targets)}){at_user_line()}"
        )
    if not ndim:
        return transposed(input, (), "PermuteBackward0")
    order = [axis for axis in range(ndim) if axis not in sources]
    for target, axis in sorted(zip(targets, sources)):
        order.insert(target, axis)
    return transposed(input, tuple(order), "PermuteBackward0")


def axes_reversed(self: Tensor) -> Tensor:
    """The axes in the opposite order."""
    if self._array.ndim == 2:
        return transposed(self, (1, 0), "PermuteBackward0")
    return transposed(self, tuple(range(self._array.ndim))[::-1], "PermuteBackward0")


def matrices_transposed(self: Tensor) -> Tensor:
    """The last two axes exchanged."""
    if not self._array.ndim:
        return self
    if self._array.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self._array.ndim}-D tensor.")
    return transpose(self, -2, -1)


install_members(T=property(axes_reversed), mT=property(matrices_transposed))


@function()
def expand(input: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """Axes of length 1 repeated, without a copy."""
    size = sizes if size is None else (size,)
    shape, wanted = input._array.shape, joined_shape(size)
    if len(wanted) < len(shape):
        raise RuntimeError(
            f"expand({input.type()}{{{list(shape)}}}, size={list(wanted)}): the number of sizes provided ({len(wanted)}) must be greater or equal to the number of dimensions in the tensor ({len(shape)})"
        )
    old = (1,) * (len(wanted) - len(shape)) + tuple(shape)
    full = tuple(n if length == -1 else length for n, length in zip(old, wanted))
    for axis, n, length in reversed([*zip(range(len(old)), old, full)]):
        if n not in (1, length):
            raise RuntimeError(
                f"The expanded size of the tensor ({length}) must match the existing size ({n}) at non-singleton dimension {axis}.  "
                f"Target sizes: {list(wanted)}.  Tensor sizes: {list(shape)}{at_user_line()}"
            )
    return view(input, structure.broadcast_to, {"shape": full}, "ExpandBackward0")


install_members(expand_as=lambda self, other: expand(self, other.shape))
function("broadcast_to")(lambda input, shape: expand(input, *shape))


def sliced(tensor: Tensor, axis: int, part: Any, name: str, multiple: bool = False) -> Tensor:
    """A view of part of one axis: an int or a slice."""
    index = (*(Slice(None, None, None),) * axis, part)
    return view(tensor, getitem, {"index": index}, name, multiple)


@function()
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` elements of an axis from `start` on."""
    if not input._array.ndim:
        raise RuntimeError(f"narrow() cannot be applied to a 0-dim tensor.{at_user_line()}")
    axis = axis_of(dim, input._array.ndim)
    n = input._array.shape[axis]
    start = int(start)
    start = start + n if start < 0 else start
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative.{at_user_line()}")
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).{at_user_line()}")
    return sliced(input, axis, Slice(start, start + length, None), "SliceBackward0")


@function()
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The elements at one place of an axis."""
    if not input._array.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis = axis_of(dim, input._array.ndim)
    n = input._array.shape[axis]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input._array.shape)} at dimension {axis}{at_user_line()}"
        )
    return sliced(input, axis, int(index) % n, "SelectBackward0")


def unbind_views(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The elements along an axis, one tensor each."""
    axis = axis_of(dim, input._array.ndim)
    if not input._array.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return tuple(sliced(input, axis, place, "UnbindBackward0", True) for place in range(input._array.shape[axis]))


function("unbind")(unbind_views)


def some_axis(tensor: Tensor, words: str) -> None:
    """Raise unless a tensor has an axis to be cut."""
    if not tensor._array.ndim:
        raise RuntimeError(f"{words} at least a 1-dimensional tensor{at_user_line()}")


@function()
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Stretches of an axis: of one length, or of several."""
    some_axis(tensor, "split expects")
    axis = axis_of(dim, tensor._array.ndim)
    n = tensor._array.shape[axis]
    name = "SplitBackward0"
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size <= 0 and n:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        lengths = [min(size, n - start) for start in range(0, n, size)] or [0]
    else:
        lengths, name = [int(length) for length in split_size_or_sections], "SplitWithSizesBackward0"
        if sum(lengths) != n:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {axis}), but got split_sizes={lengths}"
            )
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    return tuple(sliced(tensor, axis, Slice(start, start + n, None), name, True) for start, n in zip(starts, lengths))


@function()
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """As many stretches of equal length as that gives, the last one shorter."""
    some_axis(input, "chunk expects")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input._array.shape[axis_of(dim, input._array.ndim)]
    return split(input, max(-(-n // chunks), 1), dim)


@function()
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Stretches of an axis: as many as given, or cut at the places given."""
    some_axis(input, "tensor_split expected")
    axis = axis_of(dim, input._array.ndim)
    n = input._array.shape[axis]
    if isinstance(indices_or_sections, int):
        k = indices_or_sections
        cuts = [place * (n // k) + min(place, n % k) for place in range(1, k)]
    else:
        cuts = [min(max(cut + n if cut < 0 else cut, 0), n) for cut in indices_or_sections]
    ends = [*cuts, n]
    starts = [0, *cuts]
    return tuple(sliced(input, axis, Slice(a, max(a, b), None), "SliceBackward0") for a, b in zip(starts, ends))


@function()
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two axes, as the last axis."""
    ndim = input._array.ndim
    first, second = axis_of(dim1, ndim), axis_of(dim2, ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    order = (*(axis for axis in range(ndim) if axis not in (first, second)), first, second)
    moved = input if order == tuple(range(ndim)) else transposed(input, order, "PermuteBackward0")
    return view(moved, structure.diagonal, {"offset": offset}, "DiagonalBackward0")


def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Every stretch of `size` elements of an axis, `step` apart, as a new last axis."""
    ndim = self._array.ndim
    axis = axis_of(dimension, ndim)
    n = self._array.shape[axis] if ndim else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    last = movedim(self, axis, -1) if axis != ndim - 1 else self
    result = view(last, structure.windows, {"window": (size,), "stride": (step,), "dilation": (1,)}, "UnfoldBackward0")
    return movedim(result, -2, axis) if axis != ndim - 1 else result


install_members(unfold=unfold)
