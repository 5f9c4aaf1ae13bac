"""What steps do, counted: arithmetic and transcendental functions."""

from __future__ import annotations

from collections.abc import Iterable

from functrans.compile.emit.resources import work
from functrans.compile.loops import Combine, Compute, Loop, Statement
from functrans.compile.machine.vector_math import FUNCTIONS
from functrans.compile.schedule.steps import ControlCall, KernelCall, MatrixCall, ProductCall, Step
from functrans.control.branch import branch
from functrans.control.tape_loop import tape_loop
from functrans.control.while_loop import while_loop

__all__ = ["nanoseconds", "operations_of"]

# Nanoseconds a round of a loop takes beside what its body does, and those of a loop whose end is not known.
ROUND, ENDLESS = 10.0, 1e6


def operations_of(step: Step) -> tuple[int, int]:
    """The arithmetic operations and the transcendental functions of a step; of NumPy's calls none are known."""
    if isinstance(step, ProductCall):
        product = step.product
        return 2 * product.batch * product.rows * product.summed * product.columns, 0
    if isinstance(step, MatrixCall):
        return 2 * step.function.multiplications, 0
    if isinstance(step, ControlCall):
        inside = [map(sum, zip((0, 0), *map(operations_of, body.calls))) for body in step.bodies]
        rounds = step.equation.params.get("length", 1)
        flops, transcendentals = map(max if step.equation.primitive is branch else sum, zip(*inside))
        return rounds * flops, rounds * transcendentals
    return counted(step.kernel.body) if isinstance(step, KernelCall) else (0, 0)


def nanoseconds(calls: Iterable[Step]) -> float:
    """About how long calls take; a loop without end is as long as any."""
    total = 0.0
    for call in calls:
        if isinstance(call, KernelCall):
            total += work(call.kernel.body)
        elif not isinstance(call, ControlCall):
            total += operations_of(call)[0] / 40
        elif call.equation.primitive in (while_loop, tape_loop):
            total += ENDLESS
        else:
            total += call.equation.params.get("length", 1) * sum(ROUND + nanoseconds(body.calls) for body in call.bodies)
    return total


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
