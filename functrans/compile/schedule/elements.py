"""Elements: what an equation's result is at an index, as statements of a kernel.

Elementwise operations compute on their operands' elements; structural ones map the index and cost
nothing. Values that are stored are loaded, all others are computed where they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.compile.arguments import Layouts, Strides, first_and_size, strides
from functrans.compile.loops import (
    Affine,
    Bind,
    Buffer,
    Compute,
    Constant,
    Index,
    Load,
    Operand,
    Position,
    Require,
    Scalar,
    Statement,
)
from functrans.compile.machine.casts import can_convert
from functrans.compile.machine.registers import in_registers
from functrans.compile.rewrite.expand import has_empty
from functrans.compile.schedule.dtypes import loop_types, may_overflow
from functrans.compile.schedule.places import selection, slice_range
from functrans.core.primitive import Elementwise, Primitive
from functrans.core.program import Atom, Equation, Literal, Variable
from functrans.ops import arithmetic, indexing, structure

__all__ = [
    "Axes",
    "BOOLEAN",
    "Builder",
    "Definitions",
    "INTEGER",
    "Indices",
    "address",
    "is_inlined",
    "is_view",
    "operand_axes",
    "reshaped",
]

Indices = tuple[Affine, ...]

BOOLEAN, INTEGER, FLOAT = np.dtype(np.bool_), np.dtype(np.int64), np.dtype(np.float64)


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


def is_view(equation: Equation) -> bool:
    """Whether an equation's result lies in memory as its operand does, but its indices are no map of the operand's."""
    old = equation.inputs[0].array_type.shape
    return equation.primitive is structure.reshape and reshape_map(old, equation.params["shape"]) is None


def address(indices: Indices, shape: Sequence[int], steps: Strides | None = None) -> Affine:
    """Where an element is, counted from the first in memory, of a C-contiguous array or of one with other strides."""
    total = Affine((), -first_and_size(shape, steps)[0] if steps is not None else 0)
    for index, length, step in zip(indices, shape, strides(shape) if steps is None else steps):
        total = total + (index * step if length != 1 else Affine())
    return total


Definitions = dict[Variable, Equation]


class Builder:
    """Builds the statements of one kernel: reads values at indices, each only once in a place."""

    def __init__(self, definitions: Definitions, kept: set[Variable], layouts: Layouts) -> None:
        self.equations = definitions
        self.kept = kept
        self.layouts = layouts
        self.inputs: dict[Variable, Buffer] = {}
        self.used: dict[Equation, None] = {}
        self.body: list[Statement] = []
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

    def require(self, comparison: str, x: Operand, bound: int) -> None:
        """Fail where x does not compare with a bound."""
        self.body.append(Require(self.compute(comparison, [x, Constant(bound, x.dtype)], BOOLEAN)))

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
            with np.errstate(all="ignore"):
                value = np.asarray(x.value, None if type(x.value) is int else x.dtype)
                return Constant(value.astype(dtype)[()], dtype)
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

    def looked_up(self, place: Operand, length: int) -> Affine:
        """An index into an axis that was read from an array: counted from the end if negative, and checked."""
        zero, end = Constant(0, INTEGER), Constant(length, INTEGER)
        place = self.convert(place, INTEGER)
        negative = self.compute("less", [place, zero], BOOLEAN)
        place = self.choose(negative, self.compute("add", [place, end], INTEGER), place)
        inside = [self.compute("greater_equal", [place, zero], BOOLEAN), self.compute("less", [place, end], BOOLEAN)]
        self.body.append(Require(self.compute("logical_and", inside, BOOLEAN)))
        last = Constant(length - 1, INTEGER)
        held = Index(length)
        clamped = self.compute("minimum", [self.compute("maximum", [place, zero], INTEGER), last], INTEGER)
        self.body.append(Bind(held, clamped))
        return Affine(((held, 1),))

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
# For each axis of a value, the loop that runs along it; None where the index is another than the loop's.
Axes = tuple[int | None, ...]


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
    (atom,) = equation.inputs
    mapped = reshape_map(atom.array_type.shape, equation.params["shape"])
    if mapped is not None:
        return builder.read(atom, mapped(indices))
    assert isinstance(atom, Variable)  # stored, since `is_view` says so: the same elements in the same order
    return builder.load_flat(atom, address(indices, equation.params["shape"], reshaped(equation, builder.layouts)))


def reshaped(equation: Equation, layouts: Layouts) -> Strides | None:
    """The strides of a reshaped operand that is not C-contiguous; None if it is, or if a copy would have to be made."""
    atom = equation.inputs[0]
    steps = layouts.get(atom) if isinstance(atom, Variable) else None
    if steps is None:
        return None
    # As NumPy does it: for an array of bytes with these strides, none of which is ever read.
    view = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), atom.array_type.shape, steps, writeable=False)
    try:
        return view.reshape(equation.params["shape"], copy=False).strides
    except ValueError:
        return None


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


def same_axes(equation: Equation, operand: int, axes: Axes) -> Axes:
    return axes


def axes_of_transpose(equation: Equation, operand: int, axes: Axes) -> Axes:
    order = equation.params["axes"]
    return tuple(axes[order.index(axis)] for axis in range(len(order)))


def axes_of_broadcast(equation: Equation, operand: int, axes: Axes) -> Axes:
    return aligned_axes(equation.inputs[0].array_type.shape, equation.outputs[0].array_type.shape, axes)


def aligned_axes(shape: Sequence[int], out: Sequence[int], axes: Axes) -> Axes:
    """The loops along the axes of an operand that is broadcast to `out`."""
    skipped = len(out) - len(shape)
    return tuple(axis if n == m else None for axis, n, m in zip(axes[skipped:], shape, out[skipped:]))


def axes_of_reshape(equation: Equation, operand: int, axes: Axes) -> Axes:
    old, new = equation.inputs[0].array_type.shape, equation.params["shape"]
    found: list[int | None] = []
    before = passed = 1
    place = 0
    for length in old:
        # An axis is kept where as many elements come before it in the old shape as in the new one.
        while place < len(new) and (passed < before or new[place] == 1 != length):
            passed *= new[place]
            place += 1
        is_kept = place < len(new) and passed == before and new[place] == length
        if not is_kept and is_view(equation):
            break
        found.append(axes[place] if is_kept else None)
        before *= length
    return (*found, *[None] * (len(old) - len(found)))


def axes_of_flip(equation: Equation, operand: int, axes: Axes) -> Axes:
    return tuple(None if place in equation.params["axes"] else axis for place, axis in enumerate(axes))


def axes_of_pad(equation: Equation, operand: int, axes: Axes) -> Axes:
    return aligned_axes(equation.inputs[0].array_type.shape, equation.outputs[0].array_type.shape, axes)


def axes_of_windows(equation: Equation, operand: int, axes: Axes) -> Axes:
    rank = len(equation.params["window"])
    return (*axes[: len(axes) - 2 * rank], *[None] * rank)


def axes_of_diagonal(equation: Equation, operand: int, axes: Axes) -> Axes:
    return (*axes[:-1], None, None)


def axes_of_getitem(equation: Equation, operand: int, axes: Axes) -> Axes:
    selected = selection(equation, 1)
    own, remaining = selected.split(axes)
    if operand:
        return aligned_axes(equation.inputs[operand].array_type.shape, selected.array_shape, tuple(own))
    found: list[int | None] = []
    for entry in selected.template:
        if entry is None:
            remaining.pop(0)
        elif isinstance(entry, int) or entry == indexing.ARRAY:
            found.append(None)
        else:
            axis, length = remaining.pop(0), selected.shape[len(found)]
            found.append(axis if slice_range(entry, length) == range(length) else None)
    return (*found, *remaining)


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


def axes_of_update(equation: Equation, operand: int, axes: Axes) -> Axes:
    if operand == 0:
        return axes
    x, value = (atom.array_type.shape for atom in equation.inputs)
    found: list[int | None] = []
    axis = 0
    for entry in equation.params["index"]:
        if entry is None:
            found.append(None)
            continue
        if not isinstance(entry, int):
            length = x[axis]
            found.append(axes[axis] if slice(*entry).indices(length) == (0, length, 1) else None)
        axis += 1
    found += axes[axis:]
    return tuple(place if n != 1 else None for place, n in zip(found[len(found) - len(value) :], value))


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
