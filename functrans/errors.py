"""The errors of functrans, each with the code that raises it and the code to write instead.

Every class derives from the built-in exception that plain NumPy or Python code would expect, so that
``except TypeError`` and its like go on working. A message names the transform or operation, what it
got (types are written ``float32[3,4]``), the line of the user's code, and the remedy.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType, FunctionType
from typing import Any

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
    "CheckError",
    "NonFiniteError",
    "StepLimitError",
    "ConvergenceError",
    "LoadError",
    "CompilationError",
    "ProgramError",
    "BudgetError",
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

    ``ft.debug.leaks`` finds values that were kept, before they are used.
    """


class ConcretizationError(FunctransError, TypeError):
    """Python asked for the concrete value of something that is being traced.

    Fails::

        ft.grad(lambda x: math.sin(x))(1.0)           # float(x) would drop the derivative
        ft.jit(lambda x: x if x > 0 else -x)(1.0)     # the branch is not known while staging

    Works::

        ft.grad(lambda x: np.sin(x))(1.0)
        ft.jit(lambda x: np.where(x > 0, x, -x))(1.0)
        ft.jit(lambda x: ft.cond(x > 0, np.sqrt, np.zeros_like, x))(1.0)

    ``x.item()`` and ``ft.stop_gradient(x)`` are the explicit ways out of a derivative.
    """


class UnsupportedError(FunctransError, TypeError):
    """A NumPy function, method, dtype or argument that functrans does not differentiate.

    Fails::

        ft.grad(lambda x: np.sum(np.roots(x).real))(x)

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


class CheckError(FunctransError, AssertionError):
    """A condition given to `ft.debug.check` does not hold.

    Fails::

        def f(x):
            ft.debug.check(np.all(x > 0), "x must be positive, the least is {least}", least=np.min(x))
            return np.log(x)

        ft.jit(f)(np.array([1.0, -2.0]))              # x must be positive, the least is -2.0

    Works::

        ft.jit(f)(np.array([1.0, 2.0]))
    """


class NonFiniteError(FunctransError, FloatingPointError):
    """An operation made a nan, or an infinity, inside `ft.debug.nans`.

    Fails::

        with ft.debug.nans():
            ft.grad(lambda x: 1 / np.exp(x))(1000.0)                  # 0 * inf in the backward pass

    Works::

        with ft.debug.nans():
            ft.grad(lambda x: np.exp(-x))(1000.0)

    The message names the operation and the user's line; for derivatives, the line whose tangent or
    cotangent it was.
    """


class StepLimitError(FunctransError, RuntimeError):
    """The condition of a loop still holds after as many steps as it was allowed.

    Fails::

        ft.while_loop(lambda x: x < 100.0, lambda x: 2.0 * x, 1.0, max_steps=5)

    Works: 7 steps are enough; and so does a condition that counts them::

        ft.while_loop(lambda x: x < 100.0, lambda x: 2.0 * x, 1.0, max_steps=7)
        ft.while_loop(lambda s: (s[0] < 100.0) & (s[1] < 5), lambda s: (2.0 * s[0], s[1] + 1), (1.0, 0))
    """


class ConvergenceError(FunctransError, RuntimeError):
    """A solver of `ft.scipy` stopped before it found a solution, and was to find one: with ``check=True``, or for a derivative.

    Fails::

        ft.scipy.sparse.linalg.cg(a, b, maxiter=1, check=True)

    Works: give it more iterations, a better first guess or preconditioner, or a coarser tolerance; or look at ``success``::

        result = ft.scipy.optimize.minimize(loss, x0)
        if not result.success:
            ...
    """


class LoadError(FunctransError, ValueError):
    """A file does not hold a compiled function that can run here.

    Fails::

        ft.load("step.functrans")      # saved on another machine, or with another NumPy

    Works: the file is made where it is used::

        ft.jit(step).lower(w, x).compile().save("step.functrans")
        ft.load("step.functrans")
    """


class CompilationError(FunctransError, RuntimeError):
    """A program could not be compiled: a defect in functrans, or in what it compiles with.

    The message names the kernel, the equations it computes and the lines they stem from. Please report it with the
    text of the kernels. Fails::

        ft.jit(f)(x)

    Works: leave the operations it names outside of `jit`, or meanwhile run everything operation by operation::

        ft.config.jit = False
        ft.jit(f)(x)
        print(ft.jit(f).lower(x).kernels())      # what a report should hold
    """


class BudgetError(FunctransError, ValueError):
    """What a checkpointed function must keep for its backward pass takes more bytes than its budget.

    Values that are never computed again, as random bits and what a policy names, are kept in any case. Fails::

        f = ft.checkpoint(lambda x: np.sum(np.sin(ft.checkpoint_name(x * 2, "doubled"))),
                          policy=ft.checkpoint_policies.save_names("doubled"), budget=8)
        ft.grad(f)(np.ones(1000))                     # 8000 bytes are kept at least

    Works::

        f = ft.checkpoint(lambda x: np.sum(np.sin(ft.checkpoint_name(x * 2, "doubled"))), budget=8000)
    """


class ProgramError(FunctransError, AssertionError):
    """A ``Program`` breaks one of its own rules: a defect in functrans or in a pass over programs."""


Origin = tuple[CodeType, int]

# Files whose frames are never the user's: this package, and the libraries that call it back.
_FOLDERS = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, np.__file__, optree.__file__))
_SCIPY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(np.__file__))), "scipy", "")  # not imported for this
_INTERNAL = (*_FOLDERS, _SCIPY, os.path.abspath(contextlib.__file__))


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
    code, line = origin[0], line_of(origin)
    text = linecache.getline(code.co_filename, line).strip()
    where = f"{os.path.basename(code.co_filename)}:{line} ({code.co_name})"
    return f"{where}: {text}" if text else where


def line_of(origin: Origin) -> int:
    """The number of the line."""
    code, instruction = origin
    if instruction < 0:
        return code.co_firstlineno
    return next(islice(code.co_positions(), instruction // 2, None))[0] or 0


# On one line, which `performed_at` moves.
_relay = lambda function, *args, **keywords: function(*args, **keywords)


@lru_cache(maxsize=4096)
def performed_at(origin: Origin | None, role: str = "") -> Callable[..., Any]:
    """A function that calls another one with arguments, whose frame passes for one of the user's, at `origin`.

    To `user_origin`, and in tracebacks, what happens in the call then happens there: so the backward pass of
    an operation is known by the operation's line. `role` says what of the user's function it is: ``backward pass``.
    """
    if origin is None:
        return _relay
    code, line = origin[0], line_of(origin)
    name = f"{role} of {code.co_name}" if role else code.co_name
    moved = _relay.__code__.replace(co_filename=code.co_filename, co_firstlineno=line, co_name=name, co_qualname=name)
    return FunctionType(moved, {})


def locate(error: Exception, what: str) -> None:
    """Add to NumPy's or Python's `error` what was called, and the user's line, unless user code raised it or it says so already."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    is_own = last is not None and _internal[last.tb_frame.f_code.co_filename]
    if is_own and type(error) in (IndexError, TypeError, ValueError) and "\n  at " not in str(error):
        error.args = (f"{what}: {error}{at_user_line()}",)


def at_user_line() -> str:
    """The end of a message: the user's line that led here."""
    return f"\n  at {describe_origin(user_origin())}"
