"""Looking inside: a program's kernels as text, its machine code, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from functrans import tree
from functrans.compile.arguments import Argument, Layouts, layouts_of, memory_of, with_captured
from functrans.compile.assemble import assemble
from functrans.compile.costs import bytes_of
from functrans.compile.execute import Executable
from functrans.compile.python_text import python_text, run
from functrans.compile.simplify import simplify
from functrans.compile.steps import KernelCall, MatrixCall, ProductCall, Step, steps, written_by
from functrans.core.program import Literal, Program
from functrans.core.trace import Evaluation, TracedValue, current, scopes
from functrans.core.tracer import operand
from functrans.core.types import type_of
from functrans.errors import StructureError, describe_origin

__all__ = ["Compiled", "CostAnalysis", "Lowered", "MemoryAnalysis"]


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
        return "\n".join(map(step_text, steps(program, layouts_of(program, with_captured(program, self._inputs)))))

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
        layouts = layouts_of(program, with_captured(program, self._inputs))
        for step in steps(program, layouts):
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
        types = [variable.array_type for variable in step.outputs]
        arrays = [values[v] if v in values else np.empty(v.array_type.shape, v.array_type.dtype) for v in step.outputs]
        inputs = [memory_of(values[v]) if v in layouts else np.ravel(values[v]) for v in step.inputs]
        run(step.kernel, *inputs, *(array.reshape(-1) for array in arrays))
        return [array if t.shape else array.item() if t.weak else array[()] for t, array in zip(types, arrays)]
    equation = step.equation
    operands = [atom.value if isinstance(atom, Literal) else values[atom] for atom in equation.inputs]
    with np.errstate(all="ignore"):
        result = equation.primitive.evaluate(*operands, **equation.params)
    return result if equation.primitive.multiple else [result]


@dataclass(frozen=True)
class MemoryAnalysis:
    """What a compiled program holds, in bytes.

    Attributes:
        arguments, results: the arrays that go in and come out.
        workspace: what native code keeps between its steps, shared by values that are not alive together.
        per_thread: what each thread needs beside it.
        between: what native code and NumPy's calls hand each other, at the most at once.
    """

    arguments: int
    results: int
    workspace: int
    per_thread: int
    between: int


@dataclass(frozen=True)
class CostAnalysis:
    """What a call of a compiled program does.

    Attributes:
        flops: additions, multiplications and the like, but for those of NumPy's calls.
        transcendentals: calls of exp, sin and the like, each some twenty operations.
        bytes: what kernels and calls read and write, each array once for each of them.
        seconds: the time that takes at the least on this machine, at the rates of a matrix product and of a copy
            (Williams, Waterman and Patterson, Roofline, 2009).
    """

    flops: int
    transcendentals: int
    bytes: int
    seconds: float


class Compiled:
    """A compiled program: call it with arguments of the structure and types it was lowered for.

    Attributes:
        program: its equations.
    """

    def __init__(self, program: Program, executable: Executable) -> None:
        self.program = program
        self._executable = executable

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        leaves, structure = tree.flatten((args, keywords))
        if structure != self.program.input_structure:
            raise StructureError(
                f"compiled {self.program.name}: was lowered for arguments {self.program.input_structure}, got {structure}"
                "\n  Remedy: lower it again for these arguments."
            )
        for leaf, variable in zip(leaves, self.program.inputs):
            type_ = type_of(operand(leaf, "a compiled program"))
            if (type_.shape, type_.dtype) != (variable.array_type.shape, variable.array_type.dtype):
                raise StructureError(
                    f"compiled {self.program.name}: was lowered for {variable.array_type}, got {type_}"
                    "\n  Remedy: lower it again for these arguments, or call what jit returns, which does."
                )
        is_traced = any(isinstance(leaf, TracedValue) for leaf in leaves)
        is_inside = self._executable.has_effect and not isinstance(current.get(), Evaluation)
        results = self.program.evaluate(leaves) if is_traced or is_inside else self._executable(leaves)
        if scopes:
            current.get().look_at_run(self.program, leaves, results)
        return tree.unflatten(self.program.output_structure, results)

    def llvm(self) -> str:
        """The optimised LLVM IR."""
        return self._executable.library.llvm()

    def asm(self) -> str:
        """The machine code as text."""
        return self._executable.library.asm()

    def memory_analysis(self) -> MemoryAnalysis:
        """What it holds while it runs."""
        description = self._executable.description
        arguments = bytes_of((*self.program.inputs, *self.program.captured))
        return MemoryAnalysis(
            arguments, bytes_of(self.program.outputs), description.workspace, description.scratch, description.costs.between
        )

    def cost_analysis(self) -> CostAnalysis:
        """What a call does; the first analysis of a process measures the machine, which takes some tenths of a second."""
        costs = self._executable.description.costs
        flops_rate, bytes_rate = machine_rates()
        seconds = max((costs.flops + 20 * costs.transcendentals) / flops_rate, costs.moved / bytes_rate)
        return CostAnalysis(costs.flops, costs.transcendentals, costs.moved, seconds)


@cache
def machine_rates() -> tuple[float, float]:
    """Operations and bytes per second of this machine, by a matrix product and by a copy."""
    square, large = np.ones((768, 768)), np.ones(8_000_000)
    copied = np.empty_like(large)

    def fastest(call: Any) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    product = fastest(lambda: square @ square)
    copy = fastest(lambda: np.copyto(copied, large))
    return 2 * 768**3 / product, 2 * large.nbytes / copy
