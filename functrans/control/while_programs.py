"""The programs that the rules of `while_loop` are made of: derived from its condition and its body.

A body is a program (consts, carries) -> carries, a condition one of (consts, carries) -> bool. From them are made, by
masks: the loop without carries nobody needs, the loop with tangents beside the carries, and the way back.

Invariant: the same programs and masks give the same programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from functrans.control.bodies import (
    Flags,
    batched_body,
    chosen,
    derived,
    fixed_point,
    joint_body,
    pushed_body,
    reached,
    read_inputs,
)
from functrans.core.program import Program, Variable, without_dead_code

__all__ = [
    "Batch",
    "Loop",
    "Pruned",
    "Reverse",
    "batched_loop",
    "loop_of",
    "pruned_loop",
    "pushed_loop",
    "reverse_of",
    "reverse_with",
    "spread_batch",
    "union",
]


class Loop(NamedTuple):
    """A loop: its programs, and how many of their inputs are no carries.

    Attributes:
        cond: (consts of its own, carries) -> bool.
        body: (consts of its own, carries) -> carries.
        masked: whether tangents and cotangents that derivatives of it get may belong to values that were not chosen.
    """

    cond: Program
    body: Program
    cond_consts: int
    body_consts: int
    masked: bool = False

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the primitive."""
        return dict(zip(("cond", "body", "cond_consts", "body_consts"), self))

    @property
    def silent(self) -> Loop:
        """The loop without its effects."""
        return self._replace(cond=self.cond.silent, body=self.body.silent)

    def parts(self, values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Consts of the condition, consts of the body, and carries, or what belongs to them."""
        first = self.cond_consts + self.body_consts
        return values[: self.cond_consts], values[self.cond_consts : first], values[first:]

    def spread(self, active: Sequence[bool]) -> Flags:
        """`active`, of the body's inputs, with the carries that derivatives spread to in any step."""
        consts, start = tuple(active[: self.body_consts]), active[self.body_consts :]
        return (*consts, *fixed_point(lambda carries: reached(self.body, (*consts, *carries)), start))


def loop_of(cond: Program, body: Program, cond_consts: int, body_consts: int, masked: bool = False, **params: Any) -> Loop:
    """The loop among the parameters of a primitive."""
    return Loop(cond, body, cond_consts, body_consts, masked)


class Pruned(NamedTuple):
    """A loop without some of its operands, and which of them it has."""

    loop: Loop
    cond_consts: Flags
    body_consts: Flags
    carries: Flags

    @property
    def inputs(self) -> Flags:
        """Which inputs of the body it has."""
        return (*self.body_consts, *self.carries)


def pruned_loop(loop: Loop, wanted: Sequence[bool], consts: Sequence[bool] | None = None) -> Pruned:
    """The loop with the wanted carries, those that they and the condition need, and, of the body's, these consts at least."""
    flags = (False,) * loop.body_consts if consts is None else tuple(consts)
    return pruned_body(loop.body, loop, tuple(wanted), flags)


@derived
def pruned_body(body: Program, loop: Loop, wanted: Flags, consts: Flags) -> Pruned:
    """See `pruned_loop`."""
    cond_reads = read_inputs(without_dead_code(loop.cond))

    def step(carries: Flags) -> Flags:
        return union(reads(body, carries)[loop.body_consts :], cond_reads[loop.cond_consts :])

    carries = fixed_point(step, wanted)
    consts = union(reads(body, carries)[: loop.body_consts], consts)
    own = cond_reads[: loop.cond_consts]
    cond = restricted(loop.cond, (*own, *carries), (True,))
    left = Loop(cond, restricted(body, (*consts, *carries), carries), sum(own), sum(consts), loop.masked)
    return Pruned(left, own, consts, carries)


def union(one: Sequence[bool], other: Sequence[bool]) -> Flags:
    """Where either has a flag."""
    return tuple(a or b for a, b in zip(one, other, strict=True))


@derived
def reads(program: Program, wanted: Flags) -> Flags:
    """Which inputs the wanted outputs, and effects, need."""
    return read_inputs(without_dead_code(replace(program, outputs=tuple(chosen(program.outputs, wanted)))))


@derived
def restricted(program: Program, inputs: Flags, outputs: Flags) -> Program:
    """The program with some of its inputs and outputs, which need no others."""
    inputs_left, outputs_left = chosen(program.inputs, inputs), chosen(program.outputs, outputs)
    if len(inputs_left) == len(inputs) and len(outputs_left) == len(outputs):
        return program
    return without_dead_code(replace(program, inputs=tuple(inputs_left), outputs=tuple(outputs_left)))


def pushed_loop(loop: Loop, active: Flags) -> tuple[Loop, tuple[Any, ...]]:
    """The loop with tangents, and arrays that its body needs as its first consts.

    Args:
        active: which inputs of the body have tangents, with all carries that these spread to.

    Returns:
        The loop of (the arrays, consts, tangents of the active ones) and (carries, tangents of the active ones).
    """
    return pushed_parts(loop.body, loop, active)


@derived
def pushed_parts(body: Program, loop: Loop, active: Flags) -> tuple[Loop, tuple[Any, ...]]:
    """See `pushed_loop`."""
    count, carried = loop.body_consts, active[loop.body_consts :]
    program, values, flags = pushed_body(body, active, carried, loop.masked or body.selects)
    assert flags == carried, "derivatives spread to more carries"
    own = program.inputs[len(values) : len(values) + len(active)]
    tangents = program.inputs[len(values) + len(active) :]
    first = sum(active[:count])
    consts = (*program.inputs[: len(values)], *own[:count], *tangents[:first])
    program = replace(program, inputs=(*consts, *own[count:], *tangents[first:]))
    spare = [Variable(variable.array_type) for variable in tangents[first:]]
    cond = replace(loop.cond, inputs=(*loop.cond.inputs, *spare))
    return Loop(cond, program, loop.cond_consts, len(consts), loop.masked), values


def batched_loop(
    loop: Loop, batched: Flags, size: int, axis_name: Any
) -> tuple[Loop, tuple[Any, ...], tuple[Any, ...], Flags] | None:
    """The loop of batches; arrays that are its first consts, of the condition and of the body; and which carries are batched.

    None if the condition differs from item to item.
    """
    own, consts, start = loop.parts(batched)
    carries = fixed_point(lambda flags: batched_body(loop.body, (*consts, *flags), flags, size, axis_name).flags, start)
    cond = batched_body(loop.cond, (*own, *carries), (False,), size, axis_name)
    if any(cond.flags):
        return None
    body = batched_body(loop.body, (*consts, *carries), carries, size, axis_name)
    counts = loop.cond_consts + len(cond.values), loop.body_consts + len(body.values)
    return Loop(cond.program, body.program, *counts), cond.values, body.values, carries


class Batch(NamedTuple):
    """One `vmap` around the way back through a loop: which operands have its axis in front."""

    size: int
    axis_name: Any
    flags: Flags


class Reverse(NamedTuple):
    """The programs of the way back. They have no effects, and may have captured index arrays and the like.

    Attributes:
        cond: (consts of the condition, read carries) -> bool.
        sweep: (read consts, read carries) -> read carries.
        back: (read consts, read carries, cotangents of the active carries) -> what a step adds to the cotangents of
            the active consts, and the cotangents of the active carries before it.
        consts, carries: which consts and carries of the body are read.
        flags: for each `Batch`, which results have its axis in front.
    """

    cond: Program
    sweep: Program
    back: Program
    consts: Flags
    carries: Flags
    flags: tuple[Flags, ...] = ()

    @property
    def read(self) -> Flags:
        """Which inputs of the body are read."""
        return (*self.consts, *self.carries)

    def parts(self, values: Sequence[Any]) -> list[Sequence[Any]]:
        """Consts of the condition, read consts, read carries, and cotangents, or what belongs to them."""
        consts, carries = sum(self.consts), sum(self.carries)
        first = len(self.cond.inputs) - carries
        return [
            values[:first],
            values[first : first + consts],
            values[first + consts : first + consts + carries],
            values[first + consts + carries :],
        ]

    def needed(self, wanted: Sequence[bool]) -> Flags:
        """Which results must be computed for the wanted ones: with the cotangents of carries that these need."""
        first = sum(self.read)
        carries = len(self.back.inputs) - first
        consts, start = tuple(wanted[: len(wanted) - carries]), wanted[len(wanted) - carries :]
        return (*consts, *fixed_point(lambda flags: reads(self.back, (*consts, *flags))[first:], start))


def reverse_of(loop: Loop, active: Flags, batches: tuple[Batch, ...] = ()) -> Reverse:
    """The programs of the way back through a loop, with respect to the active inputs of its body.

    Args:
        active: with all carries that derivatives spread to.
        batches: from the innermost to the outermost.
    """
    return reverse_programs(loop.body, loop, active, batches)


def reverse_with(active: Flags, batches: tuple[Batch, ...], **params: Any) -> Reverse:
    """The programs of the way back by the parameters of `while_pullback`."""
    return reverse_of(loop_of(**params), active, batches)


@derived
def reverse_programs(body: Program, loop: Loop, active: Flags, batches: tuple[Batch, ...]) -> Reverse:
    """See `reverse_of`."""
    if batches:
        return batched_reverse(reverse_of(loop, active, batches[:-1]), batches[-1])
    count = loop.body_consts
    cond, body = loop.silent[:2]
    joint, values, _ = joint_body(body, active, active[count:], active, loop.masked or body.selects)
    back = without_dead_code(replace(bound(joint, values), outputs=joint.outputs[len(body.outputs) :]))
    read = read_inputs(back)
    cond_reads = read_inputs(without_dead_code(cond))
    start = union(read[count : len(active)], cond_reads[loop.cond_consts :])
    carries = fixed_point(lambda flags: reads(body, flags)[count:], start)
    consts = union(read[:count], reads(body, carries)[:count])
    return Reverse(
        restricted(cond, (*(True,) * loop.cond_consts, *carries), (True,)),
        restricted(body, (*consts, *carries), carries),
        restricted(back, (*consts, *carries, *(True,) * sum(active[count:])), (True,) * sum(active)),
        consts,
        carries,
    )


def batched_reverse(made: Reverse, level: Batch) -> Reverse:
    """The programs for batches."""
    cond_consts, consts, carries, cts = made.parts(level.flags)
    axis = level.size, level.axis_name
    cond = batched_body(made.cond, (*cond_consts, *carries), (False,), *axis)
    sweep = batched_body(made.sweep, (*consts, *carries), tuple(carries), *axis)
    sums = (False,) * (len(made.back.outputs) - len(cts))
    back = batched_body(made.back, (*consts, *carries, *cts), (*sums, *cts), *axis)
    assert sweep.flags == tuple(carries) and back.flags[len(sums) :] == tuple(cts), "a batch spreads to more carries"
    programs = [bound(part.program, part.values) for part in (cond, sweep, back)]
    return Reverse(programs[0], programs[1], programs[2], made.consts, made.carries, (*made.flags, back.flags))


def spread_batch(made: Reverse, flags: Sequence[bool], size: int, axis_name: Any) -> Flags | None:
    """`flags`, of the operands, with the carries and cotangents that a batch spreads to; None if the condition differs
    from item to item."""
    cond_consts, consts, start, cts = made.parts(tuple(flags))
    axis = size, axis_name
    carries = fixed_point(lambda flags: batched_body(made.sweep, (*consts, *flags), flags, *axis).flags, start)
    if any(batched_body(made.cond, (*cond_consts, *carries), (False,), *axis).flags):
        return None
    sums = (False,) * (len(made.back.outputs) - len(cts))

    def step(flags: Flags) -> Flags:
        return batched_body(made.back, (*consts, *carries, *flags), (*sums, *flags), *axis).flags[len(sums) :]

    return (*cond_consts, *consts, *carries, *fixed_point(step, cts))


def bound(program: Program, values: tuple[Any, ...]) -> Program:
    """The program with its first inputs bound to these arrays."""
    count = len(values)
    captured, values = (*program.inputs[:count], *program.captured), (*values, *program.values)
    return replace(program, inputs=program.inputs[count:], captured=captured, values=values)
