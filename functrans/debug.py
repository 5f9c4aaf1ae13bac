"""Looking at values inside functions: checks, prints and stops that run with the program, and finders of nans and leaks.

`check`, `print` and `breakpoint` act on the values of the function itself, once, wherever it runs: eagerly, under
any transform, in compiled code. `nans` and `leaks` are scopes (`core.trace.Scope`): roots below all transforms that
begin in them. Invariant: outside a scope, nothing is slower for there being any.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.program import Equation, Literal, Program
from functrans.core.trace import Evaluation, Scope, Trace, TracedValue, current
from functrans.core.tracer import NUMERIC_KINDS, Tracer, operand
from functrans.core.types import PYTHON_SCALARS, describe, dtype_of, is_differentiable, shape_of, type_of
from functrans.errors import NonFiniteError, TracerLeakError, UnsupportedError, at_user_line, describe_origin, user_origin
from functrans.ops import effects

__all__ = ["breakpoint", "check", "leaks", "nans", "print"]


def check(condition: Any, message: str, /, **values: Any) -> None:
    """Raise an error when the function runs, unless a condition holds.

    Args:
        condition: bool, of any shape: all of it must hold.
        message: with places for values, as `str.format` takes them: ``"the least is {least}"``.
        values: trees of arrays, or anything else that has a text.

    Raises:
        CheckError: the condition does not hold; says the message with the values, and the user's line. Under `vmap`
            the values are those of the first item it does not hold for. Compiled code then gives no result.
        TypeError: the condition is not made of booleans.
        ValueError: the message has a place without a value, or a value without a place.

    Example:
        >>> import numpy as np, functrans as ft
        >>> @ft.jit
        ... def logarithm(x):
        ...     ft.debug.check(np.all(x > 0), "x must be positive, the least is {least}", least=np.min(x))
        ...     return np.log(x)
        >>> logarithm(np.array([1.0, -2.0]))
        Traceback (most recent call last):
        functrans.errors.CheckError: x must be positive, the least is -2.0
          at <doctest functrans.debug.check[1]>:3 (logarithm): ft.debug.check(np.all(x > 0), ...
    """
    condition = operand(condition, "ft.debug.check")
    if dtype_of(condition).kind != "b":
        raise TypeError(
            f"ft.debug.check: the condition must be bool, got {describe(condition)}"
            f"\n  Remedy: compare, as in x > 0, or np.all(np.isfinite(x)).{at_user_line()}"
        )
    holds = np.all(condition) if shape_of(condition) else condition
    perform(effects.debug_check, "ft.debug.check", message, (), values, holds)


def print(format: str, /, *values: Any, **named: Any) -> None:
    """Print values when the function runs, as often as it does, in order with other prints, checks and stops.

    In derivatives the values of the function itself are printed, once, in the forward pass; what is in a function with
    rules of its own (`ft.custom_vjp`), or in a rule, is printed whenever that is run. Under `vmap` there is a line for
    each item of the batch, unless all items share the values. It goes through Python's `print`, and is flushed.

    Args:
        format: with places for the values, as `str.format` takes them; ``{x:.3f}`` formats the elements of arrays.
        values, named: trees of arrays, or anything else that has a text.

    Raises:
        ValueError: the format has a place without a value, or a value without a place, or is an f-string of traced
            values, which have no numbers yet.

    Example:
        >>> import numpy as np, functrans as ft
        >>> @ft.jit
        ... def f(x):
        ...     ft.debug.print("x = {}, its sum is {total:.1f}", x, total=np.sum(x))
        ...     return np.sum(x * x)
        >>> gradient = ft.grad(f)(np.array([1.0, 2.0]))
        x = [1. 2.], its sum is 3.0
        >>> result = f(np.array([3.0, 4.0]))
        x = [3. 4.], its sum is 7.0
    """
    perform(effects.debug_print, "ft.debug.print", format, values, named)


def breakpoint(*values: Any, **named: Any) -> None:
    """Stop in the debugger when the function runs, with values to look at.

    It calls Python's `breakpoint`, so ``PYTHONBREAKPOINT`` and `sys.breakpointhook` say which debugger that is. What was
    passed is there in the variables ``values``, a tuple, and ``named``, a dict. Under `vmap` it stops once, with the
    whole batch along axis 0.

    Example:
        >>> import sys, numpy as np, functrans as ft
        >>> @ft.jit
        ... def f(x):
        ...     y = np.exp(x)
        ...     ft.debug.breakpoint(x, y=y)
        ...     return y * x
    """
    perform(effects.debug_breakpoint, "ft.debug.breakpoint", "", values, named)


def perform(primitive: Any, name: str, text: str, values: tuple[Any, ...], named: dict[str, Any], *first: Any) -> None:
    """An effect on operands `first`, and on those of the values that are arrays."""
    if primitive is not effects.debug_breakpoint:
        effects.check_format(name, text, values, named)
    leaves, structure = tree.flatten((values, named))
    places = [place for place, leaf in enumerate(leaves) if is_array(leaf)]
    operands = [operand(leaves[place], name) for place in places]
    message = effects.Message(
        text,
        structure,
        tuple(type_of(value).weak for value in operands),
        tuple((place, leaf) for place, leaf in enumerate(leaves) if place not in places),
        user_origin(),
    )
    primitive(*first, *operands, message=message)


def is_array(value: Any) -> bool:
    """Whether a value to be shown is a number, an array of numbers, or a traced value."""
    if type(value) is np.ndarray or isinstance(value, np.generic):
        return value.dtype.kind in NUMERIC_KINDS and value.dtype.isnative
    return isinstance(value, Tracer) or type(value) in PYTHON_SCALARS


def outermost(name: str) -> Trace:
    """The trace a scope begins in; raises inside a transform, whose operations have a root already."""
    trace = current.get()
    if not isinstance(trace, Evaluation):
        raise UnsupportedError(
            f"ft.debug.{name} cannot begin inside a function that {trace.transform} is tracing"
            f"\n  Remedy: put it around the call of what {trace.transform} returns.{at_user_line()}"
        )
    return trace


@contextmanager
def nans(*, infinite: bool = False) -> Iterator[None]:
    """Within it, the first operation that makes a nan of operands without one raises. A context manager, and a decorator.

    Every operation of a transformed function is looked at, and in derivatives every tangent and cotangent. What a
    compiled function returns is looked at after each call; if there is a nan in it, the program is evaluated once more,
    equation by equation, to find where the nan came from, without its prints. Outside of transforms, where NumPy works
    alone, it raises at what NumPy itself calls an invalid value (`numpy.errstate`). Only the thread that entered it
    is concerned, and of derivatives only what began within it: not the pullback that `ft.vjp` returned before.

    Args:
        infinite: whether to raise at infinities, too.

    Raises:
        NonFiniteError: names the operation, its types and the user's line; for a derivative, the line it belongs to.

    Example:
        >>> import numpy as np, functrans as ft
        >>> with ft.debug.nans():
        ...     ft.jit(lambda x: np.sum(np.log(x)))(np.array([1.0, -1.0]))
        Traceback (most recent call last):
        functrans.errors.NonFiniteError: jit: log of float64[2] made nan (1 of 2 elements), with none in its operands...
    """
    scope = Nans(infinite, outermost("nans"))
    others: Any = {"divide": "call", "over": "call"} if infinite else {}
    with scope.entered(), np.errstate(invalid="call", call=scope.flagged, **others):
        yield


class Nans(Scope):
    """The scope of `nans`."""

    __slots__ = ("infinite",)

    def __init__(self, infinite: bool, parent: Trace) -> None:
        super().__init__("nans", parent)
        self.infinite = infinite
        self.keeps_lines = True

    def process(self, primitive: Any, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        with np.errstate(all="ignore"):
            out = super().process(primitive, operands, params)
        self.look(primitive.name, operands, out)
        return out

    def look(self, name: str, operands: Any, results: Any) -> None:
        wrong = self.wrong(results)
        if wrong and not self.wrong(operands):
            raise NonFiniteError(f"{made(current.get().transform, name, operands, wrong)}{at_user_line()}")
        super().look(name, operands, results)

    def look_at_run(self, program: Program, leaves: Sequence[Any], results: Sequence[Any]) -> None:
        wrong = self.wrong(results)
        if wrong:
            with np.errstate(all="ignore"), effects.recorded(before=math.inf):
                Search(self, program, leaves).report(wrong)
        super().look_at_run(program, leaves, results)

    def wrong(self, values: Any) -> str:
        """What is not as it should be in nested values: ``nan (1 of 3 elements)``; empty if nothing is."""
        for value in numbers(values):
            finite = np.isfinite(value) if self.infinite else ~np.isnan(value)
            if not np.all(finite):
                what = "nan" if np.any(np.isnan(value)) else "infinity"
                count = finite.size - np.count_nonzero(finite)
                return f"{what} ({count} of {finite.size} elements)" if finite.ndim else what
        return ""

    def flagged(self, kind: str, flag: int) -> None:
        """Raise for what NumPy met on its own."""
        raise NonFiniteError(f"nans: NumPy met {kind}\n  Remedy: {REMEDY}.{at_user_line()}")


REMEDY = "choose the operands before the operation (np.where, np.maximum), or look at them with ft.debug.print"


def made(transform: str, name: str, operands: Any, wrong: str) -> str:
    """The message for an operation that made something wrong of sound operands."""
    types = ", ".join(map(describe, arrays(operands)))
    return f"{transform}: {name} of {types} made {wrong}, with none in its operands\n  Remedy: {REMEDY}."


def arrays(values: Any) -> Iterator[Any]:
    """The arrays, numbers and traced values in nested tuples and lists, among which there may be other things."""
    if isinstance(values, (tuple, list)):
        for value in values:
            yield from arrays(value)
    elif isinstance(values, (np.ndarray, np.generic, Tracer)) or type(values) in PYTHON_SCALARS:
        yield values


def numbers(values: Any) -> Iterator[Any]:
    """The floating and complex arrays in nested values, out of their tracers; those that are being staged have none."""
    for value in arrays(values):
        while isinstance(value, Tracer):
            value = getattr(value, "value", None)
        if value is not None and is_differentiable(dtype_of(value)):
            yield value


class Search:
    """An evaluation of a program equation by equation, that finds where the first wrong value of its results came from."""

    def __init__(self, scope: Nans, program: Program, leaves: Sequence[Any]) -> None:
        self.scope, self.program = scope, program
        self.values: dict[Any, Any] = dict(zip((*program.captured, *program.inputs), (*program.values, *leaves)))
        # For each wrong variable, the place of the equation it came from; None if it came in with the arguments.
        self.sources: dict[Any, int | None] = {v: None for v, value in self.values.items() if scope.wrong(value)}
        self.messages: dict[int, str] = {}
        for place, (equation, ending) in enumerate(zip(program.equations, program.last_uses())):
            self.evaluate(place, equation)
            for variable in ending:
                self.values.pop(variable, None)

    def evaluate(self, place: int, equation: Equation) -> None:
        """The results of an equation, and where they came from."""
        operands = [atom.value if isinstance(atom, Literal) else self.values[atom] for atom in equation.inputs]
        out = equation.primitive.evaluate(*operands, **equation.params)
        found = [self.sources[atom] for atom in equation.inputs if atom in self.sources]
        for variable, value in zip(equation.outputs, out if equation.primitive.multiple else (out,)):
            self.values[variable] = value
            wrong = self.scope.wrong(value)
            if wrong and not found and not self.scope.wrong(operands):
                message = made("jit", equation.primitive.name, operands, wrong)
                self.messages[place] = f"{message}\n  at {describe_origin(equation.origin)}"
                self.sources[variable] = place
            elif wrong:
                self.sources[variable] = min((source for source in found if source is not None), default=None)

    def report(self, wrong: str) -> None:
        """Raise with the first equation that the wrong results came from, unless that was the arguments."""
        found = [self.sources[atom] for atom in self.program.outputs if atom in self.sources]
        places = [place for place in found if place is not None]
        if places:
            raise NonFiniteError(self.messages[min(places)])
        if not found:
            raise NonFiniteError(
                f"nans: {self.program.name} returned {wrong} from compiled code, and none when evaluated again by NumPy"
                f"\n  Remedy: if it is no matter of rounding, report it as a defect, with lower(...).kernels().{at_user_line()}"
            )


@contextmanager
def leaks() -> Iterator[None]:
    """At its end, traced values that outlived the transform they belong to raise. A context manager, and a decorator.

    A traced value that is kept in a global, an attribute or a list raises only where it is used, which may be far away,
    or never. This finds it, at the cost of a search of all objects of the process; as a decorator, after each call.

    Raises:
        TracerLeakError: names the type of each and the line that made it.

    Example:
        >>> import numpy as np, functrans as ft
        >>> kept = []
        >>> with ft.debug.leaks():
        ...     ft.grad(lambda x: kept.append(np.sin(x)) or x)(1.0)
        Traceback (most recent call last):
        functrans.errors.TracerLeakError: leaks: 1 traced value outlived the transform...
    """
    scope = Scope("leaks", outermost("leaks"))
    with scope.entered():
        yield
    gc.collect()
    left = [item for item in gc.get_objects() if issubclass(type(item), TracedValue) and is_left(item, scope)]
    if left:
        lines = dict.fromkeys(
            f"\n  {item.array_type} traced by {item.owner.transform}, made at {describe_origin(item.origin)}" for item in left
        )
        values = "1 traced value" if len(left) == 1 else f"{len(left)} traced values"
        raise TracerLeakError(
            f"leaks: {values} outlived the transform that made them{''.join(lines)}"
            "\n  Remedy: return it from the function (with has_aux=True if it is not part of the result), or keep a copy of "
            f"its numbers with .item() or ft.stop_gradient.{at_user_line()}"
        )


def is_left(value: TracedValue, scope: Scope) -> bool:
    """Whether the transform of a traced value has ended, and had begun in `scope`."""
    if value.owner.alive:
        return False
    trace: Any = value.owner
    while trace is not None and trace is not scope:
        trace = getattr(trace, "parent", None)
    return trace is scope
