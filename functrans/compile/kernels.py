"""Kernels: loop nests that store values of one shape, or a reduction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from functrans.compile.elements import Builder, Definitions, Indices, address, in_registers
from functrans.compile.loops import (
    Affine,
    Buffer,
    Carried,
    Compute,
    Constant,
    Index,
    Kernel,
    Load,
    Loop,
    Operand,
    Scalar,
    Statement,
    Store,
)
from functrans.compile.scalars import can_convert
from functrans.core.primitive import Primitive
from functrans.core.program import Equation, Variable
from functrans.errors import describe_origin
from functrans.ops import reduction

__all__ = ["KernelCall", "REDUCTIONS", "identity", "is_reduced", "loops_over", "map_kernel", "reduction_kernel"]

BLOCK = 1024


@dataclass(frozen=True, eq=False)
class KernelCall:
    """A kernel and the variables that are its inputs and outputs."""

    kernel: Kernel
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]


REDUCTIONS: dict[Primitive, str] = {
    reduction.sum: "add", reduction.max: "maximum", reduction.min: "minimum", reduction.all: "logical_and",
    reduction.any: "logical_or",
}  # fmt: skip


def is_reduced(equation: Equation) -> bool:
    """Whether an equation is a reduction with a loop form."""
    if equation.primitive not in REDUCTIONS:
        return False
    old, new = equation.inputs[0].array_type, equation.outputs[0].array_type
    if not (in_registers(old.dtype) and in_registers(new.dtype) and can_convert(old.dtype, new.dtype)):
        return False
    return math.prod(old.shape) > 0 or equation.primitive is reduction.sum


def loops_over(shape: Sequence[int]) -> list[Index]:
    """One index for each axis."""
    return [Index(length) for length in shape]


def identity(indices: Sequence[Index]) -> Indices:
    """The indices themselves, 0 along axes of length 1."""
    return tuple(Affine(((index, 1),)) if index.extent != 1 else Affine() for index in indices)


def nest(indices: Sequence[Index], body: list[Statement]) -> list[Statement]:
    """`body` inside a loop for each index that takes more than one value."""
    for index in reversed(indices):
        if index.extent != 1:
            body = [Loop(index, body)]
    return body


def header(builder: Builder, equations: Sequence[Equation]) -> tuple[str, ...]:
    """A line for each equation: its operation, its type and the user's line."""
    lines = []
    for equation in [*builder.used, *(item for item in equations if item not in builder.used)]:
        types = ", ".join(str(variable.array_type) for variable in equation.outputs)
        lines.append(f"{equation.primitive.name}: {types}  from {describe_origin(equation.origin)}")
    return tuple(lines)


def map_kernel(
    definitions: Definitions, kept: set[Variable], name: str, variables: Sequence[Variable], wanted: set[Variable]
) -> KernelCall:
    """The kernel that computes values of one shape, and stores those wanted outside of it."""
    shape = variables[0].array_type.shape
    indices = loops_over(shape)
    builder = Builder(definitions, kept)
    outputs: dict[Variable, Buffer] = {}
    own = identity(indices)
    for variable in variables:
        value = builder.convert(builder.element(builder.equations[variable], own), variable.array_type.dtype)
        builder.known[variable, own] = value
        if variable in wanted:
            outputs[variable] = Buffer(value.dtype, math.prod(shape))
            builder.body.append(Store(outputs[variable], address(own, shape), value))
    equations = [builder.equations[variable] for variable in variables]
    buffers = list(builder.inputs.values()), list(outputs.values())
    kernel = Kernel(name, *buffers, nest(indices, builder.body), header(builder, equations))
    return KernelCall(kernel, tuple(builder.inputs), tuple(outputs))


def first_of(primitive: Primitive, dtype: np.dtype[Any]) -> Constant:
    """What a reduction starts from."""
    if primitive is reduction.sum or primitive is reduction.any:
        return Constant(0, dtype)
    if primitive is reduction.all:
        return Constant(1, dtype)
    if dtype.kind == "f":
        return Constant(-np.inf if primitive is reduction.max else np.inf, dtype)
    if dtype.kind == "b":
        return Constant(primitive is reduction.min, dtype)
    limits = np.iinfo(dtype)
    return Constant(limits.min if primitive is reduction.max else limits.max, dtype)


