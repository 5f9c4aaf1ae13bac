"""Bodies of loops and branches: simplified, with the numbers they take written into them.

Invariant: what an equation computes is as it was; each result of a body is a variable of its own, and no input, but
for a carry that a loop leaves as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from functrans.control.branch import branch
from functrans.control.scan_loop import scan_loop
from functrans.control.tape_loop import tape_loop, with_tape
from functrans.control.while_loop import while_loop, while_pullback
from functrans.core.primitive import Contraction, Control, Elementwise, Primitive, Reduction, Structural
from functrans.core.program import Atom, Equation, Literal, Program, Variable
from functrans.core.types import ArrayType
from functrans.errors import Origin
from functrans.ops import arithmetic, structure

__all__ = ["NATIVE", "carries", "first_carries", "with_bodies"]

# The loops and branches that have native code; others, such as a way back that keeps few states, are performed in Python.
NATIVE: frozenset[Primitive] = frozenset({scan_loop, while_loop, tape_loop, branch})


def with_bodies(program: Program, simplified: Callable[[Program], Program]) -> Program:
    """`program` with the bodies of its loops and branches simplified, by a function that does so."""
    if not any(isinstance(equation.primitive, Control) for equation in program.equations):
        return program
    numbers: dict[Variable, Literal] = {}
    equations: list[Equation] = []
    captured = dict(zip(program.captured, program.values))  # each once, though loops may share a body
    for equation in program.equations:
        if equation.primitive is structure.broadcast_to and isinstance(equation.inputs[0], Literal):
            numbers[equation.outputs[0]] = equation.inputs[0]
        if equation.primitive is while_pullback and equation.params["checkpoint"] is None:
            equation = with_tape(equation)
        if equation.primitive not in NATIVE:
            equations.append(equation)
            continue
        equation = with_numbers(equation, numbers)
        results = {body: with_results(simplified(body), own) for body, own in zip(equation.programs, carries(equation))}
        equation = replace(equation, params=with_programs(equation.params, results.__getitem__))
        equation = with_operands(equation)
        for body in results.values():
            captured |= dict(zip(body.captured, body.values))
        equation = with_invariants_outside(equation, equations)
        inputs: list[Atom] = []
        for atom in equation.inputs:
            if isinstance(atom, Literal):
                equations.append(copy_of(atom, equation.origin))
                atom = equations[-1].outputs[0]
            inputs.append(atom)
        equations.append(replace(equation, inputs=tuple(inputs)))
    return replace(program, equations=tuple(equations), captured=tuple(captured), values=tuple(captured.values()))


def with_programs(params: dict[str, Any], changed: Callable[[Program], Program]) -> dict[str, Any]:
    """Parameters with other programs."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(one, value))
        return changed(value) if isinstance(value, Program) else value

    return {name: one(value) for name, value in params.items()}


def with_numbers(equation: Equation, numbers: Mapping[Variable, Literal]) -> Equation:
    """An equation with the numbers among its operands, and what is filled with one, made in the bodies that read them."""
    found = {
        place: (literal, atom.array_type)
        for place, atom in enumerate(equation.inputs)
        if (literal := atom if isinstance(atom, Literal) else numbers.get(atom)) is not None
    }
    params = dict(equation.params)
    own: dict[str, range] = {}  # by the parameter that counts them, the operands that a body reads in each round
    if equation.primitive is scan_loop:
        own["consts"] = range(params["consts"])
        params["body"] = with_made(params["body"], within(found, own["consts"]))
    elif equation.primitive is while_loop:
        own["cond_consts"] = range(params["cond_consts"])
        own["body_consts"] = range(params["cond_consts"], params["cond_consts"] + params["body_consts"])
        params["cond"] = with_made(params["cond"], within(found, own["cond_consts"]))
        params["body"] = with_made(params["body"], within(found, own["body_consts"]))
    elif equation.primitive is branch:
        own[""] = range(1, len(equation.inputs))
        params["branches"] = tuple(with_made(body, within(found, own[""])) for body in params["branches"])
    written = {place for places in own.values() for place in places if place in found}
    if not written:
        return equation
    params |= {name: len(places) - len(written.intersection(places)) for name, places in own.items() if name}
    return replace(equation, inputs=tuple(a for place, a in enumerate(equation.inputs) if place not in written), params=params)


Made = tuple[Literal, ArrayType]


def with_operands(equation: Equation) -> Equation:
    """An equation with what its bodies capture, since functions with rules of their own were written into them, as operands."""
    found = [variable for body in equation.programs for variable in body.captured]
    if not found:
        return equation
    params, inputs = dict(equation.params), equation.inputs
    if equation.primitive is branch:
        params["branches"] = tuple(taking(body, found) for body in params["branches"])
        return replace(equation, inputs=(inputs[0], *found, *inputs[1:]), params=params)
    for count, names, place in COUNTED[equation.primitive]:
        own = [variable for name in names for variable in params[name].captured]
        first = params[place] if place else 0
        inputs = (*inputs[:first], *own, *inputs[first:])
        params |= {count: params[count] + len(own)} | {name: taking(params[name], own) for name in names}
    return replace(equation, inputs=inputs, params=params)


# By loop, the parameter that counts what bodies read in each round, these bodies, and how many operands come before; the
# last ones first.
COUNTED: dict[Primitive, list[tuple[str, tuple[str, ...], str | None]]] = {
    scan_loop: [("consts", ("body",), None)],
    while_loop: [("body_consts", ("body",), "cond_consts"), ("cond_consts", ("cond",), None)],
    tape_loop: [("consts", ("sweep", "back"), "cond_consts"), ("cond_consts", ("cond",), None)],
}


