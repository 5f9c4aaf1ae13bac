"""Running compiled programs: stretches of kernels in native code, with NumPy's calls between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.codegen import Library, build
from functrans.compile.fuse import HostCall, KernelCall, Step, steps
from functrans.compile.llvm import WORD, emit_kernel
from functrans.compile.loops import check
from functrans.compile.python_text import python_text, run
from functrans.config import settings
from functrans.core.program import Atom, Equation, Literal, Program, Variable
from functrans.core.trace import NUMPY_ERRORS, explain

__all__ = ["Executable"]


class Stretch:
    """Kernels that run one after the other in one native call.

    Attributes:
        variables: whose arrays' addresses fill the table, in order.
    """

    def __init__(self, calls: Sequence[KernelCall]) -> None:
        self.calls = list(calls)
        self.variables: list[Variable] = list(dict.fromkeys(v for call in calls for v in (*call.inputs, *call.outputs)))
        self.library: Library = build(stretch_module(calls, self.variables))
        self.written = [variable for call in calls for variable in written_by(call)]


def stretch_module(calls: Sequence[KernelCall], variables: Sequence[Variable]) -> ir.Module:
    """The kernels, and ``entry``, which calls them with pointers of a table."""
    module = ir.Module("functrans")
    byte_pointer = ir.IntType(8).as_pointer()
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [byte_pointer.as_pointer()]), "entry")
    b = ir.IRBuilder(entry.append_basic_block())
    place = {variable: number for number, variable in enumerate(variables)}
    for call in calls:
        kernel = emit_kernel(module, check(call.kernel) if settings.check_programs else call.kernel)
        pointers = [b.load(b.gep(entry.args[0], [WORD(place[variable])])) for variable in (*call.inputs, *call.outputs)]
        b.call(kernel, [b.bitcast(pointer, argument.type) for pointer, argument in zip(pointers, kernel.args)])
    b.ret_void()
    return module


class Executable:
    """A compiled program: a function of the flat arguments.

    Each value has a slot, in a list that is made anew for each call, so that threads may call at once.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps: list[Step] = steps(program)
        variables = [*program.captured, *program.inputs, *(v for step in self.steps for v in written_by(step))]
        self.slots = {variable: slot for slot, variable in enumerate(variables)}
        self.parts: list[Stretch | HostCall] = []
        waiting: list[KernelCall] = []
        for step in [*self.steps, None]:
            if isinstance(step, KernelCall):
                waiting.append(step)
                continue
            if waiting:
                self.parts.append(Stretch(waiting))
                waiting = []
            if step is not None:
                self.parts.append(step)
        self.freed = self.last_uses()

    def last_uses(self) -> list[list[int]]:
        """For each part, the slots nothing after it reads."""
        kept = {*self.program.outputs, *self.program.inputs, *self.program.captured}
        freed: list[list[int]] = []
        for part in reversed(self.parts):
            touched = part.variables if isinstance(part, Stretch) else [*part.equation.inputs, *part.equation.outputs]
            ending = [atom for atom in dict.fromkeys(touched) if isinstance(atom, Variable) and atom not in kept]
            kept.update(ending)
            freed.append([self.slots[variable] for variable in ending])
        return freed[::-1]

    def kernels(self) -> str:
        """The text of every kernel, and what NumPy is called for."""
        return "\n".join(
            python_text(step.kernel) if isinstance(step, KernelCall) else f"# NumPy: {step.equation.primitive.name}\n"
            for step in self.steps
        )

    def __call__(self, leaves: Sequence[Any], *, interpret: bool = False) -> list[Any]:
        """The flat results; with `interpret` from the text of the kernels, run as Python."""
        values: list[Any] = [*self.program.values, *leaves]
        values += [None] * (len(self.slots) - len(values))
        for part, freed in zip(self.parts, self.freed):
            if isinstance(part, Stretch):
                self.run_stretch(part, values, interpret)
            else:
                self.run_host_call(part.equation, values)
            for slot in freed:
                values[slot] = None
        return [self.delivered(atom, values) for atom in self.program.outputs]

    def run_stretch(self, stretch: Stretch, values: list[Any], interpret: bool) -> None:
        """Run kernels on the arrays of their variables; results get new arrays."""
        for variable in stretch.written:
            values[self.slots[variable]] = np.empty(variable.array_type.shape, variable.array_type.dtype)
        held = [native(values[self.slots[variable]], variable) for variable in stretch.variables]
        if interpret:
            arrays = dict(zip(stretch.variables, held))
            for call in stretch.calls:
                run(call.kernel, *(arrays[variable].reshape(-1) for variable in (*call.inputs, *call.outputs)))
            return
        table = np.array([array.ctypes.data for array in held], np.uintp)
        stretch.library.entry(table.ctypes.data)

    def run_host_call(self, equation: Equation, values: list[Any]) -> None:
        """Evaluate one equation with NumPy."""
        operands = [atom.value if isinstance(atom, Literal) else values[self.slots[atom]] for atom in equation.inputs]
        with np.errstate(all="ignore"):
            try:
                result = equation.primitive.evaluate(*operands, **equation.params)
            except NUMPY_ERRORS as error:
                explain(error, equation.primitive, operands)
                raise
        for variable, value in zip(equation.outputs, result if equation.primitive.multiple else (result,)):
            values[self.slots[variable]] = value

    def delivered(self, atom: Atom, values: list[Any]) -> Any:
        """A result as NumPy would give it: an array of its own, a scalar if 0-d, a Python scalar if weak."""
        if isinstance(atom, Literal):
            return atom.value
        value = values[self.slots[atom]]
        if not isinstance(value, np.ndarray):
            return value
        if value.ndim == 0:
            return value.item() if atom.array_type.weak else value[()]
        owned = value.base is None or atom in self.program.inputs
        return value if owned else value.copy()


def written_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step defines."""
    return step.outputs if isinstance(step, KernelCall) else step.equation.outputs


def native(value: Any, variable: Variable) -> np.ndarray[Any, Any]:
    """A C-contiguous array of the variable's type."""
    return np.ascontiguousarray(value, variable.array_type.dtype)