def reduction_kernel(definitions: Definitions, kept: set[Variable], name: str, variable: Variable) -> KernelCall:
    """A reduction: in registers where the last axis is reduced, else in the rows of the result."""
    builder = Builder(definitions, kept)
    equation = builder.equations[variable]
    (atom,), axes = equation.inputs, equation.params["axes"]
    shape = atom.array_type.shape
    indices = loops_over(shape)
    kept_indices = [index for axis, index in enumerate(indices) if axis not in axes]
    reduced = [index for axis, index in enumerate(indices) if axis in axes]
    out = Buffer(variable.array_type.dtype, math.prod(variable.array_type.shape))
    place = address(identity(kept_indices), variable.array_type.shape)
    start, operation = first_of(equation.primitive, out.dtype), REDUCTIONS[equation.primitive]
    own = identity(indices)

    def term(at: Indices) -> Operand:
        return builder.convert(builder.read(atom, at), out.dtype)

    if not reduced or len(shape) - 1 in axes or not kept_indices:
        total = in_registers_over(builder, reduced, own, term, operation, start, out.dtype, equation.primitive is reduction.sum)
        body = nest(kept_indices, [*total[0], Store(out, place, total[1])])
    else:
        *outer, last = kept_indices
        builder.body = []
        so_far = Scalar(out.dtype)
        builder.body.append(Load(so_far, out, place))
        value = builder.compute(operation, [so_far, term(own)], out.dtype)
        builder.body.append(Store(out, place, value))
        clear = nest([last], [Store(out, place, start)])
        body = nest(outer, [*clear, *nest([*reduced, last], builder.body)])
    kernel = Kernel(name, list(builder.inputs.values()), [out], body, header(builder, [equation]))
    return KernelCall(kernel, tuple(builder.inputs), (variable,))


def in_registers_over(
    builder: Builder,
    reduced: Sequence[Index],
    own: Indices,
    term: Callable[[Indices], Operand],
    operation: str,
    start: Constant,
    dtype: np.dtype[Any],
    is_sum: bool,
) -> tuple[list[Statement], Operand]:
    """Nested loops that carry one scalar; the innermost of a sum goes in blocks of at most 1,024 terms."""
    *outer, last = [index for index in reduced if index.extent != 1] or [reduced[0]] if reduced else [Index(1)]

    def innermost(index: Index, at: Indices, first: Operand) -> tuple[list[Statement], Operand]:
        builder.body, builder.known = [], {}
        inside, result = Scalar(dtype), Scalar(dtype)
        value = builder.compute(operation, [inside, term(at)], dtype)
        return [Loop(index, builder.body, [Carried(inside, first, value)], [result], reorder=is_sum)], result

    def blocked(first: Operand) -> tuple[list[Statement], Operand]:
        if not is_sum or last.extent <= BLOCK:
            return innermost(last, own, first)
        blocks, within = Index(last.extent // BLOCK), Index(BLOCK)
        replaced = substituted(own, last, Affine(((blocks, BLOCK), (within, 1))))
        inside, result, after = Scalar(dtype), Scalar(dtype), Scalar(dtype)
        inner, total = innermost(within, replaced, Constant(0, dtype))
        body: list[Statement] = [*inner, Compute(after, operation, (inside, total))]
        statements: list[Statement] = [Loop(blocks, body, [Carried(inside, first, after)], [result])]
        rest = last.extent % BLOCK
        if not rest:
            return statements, result
        tail = Index(rest)
        more, end = innermost(tail, substituted(own, last, Affine(((tail, 1),), last.extent - rest)), Constant(0, dtype))
        whole = Scalar(dtype)
        return [*statements, *more, Compute(whole, operation, (result, end))], whole

    def nested(indices: Sequence[Index], first: Operand) -> tuple[list[Statement], Operand]:
        if not indices:
            return blocked(first)
        index, *more = indices
        inside, result = Scalar(dtype), Scalar(dtype)
        body, value = nested(more, inside)
        return [Loop(index, body, [Carried(inside, first, value)], [result])], result

    return nested(outer, start)


def substituted(indices: Indices, old: Index, new: Affine) -> Indices:
    """Indices with `new` in place of the index `old`."""
    result = []
    for affine in indices:
        total = Affine((), affine.constant)
        for index, coefficient in affine.terms:
            total = total + (new * coefficient if index is old else Affine(((index, coefficient),)))
        result.append(total)
    return tuple(result)
