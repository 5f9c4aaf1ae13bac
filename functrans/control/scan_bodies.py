"""Bodies made of a loop's body: with tangents, split for a pass that comes later, for the way back, with less in it.

What a step does for a later pass over the loop, and what that pass does, is one program at first: the step and its
pullback, or the step and its derivative. It is partitioned: the forward part gives residuals beside the results of the
step, and the later part reads them.

Invariant: what is the same in every step is computed once, before the loop; what differs is stacked once: xs are read
where they are, and carries out of ys they are among.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from functrans.control.bodies import (
    Body,
    Flags,
    chosen,
    derived,
    fixed_point,
    joint_body,
    pushed_body,
    reached,
    read_inputs,
    restaged,
    separated,
    spread,
)
from functrans.core.program import Atom, Equation, Program, Variable, without_dead_code
from functrans.core.types import ArrayType, type_of
from functrans.ops.arithmetic import add
from functrans.transforms.costs import recomputation_cost
from functrans.transforms.forward import pushed, released_pair
from functrans.transforms.partition import partition
from functrans.transforms.tape import zeros

__all__ = ["Saved", "Split", "Step", "linearized_step", "parts", "pruned_step", "pushed_step", "reverse_split", "reverse_step"]


def parts(values: Sequence[Any], consts: int, carry: int) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Consts, carries and xs, or what belongs to them."""
    return values[:consts], values[consts : consts + carry], values[consts + carry :]


def interleaved(own: Sequence[Any], others: Sequence[Any], consts: int, carry: int) -> list[Any]:
    """Values, and what is beside them or None, as the operands of a loop: consts, carries and xs, of both."""
    return [
        item
        for part, beside in zip(parts(own, consts, carry), parts(others, consts, carry))
        for item in (*part, *(value for value in beside if value is not None))
    ]


@dataclass(frozen=True)
class Step:
    """The body of a loop, and what it takes beside the operands of the loop.

    Attributes:
        program: (consts, carries, slices) -> (carries, ys).
        values: plain arrays, its first consts.
        invariant: (values, consts) -> its last consts.
        flags: which results there are, in the order of the body it is made of.
    """

    program: Program
    values: tuple[Any, ...]
    invariant: Program
    flags: Flags

    def consts(self, operands: Sequence[Any]) -> list[Any]:
        """All consts, of those given."""
        complete = [*self.values, *operands]
        return [*complete, *self.invariant.evaluate(complete)]


def hoisted(program: Program, consts: int) -> tuple[Program, Program]:
    """`program` with what takes work and depends on its first `consts` inputs alone as further inputs, behind these.

    The second program computes it. Views are cheaper to take again than to keep, and what has an effect stays.
    """
    changing = set(program.inputs[consts:])
    once: dict[Variable, Equation] = {}
    rest: list[Equation] = []
    for equation in program.equations:
        if changing.isdisjoint(equation.inputs) and not equation.has_effect and equation.repeatable:
            once |= dict.fromkeys(equation.outputs, equation)
        else:
            changing.update(equation.outputs)
            rest.append(equation)
    found: dict[Variable, None] = {}
    views: dict[int, None] = {}
    waiting: list[Atom] = [*program.outputs, *(atom for equation in rest for atom in equation.inputs)]
    while waiting:
        atom = waiting.pop()
        if not isinstance(atom, Variable) or atom not in once or id(once[atom]) in views:
            continue
        if recomputation_cost(once[atom]):
            found[atom] = None
        else:
            views[id(once[atom])] = None
            waiting += once[atom].inputs
    shared = program.inputs[:consts]
    kept = tuple(variable for variable in once if variable in found)
    equations = list({id(equation): equation for equation in once.values()}.values())
    again = [equation for equation in equations if id(equation) in views]
    inside = replace(program, inputs=(*shared, *kept, *program.inputs[consts:]), equations=(*again, *rest))
    before = replace(program, inputs=shared, equations=tuple(equations), outputs=kept)
    return inside, without_dead_code(before)


@derived
def pushed_step(body: Program, consts: int, carry: int, active: Flags, from_selection: bool) -> Step:
    """The body with tangents: (consts and their tangents, carries and theirs, slices and theirs) -> likewise."""
    program, values, flags = pushed_pair(body, consts, carry, active, from_selection, False)
    first, outputs = len(values) + len(active), len(body.outputs)
    own, tangents = program.inputs[len(values) : first], spread(program.inputs[first:], active)
    inputs = [*program.inputs[: len(values)], *interleaved(own, tangents, consts, carry)]
    results = interleaved(program.outputs[:outputs], spread(program.outputs[outputs:], flags), 0, carry)
    arranged = replace(program, inputs=tuple(inputs), outputs=tuple(results))
    return Step(*hoisted_step(arranged, values, consts + sum(active[:consts])), flags)


