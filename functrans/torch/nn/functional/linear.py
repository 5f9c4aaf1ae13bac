"""Linear maps, embeddings, dropout, padding, distances, as functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.errors import at_user_line
from functrans.torch.autograd.graph import named
from functrans.torch.autograd.modes import no_grad
from functrans.torch.dtypes import title
from functrans.torch.ops.composed import RuleNode, with_rule
from functrans.torch.ops.products import mismatch
from functrans.torch.ops.table import FUNCTIONS, define
from functrans.torch.random import numbers
from functrans.torch.storage.outputs import written_out
from functrans.torch.tensor import Tensor, made

__all__ = [
    "alpha_dropout", "bilinear", "cosine_similarity", "dropout", "dropout1d", "dropout2d", "dropout3d", "embedding",
    "feature_alpha_dropout", "linear", "normalize", "one_hot", "pad", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle",
]  # fmt: skip


def _affine(bias: Any, x: Any, weight: Any) -> Any:
    return x @ weight.T + bias


def _pull_affine(ct: Any, bias: Any, x: Any, weight: Any, wanted: Sequence[bool]) -> Any:
    to_bias = np.sum(ct, axis=tuple(range(ct.ndim - 1))) if wanted[0] else None
    return to_bias, *_pull_product(ct, x, weight, wanted[1:])


def _pull_product(ct: Any, x: Any, weight: Any, wanted: Sequence[bool]) -> Any:
    to_x = ct @ weight if wanted[0] else None
    if not wanted[1]:
        return to_x, None
    rows, inputs = (part if part.ndim == 2 else part.reshape(-1, part.shape[-1]) for part in (ct, x))
    return to_x, rows.T @ inputs


def _linear(name: str, *, bias: bool) -> Any:
    """``x @ weight.T``, perhaps with a bias, whose node has this name."""
    cls = named(name, RuleNode)
    if bias:
        return with_rule("linear", _affine, ((), (2,), (1,)), _pull_affine, cls)
    return with_rule("linear", lambda x, weight: x @ weight.T, ((1,), (0,)), _pull_product, cls)


_addmm, _view = _linear("AddmmBackward0", bias=True), _linear("ViewBackward0", bias=True)
_mm, _unsafe = _linear("MmBackward0", bias=False), _linear("UnsafeViewBackward0", bias=False)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``.

    Args:
        input: ``[..., n]``.
        weight: ``[m, n]``.
        bias: ``[m]``.

    Returns:
        ``[..., m]``.

    Raises:
        RuntimeError: shapes or dtypes do not match.
    """
    try:
        x, w = input._array, weight._array
    except AttributeError:
        raise TypeError(f"linear(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}{at_user_line()}") from None
    if x.dtype != w.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {title(input.dtype)} and {title(weight.dtype)}"
            f"\n  Remedy: convert the input with .to({weight.dtype}).{at_user_line()}"
        )
    if not x.ndim or x.shape[-1] != w.shape[-1]:
        raise mismatch(x.shape if x.ndim > 1 else (1, *x.shape), w.shape[::-1])
    if bias is not None and bias._array.dtype != x.dtype:
        raise RuntimeError(
            f"self and mat2 must have the same dtype, but got {title(bias.dtype)} and {title(input.dtype)}{at_user_line()}"
        )
    if bias is None:
        return (_mm if x.ndim == 2 else _unsafe)(input, weight)
    return (_addmm if x.ndim <= 2 else _view)(bias, input, weight)


