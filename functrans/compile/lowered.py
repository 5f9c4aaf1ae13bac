"""Looking inside: a program's kernels as text, its machine code, and what it costs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from functrans import tree
from functrans.compile.execute import Executable, step_text
from functrans.compile.loops import Combine, Compute, Load, Loop, Statement, Store
from functrans.compile.scalars import LIBRARY
from functrans.compile.simplify import simplify
from functrans.compile.steps import KernelCall, ProductCall, Step, read_by, steps, written_by
from functrans.core.program import Atom, Program, Variable
from functrans.errors import StructureError

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

    def __init__(self, program: Program) -> None:
        self.program = program

    def kernels(self) -> str:
        """The kernels as Python, each under the equations it computes and the user's lines; and calls of libraries."""
        return "\n".join(map(step_text, steps(simplify(self.program))))

    def compile(self) -> Compiled:
        """The machine code."""
        return Compiled(self.program)

    def __repr__(self) -> str:
        return f"<lowered {self.program.name}, {len(self.program.equations)} equations>"


@dataclass(frozen=True)
class MemoryAnalysis:
    """What a compiled program holds, in bytes.

    Attributes:
        arguments, results: the arrays that go in and come out.
        workspace: what is between, shared by values that are not alive together.
        per_thread: what each thread needs beside it.
    """

    arguments: int
    results: int
    workspace: int
    per_thread: int


@dataclass(frozen=True)
class CostAnalysis:
    """What a call of a compiled program does.

    Attributes:
        flops: additions, multiplications and the like.
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
    """A compiled program: call it with arguments of the structure and types it was lowered for."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._executable = Executable(simplify(program))

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        leaves, structure = tree.flatten((args, keywords))
        if structure != self.program.input_structure:
            raise StructureError(
                f"compiled {self.program.name}: was lowered for arguments {self.program.input_structure}, got {structure}"
                "\n  Remedy: lower it again for these arguments."
            )
        for leaf, variable in zip(leaves, self.program.inputs):
            shape, dtype = np.shape(leaf), np.asarray(leaf).dtype
            if (shape, dtype) != (variable.array_type.shape, variable.array_type.dtype):
                raise StructureError(
                    f"compiled {self.program.name}: was lowered for {variable.array_type}, got {dtype.name}{list(shape)}"
                    "\n  Remedy: lower it again for these arguments, or call what jit returns, which does."
                )
        return tree.unflatten(self.program.output_structure, self._executable(leaves))

    def llvm(self) -> str:
        """The optimised LLVM IR; empty if nothing was left to compile."""
        return self._executable.library.llvm() if self._executable.library else ""

    def asm(self) -> str:
        """The machine code as text; empty if nothing was left to compile."""
        return self._executable.library.asm() if self._executable.library else ""

    def memory_analysis(self) -> MemoryAnalysis:
        """What it holds while it runs."""
        executable = self._executable
        arguments = bytes_of((*self.program.inputs, *self.program.captured))
        return MemoryAnalysis(arguments, bytes_of(self.program.outputs), executable.plan.size, executable.scratch)

    def cost_analysis(self) -> CostAnalysis:
        """What a call does; the first analysis of a process measures the machine, which takes some tenths of a second."""
        flops = transcendentals = moved = 0
        for step in self._executable.steps:
            counted = operations_of(step)
            flops, transcendentals = flops + counted[0], transcendentals + counted[1]
            moved += bytes_of((*read_by(step), *written_by(step)))
        flops_rate, bytes_rate = machine_rates()
        seconds = max((flops + 20 * transcendentals) / flops_rate, moved / bytes_rate)
        return CostAnalysis(flops, transcendentals, moved, seconds)


def bytes_of(atoms: Iterable[Atom]) -> int:
    """The memory of the distinct arrays among atoms."""
    found = {atom for atom in atoms if isinstance(atom, Variable)}
    return sum(math.prod(v.array_type.shape) * v.array_type.dtype.itemsize for v in found)


def operations_of(step: Step) -> tuple[int, int]:
    """The arithmetic operations and the transcendental functions of a step; of NumPy's calls none are known."""
    if isinstance(step, ProductCall):
        product = step.product
        return 2 * product.batch * product.rows * product.summed * product.columns, 0
    return counted(step.kernel.body) if isinstance(step, KernelCall) else (0, 0)


def counted(body: Iterable[Statement]) -> tuple[int, int]:
    """The arithmetic operations and the transcendental functions of statements."""
    flops = transcendentals = 0
    for statement in body:
        match statement:
            case Compute(_, operation, _) if operation in LIBRARY:
                transcendentals += 1
            case Compute(_, operation, _):
                flops += 2 if operation == "multiply_add" else 1
            case Combine():
                flops += 1
            case Loop(index, inner):
                rounds = index.extent if statement.rounds is None else rounds_of(statement)
                inside = counted(inner)
                flops, transcendentals = flops + rounds * inside[0], transcendentals + rounds * inside[1]
            case Load() | Store():
                pass
    return flops, transcendentals


def rounds_of(loop: Loop) -> int:
    """How many rounds a loop over a range has, where the range is longest."""
    assert loop.rounds is not None
    return min(loop.rounds[1].constant - loop.rounds[0].constant, loop.index.extent)


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
