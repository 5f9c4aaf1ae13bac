"""Functions of neural networks: activations, softmax, convolution and pooling, of plain or traced arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import operand
from functrans.core.types import shape_of
from functrans.errors import at_user_line
from functrans.ops.contraction import contract
from functrans.ops.structure import windows

__all__ = [
    "avg_pool",
    "conv",
    "elu",
    "gelu",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "max_pool",
    "one_hot",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
]

Axis = int | tuple[int, ...] | None


def relu(x: Any) -> Any:
    """``max(x, 0)``, with derivative 1/2 at 0.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.relu(np.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    return np.maximum(x, 0)


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """`x` where positive, else `slope` times `x` (Maas, Hannun and Ng 2013).

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.leaky_relu(np.array([-1.0, 2.0])).tolist()
        [-0.01, 2.0]
    """
    return np.where(x > 0, x, slope * x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where positive, else ``alpha * (exp(x) - 1)``, with derivative `alpha` at 0 (Clevert, Unterthiner and Hochreiter 2016).

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.elu(np.array([-np.inf, 2.0])).tolist()
        [-1.0, 2.0]
    """
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x)))


def selu(x: Any) -> Any:
    """The self-normalising `elu` (Klambauer et al. 2017).

    Example:
        >>> import functrans as ft
        >>> round(float(ft.nn.selu(1.0)), 4)
        1.0507
    """
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``, without overflow.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return 0.5 * (np.tanh(0.5 * x) + 1)


def log_sigmoid(x: Any) -> Any:
    """The logarithm of `sigmoid`, without cancellation.

    Example:
        >>> import functrans as ft
        >>> float(ft.nn.log_sigmoid(-1000.0))
        -1000.0
    """
    return -softplus(-1 * operand(x))


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``, without overflow.

    Example:
        >>> import functrans as ft
        >>> float(ft.nn.softplus(1000.0))
        1000.0
    """
    return np.logaddexp(x, 0)


def silu(x: Any) -> Any:
    """``x * sigmoid(x)`` (Elfwing, Uchibe and Doya 2018).

    Example:
        >>> import functrans as ft
        >>> float(ft.nn.silu(0.0))
        0.0
    """
    return x * sigmoid(x)


def gelu(x: Any) -> Any:
    """The Gaussian error linear unit in its tanh form (Hendrycks and Gimpel 2016).

    Example:
        >>> import functrans as ft
        >>> round(float(ft.nn.gelu(1.0)), 4)
        0.8412
    """
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The logarithm of the sum of exponentials along `axis`, without overflow; -inf where all are -inf.

    Example:
        >>> import numpy as np, functrans as ft
        >>> round(float(ft.nn.logsumexp(np.array([1000.0, 1000.0]))), 4)
        1000.6931
    """
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    total = np.sum(np.exp(x - top), axis=axis, keepdims=True)
    empty = total == 0
    result = np.where(empty, -np.inf, np.log(np.where(empty, 1, total)) + top)
    if keepdims:
        return result
    return np.squeeze(result, axis=tuple(range(result.ndim)) if axis is None else axis)


def softmax(x: Any, axis: Axis = -1) -> Any:
    """Exponentials that sum to 1 along `axis`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.softmax(np.zeros(4)).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    exponentials = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return exponentials / np.sum(exponentials, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """The logarithm of `softmax`, without cancellation.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.log_softmax(np.array([0.0, -1000.0])).tolist()
        [0.0, -1000.0]
    """
    return x - logsumexp(x, axis, keepdims=True)


def one_hot(labels: Any, classes: int, dtype: Any = float) -> Any:
    """For each label a row with 1 at its place: shape ``labels.shape + (classes,)``; zeros if out of range.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.one_hot(np.array([1, 0]), 2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    labels = np.asarray(labels) if isinstance(labels, (int, list, tuple)) else labels
    return (labels[..., None] == np.arange(classes)).astype(dtype)


def _each(value: Any, rank: int) -> tuple[int, ...]:
    """An int for every axis, or the ints given."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _margins(
    padding: Any, lengths: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Zeros before and after each axis."""
    if padding == "valid":
        return [(0, 0)] * len(window)
    if padding == "same":
        totals = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in zip(lengths, window, strides, dilation)]
        return [(total // 2, total - total // 2) for total in totals]
    if isinstance(padding, int):
        return [(padding, padding)] * len(window)
    return [(pair, pair) if isinstance(pair, int) else tuple(pair) for pair in padding]


def conv(x: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1) -> Any:
    """Convolution, as networks mean it (cross-correlation), over any number of axes.

    Args:
        x: ``[batch, channels, *lengths]``.
        kernel: ``[outputs, channels / groups, *window]``.
        strides: one int, or one per axis.
        padding: ``"valid"``, ``"same"``, an int, or an int or a pair (before, after) per axis.
        dilation: spacing of the kernel's elements: one int, or one per axis.
        groups: the channels are split into this many groups, each with its own kernels.

    Returns:
        ``[batch, outputs, *places]``.

    Raises:
        ValueError: ranks or channels do not match.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.conv(np.arange(4.0)[None, None], np.ones((1, 1, 2))).tolist()
        [[[1.0, 3.0, 5.0]]]

    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016).
    """
    x, kernel = operand(x), operand(kernel)
    rank = len(shape_of(kernel)) - 2
    batch, channels, *lengths = shape_of(x)
    outputs, per_group, *window = shape_of(kernel)
    if len(lengths) != rank or per_group * groups != channels or outputs % groups:
        raise ValueError(
            f"nn.conv: a kernel of shape {shape_of(kernel)} with groups={groups} does not fit an input of shape {shape_of(x)}"
            f"\n  Remedy: shapes are [batch, channels, *lengths] and [outputs, channels / groups, *window].{at_user_line()}"
        )
    strides, dilation = _each(strides, rank), _each(dilation, rank)
    padded = np.pad(x, [(0, 0), (0, 0), *_margins(padding, lengths, window, strides, dilation)])
    patches = windows(padded, window=tuple(window), stride=strides, dilation=dilation)
    places = shape_of(patches)[2 : 2 + rank]
    patches = np.reshape(patches, (batch, groups, per_group, *places, *window))
    # As matrices, so that this contraction and those of its derivatives are one product for each group.
    patches = np.transpose(patches, (1, 2, *range(3 + rank, 3 + 2 * rank), 0, *range(3, 3 + rank)))
    kernel = np.reshape(kernel, (groups, outputs // groups, per_group, *window))
    place_letters, window_letters = "pqrstu"[:rank], "vwxyzh"[:rank]
    result = contract(patches, kernel, subscripts=f"gc{window_letters}b{place_letters},goc{window_letters}->gob{place_letters}")
    return np.reshape(np.moveaxis(result, 2, 0), (batch, outputs, *places))


def _pooled(x: Any, window: Any, strides: Any, padding: Any, fill: float) -> Any:
    """Every place of the window, as the last axes, and these axes."""
    x = operand(x)
    rank = len(shape_of(x)) - 2
    window = _each(window, rank)
    strides = window if strides is None else _each(strides, rank)
    margins = _margins(padding, shape_of(x)[2:], window, strides, (1,) * rank)
    if any(map(any, margins)):
        x = np.pad(x, [(0, 0), (0, 0), *margins], constant_values=fill)
    return windows(x, window=window, stride=strides, dilation=(1,) * rank), tuple(range(-rank, 0))


def max_pool(x: Any, window: Any, strides: Any = None, padding: Any = "valid") -> Any:
    """The greatest element at each place of a window; ties share the cotangent.

    Args:
        x: ``[batch, channels, *lengths]``.
        window: one int, or one per axis.
        strides: likewise; the window by default.
        padding: as in `conv`; what is added is never chosen.

    Returns:
        ``[batch, channels, *places]``.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.max_pool(np.arange(4.0)[None, None], 2).tolist()
        [[[1.0, 3.0]]]
    """
    patches, axes = _pooled(x, window, strides, padding, -np.inf)
    return np.max(patches, axis=axes)


def avg_pool(x: Any, window: Any, strides: Any = None, padding: Any = "valid") -> Any:
    """The mean of each place of a window, zeros of the padding counted; arguments as in `max_pool`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.nn.avg_pool(np.arange(4.0)[None, None], 2).tolist()
        [[[0.5, 2.5]]]
    """
    patches, axes = _pooled(x, window, strides, padding, 0)
    return np.mean(patches, axis=axes)
