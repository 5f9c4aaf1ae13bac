"""Programs that were staged before: a body that is staged again, by another call of the same code, is the same program.

What is made of a body, its derivatives and its machine code, is kept with it, and so is made once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

from functrans.core.primitive import Control
from functrans.core.program import Literal, Program, Variable
from functrans.errors import Origin, line_of

__all__ = ["known"]

# The programs that were staged last.
recent: OrderedDict[Hashable, Program] = OrderedDict()
MOST_RECENT = 256


def known(program: Program) -> Program:
    """An equal program that was staged before, with the same lines, if there is one."""
    if calls_user_code(program):
        return program
    try:
        key = contents(program)
        before = recent.pop(key, program)
    except TypeError:  # a parameter has no hash
        return program
    recent[key] = before
    if len(recent) > MOST_RECENT:
        recent.popitem(last=False)
    return before


def calls_user_code(program: Program) -> bool:
    """Whether a parameter is a function or a message of the user's, which another call has another of."""
    return any(
        any(map(calls_user_code, equation.programs))
        if isinstance(equation.primitive, Control)
        else equation.primitive.runs_user_code
        for equation in program.equations
    )


def contents(program: Program) -> Hashable:
    """What equal programs have in common."""
    numbers: dict[Any, int] = {}

    def defined(variables: Sequence[Variable]) -> Hashable:
        for variable in variables:
            numbers[variable] = len(numbers)
        return tuple(variable.array_type for variable in variables)

    def read(atoms: Sequence[Any]) -> Hashable:
        return tuple((type(atom.value), repr(atom.value)) if isinstance(atom, Literal) else numbers[atom] for atom in atoms)

    inputs = defined(program.inputs)
    equations = [
        (read(e.inputs), e.primitive, tuple(e.params.items()), line(e.origin), defined(e.outputs)) for e in program.equations
    ]
    return program.name, inputs, tuple(equations), read(program.outputs)


@lru_cache(maxsize=4096)
def line(origin: Origin | None) -> Hashable:
    """The line: instructions that make the same call may differ, since Python makes code faster while it runs it."""
    return origin and (origin[0].co_filename, origin[0].co_qualname, line_of(origin))
