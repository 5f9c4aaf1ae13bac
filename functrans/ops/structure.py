"""Structural operations: linear functions that move, repeat, drop, pad or add up elements.

Axes in parameters are never negative, and shapes are complete; `numpy/` normalises what users write.
An adjoint is the transpose with respect to ``Re(sum(ct * tangent))``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.primitive import Structural
from functrans.core.types import ArrayType, uniform
from functrans.ops.arithmetic import reals

Shape = tuple[int, ...]


def shifted(axes: Any) -> tuple[int, ...]:
    """Axes of arrays that have gained a leading axis."""
    return tuple(axis + 1 for axis in axes)


def sample(*shapes: Shape, **params: Any) -> Any:
    """Samples: operands of these shapes with these parameters."""
    return lambda: [(reals(*shapes)()[0][0], params)]


copy = Structural(
    "copy",
    lambda x: x,
    shape=lambda shape: shape,
    adjoint=lambda ct, x: ct,
    batch=lambda params, ranks, size: params,
    samples=sample((2, 3)),
)

convert = Structural(
    "convert",
    lambda x, dtype: np.asarray(x).astype(dtype, copy=False)[()],
    shape=lambda shape, dtype: shape,
    dtype=lambda old, dtype: dtype,
    adjoint=lambda ct, x, dtype: ct,
    batch=lambda params, ranks, size: params,
    samples=sample((2, 3), dtype=np.dtype(np.complex128)),
)

real = Structural(
    "real",
    lambda x: np.real(x)[()],
    shape=lambda shape: shape,
    dtype=lambda dtype: np.zeros((), dtype).real.dtype,
    adjoint=lambda ct, x: ct,
    batch=lambda params, ranks, size: params,
    samples=lambda: [((np.array([1 + 2j, 3 - 1j]),), {})],
)
imag = Structural(
    "imag",
    lambda x: np.imag(x)[()],
    shape=lambda shape: shape,
    dtype=lambda dtype: np.zeros((), dtype).real.dtype,
    adjoint=lambda ct, x: ct * -1j,  # a NumPy scalar stays one
    batch=lambda params, ranks, size: params,
    samples=lambda: [((np.array([1 + 2j, 3 - 1j]),), {})],
)
conjugate = Structural(
    "conjugate",
    lambda x: np.conjugate(x),
    shape=lambda shape: shape,
    adjoint=lambda ct, x: np.conjugate(ct),
    batch=lambda params, ranks, size: params,
    samples=lambda: [((np.array([1 + 2j, 3 - 1j]),), {})],
)


def spread(x: Any, shape: Shape) -> Any:
    """A scalar as an array: `uniform`, which staging takes for the number it is."""
    return uniform(x, np.asarray(x).dtype, shape)


reshape = Structural(
    "reshape",
    lambda x, shape: np.reshape(x, shape) if isinstance(x, np.ndarray) or not shape else spread(x, shape),
    shape=lambda old, shape: shape,
    adjoint=lambda ct, x, shape: reshape(ct, shape=x.shape),
    batch=lambda params, ranks, size: {"shape": (size, *params["shape"])},
    samples=sample((2, 3), shape=(3, 2)),
)


def inverse_permutation(axes: Shape) -> Shape:
    """The permutation that undoes `axes`."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


transpose = Structural(
    "transpose",
    lambda x, axes: np.transpose(x, axes),
    shape=lambda shape, axes: tuple(shape[axis] for axis in axes),
    adjoint=lambda ct, x, axes: transpose(ct, axes=inverse_permutation(axes)),
    batch=lambda params, ranks, size: {"axes": (0, *shifted(params["axes"]))},
    samples=sample((2, 3, 4), axes=(2, 0, 1)),
)


def unbroadcast(ct: Any, shape: Shape) -> Any:
    """`ct` summed over the axes along which an array of `shape` was repeated."""
    extra = ct.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        axis + extra for axis, length in enumerate(shape) if length == 1 and ct.shape[axis + extra] != 1
    )
    if axes:
        ct = np.sum(ct, axis=axes)
    return ct if ct.shape == shape else np.reshape(ct, shape)


