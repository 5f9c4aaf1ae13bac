"""From a program to a list of steps: fused kernels, and calls of NumPy for what has no loop form.

Every value is either *stored*, in a buffer, or *inlined*: computed where it is read, at the index it is
read at. Structural operations then cost nothing: they are maps of indices. Stored values of one shape
that do not wait for each other share a kernel.

Invariant: steps are in order of their dependencies, and a kernel reads what earlier steps have stored,
or what it has itself computed at the same index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from functrans.compile.blas import Product, matrix_product
from functrans.compile.loops import (
    Affine,
    Bind,
    Buffer,
    Carried,
    Compute,
    Constant,
    Index,
    Kernel,
    Load,
    Loop,
    Operand,
    Position,
    Scalar,
    Statement,
    Store,
)
from functrans.compile.scalars import LIBRARY, can_convert, supports
from functrans.core.primitive import Elementwise, Primitive
from functrans.core.program import Atom, Equation, Literal, Program, Variable
from functrans.errors import describe_origin
from functrans.ops import arithmetic, indexing, reduction, structure
from functrans.ops.contraction import contract

__all__ = ["HostCall", "KernelCall", "NativeCall", "ProductCall", "Step", "read_by", "steps", "written_by"]

Indices = tuple[Affine, ...]
BOOLEAN, INTEGER = np.dtype(np.bool_), np.dtype(np.int64)
BLOCK = 1024


@dataclass(frozen=True, eq=False)
class KernelCall:
    """A kernel and the variables that are its inputs and outputs."""

    kernel: Kernel
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]


@dataclass(frozen=True, eq=False)
class HostCall:
    """An equation that is evaluated by NumPy."""

    equation: Equation


@dataclass(frozen=True, eq=False)
class ProductCall:
    """A contraction that BLAS carries out."""

    equation: Equation
    product: Product


NativeCall = KernelCall | ProductCall
Step = NativeCall | HostCall


def written_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step defines."""
    return step.outputs if isinstance(step, KernelCall) else step.equation.outputs


def read_by(step: Step) -> tuple[Variable, ...]:
    """The variables a step reads, as often as it does."""
    if isinstance(step, KernelCall):
        return step.inputs
    return tuple(atom for atom in step.equation.inputs if isinstance(atom, Variable))


def loop_types(equation: Equation) -> list[np.dtype[Any]] | None:
    """The dtypes an elementwise operation takes its operands in; None if it is not in the table."""
    primitive: Any = equation.primitive
    types = [atom.array_type for atom in equation.inputs]
    out = equation.outputs[0].array_type.dtype
    if primitive is arithmetic.where:
        dtypes = [BOOLEAN, out, out]
    elif primitive is arithmetic.integer_power or primitive is arithmetic.masked_multiply:
        dtypes = [out] * len(types)
    elif not isinstance(primitive.ufunc, np.ufunc):
        return None
    else:
        promoting = [type_.promoting for type_ in types] if not all(type_.weak for type_ in types) else [t.dtype for t in types]
        resolved = primitive.ufunc.resolve_dtypes((*promoting, None))
        dtypes = [np.dtype(dtype) for dtype in resolved[: len(types)]]
        if not supports(primitive.name, dtypes[0]) or len(set(dtypes)) > 1:
            return None
    known = all(dtype.kind in "iub" or dtype in (np.float32, np.float64) for dtype in (*dtypes, out))
    return dtypes if known and all(can_convert(t.dtype, d) for t, d in zip(types, dtypes)) else None


def is_inlined(equation: Equation) -> bool:
    """Whether an equation has an element rule."""
    primitive = equation.primitive
    if isinstance(primitive, Elementwise):
        return loop_types(equation) is not None
    if primitive is structure.convert:
        return can_convert(equation.inputs[0].array_type.dtype, equation.params["dtype"])
    if primitive not in ELEMENTS or not all(in_registers(atom.array_type.dtype) for atom in equation.inputs):
        return False
    if primitive is structure.reshape:
        return reshape_map(equation.inputs[0].array_type.shape, equation.params["shape"]) is not None
    if primitive is indexing.getitem:
        return len(equation.inputs) == 1
    if primitive is structure.pad:
        return not any(equation.params["interior"])
    return True


def in_registers(dtype: np.dtype[Any]) -> bool:
    """Whether values of `dtype` are held in a register."""
    return dtype.kind in "iub" or dtype in (np.float32, np.float64)


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


