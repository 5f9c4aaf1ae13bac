"""`while_loop` and the way back through it, in Python: the reference, and what runs where nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from functrans.control.bodies import strong_type
from functrans.control.evaluation import run
from functrans.control.schedules import Checkpoint, revolve, snapshots
from functrans.control.while_programs import loop_of, reverse_with
from functrans.core.program import Program
from functrans.errors import StepLimitError, at_user_line
from functrans.transforms.tape import zeros

__all__ = ["interpret", "interpret_pullback", "states", "too_many_steps"]


def interpret(*operands: Any, max_steps: int | None, checkpoint: Checkpoint, **programs: Any) -> tuple[Any, ...]:
    """The loop in Python."""
    loop = loop_of(**programs)
    own, consts, carries = loop.parts(operands)
    for state in states(loop.cond, loop.body, own, consts, carries, max_steps):
        carries = state
    return tuple(carries)


def states(
    cond: Program, body: Program, own: Sequence[Any], consts: Sequence[Any], carries: Sequence[Any], max_steps: int | None
) -> Iterator[Sequence[Any]]:
    """The carries before each step, then the final ones."""
    steps = 0
    yield carries
    while run(cond, [*own, *carries])[0]:
        if steps == max_steps:
            raise too_many_steps(body.name, max_steps)
        carries = run(body, [*consts, *carries])
        steps += 1
        yield carries


def too_many_steps(body: str, max_steps: int) -> StepLimitError:
    """The error of a loop that would go on."""
    return StepLimitError(
        f"while_loop of {body}: the condition still holds after max_steps={max_steps} steps"
        f"\n  Remedy: let the loop end earlier, or allow it more steps.{at_user_line()}"
    )


def interpret_pullback(*operands: Any, max_steps: int | None, checkpoint: Checkpoint, **params: Any) -> tuple[Any, ...]:
    """The way back in Python."""
    made = reverse_with(**params)
    own, consts, carries, cts = made.parts(operands)
    count = len(made.back.outputs) - len(cts)
    sums = [zeros(strong_type(atom.array_type)) for atom in made.back.outputs[:count]]

    def visited(carries: Sequence[Any]) -> Iterator[Sequence[Any]]:
        return states(made.cond, made.sweep, own, consts, carries, max_steps)

    with np.errstate(all="ignore"):
        for state in backwards(visited, lambda state: run(made.sweep, [*consts, *state]), carries, checkpoint):
            found = run(made.back, [*consts, *state, *cts])
            sums, cts = [total + part for total, part in zip(sums, found)], found[count:]
    return (*sums, *cts)


def backwards(
    visited: Callable[[Any], Iterator[Any]], step: Callable[[Any], Any], first: Any, checkpoint: Checkpoint
) -> Iterator[Any]:
    """The carries before each step, from the last step to the first."""
    if checkpoint is None:
        kept = list(visited(first))[:-1]
        while kept:
            yield kept.pop()
        return
    steps = sum(1 for _ in visited(first)) - 1
    state, stack = first, []
    for kind, start, *stop in revolve(steps, snapshots(checkpoint, steps)):
        if kind == "save":
            stack.append(state)
        elif kind == "advance":
            for _ in range(start, *stop):
                state = step(state)
        elif kind == "back":
            yield state
        elif kind == "restore":
            state = stack[-1]
        else:
            stack.pop()
