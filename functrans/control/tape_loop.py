"""The way back through a loop as the compiler has it: `while_pullback` without `checkpoint`, with its programs spelled out.

Compiled programs hold it in place of `while_pullback`; no other transform meets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from functrans.control.bodies import strong_type
from functrans.control.evaluation import perform, run
from functrans.control.while_evaluation import states
from functrans.control.while_programs import reverse_with
from functrans.core.primitive import Control
from functrans.core.program import Equation, Program, Variable
from functrans.core.types import ArrayType
from functrans.ops.arithmetic import add
from functrans.transforms.tape import zeros

__all__ = ["tape_loop", "with_tape"]


def evaluate(*operands: Any, **params: Any) -> tuple[Any, ...]:
    """The cotangents of consts and of first carries."""
    return perform(tape_loop, interpret, operands, params)


def interpret(
    *operands: Any, cond: Program, sweep: Program, back: Program, cond_consts: int, consts: int, carry: int, max_steps: int | None
) -> tuple[Any, ...]:
    """Both ways in Python."""
    own, shared = operands[:cond_consts], operands[cond_consts : cond_consts + consts]
    first, cts = operands[cond_consts + consts :][:carry], operands[cond_consts + consts + carry :]
    count = len(back.outputs) - len(cts)
    sums = [zeros(variable.array_type) for variable in back.inputs[consts + carry :][:count]]
    results = [*sums, *cts]
    for state in list(states(cond, sweep, own, shared, first, max_steps))[-2::-1]:
        results = run(back, [*shared, *state, *results])
    return tuple(results)


def result_types(*types: ArrayType, back: Program, **params: Any) -> list[ArrayType]:
    """Those of the sums and of the cotangents that are carried."""
    return [strong_type(atom.array_type) for atom in back.outputs]


def unmet(*_: Any, **params: Any) -> Any:
    """No rule: programs are transformed before they are compiled."""
    raise AssertionError("the way back of a compiled loop was transformed")


# Of consts of the condition, consts, first carries and cotangents. `sweep`: (consts, carries) -> carries; `back`: (consts,
# carries, sums, cotangents) -> (sums, cotangents).
tape_loop = Control(
    "tape_loop", evaluate, types=result_types, push=unmet, forward=unmet, pull=unmet, batch=unmet, prune=lambda wanted, **_: None
)


def with_tape(equation: Equation) -> Equation:
    """A `while_pullback` as a `tape_loop`."""
    params = {key: value for key, value in equation.params.items() if key not in ("max_steps", "checkpoint")}
    made = reverse_with(**params)
    own, consts, carries, _ = made.parts(range(len(equation.inputs)))
    new = {
        "cond": made.cond,
        "sweep": made.sweep,
        "back": accumulating(made.back, len(consts) + len(carries)),
        "cond_consts": len(own),
        "consts": len(consts),
        "carry": len(carries),
        "max_steps": equation.params["max_steps"],
    }
    return replace(equation, primitive=tape_loop, params=new)


def accumulating(back: Program, first: int) -> Program:
    """The pullback of a step that adds what belongs to consts to sums, its inputs before the cotangents, which are from `first` on."""
    count = len(back.outputs) - (len(back.inputs) - first)
    types: Sequence[ArrayType] = [strong_type(atom.array_type) for atom in back.outputs[:count]]
    sums, totals = (tuple(map(Variable, types)) for _ in range(2))
    adding = [Equation((total,), add, (old, part), {}) for total, old, part in zip(totals, sums, back.outputs)]
    return replace(
        back,
        inputs=(*back.inputs[:first], *sums, *back.inputs[first:]),
        equations=(*back.equations, *adding),
        outputs=(*totals, *back.outputs[count:]),
    )
