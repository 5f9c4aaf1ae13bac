"""Functions that torch has for convenience: of shapes and dtypes, distances, and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.numpy.indexing import At
from functrans.ops.arithmetic import where
from functrans.torch.dtypes import DTYPES, dtype, numpy_dtype, promoted
from functrans.torch.dtypes import result_dtype as common
from functrans.torch.ops.creation import tensor
from functrans.torch.ops.joining import at_least, cat
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


function("hsplit")(lambda input, indices_or_sections: tensor_split(input, indices_or_sections, 0 if input._array.ndim == 1 else 1))
function("vsplit")(lambda input, indices_or_sections: tensor_split(input, indices_or_sections, 0))
function("dsplit")(lambda input, indices_or_sections: tensor_split(input, indices_or_sections, 2))


def three(tensor: Tensor) -> Tensor:
    """With axes of length 1 up to three."""
    return at_least(tensor, 2).unsqueeze(-1) if tensor._array.ndim < 3 else tensor


function("atleast_3d", method=False)(lambda *tensors: three(tensors[0]) if len(tensors) == 1 else tuple(map(three, tensors)))
define("diagflat", lambda x, offset=0: np.diag(np.ravel(x), offset), node="DiagEmbedBackward0")
define("fill", lambda x, value: where(np.True_, dtype_of(x).type(value), x))
define("ldexp", lambda x, other: x * dtype_of(x).type(2) ** other, node="MulBackward0", in_place=True, together=2, floating=True)
define("cov", lambda x, *, correction=1, fweights=None, aweights=None: covariance(x, correction, fweights, aweights), node="SqueezeBackward0", kinds="ifc", floating=True)
define("corrcoef", lambda x: np.corrcoef(two_axes(x, "corrcoef")).astype(dtype_of(x)), node="ClampBackward0", kinds="ifc", floating=True)
define("cumulative_trapezoid", lambda y, x=None, *, dx=1.0, dim=-1: areas(y, x, dx, dim), node="DivBackward0", method=False, kinds="ifc", floating=True)
define("select_scatter", lambda x, src, dim, index: placed(x, src, (*(slice(None),) * axis_of(dim, x.ndim), index)))
define("slice_scatter", lambda x, src, dim=0, start=None, end=None, step=1: placed(x, src, (*(slice(None),) * axis_of(dim, x.ndim), slice(start, end, step))))
define("cdist", lambda x1, x2, p=2.0, compute_mode=None: between(x1, x2, p), method=False, kinds="f", together=2)
define("pairwise_distance", lambda x1, x2, p=2.0, eps=1e-6, keepdim=False: distances(x1 - x2 + eps, p, keepdim), node="NormBackward1", method=False)
define("cosine_similarity", lambda x1, x2, dim=1, eps=1e-8: cosine(x1, x2, dim, eps), node="SumBackward1", method=False)


def two_axes(x: Any, name: str) -> Any:
    """`x`, which must not have more than two axes."""
    if len(shape_of(x)) > 2:
        raise RuntimeError(
            f"{name}(): expected input to have two or fewer dimensions but got an input with {len(shape_of(x))} dimensions{at_user_line()}"
        )
    return x


def covariance(x: Any, correction: int, fweights: Any, aweights: Any) -> Any:
    """The covariance matrix of rows."""
    return np.cov(two_axes(x, "cov"), ddof=correction, fweights=fweights, aweights=aweights).astype(dtype_of(x))


def placed(x: Any, src: Any, key: Any) -> Any:
    """`x` with `src` at a place."""
    return At(x)[key].set(src)


def between(x: Any, y: Any, p: float) -> Any:
    """The distances of every row of `x` from every row of `y`."""
    for name, each in (("X1", x), ("X2", y)):
        if len(shape_of(each)) < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {len(shape_of(each))}D{at_user_line()}")
    return distances(x[..., :, None, :] - y[..., None, :, :], p)


def areas(y: Any, x: Any, dx: float, dim: int) -> Any:
    """The cumulative areas under a line through points, at places `x` or `dx` apart."""
    axis = axis_of(dim, y.ndim)
    before = (slice(None),) * axis
    steps: Any = dx
    if x is not None:
        steps = np.diff(x, axis=axis if len(shape_of(x)) > 1 else 0)
        steps = steps if len(shape_of(x)) > 1 else np.reshape(steps, (-1, *(1,) * (y.ndim - axis - 1)))
    return np.cumsum((y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) * (steps / 2), axis=axis)


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
    for place, each in enumerate(tensors):
        if each._array.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {place} has {each._array.ndim} dimensions{at_user_line()}"
            )
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


def powers_of(x: Any, count: int | None, increasing: bool) -> Any:
    """The Vandermonde matrix of a vector."""
    if len(shape_of(x)) != 1:
        raise RuntimeError(f"x must be a one-dimensional tensor.{at_user_line()}")
    n = shape_of(x)[0] if count is None else count
    ones = np.ones((shape_of(x)[0], min(n, 1)), dtype_of(x))
    result = np.concatenate([ones, np.cumprod(np.broadcast_to(x[:, None], (shape_of(x)[0], max(n - 1, 0))), axis=1)], axis=1)
    return result if increasing else np.flip(result, 1)


_powers = define("_vander", powers_of, node="FlipBackward0", method=False, public=False)


@function(method=False)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of elements, as rows, falling or rising."""
    return _powers(x, N, increasing)
