"""Steps run as Python: kernels by their text, loops and branches by their bodies, and NumPy's calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from functrans.compile.arguments import Layouts, memory_of
from functrans.compile.emit.python_text import run
from functrans.compile.schedule.kernels import KernelCall
from functrans.compile.schedule.steps import Body, ControlCall, Step, written_by
from functrans.control.branch import branch
from functrans.control.scan_loop import scan_loop
from functrans.control.tape_loop import tape_loop
from functrans.control.while_evaluation import too_many_steps
from functrans.control.while_loop import while_loop
from functrans.core.primitive import Primitive
from functrans.core.program import Atom, Equation, Literal

__all__ = ["interpreted", "values_of"]


def values_of(atoms: Iterable[Atom], values: dict[Any, Any]) -> list[Any]:
    """The values of atoms."""
    return [atom.value if isinstance(atom, Literal) else values[atom] for atom in atoms]


def interpreted(step: Step, values: dict[Any, Any], layouts: Layouts) -> Sequence[Any]:
    """What a step writes, computed in Python; into what an earlier step has made of it, if one has."""
    if isinstance(step, KernelCall):
        types = [variable.array_type for variable in written_by(step)]
        arrays = [values[v] if v in values else np.empty(v.array_type.shape, v.array_type.dtype) for v in step.outputs]
        inputs = [memory_of(values[v]) if v in layouts else np.ravel(values[v]) for v in step.inputs]
        for source in step.updates.values():
            inputs[step.inputs.index(source)] = inputs[step.inputs.index(source)].copy()
        run(step.kernel, *inputs, *(array.reshape(-1) for array in arrays))
        arrays += [inputs[step.inputs.index(v)].reshape(t.shape) for v, t in zip(step.updates.values(), types[len(arrays) :])]
        return [array if t.shape else array.item() if t.weak else array[()] for t, array in zip(types, arrays)]
    equation = step.equation
    operands = values_of(equation.inputs, values)
    with np.errstate(all="ignore"):
        if isinstance(step, ControlCall):
            results = CONTROL[equation.primitive](equation, step.bodies, operands)
            return [*results, *(None for _ in step.scratch)]
        result = equation.primitive.evaluate(*operands, **equation.params)
    return result if equation.primitive.multiple else [result]


def of_body(body: Body, operands: Sequence[Any]) -> list[Any]:
    """The results of a body."""
    values = dict(zip(body.program.inputs, operands))
    for step in body.plan.calls if body.plan is not None else body.calls:
        values.update(zip(written_by(step), interpreted(step, values, {})))
    return values_of(body.program.outputs, values)


def of_scan(equation: Equation, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    """A loop of known length."""
    params, (body,) = equation.params, bodies
    first, count, length = params["consts"], params["carry"], params["length"]
    consts, carry, sliced = operands[:first], list(operands[first : first + count]), operands[first + count :]
    order = range(length)[::-1] if params["reverse"] else range(length)
    rows = [np.empty(v.array_type.shape, v.array_type.dtype) for v in equation.outputs[count:]]
    for place in order:
        results = of_body(body, [*consts, *carry, *(x[place] for x in sliced)])
        carry = results[:count]
        for row, value in zip(rows, results[count:]):
            row[place] = value
    return [*carry, *rows]


def of_while(equation: Equation, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    """A loop that goes on while a condition holds."""
    params, (body, cond) = equation.params, bodies
    first = params["cond_consts"]
    conditions, consts = operands[:first], operands[first : first + params["body_consts"]]
    carry = list(operands[first + params["body_consts"] :])
    for _ in rounds(body, lambda: of_body(cond, [*conditions, *carry])[0], params["max_steps"]):
        carry = of_body(body, [*consts, *carry])
    return carry


def rounds(body: Body, goes_on: Callable[[], Any], most: int | None) -> Iterator[int]:
    """The numbers of the rounds of a loop of a body, while it goes on."""
    number = 0
    while goes_on():
        if number == most:
            raise too_many_steps(body.program.name, most)
        yield number
        number += 1


def of_tape(equation: Equation, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    """A loop that goes on while a condition holds, and back."""
    params, (back, cond, sweep) = equation.params, bodies
    first = params["cond_consts"]
    conditions, consts = operands[:first], operands[first : first + params["consts"]]
    carry, cts = (operands[first + params["consts"] :][part] for part in (slice(params["carry"]), slice(params["carry"], None)))
    tape = []
    for _ in rounds(sweep, lambda: of_body(cond, [*conditions, *carry])[0], params["max_steps"]):
        tape.append(carry)
        carry = of_body(sweep, [*consts, *carry])
    count = len(equation.outputs) - len(cts)
    results = [*(np.zeros(v.array_type.shape, v.array_type.dtype)[()] for v in equation.outputs[:count]), *cts]
    for state in reversed(tape):
        results = of_body(back, [*consts, *state, *results])
    return results


def of_branch(equation: Equation, bodies: Sequence[Body], operands: Sequence[Any]) -> list[Any]:
    """One of some branches."""
    index, *own = operands
    return of_body(bodies[min(max(int(index), 0), len(bodies) - 1)], own)


CONTROL: dict[Primitive, Callable[[Equation, Sequence[Body], Sequence[Any]], list[Any]]] = {scan_loop: of_scan, while_loop: of_while, tape_loop: of_tape, branch: of_branch}
