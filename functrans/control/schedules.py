"""Schedules: in which order a loop is run again and gone back through, so that few of its states are kept at a time.

Going back through a loop needs the state before each step, last step first. With room for all of them each step is run
once more; with less room, states are found again by running on from the last one kept. `revolve` does so with the
least number of steps there can be. It is a list of actions, and knows nothing of what a state or a step is.

Invariant: the states that are kept are a stack, in the order of their steps; the first one is the initial state.

Source: Griewank and Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26 (2000).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, isqrt
from typing import Any

from functrans.errors import at_user_line

__all__ = ["Checkpoint", "advances", "checked_checkpoint", "revolve", "snapshots", "split"]

# How many states are kept: that many, or a rule that says it for the number of steps.
Checkpoint = int | str | None
RULES = ("sqrt", "recursive")


def checked_checkpoint(loop: str, checkpoint: Any) -> Checkpoint:
    """`checkpoint` as a loop takes it; raises ValueError, naming the loop, for what is none."""
    if checkpoint is None or (isinstance(checkpoint, str) and checkpoint in RULES):
        return checkpoint
    if isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint > 0:
        return checkpoint
    raise ValueError(
        f"{loop}: checkpoint is {checkpoint!r}, and must be the number of states to keep, 'sqrt' or 'recursive'"
        f"\n  Remedy: leave it out to keep every step's state, the fastest way back.{at_user_line()}"
    )


def snapshots(checkpoint: Checkpoint, steps: int) -> int:
    """How many states are kept at a time on the way back through `steps` steps.

    All for None; about ``sqrt(2 * steps)`` for ``"sqrt"``, enough that no step is run more than twice beside the one with
    its derivative; about ``log2(steps)`` for ``"recursive"``, where that is at most ``log2(steps) / 2`` times.

    Example:
        >>> [snapshots(checkpoint, 1000) for checkpoint in (None, "sqrt", "recursive", 5)]
        [1000, 45, 10, 5]
    """
    if checkpoint is None:
        return max(steps, 1)
    if checkpoint == "sqrt":
        return isqrt(2 * steps) + 1
    if checkpoint == "recursive":
        return max(steps.bit_length(), 1)
    return int(checkpoint)


def revolve(steps: int, kept: int) -> Iterator[tuple[Any, ...]]:
    """The actions that go back through a loop of `steps` steps with at most `kept` states at a time.

    Yields:
        ``("save", step)``: put the current state, which is that before `step`, on the stack.
        ``("advance", start, stop)``: run the steps from `start` up to, but not including, `stop`.
        ``("back", step)``: go back through `step`; the current state is that before it.
        ``("restore", step)``: make the state on top of the stack, that before `step`, the current one.
        ``("drop", step)``: take that state from the stack.
        Those before the first ``"back"`` run the loop forward, from the initial state to the last step.

    Example:
        >>> for action in revolve(3, 2):
        ...     print(*action)
        save 0
        advance 0 1
        save 1
        advance 1 2
        back 2
        restore 1
        back 1
        drop 1
        restore 0
        back 0
        drop 0
    """
    stack: list[int] = []
    for step in reversed(range(steps)):
        if stack:
            position = stack[-1]
            yield "restore", position
        else:
            position = 0
            stack.append(position)
            yield "save", position
        while position < step and len(stack) < kept:
            distance = split(step + 1 - position, kept + 1 - len(stack))
            yield "advance", position, position + distance
            position += distance
            stack.append(position)
            yield "save", position
        if position < step:
            yield "advance", position, step
        yield "back", step
        if stack[-1] == step:
            yield "drop", stack.pop()


def split(steps: int, kept: int) -> int:
    """How far to run before the next state is kept: of `steps` steps, with room for `kept` >= 2 states, the first included.

    With `kept` states and no step run more than `repeats` times, ``comb(kept + repeats, kept)`` steps can be gone back
    through; both parts must fit such numbers, the second with one state less, the first with one repetition less.
    """
    repeats = 1
    while comb(kept + repeats, kept) < steps:
        repeats += 1
    return max(1, min(comb(kept + repeats - 1, kept), steps - comb(kept + repeats - 2, kept - 1)))


def advances(steps: int, kept: int) -> int:
    """How many steps `revolve` runs, beside the one with its derivative for each: the least possible.

    Example:
        >>> advances(1000, 1000), advances(1000, 45), advances(1000, 10)
        (999, 1953, 3636)
    """
    repeats = 0
    while comb(kept + repeats, kept) < steps:
        repeats += 1
    return repeats * steps - comb(kept + repeats, kept + 1)
