"""Loops and branches outside of `jit`: compiled on the spot, once for each body and types of operands.

A function that is staged anew at each call gives another program each time; programs that say the same share their code.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from functrans.compile.arguments import arguments_of
from functrans.compile.jit import compiled
from functrans.config import logger, settings
from functrans.control import evaluation
from functrans.core.primitive import Primitive
from functrans.core.program import Equation, Program, Variable
from functrans.core.trace import scopes
from functrans.core.types import ArrayType, type_of
from functrans.errors import at_user_line

if TYPE_CHECKING:
    from functrans.compile.run.execute import Executable

__all__: list[str] = []


class Kept:
    """Compiled programs by a key; the one that was not run for longest is dropped when there are too many."""

    def __init__(self, most: int) -> None:
        self.most, self.found, self.lock = most, OrderedDict[Hashable, Any](), Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is kept under a key, or made now."""
        with self.lock:
            if key in self.found:
                self.found.move_to_end(key)
                return self.found[key]
        made = make()
        with self.lock:
            made = self.found.setdefault(key, made)
            if len(self.found) > self.most:
                self.found.popitem(last=False)
        return made


by_body, by_content = Kept(256), Kept(256)


def perform(primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """The results of a loop or a branch by machine code; `NotImplemented` where NumPy has to be called in it, or it fails."""
    values, types = as_taken(operands)
    key = primitive, types, tuple(params.items())
    executable: Executable = by_body.get(key, lambda: executable_for(alone(primitive, types, params)))
    if not executable.is_native:
        return NotImplemented
    result = executable.run_natively(values)
    return result if result is NotImplemented else tuple(result)


def run(program: Program, operands: Sequence[Any]) -> list[Any]:
    """The results of a closed program, NumPy's calls among its operations."""
    executable: Executable | None = program.__dict__.get("_executable")  # for operands as its inputs are, in C order
    if executable is not None and executable.call is not None and not scopes:
        result = executable.call(*operands)
        if result is not NotImplemented:
            return [result] if len(program.outputs) == 1 else list(result)
    values, types = as_taken(operands)
    executable = by_body.get((program, types), lambda: executable_for(program))
    program.__dict__["_executable"] = executable
    return executable(values)


def as_taken(operands: Sequence[Any]) -> tuple[list[Any], tuple[ArrayType, ...]]:
    """Operands as compiled code takes them, and their types."""
    values = [np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)[()] for value in operands]
    return values, tuple(map(type_of, values))


def alone(primitive: Primitive, types: Sequence[ArrayType], params: dict[str, Any]) -> Program:
    """The program of one operation."""
    inputs = tuple(map(Variable, types))
    outputs = tuple(map(Variable, primitive.result_type(types, params)))
    return Program(primitive.name, inputs, (Equation(outputs, primitive, inputs, params),), outputs)


def executable_for(program: Program) -> Executable:
    """The compiled program."""
    from functrans.compile.store import disk

    arguments = arguments_of(program.inputs, [None] * len(program.inputs), [False] * len(program.inputs))
    key = disk.key_of(program, arguments)

    def make() -> Executable:
        return compiled(program, arguments, lambda: announce(program))

    return make() if key is None else by_content.get(key, make)


def announce(program: Program) -> None:
    """Log a compilation."""
    if settings.log_compiles:
        types = ", ".join(str(variable.array_type) for variable in program.inputs)
        logger.warning("compiling %s of (%s), called outside of jit%s", program.name, types, at_user_line())


evaluation.compiled, evaluation.compiled_program = perform, run
