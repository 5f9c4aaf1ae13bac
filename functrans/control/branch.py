"""`cond` and `switch`: one of several functions, chosen by a value.

The branches are programs of the same operands, with results of the same types; only the chosen one is evaluated.
Derivatives are branches as well: forward mode over the branches with tangents; reverse mode over the forward part of
each branch, which keeps what its backward part needs, then over the backward parts. What they keep goes through slots
that all of them share, by type; those that a branch does not fill are zeros. Of a batch each item takes its own branch.

Invariant: branches capture nothing, and agree in the types of their results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from functrans import tree
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
    restaged,
    spread,
    staged_body,
)
from functrans.control.carries import converted
from functrans.control.evaluation import perform
from functrans.control.items import item_by_item
from functrans.core.primitive import Control, Elementwise, Reduction, Structural
from functrans.core.program import Atom, Equation, Program, Variable, without_dead_code
from functrans.core.staging import function_title
from functrans.core.tracer import Tracer, operand
from functrans.core.types import ArrayType, describe, dtype_of, is_differentiable, result_dtype, shape_of, type_of
from functrans.errors import StructureError, at_user_line
from functrans.numpy.structure import astype
from functrans.ops.arithmetic import integer_power, left_shift, right_shift
from functrans.ops.indexing import getitem
from functrans.ops.structure import convert
from functrans.transforms.costs import ARITHMETIC, CHEAP
from functrans.transforms.partition import partition
from functrans.transforms.tape import zeros

__all__ = ["branch", "cond", "switch"]

Programs = tuple[Program, ...]


def evaluate(*operands: Any, **params: Any) -> tuple[Any, ...]:
    """The results of the chosen branch."""
    return perform(branch, interpret, operands, params)


def interpret(index: Any, *operands: Any, branches: Programs) -> tuple[Any, ...]:
    """The chosen branch in Python; an index out of range chooses the first or the last one."""
    return tuple(branches[min(max(int(index), 0), len(branches) - 1)].evaluate(operands))


def result_types(index: ArrayType, *types: ArrayType, branches: Programs) -> list[ArrayType]:
    """Those of any branch."""
    return [atom.array_type for atom in branches[0].outputs]


def reach(active: Sequence[bool], *, branches: Programs) -> Flags:
    """What any branch gives of the active operands."""
    return union(reached(program, active[1:]) for program in branches)


def union(flags: Any) -> Flags:
    """Where any of several has a flag."""
    return tuple(map(any, zip(*flags, strict=True)))


def united(bodies: Sequence[Body]) -> tuple[Programs, tuple[Any, ...]]:
    """The programs with the arrays that any of them needs as the first inputs of all, and these arrays."""
    spare = [[Variable(type_of(value)) for value in body.values] for body in bodies]
    programs = []
    for place, body in enumerate(bodies):
        count = len(body.values)
        own = [*spare[:place], body.program.inputs[:count], *spare[place + 1 :]]
        programs.append(replace(body.program, inputs=(*chain(*own), *body.program.inputs[count:])))
    return tuple(programs), tuple(chain(*(body.values for body in bodies)))


@derived
def pushed_branches(first: Program, branches: Programs, active: Flags) -> tuple[Programs, tuple[Any, ...], Flags]:
    """The branches with tangents: (operands, tangents of the active ones) -> (results, tangents of those any has one of)."""
    flags = union(reached(program, active) for program in branches)
    return *united([pushed_body(program, active, flags) for program in branches]), flags


def push(primals: list[Any], tangents: list[Any], *, branches: Programs) -> Any:
    """The branch with tangents beside the values."""
    active = tuple(tangent is not None for tangent in tangents[1:])
    programs, values, flags = pushed_branches(branches[0], branches, active)
    with np.errstate(all="ignore"):
        results = branch(primals[0], *values, *primals[1:], *chosen(tangents[1:], active), branches=programs)
    return results[: len(flags)], spread(results[len(flags) :], flags)


class Pullback(NamedTuple):
    """The two branches of reverse mode.

    Attributes:
        forward, backward: the programs; the first operands of both are `values`.
        inputs: which other operands the backward ones read, by place.
        live: which results have cotangents.
    """

    forward: Programs
    backward: Programs
    values: tuple[Any, ...]
    inputs: tuple[int, ...]
    live: Flags


@derived
def pullback_of(first: Program, branches: Programs, active: Flags) -> Pullback:
    """What reverse mode needs, with respect to the active operands."""
    live = union(reached(program, active) for program in branches)
    joint, values = united([joint_body(program, active, live, active)[:2] + (active,) for program in branches])
    count, results = len(values), len(live)
    parts = [partition(program, count + len(active), results) for program in joint]
    slots = shared_slots([[variable.array_type for variable in part.residuals] for part in parts])
    inputs = tuple(sorted({place for part in parts for place in part.inputs if place >= count}))
    forward, backward = [], []
    for program, part in zip(joint, parts):
        places = slots_of([variable.array_type for variable in part.residuals], slots)
        own = dict(zip(places, part.residuals))
        known = dict(zip(part.inputs, part.backward.inputs))
        ...
    raise NotImplementedError
