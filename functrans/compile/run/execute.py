"""Running compiled programs: native parts, and NumPy's calls between them.

A program of one native part is called as what it is, a built-in function. Others are called by a Python function
of a line or two for each part, made for the program; what parts hand each other are its variables, dropped after
their last use. (Measured, with one call of NumPy: 0.4 us beside that call, where a loop over parts takes 1.4.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from mmap import mmap
from typing import Any

import numpy as np

from functrans.compile.arguments import Argument, check_apart, in_layout
from functrans.compile.emit.entry import NUMBERS, bind
from functrans.compile.emit.parts import Description, HostPart, NativePart, Part, freed_after
from functrans.compile.machine.blas import one_thread_each
from functrans.compile.machine.codegen import Library
from functrans.compile.machine.threads import layer, threads
from functrans.compile.run.routines import is_from_library, make_known
from functrans.core.primitive import Indexing, Structural
from functrans.core.program import Atom, Equation, Literal, Program, fail
from functrans.core.trace import NUMPY_ERRORS, Evaluation, current, running, scopes
from functrans.core.types import ArrayType
from functrans.errors import at_user_line
from functrans.ops import structure
from functrans.ops.effects import recorded

__all__ = ["Executable"]

# What compiled code's errors say raised them.
JIT = Evaluation("jit")


class Executable:
    """A compiled program: a function of the flat arguments.

    Attributes:
        call: the quickest way to call it: of the arguments one by one, gives a result or a tuple of several, or
            `NotImplemented` for arguments of other types or in another memory layout, where an operation fails, or if
            there are effects and a transform is under way. None if effects may have happened by then.
    """

    def __init__(self, library: Library, description: Description, program: Program, arguments: Sequence[Argument]) -> None:
        for name in description.routines:
            make_known(name)
        self.library, self.description, self.program, self.arguments = library, description, program, arguments
        self.has_effect = program.has_effect
        self.donates = any(argument.donated for argument in arguments)
        self.memory = Memory(description)
        self.run = self.joined()
        call: Callable[..., Any] = partial(self.run, *program.values) if program.values else self.run
        self.call = call if not self.has_effect else outside_transforms(call) if self.fails_first() else None

    @classmethod
    def from_code(cls, code: bytes, description: Description, program: Program, arguments: Sequence[Argument]) -> Executable:
        """The program of an object file."""
        if any(isinstance(part, NativePart) and part.is_parallel for part in description.parts):
            layer()
        return cls(Library(code), description, program, arguments)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        """The flat results, for arguments in any memory layout.

        Where an operation fails, NumPy raises its own error when the program is evaluated one operation at a time;
        effects that have happened by then do not happen again.
        """
        given = (*self.program.values, *leaves)
        values = list(map(as_taken, given, self.arguments))
        if self.donates:
            is_copied = any(value is not own for value, own in zip(given, values) if isinstance(value, np.ndarray))
            if is_copied or scopes:
                check_apart(given, self.arguments)  # native code does not see arrays that were copied for it
            if scopes:  # the program may be evaluated again, on the arrays as they are now
                values = [value.copy() if own.donated else value for value, own in zip(values, self.arguments)]
        with recorded() if self.has_effect else nullcontext() as record:
            result = self.run(*values)
        if result is NotImplemented:
            check_apart(given, self.arguments)
            with running(JIT), recorded(record.count if record else 0), np.errstate(all="ignore"):
                return self.program.evaluate(leaves)
        return self.listed(result)

    @property
    def is_native(self) -> bool:
        """Whether it does without calls of NumPy."""
        return not any(isinstance(part, HostPart) for part in self.description.parts)

    def run_natively(self, leaves: Sequence[Any]) -> Any:
        """The flat results for arguments in the memory layout it was compiled for; `NotImplemented` where an operation fails."""
        result = self.run(*self.program.values, *leaves)
        return result if result is NotImplemented else self.listed(result)

    def listed(self, result: Any) -> list[Any]:
        """What an entry gives as a list of results."""
        return [result] if len(self.program.outputs) == 1 else list(result)

    def fails_first(self) -> bool:
        """Whether no native part may fail once an effect has happened."""
        happened = False
        for part in self.description.parts:
            if isinstance(part, HostPart):
                happened = happened or self.program.equations[part.equation].has_effect
            elif happened and part.may_fail:
                return False
        return True

    def joined(self) -> Callable[..., Any]:
        """The function of the captured arrays and the arguments that runs all parts."""
        parts, results = self.description.parts, self.description.results
        if len(parts) == 1 and parts[0].writes == results:
            return self.function(parts[0])
        scope: dict[str, Any] = {"quiet": partial(np.errstate, all="ignore")}
        is_quiet = True
        for number, part in enumerate(parts):
            scope[f"part{number}"] = self.function(part)
            if isinstance(part, HostPart):
                equation = self.program.equations[part.equation]
                scope |= numbers(f"n{number}_", equation.inputs)
                is_quiet = is_quiet and is_silent(equation)
        scope |= numbers("r", self.program.outputs)
        text = "\n".join(lines(self.description, is_quiet))
        exec(compile(text, f"{__file__}: {self.program.name}", "exec"), scope)
        return scope["run"]  # type: ignore[no-any-return]

    def function(self, part: Part) -> Callable[..., Any]:
        """A part as a function of what it reads."""
        if isinstance(part, HostPart):
            return host_call(self.program.equations[part.equation], part.laid_out)
        entry = bind(self.library, part.entry, part.refers_to)
        return entry if part.stacked else self.with_workspace(part, entry)

    def with_workspace(self, part: NativePart, entry: Callable[..., Any]) -> Callable[..., Any]:
        """An entry with the memory and the threads it needs."""
        calls_library = any(map(is_from_library, self.description.routines))
        take, give = self.memory.take, self.memory.give
        if not part.is_parallel:

            def run_alone(*values: Any) -> Any:
                workspace = take(1)
                try:
                    return entry(*values, workspace)
                finally:
                    give(workspace)

            return run_alone

        def run(*values: Any) -> Any:
            with one_thread_each() if calls_library else nullcontext(), threads() as number:
                workspace = take(number)
                try:
                    return entry(*values, workspace, number)
                finally:
                    give(workspace)

        return run


class Memory:
    """The workspaces of a program: large allocations are used again.

    Attributes:
        free: those that no call uses now.
    """

    def __init__(self, description: Description) -> None:
        self.size, self.each = description.workspace, description.scratch
        self.free: list[np.ndarray[Any, Any]] = []
        self.give = self.free.append

    def take(self, number: int) -> np.ndarray[Any, Any]:
        """A workspace for a number of threads, which no other call uses until it is given back."""
        size = self.size + self.each * number
        try:
            kept = self.free.pop()
        except IndexError:
            return np.empty(size, np.uint8)
        return kept if kept.size >= size else np.empty(size, np.uint8)


def outside_transforms(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, but `NotImplemented` within a transform, which is to get the operations one by one."""

    def outside(*values: Any) -> Any:
        return call(*values) if isinstance(current.get(), Evaluation) else NotImplemented

    return outside


