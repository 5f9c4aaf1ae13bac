"""Native programs: machine code with a built-in function to call it, just compiled or from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np

from functrans.compile.blas import one_thread_each, routine
from functrans.compile.codegen import Library, load
from functrans.compile.entry import bind
from functrans.compile.threads import layer, threads
from functrans.config import settings
from functrans.core.program import Program
from functrans.core.trace import Evaluation, running
from functrans.core.types import ArrayType

__all__ = ["JIT", "Description", "Native", "raise_again"]

# What compiled code's errors say raised them.
JIT = Evaluation("jit")


@dataclass(frozen=True)
class Description:
    """What is to be known of machine code to run it.

    Attributes:
        refers_to: what its entry finds in its table, by name.
        products: the dtypes of the BLAS routines it calls.
        workspace, scratch: bytes for each call, and beside it for each thread.
        stacked: whether the workspace is on the stack.
        is_parallel: whether loops or products are divided among threads.
    """

    refers_to: tuple[str, ...]
    products: tuple[str, ...]
    workspace: int
    scratch: int
    stacked: bool
    is_parallel: bool


class Native:
    """A program in machine code: a function of the flat arguments.

    Attributes:
        call: the quickest way to call it: of the arguments one by one, gives a result or a tuple of several, or
            `NotImplemented` for arguments of other types or in another memory layout, or where an operation fails.
    """

    def __init__(self, library: Library, description: Description, program: Program) -> None:
        self.library, self.description, self.program, self.values = library, description, program, program.values
        self.types = [variable.array_type for variable in (*program.captured, *program.inputs)]
        self.free: list[np.ndarray[Any, Any]] = []
        run = self.run = self.runner(bind(library.address("entry"), description.refers_to))
        self.call: Callable[..., Any] = partial(run, *self.values) if self.values else run

    @classmethod
    def from_code(cls, code: bytes, description: Description, program: Program) -> Native:
        """The program of an object file."""
        for dtype in description.products:
            routine(np.dtype(dtype))
        if description.is_parallel:
            layer()
        return cls(load(code), description, program)

    def runner(self, entry: Callable[..., Any]) -> Callable[..., Any]:
        """The entry with the memory and the threads it needs."""
        description = self.description
        if description.stacked:
            return entry

        def run(*values: Any) -> Any:
            workspace = self.workspace()
            try:
                if not description.is_parallel:
                    return entry(*values, workspace)
                with one_thread_each() if description.products else nullcontext(), threads() as number:
                    return entry(*values, workspace, number)
            finally:
                self.free.append(workspace)

        return run

    def workspace(self) -> np.ndarray[Any, Any]:
        """Memory that no other call uses now; it is kept for later calls."""
        size = self.description.workspace + self.description.scratch * settings.threads
        try:
            kept = self.free.pop()
        except IndexError:
            return np.empty(size, np.uint8)
        return kept if kept.size >= size else np.empty(size, np.uint8)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        """The flat results, for arguments in any memory layout."""
        result = self.run(*map(in_type, (*self.values, *leaves), self.types))
        if result is NotImplemented:
            raise_again(self.program, leaves)
        return list(result) if isinstance(result, tuple) else [result]


def raise_again(program: Program, leaves: Sequence[Any]) -> NoReturn:
    """Raise NumPy's own error of the operation that failed, by evaluating its program one operation at a time."""
    with running(JIT):
        program.evaluate(leaves)
    raise IndexError(
        f"jit of {program.name}: an index was out of bounds in compiled code, but not when the same was evaluated by NumPy"
        "\n  Remedy: indices made of floating numbers may differ by rounding: round them before they are converted."
    )


def in_type(value: Any, type_: ArrayType) -> Any:
    """A value as an entry takes it: a C-contiguous array, or a scalar."""
    if type_.shape:
        return np.ascontiguousarray(value, type_.dtype)
    return float(value) if type_.weak else type_.dtype.type(value)
