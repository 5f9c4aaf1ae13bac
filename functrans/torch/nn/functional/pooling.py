"""Pooling, as functions. Inputs are ``[batch, channels, *lengths]``, or without the batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.numpy.indexing import At
from functrans.ops.structure import windows
from functrans.torch.nn.functional.convolution import each, with_batch
from functrans.torch.ops.table import define
from functrans.torch.random import numbers
from functrans.torch.tensor import Tensor, made

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool1d_with_indices",
    "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "max_unpool1d", "max_unpool2d", "max_unpool3d",
]  # fmt: skip


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


def patches_of(x: Any, window: Any, stride: Any, pairs: Any, dilation: Any, fill: float) -> Any:
    """Every place of the window, flattened, as the last axis."""
    if any(map(any, pairs)):
        x = np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=fill)
    patches = windows(x, window=window, stride=stride, dilation=dilation)
    return np.reshape(patches, (*patches.shape[: 2 + len(window)], math.prod(window)))


def _max_pooled(x: Any, numbers: Any, window: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    """The greatest of each window, the first of equals, and what `numbers` has in its place."""
    pairs = _margins(x, window, stride, padding, dilation, ceil)
    patches = patches_of(x, window, stride, pairs, dilation, -np.inf)
    chosen = np.argmax(patches, axis=-1)[..., None]
    best = np.take_along_axis(patches, chosen, axis=-1)[..., 0]
    if numbers is None:
        return best
    places = patches_of(numbers, window, stride, pairs, dilation, -1)
    return best, np.take_along_axis(np.broadcast_to(places, patches.shape), chosen, axis=-1)[..., 0]


def _avg_pooled(x: Any, window: Any, stride: Any, padding: Any, ceil: bool, with_padding: bool, divisor: int | None) -> Any:
    ones = (1,) * len(window)
    pairs = _margins(x, window, stride, padding, ones, ceil)
    total = np.sum(patches_of(x, window, stride, pairs, ones, 0), axis=-1)
    if divisor is not None:
        return total / divisor
    # What counts: the input, and its padding if asked for, but not what rounding up added.
    inner = np.ones((1, 1, *(n + 2 * p if with_padding else n for n, p in zip(x.shape[2:], padding))), x.dtype)
    rest = [(0 if with_padding else low, high - (p if with_padding else 0)) for (low, high), p in zip(pairs, padding)]
    return total / np.sum(patches_of(inner, window, stride, rest, ones, 0), axis=-1)


def places_of(lengths: Sequence[int], window: Any, stride: Any, padding: Any, dilation: Any) -> list[int]:
    """How many places of a window there are on each axis; not positive if there is none."""
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(lengths, window, stride, padding, dilation)]


def _pool_checked(input: Tensor, rank: int, window: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> None:
    if 0 in input.shape[-rank - 1 :]:
        raise RuntimeError(
            f"Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with optional 0 dim batch size for input, but got:{list(input.shape)}{at_user_line()}"
        )
    if any(2 * p > k for p, k in zip(padding, window)):
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={max(padding)}, kernel_size={window[0]} and dilation=1{at_user_line()}"
        )
    if input.ndim in (rank + 1, rank + 2):
        lengths, channels = input.shape[-rank:], input.shape[-rank - 1]
        # Rounding up adds at most one place.
        places = [n + ceil for n in places_of(lengths, window, stride, padding, dilation)]
        if min(places) <= 0:
            sizes = ["x".join(map(str, (channels, *each))) for each in (lengths, places)]
            raise RuntimeError(f"Given input size: ({sizes[0]}). Calculated output size: ({sizes[1]}). Output size is too small{at_user_line()}")


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
        _pool_checked(input, rank, window, strides, margins, each(dilation, rank), ceil_mode)

        def call(x: Tensor) -> Any:
            places = made(np.arange(np.prod(x.shape[2:])).reshape(1, 1, *x.shape[2:])) if return_indices else None
            return operation(x, places, window, strides, margins, each(dilation, rank), ceil_mode)

        return with_batch(input, rank, name, call)

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
        _pool_checked(input, rank, window, strides, margins, (1,) * rank, ceil_mode)
        return with_batch(
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
    """The greatest element of each part, the first of equals, and its place in the channel."""
    plane = np.arange(np.prod(x.shape[2:])).reshape(x.shape[2:])
    parts, places = [], []
    for ranges in itertools.product(*(_bounds(n, count) for n, count in zip(x.shape[2:], sizes))):
        inner = tuple(slice(*pair) for pair in ranges)
        part = np.reshape(x[(slice(None), slice(None), *inner)], (*x.shape[:2], plane[inner].size))
        chosen = np.argmax(part, axis=-1)
        parts.append(np.take_along_axis(part, chosen[..., None], axis=-1)[..., 0])
        places.append(plane[inner].reshape(-1)[chosen])
    shape = (*x.shape[:2], *sizes)
    return np.reshape(np.stack(parts, axis=-1), shape), np.reshape(np.stack(places, axis=-1), shape)


def _adaptive_of(kind: str, function: Any, rank: int) -> Any:
    name = f"adaptive_{kind}_pool{rank}d"
    operation = define(f"_nn_{name}", function, node=f"Adaptive{kind.capitalize()}Pool{rank}DBackward0", method=False, public=False)

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        if isinstance(output_size, (tuple, list)) and input.ndim <= rank:
            raise ValueError(f"Input dimension should be at least {rank + 1}")
        if 0 in input.shape[-rank:]:
            raise RuntimeError(
                f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes {list(input.shape)}{at_user_line()}"
            )
        sizes = (output_size,) * rank if isinstance(output_size, int) or output_size is None else tuple(output_size)
        sizes = tuple(n if size is None else size for size, n in zip(sizes, input.shape[-rank:]))
        out = with_batch(input, rank, name, lambda x: operation(x, sizes))
        return out[0] if kind == "max" and not return_indices else out

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = "Pooling over windows such that the result has the lengths `output_size`."
    return pool


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (_adaptive_of("avg", _adaptive_avg, rank) for rank in (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_adaptive_of("max", _adaptive_max, rank) for rank in (1, 2, 3))


def _with_indices(function: Any) -> Any:
    """The function, which gives places too."""

    def pool(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{**kwargs, "return_indices": True})

    pool.__name__ = pool.__qualname__ = f"{function.__name__}_with_indices"
    pool.__doc__ = f"As `{function.__name__}`, with the places of what was chosen."
    return pool


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(_with_indices, (max_pool1d, max_pool2d, max_pool3d))
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = map(
    _with_indices, (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d)
)


def _lp_pool_of(rank: int) -> Any:
    average, largest = (avg_pool1d, avg_pool2d, avg_pool3d)[rank - 1], (max_pool1d, max_pool2d, max_pool3d)[rank - 1]

    def pool(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
        if norm_type == math.inf:
            return largest(input.abs(), kernel_size, stride, 0, 1, ceil_mode)
        if norm_type == -math.inf:
            return -largest(-input.abs(), kernel_size, stride, 0, 1, ceil_mode)
        mean = average(input**norm_type, kernel_size, stride, 0, ceil_mode)
        # As torch has it: odd powers keep their sign, and a mean of 0 has no gradient.
        return (mean.sign() * mean.abs().relu() * math.prod(each(kernel_size, rank))) ** (1.0 / norm_type)

    pool.__name__ = pool.__qualname__ = f"lp_pool{rank}d"
    pool.__doc__ = "The p-norm, with p `norm_type`, of each place of a window."
    return pool


lp_pool1d, lp_pool2d, lp_pool3d = map(_lp_pool_of, (1, 2, 3))


def _unpooled(x: Any, places: Any, sizes: Any) -> Any:
    """Zeros but for elements of `x` at their places of the plane."""
    batch, channels = x.shape[:2]
    rows = np.arange(batch * channels)[:, None]
    out = np.zeros((batch * channels, math.prod(sizes)), x.dtype)
    out = At(out)[rows, np.reshape(places, (batch * channels, -1))].set(np.reshape(x, (batch * channels, -1)))
    return np.reshape(out, (batch, channels, *sizes))


def _max_unpool_of(rank: int) -> Any:
    name = f"max_unpool{rank}d"
    node = f"MaxUnpool{rank}DBackward0" if rank > 1 else "SqueezeBackward1"
    operation = define(f"_nn_{name}", _unpooled, node=node, method=False, public=False)

    def unpool(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None) -> Any:
        window, margins = each(kernel_size, rank), each(padding, rank)
        strides = window if stride is None else each(stride, rank)
        sizes = [(n - 1) * s + k - 2 * p for n, k, s, p in zip(input.shape[-rank:], window, strides, margins)]
        if output_size is not None:
            sizes = _asked_for(output_size, sizes, strides)
        places = indices._array
        if places.dtype != np.int64:
            raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype}{at_user_line()}")
        if places.shape != input._array.shape:
            raise RuntimeError(
                f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices tensor with "
                f"shape: {list(indices.shape)}{at_user_line()}"
            )
        if places.size and not 0 <= places.min() <= places.max() < math.prod(sizes):
            raise RuntimeError(f"Found an invalid max index: {places.max()} (output volumes are of size {sizes}){at_user_line()}")
        batched = input.ndim == rank + 2
        return with_batch(input, rank, name, lambda x: operation(x, places if batched else places[None], sizes))

    unpool.__name__ = unpool.__qualname__ = name
    unpool.__doc__ = "What max_pool chose at the places it had, and zeros elsewhere; `indices` are the places."
    return unpool


def _asked_for(given: Any, sizes: list[int], strides: Any) -> list[int]:
    """The lengths of the result that are asked for, which may differ by less than a stride."""
    rank = len(sizes)
    if len(given) == rank + 2:
        given = given[2:]
    if len(given) != rank:
        raise ValueError(
            f"output_size should be a sequence containing {rank} or {rank + 2} elements, but it has a length of '{len(given)}'{at_user_line()}"
        )
    for axis, (own, size, step) in enumerate(zip(given, sizes, strides)):
        if not size - step < own < size + step:
            raise ValueError(f'invalid output_size "{given}" (dim {axis} must be between {size - step} and {size + step}){at_user_line()}')
    return list(given)


max_unpool1d, max_unpool2d, max_unpool3d = map(_max_unpool_of, (1, 2, 3))


def _starts(share: Any, length: int, window: int, count: int) -> Any:
    """Where windows begin: `count` of them at distances that are random but for their mean (Graham 2014)."""
    if count == 1:
        return np.zeros((*share.shape, 1), np.int64) + (length - window)
    step = (length - window) / (count - 1)
    places = ((np.arange(count) + share[..., None]) * step).astype(np.int64) - (share[..., None] * step).astype(np.int64)
    places[..., -1] = length - window
    return places


def _fractional(x: Any, starts: Any, window: Any) -> Any:
    """The greatest of each window, the first of equals, and its place; `starts` has for each axis ``[batch, channels, places]``."""
    rank = len(window)

    def spread(array: Any, axis: int) -> Any:
        lengths = (array.shape[2] if n == axis else 1 for n in range(rank))
        return np.reshape(array, (*array.shape[:2], *lengths, *(1,) * rank))

    index = [
        spread(begin, axis) + np.reshape(np.arange(size), (-1, *(1,) * (rank - 1 - axis))) for axis, (begin, size) in enumerate(zip(starts, window))
    ]
    flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*index)), x.shape[2:])
    flat = np.reshape(flat, (*flat.shape[: 2 + rank], -1))
    plane = np.reshape(x, (*x.shape[:2], -1))
    patches = np.reshape(np.take_along_axis(plane, np.reshape(flat, (*x.shape[:2], -1)), axis=2), flat.shape)
    chosen = np.argmax(patches, axis=-1)[..., None]
    return np.take_along_axis(patches, chosen, axis=-1)[..., 0], np.take_along_axis(flat, chosen, axis=-1)[..., 0]


def _fractional_of(rank: int) -> Any:
    name = f"fractional_max_pool{rank}d"
    operation = define(f"_nn_{name}", _fractional, node=f"FractionalMaxPool{rank}DBackward0", method=False, public=False)

    def pool(
        input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Any = None,
    ) -> Any:  # fmt: skip
        lengths = input.shape[-rank:]
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        ratios = (output_ratio,) * rank if isinstance(output_ratio, float) else output_ratio
        sizes = each(output_size, rank) if output_size is not None else tuple(int(n * ratio) for n, ratio in zip(lengths, ratios))
        window = each(kernel_size, rank)
        for length, size, span in zip(lengths, sizes, window):
            if size + span - 1 > length:
                raise RuntimeError(f"{name}(): pool size {span} too large relative to input size {length}{at_user_line()}")
        shape = (1 if input.ndim == rank + 1 else input.shape[0], input.shape[-rank - 1], rank)
        samples = numbers(None).random(shape) if _random_samples is None else _random_samples._array
        # Of planes, the first number is for the last axis.
        order = range(rank) if rank == 3 else reversed(range(rank))
        starts = [_starts(samples[..., place], *axis) for place, axis in zip(order, zip(lengths, window, sizes))]
        out = with_batch(input, rank, name, lambda x: operation(x, starts, window))
        return out if return_indices else out[0]

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = "The greatest element of windows that begin at random places (Graham 2014), `output_size` of them on each axis."
    return pool


fractional_max_pool2d, fractional_max_pool3d = _fractional_of(2), _fractional_of(3)
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = map(_with_indices, (fractional_max_pool2d, fractional_max_pool3d))
