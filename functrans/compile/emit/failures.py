"""Failures of compilation, as errors that say which equations are to blame.

What failed is found by compiling again, one equation and one kernel at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from llvmlite import ir

from functrans.compile.arguments import Argument, Layouts, layouts_of
from functrans.compile.emit.stretch import Stretch
from functrans.compile.machine.codegen import build
from functrans.compile.schedule.memory import plan
from functrans.compile.schedule.steps import HostCall, KernelCall, NativeCall, read_by, steps, written_by
from functrans.core.program import Equation, Program, Variable
from functrans.errors import CompilationError, at_user_line, describe_origin

__all__ = ["explained"]

# Characters of an error's text that are shown, since LLVM may quote whole functions, and equations of a program.
LONGEST, MOST_EQUATIONS = 300, 20
Candidate = TypeVar("Candidate")


def explained(program: Program, arguments: Sequence[Argument], error: Exception) -> CompilationError:
    """The error that names what of a program cannot be compiled."""
    layouts = layouts_of(program, arguments)
    equation = first_to_fail(program.equations, lambda equation: steps(alone(equation), layouts))
    if equation is not None:
        return compilation_error(program, equation.primitive.name, [line_of(equation)], error)
    call = first_to_fail(native_calls(program, layouts), lambda call: build_alone(call, layouts))
    if isinstance(call, KernelCall):
        return compilation_error(program, call.kernel.name, call.kernel.header, error)
    if call is not None:
        return compilation_error(program, call.equation.primitive.name, [line_of(call.equation)], error)
    return compilation_error(program, "the program", list(map(line_of, program.equations[:MOST_EQUATIONS])), error)


def compilation_error(program: Program, what: str, lines: Iterable[str], error: Exception) -> CompilationError:
    """The error for a part of a program, with a line for each of its equations."""
    text = str(error)
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    computed = "".join(f"\n    {line}" for line in lines)
    return CompilationError(
        f"jit of {program.name}: {what} could not be compiled: {type(error).__name__}: {shown}\n  it computes{computed}"
        "\n  This is a defect of functrans: please report it, with the text that jit(f).lower(...).kernels() gives."
        f"\n  Remedy: compute this outside of jit, or set ft.config.jit = False meanwhile.{at_user_line()}"
    )


def line_of(equation: Equation) -> str:
    """An equation for people, with the user's line."""
    types = ", ".join(str(variable.array_type) for variable in equation.outputs)
    return f"{equation.primitive.name}: {types}  from {describe_origin(equation.origin)}"


def first_to_fail(candidates: Sequence[Candidate], attempt: Callable[[Candidate], Any]) -> Candidate | None:
    """The first candidate for which an attempt raises; None if none does."""
    for candidate in candidates:
        try:
            attempt(candidate)
        except Exception:
            return candidate
    return None


def alone(equation: Equation) -> Program:
    """A program of one equation."""
    operands = dict.fromkeys(atom for atom in equation.inputs if isinstance(atom, Variable))
    return Program(equation.primitive.name, tuple(operands), (equation,), equation.outputs)


def native_calls(program: Program, layouts: Layouts) -> list[NativeCall]:
    """The native steps of a program; none if there is no telling."""
    try:
        return [step for step in steps(program, layouts) if not isinstance(step, HostCall)]
    except Exception:
        return []


def build_alone(call: NativeCall, layouts: Layouts) -> None:
    """Compile one step."""
    module = ir.Module("alone")
    Stretch(module, "run", {}, plan([call], list(dict.fromkeys(read_by(call))), list(written_by(call)), ()), layouts)
    build(module)
