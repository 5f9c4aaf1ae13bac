"""The memory plan of native calls: where each value lives, and which are written over others.

A value lives from the call that stores it to the last that reads it. Values whose lives do not meet may share
memory: that of the workspace, or of a result before it is written. A large value is written over one that its
kernel is the last to read, if it may be (see `overwriting`); a result over a donated argument, or into its memory
after that was read. Invariant: addresses are multiples of `ALIGNMENT` bytes, a cache line, from where memory begins.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from functrans.compile.rewrite.bodies import carries, first_carries
from functrans.compile.schedule.kernels import KernelCall
from functrans.compile.schedule.overwriting import may_write_over, written_over
from functrans.compile.schedule.steps import Body, ControlCall, NativeCall, read_by, written_by
from functrans.control.scan_loop import scan_loop
from functrans.core.program import Variable
from functrans.core.types import ArrayType

__all__ = ["ALIGNMENT", "Plan", "aligned", "apart", "plan"]

ALIGNMENT = 64
# Bytes from which on a value is worth a kernel that writes it over another, or a place in the memory of a result.
LARGE = 2**14


@dataclass(frozen=True)
class Plan:
    """Where the values of native calls live.

    Attributes:
        calls: in order; those that write over what they read are changed to do so.
        inputs, results: the values that have arrays of their own.
        homes: of each result that takes over the memory of an input, this input.
        places: of other values, the result whose memory they live in, or None for the workspace, and at which byte.
        size: the bytes of the workspace.
    """

    calls: list[NativeCall]
    inputs: Sequence[Variable]
    results: Sequence[Variable]
    homes: Mapping[Variable, Variable]
    places: Mapping[Variable, tuple[Variable | None, int]]
    size: int


@dataclass(eq=False)
class Unit:
    """Values of one size that are written one over the other, and the numbers of the first and the last call they live in."""

    size: int
    members: list[Variable]
    first: int
    last: int


@dataclass(eq=False)
class Area:
    """Memory that units may share: how many bytes, and after and before which calls they are free."""

    size: float
    after: int
    before: int
    residents: list[tuple[Unit, int]] = field(default_factory=list)

    def place(self, unit: Unit) -> int | None:
        """The lowest gap a unit fits in among the residents alive with it (first fit; Gergov 1999 bounds the loss)."""
        if unit.size > self.size or unit.first <= self.after or unit.last >= self.before:
            return None
        place = 0
        alive = [(start, other) for other, start in self.residents if other.first <= unit.last and other.last >= unit.first]
        for start, other in sorted(alive, key=lambda item: item[0]):
            if place + unit.size <= start:
                break
            place = max(place, start + aligned(other.size))
        return place if place + unit.size <= self.size else None


def plan(
    calls: Sequence[NativeCall],
    inputs: Sequence[Variable],
    results: Sequence[Variable],
    spare: Collection[Variable],
    own: Mapping[Variable, Variable] | None = None,
) -> Plan:
    """A place for each value that calls make; into the memory of `spare` inputs results may be written.

    Args:
        own: of each result that may be written into an input, the one; None if any result may be into any.
    """
    calls = [with_room(call) if isinstance(call, ControlCall) else call for call in calls]
    calls = hastened(calls, lives_of(calls, inputs, results, spare), {*inputs, *results})
    lives = lives_of(calls, inputs, results, spare)
    over = overwritten(calls, lives, set(results), spare, own)
    units = units_of(lives, over, set(inputs))
    homes = homes_of(lives, over, units, results, spare, own)
    areas: dict[Variable | None, Area] = {}
    for result in results:
        if bytes_of(result) >= LARGE:
            after = lives[homes[result]][1] if result in homes else -1
            areas[result] = Area(bytes_of(result), after, units[result].first)
    workspace = areas[None] = Area(math.inf, -1, len(calls) + 1)
    places: dict[Variable, tuple[Variable | None, int]] = {}
    # The largest first: smaller ones find room in what those leave.
    for unit in sorted(dict.fromkeys(units.values()), key=lambda unit: -unit.size):
        owner, place = (unit.members[-1], 0) if unit.members[-1] in results else settled(unit, areas)
        places |= {variable: (owner, place) for variable in unit.members if variable is not owner}
    size = max((place + unit.size for unit, place in workspace.residents), default=0)
    return Plan(updated(calls, over), inputs, results, homes, places, aligned(size))


def with_room(call: ControlCall) -> ControlCall:
    """A loop or a branch with plans of its bodies, and memory for them: their workspace, and a second place for each carry
    that is not written over itself."""
    bodies = [body_plan(body, carried) for body, carried in zip(call.bodies, carries(call.equation))]
    is_apart = call.equation.primitive is scan_loop and not carries(call.equation)[0]  # each thread has a workspace of its own
    size = 0 if is_apart else max(body.plan.size for body in bodies)
    room = [Variable(ArrayType((size,), np.dtype(np.uint8)))] if size else []
    waiting = [Variable(result.array_type) for body, carried in zip(bodies, carries(call.equation)) for result in apart(body, carried)]
    return replace(call, bodies=tuple(bodies), scratch=(*room, *waiting))


def apart(body: Body, carried: range) -> list[Variable]:
    """The results that are carries in the next round, and are not written over what they are in this one."""
    pairs = zip(results_of(body), (body.program.inputs[place] for place in carried))
    return [result for result, carry in pairs if result is not carry and body.plan.homes.get(result) is not carry]


def results_of(body: Body) -> list[Variable]:
    """The results of a body, which are variables."""
    return [result for result in body.program.outputs if isinstance(result, Variable)]


def body_plan(body: Body, carried: range) -> Body:
    """A body with the plan of its memory; its results that are carries may be written over what these are before."""
    inputs = body.program.inputs
    results = [result for result in results_of(body) if result not in inputs]
    own = dict(zip(results_of(body), (inputs[place] for place in carried)))
    return replace(body, plan=plan(body.calls, inputs, results, list(own.values()), own))


def aligned(size: int) -> int:
    """Bytes in whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def bytes_of(variable: Variable) -> int:
    """The memory of a value."""
    return variable.array_type.nbytes


