"""Looking inside: a program before it is compiled, and its kernels as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.compile.arguments import Argument, Layouts, layouts_of, memory_of, with_captured
from functrans.compile.emit.assemble import assemble, planned, steps_of
from functrans.compile.emit.python_text import python_text, run
from functrans.compile.rewrite.simplify import simplify
from functrans.compile.run.compiled import Compiled
from functrans.compile.run.execute import Executable
from functrans.compile.schedule.overwriting import is_idle
from functrans.compile.schedule.steps import KernelCall, MatrixCall, ProductCall, Step, written_by
from functrans.core.program import Literal, Program
from functrans.errors import describe_origin

__all__ = ["Lowered"]


class Lowered:
    """A staged function before it is compiled; made by ``jit(f).lower(*args)``.

    Attributes:
        program: its equations.

    Example:
        >>> import numpy as np, functrans as ft
        >>> lowered = ft.jit(lambda x: np.sum(x * x)).lower(np.ones(4))
        >>> print(lowered.kernels().split("def ")[1])
        kernel0(x0, y0):
            v0 = 0.0
            for i in range(4):  # in lanes
                v1 = x0[i]
                v2 = v1 * v1
                v3 = v0 + v2
                v0 = v3
            y0[0] = v0
        <BLANKLINE>
        >>> float(lowered.compile()(np.arange(4.0)))
        14.0
    """

    def __init__(self, program: Program, inputs: Sequence[Argument]) -> None:
        self.program = program
        self._inputs = inputs

    def kernels(self) -> str:
        """The kernels as Python, each under the equations it computes and the user's lines; and calls of libraries."""
        program = simplify(self.program)
        found = steps_of(planned(program, with_captured(program, self._inputs)))
        return "\n".join(step_text(step) for step in found if not is_idle(step))

    def compile(self) -> Compiled:
        """The machine code."""
        program = simplify(self.program)
        arguments = with_captured(program, self._inputs)
        return Compiled(self.program, Executable(*assemble(program, arguments), program, arguments))

    def interpret(self, *args: Any, **keywords: Any) -> Any:
        """The result by the text of the kernels, run as Python: slow, and for looking into."""
        program = simplify(self.program)
        leaves = tree.leaves((args, keywords))
        values: dict[Any, Any] = dict(zip((*program.captured, *program.inputs), (*program.values, *leaves)))
        arguments = with_captured(program, self._inputs)
        layouts = layouts_of(program, arguments)
        for step in steps_of(planned(program, arguments)):
            values.update(zip(written_by(step), interpreted(step, values, layouts)))
        results = [atom.value if isinstance(atom, Literal) else values[atom] for atom in program.outputs]
        return tree.unflatten(program.output_structure, results)

    def __repr__(self) -> str:
        return f"<lowered {self.program.name}, {len(self.program.equations)} equations>"


def step_text(step: Step) -> str:
    """What a step does, for people."""
    if isinstance(step, KernelCall):
        return python_text(step.kernel)
    library = {ProductCall: "BLAS", MatrixCall: "LAPACK"}.get(type(step), "Python" if step.equation.has_effect else "NumPy")
    types = ", ".join(str(atom.array_type) for atom in step.equation.inputs)
    return (
        f"# {library}: {step.equation.primitive.name}{types and ' of '}{types}  from {describe_origin(step.equation.origin)}\n"
    )


def interpreted(step: Step, values: dict[Any, Any], layouts: Layouts) -> Sequence[Any]:
    """What a step writes, computed in Python; into what an earlier step has made of it, if one has."""
    if isinstance(step, KernelCall):
        types = [variable.array_type for variable in written_by(step)]
        arrays = [values[v] if v in values else np.empty(v.array_type.shape, v.array_type.dtype) for v in step.outputs]
        inputs = [memory_of(values[v]) if v in layouts else np.ravel(values[v]) for v in step.inputs]
        for source in step.updates.values():
            inputs[step.inputs.index(source)] = inputs[step.inputs.index(source)].copy()
        run(step.kernel, *inputs, *(array.reshape(-1) for array in arrays))
        arrays += [inputs[step.inputs.index(v)].reshape(t.shape) for v, t in zip(step.updates.values(), types[len(arrays) :])]
        return [array if t.shape else array.item() if t.weak else array[()] for t, array in zip(types, arrays)]
    equation = step.equation
    operands = [atom.value if isinstance(atom, Literal) else values[atom] for atom in equation.inputs]
    with np.errstate(all="ignore"):
        result = equation.primitive.evaluate(*operands, **equation.params)
    return result if equation.primitive.multiple else [result]
