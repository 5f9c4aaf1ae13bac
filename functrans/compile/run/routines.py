"""Routines that compiled programs call: BLAS's and LAPACK's, and our own, which are compiled once and kept on disk."""

from __future__ import annotations

from llvmlite import binding

from functrans.compile.machine import blas
from functrans.compile.machine.codegen import Library, lock
from functrans.compile.machine.tiles import ROUTINES, routine_code
from functrans.compile.store import disk
from functrans.config import settings

__all__ = ["is_from_library", "make_known"]

# Our routines that the linker knows: programs refer to their code.
OWN: dict[str, Library] = {}


def make_known(name: str) -> None:
    """Tell the linker where a routine is."""
    if is_from_library(name):
        blas.make_known(name)
    else:
        own_routine(name)


def is_from_library(name: str) -> bool:
    """Whether a routine is BLAS's or LAPACK's, which have threads of their own."""
    return name not in ROUTINES


def own_routine(name: str) -> None:
    """Compile a routine, or load it from disk, and tell the linker where it is, once in a process."""
    with lock:
        if name in OWN:
            return
        kept = disk.read(disk.key_of_routine(name)) if settings.disk_cache else None
        library = Library(kept[0]) if kept is not None else routine_code(name)
        if settings.disk_cache and kept is None:
            disk.write(disk.key_of_routine(name), library.code, None)
        binding.add_symbol(name, library.address(name))
        OWN[name] = library
