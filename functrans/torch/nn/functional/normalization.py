"""Normalisation, as functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.autograd.modes import no_grad
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm"]


def _check_dtypes(input: Tensor, *others: Tensor | None) -> None:
    """Raise unless what scales `input` has its dtype; numbers of half precision are scaled by those of single precision too."""
    own = input._array.dtype
    for other in others:
        if other is not None and other._array.dtype != own and not (own == np.float16 and other._array.dtype == np.float32):
            raise RuntimeError(
                "mixed dtype (CPU): all inputs must share same datatype."
                f"\n  Remedy: convert the input with .to({other.dtype}), or the module with .to({input.dtype}).{at_user_line()}"
            )


def _check_channels(input: Tensor, **others: Tensor | None) -> None:
    for name, other in others.items():
        if other is not None and other.shape != input.shape[1:2]:
            raise RuntimeError(f"{name} should contain {input.shape[1]} elements not {other._array.size}{at_user_line()}")


def _standardised(x: Any, axes: Any, eps: float) -> Any:
    """`x` with mean 0 and variance 1 over `axes`, the mean and the variance."""
    mean = np.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    variance = np.mean(centred * centred, axis=axes, keepdims=True)
    return centred / np.sqrt(variance + eps), mean, variance


def _scaled(x: Any, weight: Any, bias: Any, shape: Any) -> Any:
    if weight is not None:
        x = x * np.reshape(weight, shape)
    return x if bias is None else x + np.reshape(bias, shape)


def _batch_trained(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    axes = (0, *range(2, x.ndim))
    normal, mean, variance = _standardised(x, axes, eps)
    return _scaled(normal, weight, bias, (-1, *(1,) * (x.ndim - 2))), np.reshape(mean, -1), np.reshape(variance, -1)


def _batch_evaluated(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float) -> Any:
    shape = (-1, *(1,) * (x.ndim - 2))
    normal = (x - np.reshape(mean, shape)) / np.reshape(np.sqrt(variance + eps), shape)
    return _scaled(normal, weight, bias, shape)


_trained = define("_nn_batch_norm", _batch_trained, node="NativeBatchNormBackward0", method=False, public=False)
_evaluated = define("_nn_batch_norm_evaluated", _batch_evaluated, node="NativeBatchNormBackward0", method=False, public=False)


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """`input` ``[batch, channels, ...]`` with mean 0 and variance 1 of each channel (Ioffe and Szegedy 2015).

    In training mean and variance are the batch's, and the running ones, which are used otherwise, move towards them.

    Raises:
        ValueError: in training there is only one value per channel.
        RuntimeError: there are more or fewer channels than weights, or dtypes differ.
    """
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    _check_dtypes(input, running_mean, running_var, weight, bias)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(f"Expected running_mean and running_var to be defined when training=False{at_user_line()}")
        return _evaluated(input, weight, bias, running_mean, running_var, eps)
    count = input._array.size // max(input.shape[1], 1)
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}{at_user_line()}")
    result, mean, variance = _trained(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with no_grad():
            running_mean.mul_(1 - momentum).add_(mean.detach(), alpha=momentum)
            running_var.mul_(1 - momentum).add_(variance.detach(), alpha=momentum * count / (count - 1))
    return result


def _layer(x: Any, weight: Any, bias: Any, rank: int, eps: float) -> Any:
    normal, _, _ = _standardised(x, tuple(range(-rank, 0)), eps)
    return _scaled(normal, weight, bias, x.shape[x.ndim - rank :])


_layer_norm = define("_nn_layer_norm", _layer, node="NativeLayerNormBackward0", method=False, public=False)


def _check_shape(input: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(input.shape[max(input.ndim - len(shape), 0) :]) != shape:
        expected = "".join(f", {n}" for n in shape)
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{expected}], but got input of size{list(input.shape)}{at_user_line()}"
        )


def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """`input` with mean 0 and variance 1 over its last axes (Ba, Kiros and Hinton 2016)."""
    shape = tuple(normalized_shape)
    _check_shape(input, shape)
    _check_dtypes(input, weight, bias)
    return _layer_norm(input, weight, bias, len(shape), eps)


def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """`input` divided by the root of the mean square over its last axes (Zhang and Sennrich 2019)."""
    shape = tuple(normalized_shape)
    if input.ndim < len(shape):
        raise ValueError(f"Input tensor must have at least {len(shape)} dimensions, but got {input.ndim}{at_user_line()}")
    _check_shape(input, shape)
    eps = float(np.finfo(input._array.dtype).eps) if eps is None else eps
    axes = tuple(range(-len(shape), 0))
    normal = input * ((input * input).mean(axes, keepdim=True) + eps).rsqrt()
    return normal if weight is None else normal * weight


def _grouped(x: Any, groups: int, weight: Any, bias: Any, eps: float) -> Any:
    parts = np.reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    normal, _, _ = _standardised(parts, (2,), eps)
    return _scaled(np.reshape(normal, x.shape), weight, bias, (-1, *(1,) * (x.ndim - 2)))


_group_norm = define("_nn_group_norm", _grouped, node="NativeGroupNormBackward0", method=False, public=False)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """`input` ``[batch, channels, ...]`` with mean 0 and variance 1 in each group of channels (Wu and He 2018)."""
    _check_dtypes(input, weight, bias)
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}{at_user_line()}")
    if input.shape[1] % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(input.shape)} and num_groups={num_groups}{at_user_line()}"
        )
    if math.prod(input.shape[2:]) * input.shape[1] // num_groups * input.shape[0] == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}{at_user_line()}")
    return _group_norm(input, num_groups, weight, bias, eps)


def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """`input` ``[batch, channels, ...]`` with mean 0 and variance 1 in each channel of each example."""
    _check_dtypes(input, running_mean, running_var, weight, bias)
    if use_input_stats:
        if math.prod(input.shape[2:]) == 1:
            raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}{at_user_line()}")
        if running_mean is not None and running_var is not None:
            _follow(input, running_mean, running_var, momentum)
        return _group_norm(input, input.shape[1], weight, bias, eps)
    if running_mean is None or running_var is None:
        raise RuntimeError(f"Expected running_mean and running_var to be defined when use_input_stats=False{at_user_line()}")
    return _evaluated(input, weight, bias, running_mean, running_var, eps)


def _follow(input: Any, mean: Any, variance: Any, momentum: float) -> None:
    """Move running statistics towards those of channels, averaged over examples."""
    with no_grad():
        x = input.detach().flatten(2)
        count = x.shape[2]
        mean.mul_(1 - momentum).add_(x.mean(2).mean(0), alpha=momentum)
        variance.mul_(1 - momentum).add_(x.var(2, correction=0).mean(0), alpha=momentum * count / (count - 1))


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """`input` ``[batch, channels, ...]`` over ``(k + alpha m)^beta``, where `m` is the mean of squares of `size` channels around.

    Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.local_response_norm(torch.ones(1, 2, 1), 2, alpha=1.0, beta=1.0).flatten()
        tensor([0.6667, 0.5000])
    """
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality                          input (got {input.ndim} dimensions)")
    if not input.numel():
        return input
    return input / _neighbours(input, size, alpha, beta, k)


def _scale(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    rest = ((0, 0),) * (x.ndim - 2)
    total = np.pad(x * x, ((0, 0), (size // 2, (size - 1) // 2), *rest))
    mean = sum(total[:, start : start + x.shape[1]] for start in range(size)) / size
    return (mean * alpha + k) ** beta


_neighbours = define("_nn_local_response", _scale, node="PowBackward0", method=False, public=False)
