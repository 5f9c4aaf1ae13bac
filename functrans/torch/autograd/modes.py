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

from functrans.core.staging import StagedTracer
from functrans.core.trace import Trace, current
from functrans.core.tracer import Tracer
from functrans.transforms.batch import BatchTracer
from functrans.transforms.custom import stop_gradient
from functrans.transforms.forward import ForwardTracer

__all__ = ["cut", "enable_grad", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "set_grad_enabled", "state"]


class _State(threading.local):
    """What a thread does with operations.

    Attributes:
        grad: whether they are recorded.
        since: if they are not, the trace that was current when recording was switched off.
        inference: whether results are inference tensors, which cannot be recorded later either.
        special: whether anything but `grad` is to be asked for at an operation: hooks of saved values, tangents.
        saved_hooks: pairs ``(pack, unpack)``, the innermost last.
        transform: the transform of functrans that tensors are in, of `torch.func` and `torch.compile`, or None.
        random: what answers, by trace, when random numbers are drawn inside it.
        level, duals, dual: whether forward mode is on, its dual tensors, and what performs a `Function` in it.
        passes: the backward passes under way, the innermost last.
        hooks_disabled: what to say of hooks of saved values where they are not allowed, or None.
        anomaly: whether anomaly mode is on, and whether backward passes then look for nan.
        quiet: calls a function of NumPy without warnings of floating-point errors, which torch does not give.
    """

    def __init__(self) -> None:
        self.grad = True
        self.since: Trace | None = None
        self.inference = False
        self.special = 0
        self.saved_hooks: list[Any] = []
        self.hooks_disabled: str | None = None
        self.passes: list[Any] = []
        self.anomaly = (False, True)
        self.transform: Any = None
        self.random: dict[Trace, Callable[[Any], Any]] = {}
        self.level = 0
        self.duals: list[Any] = []
        self.dual: Any = None
        context = contextvars.Context()
        context.run(np.seterr, all="ignore")
        self.quiet = context.run


state = _State()
# Empty until any thread first enters `inference_mode`: before that nobody needs to look for its tensors.
INFERRED: list[bool] = []


def switch(mode: bool) -> None:
    """Switch recording on or off."""
    state.grad = mode
    if not mode:
        state.since = current.get()


def cut(value: Any) -> Any:
    """An operand as recording has it: a constant to each reverse mode inside which recording was switched off.

    Transforms that began later, as in ``with no_grad(): torch.func.grad(f)(x)``, are not concerned, nor is forward mode. In
    a program that is staged, which may be differentiated later, it is a constant.
    """
    return value if state.grad or not isinstance(value, Tracer) else without_history(value)


def without_history(value: Any) -> Any:
    """A value as `cut` has it."""
    if isinstance(value, BatchTracer):
        return BatchTracer(value.owner, without_history(value.value), value.batched)  # type: ignore[arg-type]
    if isinstance(value, ForwardTracer):
        pair = without_history(value.value), without_history(value.tangent)
        return ForwardTracer(value.owner, *pair, value.selected)  # type: ignore[arg-type]
    if isinstance(value, Tracer):
        trace: Any = state.since
        while trace is not None:
            if trace is value.owner:
                return stop_gradient(value) if isinstance(value, StagedTracer) else without_history(value.value)  # type: ignore[attr-defined]
            trace = getattr(trace, "parent", None)
    return value


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
        self.previous = state.grad, state.since
        switch(self.mode)

    def __exit__(self, *error: Any) -> None:
        state.grad, state.since = self.previous


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
        self.previous = state.grad, state.since
        switch(self.mode)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        state.grad, state.since = self.previous
        return super().__call__(function)

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self.mode)

    def __enter__(self) -> None:
        switch(self.mode)

    def __exit__(self, *error: Any) -> None:
        state.grad, state.since = self.previous


class inference_mode(_Mode):
    """Operations are not recorded, and their results never will be.

    Example:
        >>> import functrans.torch as torch
        >>> with torch.inference_mode():
        ...     y = torch.ones(2) * 2
        >>> y.is_inference()
        True
    """

    mode: bool

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
        self.previous = state.grad, state.since, state.inference
        state.special += self.mode - state.inference
        if self.mode and not INFERRED:
            INFERRED.append(True)
        if self.mode or state.inference:
            switch(not self.mode)
        state.inference = self.mode

    def __exit__(self, *error: Any) -> None:
        state.special -= state.inference - self.previous[2]
        state.grad, state.since, state.inference = self.previous


def is_grad_enabled() -> bool:
    """Whether operations are recorded."""
    return state.grad


def is_inference_mode_enabled() -> bool:
    """Whether the thread is inside `inference_mode`."""
    return state.inference