def is_silent(equation: Equation) -> bool:
    """Whether NumPy never warns of values: of operations that move elements, and of those with an effect."""
    moves = isinstance(equation.primitive, (Structural, Indexing)) and equation.primitive is not structure.convert
    return moves or equation.has_effect


def numbers(prefix: str, atoms: Sequence[Atom]) -> dict[str, Any]:
    """The numbers among operands or results, by the names they have in the function."""
    return {f"{prefix}{place}": atom.value for place, atom in enumerate(atoms) if isinstance(atom, Literal)}


def lines(description: Description, is_quiet: bool) -> Iterator[str]:
    """The function that runs all parts; ``x2`` is the value of slot 2."""
    parts, results = description.parts, description.results
    yield f"def run({', '.join(f'x{slot}' for slot in parts[0].reads)}):"
    indent = "    "
    for number, (part, freed) in enumerate(zip(parts, freed_after(parts, results))):
        for line in lines_of(part, number):
            yield indent + line
        if freed:
            yield f"{indent}del {', '.join(f'x{slot}' for slot in freed)}"
        if number == 0 and not is_quiet:
            yield f"{indent}with quiet():"
            indent += "    "
    yield f"{indent}return {listed('r', results) or '()'}"


def listed(prefix: str, slots: Sequence[int | None]) -> str:
    """The names of values, those of numbers with a prefix."""
    return ", ".join(f"{prefix}{place}" if slot is None else f"x{slot}" for place, slot in enumerate(slots))


def lines_of(part: Part, number: int) -> Iterator[str]:
    """The call of a part, which may give `NotImplemented`: the first for its arguments, others where they fail."""
    call = f"part{number}({listed(f'n{number}_', part.reads)})"
    targets = listed("", part.writes)
    if isinstance(part, HostPart) or number and not part.may_fail:
        yield f"{targets} = {call}" if targets else call
        return
    together = targets if len(part.writes) == 1 else "results"
    yield f"{together} = {call}"
    yield f"if {together} is NotImplemented:"
    yield "    return NotImplemented"
    if len(part.writes) > 1:
        yield f"{targets} = results"
        yield "del results"


def host_call(equation: Equation, laid_out: Sequence[bool]) -> Callable[..., Any]:
    """The function of an equation that NumPy evaluates."""
    primitive, params = equation.primitive, equation.params
    evaluate = primitive.evaluate
    types = [variable.array_type if own else None for variable, own in zip(equation.outputs, laid_out)]
    first = types[0] if types else None

    def call(*operands: Any) -> Any:
        try:
            result = evaluate(*operands, **params)
        except NUMPY_ERRORS as error:
            with running(JIT):
                fail(equation, operands, error)
        if primitive.multiple:
            results = [value if type_ is None else handed_on(value, type_, operands) for value, type_ in zip(result, types)]
            return results[0] if len(results) == 1 else results
        return result if first is None else handed_on(result, first, operands)

    return call


def handed_on(value: Any, type_: ArrayType, operands: Sequence[Any]) -> Any:
    """What NumPy made as native code takes it, and as the caller may keep it: C-contiguous, and in memory of its own."""
    if not type_.shape:
        return in_type(value, type_)
    is_own = (value.base is None or isinstance(value.base, mmap)) and not any(value is operand for operand in operands)
    return value if is_own and value.flags.c_contiguous else np.array(value, order="C")


def as_taken(value: Any, argument: Argument) -> Any:
    """A value as an entry takes it: an array in a layout, or a scalar."""
    return in_layout(value, argument) if argument.array_type.shape else in_type(value, argument.array_type)


def in_type(value: Any, type_: ArrayType) -> Any:
    """A number as an entry takes it."""
    dtype = np.dtype(type_.dtype.name)
    if not type_.weak:
        return dtype.type(value)
    number = NUMBERS[dtype.kind](value)
    if dtype.kind == "i" and not -(2**63) <= number < 2**63:
        raise OverflowError(
            f"jit: the integer {number} does not fit int64\n  Remedy: pass a float, or an array.{at_user_line()}"
        )
    return number
