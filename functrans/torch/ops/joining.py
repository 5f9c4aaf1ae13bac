"""Joining, repeating, turning and filling: functions of shapes whose results have memory of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.types import shape_of
from functrans.errors import at_user_line
from functrans.ops import structure
from functrans.torch.dtypes import result_dtype
from functrans.torch.ops.shapes import axes_of, axis_of, expand, joined_shape, ravel, reshape
from functrans.torch.ops.table import cast, define, function
from functrans.torch.tensor import Tensor, install_members


@function("cat", method=False, aliases=("concat", "concatenate"))
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors one after the other along an axis."""
    return _cat(*joinable(tensors, "cat"), dim=dim if axis is None else axis)


def joinable(tensors: Any, name: str) -> list[Any]:
    """Tensors that are to be joined, in their common dtype."""
    tensors = list(tensors)
    if not tensors:
        raise ValueError(f"{name}(): expected a non-empty list of Tensors")
    for place, each in enumerate(tensors):
        if not isinstance(each, Tensor):
            raise TypeError(f"{name}(): expected Tensor as element {place} in argument 0, but got {type(each).__name__}")
    return tensors


def in_common(arrays: Sequence[Any]) -> Sequence[Any]:
    """Arrays in their common dtype."""
    dtype = result_dtype(*arrays)
    return tuple(cast(array, dtype) for array in arrays)


def concatenated(*given: Any, dim: int) -> Any:
    """Arrays one after the other along an axis; those of shape ``(0,)`` are left out."""
    arrays = in_common(given)
    arrays = tuple(array for array in arrays if array.shape != (0,)) or arrays
    rank = max(array.ndim for array in arrays)
    if not rank:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    axis = axis_of(dim, rank)
    first = arrays[0].shape
    for array in arrays[1:]:
        for place, (a, b) in enumerate(zip(first, array.shape)):
            if place != axis and a != b:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {axis}. Expected size {a} but got size {b} for tensor number "
                    f"{[each is array for each in arrays].index(True)} in the list."
                )
    return np.concatenate(arrays, axis=axis)


_cat = define("cat", concatenated, public=False, method=False)
_stack = define("stack", lambda *arrays, dim: np.stack(in_common(arrays), axis=axis_of(dim, arrays[0].ndim + 1)), public=False, method=False)


@function(method=False)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    tensors = joinable(tensors, "stack")
    shape = tensors[0]._array.shape
    for place, each in enumerate(tensors):
        if each._array.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(each._array.shape)} at entry {place}{at_user_line()}"
            )
    return _stack(*tensors, dim=dim)


install_members(_stacked=lambda self, parts: stack(parts))
function("hstack", method=False)(lambda tensors: cat([at_least(x, 1) for x in tensors], 0 if tensors[0]._array.ndim < 2 else 1))
function("vstack", method=False, aliases=("row_stack",))(lambda tensors: cat([at_least(x, 2) for x in tensors], 0))
function("column_stack", method=False)(
    lambda tensors: cat([x if x._array.ndim > 1 else reshape(x, x._array.size, 1) for x in tensors], 1)
)
function("dstack", method=False)(
    lambda tensors: cat([at_least(x, 2).unsqueeze(2) if x._array.ndim < 3 else x for x in tensors], 2)
)


def at_least(tensor: Tensor, rank: int) -> Tensor:
    """With leading axes of length 1 up to a rank."""
    shape = tensor._array.shape
    return tensor if len(shape) >= rank else reshape(tensor, (1,) * (rank - len(shape)) + tuple(shape))


function("atleast_1d", method=False)(lambda *xs: at_least(xs[0], 1) if len(xs) == 1 else tuple(at_least(x, 1) for x in xs))
function("atleast_2d", method=False)(lambda *xs: at_least(xs[0], 2) if len(xs) == 1 else tuple(at_least(x, 2) for x in xs))


@function(method=False)
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors expanded to one shape."""
    shape = np.broadcast_shapes(*(each._array.shape for each in tensors))
    return tuple(expand(each, shape) for each in tensors)


NO_MATRIX = "{}: input tensor must have at least 2 dimensions"


def at_rank(x: Any, rank: int, message: str) -> Any:
    """`x`, which must have so many axes."""
    if len(shape_of(x)) < rank:
        raise RuntimeError(f"{message}{at_user_line()}")
    return x


define("tile", lambda x, *sizes, dims=None: np.tile(x, joined_shape(sizes if dims is None else (dims,))), node="RepeatBackward0")
define("_repeat", lambda x, sizes: np.tile(x, sizes), node="RepeatBackward0", public=False)


def repeat(self: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """The tensor over and over along each axis."""
    sizes = sizes if repeats is None else (repeats,)
    lengths = joined_shape(sizes)
    if len(lengths) < self._array.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    return self._repeat(lengths)


install_members(repeat=repeat)
define("flip", lambda x, *axes, dims=None: flipped(x, joined_shape(axes if dims is None else (dims if isinstance(dims, (tuple, list)) else [dims],))))


def flipped(x: Any, axes: tuple[int, ...]) -> Any:
    """The elements in the opposite order along axes."""
    return np.flip(x, axes_of(axes, len(shape_of(x)))) if shape_of(x) else x


define("fliplr", lambda x: np.flip(at_rank(x, 2, "Input must be >= 2-d."), 1), node="FlipBackward0")
define("flipud", lambda x: np.flip(at_rank(x, 1, "Input must be >= 1-d."), 0), node="FlipBackward0")
define("rot90", lambda x, k=1, dims=(0, 1): np.rot90(x, k, dims))
define("roll", lambda x, shifts, dims=None: np.roll(x, shifts, dims))
define("tril", lambda x, diagonal=0: np.tril(at_rank(x, 2, NO_MATRIX.format("tril")), diagonal), in_place=True)
define("triu", lambda x, diagonal=0: np.triu(at_rank(x, 2, NO_MATRIX.format("triu")), diagonal), in_place=True)


@function()
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix of a diagonal."""
    if input._array.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input._array.ndim}D{at_user_line()}")
    return (_diagonal_matrix if input._array.ndim == 1 else _diagonal_of)(input, diagonal)


_diagonal_matrix = define("_diag", lambda x, offset: np.diag(x, offset), node="DiagEmbedBackward0", method=False, public=False)
_diagonal_of = define("_diag_of", lambda x, offset: np.diag(x, offset), node="DiagonalBackward0", method=False, public=False)
define("_repeat_interleave", lambda x, repeats, axis: np.repeat(x, repeats, axis=axis), node="IndexSelectBackward0", public=False)


@function()
def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Each element repeated, next to itself."""
    if dim is None:
        input, dim = ravel(input), 0
    return input._repeat_interleave(repeats._array if isinstance(repeats, Tensor) else repeats, axis_of(dim, input._array.ndim))


def diagonals(x: Any, offset: int, dim1: int, dim2: int) -> Any:
    """Zeros with `x` on the diagonal of two new axes."""
    n = x.shape[-1] + abs(offset)
    full = structure.diagonal_embed(x, offset=offset, shape=(*x.shape[:-1], n, n))
    return np.moveaxis(full, (-2, -1), (dim1, dim2))


define("diag_embed", lambda x, offset=0, dim1=-2, dim2=-1: diagonals(x, offset, dim1, dim2))
