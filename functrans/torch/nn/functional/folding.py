"""Windows of images as columns and back, and channels in another order."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.nn.functional.convolution import each, with_batch
from functrans.torch.nn.functional.pooling import patches_of, places_of
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor

__all__ = ["channel_shuffle", "fold", "native_channel_shuffle", "unfold"]


def _unfolded(x: Any, window: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    patches = patches_of(x, window, stride, [(p, p) for p in padding], dilation, 0)
    batch, channels, *places, count = patches.shape
    total = math.prod(places)
    columns = np.moveaxis(np.reshape(patches, (batch, channels, total, count)), 3, 2)
    return np.reshape(columns, (batch, channels * count, total))


_unfold = define("_nn_unfold", _unfolded, node="Im2ColBackward0", method=False, public=False)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images as columns: ``[batch, channels, H, W]`` makes ``[batch, channels * window, places]``.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.unfold(torch.arange(6.0).reshape(1, 1, 2, 3), 2)
        tensor([[[0., 1.],
                 [1., 2.],
                 [3., 4.],
                 [4., 5.]]])
    """
    window, gaps, margins, steps = (each(value, 2) for value in (kernel_size, dilation, padding, stride))
    if input.ndim in (3, 4):
        places = places_of(input.shape[-2:], window, steps, margins, gaps)
        if 0 in input.shape[-3:]:
            raise RuntimeError(
                "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, but got: "
                f"{list(input.shape)}{at_user_line()}"
            )
        if min(places) <= 0:
            raise RuntimeError(
                f"Given input with spatial size {tuple(input.shape[-2:])}, kernel_size={window}, dilation={gaps}, padding={margins}, calculated "
                f"shape of the array of sliding blocks as {tuple(places)}, but its components must be at least one.{at_user_line()}"
            )
    return with_batch(input, 2, "unfold", lambda x: _unfold(x, window, gaps, margins, steps))


def _folded(x: Any, sizes: Any, window: Any, dilation: Any, padding: Any, stride: Any, places: Any) -> Any:
    """The adjoint of `unfold`: each element of a column added to where it would have come from."""
    channels = x.shape[1] // (window[0] * window[1])
    x = np.reshape(x, (x.shape[0], channels, *window, *places))
    out = np.zeros_like(x, shape=(x.shape[0], channels, *(n + 2 * p for n, p in zip(sizes, padding))))
    for row, column in itertools.product(*map(range, window)):
        begin = row * dilation[0], column * dilation[1]
        inner = tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(begin, places, stride))
        out[(slice(None), slice(None), *inner)] += x[:, :, row, column]
    return out[(slice(None), slice(None), *(slice(p, p + n) for n, p in zip(sizes, padding)))]


_fold = define("_nn_fold", _folded, node="Col2ImBackward0", method=False, public=False)


def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Columns, ``[batch, channels * window, places]``, added up to images ``[batch, channels, *output_size]``.

    Raises:
        RuntimeError: the numbers of rows or columns are not those that `unfold` makes of such images.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.fold(torch.ones(1, 4, 2), (2, 3), 2)
        tensor([[[[1., 2., 1.],
                  [1., 2., 1.]]]])
    """
    sizes, window, gaps, margins, steps = (each(value, 2) for value in (output_size, kernel_size, dilation, padding, stride))
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for input, but got: {list(input.shape)}{at_user_line()}"
        )
    rows, columns = input.shape[-2:]
    if rows % (window[0] * window[1]):
        raise RuntimeError(
            f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got input.size(1)={rows} and "
            f"kernel_size=({window[0]}, {window[1]}).{at_user_line()}"
        )
    places = places_of(sizes, window, steps, margins, gaps)
    if columns != places[0] * places[1]:
        raise RuntimeError(
            f"Given output_size={sizes}, kernel_size={window}, dilation={gaps}, padding={margins}, stride={steps}, expected size of "
            f"input's dimension 2 to match the calculated number of sliding blocks {places[0]} * {places[1]} = {places[0] * places[1]}, "
            f"but got input.size(2)={columns}.{at_user_line()}"
        )
    return with_batch(input, 1, "fold", lambda x: _fold(x, sizes, window, gaps, margins, steps, places))


def channel_shuffle(input: Any, groups: int) -> Any:
    """``[batch, channels, ...]`` with the channels of `groups` groups in turn (Zhang et al. 2018).

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.channel_shuffle(torch.arange(4).reshape(1, 4, 1), 2).flatten()
        tensor([0, 2, 1, 3])
    """
    if input.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}{at_user_line()}")
    channels = input.shape[1]
    if groups <= 0 or channels % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {channels} channels and {groups} groups.{at_user_line()}")
    return input.unflatten(1, (groups, channels // groups)).transpose(1, 2).flatten(1, 2)


native_channel_shuffle = channel_shuffle
