"""Machine code through Numba's code generator.

Numba supplies the target machine, the optimisation passes and the symbols of its run time; its Python
front end takes no part. None of this is Numba's public interface, so all of it is here, and tested for
each Numba version.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

from llvmlite import ir

__all__ = ["Library", "build"]

_numbers = itertools.count()


class Library:
    """Compiled functions; they live as long as this object."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def function(self, name: str) -> Callable[[Any], None]:
        """A function of the address of a table of pointers; a call releases the GIL."""
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address(name))

    def address(self, name: str) -> int:
        """Where a function is."""
        return int(self._library.get_pointer_to_function(name))

    def llvm(self) -> str:
        """The optimised LLVM IR."""
        return str(self._library.get_llvm_str())

    def asm(self) -> str:
        """The machine code, as text."""
        return str(self._library.get_asm_str())


def build(module: ir.Module) -> Library:
    """The compiled functions of a module."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    with global_compiler_lock:
        library = cpu_target.target_context.codegen().create_library(f"functrans{next(_numbers)}")
        library.add_ir_module(module)
        library.finalize()
    return Library(library)
