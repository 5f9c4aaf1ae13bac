"""The elementary functions of 2**20 elements, each alone and its gradient, in float64 and float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from compiled import Compiled, generator

__all__ = ["ELEMENTARY"]

SIZE = 2**20
Builder = Callable[[Any, Any], Callable[..., Any]]


def named(name: str) -> Builder:
    """A function of the array module."""
    return lambda m, api: getattr(m, name)


def from_nn(name: str) -> Builder:
    """A function of the `nn` namespace."""
    return lambda m, api: getattr(api.nn, name)


def erf(m: Any, api: Any) -> Callable[..., Any]:
    return import_module("scipy.special" if m is np else "jax.scipy.special").erf  # type: ignore[no-any-return]


def sigmoid(m: Any, api: Any) -> Callable[..., Any]:
    return lambda x: 1 / (1 + m.exp(-x))


def softplus(m: Any, api: Any) -> Callable[..., Any]:
    return lambda x: m.logaddexp(x, 0)


# The function, the intervals its arguments are from, and the bar it has to meet.
FUNCTIONS: dict[str, tuple[Builder, Sequence[tuple[float, float]], float]] = {
    "exp":         (named("exp"),        [(-5, 5)],             0.8),
    "log":         (named("log"),        [(0.01, 10)],          0.8),
    "sin":         (named("sin"),        [(-10, 10)],           0.35),
    "cos":         (named("cos"),        [(-10, 10)],           0.35),
    "pow":         (named("power"),      [(0.01, 5), (-3, 3)],  0.35),
    "erf":         (erf,                 [(-3, 3)],             0.8),
    "log1p":       (named("log1p"),      [(-0.9, 10)],          0.8),
    "expm1":       (named("expm1"),      [(-3, 3)],             0.8),
    "tan":         (named("tan"),        [(-10, 10)],           0.35),
    "arctan2":     (named("arctan2"),    [(-3, 3), (-3, 3)],    0.35),
    "sigmoid":     (sigmoid,             [(-10, 10)],           0.8),
    "softplus":    (softplus,            [(-10, 10)],           0.8),
    "nn.sigmoid":  (from_nn("sigmoid"),  [(-10, 10)],           0.8),
    "nn.softplus": (from_nn("softplus"), [(-10, 10)],           0.8),
}  # fmt: skip


def gradient_of(build: Builder, count: int) -> Builder:
    """The gradient of the sum of a function's results with respect to all of its arguments."""

    def build_gradient(m: Any, api: Any) -> Callable[..., Any]:
        function = build(m, api)
        gradient: Callable[..., Any] = api.grad(lambda *values: m.sum(function(*values)), tuple(range(count)))
        return gradient

    return build_gradient


def between(intervals: Sequence[tuple[float, float]], dtype: Any) -> Callable[[], tuple[Any, ...]]:
    """Numbers that are uniformly distributed in each interval."""
    return lambda: tuple(g.uniform(*interval, SIZE).astype(dtype) for g in [generator()] for interval in intervals)


def row(name: str, dtype: Any, is_gradient: bool) -> Compiled:
    """The row of a function or of its gradient."""
    build, intervals, bar = FUNCTIONS[name]
    return Compiled(
        "7",
        f"{'gradient of ' if is_gradient else ''}{name}, {np.dtype(dtype).name}, 2^20",
        gradient_of(build, len(intervals)) if is_gradient else build,
        between(intervals, dtype),
        0.8 if is_gradient else bar,
        "memory" if name in ("exp", "expm1") or is_gradient else "arithmetic, memory",
        1e-6 if dtype == np.float64 else 1e-3,
        share=0.15,
    )


ELEMENTARY = [
    row(name, dtype, is_gradient) for dtype in (np.float64, np.float32) for name in FUNCTIONS for is_gradient in (False, True)
]