broadcast_to = Structural(
    "broadcast_to",
    lambda x, shape: np.broadcast_to(x, shape) if isinstance(x, np.ndarray) or not shape else spread(x, shape),
    shape=lambda old, shape: shape,
    adjoint=lambda ct, x, shape: unbroadcast(ct, x.shape),
    batch=None,  # type: ignore[arg-type]  # the batch trace aligns ranks itself: see transforms/batch.py
    samples=sample((3, 1), shape=(2, 3, 4)),
)


def concatenate_adjoint(ct: Any, *types: ArrayType, axis: int) -> tuple[Any, ...]:
    """The stretch of `ct` that came from each operand."""
    stretches = []
    start = 0
    for type_ in types:
        stop = start + type_.shape[axis]
        stretches.append(ct[(slice(None),) * axis + (slice(start, stop),)])
        start = stop
    return tuple(stretches)


concatenate = Structural(
    "concatenate",
    lambda *arrays, axis: np.concatenate(arrays, axis=axis),
    shape=lambda *shapes, axis: (
        *shapes[0][:axis],
        sum(shape[axis] for shape in shapes),
        *shapes[0][axis + 1 :],
    ),
    adjoint=concatenate_adjoint,
    batch=lambda params, ranks, size: {"axis": params["axis"] + 1},
    samples=sample((2, 3), (2, 1), axis=1),
)


def pad_evaluate(x: Any, low: Shape, high: Shape, interior: Shape) -> Any:
    """Zeros before, after and between the elements of each axis; negative `low` and `high` crop."""
    shape = pad_shape(x.shape, low, high, interior)
    full = np.zeros(tuple(max(n + (n - 1) * i, 0) if n else 0 for n, i in zip(x.shape, interior)), x.dtype)
    full[tuple(slice(None, None, i + 1) for i in interior)] = x
    full = full[tuple(slice(max(-lo, 0), max(n - max(-hi, 0), 0)) for n, lo, hi in zip(full.shape, low, high))]
    out = np.zeros(shape, x.dtype)
    out[tuple(slice(max(lo, 0), max(lo, 0) + n) for n, lo in zip(full.shape, low))] = full
    return out


def pad_shape(shape: Shape, low: Shape, high: Shape, interior: Shape) -> Shape:
    """The shape `pad` gives."""
    return tuple((n + (n - 1) * i if n else 0) + lo + hi for n, lo, hi, i in zip(shape, low, high, interior))


def pad_adjoint(ct: Any, x: ArrayType, low: Shape, high: Shape, interior: Shape) -> Any:
    """Crop what was added; put zeros where elements were cropped."""
    ct = pad(ct, low=tuple(-n for n in low), high=tuple(-n for n in high), interior=(0,) * len(low))
    return ct[tuple(slice(None, None, i + 1) for i in interior)] if any(interior) else ct


pad = Structural(
    "pad",
    pad_evaluate,
    shape=pad_shape,
    adjoint=pad_adjoint,
    batch=lambda params, ranks, size: {name: (0, *value) for name, value in params.items()},
    samples=lambda: [
        (reals((2, 3))()[0][0], {"low": (1, 0), "high": (2, 1), "interior": (0, 0)}),
        (reals((3, 4))()[0][0], {"low": (0, -1), "high": (1, -1), "interior": (1, 0)}),
    ],
)

flip = Structural(
    "flip",
    lambda x, axes: np.flip(x, axes),
    shape=lambda shape, axes: shape,
    adjoint=lambda ct, x, axes: flip(ct, axes=axes),
    batch=lambda params, ranks, size: {"axes": shifted(params["axes"])},
    samples=sample((2, 3), axes=(1,)),
)

cumsum = Structural(
    "cumsum",
    lambda x, axis: np.cumsum(x, axis=axis),
    shape=lambda shape, axis: shape,
    dtype=lambda dtype, axis: np.cumsum(np.ones(1, dtype)).dtype,
    adjoint=lambda ct, x, axis: flip(cumsum(flip(ct, axes=(axis,)), axis=axis), axes=(axis,)),
    batch=lambda params, ranks, size: {"axis": params["axis"] + 1},
    samples=sample((2, 4), axis=1),
)


positions = Structural(
    "positions",
    lambda shape, axis: np.indices(shape)[axis],
    shape=lambda shape, axis: shape,
    dtype=lambda shape, axis: np.intp,
    adjoint=lambda ct, shape, axis: (),
    batch=lambda params, ranks, size: params,
)