def pushed_pair(body: Program, consts: int, carry: int, active: Flags, from_selection: bool, apart: bool) -> Body:
    """The body with tangents, of which active carries always have one."""
    ys = (False,) * (len(body.outputs) - carry)
    always = (*active[consts : consts + carry], *ys)
    return pushed_body(body, active, always, from_selection or body.selects, apart)


def hoisted_step(program: Program, values: tuple[Any, ...], consts: int) -> tuple[Program, tuple[Any, ...], Program]:
    """What makes a `Step`."""
    inside, before = hoisted(program, len(values) + consts)
    return inside, values, before


@derived
def pruned_step(body: Program, consts: int, carry: int, wanted: Flags) -> tuple[Program, Flags, Flags]:
    """The body for the wanted results, and which operands and results it has: carries that others need stay."""

    def needed(carries: Flags) -> Program:
        outputs = chosen(body.outputs, (*carries, *wanted[carry:]))
        return without_dead_code(replace(body, outputs=tuple(outputs)))

    carries = fixed_point(lambda flags: read_inputs(needed(flags))[consts : consts + carry], wanted[:carry])
    program = needed(carries)
    shared, _, xs = parts(read_inputs(program), consts, carry)
    operands = (*shared, *carries, *xs)
    return replace(program, inputs=tuple(chosen(program.inputs, operands))), operands, (*carries, *wanted[carry:])


class Saved(NamedTuple):
    """What a later pass reads.

    Attributes:
        consts: the same in every step.
        stacks: of values that differ from step to step.
        shifted: for each stack, if it is of carries after the steps, in place of those before, the first one; else None.
        following: carries after the last step.
    """

    consts: list[Any]
    stacks: list[Any]
    shifted: list[Any]
    following: list[Any]

    def steps(self, reverse: bool) -> list[Any]:
        """The stacks as they are read; `reverse` is that of the loop they stem from."""
        return [
            stack if first is None else carries_before(first, stack, reverse)
            for stack, first in zip(self.stacks, self.shifted)
        ]


def carries_before(first: Any, after: Any, reverse: bool) -> Any:
    """The carries before each step, from the first one and the stack of those after each step."""
    lead = np.expand_dims(first, 0)
    return np.concatenate([after[1:], lead] if reverse else [lead, after[:-1]])


@dataclass(frozen=True)
class Split:
    """A body in two: for the loop itself, and for a pass over its steps that comes later.

    Attributes:
        step: the body that gives residuals after its results; `flags` are those of the later pass's results.
        later: (consts, values of a step, carries after it, what only the later pass has) -> its results.
        consts: the consts of `step` that `later` reads, by place.
        sources: where the values of a step are stacked: ``("x", place)`` among the xs, ``("result", place)`` among the
            results of the loop, ``("before", place, carry)``: there as well, but those after the steps.
        following: for the carries that `later` reads as they are after the step, their place, and that of those before
            the step among the values.
    """

    step: Step
    later: Program
    consts: tuple[int, ...]
    sources: tuple[tuple[Any, ...], ...]
    following: tuple[tuple[int, int], ...]

    def saved(self, consts: Sequence[Any], carries: Sequence[Any], xs: Sequence[Any], results: Sequence[Any]) -> Saved:
        """What the later pass reads, of the operands and the results of the loop."""
        stacks = [(xs if source[0] == "x" else results)[source[1]] for source in self.sources]
        shifted = [carries[source[2]] if source[0] == "before" else None for source in self.sources]
        return Saved([consts[place] for place in self.consts], stacks, shifted, [results[place] for place, _ in self.following])


