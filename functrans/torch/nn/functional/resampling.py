"""Images of another size, and images sampled at places, as functions.

Interpolation of every kind is one matrix for each axis, or one index.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np

from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.torch.dtypes import title
from functrans.torch.nn.functional.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor, made

__all__ = ["affine_grid", "grid_sample", "interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]


def cubic(distance: Any, a: float) -> Any:
    """The kernel of cubic convolution (Keys 1981)."""
    x = np.abs(distance)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0 * x))


def triangle(distance: Any) -> Any:
    """The kernel of linear interpolation."""
    return np.maximum(1 - np.abs(distance), 0)


def lanczos(distance: Any) -> Any:
    """The kernel of Lanczos with three lobes."""
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)


# The kernel of each mode, and how far it reaches; that of modes without antialiasing.
KERNELS = {"linear": (triangle, 1), "cubic": (lambda distance: cubic(distance, -0.75), 2)}
ANTIALIASED = {"linear": (triangle, 1), "cubic": (lambda distance: cubic(distance, -0.5), 2), "lanczos": (lanczos, 3)}
MODES = {"linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos"}
RANKS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3, "lanczos": 2}


def step_of(length: int, count: int, factor: float | None, corners: bool) -> float:
    """How far apart places of the result lie in the input."""
    if corners:
        return (length - 1) / (count - 1) if count > 1 else 0.0
    return 1 / factor if factor is not None and factor > 0 else length / count


def shares(kind: str, length: int, count: int, factor: float | None, corners: bool) -> Any:
    """The matrix ``[length, count]`` of interpolation between neighbours."""
    kernel, reach = KERNELS[kind]
    step = step_of(length, count, factor, corners)
    places = np.arange(count) * step if corners else (np.arange(count) + 0.5) * step - 0.5
    if kind == "linear":
        places = np.maximum(places, 0)
    matrix = np.zeros((length, count))
    base = np.floor(places).astype(np.int64)
    for offset in range(1 - reach, 1 + reach):
        np.add.at(matrix, (np.clip(base + offset, 0, length - 1), np.arange(count)), kernel(places - base - offset))
    return matrix


def antialiased(kind: str, length: int, count: int, factor: float | None, corners: bool) -> Any:
    """The matrix ``[length, count]`` of means under a kernel that is as wide as the places are apart."""
    kernel, reach = ANTIALIASED[kind]
    step = step_of(length, count, factor, corners)
    width = max(step, 1.0)
    matrix = np.zeros((length, count))
    for place in range(count):
        centre = step * (place + 0.5)
        start, stop = max(int(centre - reach * width + 0.5), 0), min(int(centre + reach * width + 0.5), length)
        weights = kernel((np.arange(start, stop) - centre + 0.5) / width)
        matrix[start:stop, place] = weights / weights.sum()
    return matrix


def resampled(x: Any, matrices: Any) -> Any:
    """Each of the last axes multiplied by its matrix."""
    for axis, matrix in enumerate(matrices, x.ndim - len(matrices)):
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix, -1, axis)
    return x


def picked(x: Any, places: Any) -> Any:
    """Elements of the last axes at their places."""
    return x[(Ellipsis, *np.ix_(*places))]


_resampled = {
    (mode, rank): define(
        f"_nn_upsample_{mode}_{rank}", resampled, node=f"Upsample{mode.capitalize()}{rank}DBackward0", method=False, public=False
    )
    for mode, rank in RANKS.items()
}
_picked = {
    (mode, rank): define(
        f"_nn_upsample_{mode}_{rank}", picked, node=f"Upsample{title}{rank}DBackward0", method=False, public=False
    )
    for mode, title in (("nearest", "Nearest"), ("nearest-exact", "NearestExact"))
    for rank in (1, 2, 3)
}


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Images, ``[batch, channels, *lengths]``, of another size.

    Args:
        input: of one, two or three axes beside batch and channels.
        size: the lengths of the result, or one for all.
        scale_factor: in place of `size`, by what lengths are multiplied.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"area"``, ``"linear"``, ``"bilinear"``, ``"trilinear"``, ``"bicubic"``, or
            ``"lanczos"``, which is antialiased.
        align_corners: whether the first and last elements of both lie at the same places.
        recompute_scale_factor: whether the factor is that of lengths, after they were rounded.
        antialias: whether the result, if it is smaller, has means.

    Raises:
        ValueError: options exclude each other, or do not fit the input.
        NotImplementedError: the mode does not fit the number of axes.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.interpolate(torch.tensor([[[0.0, 1.0]]]), size=4, mode="linear")
        tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    rank = input.ndim - 2
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if rank not in (1, 2, 3):
        raise wrong_mode(input, mode)
    sizes, factors = lengths_of(input, size, scale_factor, rank)
    if recompute_scale_factor or mode == "area":
        factors = [None] * rank
    if antialias and (mode not in ("bilinear", "bicubic", "lanczos") or rank != 2):
        raise ValueError("Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input")
    lengths = input.shape[2:]
    if RANKS.get(mode, rank) != rank:
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {RANKS[mode] + 2}D input{at_user_line()}")
    if mode not in (*MODES, "nearest", "nearest-exact", "area"):
        raise wrong_mode(input, mode)
    if min(*lengths, *sizes) <= 0:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input {list(lengths)} and output {list(sizes)}{at_user_line()}")
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[rank - 1](input, sizes)
    if (mode, rank) in _picked:
        offset = 0.5 if mode == "nearest-exact" else 0.0
        places = [
            np.minimum(np.floor((np.arange(m) + offset) * step_of(n, m, factor, False)).astype(np.int64), n - 1)
            for n, m, factor in zip(lengths, sizes, factors)
        ]
        return _picked[mode, rank](input, places)
    if mode == "lanczos" and not antialias:
        raise ValueError(f"lanczos mode requires antialias=True{at_user_line()}")
    make = antialiased if antialias else shares
    matrices = [make(MODES[mode], n, m, factor, bool(align_corners)) for n, m, factor in zip(lengths, sizes, factors)]
    return _resampled[mode, rank](input, [matrix.astype(input._array.dtype) for matrix in matrices])


def wrong_mode(input: Tensor, mode: str) -> NotImplementedError:
    """The error for an input of which there is no interpolation, or none of this mode."""
    return NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: nearest | linear | bilinear | "
        f"bicubic | trilinear | area | nearest-exact (got {mode}){at_user_line()}"
    )


def lengths_of(input: Tensor, size: Any, factor: Any, rank: int) -> tuple[list[int], list[Any]]:
    """The lengths of the result, and the factors given, or None."""
    if size is not None and factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and factor is None:
        raise ValueError("either size or scale_factor should be defined")
    name, given = ("output size", size) if factor is None else ("scale_factor", factor)
    values = list(given) if isinstance(given, (list, tuple)) else [given] * rank
    if len(values) != rank:
        raise ValueError(
            f"Input and {'output' if factor is None else 'scale_factor'} must have the same number of spatial dimensions, but got input "
            f"with spatial dimensions of {list(input.shape[2:])} and {name} of {given}.{at_user_line()}"
        )
    if factor is None:
        return [int(value) for value in values], [None] * rank
    return [math.floor(n * value) for n, value in zip(input.shape[2:], values)], values


def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None) -> Tensor:
    """`interpolate`, which takes its place."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", UserWarning, stacklevel=2)
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate`, which takes its place, with ``mode="nearest"``."""
    warnings.warn("`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.", UserWarning, stacklevel=2)
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate`, which takes its place, with ``mode="bilinear"`` and corners that are aligned."""
    warnings.warn("`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.", UserWarning, stacklevel=2)
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


