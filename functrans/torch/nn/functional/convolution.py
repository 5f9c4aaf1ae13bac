"""Convolutions and pooling, as functions. Inputs are ``[batch, channels, *lengths]``, or without the batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans import nn
from functrans.errors import at_user_line
from functrans.ops.structure import windows
from functrans.torch.dtypes import title
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor, made

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "max_pool1d", "max_pool2d", "max_pool3d", "unfold",
]  # fmt: skip


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


def _with_batch(input: Tensor, rank: int, name: str, call: Any) -> Any:
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
            if not isinstance(padding, str):
                spans = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:])]
                padded = [n + 2 * p for n, p in zip(x.shape[2:], padding)]
                if any(n < span for n, span in zip(padded, spans)):
                    raise RuntimeError(
                        f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel size: "
                        f"({' x '.join(map(str, spans))}). Kernel size can't be greater than actual input size{at_user_line()}"
                    )
            return _conv(x, weight, bias, stride, padding, dilation, groups)

        return _with_batch(input, rank, name, call)

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

        return _with_batch(input, rank, name, call)

    conv_transpose.__name__ = conv_transpose.__qualname__ = name
    conv_transpose.__doc__ = "The adjoint of a convolution with `weight` ``[channels, outputs / groups, *window]``."
    return conv_transpose


conv1d, conv2d, conv3d = map(_conv_of, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_conv_transpose_of, (1, 2, 3))


def _margins(x: Any, window: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> list[tuple[int, int]]:
    """Padding of each axis, with what the last place of a window needs if lengths are rounded up."""
    pairs = []
    for n, k, s, p, d in zip(x.shape[2:], window, stride, padding, dilation):
        span = n + 2 * p - d * (k - 1) - 1
        places = (-(-span // s) if ceil else span // s) + 1
        if ceil and (places - 1) * s >= n + p:
            places -= 1
        pairs.append((p, max(p, (places - 1) * s + d * (k - 1) + 1 - n - p)))
    return pairs


def _patches(x: Any, window: Any, stride: Any, pairs: Any, dilation: Any, fill: float) -> Any:
    """Every place of the window, flattened, as the last axis."""
    if any(map(any, pairs)):
        x = np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=fill)
    patches = windows(x, window=window, stride=stride, dilation=dilation)
    return np.reshape(patches, (*patches.shape[: 2 + len(window)], -1))


def _max_pooled(x: Any, numbers: Any, window: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    """The greatest of each window, the first of equals, and what `numbers` has in its place."""
    pairs = _margins(x, window, stride, padding, dilation, ceil)
    patches = _patches(x, window, stride, pairs, dilation, -np.inf)
    chosen = np.argmax(patches, axis=-1)[..., None]
    best = np.take_along_axis(patches, chosen, axis=-1)[..., 0]
    if numbers is None:
        return best
    places = _patches(numbers, window, stride, pairs, dilation, -1)
    return best, np.take_along_axis(np.broadcast_to(places, patches.shape), chosen, axis=-1)[..., 0]


def _avg_pooled(x: Any, window: Any, stride: Any, padding: Any, ceil: bool, with_padding: bool, divisor: int | None) -> Any:
    ones = (1,) * len(window)
    pairs = _margins(x, window, stride, padding, ones, ceil)
    total = np.sum(_patches(x, window, stride, pairs, ones, 0), axis=-1)
    if divisor is not None:
        return total / divisor
    # What counts: the input, and its padding if asked for, but not what rounding up added.
    inner = np.ones((1, 1, *(n + 2 * p if with_padding else n for n, p in zip(x.shape[2:], padding))), x.dtype)
    rest = [(0 if with_padding else low, high - (p if with_padding else 0)) for (low, high), p in zip(pairs, padding)]
    return total / np.sum(_patches(inner, window, stride, rest, ones, 0), axis=-1)


def _pool_checked(name: str, rank: int, window: Any, padding: Any) -> None:
    if any(2 * p > k for p, k in zip(padding, window)):
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={max(padding)}, kernel_size={window[0]} and dilation=1{at_user_line()}"
        )


def _max_pool_of(rank: int) -> Any:
    name = f"max_pool{rank}d"
    node = "SqueezeBackward1" if rank == 1 else f"MaxPool{rank}DWithIndicesBackward0"
    operation = define(f"_nn_{name}", _max_pooled, node=node, method=False, public=False)

    def max_pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:  # fmt: skip
        window = each(kernel_size, rank)
        strides = window if stride is None else each(stride, rank)
        margins = each(padding, rank)
        _pool_checked(name, rank, window, margins)

        def call(x: Tensor) -> Any:
            places = made(np.arange(np.prod(x.shape[2:])).reshape(1, 1, *x.shape[2:])) if return_indices else None
            return operation(x, places, window, strides, margins, each(dilation, rank), ceil_mode)

        return _with_batch(input, rank, name, call)

    max_pool.__name__ = max_pool.__qualname__ = name
    max_pool.__doc__ = "The greatest element at each place of a window, and its place among those of the channel if asked for."
    return max_pool


def _avg_pool_of(rank: int) -> Any:
    name = f"avg_pool{rank}d"
    node = "SqueezeBackward1" if rank == 1 else f"AvgPool{rank}DBackward0"
    operation = define(f"_nn_{name}", _avg_pooled, node=node, method=False, public=False)

    def avg_pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Tensor:  # fmt: skip
        if divisor_override == 0:
            raise RuntimeError(f"divisor must be not zero{at_user_line()}")
        window = each(kernel_size, rank)
        strides = window if stride is None else each(stride, rank)
        margins = each(padding, rank)
        _pool_checked(name, rank, window, margins)
        return _with_batch(
            input, rank, name, lambda x: operation(x, window, strides, margins, ceil_mode, count_include_pad, divisor_override)
        )

    avg_pool.__name__ = avg_pool.__qualname__ = name
    avg_pool.__doc__ = "The mean of each place of a window."
    return avg_pool


max_pool1d, max_pool2d, max_pool3d = map(_max_pool_of, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = map(_avg_pool_of, (1, 2, 3))


def _bounds(length: int, count: int) -> list[tuple[int, int]]:
    """Where each of `count` parts of an axis begins and ends; parts overlap where lengths do not divide."""
    return [(place * length // count, -(-(place + 1) * length // count)) for place in range(count)]


def _adaptive_avg(x: Any, sizes: Sequence[int]) -> Any:
    for axis, count in enumerate(sizes, 2):
        means = np.zeros((x.shape[axis], count), x.dtype)
        for place, (start, stop) in enumerate(_bounds(x.shape[axis], count)):
            means[start:stop, place] = 1 / (stop - start)
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ means, -1, axis)
    return x


def _adaptive_max(x: Any, sizes: Sequence[int]) -> Any:
    """The greatest element of each part; the first of equals gets the cotangent."""
    parts = []
    for ranges in itertools.product(*(_bounds(n, count) for n, count in zip(x.shape[2:], sizes))):
        part = x[(slice(None), slice(None), *(slice(*pair) for pair in ranges))]
        part = np.reshape(part, (*x.shape[:2], -1))
        parts.append(np.take_along_axis(part, np.argmax(part, axis=-1)[..., None], axis=-1)[..., 0])
    return np.reshape(np.stack(parts, axis=-1), (*x.shape[:2], *sizes))


def _adaptive_of(kind: str, function: Any, rank: int) -> Any:
    name = f"adaptive_{kind}_pool{rank}d"
    operation = define(f"_nn_{name}", function, node=f"Adaptive{kind.capitalize()}Pool{rank}DBackward0", method=False, public=False)

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        if return_indices:
            raise NotImplementedError(f"torch.nn.functional.{name}: return_indices is not supported\n  Remedy: max_pool{rank}d has it.{at_user_line()}")
        sizes = (output_size,) * rank if isinstance(output_size, int) or output_size is None else tuple(output_size)
        sizes = tuple(n if size is None else size for size, n in zip(sizes, input.shape[-rank:]))
        return _with_batch(input, rank, name, lambda x: operation(x, sizes))

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = "Pooling over windows such that the result has the lengths `output_size`."
    return pool


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (_adaptive_of("avg", _adaptive_avg, rank) for rank in (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_adaptive_of("max", _adaptive_max, rank) for rank in (1, 2, 3))


def _unfolded(x: Any, window: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    patches = _patches(x, window, stride, [(p, p) for p in padding], dilation, 0)
    batch, channels, *places, count = patches.shape
    return np.reshape(np.moveaxis(np.reshape(patches, (batch, channels, -1, count)), 3, 2), (batch, channels * count, -1))


_unfold = define("_nn_unfold", _unfolded, node="Im2ColBackward0", method=False, public=False)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images as columns: ``[batch, channels, H, W]`` makes ``[batch, channels * window, places]``."""
    return _with_batch(
        input, 2, "unfold", lambda x: _unfold(x, each(kernel_size, 2), each(dilation, 2), each(padding, 2), each(stride, 2))
    )
