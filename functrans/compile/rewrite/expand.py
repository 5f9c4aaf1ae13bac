"""Equations that have no loops of their own, written as others that have.

Invariant: variables that were there before are still defined, with the same types.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from functrans.core.primitive import Control, General, Indexing, Primitive, Reduction
from functrans.core.program import Atom, Equation, Literal, Program, Variable
from functrans.ops import arithmetic, reduction, structure
from functrans.ops.contraction import contract

__all__ = ["COMPARISONS", "expanded", "has_empty"]

FLOAT16, FLOAT32, UINT64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.uint64)


COMPARISONS: set[Primitive] = {
    arithmetic.less, arithmetic.less_equal, arithmetic.greater, arithmetic.greater_equal, arithmetic.equal, arithmetic.not_equal,
}  # fmt: skip


class Expansion:
    """The equations to stand for one."""

    def __init__(self, equation: Equation) -> None:
        self.equation = equation
        self.equations: list[Equation] = []

    def new(self, primitive: Primitive, *inputs: Atom, **params: Any) -> Variable:
        """The result of an operation."""
        result = Variable(primitive.result_type([atom.array_type for atom in inputs], params))
        self.equations.append(Equation((result,), primitive, inputs, params, self.equation.origin))
        return result

    def last(self, primitive: Primitive, *inputs: Atom, **params: Any) -> list[Equation]:
        """All equations, with the operation that defines the original's result."""
        return [*self.equations, Equation(self.equation.outputs, primitive, inputs, params, self.equation.origin)]


def expanded(program: Program) -> Program:
    """`program` in equations that have loops, as far as rules go."""
    equations: list[Equation] = []
    for equation in program.equations:
        rule = without_elements if has_empty(equation) else RULES.get(equation.primitive)
        equations += (rule(equation, Expansion(equation)) if rule is not None else None) or [equation]
    return replace(program, equations=tuple(equations))


def has_empty(equation: Equation) -> bool:
    """Whether an operand or a result of an equation has no elements."""
    return any(0 in atom.array_type.shape for atom in (*equation.inputs, *equation.outputs))


def without_elements(equation: Equation, expansion: Expansion) -> list[Equation] | None:
    """An array of no elements, or what is made of none, as a number that is broadcast; an update by none as a copy."""
    primitive = equation.primitive
    if isinstance(primitive, (Control, General)):
        return None
    out = equation.outputs[0].array_type
    if isinstance(primitive, Indexing):
        if any(0 not in atom.array_type.shape for atom in equation.inputs[primitive.differentiated :]):
            return None  # NumPy looks whether they are out of bounds
        if primitive.differentiated == 2:
            return expansion.last(structure.copy, equation.inputs[0])
    if primitive in MADE_OF_NONE or 0 in out.shape and not is_undefined(equation):
        number = Literal(out.dtype.type(MADE_OF_NONE.get(primitive, 0)))
        return expansion.last(structure.broadcast_to, number, shape=out.shape)
    return None


def is_undefined(equation: Equation) -> bool:
    """Whether an equation asks for the extremum, or its place, along an axis of length 0."""
    if not isinstance(equation.primitive, Reduction):
        return False
    return any(equation.inputs[0].array_type.shape[axis] == 0 for axis in equation.params["axes"])


# The elements of what operations make of arrays that have none.
MADE_OF_NONE: dict[Primitive, int] = {
    reduction.sum: 0, reduction.any: 0, reduction.all: 1, reduction.prod: 1, contract: 0,
    structure.pad: 0, structure.fold: 0, structure.diagonal_embed: 0,
}  # fmt: skip


def in_float32(equation: Equation, expansion: Expansion) -> list[Equation] | None:
    """A sum of float16 by float32, rounded once."""
    if equation.outputs[0].array_type.dtype != FLOAT16:
        return None
    operands = [expansion.new(structure.convert, atom, dtype=FLOAT32) for atom in equation.inputs]
    total = expansion.new(equation.primitive, *operands, **equation.params)
    return expansion.last(structure.convert, total, dtype=FLOAT16)


def in_one_dtype(equation: Equation, expansion: Expansion) -> list[Equation] | None:
    """A product by float32 if it is one of float16, else of operands of one dtype, as BLAS takes them."""
    dtype = equation.outputs[0].array_type.dtype
    if dtype == FLOAT16 or dtype.kind not in "fc" or all(atom.array_type.dtype == dtype for atom in equation.inputs):
        return in_float32(equation, expansion)
    operands = [
        atom if atom.array_type.dtype == dtype else expansion.new(structure.convert, atom, dtype=dtype) for atom in equation.inputs
    ]
    return expansion.last(contract, *operands, **equation.params)


def place_of(extremum: Reduction) -> Callable[[Equation, Expansion], list[Equation] | None]:
    """The rule of ``argmax`` or ``argmin``: the first place where an element is the extremum, or nan if that is."""

    def rule(equation: Equation, expansion: Expansion) -> list[Equation] | None:
        (x,), axes = equation.inputs, equation.params["axes"]
        shape, dtype = x.array_type.shape, x.array_type.dtype
        if not math.prod(shape) or dtype.kind not in "fiub":
            return None
        found = expansion.new(extremum, x, axes=axes)
        beside = expansion.new(structure.reshape, found, shape=tuple(n if i not in axes else 1 for i, n in enumerate(shape)))
        is_found = expansion.new(arithmetic.equal, x, beside)
        if dtype.kind == "f":
            is_found = expansion.new(arithmetic.logical_or, is_found, expansion.new(arithmetic.isnan, x))
        places = expansion.new(structure.positions, shape=shape, axis=axes[0])
        candidates = expansion.new(arithmetic.where, is_found, places, Literal(np.intp(shape[axes[0]])))
        return expansion.last(reduction.min, candidates, axes=axes)

    return rule


def by_sign(equation: Equation, expansion: Expansion) -> list[Equation] | None:
    """A comparison of a signed integer with uint64: by the sign, and if there is none, as unsigned ones."""
    is_signed = [atom.array_type.dtype.kind == "i" for atom in equation.inputs]
    others = [atom.array_type.dtype for atom, signed in zip(equation.inputs, is_signed) if not signed]
    if others != [UINT64]:
        return None
    primitive: Any = equation.primitive
    signed = equation.inputs[is_signed.index(True)]
    if isinstance(signed, Literal) and signed.value >= 0:
        return None
    operands = [expansion.new(structure.convert, a, dtype=UINT64) if s else a for a, s in zip(equation.inputs, is_signed)]
    below = Literal(np.bool_(primitive.ufunc(*(-1 if s else 0 for s in is_signed))))
    is_negative = expansion.new(arithmetic.less, signed, Literal(signed.array_type.dtype.type(0)))
    return expansion.last(arithmetic.where, is_negative, below, expansion.new(primitive, *operands))


RULES: dict[Primitive, Callable[[Equation, Expansion], list[Equation] | None]] = {
    reduction.sum: in_float32,
    contract: in_one_dtype,
    reduction.argmax: place_of(reduction.max),
    reduction.argmin: place_of(reduction.min),
    **dict.fromkeys(COMPARISONS, by_sign),
}
