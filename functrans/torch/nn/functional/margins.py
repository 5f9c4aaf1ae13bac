"""Losses of margins, as functions: by how much something must be greater, or nearer, than something else."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.nn.functional.linear import pairwise_distance
from functrans.torch.nn.functional.losses import check_reduction, chosen, loss_of, reduced
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor

__all__ = [
    "cosine_embedding_loss", "hinge_embedding_loss", "margin_ranking_loss", "multi_margin_loss", "multilabel_margin_loss",
    "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """`x` where the target is 1, ``max(0, margin - x)`` where it is -1."""
    reduction = chosen(reduction, size_average, reduce)
    other = (margin - input).clamp_min(0).masked_fill(target == 1, 0)
    return reduced(other + input.masked_fill(target == -1, 0), reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """``max(0, -y (x1 - x2) + margin)``."""
    reduction = chosen(reduction, size_average, reduce)
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """1 minus the cosine where the target is 1, ``max(0, cosine - margin)`` where it is -1."""
    reduction = chosen(reduction, size_average, reduce)
    squares = (input1 * input1).sum(-1) + 1e-12, (input2 * input2).sum(-1) + 1e-12
    cosine = (input1 * input2).sum(-1) / (squares[0] * squares[1]).sqrt()
    return reduced((1 - cosine).masked_fill(target != 1, 0) + (cosine - margin).clamp_min(0).masked_fill(target != -1, 0), reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6, swap: bool = False,
    size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``max(0, |a - p| - |a - n| + margin)`` (Balntas et al. 2016)."""
    reduction = chosen(reduction, size_average, reduce)
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = FUNCTIONS["minimum"](far, pairwise_distance(positive, negative, p, eps))
    return reduced((near - far + margin).clamp_min(0), reduction)


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over other classes of ``max(0, margin - x[label] + x)^p``."""
    reduction = chosen(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    rows = input if input.ndim > 1 else input.unsqueeze(0)
    labels = target.reshape(-1, 1)
    excess = (margin - rows.gather(1, labels) + rows).clamp_min(0)
    if p == 2:
        excess = excess * excess
    if weight is not None:
        excess = excess * weight[labels]
    others = FUNCTIONS["ones_like"](rows.detach()).scatter(1, labels, 0.0)
    loss = (excess * others).sum(1) / rows.shape[1]
    return reduced(loss if input.ndim > 1 else loss.squeeze(0), reduction)


def _margins(x: Any, labels: Any) -> Any:
    """The mean over classes of ``max(0, 1 - x[label] + x[other])``, over the labels before the first -1 and what is no label."""
    valid = np.cumprod(labels >= 0, axis=-1).astype(np.bool_)
    labels = np.where(valid, labels, 0)
    own = np.zeros(labels.shape, np.int64)
    np.add.at(own, (*np.indices(labels.shape)[:-1], labels), valid)
    chosen = np.take_along_axis(x, labels, axis=-1)
    excess = np.maximum(1 - chosen[..., :, None] + x[..., None, :], 0)
    counted = valid[..., :, None] & (own == 0)[..., None, :]
    return np.sum(np.where(counted, excess, 0 * excess), axis=(-2, -1)) / x.shape[-1]


_multilabel_margin = loss_of("multilabel_margin_loss", _margins)


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """The mean over classes of ``max(0, 1 - x[label] + x[other])``; each row of `target` has labels, then -1.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor([[0.1, 0.2, 0.4, 0.8]])
        >>> torch.nn.functional.multilabel_margin_loss(x, torch.tensor([[3, 0, -1, 1]]))
        tensor(0.8500)
    """
    reduction = chosen(reduction, size_average, reduce)
    if input.shape != target.shape:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}{at_user_line()}")
    labels = target._array
    if labels.size and (labels.min() < -1 or labels.max() >= input.shape[-1]):
        raise RuntimeError(f"argument #3 is out of range: labels are -1 to {input.shape[-1] - 1}{at_user_line()}")
    return _multilabel_margin(input, labels, reduction=reduction)


def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Any = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """`triplet_margin_loss` with another distance.

    Example:
        >>> import functrans.torch as torch
        >>> a, p, n = torch.zeros(1, 2), torch.ones(1, 2), torch.full((1, 2), 2.0)
        >>> distance = lambda x, y: (x - y).abs().sum(-1)
        >>> torch.nn.functional.triplet_margin_with_distance_loss(a, p, n, distance_function=distance, margin=3.0)
        tensor(1.)
    """
    check_reduction(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: anchor "
            f"{anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs{at_user_line()}"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = FUNCTIONS["minimum"](far, distance(positive, negative))
    return reduced((margin + near - far).clamp_min(0), reduction)
