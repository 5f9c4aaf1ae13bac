"""``torch.fft``: discrete Fourier transforms, NumPy's under torch's names of arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.torch.dtypes import default, numpy_dtype, title
from functrans.torch.ops.creation import creation, finished
from functrans.torch.ops.reductions import as_floating
from functrans.torch.ops.shapes import axis_of
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor

__all__ = ["fftfreq", "rfftfreq"]


def checked(x: Any, name: str, real: bool) -> Any:
    """An array that has a transform, in a floating or complex dtype."""
    x = as_floating(x)
    if dtype_of(x) == np.float16:
        raise RuntimeError(f"Unsupported dtype {title(dtype_of(x))}\n  Remedy: use x.float().{at_user_line()}")
    if real and dtype_of(x).kind == "c":
        raise RuntimeError(f"{name} expects a real input tensor, but got {title(dtype_of(x))}{at_user_line()}")
    return x


def entered(name: str, transform: Callable[..., Any], node: str, real: bool = False) -> Callable[..., Tensor]:
    """A transform along one axis."""

    def along(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
        x = checked(input, name, real)
        if n is not None and n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified{at_user_line()}")
        return transform(x, n, axis_of(dim, len(shape_of(x))), norm)

    __all__.append(name)
    return define(name, along, node=node, method=False, public=False)


def entered_for_several(name: str, transform: Callable[..., Any], node: str, dims: Any, real: bool = False) -> Callable[..., Tensor]:
    """A transform along several axes, by default `dims`."""

    def along(input: Any, s: Any = None, dim: Any = dims, norm: str | None = None) -> Any:
        x = checked(input, name, real)
        if isinstance(dim, int):
            dim = (dim,)
        axes = None if dim is None else tuple(axis_of(each, len(shape_of(x))) for each in dim)
        if axes is not None and len(set(axes)) < len(axes):
            raise RuntimeError(f"FFT dims must be unique{at_user_line()}")
        if s is not None and axes is None:
            axes = tuple(range(len(shape_of(x)) - len(s), len(shape_of(x))))
        return transform(x, None if s is None else tuple(s), axes, norm)

    __all__.append(name)
    return define(name, along, node=node, method=False, public=False)


# Transforms to and from real spectra are the opposite ones of the conjugate.
OPPOSITE: dict[str | None, Any] = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def to_real_spectrum(x: Any, s: Any, axes: Any, norm: str | None) -> Any:
    """The transform of a signal of which half is given, as its other half is its conjugate."""
    return np.fft.irfftn(np.conjugate(x), s, axes, OPPOSITE[norm])


def of_real_spectrum(x: Any, s: Any, axes: Any, norm: str | None) -> Any:
    """The half of the inverse transform of a real signal."""
    return np.conjugate(np.fft.rfftn(x, s, axes, OPPOSITE[norm]))


fft = entered("fft", np.fft.fft, "FftC2CBackward0")
ifft = entered("ifft", np.fft.ifft, "FftC2CBackward0")
rfft = entered("rfft", np.fft.rfft, "FftR2CBackward0", True)
irfft = entered("irfft", np.fft.irfft, "FftC2RBackward0")
hfft = entered("hfft", np.fft.hfft, "FftC2RBackward0")
ihfft = entered("ihfft", np.fft.ihfft, "FftR2CBackward0", True)
fft2 = entered_for_several("fft2", np.fft.fftn, "FftC2CBackward0", (-2, -1))
ifft2 = entered_for_several("ifft2", np.fft.ifftn, "FftC2CBackward0", (-2, -1))
rfft2 = entered_for_several("rfft2", np.fft.rfftn, "FftR2CBackward0", (-2, -1), True)
irfft2 = entered_for_several("irfft2", np.fft.irfftn, "FftC2RBackward0", (-2, -1))
hfft2 = entered_for_several("hfft2", to_real_spectrum, "FftC2RBackward0", (-2, -1))
ihfft2 = entered_for_several("ihfft2", of_real_spectrum, "ConjBackward0", (-2, -1), True)
fftn = entered_for_several("fftn", np.fft.fftn, "FftC2CBackward0", None)
ifftn = entered_for_several("ifftn", np.fft.ifftn, "FftC2CBackward0", None)
rfftn = entered_for_several("rfftn", np.fft.rfftn, "FftR2CBackward0", None, True)
irfftn = entered_for_several("irfftn", np.fft.irfftn, "FftC2RBackward0", None)
hfftn = entered_for_several("hfftn", to_real_spectrum, "FftC2RBackward0", None)
ihfftn = entered_for_several("ihfftn", of_real_spectrum, "ConjBackward0", None, True)
fftshift = define("fftshift", lambda input, dim=None: np.fft.fftshift(input, dim), node="RollBackward0", method=False, public=False)
ifftshift = define("ifftshift", lambda input, dim=None: np.fft.ifftshift(input, dim), node="RollBackward0", method=False, public=False)
__all__ += ["fftshift", "ifftshift"]


def frequencies(name: str, of: Callable[..., Any]) -> Callable[..., Tensor]:
    """The frequencies of what a transform gives."""

    def call(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return finished(of(n, d).astype(default.numpy if dtype is None else numpy_dtype(dtype)), requires_grad, device)

    call.__name__ = name
    return creation(call, False)


fftfreq = frequencies("fftfreq", np.fft.fftfreq)
rfftfreq = frequencies("rfftfreq", np.fft.rfftfreq)
