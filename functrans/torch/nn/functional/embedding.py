"""Embeddings of bags of words, as functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.numpy.indexing import At
from functrans.torch.dtypes import title
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor

__all__ = ["embedding_bag"]


def bagged(weight: Any, words: Any, bags: Any, count: int, mode: str, factors: Any, kept: Any) -> Any:
    """The sum, mean or maximum of the rows of each bag; `bags` says which one a word is in, `kept` whether it counts."""
    words, bags = words[kept], bags[kept]
    rows = weight[words]
    if factors is not None:
        rows = rows * factors[kept][:, None]
    zeros = np.zeros((count, weight.shape[1]), dtype_of(weight))
    if mode != "max":
        total = At(zeros)[bags].add(rows)
        sizes = np.maximum(np.bincount(bags, minlength=count), 1).astype(dtype_of(weight))
        return total / sizes[:, None] if mode == "mean" else total
    parts = [rows[bags == bag] for bag in range(count)]
    best = [np.take_along_axis(part, np.argmax(part, axis=0)[None], axis=0)[0] if part.shape[0] else zeros[0] for part in parts]
    return np.stack(best) if best else zeros


_bagged = define("_nn_embedding_bag", bagged, node="EmbeddingBagBackward0", method=False, public=False)


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean or maximum of the rows of `weight` that each bag of numbers names.

    Args:
        input: ``[bags, n]``, or all bags one after the other.
        weight: ``[words, n]``.
        offsets: where each bag begins, if `input` has one axis.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        per_sample_weights: what rows are multiplied by before the sum, in the shape of `input`.
        include_last_offset: whether the last of `offsets` is the end of the last bag, and begins none.
        padding_idx: the number of a row that does not count.

    Returns:
        ``[bags, n]``; 0 for a bag that is empty.

    Raises:
        ValueError: numbers of axes or options do not match.
        NotImplementedError: `max_norm`, `scale_grad_by_freq` or `sparse` is asked for.
        RuntimeError: a number is out of range.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.embedding_bag(torch.tensor([[0, 2]]), torch.eye(3), mode="sum")
        tensor([[1., 0., 1.]])
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise NotImplementedError(
            "torch.nn.functional.embedding_bag: max_norm, scale_grad_by_freq and sparse are not supported"
            f"\n  Remedy: normalise or scale the weight yourself; gradients are dense.{at_user_line()}"
        )
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the same shape as the "
            f"input ({input.shape})"
        )
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got mode='{mode}')."
        )
    words = input._array
    starts = _starts(words, offsets)
    if words.dtype.kind not in "iu":
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{title(input.dtype)}Tensor instead (while checking arguments for embedding_bag){at_user_line()}"
        )
    words, total = words.reshape(-1), words.size
    rows = weight.shape[0]
    if words.size and (words.min() < 0 or words.max() >= rows):
        raise RuntimeError(f"embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be {words.min()} to {words.max()}{at_user_line()}")
    if starts.size and starts[0] != 0:
        raise RuntimeError(f"offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, got {starts[0]}{at_user_line()}")
    if starts.size and starts[-1] > total:
        raise RuntimeError(f"offsets[-1] can not be greater than input's length({total}) but got offsets[-1] of {starts[-1]}{at_user_line()}")
    if include_last_offset and input.ndim == 1:
        starts = starts[:-1]
    bags = np.searchsorted(starts, np.arange(words.size), side="right") - 1
    kept = np.ones(words.size, np.bool_) if padding_idx is None else words != padding_idx % rows
    factors: Any = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    return _bagged(weight, words, bags, len(starts), mode, factors, kept)


def _starts(words: Any, offsets: Tensor | None) -> Any:
    """Where each bag begins."""
    if words.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length sequences. However, "
                f"found offsets of type {type(offsets)}"
            )
        return np.arange(words.shape[0]) * words.shape[1]
    if words.ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {words.ndim}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    return offsets._array
