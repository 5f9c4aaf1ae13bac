"""Simplification: a program to an equal one with fewer equations.

Invariant: results are the same to the last bit, nan, infinities and signed zeros included, but that sums of
float16 are rounded once; what a program captures stays captured by reference, and no result shares memory with it,
with an argument or another result; what has an effect has it once, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from functrans.compile.rewrite.barriers import behind_barrier, renamed, settled
from functrans.compile.rewrite.bodies import with_bodies
from functrans.compile.rewrite.expand import expanded
from functrans.control.checkpoint import checkpoint_call
from functrans.control.custom_linear_solve import linear_solve, solver_of
from functrans.control.custom_root import found_root, implicit_root
from functrans.core.primitive import General, Primitive
from functrans.core.program import Atom, Equation, Literal, Program, Variable, without_dead_code
from functrans.core.trace import EVALUATION, running
from functrans.ops import arithmetic, structure
from functrans.ops.recomputation import checkpoint_name
from functrans.transforms.custom import custom_call, gradient_stop

__all__ = ["simplify"]


def simplify(program: Program) -> Program:
    """`program` without calls of functions, copies, neutral operations, repeated equations and dead code.

    Operations that have no loops are written as others that have.
    """
    return without_dead_code(with_copies(reduced(program)))


def reduced(program: Program) -> Program:
    """`program`, and the bodies of its loops and branches, simplified; results may be arguments, and one may be another."""
    program = expanded(inlined(without_dead_code(program)))
    replaced: dict[Variable, Atom] = {}
    known: dict[Hashable, tuple[Variable, ...]] = {}
    numbers: dict[Variable, Literal] = {}
    equations = []
    for equation in program.equations:
        inputs = tuple(replaced.get(atom, atom) if isinstance(atom, Variable) else atom for atom in equation.inputs)
        if equation.primitive in (structure.broadcast_to, structure.reshape):
            literal = as_number(inputs[0], numbers)
            if literal is not None:
                numbers[equation.outputs[0]] = literal
        same = neutral(equation, inputs, numbers)
        if same is not None:
            replaced[equation.outputs[0]] = same
            continue
        key = equation_key(equation, inputs)
        earlier = known.get(key) if key is not None else None
        if earlier is not None:
            replaced.update(zip(equation.outputs, earlier))
            continue
        if key is not None:
            known[key] = equation.outputs
        equations.append(Equation(equation.outputs, equation.primitive, inputs, equation.params, equation.origin))
    outputs = [replaced.get(atom, atom) if isinstance(atom, Variable) else atom for atom in program.outputs]
    program = settled(replace(program, equations=tuple(equations), outputs=tuple(outputs)))
    return without_dead_code(with_bodies(program, reduced))


def inlined(program: Program) -> Program:
    """`program` with functions that have derivatives of their own, or are checkpointed, and solvers in place of calls of them."""
    if not any(equation.primitive in CALLS for equation in program.equations):
        return program
    replaced: dict[Variable, Atom] = {}
    captured, values, equations = list(program.captured), list(program.values), []

    def current(atoms: tuple[Atom, ...]) -> tuple[Atom, ...]:
        return tuple(replaced.get(atom, atom) if isinstance(atom, Variable) else atom for atom in atoms)

    for equation in program.equations:
        equation = replace(equation, inputs=current(equation.inputs))
        if equation.primitive not in CALLS:
            equations.append(equation)
            continue
        barriers, called, inputs = CALLS[equation.primitive](equation)
        called = renamed(inlined(called))
        equations += barriers
        captured += called.captured
        values += called.values
        replaced.update(zip(called.inputs, inputs))
        equations += [replace(inner, inputs=current(inner.inputs)) for inner in called.equations]
        replaced.update(zip(equation.outputs, current(called.outputs)))
    return Program(
        program.name,
        program.inputs,
        tuple(equations),
        current(program.outputs),
        tuple(captured),
        tuple(values),
        program.input_structure,
        program.output_structure,
    )


Called = tuple[list[Equation], Program, Sequence[Atom]]


def custom_program(equation: Equation) -> Called:
    """A function with a rule of its own."""
    with running(EVALUATION):
        return [], equation.params["call"].program([atom.array_type for atom in equation.inputs]), equation.inputs


def checkpointed_program(equation: Equation) -> Called:
    """A checkpointed call, or its backward part."""
    barriers, inputs = behind_barrier(equation, equation.inputs)
    return barriers, equation.params["body"], inputs


# For a call, what comes before it, the program that gives its results, and what that is given.
CALLS: dict[Primitive, Callable[[Equation], Called]] = {
    custom_call: custom_program,
    checkpoint_call: checkpointed_program,
    linear_solve: lambda equation: ([], *solver_of(equation)),
    implicit_root: lambda equation: ([], *found_root(equation)),
}


def with_copies(program: Program) -> Program:
    """`program` with an array of its own for each result, which the caller may write into: arguments and others are copied."""
    taken: set[Atom] = {*program.inputs, *program.captured}
    equations = list(program.equations)
    result: list[Atom] = []
    for atom in program.outputs:
        if isinstance(atom, Variable) and atom.array_type.shape:
            if atom in taken:
                own = Variable(atom.array_type)
                equations.append(Equation((own,), structure.copy, (atom,), {}))
                atom = own
            taken.add(atom)
        result.append(atom)
    return replace(program, equations=tuple(equations), outputs=tuple(result))


def equation_key(equation: Equation, inputs: tuple[Atom, ...]) -> Hashable | None:
    """What equal equations have in common, equal loops and branches as well; None for calls, which are never taken together."""
    if equation.has_effect or isinstance(equation.primitive, General) or not equation.repeatable:
        return None
    atoms = tuple(literal_key(atom) if isinstance(atom, Literal) else atom for atom in inputs)
    key = equation.primitive, atoms, tuple(sorted(equation.params.items()))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def literal_key(literal: Literal) -> Hashable:
    """A number with its type, and the sign of a zero."""
    return type(literal.value), literal.array_type, repr(literal.value)


# By operation, the place of an operand and the number that leaves the other operand as it is there.
NEUTRAL: dict[Primitive, tuple[tuple[int, int], ...]] = {
    arithmetic.multiply: ((0, 1), (1, 1)),
    arithmetic.masked_multiply: ((0, 1), (1, 1)),
    arithmetic.divide: ((1, 1),),
}
# Operations that leave an operand as it is where they do not change its type.
IDENTITIES = {
    arithmetic.positive, structure.copy, structure.broadcast_to, structure.reshape, structure.convert, gradient_stop,
    checkpoint_name,
}  # fmt: skip


def neutral(equation: Equation, inputs: tuple[Atom, ...], numbers: dict[Variable, Literal]) -> Atom | None:
    """The operand an equation leaves as it is, in value and type; else None."""
    primitive = equation.primitive
    same: Atom | None = None
    if primitive in IDENTITIES or primitive is arithmetic.integer_power and equation.params["exponent"] == 1:
        same = inputs[0]
    if primitive is structure.concatenate:
        filled = [atom for atom in inputs if 0 not in atom.array_type.shape]
        same = filled[0] if len(filled) == 1 else None
    is_complex = any(v.array_type.dtype.kind == "c" for v in equation.outputs)  # where 1 * inf is inf + nan i
    for place, number in NEUTRAL.get(primitive, ()) if not is_complex else ():
        literal = as_number(inputs[place], numbers)
        if literal is not None and literal.value == number:
            same = inputs[1 - place]
    return same if same is not None and same.array_type == equation.outputs[0].array_type else None


def as_number(atom: Atom, numbers: dict[Variable, Literal]) -> Literal | None:
    """The number an atom is, or that all its elements are."""
    return atom if isinstance(atom, Literal) else numbers.get(atom)