_bilinear = define(
    "_nn_bilinear",
    lambda x, y, weight: np.einsum("...i,oij,...j->...o", x, weight, y),
    node="AddBackward0", method=False, public=False,
)  # fmt: skip


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight y + bias`` for each output: ``[..., n]`` and ``[..., m]`` with ``[o, n, m]`` make ``[..., o]``."""
    result = _bilinear(input1, input2, weight)
    return result if bias is None else result + bias


def _embedded(weight: Any, constant: Any, indices: Any, padding: int | None, shares: Any) -> Any:
    """Rows of `weight`; what gives no gradient comes from `constant`, its value without a history.

    Args:
        padding: the number of a row that gives none.
        shares: what part of its gradient each number gives, or None for all.
    """
    rows = weight[indices]
    if shares is not None:
        rows = constant[indices] + shares[..., None] * (rows - constant[indices])
    return rows if padding is None else np.where((indices == padding)[..., None], constant[indices], rows)


_embedding = define("_nn_embedding", _embedded, node="EmbeddingBackward0", method=False, public=False)


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The rows of `weight` that `input` numbers; that of `padding_idx` gets no gradient.

    Args:
        max_norm: longer rows among them are first scaled to it, in `weight` itself, by their norm of order `norm_type`.
        scale_grad_by_freq: whether the gradient of a row is divided by how often `input` has it.

    Raises:
        IndexError: a number is out of range.
        NotImplementedError: `sparse` is asked for, or one of the others inside transforms.
    """
    if sparse:
        raise NotImplementedError(
            f"torch.nn.functional.embedding: sparse is not supported\n  Remedy: leave it away: gradients are dense.{at_user_line()}"
        )
    indices = input._array
    if indices.dtype.kind not in "iu":
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{title(input.dtype)}Tensor instead (while checking arguments for embedding){at_user_line()}"
        )
    rows = weight._array.shape[0]
    if isinstance(indices, (np.ndarray, np.generic)) and indices.size and (indices.min() < 0 or indices.max() >= rows):
        raise IndexError(f"index out of range in self{at_user_line()}")
    if padding_idx is not None and padding_idx < 0:
        padding_idx += rows
    shares = None
    if max_norm is not None or scale_grad_by_freq:
        numbers_, places, counts = np.unique(_known(indices, "embedding"), return_inverse=True, return_counts=True)
        if max_norm is not None:
            _shorten(weight, numbers_, max_norm, norm_type)
        if scale_grad_by_freq:
            shares = (1 / counts[places.reshape(indices.shape)]).astype(weight._array.dtype)
    return _embedding(weight, weight.detach(), input, padding_idx, shares)


def _known(indices: Any, name: str) -> Any:
    """Numbers of rows that are known."""
    if isinstance(indices, Tracer):
        raise NotImplementedError(
            f"{name}: max_norm and scale_grad_by_freq are not supported inside transforms and torch.compile"
            f"\n  Remedy: normalise or scale the weight yourself.{at_user_line()}"
        )
    return indices


def _shorten(weight: Tensor, rows: Any, max_norm: float, order: float) -> None:
    """Scale rows of a weight whose norm is larger than `max_norm` to it."""
    with no_grad():
        found = weight[made(rows)]
        lengths = found.norm(order, 1, keepdim=True)
        weight.index_copy_(0, made(rows), found * (max_norm / (lengths + 1e-7)).clamp_max(1.0))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """For each label a row with 1 at its place, int64."""
    labels = tensor._array
    if labels.dtype != np.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor.{at_user_line()}")
    if labels.size and labels.min() < 0:
        raise RuntimeError(f"Class values must be non-negative.{at_user_line()}")
    if num_classes == -1:
        num_classes = int(labels.max()) + 1
    elif labels.size and labels.max() >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes.{at_user_line()}")
    return made((labels[..., None] == np.arange(num_classes)).astype(np.int64))


def _dropped(input: Tensor, p: float, training: bool, shape: Sequence[int]) -> Tensor:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    kept = numbers(None).random(tuple(shape)) >= p
    return input * made((kept / (1 - p if p < 1 else 1)).astype(input._array.dtype))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each element 0 with probability `p`, others divided by ``1 - p`` (Srivastava et al. 2014).

    Raises:
        ValueError: `p` is no probability.
    """
    result = _dropped(input, p, training, input._array.shape)
    return input.copy_(result) if inplace and result is not input else result


def _channels_dropped(rank: int) -> Any:
    def dropped(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        shape = input._array.shape
        lead = len(shape) - rank
        result = _dropped(input, p, training, (*shape[:lead], *(1,) * rank))
        return input.copy_(result) if inplace and result is not input else result

    dropped.__name__ = dropped.__qualname__ = f"dropout{rank}d"
    dropped.__doc__ = "As `dropout`, of whole channels."
    return dropped


dropout1d, dropout2d, dropout3d = map(_channels_dropped, (1, 2, 3))


def _alpha_dropped(input: Tensor, p: float, training: bool, inplace: bool, shape: Any) -> Tensor:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    low = -1.0507009873554805 * 1.6732632423543772
    scale = (1 / np.sqrt((low**2 * p + 1) * (1 - p))) if p < 1 else 0.0
    kept = (numbers(None).random(shape) >= p).astype(input._array.dtype)
    fill = (low * (1 - kept) * scale - scale * low * p).astype(input._array.dtype)
    result = input * made((kept * scale).astype(input._array.dtype)) + made(fill)
    return input.copy_(result) if inplace else result


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance of what `selu` makes (Klambauer et al. 2017)."""
    return _alpha_dropped(input, p, training, inplace, input._array.shape)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """As `alpha_dropout`, of whole channels."""
    return _alpha_dropped(input, p, training, inplace, (*input._array.shape[:2], *(1,) * (input.ndim - 2)))


