"""Whether operations are recorded: `no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`, per thread.

Each is a context manager and a decorator. Invariant: what a mode changed is as it was after it, errors or not.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "set_grad_enabled", "state"]


class _State(threading.local):
    """What a thread does with operations.

    Attributes:
        grad: whether they are recorded.
        inference: whether results are inference tensors, which cannot be recorded later either.
        special: whether anything but `grad` is to be asked for at an operation: hooks of saved values, tangents.
        saved_hooks: pairs ``(pack, unpack)``, the innermost last.
        transform: the transform of functrans that tensors are in, of `torch.func` and `torch.compile`, or None.
        level, duals, dual: whether forward mode is on, its dual tensors, and what performs a `Function` in it.
        anomaly: whether the backward pass looks for nans.
        quiet: calls a function of NumPy without warnings of floating-point errors, which torch does not give.
    """

    def __init__(self) -> None:
        self.grad = True
        self.inference = False
        self.special = 0
        self.saved_hooks: list[Any] = []
        self.anomaly = False
        self.transform: Any = None
        self.level = 0
        self.duals: list[Any] = []
        self.dual: Any = None
        context = contextvars.Context()
        context.run(np.seterr, all="ignore")
        self.quiet = context.run


state = _State()


class _Mode:
    """A context manager that is a decorator as well, of functions and generators."""

    @abstractmethod
    def __enter__(self) -> Any:
        ...

    @abstractmethod
    def __exit__(self, *error: Any) -> None:
        ...

    def clone(self) -> _Mode:
        """Another one that does the same."""
        return type(self)()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return wrapped

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The mode holds while the generator runs, not while its user does."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            send: Any = None
            while True:
                try:
                    with self.clone():
                        value = generator.send(send)
                except StopIteration as stop:
                    return stop.value
                send = yield value

        return wrapped


class _GradMode(_Mode):
    """Recording on or off for a while."""

    mode: bool

    def __new__(cls, function: Any = None) -> Any:
        """``@no_grad`` is taken for ``@no_grad()``."""
        self = object.__new__(cls)
        if function is None:
            return self
        return self(function)

    def __enter__(self) -> None:
        self.previous = state.grad
        state.grad = self.mode

    def __exit__(self, *error: Any) -> None:
        state.grad = self.previous


class no_grad(_GradMode):
    """Operations are not recorded.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> with torch.no_grad():
        ...     y = 2 * x
        >>> y.requires_grad
        False
    """

    mode = False


class enable_grad(_GradMode):
    """Operations are recorded, inside `no_grad` as well."""

    mode = True


class set_grad_enabled(_Mode):
    """Switch recording on or off: at once, and as it was again at the end of a ``with``."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self.previous = state.grad
        state.grad = self.mode

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        state.grad = self.previous
        return super().__call__(function)

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self.mode)

    def __enter__(self) -> None:
        state.grad = self.mode

    def __exit__(self, *error: Any) -> None:
        state.grad = self.previous


class inference_mode(_Mode):
    """Operations are not recorded, and their results never will be.

    Example:
        >>> import functrans.torch as torch
        >>> with torch.inference_mode():
        ...     y = torch.ones(2) * 2
        >>> y.is_inference()
        True
    """

    def __new__(cls, mode: Any = True) -> Any:
        self = object.__new__(cls)
        if callable(mode):
            self.mode = True
            return self(mode)
        self.mode = bool(mode)
        return self

    def clone(self) -> inference_mode:
        return inference_mode(self.mode)

    def __enter__(self) -> None:
        self.previous = state.grad, state.inference
        state.special += self.mode - state.inference
        if self.mode:
            state.grad = False
        elif state.inference:
            state.grad = True
        state.inference = self.mode

    def __exit__(self, *error: Any) -> None:
        state.special -= state.inference - self.previous[1]
        state.grad, state.inference = self.previous


def is_grad_enabled() -> bool:
    """Whether operations are recorded."""
    return state.grad


def is_inference_mode_enabled() -> bool:
    """Whether the thread is inside `inference_mode`."""
    return state.inference
