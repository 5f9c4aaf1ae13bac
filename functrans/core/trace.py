"""Dispatch by context: the current trace decides what an operation means.

Invariant: a trace treats its own tracers as live, every other value as a constant, and hands what
has no tracer of its own to its parent. `EVALUATION`, the root, has no tracers, so one that reaches
it has leaked out of its transform.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from functrans.core.types import describe
from functrans.errors import TracerLeakError, at_user_line, describe_origin

__all__ = [
    "EVALUATION",
    "NUMPY_ERRORS",
    "Evaluation",
    "Owner",
    "Scope",
    "Trace",
    "TracedValue",
    "current",
    "explain",
    "root",
    "running",
    "scopes",
]


class TracedValue:
    """What every tracer is to a trace: a value that belongs to some trace. See `core.tracer`."""

    __slots__ = ("cell", "origin", "owner", "__weakref__")

    owner: Owner
    origin: Any
    cell: Any


class Owner:
    """What a traced value belongs to.

    Attributes:
        transform: the name of the transform, for messages.
        alive: whether the transformed function is still running.
    """

    __slots__ = ("alive", "transform")

    def __init__(self, transform: str, alive: bool) -> None:
        self.transform = transform
        self.alive = alive

    def misuse(self, value: TracedValue) -> Exception:
        """The error for a value of this owner met where it has no meaning."""
        return leaked(value)


class Trace(Owner):
    """An interpretation of primitives that is under way.

    Attributes:
        parent: the trace that was current when this one began; the root has none.
        keeps_lines: whether derivatives are to be computed at the line of the operation they are of, which costs
            time: so it is in staging, since programs say where their equations stem from, and in `ft.debug.nans`.
    """

    __slots__ = ("keeps_lines", "parent")

    keeps_lines: bool
    parent: Trace

    def __init__(self, transform: str, parent: Trace) -> None:
        super().__init__(transform, alive=True)
        self.parent = parent
        self.keeps_lines = parent.keeps_lines

    @abstractmethod
    def process(self, primitive: Any, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        """The result of `primitive` on operands, some of which may be this trace's tracers."""

    @abstractmethod
    def as_tracer(self, value: Any) -> Any:
        """`value`, a constant to this trace, as a tracer of this trace that may be written into."""

    def look(self, name: str, operands: Any, results: Any) -> None:
        """Let the scopes this trace began in look at results, of an operation called `name`, where traces keep lines."""
        self.parent.look(name, operands, results)

    def look_at_run(self, program: Any, leaves: Sequence[Any], results: Sequence[Any]) -> None:
        """Let the scopes this trace began in look at the results of a program that was run in machine code."""
        self.parent.look_at_run(program, leaves, results)

    def admit(self, value: TracedValue) -> None:
        """Raise unless `value` belongs to this trace or to a live ancestor."""
        owner = value.owner
        trace: Trace | None = self
        while trace is not None:
            if trace is owner:
                return
            trace = getattr(trace, "parent", None)
        raise owner.misuse(value)

    def begin(self) -> Any:
        """Make this trace current; returns what `end` needs."""
        return current.set(self)

    def end(self, token: Any) -> None:
        """Make the previous trace current again, and this trace's tracers dead."""
        current.reset(token)
        self.alive = False


def leaked(value: TracedValue) -> TracerLeakError:
    """The error for a tracer met outside its trace."""
    state = "has ended" if not value.owner.alive else "is not running here"
    return TracerLeakError(
        f"a value traced by {value.owner.transform}, of type {value.array_type}, was used after or outside "  # type: ignore[attr-defined]
        f"its transform, which {state}\n  made at {describe_origin(value.origin)}"
        "\n  Remedy: return it from the function instead (with has_aux=True if it is not part of the result), "
        f"or keep a copy of its numbers with .item() or ft.stop_gradient.{at_user_line()}"
    )


# What NumPy raises for operands that do not suit it, and what helps.
REMEDIES = {
    IndexError: "indices along an axis of length n run from -n to n - 1",
    ValueError: "make the shapes fit: axes must be equal, or of length 1 to be broadcast",
    TypeError: "convert the operands with .astype to dtypes the operation takes",
    np.linalg.LinAlgError: "pass a square matrix, and look at its eigenvalues or np.linalg.cond before if it may be none with such a result",
}
NUMPY_ERRORS = tuple(REMEDIES)


def explain(error: Exception, primitive: Any, operands: Sequence[Any]) -> None:
    """Raise NumPy's `error` again with the transform, the types, the user's line and a remedy.

    Only errors of NumPy's own: what user code raises in a call with rules of its own passes as it is.
    """
    remedy = REMEDIES.get(type(error))
    if remedy is None or primitive.runs_user_code:
        return
    raise type(error)(
        f"{current.get().transform}: {primitive.name} of {', '.join(map(describe, operands))}: {error}"
        f"\n  Remedy: {remedy}.{at_user_line()}"
    ) from error


class Evaluation(Trace):
    """The root: computes with NumPy."""

    __slots__ = ()

    def __init__(self, transform: str = "evaluation") -> None:
        Owner.__init__(self, transform, alive=True)
        self.keeps_lines = False

    def process(self, primitive: Any, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        for operand in operands:
            if isinstance(operand, TracedValue):
                raise operand.owner.misuse(operand)
        try:
            return primitive.evaluate(*operands, **params)
        except NUMPY_ERRORS as error:
            explain(error, primitive, operands)
            raise

    def as_tracer(self, value: Any) -> Any:
        return value

    def look(self, name: str, operands: Any, results: Any) -> None:
        """Nothing: only scopes look."""

    def look_at_run(self, program: Any, leaves: Sequence[Any], results: Sequence[Any]) -> None:
        """Nothing: only scopes look."""


class Scope(Evaluation):
    """A stretch of a thread's time whose operations are looked at: a root like `EVALUATION`, and a trace like any other.

    Every trace that begins in it has it among its ancestors; what began before, or outside, pays nothing for it.
    """

    __slots__ = ()

    def __init__(self, name: str, parent: Trace) -> None:
        Trace.__init__(self, name, parent)

    def process(self, primitive: Any, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        return self.parent.process(primitive, operands, params)

    look = Trace.look
    look_at_run = Trace.look_at_run

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this scope the root for a while."""
        scopes.append(self)
        token = self.begin()
        try:
            yield
        finally:
            self.end(token)
            scopes.remove(self)


EVALUATION = Evaluation()
current: ContextVar[Trace] = ContextVar("functrans_trace", default=EVALUATION)
# Those of all threads: while there are none, compiled functions skip what scopes need.
scopes: list[Scope] = []


def root() -> Evaluation:
    """The scope that is entered, or `EVALUATION`: where plain code runs that no transform looks into."""
    trace = current.get()
    while not isinstance(trace, Evaluation):
        trace = trace.parent
    return trace


@contextmanager
def running(trace: Trace) -> Iterator[None]:
    """Make `trace` current for a while, as its rules need for the parent they run under."""
    token = current.set(trace)
    try:
        yield
    finally:
        current.reset(token)
