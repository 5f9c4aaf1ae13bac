"""Operands of matrix products, LAPACK's functions and reshapes: read as they lie where that is possible, else copied.

Program to program, before kernels are made. Invariant: results are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from functrans.compile.arguments import Layouts
from functrans.compile.machine.blas import Product, matrix_product
from functrans.compile.machine.lapack import matrix_function
from functrans.compile.schedule.contractions import laid_out
from functrans.compile.schedule.elements import Definitions, is_inlined
from functrans.compile.schedule.indices import is_view, reshaped
from functrans.compile.schedule.nodes import is_contracted
from functrans.core.primitive import Control
from functrans.core.program import Equation, Literal, Program, Variable, without_dead_code
from functrans.ops import structure
from functrans.ops.contraction import contract, split

__all__ = ["product_of", "with_fitting_operands"]


def with_fitting_operands(program: Program, layouts: Layouts) -> Program:
    """`program` with its matrix products of the operands of transposes, and copies of arguments that do not lie as needed."""
    definitions = program.definitions()
    copies: dict[Variable, Variable] = {}
    equations: list[Equation] = []
    for equation in program.equations:
        for made in laid_out(without_transposes(equation, definitions, layouts)):
            needed = copied_for(made, layouts)
            for variable in needed - copies.keys():
                copies[variable] = Variable(variable.array_type)
                equations.append(Equation((copies[variable],), structure.copy, (variable,), {}, made.origin))
            inputs = tuple(copies[atom] if atom in needed else atom for atom in made.inputs)
            equations.append(replace(made, inputs=inputs) if needed else made)
    return without_dead_code(replace(program, equations=tuple(equations)))


def product_of(equation: Equation, layouts: Layouts) -> Product | None:
    """The matrix product an equation is, if BLAS takes its operands as they lie."""
    if equation.primitive is not contract or any(isinstance(atom, Literal) for atom in equation.inputs):
        return None
    return matrix_product(equation, layouts)


def without_transposes(equation: Equation, definitions: Definitions, layouts: Layouts) -> Equation:
    """A contraction of what is transposed, with other letters, if BLAS or a loop takes that; another equation as it is."""
    if equation.primitive is contract:
        for folded in foldings(equation, definitions):
            if is_contracted(folded) or product_of(folded, layouts) is not None:
                return folded
    return equation


def foldings(equation: Equation, definitions: Definitions) -> Iterator[Equation]:
    """A contraction with the transposes of both, or of one, of its operands folded into its letters."""
    x, y, out = split(equation.params["subscripts"])
    given = list(zip(equation.inputs, (x, y)))
    folded = []
    for atom, letters in given:
        made_by = definitions.get(atom) if isinstance(atom, Variable) else None
        if made_by is None or made_by.primitive is not structure.transpose:
            folded.append((atom, letters))
            continue
        order = made_by.params["axes"]
        folded.append((made_by.inputs[0], "".join(letters[order.index(axis)] for axis in range(len(order)))))
    for first, second in ((folded[0], folded[1]), (folded[0], given[1]), (given[0], folded[1])):
        if (first, second) != (given[0], given[1]):
            params = {"subscripts": f"{first[1]},{second[1]}->{out}"}
            yield replace(equation, inputs=(first[0], second[0]), params=params)


def copied_for(equation: Equation, layouts: Layouts) -> set[Variable]:
    """The operands of an equation that it needs C-contiguous copies of: as few as possible."""
    laid = {atom for atom in equation.inputs if isinstance(atom, Variable) and atom in layouts}
    if not laid or is_contracted(equation):
        return set()
    if isinstance(equation.primitive, Control) or matrix_function(equation) is not None:
        return laid
    if is_inlined(equation):
        return laid if is_view(equation) and reshaped(equation, layouts) is None else set()
    for count in range(len(laid) + 1):
        for copied in map(set, combinations(laid, count)):
            if product_of(equation, {v: steps for v, steps in layouts.items() if v not in copied}) is not None:
                return copied
    return set()
