"""Barriers: what a backward pass computes again is neither merged with what was computed before, nor moved there.

While a program is simplified, a barrier's results are values of their own, so that nothing that reads them equals what
reads the barrier's operands. After that the operands are read in their place, and what is left of the barrier, an
equation without results, says in which order: what reads its operands from there on comes after all of them are made.
So a barrier costs no copy, and takes no memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from functrans.core.program import Atom, Equation, Program, Variable
from functrans.ops.recomputation import barrier

__all__ = ["behind_barrier", "renamed", "settled"]


def behind_barrier(equation: Equation, inputs: tuple[Atom, ...]) -> tuple[list[Equation], tuple[Atom, ...]]:
    """The barrier in front of a checkpointed call's backward part, if it needs one, and what the part reads instead of `inputs`.

    What it computes from again is behind the barrier, which waits for the cotangents as well.
    """
    sources = [own and equation.params["options"].prevent_cse for own in equation.params["sources"]]
    behind = {a: Variable(a.array_type) for a, own in zip(inputs, sources) if own and isinstance(a, Variable)}
    if not behind:
        return [], inputs
    others = dict.fromkeys(atom for atom in inputs if isinstance(atom, Variable) and atom not in behind)
    made = Equation(tuple(behind.values()), barrier, (*behind, *others), {"count": len(behind)}, equation.origin)
    return [made], tuple(behind.get(atom, atom) if isinstance(atom, Variable) else atom for atom in inputs)


def renamed(program: Program) -> Program:
    """`program` with variables of its own, since a call's may be in a program twice."""
    names: dict[Variable, Variable] = {}

    def own(atom: Any) -> Any:
        return names.setdefault(atom, Variable(atom.array_type)) if isinstance(atom, Variable) else atom

    equations = [
        replace(equation, inputs=tuple(map(own, equation.inputs)), outputs=tuple(map(own, equation.outputs)))
        for equation in program.equations
    ]
    inputs, outputs = tuple(map(own, program.inputs)), tuple(map(own, program.outputs))
    return replace(
        program, inputs=inputs, equations=tuple(equations), outputs=outputs, captured=tuple(map(own, program.captured))
    )


def settled(program: Program) -> Program:
    """`program` with the operands of barriers in place of their results."""
    replaced: dict[Variable, Atom] = {}

    def current(atoms: tuple[Atom, ...]) -> tuple[Atom, ...]:
        return tuple(replaced.get(atom, atom) if isinstance(atom, Variable) else atom for atom in atoms)

    equations = []
    for equation in program.equations:
        equation = replace(equation, inputs=current(equation.inputs))
        if equation.primitive is barrier:
            replaced.update(zip(equation.outputs, equation.inputs))
            equation = replace(equation, outputs=(), params={"count": 0})
        equations.append(equation)
    return replace(program, equations=tuple(equations), outputs=current(program.outputs)) if replaced else program
