"""Losses, as functions. `reduction` says what becomes of the elements' losses: ``"mean"``, ``"sum"`` or ``"none"``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans import nn
from functrans.core.tracer import Tracer
from functrans.core.types import type_of
from functrans.errors import at_user_line
from functrans.torch.autograd.graph import named
from functrans.torch.dtypes import title
from functrans.torch.ops.composed import RuleNode, with_rule
from functrans.torch.ops.table import FUNCTIONS, define
from functrans.torch.tensor import Tensor
from functrans.transforms.tape import fit

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "gaussian_nll_loss", "huber_loss", "kl_div",
    "l1_loss", "linear_cross_entropy", "mse_loss", "multilabel_soft_margin_loss", "nll_loss", "poisson_nll_loss",
    "smooth_l1_loss", "soft_margin_loss",
]  # fmt: skip


def check_reduction(reduction: str) -> None:
    """Raise if there is no such reduction."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def chosen(reduction: str, size_average: Any, reduce: Any, *, check: bool = True) -> str:
    """The reduction, also as older arguments have it: whether losses are reduced, and whether to their mean."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        message = f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead."
        warnings.warn(message, UserWarning, stacklevel=3)
    if check:
        check_reduction(reduction)
    return reduction


def reduced(loss: Any, reduction: str) -> Any:
    """The mean, the sum, or the losses of elements as they are; of arrays and of tensors."""
    check_reduction(reduction)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def loss_of(name: str, elements: Any, node: str | None = None) -> Any:
    """A loss from that of elements."""
    node = node or "".join(part.capitalize() for part in name.split("_")) + "Backward0"

    def loss(*arrays: Any, reduction: str) -> Any:
        value = elements(*arrays)
        return value if reduction == "none" else np.mean(value) if reduction == "mean" else np.sum(value)

    return define(f"_nn_{name}", loss, node=node, method=False, public=False)


def _smooth(difference: Any, beta: float) -> Any:
    size = np.abs(difference)
    return np.where(size < beta, 0.5 * difference * difference / (beta if beta else 1), size - 0.5 * beta)


def _huber(difference: Any, delta: float) -> Any:
    size = np.abs(difference)
    return np.where(size <= delta, 0.5 * difference * difference, delta * (size - 0.5 * delta))


def _weighted(loss: Any, weight: Any) -> Any:
    return loss if weight is None else loss * weight


def _entropy(x: Any, y: Any, weight: Any) -> Any:
    """Logarithms are held at -100 or above, as torch holds them."""
    return _weighted(-(y * np.maximum(np.log(x), -100) + (1 - y) * np.maximum(np.log(1 - x), -100)), weight)


def _entropy_of_logits(x: Any, y: Any, weight: Any, positive: Any) -> Any:
    if positive is None:
        return _weighted((1 - y) * x + nn.softplus(-x), weight)
    return _weighted((1 - y) * x + (1 + (positive - 1) * y) * nn.softplus(-x), weight)


def _squared_errors(reduction: str) -> Any:
    """``(x - y)^2``, reduced."""

    def loss(x: Any, y: Any) -> Any:
        difference = x - y
        return reduced(difference * difference, reduction)

    def rule(ct: Any, x: Any, y: Any, wanted: Sequence[bool]) -> Any:
        difference = x - y
        slope = difference * (ct * (2 / max(difference.size, 1) if reduction == "mean" else 2))
        return fit(slope, type_of(x)) if wanted[0] else None, fit(-slope, type_of(y)) if wanted[1] else None

    return with_rule("mse_loss", loss, ((0, 1), (0, 1)), rule, named("MseLossBackward0", RuleNode))


_mse = {"none": define("_nn_mse_loss", lambda x, y: (x - y) ** 2, node="MseLossBackward0", method=False, public=False)}
_mse |= {reduction: _squared_errors(reduction) for reduction in ("mean", "sum")}
_smooth_l1 = loss_of("smooth_l1_loss", lambda x, y, beta: _smooth(x - y, beta))
_huber_loss = loss_of("huber_loss", lambda x, y, delta: _huber(x - y, delta))
_bce = loss_of("binary_cross_entropy", _entropy)
_bce_logits = loss_of("binary_cross_entropy_with_logits", _entropy_of_logits)
_soft_margin = loss_of("soft_margin_loss", lambda x, y: nn.softplus(-y * x))


def _matched(input: Tensor, target: Tensor) -> None:
    """Warn, as torch does, where shapes differ and are broadcast."""
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead to "
            "incorrect results due to broadcasting. Please ensure they have the same size.",
            UserWarning,
            stacklevel=4,
        )


def _weighed(loss: Any, weight: Any, reduction: str) -> Any:
    """Losses times weights, their sum, or their weighted mean."""
    if weight.shape != loss.shape:
        raise ValueError(f"Weights and input must have the same size.{at_user_line()}")
    loss = loss * weight
    return loss.sum() / weight.expand_as(loss).sum() if reduction == "mean" else reduced(loss, reduction)


def _as_numbers(input: Tensor, target: Tensor) -> Tensor:
    """`target`; whole numbers beside a floating input are numbers of its dtype."""
    if target._array.dtype.kind in "biu" and input._array.dtype.kind in "fc":
        return target.to(input.dtype)
    return target


def mse_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None) -> Tensor:
    """``(x - y)^2``."""
    reduction = chosen(reduction, size_average, reduce)
    _matched(input, target)
    target = _as_numbers(input, target)
    if weight is not None:
        return _weighed(_mse["none"](input, target), weight, reduction)
    return _mse[reduction](input, target)


def l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None) -> Tensor:
    """``|x - y|``."""
    reduction = chosen(reduction, size_average, reduce)
    _matched(input, target)
    target = _as_numbers(input, target)
    loss = (input - target).abs()
    return reduced(loss, reduction) if weight is None else _weighed(loss, weight, reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """A square within `beta` of 0, beyond it linear (Girshick 2015)."""
    reduction = chosen(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    _matched(input, target)
    target = _as_numbers(input, target)
    return _smooth_l1(input, target, beta, reduction=reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """Half a square within `delta` of 0, beyond it linear (Huber 1964)."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    check_reduction(reduction)
    _matched(input, target)
    target = _as_numbers(input, target)
    if weight is not None:
        if weight.shape != input.shape:
            raise ValueError(f"Weights and input must have the same size.{at_user_line()}")
        return reduced(_huber_loss(input, target, delta, reduction="none") * weight, reduction)
    return _huber_loss(input, target, delta, reduction=reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """``-(y log x + (1 - y) log(1 - x))``.

    Raises:
        ValueError: shapes differ.
        RuntimeError: elements of the input are not between 0 and 1.
    """
    reduction = chosen(reduction, size_average, reduce)
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. Please ensure they have the same size."
        )
    array = input._array
    if isinstance(array, (np.ndarray, np.generic)) and array.size and not (array.min() >= 0 and array.max() <= 1):
        raise RuntimeError(f"all elements of input should be between 0 and 1{at_user_line()}")
    if target._array.dtype != input._array.dtype:
        raise RuntimeError(
            f"Found dtype {title(target._array.dtype)} but expected {title(input._array.dtype)}\n  Remedy: convert the target with .to({input.dtype}).{at_user_line()}"
        )
    return _bce(input, target, weight, reduction=reduction)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`binary_cross_entropy` of `sigmoid`, without overflow."""
    reduction = chosen(reduction, size_average, reduce)
    if input.shape != target.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if target._array.dtype.kind in "biu":
        raise RuntimeError(
            f"result type {title(input._array.dtype)} can't be cast to the desired output type {title(target._array.dtype)}"
            f"\n  Remedy: convert the target with .to({input.dtype}).{at_user_line()}"
        )
    return _bce_logits(input, target, weight, pos_weight, reduction=reduction)


def _negative_likelihood(x: Any, weight: Any, labels: Any, ignored: int, reduction: str) -> Any:
    """Minus the score of each label, in the shape of the labels, times its weight; classes are axis 1, or 0 of a vector."""
    axis = 1 if x.ndim > 1 else 0
    counted = labels != ignored
    places = np.where(counted, labels, 0)
    chosen = np.squeeze(np.take_along_axis(x, np.expand_dims(places, axis), axis), axis)
    weights = counted.astype(x.dtype) if weight is None else np.where(counted, weight[places], weight.dtype.type(0))
    loss = -chosen * weights
    if reduction == "none":
        return loss
    return np.sum(loss) / np.sum(weights) if reduction == "mean" else np.sum(loss)


_nll = define("_nn_nll_loss", _negative_likelihood, node="NllLossBackward0", method=False, public=False)
_nll_many = define("_nn_nll_loss_many", _negative_likelihood, node="NllLoss2DBackward0", method=False, public=False)


def _check_labels(input: Tensor, target: Tensor, ignored: int) -> None:
    labels: Any = target._array
    shape = input._array.shape
    if len(shape) > 1 and shape[0] != (labels.shape or (1,))[0]:
        raise ValueError(f"Expected input batch_size ({shape[0]}) to match target batch_size ({(labels.shape or (1,))[0]}).{at_user_line()}")
    if len(shape) == 2 and labels.ndim > 1:
        raise RuntimeError(
            f"0D or 1D target tensor expected, multi-target not supported\n  Remedy: remove the further axes, as with .squeeze(1).{at_user_line()}"
        )
    if (shape[:1] + shape[2:] if len(shape) > 1 else ()) != labels.shape:
        raise RuntimeError(f"Expected target size {list(shape[:1] + shape[2:])}, got {list(labels.shape)}{at_user_line()}")
    if labels.dtype != np.int64 and labels.dtype != np.uint8:
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {title(labels.dtype)}"
            f"\n  Remedy: convert the labels with .long(); probabilities have the shape of the input.{at_user_line()}"
        )
    classes = shape[1] if len(shape) > 1 else shape[0]
    if not isinstance(labels, Tracer) and labels.size:
        wrong = (labels != ignored) & ((labels < 0) | (labels >= classes))
        if wrong.any():
            raise IndexError(f"Target {labels[wrong].flat[0] if labels.ndim else labels} is out of bounds.{at_user_line()}")


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Minus the score of each label.

    Args:
        input: ``[batch, classes, ...]``, log-probabilities.
        target: labels, int64 ``[batch, ...]``.
        weight: of each class.
        ignore_index: a label that does not count.

    Raises:
        IndexError: a label is out of range.
    """
    reduction = chosen(reduction, size_average, reduce)
    _check_labels(input, target, ignore_index)
    return (_nll if input.ndim <= 2 else _nll_many)(input, weight, target, ignore_index, reduction)


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """`nll_loss` of `log_softmax`; targets are labels, or probabilities in the shape of the input.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor(1.3863)
    """
    reduction = chosen(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    axis = 1 if input.ndim > 1 else 0
    scores = FUNCTIONS["log_softmax"](input, axis)
    classes = input.shape[axis]
    if target.is_floating_point() and (target.ndim > 1 or target.shape == input.shape):
        if target.shape != input.shape:
            raise RuntimeError(f"Expected floating point type for target with class probabilities, of shape {list(input.shape)}, got {list(target.shape)}{at_user_line()}")
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / classes
        products = scores * target
        if weight is not None:
            products = products * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
        loss = -products.sum(axis)
        return loss.sum() / max(loss.numel(), 1) if reduction == "mean" else reduced(loss, reduction)
    loss = nll_loss(scores, target, weight, None, ignore_index, None, reduction)
    if not label_smoothing:
        return loss
    smooth = scores if weight is None else scores * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
    counted = target != ignore_index
    smooth = -smooth.sum(axis).masked_fill(~counted, 0.0)
    if reduction == "mean":
        total = counted.sum() if weight is None else weight[target.masked_fill(~counted, 0)].masked_fill(~counted, 0.0).sum()
        smooth = smooth.sum() / total
    elif reduction == "sum":
        smooth = smooth.sum()
    return (1 - label_smoothing) * loss + smooth * (label_smoothing / classes)


def kl_div(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """``y (log y - x)``, with `input` in logarithms."""
    reduction = chosen(reduction, size_average, reduce, check=reduction != "batchmean")
    loss = target.exp() * (target - input) if log_target else FUNCTIONS["xlogy"](target, target) - target * input
    return loss.sum() / input.shape[0] if reduction == "batchmean" else reduced(loss, reduction)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: Any = None, eps: float = 1e-8,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Minus the log-likelihood of counts; `full` adds Stirling's approximation of the rest."""
    reduction = chosen(reduction, size_average, reduce)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        rest = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + rest.masked_fill(target <= 1, 0)
    return reduced(loss, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Minus the log-likelihood of normal numbers with variances `var`, at least `eps`."""
    if isinstance(var, float):
        var = FUNCTIONS["full_like"](input, var)
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif not (input.shape[:-1] == var.shape[:-1] and var.shape[-1] == 1):
            raise ValueError("var is of incorrect size")
    check_reduction(reduction)
    if (var < 0).any():
        raise ValueError("var has negative entry/entries")
    # The floor is constant to derivatives, and what is under it passes them on.
    held = var + (var.detach().clamp_min(eps) - var.detach())
    loss = 0.5 * (held.log() + (input - target) ** 2 / held)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def soft_margin_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> Tensor:
    """``log(1 + exp(-y x))``."""
    reduction = chosen(reduction, size_average, reduce)
    return _soft_margin(input, _as_numbers(input, target), reduction=reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """The mean over classes of `binary_cross_entropy_with_logits`."""
    reduction = chosen(reduction, size_average, reduce)
    return reduced(_bce_logits(input, target, weight, None, reduction="none").mean(-1), reduction)


def linear_cross_entropy(
    input: Any, linear_weight: Any, target: Tensor, *, linear_bias: Any = None, weight: Any = None, reduction: str = "mean",
    ignore_index: int | None = None, label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:  # fmt: skip
    """`cross_entropy` of a linear map ``[classes, ..., n]`` of ``[batch, n]``.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.linear_cross_entropy(torch.ones(1, 2), torch.zeros(4, 2), torch.tensor([1]))
        tensor(1.3863)
    """
    if options is not None:
        raise NotImplementedError(
            f"torch.nn.functional.linear_cross_entropy: options is not supported\n  Remedy: leave it out.{at_user_line()}"
        )
    if input.ndim not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.ndim}{at_user_line()}")
    if linear_weight.ndim < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.ndim}{at_user_line()}")
    if input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {input.shape[-1]} and {linear_weight.shape[-1]}, "
            f"respectively{at_user_line()}"
        )
    scores = input @ linear_weight.flatten(0, -2).T
    if linear_bias is not None:
        scores = scores + linear_bias.flatten()
    scores = scores.reshape(*input.shape[:-1], *linear_weight.shape[:-1])
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(scores, target, weight, None, ignored, None, reduction, label_smoothing)
