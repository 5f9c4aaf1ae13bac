"""How loops and branches are evaluated: in machine code, or by interpreting their programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from functrans.config import settings
from functrans.core.primitive import Primitive
from functrans.core.program import Program
from functrans.core.trace import TracedValue, root, running, scopes

__all__ = ["perform", "run"]

# The results of a control primitive for plain operands, by machine code, or `NotImplemented`; and those of a program,
# which may call NumPy. The compiler sets both.
compiled: Callable[[Primitive, Sequence[Any], dict[str, Any]], Any] | None = None
compiled_program: Callable[[Program, Sequence[Any]], list[Any]] | None = None


def perform(
    primitive: Primitive, interpret: Callable[..., tuple[Any, ...]], operands: Sequence[Any], params: dict[str, Any]
) -> tuple[Any, ...]:
    """The results of a control primitive: by compiled code, or by `interpret` where there is none or ``ft.config.jit`` is off.

    Scopes that look at operations see those in the loop.
    """
    if compiled is not None and settings.jit and not scopes and not any(isinstance(value, TracedValue) for value in operands):
        results: Any = compiled(primitive, operands, params)
        if results is not NotImplemented:
            return results  # type: ignore[no-any-return]
    with running(root()):
        return interpret(*operands, **params)


def run(program: Program, operands: Sequence[Any]) -> list[Any]:
    """The results of a body for plain operands, in a loop that is interpreted since NumPy is called in it."""
    if compiled_program is not None and settings.jit and not scopes:
        return compiled_program(program, operands)
    return program.evaluate(operands)
