"""Functions that torch has for convenience: of shapes and dtypes, distances, and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import dtype_of
from functrans.numpy.indexing import At
from functrans.ops.arithmetic import where
from functrans.torch.dtypes import DTYPES, dtype, numpy_dtype, promoted
from functrans.torch.dtypes import result_dtype as common
from functrans.torch.ops.creation import tensor
from functrans.torch.ops.joining import at_least, cat, stack
from functrans.torch.ops.shapes import axis_of, split, tensor_split
from functrans.torch.ops.table import define, function
from functrans.torch.tensor import Size, Tensor, made


@function(method=False)
def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that shapes are broadcast to."""
    return Size(np.broadcast_shapes(*((shape,) if isinstance(shape, int) else tuple(shape) for shape in shapes)))


@function(method=False)
def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The dtype of a sum of two tensors of axes."""
    return DTYPES[promoted(numpy_dtype(type1), numpy_dtype(type2))]


@function(method=False)
def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype of a sum of two tensors or numbers."""
    return DTYPES[common(*(each._array if isinstance(each, Tensor) else each for each in (tensor1, tensor2)))]


@function(method=False)
def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether writing one dtype into another is allowed."""
    rank = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    return rank[numpy_dtype(from_).kind] <= rank[numpy_dtype(to).kind]


@function(method=False)
def scalar_tensor(s: Any, *, dtype: Any = None) -> Tensor:
    """A tensor of one number, of the default dtype."""
    return tensor(float(s) if dtype is None else s, dtype=dtype)


@function()
def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Stretches of an axis, of the lengths given."""
    return split(input, list(split_sizes), dim)


function("hsplit")(lambda input, parts: tensor_split(input, parts, 0 if input._array.ndim == 1 else 1))
function("vsplit")(lambda input, parts: tensor_split(input, parts, 0))
function("dsplit")(lambda input, parts: tensor_split(input, parts, 2))


def three(tensor: Tensor) -> Tensor:
    """With axes of length 1 up to three."""
    return at_least(tensor, 2).unsqueeze(-1) if tensor._array.ndim < 3 else tensor  # type: ignore[attr-defined, no-any-return]


function("atleast_3d", method=False)(lambda *tensors: three(tensors[0]) if len(tensors) == 1 else tuple(map(three, tensors)))
define("diagflat", lambda x, offset=0: np.diag(np.ravel(x), offset), node="DiagEmbedBackward0")
define("fill", lambda x, value: where(np.True_, dtype_of(x).type(value), x))
define("ldexp", lambda x, other: x * dtype_of(x).type(2) ** other, node="MulBackward0", in_place=True)
define("adjoint", lambda x: np.conjugate(np.swapaxes(x, -2, -1)), node="TransposeBackward0")
define("cov", lambda x, *, correction=1: np.cov(x, ddof=correction), node="SqueezeBackward0")
define("corrcoef", lambda x: np.corrcoef(x), node="ClampBackward0")
define("cumulative_trapezoid", lambda y, *, dx=1.0, dim=-1: areas(y, dx, dim), node="DivBackward0", method=False)
define("select_scatter", lambda x, src, dim, index: placed(x, src, (*(slice(None),) * axis_of(dim, x.ndim), index)))
define("slice_scatter", lambda x, src, dim=0, start=None, end=None, step=1: placed(x, src, (*(slice(None),) * axis_of(dim, x.ndim), slice(start, end, step))))
define("cdist", lambda x, y, p=2.0: distances(x[..., :, None, :] - y[..., None, :, :], p), method=False)
define("pairwise_distance", lambda x, y, p=2.0, eps=1e-6, keepdim=False: distances(x - y + eps, p, keepdim), node="NormBackward1", method=False)
define("cosine_similarity", lambda x, y, dim=1, eps=1e-8: cosine(x, y, dim, eps), node="SumBackward1", method=False)


def placed(x: Any, src: Any, key: Any) -> Any:
    """`x` with `src` at a place."""
    return At(x)[key].set(src)


def areas(y: Any, dx: float, dim: int) -> Any:
    """The cumulative areas under a line through points."""
    before = (slice(None),) * axis_of(dim, y.ndim)
    return np.cumsum((y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) * (dx / 2), axis=dim)


def distances(difference: Any, p: float, keepdim: bool = False) -> Any:
    """The p-norm along the last axis."""
    if p == 2:
        return np.sqrt(np.sum(difference * difference, axis=-1, keepdims=keepdim))
    size = np.abs(difference)
    if p == float("inf"):
        return np.max(size, axis=-1, keepdims=keepdim)
    return np.sum(size**p, axis=-1, keepdims=keepdim) ** (1 / p)


def cosine(x: Any, y: Any, dim: int, eps: float) -> Any:
    """The cosine of the angle between vectors along an axis."""
    lengths = [np.sqrt(np.maximum(np.sum(each * each, axis=dim, keepdims=True), eps * eps)) for each in (x, y)]
    return np.sum((x / lengths[0]) * (y / lengths[1]), axis=dim)


@function(method=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of one."""
    blocks = [at_least(each, 2) for each in tensors]
    width, start, rows = sum(each._array.shape[1] for each in blocks), 0, []
    for each in blocks:
        n, m = each._array.shape
        empty = [made(np.zeros((n, length), each._array.dtype)) for length in (start, width - start - m)]
        rows.append(cat([empty[0], each, empty[1]], 1))
        start += m
    return cat(rows, 0)




function("is_inference", method=False)(lambda input: input.is_inference())
function("is_same_size", method=False)(lambda input, other: input.is_same_size(other))
function("vander", method=False)(
    lambda x, N=None, increasing=False: made(np.vander(x._array, N, increasing)) if not x.requires_grad else _powers(x, N, increasing)
)


def _powers(x: Tensor, count: int | None, increasing: bool) -> Tensor:
    powers = range(x._array.size if count is None else count)
    return stack([x**power for power in (powers if increasing else reversed(powers))], -1)  # type: ignore[operator]
