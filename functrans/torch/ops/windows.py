"""Windows for spectra: weights that fall off to both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.dtypes import default, numpy_dtype, title
from functrans.torch.ops.creation import creation, finished
from functrans.torch.tensor import Tensor

__all__ = ["window"]


def cosines(*weights: float) -> Callable[[Any], Any]:
    """A sum of cosines of the place in the window, from 0 to 1, with alternating signs."""
    return lambda x: sum((-1) ** k * weight * np.cos(2 * np.pi * k * x) for k, weight in enumerate(weights))


def window(name: str, weights: Callable[..., Any]) -> Any:
    """A window: ``weights(*parameters)`` is a function of places from 0 to 1."""

    def call(
        window_length: int, periodic: bool = True, *parameters: float, dtype: Any = None, device: Any = None, requires_grad: bool = False, **options: float
    ) -> Tensor:
        kind = default.numpy if dtype is None else numpy_dtype(dtype)
        if kind.kind != "f":
            raise RuntimeError(f"{name} expects floating point dtypes, got: {title(kind)}{at_user_line()}")
        if window_length < 0:
            raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}{at_user_line()}")
        length = window_length if periodic else window_length - 1
        shape = weights(*parameters, **options)
        values = shape(np.arange(window_length) / length) if window_length > 1 else np.ones(window_length)
        return finished(values.astype(kind), requires_grad, device)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The weights of the {name.removesuffix('_window').title()} window; `periodic` ones leave the last one away."
    return creation(call)


def kaiser(beta: float = 12.0) -> Callable[[Any], Any]:
    """The window of Kaiser."""
    return lambda x: np.i0(beta * np.sqrt(np.maximum(1 - (2 * x - 1) ** 2, 0))) / np.i0(beta)


def hamming(alpha: float = 0.54, beta: float = 0.46) -> Callable[[Any], Any]:
    """The window of Hamming."""
    return cosines(alpha, beta)


window("hann_window", lambda: cosines(0.5, 0.5))
window("hamming_window", hamming)
window("blackman_window", lambda: cosines(0.42, 0.5, 0.08))
window("bartlett_window", lambda: lambda x: 1 - np.abs(2 * x - 1))
window("kaiser_window", kaiser)