def lives_of(
    calls: Sequence[NativeCall], inputs: Sequence[Variable], results: Sequence[Variable], spare: Collection[Variable]
) -> dict[Variable, tuple[int, int]]:
    """For each value, the numbers of the first and the last call it lives in: -1 from the beginning, their count to the end."""
    lives = dict.fromkeys(inputs, (-1, -1))
    for number, call in enumerate(calls):
        for variable in (*written_by(call), *read_by(call)):
            lives[variable] = lives.get(variable, (number, number))[0], number
    for variable in (*inputs, *results):
        if variable not in spare:
            lives[variable] = lives[variable][0], len(calls)
    return lives


def hastened(
    calls: Sequence[NativeCall], lives: Mapping[Variable, tuple[int, int]], outside: Collection[Variable]
) -> list[NativeCall]:
    """The calls in an order in which kernels that free as much memory as they take run as soon as they may."""
    touched: dict[Variable, list[int]] = {}
    made: dict[Variable, int] = {}
    written = Counter(variable for call in calls for variable in written_by(call))
    keys: list[tuple[int, ...]] = []
    for number, call in enumerate(calls):
        ending = [variable for variable in read_by(call) if lives[variable][1] == number]
        freed = sum(bytes_of(variable) for variable in ending if variable not in outside)
        taken = sum(bytes_of(variable) for variable in written_by(call) if variable not in outside)
        waits = {made[variable] for variable in read_by(call) if variable in made}
        waits = waits.union(*(touched.get(variable, ()) for variable in ending))
        is_movable = isinstance(call, KernelCall) and all(written[variable] == 1 for variable in written_by(call))
        is_hastened = is_movable and 0 < freed >= taken
        keys.append((*max(keys[other] for other in waits), number) if is_hastened else (number,))
        for variable in (*read_by(call), *written_by(call)):
            touched.setdefault(variable, []).append(number)
        made.update(dict.fromkeys(written_by(call), number))
    return [calls[number] for number in sorted(range(len(calls)), key=lambda number: keys[number])]


