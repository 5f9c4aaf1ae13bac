"""`call`: a program performed as one operation. It is what a compiled function is to a transform that is under way.

Derivatives and batches are calls as well, of programs made once, so that ``grad(jit(f))`` runs machine code in both
directions. While a function is staged a compiled function is no call: its operations become those of the program.

Invariant: programs capture nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from functrans.control.bodies import (
    Body,
    Flags,
    batched_body,
    chosen,
    derived,
    joint_body,
    pushed_body,
    reached,
    read_inputs,
    spread,
)
from functrans.control.evaluation import run
from functrans.core.primitive import Control
from functrans.core.program import Program, without_dead_code
from functrans.core.types import ArrayType, dtype_of, is_differentiable
from functrans.transforms.partition import partition
from functrans.transforms.tape import zeros

__all__ = ["call", "pullback_of"]


def evaluate(*operands: Any, program: Program) -> tuple[Any, ...]:
    """The program's results."""
    return tuple(run(program, operands))


def result_types(*types: ArrayType, program: Program) -> list[ArrayType]:
    """Those of the program's outputs."""
    return [atom.array_type for atom in program.outputs]


@derived
def pushed_program(program: Program, active: Flags, from_selection: bool) -> Body:
    """The program with tangents of the active operands, and of the results that depend on them."""
    return pushed_body(program, active, reached(program, active), from_selection)


def push(primals: list[Any], tangents: list[Any], *, from_selection: bool, program: Program) -> Any:
    """The call of the program with tangents beside the values."""
    active = tuple(tangent is not None for tangent in tangents)
    body = pushed_program(program, active, from_selection)
    with np.errstate(all="ignore"):
        results = call(*body.values, *primals, *chosen(tangents, active), program=body.program)
    count = len(body.flags)
    return results[:count], spread(results[count:], body.flags)


class Pullback(NamedTuple):
    """The two programs of reverse mode.

    Attributes:
        forward: (values, operands) -> (results, residuals that are no results).
        backward: (values, some operands, residuals, cotangents of the live results) -> cotangents of the active operands.
        values: arrays that they need.
        inputs: which operands the backward one has, by place.
        residuals: which outputs of the forward one are the residuals, by place.
        live: which results have cotangents.
    """

    forward: Program
    backward: Program
    values: tuple[Any, ...]
    inputs: tuple[int, ...]
    residuals: tuple[int, ...]
    live: Flags


@derived
def pullback_of(program: Program, active: Flags) -> Pullback:
    """What reverse mode needs, with respect to the active operands."""
    live = reached(program, active)
    body = joint_body(program, active, live, active)
    count, results = len(body.values), len(program.outputs)
    known = count + len(active)
    part = partition(body.program, known, results)
    inputs = [place for place in part.inputs if place >= count]
    own = [*body.program.inputs[:count], *(body.program.inputs[place] for place in inputs)]
    outputs = part.forward.outputs[:results]
    outputs += tuple(variable for variable in part.residuals if variable not in outputs)
    forward = replace(part.forward, outputs=outputs)
    backward = replace(part.backward, inputs=(*own, *part.residuals, *body.program.inputs[known:]))
    operands, residuals = tuple(place - count for place in inputs), tuple(map(outputs.index, part.residuals))
    return Pullback(forward, backward, body.values, operands, residuals, live)


def forward(operands: list[Any], active: int, *, program: Program) -> Any:
    """The call with what its pullback needs after its results."""
    flags = tuple([bool(active >> place & 1) and is_differentiable(dtype_of(value)) for place, value in enumerate(operands)])
    made = pullback_of(program, flags)
    results = call(*made.values, *operands, program=made.forward)
    count = len(made.live)
    return results[:count], (flags, operands, [results[place] for place in made.residuals])


def pull(cts: Sequence[Any], saved: Any, active: int, *, from_selection: bool, program: Program) -> Any:
    """The call of the pullback; what may belong to values that were not chosen needs one of its own, from the operands."""
    flags, operands, residuals = saved
    made = pullback_of(program, flags)
    types = [ArrayType(atom.array_type.shape, atom.array_type.dtype) for atom in program.outputs]
    seeds = chosen([zeros(type_) if ct is None else ct for ct, type_ in zip(cts, types)], made.live)
    if from_selection:
        body = joint_body(program, flags, made.live, flags, True)
        results = call(*body.values, *operands, *seeds, program=body.program)[len(cts) :]
    else:
        results = call(*made.values, *(operands[place] for place in made.inputs), *residuals, *seeds, program=made.backward)
    return spread(results, flags)


@derived
def pruned_program(program: Program, wanted: Flags) -> tuple[Program, Flags]:
    """The program with the wanted results only, and which operands it has."""
    pruned = without_dead_code(replace(program, outputs=tuple(chosen(program.outputs, wanted))))
    flags = read_inputs(pruned)
    return replace(pruned, inputs=tuple(chosen(pruned.inputs, flags))), flags


def prune(wanted: Sequence[bool], *, program: Program) -> Any:
    """Without the results nobody reads, and the operands that only they need."""
    pruned, flags = pruned_program(program, tuple(wanted))
    return None if all(wanted) and all(flags) else (flags, wanted, {"program": pruned})


def batch(operands: list[Any], batched: list[bool], size: int, axis_name: Any, *, program: Program) -> Any:
    """The call of the program of batches."""
    body = batched_body(program, tuple(batched), (False,) * len(program.outputs), size, axis_name)
    return call(*body.values, *operands, program=body.program), body.flags


call = Control(
    "call",
    evaluate,
    types=result_types,
    push=push,
    forward=forward,
    pull=pull,
    batch=batch,
    prune=prune,
    reach=lambda active, *, program: reached(program, active),
    knows_selection=True,
)
