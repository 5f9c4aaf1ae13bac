"""The errors of functrans, each with the code that raises it and the code to write instead.

Every class derives from the built-in exception that plain NumPy or Python code would expect, so that
``except TypeError`` and its like go on working. A message names the transform or operation, what it
got (types are written ``float32[3,4]``), the line of the user's code, and the remedy.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType, FrameType

import numpy as np
import optree

__all__ = [
    "FunctransError",
    "TracerLeakError",
    "ConcretizationError",
    "UnsupportedError",
    "MutationError",
    "DifferentiationError",
    "StructureError",
    "GlobalRandomError",
    "ProgramError",
]


class FunctransError(Exception):
    """Base of every error functrans raises on its own account."""


class TracerLeakError(FunctransError, RuntimeError):
    """A traced value was used after, or outside, the transform that made it.

    Fails::

        kept = []

        def f(x):
            kept.append(np.sin(x))     # a traced value escapes through a global
            return x

        ft.grad(f)(1.0)
        kept[0] + 1                    # TracerLeakError, naming the line above

    Works: return the value, with ``has_aux=True`` if it is not part of the loss::

        def f(x):
            return x, np.sin(x)

        gradient, sine = ft.grad(f, has_aux=True)(1.0)
    """


class ConcretizationError(FunctransError, TypeError):
    """Python asked for the concrete value of something that is being traced.

    Fails::

        ft.grad(lambda x: math.sin(x))(1.0)           # float(x) would drop the derivative
        ft.jit(lambda x: x if x > 0 else -x)(1.0)     # the branch is not known while staging

    Works::

        ft.grad(lambda x: np.sin(x))(1.0)
        ft.jit(lambda x: np.where(x > 0, x, -x))(1.0)

    ``x.item()`` and ``ft.stop_gradient(x)`` are the explicit ways out of a derivative.
    """


class UnsupportedError(FunctransError, TypeError):
    """A NumPy function, method, dtype or argument that functrans does not differentiate.

    Fails::

        ft.grad(lambda x: np.sum(np.fft.fft(x).real))(x)

    The message names the function and, where there is one, an alternative.
    """


class MutationError(FunctransError, ValueError):
    """An array that must not change was written into.

    Fails::

        def f(x):
            x[0] = 0.0                 # x is the caller's array
            return np.sum(x)

    Works::

        def f(x):
            x = x.copy()
            x[0] = 0.0
            return np.sum(x)
    """


class DifferentiationError(FunctransError, TypeError):
    """A transform was asked for a derivative that does not exist.

    Fails::

        ft.grad(lambda x: x * 2)(np.ones(3))          # the output is not a scalar
        ft.grad(lambda n: n * 2.0)(3)                 # the argument is an integer

    Works::

        ft.jacobian(lambda x: x * 2)(np.ones(3))
        ft.grad(lambda n: n * 2.0)(3.0)
    """


class StructureError(FunctransError, ValueError):
    """Two pytrees, or the shapes and dtypes of their leaves, do not match.

    Fails::

        value, pullback = ft.vjp(np.sin, np.ones(3))
        pullback(np.ones(4))                          # the output was float64[3]

    Works::

        pullback(np.ones(3))
    """


class GlobalRandomError(FunctransError, RuntimeError):
    """NumPy's global random state was drawn from while a function was being staged.

    The numbers would be frozen into the program. Fails::

        ft.jit(lambda x: x + np.random.normal())(1.0)

    Works: draw outside, and pass the numbers in::

        ft.jit(lambda x, noise: x + noise)(1.0, np.random.normal())
    """


class ProgramError(FunctransError, AssertionError):
    """A ``Program`` breaks one of its own rules: a defect in functrans or in a pass over programs."""


Origin = tuple[CodeType, int]

# Files whose frames are never the user's: this package, and the libraries that call it back.
_INTERNAL = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, np.__file__, optree.__file__))


class _Internal(dict[str, bool]):
    """Whether a file's frames are not the user's, by its name."""

    def __missing__(self, filename: str) -> bool:
        answer = self[filename] = filename.startswith(_INTERNAL)
        return answer


_internal = _Internal()


def user_origin(depth: int = 1) -> Origin | None:
    """The code and instruction of the innermost frame outside this package, or None.

    `depth` says how many frames up to begin: callers on a hot path know a few that are internal.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        if not _internal[code.co_filename]:
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def describe_origin(origin: Origin | None) -> str:
    """``file.py:12 (loss): y = x @ w``, or a phrase saying that the line is not known."""
    if origin is None:
        return "an unknown line"
    code, instruction = origin
    positions = list(code.co_positions())
    line = positions[instruction // 2][0] if instruction >= 0 else code.co_firstlineno
    text = linecache.getline(code.co_filename, line or 0).strip()
    where = f"{os.path.basename(code.co_filename)}:{line} ({code.co_name})"
    return f"{where}: {text}" if text else where


_reported: ContextVar[Origin | None] = ContextVar("functrans_reported", default=None)


@contextmanager
def reporting(origin: Origin | None) -> Iterator[None]:
    """Messages made within name this line, that of an equation, and not the one that evaluates its program."""
    token = _reported.set(origin)
    try:
        yield
    finally:
        _reported.reset(token)


def at_user_line() -> str:
    """The end of a message: the user's line that led here."""
    return f"\n  at {describe_origin(_reported.get() or user_origin())}"
