"""Native programs: machine code with a built-in function to call it, just compiled or from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from functrans.compile.blas import one_thread_each, routine
from functrans.compile.codegen import Library, load
from functrans.compile.entry import bind
from functrans.compile.threads import layer, threads
from functrans.config import settings
from functrans.core.types import ArrayType

__all__ = ["Description", "Native"]


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

    Args:
        types: of what it takes: the captured arrays, then the arguments.
        values: the captured arrays.

    Attributes:
        call: the quickest way to call it: of the arguments one by one, gives a result or a tuple of several, or
            `NotImplemented` for arguments of other types or in another memory layout.
    """

    def __init__(self, library: Library, description: Description, types: Sequence[ArrayType], values: Sequence[Any]) -> None:
        self.library, self.description, self.types, self.values = library, description, types, tuple(values)
        self.free: list[np.ndarray[Any, Any]] = []
        run = self.run = self.runner(bind(library.address("entry"), description.refers_to))
        self.call: Callable[..., Any] = partial(run, *values) if values else run

    @classmethod
    def from_code(cls, code: bytes, description: Description, types: Sequence[ArrayType], values: Sequence[Any]) -> Native:
        """The program of an object file."""
        for dtype in description.products:
            routine(np.dtype(dtype))
        if description.is_parallel:
            layer()
        return cls(load(code), description, types, values)

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
        return list(result) if isinstance(result, tuple) else [result]


def in_type(value: Any, type_: ArrayType) -> Any:
    """A value as an entry takes it: a C-contiguous array, or a scalar."""
    if type_.shape:
        return np.ascontiguousarray(value, type_.dtype)
    return float(value) if type_.weak else type_.dtype.type(value)