# What NumPy calls torch's kinds of padding.
NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _padded(x: Any, pairs: Any, mode: str, value: float) -> Any:
    cut = tuple(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(x.shape, pairs))
    pairs = [(max(low, 0), max(high, 0)) for low, high in pairs]
    x = x[cut]
    if mode == "constant":
        return np.pad(x, pairs, constant_values=value)
    return np.pad(x, pairs, mode=NUMPY_MODES[mode])


_pad = define("_nn_pad", _padded, node="ConstantPadNdBackward0", method=False, public=False)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Elements added before and after the last axes; `pad` has a pair for each, the last axis first."""
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2{at_user_line()}")
    if len(pad) // 2 > input.ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length {len(pad)} "
            f"and input of dimension {input.ndim}{at_user_line()}"
        )
    if mode != "constant":
        _check_margins(input, pad, mode)
    pairs = list(zip(pad[::2], pad[1::2]))[::-1]
    pairs = [(0, 0)] * (input.ndim - len(pairs)) + pairs
    return _pad(input, pairs, mode, 0.0 if value is None else value)


def _check_margins(input: Tensor, pad: Sequence[int], mode: str) -> None:
    """Raise unless torch pads this many axes of such an input by so much, other than by a constant."""
    rank = len(pad) // 2
    if input.ndim not in (rank + 1, rank + 2) or rank > 3:
        raise NotImplementedError(f"Padding size {len(pad)} is not supported for {input.ndim}D input tensor.{at_user_line()}")
    for back in range(rank):
        low, high = pad[2 * back : 2 * back + 2]
        length, axis = input.shape[-1 - back], input.ndim - 1 - back
        if mode == "reflect" and max(low, high) >= length:
            raise RuntimeError(
                f"Argument #4: Padding size should be less than the corresponding input dimension, but got: padding ({low}, {high}) at "
                f"dimension {axis} of input {list(input.shape)}{at_user_line()}"
            )
        if mode == "circular" and max(low, high) > length:
            raise RuntimeError(f"Padding value causes wrapping around more than once.{at_user_line()}")
        if mode == "replicate" and length == 0:
            raise RuntimeError(f"Expected input with non-zero lengths to replicate, but got {list(input.shape)}{at_user_line()}")


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Tensor:
    """`input` divided by its norm along an axis, at least `eps`."""
    length = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return input / length if out is None else written_out(FUNCTIONS["div"], (input, length), {}, out, "normalize")


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along an axis."""
    return (x1 * x2).sum(dim) / (x1.norm(2, dim).clamp_min(eps) * x2.norm(2, dim).clamp_min(eps))


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The norm of ``x1 - x2 + eps`` along the last axis."""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


def _check_image(name: str, input: Tensor) -> None:
    if input.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s){at_user_line()}"
        )


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """``[..., C r^2, H, W]`` as ``[..., C, H r, W r]`` (Shi et al. 2016)."""
    r = upscale_factor
    _check_image("pixel_shuffle", input)
    *lead, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}{at_user_line()}"
        )
    parts = input.reshape(math.prod(lead), channels // (r * r), r, r, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(*lead, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """``[..., C, H r, W r]`` as ``[..., C r^2, H, W]``."""
    r = downscale_factor
    _check_image("pixel_unshuffle", input)
    *lead, channels, height, width = input.shape
    for axis, length in ((-2, height), (-1, width)):
        if length % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {'height' if axis == -2 else 'width'} to be divisible by downscale_factor, but input.size({axis})="
                f"{length} is not divisible by {r}{at_user_line()}"
            )
    parts = input.reshape(math.prod(lead), channels, height // r, r, width // r, r).permute(0, 1, 3, 5, 2, 4)
    return parts.reshape(*lead, channels * r * r, height // r, width // r)