def split(pair: Body, consts: int, carry: int, known: int, outputs: int, recompute: bool, backward: bool) -> Split:
    """The parts of a program (values, operands of the body, what only the later pass has) -> (results, later results).

    Args:
        known, outputs: how many operands and results the body has.
        recompute: whether to keep nothing that can be computed again from the operands of a step.
        backward: whether the later pass goes the other way.
    """
    joint, before = hoisted(pair.program, len(pair.values) + consts)
    shared = len(pair.values) + consts + len(before.outputs)
    known += shared - consts
    ys = {atom: place for place, atom in enumerate(joint.outputs[:outputs]) if place >= carry}
    charged = [shared + place for place in range(carry) if joint.outputs[place] not in ys]
    parted = partition(joint, known, outputs, policy=keep_nothing if recompute else None, charged=charged)
    results, residuals = parted.forward.outputs[:outputs], list[Variable]()
    values: list[Variable] = []
    sources: list[tuple[Any, ...]] = []
    stacked: dict[int, int] = {}  # by carry, its place among the values
    following: dict[int, Variable] = {}

    def put(variable: Variable, *source: Any) -> None:
        """Let `variable` be among the values; if no source is given, as a residual."""
        if not source:
            source = "result", len(results) + len(residuals)
            residuals.append(variable)
        values.append(variable)
        sources.append(source)

    kept = dict(zip(parted.inputs, parted.backward.inputs))
    for place, variable in kept.items():
        number = place - shared
        if number >= carry:
            put(variable, "x", number - carry)
        elif number >= 0 and results[number] in ys:
            put(variable, "before", ys[results[number]], number)
        elif number >= 0:
            stacked[number] = len(values)
            put(variable)
    for variable in parted.residuals:
        carried = next((place for place in stacked if results[place] is variable), None)
        if variable in ys:
            put(variable, "result", ys[variable])
        elif backward and carried is not None:
            following[carried] = variable
        else:
            put(variable)
    own = tuple(place for place in kept if place < shared)
    inputs = (*(kept[place] for place in own), *values, *following.values(), *joint.inputs[known:])
    step = Step(replace(parted.forward, outputs=(*results, *residuals)), pair.values, before, pair.flags)
    pairs = tuple((place, stacked[place]) for place in following)
    return Split(step, replace(parted.backward, inputs=inputs), own, tuple(sources), pairs)


def keep_nothing(*_: Any, **params: Any) -> bool:
    """The policy to compute everything again."""
    return False


@derived
def linearized_step(
    body: Program, consts: int, carry: int, active: Flags, recompute: bool, from_selection: bool
) -> tuple[Split, Program]:
    """The body, and that of its derivative.

    That takes (consts, their tangents; tangents of carries; values of the step, tangents of xs) to tangents.
    """
    pair = pushed_pair(body, consts, carry, active, from_selection, True)
    known, outputs = len(pair.values) + len(active), len(body.outputs)
    apart = separated(pair.program, known, outputs)
    made = split(pair._replace(program=apart), consts, carry, len(active), outputs, recompute, backward=False)
    shared, values, tangents = pieces(made.later.inputs, len(made.consts), len(made.sources))
    of_consts, of_carries, of_xs = pieces(tangents, *map(sum, parts(active, consts, carry)[:2]))
    return made, replace(made.later, inputs=(*shared, *of_consts, *of_carries, *values, *of_xs))


@derived
def reverse_split(body: Program, consts: int, carry: int, active: Flags, keeps: str) -> tuple[Split, Flags]:
    """The body and what its pullback is made of, and which results that takes cotangents of.

    `keeps` says what a step keeps: ``"residuals"``; ``"operands"``, if the rest can be computed from them; ``"nothing"``.
    """
    shared, carries, xs = parts(active, consts, carry)
    live = (*carries, *reached(body, active)[carry:])
    always = (*(False for _ in shared), *carries, *(False for _ in xs))
    pair = joint_body(body, active, live, always, body.selects)
    counts = consts, carry, len(active), len(body.outputs)
    made = whole(pair, *counts) if keeps == "nothing" else split(pair, *counts, keeps == "operands", backward=True)
    return made, live


def whole(pair: Body, consts: int, carry: int, known: int, outputs: int) -> Split:
    """A split of which the later part does all from the operands of the step; sources are ``("carry", place)`` as well."""
    joint, before = hoisted(pair.program, len(pair.values) + consts)
    shared = len(pair.values) + consts + len(before.outputs)
    known += shared - consts
    later = without_dead_code(replace(joint, outputs=joint.outputs[outputs:]).silent)
    reads = [place for place, flag in enumerate(read_inputs(later)) if flag and place < known]
    numbers = [place - shared for place in reads if place >= shared]
    sources = tuple(("carry", number) if number < carry else ("x", number - carry) for number in numbers)
    inputs = (*(joint.inputs[place] for place in reads), *joint.inputs[known:])
    own = tuple(place for place in reads if place < shared)
    forward = without_dead_code(replace(joint, inputs=joint.inputs[:known], outputs=joint.outputs[:outputs]))
    return Split(Step(forward, pair.values, before, pair.flags), replace(later, inputs=inputs), own, sources, ())


