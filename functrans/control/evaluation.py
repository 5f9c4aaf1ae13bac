"""How loops and branches are evaluated: in machine code, or by interpreting their programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from functrans.config import settings
from functrans.core.primitive import Primitive
from functrans.core.trace import TracedValue, root, running

__all__ = ["perform"]

# The results of a control primitive for plain operands, by machine code, or `NotImplemented`; the compiler sets it.
compiled: Callable[[Primitive, Sequence[Any], dict[str, Any]], Any] | None = None


def perform(
    primitive: Primitive, interpret: Callable[..., tuple[Any, ...]], operands: Sequence[Any], params: dict[str, Any]
) -> tuple[Any, ...]:
    """The results of a control primitive: by compiled code, or by `interpret` where there is none or ``ft.config.jit`` is off."""
    if compiled is not None and settings.jit and not any(isinstance(value, TracedValue) for value in operands):
        results = compiled(primitive, operands, params)
        if results is not NotImplemented:
            return results
    with running(root()):
        return interpret(*operands, **params)