def inside(place: Any, length: int, padding: str, corners: bool) -> Any:
    """A place moved into an axis, if that is asked for."""
    if padding == "reflection":
        low, high = (0, length - 1) if corners else (-0.5, length - 0.5)
        if high == low:
            return 0 * place
        distance = np.abs(place - low)
        turns = np.floor(distance / (high - low))
        rest = distance - turns * (high - low)
        place = np.where(turns % 2 == 0, rest + low, high - rest)
    # At the ends and beyond them the derivative is 0.
    kind = dtype_of(place).type
    return np.where(place <= 0, kind(0), np.where(place >= length - 1, kind(length - 1), place))


def sampled(x: Any, grid: Any, mode: str, padding: str, corners: bool) -> Any:
    """Images ``[batch, channels, *lengths]`` at ``[batch, *places, rank]``, the last axis of images first."""
    rank = grid.shape[-1]
    lengths = x.shape[2:]
    places = []
    for axis, length in enumerate(lengths):
        place = grid[..., rank - 1 - axis]
        place = (place + 1) / 2 * (length - 1) if corners else ((place + 1) * length - 1) / 2
        places.append(place if padding == "zeros" or mode == "bicubic" else inside(place, length, padding, corners))
    if mode == "nearest":
        return taken(x, [np.rint(place) for place in places], padding, corners)
    bases = [np.floor(place) for place in places]
    reach = 2 if mode == "bicubic" else 1
    total: Any = 0
    for offsets in itertools.product(range(1 - reach, 1 + reach), repeat=rank):
        weight: Any = 1
        for place, base, offset in zip(places, bases, offsets):
            part = place - base
            near = part if offset else 1 - part
            weight = weight * (cubic(part - offset, -0.75) if mode == "bicubic" else near)
        index = [base + offset for base, offset in zip(bases, offsets)]
        if mode == "bicubic" and padding != "zeros":
            index = [inside(place, length, padding, corners) for place, length in zip(index, lengths)]
        total = total + weight[:, None] * taken(x, index, padding, corners)
    return total


