"""Bodies of loops, branches and calls: functions staged as programs that capture nothing, and programs made of them.

What a function closes over becomes the first operands of its program, so that an enclosing transform sees it there.
Programs made for derivatives and batches are kept with the program they are made of, by the mask of active operands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from functrans.core.program import Program
from functrans.core.staging import stage

__all__ = ["closed", "derived", "staged_body"]

Made = TypeVar("Made")


def staged_body(
    function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any] | None = None, *, transform: str
) -> tuple[Program, tuple[Any, ...]]:
    """The program of ``function(*args, **keywords)`` without captured values, and the values: its first operands.

    Args:
        args, keywords: pytrees of arrays, tracers or `ArrayType`.
        transform: for messages.
    """
    return closed(stage(function, args, keywords, transform=transform))


def closed(program: Program) -> tuple[Program, tuple[Any, ...]]:
    """A program with what it captures as its first inputs, and these values."""
    return replace(program, inputs=(*program.captured, *program.inputs), captured=(), values=()), program.values


def derived(make: Callable[..., Made]) -> Callable[..., Made]:
    """`make` of a program and hashable arguments, kept as long as the program is."""
    kept: WeakKeyDictionary[Program, dict[Any, Made]] = WeakKeyDictionary()

    @wraps(make)
    def made(program: Program, *arguments: Any) -> Made:
        results = kept.setdefault(program, {})
        if arguments not in results:
            results[arguments] = make(program, *arguments)
        return results[arguments]

    return made