def overwritten(
    calls: Sequence[NativeCall],
    lives: Mapping[Variable, tuple[int, int]],
    results: Collection[Variable],
    spare: Collection[Variable],
    own: Mapping[Variable, Variable] | None,
) -> dict[Variable, Variable]:
    """The values that are written over another which dies in the same kernel or loop, each with that other."""
    over: dict[Variable, Variable] = {}
    lasts: dict[Variable, Variable] = {}  # of what is written over, the last value written there
    for number, call in reversed(list(enumerate(calls))):
        for target, sources in candidates(call):
            last = lasts.get(target, target)
            dying = [source for source in sources if lives[source][1] == number and source not in lasts]
            for source in sorted(dying, key=lambda source: source not in spare):
                is_home = last in results and may_take_over(last, source, own)
                allowed = is_home if source in spare else bytes_of(source) >= LARGE
                if allowed and lives[target][0] == number and is_safe(call, source, target):
                    over[target], lasts[source] = source, last
                    break
    return over


def candidates(call: NativeCall) -> list[tuple[Variable, Sequence[Variable]]]:
    """The values a call makes that might be written over others it reads, with these: what a loop carries over what it is at first."""
    if isinstance(call, KernelCall):
        return [(target, call.inputs) for target in call.outputs]
    pairs = first_carries(call.equation) if isinstance(call, ControlCall) else []
    return [(target, [source]) for source, target in pairs if isinstance(source, Variable)]


def is_safe(call: NativeCall, source: Variable, target: Variable) -> bool:
    """Whether a call may write a value over one that it reads."""
    if not isinstance(call, KernelCall):
        return read_by(call).count(source) == 1 and source.array_type == target.array_type
    buffers = dict(zip((*call.inputs, *call.outputs), (*call.kernel.inputs, *call.kernel.outputs)))
    return may_write_over(call.kernel, buffers[source], buffers[target])


def units_of(
    lives: Mapping[Variable, tuple[int, int]], over: Mapping[Variable, Variable], inputs: Collection[Variable]
) -> dict[Variable, Unit]:
    """The unit of each value that is no input."""
    units: dict[Variable, Unit] = {}
    for variable, (first, last) in sorted(lives.items(), key=lambda item: item[1][0]):
        if variable in inputs:
            continue
        unit = units.get(over[variable]) if variable in over else None
        units[variable] = unit = unit or Unit(bytes_of(variable), [], first, last)
        unit.members.append(variable)
        unit.last = last
    return units


def homes_of(
    lives: Mapping[Variable, tuple[int, int]],
    over: Mapping[Variable, Variable],
    units: Mapping[Variable, Unit],
    results: Sequence[Variable],
    spare: Collection[Variable],
    own: Mapping[Variable, Variable] | None,
) -> dict[Variable, Variable]:
    """The results that are written over a spare input, or that such an input is read before."""
    homes = {units[target].members[-1]: source for target, source in over.items() if source in spare}
    for result in results:
        for source in spare if result.array_type.shape and result not in homes else ():
            is_free = source not in homes.values() and lives[source][1] < units[result].first
            if is_free and may_take_over(result, source, own):
                homes[result] = source
                break
    return homes


def may_take_over(result: Variable, source: Variable, own: Mapping[Variable, Variable] | None) -> bool:
    """Whether a result may be written into the memory of an input."""
    return source.array_type == result.array_type and (own is None or own.get(result) is source)


def settled(unit: Unit, areas: Mapping[Variable | None, Area]) -> tuple[Variable | None, int]:
    """The area that a unit is put in, and at which byte: that of a result if it is large and fits, else the workspace."""
    for owner, area in areas.items():
        place = area.place(unit) if owner is None or unit.size >= LARGE else None
        if place is not None:
            area.residents.append((unit, place))
            return owner, place
    raise AssertionError("the workspace has no end")


def updated(calls: Sequence[NativeCall], over: Mapping[Variable, Variable]) -> list[NativeCall]:
    """The calls with what is written over another in its memory."""
    result: list[NativeCall] = []
    for call in calls:
        if isinstance(call, KernelCall):
            for target in call.outputs:
                if over.get(target) in call.inputs:
                    call = written_over(call, over[target], target)
        result.append(call)
    return result