@dataclass(frozen=True)
class Back:
    """The body of the loop back.

    Attributes:
        program: (values, consts; cotangents of carries, sums of those of consts, carries after the step; values of the
            step, cotangents of ys) -> (the same carries, before the step; cotangents of xs).
        values: plain arrays, its first consts.
        cts: which results of the loop it takes cotangents of.
        flags: which operands of the loop it gives cotangents of.
        sums: the types of the sums.
    """

    program: Program
    values: tuple[Any, ...]
    cts: Flags
    flags: Flags
    sums: tuple[ArrayType, ...]


@derived
def reverse_step(
    body: Program, consts: int, carry: int, active: Flags, keeps: str, given: Flags, from_selection: bool
) -> Back:
    """The way back, where only the given ones of the results have cotangents; they may be of values that were not chosen."""
    made, live = reverse_split(body, consts, carry, active, keeps)
    own = made.step.flags
    first = len(made.later.inputs) - sum(live)

    def spreading(carries: Flags) -> list[bool]:
        seeds = chosen((*carries, *given[carry:]), live)
        flags = spread(reached(made.later, (*(False,) * first, *seeds)), own)
        return [bool(flag) for flag in flags[consts : consts + carry]]

    carries = fixed_point(spreading, [a and b for a, b in zip(given[:carry], live)])
    cts = tuple(a and b for a, b in zip((*carries, *given[carry:]), live))
    always = [consts <= place < consts + carry and carries[place - consts] for place in range(len(active))]
    masked = from_selection and not body.selects
    part = linear_part(made.later, first, tuple(chosen(cts, live)), tuple(chosen(always, own)), masked)
    found = spread(spread(part.program.outputs, part.flags), own)
    of_consts, of_carries, of_xs = parts(found, consts, carry)
    contributions = [item for item in of_consts if item is not None]
    sums = [Variable(item.array_type) for item in contributions]
    totals = [Variable(item.array_type) for item in contributions]
    additions = [Equation((total,), add, (before, item), {}) for total, before, item in zip(totals, sums, contributions)]
    counts = len(part.values) + len(made.consts), len(made.sources), len(made.following), sum(carries)
    shared, values, after, ct_carries, ct_ys = pieces(part.program.inputs, *counts)
    program = replace(
        part.program,
        inputs=(*shared, *ct_carries, *sums, *after, *values, *ct_ys),
        equations=(*part.program.equations, *additions),
        outputs=(
            *(item for item in of_carries if item is not None), *totals, *(values[place] for _, place in made.following),
            *(item for item in of_xs if item is not None),
        ),
    )  # fmt: skip
    flags = tuple(item is not None for item in found)
    return Back(program, part.values, cts, flags, tuple(total.array_type for total in totals))


def linear_part(program: Program, first: int, given: Flags, always: Flags, masked: bool) -> Body:
    """`program`, linear in its inputs from number `first` on, with those that are given only, and which results are left.

    A linear function is its own derivative, and derivatives know where they are zero, and, `masked`, that a zero wins.
    """
    if all(given) and not masked:
        return Body(program, (), (True,) * len(program.outputs))
    flags: list[bool] = []
    types = [variable.array_type for variable in program.inputs]

    def function(known: list[Any], cotangents: list[Any]) -> Any:
        blanks = [zeros(type_) for type_ in types[first:]]
        pairs = [*((value, None) for value in known), *zip(blanks, spread(cotangents, given))]
        trace, results = pushed(pairs, program.evaluate, masked)
        found = [released_pair(trace, result) for result in results]
        flags[:] = [tangent is not None or own for (_, tangent), own in zip(found, always)]
        return chosen([zeros(type_of(value)) if tangent is None else tangent for value, tangent in found], flags)

    return restaged(program.name, function, flags, types[:first], chosen(types[first:], given))


def pieces(values: Sequence[Any], *counts: int) -> list[Sequence[Any]]:
    """Consecutive pieces of so many items, and the rest."""
    found = []
    for count in counts:
        found.append(values[:count])
        values = values[count:]
    return [*found, values]