def triangle_mask(shape: Shape, offset: int, lower: bool) -> Any:
    """Which elements of the last two axes belong to a triangle."""
    mask = np.tri(*shape[-2:], k=offset if lower else offset - 1, dtype=bool)
    return mask if lower else ~mask


triangle = Structural(
    "triangle",
    lambda x, offset, lower: np.where(triangle_mask(x.shape, offset, lower), x, np.zeros((), x.dtype)),
    shape=lambda shape, offset, lower: shape,
    adjoint=lambda ct, x, offset, lower: triangle(ct, offset=offset, lower=lower),
    batch=lambda params, ranks, size: params,
    samples=sample((2, 3, 4), offset=1, lower=True),
)


def diagonal_embed_evaluate(x: Any, offset: int, shape: Shape) -> Any:
    """Zeros of `shape` with `x` on the diagonal of the last two axes."""
    out = np.zeros(shape, x.dtype)
    rows = np.arange(x.shape[-1]) + max(-offset, 0)
    out[..., rows, rows + offset] = x
    return out


diagonal = Structural(
    "diagonal",
    lambda x, offset: np.diagonal(x, offset, -2, -1),
    adjoint=lambda ct, x, offset: diagonal_embed(ct, offset=offset, shape=x.shape),
    batch=lambda params, ranks, size: params,
    samples=sample((2, 3, 4), offset=1),
)
diagonal_embed = Structural(
    "diagonal_embed",
    diagonal_embed_evaluate,
    shape=lambda old, offset, shape: shape,
    adjoint=lambda ct, x, offset, shape: diagonal(ct, offset=offset),
    batch=lambda params, ranks, size: {"offset": params["offset"], "shape": (size, *params["shape"])},
    samples=sample((2, 3), offset=-1, shape=(2, 4, 3)),
)


def windows_shape(shape: Shape, window: Shape, stride: Shape, dilation: Shape) -> Shape:
    """Leading axes, then the places of the window, then its elements."""
    lead = len(shape) - len(window)
    places = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(shape[lead:], window, stride, dilation))
    return (*shape[:lead], *places, *window)


def windows_evaluate(x: Any, window: Shape, stride: Shape, dilation: Shape) -> Any:
    """A read-only view of every place of a window over the last axes."""
    lead = x.ndim - len(window)
    steps = x.strides[lead:]
    strides = (*x.strides[:lead], *(s * k for s, k in zip(steps, stride)), *(s * d for s, d in zip(steps, dilation)))
    shape = windows_shape(x.shape, window, stride, dilation)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def fold_evaluate(x: Any, shape: Shape, window: Shape, stride: Shape, dilation: Shape) -> Any:
    """Windows added up where they came from: the adjoint of `windows`."""
    out = np.zeros(shape, x.dtype)
    rank = len(window)
    places = x.shape[x.ndim - 2 * rank : x.ndim - rank]
    for position in np.ndindex(*window):
        target = tuple(slice(p * d, p * d + s * (n - 1) + 1, s) for p, n, s, d in zip(position, places, stride, dilation))
        out[(..., *target)] += x[(..., *position)]
    return out


windows = Structural(
    "windows",
    windows_evaluate,
    shape=windows_shape,
    adjoint=lambda ct, x, window, stride, dilation: fold(ct, shape=x.shape, window=window, stride=stride, dilation=dilation),
    batch=lambda params, ranks, size: params,
    samples=sample((2, 7, 6), window=(3, 2), stride=(2, 1), dilation=(1, 2)),
)
fold = Structural(
    "fold",
    fold_evaluate,
    shape=lambda old, shape, window, stride, dilation: shape,
    adjoint=lambda ct, x, shape, window, stride, dilation: windows(ct, window=window, stride=stride, dilation=dilation),
    batch=lambda params, ranks, size: {**params, "shape": (size, *params["shape"])},
    samples=sample((2, 3, 4, 3, 2), shape=(2, 7, 6), window=(3, 2), stride=(2, 1), dilation=(1, 2)),
)


def size_of(shape: Shape) -> int:
    """The number of elements of an array of `shape`."""
    return math.prod(shape)
