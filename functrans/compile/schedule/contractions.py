"""Contractions whose axes are in no order that makes them matrix products, as transposes and one that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from functrans.compile.machine.blas import matrix_product
from functrans.compile.schedule.nodes import is_contracted
from functrans.core.primitive import Primitive
from functrans.core.program import Atom, Equation, Literal, Variable
from functrans.ops import structure
from functrans.ops.contraction import contract, split

__all__ = ["laid_out"]


def is_to_be_laid_out(equation: Equation) -> bool:
    """Whether BLAS would carry out a contraction if only its operands lay as matrices do."""
    if equation.primitive is not contract or any(isinstance(atom, Literal) for atom in equation.inputs):
        return False
    dtypes = [atom.array_type.dtype for atom in (*equation.inputs, *equation.outputs)]
    is_real = dtypes[2].kind == "f" and dtypes[2].itemsize in (4, 8) and all(dtype.kind in "fiub" for dtype in dtypes)
    return is_real and not is_contracted(equation) and matrix_product(equation, {}) is None


def laid_out(equation: Equation) -> list[Equation]:
    """The equations of a contraction: its operands with their axes in another order, their product, and that likewise."""
    if not is_to_be_laid_out(equation):
        return [equation]
    x, y, out = split(equation.params["subscripts"])
    dtype = equation.outputs[0].array_type.dtype
    larger = x if math.prod(equation.inputs[0].array_type.shape) >= math.prod(equation.inputs[1].array_type.shape) else y
    batch = "".join(letter for letter in out if letter in x and letter in y)
    summed = "".join(letter for letter in larger if letter in x and letter in y and letter not in out)
    rows, columns = ("".join(letter for letter in out if letter not in other) for other in (y, x))
    made: list[Equation] = []

    def apply(primitive: Primitive, *atoms: Atom, **params: Any) -> Variable:
        variable = Variable(primitive.result_type([atom.array_type for atom in atoms], params))
        made.append(Equation((variable,), primitive, atoms, params, equation.origin))
        return variable

    def moved(atom: Atom, letters: str, lying: Sequence[str]) -> tuple[Atom, str]:
        """An operand in the result's dtype that lies in one of some ways, and in which."""
        if atom.array_type.dtype != dtype:
            atom = apply(structure.convert, atom, dtype=dtype)
        if letters in lying:
            return atom, letters
        return apply(structure.transpose, atom, axes=tuple(map(letters.index, lying[0]))), lying[0]

    left, x = moved(equation.inputs[0], x, [batch + rows + summed, batch + summed + rows])
    right, y = moved(equation.inputs[1], y, [batch + summed + columns, batch + columns + summed])
    lies = out if out == batch + columns + rows else batch + rows + columns
    result = apply(contract, left, right, subscripts=f"{x},{y}->{lies}")
    if lies != out:
        apply(structure.transpose, result, axes=tuple(map(lies.index, out)))
    return [*made[:-1], replace(made[-1], outputs=equation.outputs)]
