"""Elements: what an equation's result is at an index, as statements of a kernel.

Elementwise operations compute on their operands' elements; structural ones map the index and cost
nothing. Values that are stored are loaded, all others are computed where they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.compile.arguments import Layouts, first_and_size
from functrans.compile.loops import Affine, Buffer, Constant, Load, Operand, Scalar
from functrans.compile.machine.casts import can_convert
from functrans.compile.machine.registers import in_registers
from functrans.compile.rewrite.expand import has_empty
from functrans.compile.schedule.axes import (
    Axes,
    aligned_axes,
    axes_of_broadcast,
    axes_of_diagonal,
    axes_of_flip,
    axes_of_getitem,
    axes_of_pad,
    axes_of_reshape,
    axes_of_transpose,
    axes_of_update,
    axes_of_windows,
    same_axes,
)
from functrans.compile.schedule.dtypes import loop_types, may_overflow
from functrans.compile.schedule.indices import Indices, address, reshape_map, reshaped
from functrans.compile.schedule.places import selection, slice_range
from functrans.compile.schedule.statements import BOOLEAN, INTEGER, Statements
from functrans.core.primitive import Elementwise, Primitive
from functrans.core.program import Atom, Equation, Literal, Variable
from functrans.ops import arithmetic, indexing, structure

__all__ = ["Builder", "Definitions", "is_inlined", "operand_axes"]

FLOAT = np.dtype(np.float64)


def is_inlined(equation: Equation) -> bool:
    """Whether an equation has an element rule."""
    primitive = equation.primitive
    if isinstance(primitive, Elementwise):
        return loop_types(equation) is not None
    if primitive is structure.convert:
        return can_convert(equation.inputs[0].array_type.dtype, equation.params["dtype"])
    if primitive not in ELEMENTS or not all(in_registers(atom.array_type.dtype) for atom in equation.inputs):
        return False
    if primitive is indexing.getitem:
        return not has_empty(equation)
    if primitive in (indexing.index_set, indexing.index_add):
        return len(equation.inputs) == 2 and has_unit_steps(equation)
    if primitive is structure.pad:
        return not any(equation.params["interior"])
    return True


def has_unit_steps(equation: Equation) -> bool:
    """Whether an update's slices go one by one, and its operands have the result's dtype."""
    x, value = (atom.array_type for atom in equation.inputs)
    slices = [entry for entry in equation.params["index"] if entry is not None and not isinstance(entry, int)]
    return all(slice(*entry).step in (None, 1, -1) for entry in slices) and can_convert(value.dtype, x.dtype)


Definitions = dict[Variable, Equation]


class Builder(Statements):
    """Builds the statements of one kernel: reads values at indices, each only once in a place."""

    def __init__(self, definitions: Definitions, kept: set[Variable], layouts: Layouts) -> None:
        super().__init__()
        self.equations = definitions
        self.kept = kept
        self.layouts = layouts
        self.inputs: dict[Variable, Buffer] = {}
        self.used: dict[Equation, None] = {}
        self.known: dict[tuple[Atom, Indices], Operand] = {}

    def buffer(self, variable: Variable) -> Buffer:
        """The parameter a variable is read from."""
        if variable not in self.inputs:
            shape, steps = variable.array_type.shape, self.layouts.get(variable)
            size = math.prod(shape) if steps is None else first_and_size(shape, steps)[1]
            self.inputs[variable] = Buffer(variable.array_type.dtype, size)
        return self.inputs[variable]

    def address_in(self, variable: Variable, indices: Indices) -> Affine:
        """Where an element of a value from outside is in its buffer."""
        return address(indices, variable.array_type.shape, self.layouts.get(variable))

    def read(self, atom: Atom, indices: Indices) -> Operand:
        """The element of `atom` at `indices`, as a scalar of this place."""
        if isinstance(atom, Literal):
            return Constant(atom.value, atom.array_type.dtype)
        indices = tuple(index if length != 1 else Affine() for index, length in zip(indices, atom.array_type.shape))
        key = atom, indices
        if key not in self.known:
            self.known[key] = self.load(atom, indices) if atom in self.kept else self.element(self.equations[atom], indices)
        return self.known[key]

    def load(self, variable: Variable, indices: Indices) -> Operand:
        """An element of a stored value."""
        return self.load_flat(variable, self.address_in(variable, indices))

    def load_flat(self, variable: Variable, offset: Affine) -> Operand:
        """An element of a stored value, by its place in memory."""
        target = Scalar(variable.array_type.dtype)
        self.body.append(Load(target, self.buffer(variable), offset))
        return target

    def element(self, equation: Equation, indices: Indices) -> Operand:
        """An element of an inlined value."""
        self.used[equation] = None
        if isinstance(equation.primitive, Elementwise):
            return self.elementwise(equation, indices)
        return ELEMENTS[equation.primitive][0](self, equation, indices)

    def elementwise(self, equation: Equation, indices: Indices) -> Operand:
        """The operation on the operands' elements at the same indices, where they are not broadcast."""
        dtypes = loop_types(equation)
        assert dtypes is not None
        operands = [self.operand(atom, indices, dtype) for atom, dtype in zip(equation.inputs, dtypes)]
        if equation.primitive is arithmetic.integer_power:
            return self.power(operands[0], equation.params["exponent"])
        if equation.primitive is arithmetic.power and dtypes[0].kind in "iu":
            if isinstance(operands[1], Constant):
                return self.power(operands[0], int(operands[1].value))
            if dtypes[0].kind == "i":
                self.require("greater_equal", operands[1], 0)
        return self.compute(equation.primitive.name, operands, equation.outputs[0].array_type.dtype)

    def operand(self, atom: Atom, indices: Indices, dtype: np.dtype[Any]) -> Operand:
        """The element of an operand of an operation on `dtype`."""
        x = self.read_broadcast(atom, indices)
        if may_overflow(atom, dtype):
            limits = np.iinfo(dtype)
            self.require("greater_equal", x, max(limits.min, np.iinfo(INTEGER).min))
            self.require("less_equal", x, min(limits.max, np.iinfo(INTEGER).max))
        elif atom.array_type.weak and dtype.kind in "fc":
            x = self.convert(x, np.result_type(x.dtype, FLOAT))  # as NumPy does, which rounds Python integers twice
        return self.convert(x, dtype)

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
        return result if exponent >= 0 else self.compute("reciprocal", [result], x.dtype)

    def selected(self, equation: Equation, arrays: int, indices: Indices) -> Indices:
        """Where in the first operand is what an index selects at `indices`; its arrays are the operands from `arrays` on."""
        found = selection(equation, arrays)
        own, remaining = found.split(indices)
        operands = iter(equation.inputs[arrays:])
        places: list[Affine] = []
        for entry in found.template:
            length = found.shape[len(places)] if len(places) < len(found.shape) else 0
            if entry is None:
                remaining.pop(0)
            elif isinstance(entry, int):
                places.append(Affine((), entry % length))
            elif entry == indexing.ARRAY:
                places.append(self.looked_up(self.read_broadcast(next(operands), own), length))
            else:
                taken = slice_range(entry, length)
                places.append(remaining.pop(0) * taken.step + taken.start)
        return (*places, *remaining)

    def read_broadcast(self, atom: Atom, indices: Sequence[Affine]) -> Operand:
        """The element of a value at an index into what it is broadcast to."""
        shape = atom.array_type.shape
        own = indices[len(indices) - len(shape) :]
        return self.read(atom, tuple(index if length != 1 else Affine() for index, length in zip(own, shape)))