def taken(x: Any, index: Any, padding: str, corners: bool) -> Any:
    """Elements at whole numbers, ``[batch, channels, *places]``; 0 outside."""
    lengths = x.shape[2:]
    there = True
    for place, length in zip(index, lengths):
        there = there & (place >= 0) & (place < length)
    whole = [np.clip(np.nan_to_num(place), 0, length - 1).astype(np.int64) for place, length in zip(index, lengths)]
    rows = np.reshape(np.arange(x.shape[0]), (-1, *(1,) * (whole[0].ndim - 1)))
    found = np.moveaxis(x[(rows, slice(None), *whole)], -1, 1)
    return np.where(np.asarray(there)[:, None], found, dtype_of(x).type(0))


_sampled = {rank: define(f"_nn_grid_sample{rank}d", sampled, node=f"GridSampler{rank}DBackward0", method=False, public=False) for rank in (2, 3)}
CORNERS_WARNING = (
    "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify align_corners=True "
    "if the old behavior is desired. See the documentation of grid_sample for details."
)


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Images at places between -1 and 1 (Jaderberg et al. 2015).

    Args:
        input: ``[batch, channels, height, width]``, or with a depth before the height.
        grid: ``[batch, *places, 2]``, or 3: the place on the last axis first.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: what lies outside: ``"zeros"``, the ``"border"``, or the ``"reflection"``.
        align_corners: whether -1 and 1 are the centres of the first and last elements, or their outer ends.

    Returns:
        ``[batch, channels, *places]``.

    Example:
        >>> import functrans.torch as torch
        >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
        >>> torch.nn.functional.grid_sample(image, torch.zeros(1, 1, 1, 2), align_corners=False).item()
        1.5
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: '{padding_mode}'")
    if align_corners is None:
        warnings.warn(CORNERS_WARNING, UserWarning, stacklevel=2)
    rank = input.ndim - 2
    shapes = f"but got input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}{at_user_line()}"
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, {shapes}")
    if grid.shape[-1] != rank:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {rank} in last dimension, {shapes}")
    if rank not in (2, 3) or grid.ndim != input.ndim:
        raise RuntimeError(f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, {shapes}")
    if input.dtype is not grid.dtype:
        raise RuntimeError(f"expected scalar type {title(input.dtype)} but found {title(grid.dtype)}{at_user_line()}")
    if mode == "bicubic" and rank != 2:
        raise RuntimeError(f"grid_sampler(): bicubic interpolation only supports 4D input{at_user_line()}")
    return _sampled[rank](input, grid, mode, padding_mode, bool(align_corners))


def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Tensor:
    """Where `grid_sample` must look to transform images of a size by affine maps.

    Args:
        theta: ``[batch, 2, 3]``, or ``[batch, 3, 4]``.
        size: ``[batch, channels, height, width]``, or with a depth before the height.
        align_corners: as in `grid_sample`.

    Returns:
        ``[batch, height, width, 2]``, or ``[batch, depth, height, width, 3]``.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 1, 1, 3], align_corners=True)[0, 0, :, 0]
        tensor([-1.,  0.,  1.])
    """
    if align_corners is None:
        warnings.warn(CORNERS_WARNING, UserWarning, stacklevel=2)
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    rank = len(size) - 2
    if rank not in (2, 3):
        raise NotImplementedError(
            f"affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size {size}."
        )
    if theta.ndim != 3 or tuple(theta.shape[1:]) != (rank, rank + 1):
        raise ValueError(f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {size}. Got {theta.shape}.")
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    ends = [1.0 if align_corners else (n - 1) / n for n in size[2:]]
    axes = [np.linspace(-end, end, n) if n > 1 else np.zeros(1) for end, n in zip(ends, size[2:])]
    places = [*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(tuple(size[2:]))]
    points = made(np.stack(places, axis=-1).reshape(-1, rank + 1).astype(theta._array.dtype))
    return (points @ theta.transpose(1, 2)).reshape(size[0], *size[2:], rank)