def stored(program: Program) -> set[Variable]:
    """The variables that get a buffer: inputs, results of reductions and host calls, outputs, and what is dear and read often."""
    defined = {equation.outputs[0]: equation for equation in program.equations if not equation.primitive.multiple}
    kept = {*program.inputs, *program.captured}
    kept.update(atom for atom in program.outputs if isinstance(atom, Variable))
    readers: dict[Variable, int] = {}
    for equation in program.equations:
        fused = is_inlined(equation) or is_reduced(equation)
        if not is_inlined(equation):
            kept.update(equation.outputs)
        for atom in equation.inputs:
            if isinstance(atom, Variable):
                readers[atom] = readers.get(atom, 0) + 1
                if not fused:
                    kept.add(atom)
    costs: dict[Atom, int] = {}
    for equation in program.equations:
        out = equation.outputs[0]
        own = 20 if equation.primitive.name in LIBRARY else 1
        costs[out] = own + sum(costs.get(atom, 0) for atom in equation.inputs if atom not in kept)
        if out in defined and readers.get(out, 0) > 1 and costs[out] > 4 or costs[out] > 1000:
            kept.add(out)
    return kept


def strides(shape: Sequence[int]) -> list[int]:
    """Elements from one position to the next along each axis."""
    steps, step = [], 1
    for length in reversed(shape):
        steps.append(step)
        step *= length
    return steps[::-1]


def address(indices: Indices, shape: Sequence[int]) -> Affine:
    """Where an element of a C-contiguous array is."""
    total = Affine()
    for index, length, step in zip(indices, shape, strides(shape)):
        total = total + (index * step if length != 1 else Affine())
    return total


Definitions = dict[Variable, Equation]


class Builder:
    """Builds the statements of one kernel: reads values at indices, each only once in a place."""

    def __init__(self, definitions: Definitions, kept: set[Variable]) -> None:
        self.equations = definitions
        self.kept = kept
        self.inputs: dict[Variable, Buffer] = {}
        self.reads: list[tuple[Variable, Indices]] = []
        self.used: dict[Equation, None] = {}
        self.body: list[Statement] = []
        self.known: dict[tuple[Atom, Indices], Operand] = {}

    def buffer(self, variable: Variable) -> Buffer:
        """The parameter a variable is read from."""
        if variable not in self.inputs:
            self.inputs[variable] = Buffer(variable.array_type.dtype, math.prod(variable.array_type.shape))
        return self.inputs[variable]

    def read(self, atom: Atom, indices: Indices) -> Operand:
        """The element of `atom` at `indices`, as a scalar of this place."""
        if isinstance(atom, Literal):
            return Constant(atom.value, atom.array_type.dtype)
        key = atom, indices
        if key not in self.known:
            self.known[key] = self.load(atom, indices) if atom in self.kept else self.element(self.equations[atom], indices)
        return self.known[key]

    def load(self, variable: Variable, indices: Indices) -> Scalar:
        """An element of a stored value."""
        self.reads.append((variable, indices))
        target = Scalar(variable.array_type.dtype)
        self.body.append(Load(target, self.buffer(variable), address(indices, variable.array_type.shape)))
        return target

    def element(self, equation: Equation, indices: Indices) -> Operand:
        """An element of an inlined value."""
        self.used[equation] = None
        if isinstance(equation.primitive, Elementwise):
            return self.elementwise(equation, indices)
        return ELEMENTS[equation.primitive](self, equation, indices)

    def elementwise(self, equation: Equation, indices: Indices) -> Operand:
        """The operation on the operands' elements at the same indices, where they are not broadcast."""
        dtypes = loop_types(equation)
        assert dtypes is not None
        operands = []
        for atom, dtype in zip(equation.inputs, dtypes):
            shape = atom.array_type.shape
            own = indices[len(indices) - len(shape) :]
            own = tuple(index if length != 1 else Affine() for index, length in zip(own, shape))
            operands.append(self.convert(self.read(atom, own), dtype))
        if equation.primitive is arithmetic.integer_power:
            return self.power(operands[0], equation.params["exponent"])
        return self.compute(equation.primitive.name, operands, equation.outputs[0].array_type.dtype)

    def power(self, x: Operand, exponent: int) -> Operand:
        """An integer power by repeated squaring, of the reciprocal where it is negative."""
        result: Operand = Constant(1, x.dtype)
        factor, rest = x, abs(exponent)
        while rest:
            if rest & 1:
                result = factor if isinstance(result, Constant) else self.compute("multiply", [result, factor], x.dtype)
            rest >>= 1
            if rest:
                factor = self.compute("multiply", [factor, factor], x.dtype)
        return result if exponent >= 0 else self.compute("divide", [Constant(1, x.dtype), result], x.dtype)

    def compute(self, operation: str, operands: Sequence[Operand], dtype: np.dtype[Any]) -> Scalar:
        """A new scalar."""
        target = Scalar(dtype)
        self.body.append(Compute(target, operation, tuple(operands)))
        return target

    def convert(self, x: Operand, dtype: np.dtype[Any]) -> Operand:
        """A scalar as another dtype."""
        if x.dtype == dtype:
            return x
        if isinstance(x, Constant):
            return Constant(dtype.type(x.value), dtype)
        return self.compute("convert", [x], dtype)

    def position(self, index: Affine) -> Scalar:
        """An index as an integer scalar."""
        target = Scalar(INTEGER)
        self.body.append(Position(target, index))
        return target

    def inside(self, index: Affine, length: int) -> tuple[Operand | None, Affine]:
        """Whether an index is one of an axis (None if it always is), and the index brought into the axis."""
        low, high = index.bounds()
        if 0 <= low and high < length:
            return None, index
        place = self.position(index)
        zero, last = Constant(0, INTEGER), Constant(length - 1, INTEGER)
        within = self.compute(
            "logical_and",
            [self.compute("greater_equal", [place, zero], BOOLEAN), self.compute("less_equal", [place, last], BOOLEAN)],
            BOOLEAN,
        )
        held = Index(length)
        clamped = self.compute("minimum", [self.compute("maximum", [place, zero], INTEGER), last], INTEGER)
        self.body.append(Bind(held, clamped))
        return within, Affine(((held, 1),))

    def all_of(self, conditions: Sequence[Operand | None]) -> Operand | None:
        """Whether all conditions hold; None if they always do."""
        result: Operand | None = None
        for condition in conditions:
            if condition is not None:
                result = condition if result is None else self.compute("logical_and", [result, condition], BOOLEAN)
        return result

    def choose(self, condition: Operand | None, x: Operand, y: Operand) -> Operand:
        """x where the condition holds, else y."""
        return x if condition is None else self.compute("where", [condition, x, y], x.dtype)


