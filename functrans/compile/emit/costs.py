"""What steps do, counted: arithmetic and transcendental functions."""

from __future__ import annotations

from collections.abc import Iterable

from functrans.compile.loops import Combine, Compute, Loop, Statement
from functrans.compile.machine.vector_math import FUNCTIONS
from functrans.compile.schedule.steps import KernelCall, MatrixCall, ProductCall, Step

__all__ = ["operations_of"]


def operations_of(step: Step) -> tuple[int, int]:
    """The arithmetic operations and the transcendental functions of a step; of NumPy's calls none are known."""
    if isinstance(step, ProductCall):
        product = step.product
        return 2 * product.batch * product.rows * product.summed * product.columns, 0
    if isinstance(step, MatrixCall):
        return 2 * step.function.multiplications, 0
    return counted(step.kernel.body) if isinstance(step, KernelCall) else (0, 0)


def counted(body: Iterable[Statement]) -> tuple[int, int]:
    """The arithmetic operations and the transcendental functions of statements."""
    flops = transcendentals = 0
    for statement in body:
        match statement:
            case Compute(_, operation, _) if operation in FUNCTIONS:
                transcendentals += 1
            case Compute(_, operation, _):
                flops += 2 if operation == "multiply_add" else 1
            case Combine():
                flops += 1
            case Loop(index, inner):
                rounds = index.extent if statement.rounds is None else rounds_of(statement)
                inside = counted(inner)
                flops, transcendentals = flops + rounds * inside[0], transcendentals + rounds * inside[1]
    return flops, transcendentals


def rounds_of(loop: Loop) -> int:
    """How many rounds a loop over a range has, where the range is longest."""
    assert loop.rounds is not None
    return min(loop.rounds[1].constant - loop.rounds[0].constant, loop.index.extent)
