"""`implements`: says which NumPy callable, and which methods, a function stands for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from functrans.core.trace import current
from functrans.core.tracer import ARRAY_FUNCTIONS, HOOKS, install_method
from functrans.errors import at_user_line

__all__ = ["NO_VALUE", "delivered", "implements", "normalize_axes", "normalize_axis"]

NO_VALUE = np._NoValue  # type: ignore[attr-defined]

Function = TypeVar("Function", bound=Callable[..., Any])


def implements(*functions: Any, methods: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """A decorator: the function is called for `functions` on traced values, and as these methods of tracers."""

    def decorate(function: Function) -> Function:
        for numpy_function in functions:
            ARRAY_FUNCTIONS[numpy_function] = function
        for name in methods:
            install_method(name, function)
        return function

    return decorate


def normalize_axis(axis: Any, ndim: int, name: str) -> int:
    """A non-negative axis, or NumPy's AxisError."""
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        allowed = f"use one from {-ndim} to {ndim - 1}" if ndim else "leave it out: a scalar has no axes"
        raise np.exceptions.AxisError(
            f"{current.get().transform}: np.{name}: axis {index} is out of bounds for array of dimension {ndim}"
            f"\n  Remedy: {allowed}.{at_user_line()}"
        )
    return index % ndim if ndim else 0


def normalize_axes(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """Sorted non-negative axes from an int, a tuple, or None for all."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(normalize_axis(item, ndim, name) for item in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(set(axes)) < len(axes):
        raise ValueError(f"np.{name}: duplicate value in axis {axis}{at_user_line()}")
    return tuple(sorted(axes))


def delivered(result: Any, out: Any, name: str) -> Any:
    """`result`, written into ``out=`` if that is given."""
    return result if out is None else HOOKS["out"](out, result, name)