Element = Callable[[Builder, Equation, Indices], Operand]


def of_copy(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    return builder.read(equation.inputs[0], indices)


def of_convert(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    return builder.convert(builder.read(equation.inputs[0], indices), equation.params["dtype"])


def of_transpose(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    axes = equation.params["axes"]
    return builder.read(equation.inputs[0], tuple(indices[axes.index(axis)] for axis in range(len(axes))))


def of_broadcast(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    shape = equation.inputs[0].array_type.shape
    own = indices[len(indices) - len(shape) :]
    return builder.read(equation.inputs[0], tuple(i if n != 1 else Affine() for i, n in zip(own, shape)))


def reshape_map(old: Sequence[int], new: Sequence[int]) -> Callable[[Indices], Indices] | None:
    """The old indices from the new ones, where each old axis is made of whole new ones; else None."""
    groups: list[list[int]] = []
    place = 0
    for length in old:
        group: list[int] = []
        size = 1
        while size < length and place < len(new):
            group.append(place)
            size *= new[place]
            place += 1
        if size != length:
            return None
        groups.append(group)
    if any(length != 1 for length in new[place:]):
        return None

    def indices_of(indices: Indices) -> Indices:
        result = []
        for group in groups:
            total = Affine()
            for axis, step in zip(group, strides([new[axis] for axis in group])):
                total = total + indices[axis] * step
            result.append(total)
        return tuple(result)

    return indices_of


def of_reshape(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    mapped = reshape_map(equation.inputs[0].array_type.shape, equation.params["shape"])
    assert mapped is not None
    return builder.read(equation.inputs[0], mapped(indices))


def of_flip(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    shape, axes = equation.inputs[0].array_type.shape, equation.params["axes"]
    flipped = tuple(i * -1 + (n - 1) if axis in axes else i for axis, (i, n) in enumerate(zip(indices, shape)))
    return builder.read(equation.inputs[0], flipped)


def of_pad(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    (atom,), low = equation.inputs, equation.params["low"]
    dtype = atom.array_type.dtype
    if not math.prod(atom.array_type.shape):
        return Constant(0, dtype)
    conditions, places = [], []
    for index, before, length in zip(indices, low, atom.array_type.shape):
        condition, place = builder.inside(index + -before, length)
        conditions.append(condition)
        places.append(place)
    return builder.choose(builder.all_of(conditions), builder.read(atom, tuple(places)), Constant(0, dtype))


def of_triangle(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    (atom,), offset = equation.inputs, equation.params["offset"]
    row, column = builder.position(indices[-2] + offset), builder.position(indices[-1])
    sign = "less_equal" if equation.params["lower"] else "greater_equal"
    zero = Constant(0, atom.array_type.dtype)
    return builder.choose(builder.compute(sign, [column, row], BOOLEAN), builder.read(atom, indices), zero)


def of_diagonal(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    offset = equation.params["offset"]
    *lead, place = indices
    return builder.read(equation.inputs[0], (*lead, place + max(-offset, 0), place + max(offset, 0)))


def of_getitem(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    shape = equation.inputs[0].array_type.shape
    places: list[Affine] = []
    remaining = list(indices)
    for entry in equation.params["index"]:
        if entry is None:
            remaining.pop(0)
        elif isinstance(entry, int):
            places.append(Affine((), entry % shape[len(places)]))
        else:
            start, _, step = slice(*entry).indices(shape[len(places)])
            places.append(remaining.pop(0) * step + start)
    return builder.read(equation.inputs[0], (*places, *remaining))


ELEMENTS: dict[Primitive, Element] = {
    structure.copy: of_copy,
    structure.convert: of_convert,
    structure.transpose: of_transpose,
    structure.broadcast_to: of_broadcast,
    structure.reshape: of_reshape,
    structure.flip: of_flip,
    structure.pad: of_pad,
    structure.triangle: of_triangle,
    structure.diagonal: of_diagonal,
    indexing.getitem: of_getitem,
}


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


def steps(program: Program) -> list[Step]:
    """The steps of a program, in order."""
    kept = stored(program)
    definitions = {equation.outputs[0]: equation for equation in program.equations}
    levels: dict[Variable, int] = dict.fromkeys((*program.inputs, *program.captured), -1)
    groups: dict[tuple[Any, ...], dict[Equation, None]] = {}
    for equation in program.equations:
        if equation.outputs[0] not in kept and not equation.primitive.multiple:
            continue
        kind: tuple[str, Any]
        if is_inlined(equation):
            kind, level = ("map", equation.outputs[0].array_type.shape), map_level(definitions, kept, equation, levels, groups)
        else:
            level = 1 + max((levels[variable] for variable in reads_of(definitions, kept, equation)), default=-1)
            kind = ("reduction" if is_reduced(equation) else "host", equation)
        levels.update(dict.fromkeys(equation.outputs, level))
        groups.setdefault((level, *kind), {})[equation] = None
    wanted = wanted_outside(program, definitions, kept, groups)
    result: list[Step] = []
    for key, group in sorted(groups.items(), key=lambda item: int(item[0][0])):
        equations = list(group)
        name = f"kernel{len(result)}"
        if key[1] == "map":
            result.append(map_kernel(definitions, kept, name, [equation.outputs[0] for equation in equations], wanted))
        elif key[1] == "reduction":
            result.append(reduction_kernel(definitions, kept, name, equations[0].outputs[0]))
        else:
            result.append(call_of(equations[0]))
    return result


def call_of(equation: Equation) -> Step:
    """A matrix product, or a call of NumPy."""
    if equation.primitive is contract and not any(isinstance(atom, Literal) for atom in equation.inputs):
        product = matrix_product(equation)
        if product is not None:
            return ProductCall(equation, product)
    return HostCall(equation)


def wanted_outside(
    program: Program,
    definitions: Definitions,
    kept: set[Variable],
    groups: dict[tuple[Any, ...], dict[Equation, None]],
) -> set[Variable]:
    """The stored variables that are outputs, or are read by another group than the one that computes them."""
    wanted = {atom for atom in program.outputs if isinstance(atom, Variable)}
    for equations in groups.values():
        own = {variable for equation in equations for variable in equation.outputs}
        for equation in equations:
            wanted |= reads_of(definitions, kept, equation) - own
    return wanted


def reads_of(definitions: Definitions, kept: set[Variable], equation: Equation) -> set[Variable]:
    """The stored variables an equation reads, through inlined ones."""
    found: set[Variable] = set()
    waiting = list(equation.inputs)
    while waiting:
        atom = waiting.pop()
        if isinstance(atom, Variable):
            if atom in kept:
                found.add(atom)
            else:
                waiting.extend(definitions[atom].inputs)
    return found


def map_level(
    definitions: Definitions,
    kept: set[Variable],
    equation: Equation,
    levels: dict[Variable, int],
    groups: dict[tuple[Any, ...], dict[Equation, None]],
) -> int:
    """The level of a stored map: that of what it reads, if that is a map over the same shape read at the same index."""
    shape = equation.outputs[0].array_type.shape
    builder = Builder(definitions, kept)
    own = identity(loops_over(shape))
    builder.element(equation, own)
    level = 0
    for variable, indices in builder.reads:
        before = levels[variable]
        together = indices == own and any(item.outputs[0] is variable for item in groups.get((before, "map", shape), ()))
        level = max(level, before if together else before + 1)
    return level
