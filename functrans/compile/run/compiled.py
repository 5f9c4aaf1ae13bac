"""Compiled functions: called, looked at and saved; what they hold and what they cost.

Made by ``jit(f).lower(*args).compile()`` and by `ft.load`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from functrans import tree
from functrans.compile.run import saved
from functrans.compile.run.execute import Executable
from functrans.core.program import Atom, Program, Variable
from functrans.core.trace import Evaluation, TracedValue, current, scopes
from functrans.core.tracer import operand
from functrans.core.types import type_of
from functrans.errors import StructureError

__all__ = ["Compiled", "CostAnalysis", "MemoryAnalysis"]


@dataclass(frozen=True)
class MemoryAnalysis:
    """What a compiled program holds, in bytes.

    Attributes:
        arguments, results: the arrays that go in and come out.
        workspace: what native code keeps between its steps, shared by values that are not alive together.
        per_thread: what each thread needs beside it.
        between: what native code and NumPy's calls hand each other, at the most at once.
        donated: of the results, those that take over the memory of donated arguments.
    """

    arguments: int
    results: int
    workspace: int
    per_thread: int
    between: int
    donated: int


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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, from which `ft.load` makes it again in another process, without the function it came from.

        Args:
            path: of the file, which is replaced if there is one. Captured arrays are kept as they are now.

        Raises:
            UnsupportedError: the arguments or the result hold other containers than dicts, lists and tuples, or the
                function closes over a value of an enclosing transform.
            OSError: the file cannot be written.
        """
        saved.write(path, self._executable)

    def llvm(self) -> str:
        """The optimised LLVM IR."""
        return self._executable.library.llvm()

    def asm(self) -> str:
        """The machine code as text."""
        return self._executable.library.asm()

    def memory_analysis(self) -> MemoryAnalysis:
        """What it holds while it runs."""
        description = self._executable.description
        arguments, results = bytes_of((*self.program.inputs, *self.program.captured)), bytes_of(self.program.outputs)
        costs = description.costs
        return MemoryAnalysis(arguments, results, description.workspace, description.scratch, costs.between, costs.donated)

    def cost_analysis(self) -> CostAnalysis:
        """What a call does; the first analysis of a process measures the machine, which takes some tenths of a second."""
        costs = self._executable.description.costs
        flops_rate, bytes_rate = machine_rates()
        seconds = max((costs.flops + 20 * costs.transcendentals) / flops_rate, costs.moved / bytes_rate)
        return CostAnalysis(costs.flops, costs.transcendentals, costs.moved, seconds)


def bytes_of(atoms: Iterable[Atom]) -> int:
    """The memory of the distinct arrays among atoms."""
    return sum(variable.array_type.nbytes for variable in {atom for atom in atoms if isinstance(atom, Variable)})


@cache
def machine_rates() -> tuple[float, float]:
    """Operations and bytes per second of this machine, by a matrix product and by a copy."""
    square, large = np.ones((768, 768)), np.ones(8_000_000)
    copied = np.empty_like(large)

    def fastest(call: Callable[[], Any]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    product = fastest(lambda: square @ square)
    copy = fastest(lambda: np.copyto(copied, large))
    return 2 * 768**3 / product, 2 * large.nbytes / copy
