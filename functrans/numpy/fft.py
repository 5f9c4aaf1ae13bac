"""NumPy's discrete Fourier transforms on traced values: ``np.fft.*``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.tracer import operand
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.numpy.joining import concatenate
from functrans.numpy.registry import delivered, implements, normalize_axis
from functrans.numpy.structure import astype, conjugate, flip, real
from functrans.ops import fft as ops


def along(axis: int, *part: Any) -> Any:
    """The index of a slice of `axis`."""
    return (*(slice(None),) * axis, slice(*part))


def resized(x: Any, n: int, axis: int) -> Any:
    """The first `n` elements along an axis, zeros after its own."""
    length = shape_of(x)[axis]
    if n < 1:
        raise ValueError(f"Invalid number of FFT data points ({n}) specified.{at_user_line()}")
    if n <= length:
        return x if n == length else x[along(axis, n)]
    shape = shape_of(x)
    return concatenate([x, np.zeros((*shape[:axis], n - length, *shape[axis + 1 :]), dtype_of(x))], axis)


def as_complex(x: Any) -> Any:
    """`x` in the complex dtype of its precision."""
    if dtype_of(x).kind == "c":
        return x
    return astype(x, np.result_type(dtype_of(x) if dtype_of(x).kind == "f" else np.float64, np.complex64))


def transformed(x: Any, n: int | None, axis: int, norm: str | None, inverse: bool) -> Any:
    """The transform along one axis, normalized as `norm` says."""
    x = as_complex(operand(x))
    ndim = len(shape_of(x))
    axis = normalize_axis(axis, ndim, "fft")
    x = resized(x, shape_of(x)[axis] if n is None else n, axis)
    return scaled(ops.fft(x, axis=axis - ndim, inverse=inverse), shape_of(x)[axis], norm, inverse)


def scaled(x: Any, n: int, norm: str | None, inverse: bool) -> Any:
    """`x` over what `norm` divides a transform of length `n` by."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(f'Invalid norm value {norm}; should be "backward", "ortho" or "forward".{at_user_line()}')
    if norm == "ortho":
        return x * np.zeros((), dtype_of(x)).real.dtype.type(1 / math.sqrt(n))
    return x / np.zeros((), dtype_of(x)).real.dtype.type(n) if inverse == (norm != "forward") else x


@implements(np.fft.fft)
def fft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
    return delivered(transformed(a, n, axis, norm, False), out, "fft.fft")


@implements(np.fft.ifft)
def ifft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
    return delivered(transformed(a, n, axis, norm, True), out, "fft.ifft")


@implements(np.fft.rfft)
def rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
    a = operand(a)
    if dtype_of(a).kind == "c":
        raise TypeError(f"np.fft.rfft: the input must be real, got {dtype_of(a)}{at_user_line()}")
    full = transformed(a, n, axis, norm, False)
    axis = normalize_axis(axis, len(shape_of(full)), "rfft")
    return delivered(full[along(axis, shape_of(full)[axis] // 2 + 1)], out, "fft.rfft")


@implements(np.fft.irfft)
def irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
    a = as_complex(operand(a))
    axis = normalize_axis(axis, len(shape_of(a)), "irfft")
    n = 2 * (shape_of(a)[axis] - 1) if n is None else n
    half = resized(a, n // 2 + 1, axis)
    rest = conjugate(flip(half[along(axis, 1, (n + 1) // 2)], axis))
    return delivered(real(transformed(concatenate([half, rest], axis), None, axis, norm, True)), out, "fft.irfft")


# Transforms to and from real spectra are the opposite ones of the conjugate.
OPPOSITE = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


@implements(np.fft.hfft)
def hfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
    return irfft(conjugate(operand(a)), n, axis, OPPOSITE[norm], out)


@implements(np.fft.ihfft)
def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
    return delivered(conjugate(rfft(a, n, axis, OPPOSITE[norm])), out, "fft.ihfft")


def lengths(x: Any, s: Any, axes: Any, last_is_half: bool = False) -> tuple[list[int], list[int]]:
    """The lengths and the axes of a transform along several axes."""
    shape = shape_of(x)
    if axes is None:
        axes = range(len(shape)) if s is None else range(-len(s), 0)
    axes = [normalize_axis(axis, len(shape), "fft") for axis in axes]
    own = [shape[axis] for axis in axes]
    if last_is_half and s is None:
        own[-1] = 2 * (own[-1] - 1)
    if s is not None:
        own = [old if new == -1 else new for old, new in zip(own, s, strict=True)]
    return own, axes


def along_axes(x: Any, sizes: list[int], axes: list[int], norm: str | None, inverse: bool) -> Any:
    for n, axis in reversed([*zip(sizes, axes)]):
        x = transformed(x, n, axis, norm, inverse)
    return x


@implements(np.fft.fftn)
def fftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
    a = operand(a)
    return delivered(along_axes(as_complex(a), *lengths(a, s, axes), norm, False), out, "fft.fftn")


@implements(np.fft.ifftn)
def ifftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
    a = operand(a)
    return delivered(along_axes(as_complex(a), *lengths(a, s, axes), norm, True), out, "fft.ifftn")


@implements(np.fft.rfftn)
def rfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
    a = operand(a)
    sizes, places = lengths(a, s, axes)
    half = rfft(a, sizes[-1], places[-1], norm)
    return delivered(along_axes(half, sizes[:-1], places[:-1], norm, False), out, "fft.rfftn")


@implements(np.fft.irfftn)
def irfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
    a = operand(a)
    sizes, places = lengths(a, s, axes, True)
    whole = along_axes(as_complex(a), sizes[:-1], places[:-1], norm, True)
    return delivered(irfft(whole, sizes[-1], places[-1], norm), out, "fft.irfftn")


@implements(np.fft.fft2)
def fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Any:
    return fftn(a, s, axes, norm, out)


@implements(np.fft.ifft2)
def ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Any:
    return ifftn(a, s, axes, norm, out)


@implements(np.fft.rfft2)
def rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Any:
    return rfftn(a, s, axes, norm, out)


@implements(np.fft.irfft2)
def irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Any:
    return irfftn(a, s, axes, norm, out)
