"""Machine code: LLVM IR optimised and compiled for this processor, through Numba's LLVM binding, llvmlite.

Numba's front end takes no part, and of LLVM's optimisations only the few that loops in lanes, with what is the
same in every round moved out of them, leave something to do: its own pipeline takes ten times as long.
"""

from __future__ import annotations

import os
from functools import cache
from threading import RLock
from typing import Any

from llvmlite import binding, ir

from functrans.compile.machine.signals import register_signals
from functrans.errors import UnsupportedError, at_user_line

__all__ = ["Library", "build", "converts_half", "lock", "processor", "vector_registers"]

# Held while LLVM is used, whose context is shared by the process.
lock = RLock()
# What llvmlite holds in each call of LLVM, also in those that drop what nobody refers to any more; not public.
_llvmlite_lock = getattr(binding.ffi.lib, "_lock", lock)


def _hold_all() -> None:
    """A forked child must not find them held by a thread that it does not have."""
    lock.acquire()
    _llvmlite_lock.__enter__()


def _release_all() -> None:
    _llvmlite_lock.__exit__(None, None, None)
    lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_release_all)


@cache
def processor() -> tuple[Any, str, str]:
    """The target, name and features of the processor this runs on."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    register_signals()
    return binding.Target.from_default_triple(), binding.get_host_cpu_name(), features


def converts_half() -> bool:
    """Whether instructions convert float16: those of x86 do since 2012."""
    target, _, features = processor()
    return not target.name.startswith("x86") or "+f16c" in features.split(",")


@cache
def vector_registers() -> tuple[int, int]:
    """The bytes of a vector register of this processor, and how many there are; of one not known here, what all have."""
    target, _, features = processor()
    if target.name.startswith("x86"):
        found = set(features.split(","))
        return (64, 32) if "+avx512f" in found else (32, 16) if "+avx" in found else (16, 16)
    return (16, 32) if target.name in ("aarch64", "arm64") else (16, 16)


def target_machine() -> Any:
    """A code generator for this processor: each engine owns one."""
    target, cpu, features = processor()
    return target.create_target_machine(cpu=cpu, features=features, opt=2, reloc="default", codemodel="jitdefault", jit=True)


class Library:
    """Compiled functions; they live as long as this object.

    Attributes:
        code: the object file.
    """

    def __init__(self, code: bytes, module: Any = None) -> None:
        self.code = code
        self._module = module
        self._engine: Any = None  # holds the code in memory once it is linked; owns a code generator

    def address(self, name: str) -> int:
        """Where a function is; what the code calls must be known to the linker."""
        with lock:
            if self._engine is None:
                engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target_machine())
                engine.add_object_file(binding.ObjectFileRef.from_data(self.code))
                engine.finalize_object()
                self._engine = engine
            return int(self._engine.get_function_address(name))

    def llvm(self) -> str:
        """The optimised LLVM IR."""
        return str(self.module())

    def asm(self) -> str:
        """The machine code, as text."""
        return str(target_machine().emit_assembly(self.module()))

    def module(self) -> Any:
        """What was compiled; raises if these functions were loaded."""
        if self._module is None:
            raise UnsupportedError(
                "a program from a file has no LLVM IR and no text of its machine code"
                f"\n  Remedy: look at it where it is compiled.{at_user_line()}"
            )
        return self._module


def build(module: ir.Module) -> Library:
    """The compiled functions of a module."""
    with lock:
        machine = target_machine()
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        parsed = binding.parse_assembly(str(module))
        passes = binding.create_new_module_pass_manager()
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
        passes.add_loop_rotate_pass()
        passes.run(parsed, binding.create_pass_builder(machine, binding.create_pipeline_tuning_options()))
        return Library(machine.emit_object(parsed), parsed)