def taking(body: Program, captured: Sequence[Variable]) -> Program:
    """A body that takes variables as its first inputs, and captures nothing."""
    return replace(body, inputs=(*captured, *body.inputs), captured=(), values=())


def with_invariants_outside(equation: Equation, before: list[Equation]) -> Equation:
    """A loop without what is the same in all its rounds: this is computed `before` it, and is one more of its operands."""
    params = equation.params
    if equation.primitive is scan_loop:
        name, first, count = "consts", 0, params["consts"]
    elif equation.primitive is while_loop:
        name, first, count = "body_consts", params["cond_consts"], params["body_consts"]
    else:
        return equation
    body, consts = params["body"], equation.inputs[first : first + count]
    outside: dict[Atom, Atom] = dict(zip(body.inputs, consts))
    moved = invariant(body, body.inputs[:count])
    for inner in moved:
        results = tuple(Variable(variable.array_type) for variable in inner.outputs)
        before.append(replace(inner, outputs=results, inputs=tuple(outside.get(atom, atom) for atom in inner.inputs)))
        outside.update(zip(inner.outputs, results))
    own = [inner for inner in body.equations if inner not in moved]
    read = {atom for inner in own for atom in inner.inputs}.union(body.outputs)
    new = tuple(variable for inner in moved for variable in inner.outputs if variable in read)
    if not new:
        return equation
    inputs = (*body.inputs[:count], *new, *body.inputs[count:])
    place, (carried, *_) = first + count, carries(equation)
    # Results that are made outside are copied.
    made = with_results(replace(body, inputs=inputs, equations=tuple(own)), range(carried.start + len(new), carried.stop + len(new)))
    return replace(
        equation,
        inputs=(*equation.inputs[:place], *(outside[variable] for variable in new), *equation.inputs[place:]),
        params=params | {"body": made, name: count + len(new)},
    )


def invariant(body: Program, consts: Sequence[Variable]) -> list[Equation]:
    """The equations of a body whose results are the same in all rounds, if they take time and cannot fail; and what these read."""
    known: set[Atom] = set(consts)
    found = []
    for equation in body.equations:
        is_same = all(atom in known or isinstance(atom, Literal) for atom in equation.inputs)
        if is_same and isinstance(equation.primitive, (Elementwise, Structural, Reduction, Contraction)):
            known.update(equation.outputs)
            found.append(equation)
    needed: set[Atom] = set()
    moved = []
    for equation in reversed(found):
        takes_time = not isinstance(equation.primitive, Structural) or equation.primitive is structure.convert
        if takes_time or not needed.isdisjoint(equation.outputs):
            needed.update(equation.inputs)
            moved.append(equation)
    return moved[::-1]


def within(found: Mapping[int, Made], places: range) -> dict[int, Made]:
    """What is found in a range of places, counted from its start."""
    return {place - places.start: made for place, made in found.items() if place in places}


def with_made(body: Program, made: Mapping[int, Made]) -> Program:
    """A body that makes some of its inputs itself."""
    if not made:
        return body
    first = [
        Equation((body.inputs[place],), structure.broadcast_to, (literal,), {"shape": type_.shape})
        for place, (literal, type_) in made.items()
    ]
    inputs = tuple(variable for place, variable in enumerate(body.inputs) if place not in made)
    return replace(body, inputs=inputs, equations=(*first, *body.equations))


def copy_of(atom: Atom, origin: Origin | None = None) -> Equation:
    """A copy, which of a Python number is one."""
    copying = arithmetic.positive if atom.array_type.weak else structure.copy
    return Equation((Variable(atom.array_type),), copying, (atom,), {}, origin)


def carries(equation: Equation) -> list[range]:
    """For each body, in the order of their names, the places of the inputs that are its first results in the round before."""
    params = equation.params
    if equation.primitive is scan_loop:
        return [range(params["consts"], params["consts"] + params["carry"])]
    if equation.primitive is while_loop:
        return [range(params["body_consts"], len(params["body"].inputs)), range(0)]
    if equation.primitive is tape_loop:  # what the tape holds is written beside what was before
        return [range(params["consts"] + params["carry"], len(params["back"].inputs)), range(0), range(0)]
    return [range(0)] * len(equation.programs)


def first_carries(equation: Equation) -> list[tuple[Atom, Variable]]:
    """What a loop carries at first, each with what it is at the end."""
    params, count = equation.params, 0
    if equation.primitive is scan_loop:
        place, number = params["consts"], params["carry"]
    elif equation.primitive is while_loop:
        place = params["cond_consts"] + params["body_consts"]
        number = len(equation.inputs) - place
    elif equation.primitive is tape_loop:
        place = params["cond_consts"] + params["consts"] + params["carry"]
        number = len(equation.inputs) - place
        count = len(equation.outputs) - number  # sums, which start at zero
    else:
        return []
    return list(zip(equation.inputs[place : place + number], equation.outputs[count:]))


def with_results(body: Program, carried: range) -> Program:
    """A body each of whose results is a variable of its own; its first may be the inputs that they are in the next round."""
    taken: set[Atom] = set()
    equations = list(body.equations)
    outputs: list[Atom] = []
    for place, atom in enumerate(body.outputs):
        stays = place < len(carried) and atom is body.inputs[carried[place]]
        if atom in taken or isinstance(atom, Literal) or atom in body.inputs and not stays:
            equations.append(copy_of(atom))
            atom = equations[-1].outputs[0]
        taken.add(atom)
        outputs.append(atom)
    return replace(body, equations=tuple(equations), outputs=tuple(outputs))