Element = Callable[[Builder, Equation, Indices], Operand]


def of_copy(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    return builder.read(equation.inputs[0], indices)


def of_convert(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    return builder.convert(builder.read(equation.inputs[0], indices), equation.params["dtype"])


def of_part(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    """The real or the imaginary part, or the conjugate: of a real number itself, or 0."""
    (atom,), name = equation.inputs, equation.primitive.name
    if atom.array_type.dtype.kind != "c":
        return builder.read(atom, indices) if name != "imag" else Constant(0, equation.outputs[0].array_type.dtype)
    return builder.compute(name, [builder.read(atom, indices)], equation.outputs[0].array_type.dtype)


def of_positions(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    return builder.position(indices[equation.params["axis"]])


def of_transpose(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    axes = equation.params["axes"]
    return builder.read(equation.inputs[0], tuple(indices[axes.index(axis)] for axis in range(len(axes))))


def of_broadcast(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    return builder.read_broadcast(equation.inputs[0], indices)


def of_reshape(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    (atom,) = equation.inputs
    mapped = reshape_map(atom.array_type.shape, equation.params["shape"])
    if mapped is not None:
        return builder.read(atom, mapped(indices))
    assert isinstance(atom, Variable)  # stored, since `is_view` says so: the same elements in the same order
    return builder.load_flat(atom, address(indices, equation.params["shape"], reshaped(equation, builder.layouts)))


def of_flip(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    shape, axes = equation.inputs[0].array_type.shape, equation.params["axes"]
    flipped = tuple(i * -1 + (n - 1) if axis in axes else i for axis, (i, n) in enumerate(zip(indices, shape)))
    return builder.read(equation.inputs[0], flipped)


def of_pad(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    (atom,), low = equation.inputs, equation.params["low"]
    conditions, places = [], []
    for index, before, length in zip(indices, low, atom.array_type.shape):
        condition, place = builder.inside(index + -before, length)
        conditions.append(condition)
        places.append(place)
    return builder.choose(builder.all_of(conditions), builder.read(atom, tuple(places)), Constant(0, atom.array_type.dtype))


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
    return builder.read(equation.inputs[0], builder.selected(equation, 1, indices))


def of_windows(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    params = equation.params
    rank = len(params["window"])
    lead = len(indices) - 2 * rank
    places, inner = indices[lead : lead + rank], indices[lead + rank :]
    own = (p * stride + i * spacing for p, i, stride, spacing in zip(places, inner, params["stride"], params["dilation"]))
    return builder.read(equation.inputs[0], (*indices[:lead], *own))


def of_update(builder: Builder, equation: Equation, indices: Indices) -> Operand:
    """The old element, or where the index points to one, that of the value or their sum."""
    x, value = equation.inputs
    dtype = equation.outputs[0].array_type.dtype
    conditions, own = [], []
    axis = 0
    for entry in equation.params["index"]:
        if entry is None:
            own.append(Affine())
            continue
        length = x.array_type.shape[axis]
        if isinstance(entry, int):
            condition, _ = builder.inside(indices[axis] + -(entry % length), 1)
        else:
            start, stop, step = slice(*entry).indices(length)
            condition, place = builder.inside(indices[axis] * step + -start * step, len(range(start, stop, step)))
            own.append(place)
        conditions.append(condition)
        axis += 1
    own += indices[axis:]
    shape = value.array_type.shape
    held = tuple(index if n != 1 else Affine() for index, n in zip(own[len(own) - len(shape) :], shape))
    old = builder.convert(builder.read(x, indices), dtype)
    new = builder.convert(builder.read(value, held), dtype)
    if equation.primitive is indexing.index_add:
        new = builder.compute("add", [old, new], dtype)
    return builder.choose(builder.all_of(conditions), new, old)


# Of operations that move elements: what the result is at an index, and which loops run along the operand's axes.
ELEMENTS: dict[Primitive, tuple[Element, Callable[[Equation, int, Axes], Axes]]] = {
    structure.copy: (of_copy, same_axes),
    structure.convert: (of_convert, same_axes),
    structure.positions: (of_positions, same_axes),
    structure.real: (of_part, same_axes),
    structure.imag: (of_part, same_axes),
    structure.conjugate: (of_part, same_axes),
    structure.transpose: (of_transpose, axes_of_transpose),
    structure.broadcast_to: (of_broadcast, axes_of_broadcast),
    structure.reshape: (of_reshape, axes_of_reshape),
    structure.flip: (of_flip, axes_of_flip),
    structure.pad: (of_pad, axes_of_pad),
    structure.triangle: (of_triangle, same_axes),
    structure.diagonal: (of_diagonal, axes_of_diagonal),
    structure.windows: (of_windows, axes_of_windows),
    indexing.getitem: (of_getitem, axes_of_getitem),
    indexing.index_set: (of_update, axes_of_update),
    indexing.index_add: (of_update, axes_of_update),
}


def operand_axes(equation: Equation, operand: int, axes: Axes) -> Axes:
    """The loops along an operand's axes, from those along the result's, of an equation with an element rule."""
    if isinstance(equation.primitive, Elementwise):
        return aligned_axes(equation.inputs[operand].array_type.shape, equation.outputs[0].array_type.shape, axes)
    return ELEMENTS[equation.primitive][1](equation, operand, axes)
