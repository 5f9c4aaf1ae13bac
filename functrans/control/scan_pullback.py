"""The reverse mode of a loop's body: what each step keeps, and the body of the loop that goes back.

A step and its pullback, staged together, are a joint program, which is partitioned: the forward part gives residuals
beside the results, the backward part reads them. The loop back has as consts what is the same in all steps, carries
the cotangents of the carries and the sums of those of the consts, and gives the cotangents of the xs.

Invariant: what is stacked differs from step to step, and is stacked once: xs are read again where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from functrans.control.bodies import Flags, chosen, derived, joint_body, reached, spread
from functrans.core.program import Equation, Program, Variable, without_dead_code
from functrans.ops.arithmetic import add
from functrans.transforms.tape import zeros

__all__ = ["Pullback", "pullback_of"]


@dataclass(frozen=True)
class Pullback:
    """The two loops of reverse mode.

    Attributes:
        values: arrays the bodies need, as the first consts of the loop.
        forward: the body that gives residuals after its results.
        invariant: (consts) -> what the backward body needs that is the same in every step.
        backward: the body of the loop back.
        live: which results of the loop have cotangents.
        consts, xs: which consts and xs the backward body reads, by place.
        flags: which operands get a cotangent, of consts, carries and xs; the values are none of them.
    """

    values: tuple[Any, ...]
    forward: Program
    invariant: Program
    backward: Program
    live: Flags
    consts: tuple[int, ...]
    xs: tuple[int, ...]
    flags: tuple[Flags, Flags, Flags]

    def saved(self, operands: Sequence[Any], consts: int) -> tuple[list[Any], list[Any]]:
        """What the loop back needs of the operands, the values included: its consts, and xs."""
        shared = [operands[place] for place in self.consts]
        return [*shared, *self.invariant.evaluate(operands[:consts])], [operands[place] for place in self.xs]

    def run(
        self, loop: Callable[..., Any], saved: tuple[list[Any], list[Any]], residuals: Sequence[Any], cts: Sequence[Any], **params: Any
    ) -> list[Any]:
        """The cotangents of the operands, or None; `cts` are those of the live results."""
        shared, xs = saved
        of_consts, of_carries, of_xs = self.flags
        carries, ys = cts[: sum(of_carries)], cts[sum(of_carries) :]
        first = len(shared) + len(carries)
        sums = [zeros(variable.array_type) for variable in self.backward.inputs[first : first + sum(of_consts)]]
        results = loop(
            *shared, *carries, *sums, *xs, *residuals, *ys,
            body=self.backward, consts=len(shared), carry=len(carries) + len(sums), **params,
        )  # fmt: skip
        found = [*results[len(carries) : len(carries) + len(sums)], *results[: len(carries)], *results[len(carries) + len(sums) :]]
        return spread(found, (*of_consts, *of_carries, *of_xs))


def partition(joint: Program, known: int, results: int) -> tuple[Program, Program, tuple[int, ...]]:
    """Forward and backward part, that keeps all it reads."""
    unknown = set(joint.inputs[known:])
    ahead, back = [], []
    for equation in joint.equations:
        if unknown.isdisjoint(equation.inputs):
            ahead.append(equation)
        else:
            back.append(equation)
            unknown.update(equation.outputs)
    read = {atom for equation in back for atom in equation.inputs} | set(joint.outputs[results:])
    inputs = tuple(place for place, variable in enumerate(joint.inputs[:known]) if variable in read)
    residuals = [variable for equation in ahead for variable in equation.outputs if variable in read]
    forward = replace(joint, inputs=joint.inputs[:known], equations=tuple(ahead), outputs=(*joint.outputs[:results], *residuals))
    kept = [joint.inputs[place] for place in inputs]
    backward = replace(joint, inputs=(*kept, *residuals, *joint.inputs[known:]), equations=tuple(back), outputs=joint.outputs[results:])
    return without_dead_code(forward), without_dead_code(backward), inputs


@derived
def pullback_of(body: Program, consts: int, carry: int, active: Flags) -> Pullback:
    """What reverse mode needs for a body, with respect to the active operands."""
    carries = active[consts : consts + carry]
    live = (*carries, *reached(body, active)[carry:])
    always = (*(False,) * consts, *carries, *(False,) * (len(active) - consts - carry))
    joint, values, flags = joint_body(body, active, live, always)
    known, outputs = len(values) + len(active), len(body.outputs)
    ahead, back, inputs = partition(joint, known, outputs)
    consts += len(values)
    residuals = list(back.inputs[len(inputs) : len(back.inputs) - sum(live)])
    same = unchanging(ahead, consts)
    hoisted = [variable for variable in residuals if variable in same]
    stacked = [variable for variable in residuals if variable not in same]
    stacked_carries = [place for place in inputs if consts <= place < consts + carry]
    own_consts = [place for place in inputs if place < consts]
    own_xs = [place for place in inputs if place >= consts + carry]
    forward = replace(
        ahead, outputs=(*ahead.outputs[:outputs], *(ahead.inputs[place] for place in stacked_carries), *stacked)
    )
    invariant = replace(ahead, inputs=ahead.inputs[:consts], outputs=tuple(hoisted))
    at = dict(zip(inputs, back.inputs))
    cts = back.inputs[len(back.inputs) - sum(live) :]
    ct_carries = sum(carries)
    of_consts, of_carries, of_xs = (
        flags[: consts - len(values)], flags[consts - len(values) : consts - len(values) + carry], flags[consts - len(values) + carry :]
    )
    parts = spread(back.outputs, flags)
    contributions = [part for part in parts[: len(of_consts)] if part is not None]
    equations, sums, totals = list(back.equations), [], []
    for part in contributions:
        total, result = Variable(part.array_type), Variable(part.array_type)
        equations.append(Equation((result,), add, (total, part), {}))
        sums.append(total)
        totals.append(result)
    backward = replace(
        back,
        inputs=(
            *(at[place] for place in own_consts), *hoisted,
            *cts[:ct_carries], *sums,
            *(at[place] for place in own_xs), *(at[place] for place in stacked_carries), *stacked, *cts[ct_carries:],
        ),
        equations=tuple(equations),
        outputs=(
            *chosen(parts[len(of_consts) : len(of_consts) + carry], of_carries), *totals,
            *chosen(parts[len(of_consts) + carry :], of_xs),
        ),
    )  # fmt: skip
    return Pullback(
        values, without_dead_code(forward), without_dead_code(invariant), backward, live, tuple(own_consts), tuple(own_xs),
        (of_consts, of_carries, of_xs),
    )


def unchanging(program: Program, consts: int) -> set[Any]:
    """The variables that depend on the first `consts` inputs alone, and on no effect."""
    same = set(program.inputs[:consts])
    changing = set(program.inputs[consts:])
    for equation in program.equations:
        (changing if equation.has_effect or not changing.isdisjoint(equation.inputs) else same).update(equation.outputs)
    return same
