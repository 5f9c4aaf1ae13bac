"""Convolutions, as functions. Inputs are ``[batch, channels, *lengths]``, or without the batch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from functrans import nn
from functrans.errors import at_user_line
from functrans.torch.dtypes import title
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor

__all__ = ["conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def each(value: Any, rank: int) -> tuple[int, ...]:
    """An int for every axis, or the ints given."""
    if isinstance(value, int):
        return (value,) * rank
    return tuple(value) * rank if len(value) == 1 else tuple(value)


def _convolved(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    out = nn.conv(x, weight, stride, padding, dilation, groups)
    return out if bias is None else out + np.reshape(bias, (-1, *(1,) * (weight.ndim - 2)))


def _transposed(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, extra: Any, groups: int, dilation: Any) -> Any:
    """The adjoint of a convolution: zeros between the elements, then a convolution with the reversed kernel."""
    rank = weight.ndim - 2
    window = weight.shape[2:]
    batch, channels = x.shape[:2]
    lengths = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], stride)]
    spread = np.reshape(x, (batch, channels, *itertools.chain(*((n, 1) for n in x.shape[2:]))))
    spread = np.pad(spread, [(0, 0), (0, 0), *itertools.chain(*(((0, 0), (0, s - 1)) for s in stride))])
    spread = np.reshape(spread, (batch, channels, *(n * s for n, s in zip(x.shape[2:], stride))))
    spread = spread[(slice(None), slice(None), *(slice(0, n) for n in lengths))]
    before = [d * (k - 1) - p for d, k, p in zip(dilation, window, padding)]
    after = [low + more for low, more in zip(before, extra)]
    spread = np.pad(spread, [(0, 0), (0, 0), *((max(low, 0), max(high, 0)) for low, high in zip(before, after))])
    spread = spread[
        (slice(None), slice(None), *(slice(max(-low, 0), n - max(-high, 0)) for n, low, high in zip(spread.shape[2:], before, after)))
    ]
    kernel = np.reshape(weight, (groups, channels // groups, *weight.shape[1:]))
    kernel = np.reshape(np.swapaxes(kernel, 1, 2), (-1, channels // groups, *window))
    kernel = kernel[(slice(None), slice(None), *(slice(None, None, -1),) * rank)]
    return _convolved(spread, kernel, bias, 1, 0, tuple(dilation), groups)


_conv = define("_nn_conv", _convolved, node="ConvolutionBackward0", method=False, public=False)
_conv_transpose = define("_nn_conv_transpose", _transposed, node="ConvolutionBackward0", method=False, public=False)


def with_batch(input: Tensor, rank: int, name: str, call: Any) -> Any:
    """`call` of the input with a batch; without one, one is made for the call."""
    if input.ndim == rank + 2:
        return call(input)
    if input.ndim != rank + 1:
        raise RuntimeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got input of size: {list(input.shape)}{at_user_line()}"
        )
    result = call(input.unsqueeze(0))
    return tuple(part.squeeze(0) for part in result) if isinstance(result, tuple) else result.squeeze(0)


def _check_channels(input: Tensor, weight: Tensor, bias: Tensor | None, channels: int, groups: int, rank: int) -> None:
    given = input.shape[-rank - 1]
    if input.dtype is not weight.dtype:
        raise RuntimeError(
            f"Input type (torch.{title(input.dtype)}Tensor) and weight type (torch.{title(weight.dtype)}Tensor) should be the same"
            f"\n  Remedy: convert the input with .to({weight.dtype}).{at_user_line()}"
        )
    if given != channels:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have {channels} channels, "
            f"but got {given} channels instead{at_user_line()}"
        )


def _conv_of(rank: int) -> Any:
    name = f"conv{rank}d"

    def conv(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Tensor:
        stride, dilation = each(stride, rank), each(dilation, rank)
        if isinstance(padding, str):
            if padding not in ("valid", "same"):
                raise RuntimeError(f"Invalid padding string: '{padding}'{at_user_line()}")
            if padding == "same" and any(step != 1 for step in stride):
                raise RuntimeError(f"padding='same' is not supported for strided convolutions{at_user_line()}")
        else:
            padding = each(padding, rank)
        if weight.ndim != rank + 2:
            raise RuntimeError(f"weight should have {rank + 2} dimensions for {name}, but got {weight.ndim}{at_user_line()}")

        def call(x: Tensor) -> Tensor:
            _check_channels(x, weight, bias, weight.shape[1] * groups, groups, rank)
            spans = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:])]
            margins = {"same": [span - 1 for span in spans], "valid": [0] * rank}
            totals = margins[padding] if isinstance(padding, str) else [2 * p for p in padding]
            padded = [n + total for n, total in zip(x.shape[2:], totals)]
            if any(n < span for n, span in zip(padded, spans)):
                raise RuntimeError(
                    f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel size: "
                    f"({' x '.join(map(str, spans))}). Kernel size can't be greater than actual input size{at_user_line()}"
                )
            return _conv(x, weight, bias, stride, padding, dilation, groups)

        return with_batch(input, rank, name, call)

    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = "Convolution of an input with `weight` ``[outputs, channels / groups, *window]``."
    return conv


def _conv_transpose_of(rank: int) -> Any:
    name = f"conv_transpose{rank}d"

    def conv_transpose(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Tensor:  # fmt: skip
        options = [each(value, rank) for value in (stride, padding, output_padding)]
        if any(more >= max(step, gap) for more, step, gap in zip(options[2], options[0], each(dilation, rank))):
            raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got output_padding: {output_padding}{at_user_line()}")

        def call(x: Tensor) -> Tensor:
            _check_channels(x, weight, bias, weight.shape[0], groups, rank)
            return _conv_transpose(x, weight, bias, *options, groups, each(dilation, rank))

        return with_batch(input, rank, name, call)

    conv_transpose.__name__ = conv_transpose.__qualname__ = name
    conv_transpose.__doc__ = "The adjoint of a convolution with `weight` ``[channels, outputs / groups, *window]``."
    return conv_transpose


conv1d, conv2d, conv3d = map(_conv_of, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_conv_transpose_of, (1, 2, 3))


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution of ``[time, batch, channels]`` with `weight` ``[window, channels, outputs]``.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.conv_tbc(torch.ones(4, 1, 2), torch.ones(3, 2, 1), torch.zeros(1)).flatten()
        tensor([6., 6.])
    """
    x: Any = input
    kernel: Any = weight
    return conv1d(x.permute(1, 2, 0), kernel.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)
