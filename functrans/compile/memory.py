"""The memory plan: where in one workspace each intermediate value lives.

A value lives from the step that stores it to the last that reads it; values whose lives do not meet may
share memory. Invariant: addresses are multiples of `ALIGNMENT` bytes, a cache line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from functrans.compile.steps import Step, read_by, written_by
from functrans.core.program import Variable

__all__ = ["Plan", "plan"]

ALIGNMENT = 64


@dataclass(frozen=True)
class Plan:
    """Offsets in the workspace, and its size, in bytes."""

    offsets: dict[Variable, int]
    size: int


def bytes_of(variable: Variable) -> int:
    """The memory of a value, in whole cache lines."""
    return -(-variable.array_type.nbytes // ALIGNMENT) * ALIGNMENT


def plan(steps: Sequence[Step], variables: Iterable[Variable]) -> Plan:
    """A place for each of `variables`, all of which are written and read by kernels of `steps`.

    Each takes the lowest gap it fits in among the values alive with it (first fit; Gergov 1999 bounds the loss).
    """
    first: dict[Variable, int] = {}
    last: dict[Variable, int] = {}
    planned = set(variables)
    for number, step in enumerate(steps):
        for variable in (*written_by(step), *read_by(step)):
            if variable in planned:
                first.setdefault(variable, number)
                last[variable] = number
    offsets: dict[Variable, int] = {}
    size = 0
    for variable in sorted(first, key=lambda item: first[item]):
        alive = sorted(
            (offsets[other], offsets[other] + bytes_of(other))
            for other in offsets
            if first[other] <= last[variable] and last[other] >= first[variable]
        )
        place = 0
        for start, stop in alive:
            if place + bytes_of(variable) <= start:
                break
            place = max(place, stop)
        offsets[variable] = place
        size = max(size, place + bytes_of(variable))
    return Plan(offsets, size)
