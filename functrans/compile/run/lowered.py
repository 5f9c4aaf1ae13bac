"""Looking inside: a program before it is compiled, and its kernels as text."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent
from typing import Any

from functrans import tree
from functrans.compile.arguments import Argument, layouts_of, with_captured
from functrans.compile.emit.assemble import assemble, planned, steps_of
from functrans.compile.emit.python_text import python_text
from functrans.compile.machine.tiles import Tiling
from functrans.compile.rewrite.simplify import simplify
from functrans.compile.run.compiled import Compiled
from functrans.compile.run.execute import Executable
from functrans.compile.run.interpreted import interpreted, values_of
from functrans.compile.schedule.overwriting import is_idle
from functrans.compile.schedule.steps import ControlCall, KernelCall, MatrixCall, ProductCall, Step, written_by
from functrans.control.branch import branch
from functrans.control.scan_loop import scan_loop
from functrans.control.while_loop import while_loop
from functrans.core.program import Program
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
        return tree.unflatten(program.output_structure, values_of(program.outputs, values))

    def __repr__(self) -> str:
        return f"<lowered {self.program.name}, {len(self.program.equations)} equations>"


def step_text(step: Step) -> str:
    """What a step does, for people."""
    if isinstance(step, KernelCall):
        return python_text(step.kernel)
    if isinstance(step, ControlCall):
        return control_text(step)
    if isinstance(step, ProductCall):
        library = "tiles" if Tiling(step.product).is_faster else "BLAS"
    else:
        library = "LAPACK" if isinstance(step, MatrixCall) else "Python" if step.equation.has_effect else "NumPy"
    types = ", ".join(str(atom.array_type) for atom in step.equation.inputs)
    return (
        f"# {library}: {step.equation.primitive.name}{types and ' of '}{types}  from {describe_origin(step.equation.origin)}\n"
    )



def control_text(call: ControlCall) -> str:
    """A loop or a branch, for people, with the kernels of its bodies."""
    equation = call.equation
    params, types = equation.params, ", ".join(str(variable.array_type) for variable in equation.outputs)
    bodies = list(call.bodies)
    if equation.primitive is branch:
        heads = [f"case {number}:" for number in range(len(bodies))]
    elif equation.primitive is scan_loop:
        heads = [f"for i in {'reversed(' * params['reverse']}range({params['length']}){')' * params['reverse']}:"]
    elif equation.primitive is while_loop:
        heads, bodies = ["while:", "do:"], bodies[::-1]
    else:
        heads, bodies = ["while:", "do:", "then back:"], [*bodies[1:], bodies[0]]
    text = f"# {equation.primitive.name}: {types}  from {describe_origin(equation.origin)}\n"
    for head, body in zip(heads, bodies):
        inside = "\n".join(step_text(step) for step in body.plan.calls if not is_idle(step))
        text += f"{head}\n{indent(inside or 'pass', '    ')}\n"
    return text
