"""Kernels of `fold`, and of `index_set` and `index_add` with index arrays: a copy of an operand, then a loop that writes into it.

Elements are written in NumPy's order, so that of equal indices the last wins and sums are rounded as its are.
Threads share the last axis of a row, never those of index arrays; of windows, the axes they do not run over.
A large result that starts as a number is made in parts of its rows instead: each is filled and then, while it is in the
cache, written into by the indices that are in it, all of which each part reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.compile.arguments import Layouts
from functrans.compile.loops import (
    INTEGER,
    Affine,
    Bind,
    Buffer,
    Combine,
    Index,
    Kernel,
    Loop,
    Position,
    Scalar,
    Statement,
    Store,
    hoisted,
)
from functrans.compile.schedule.elements import Builder, Definitions
from functrans.compile.schedule.indices import Indices, address
from functrans.compile.schedule.kernels import KernelCall
from functrans.compile.schedule.places import selection
from functrans.compile.schedule.statements import BOOLEAN
from functrans.core.program import Atom, Equation, Literal, Variable
from functrans.core.types import Shape
from functrans.errors import describe_origin
from functrans.ops import indexing, structure

__all__ = ["scatter_calls"]

# Bytes of a row that a part of it has at the least, whole vectors of any width; and how many parts there are at the most.
PART_BYTES = 256
MOST_PARTS = 16
# Of parts of rows: their bytes at the least; how many rows are a multiple of, which makes whole vectors; and how many bytes
# of a row outweigh a look at an index. (Measured for 8,192 indices into 50,000 rows of 512 bytes, two threads: 820 us in
# two kernels, 620 us by four parts, zeros by memset.)
ROWS_BYTES = 6 << 20
ROWS_GRANULE = 256
LOOK_BYTES = 32


def scatter_calls(
    definitions: Definitions, kept: set[Variable], layouts: Layouts, name: str, equation: Equation
) -> list[KernelCall]:
    """The kernels of an equation."""
    copy, write = (ScatterBuilder(definitions, kept, layouts, equation) for _ in range(2))
    parts = copy.row_parts()
    if parts > 1:
        copy.fill_and_write(parts)
        return [copy.call(name)]
    if equation.primitive is structure.fold:
        copy.copy_operand(Literal(equation.outputs[0].array_type.dtype.type(0)))
        write.add_windows()
    else:
        copy.copy_operand(equation.inputs[0])
        write.write_value()
    return [copy.call(f"{name}_copy"), write.call(name)]


class ScatterBuilder(Builder):
    """Builds one of the kernels.

    Attributes:
        out: the buffer of the result.
    """

    def __init__(self, definitions: Definitions, kept: set[Variable], layouts: Layouts, equation: Equation) -> None:
        super().__init__(definitions, kept, layouts)
        self.equation = equation
        self.type = equation.outputs[0].array_type
        self.out = Buffer(self.type.dtype, math.prod(self.type.shape))

    def call(self, name: str) -> KernelCall:
        """The kernel of what was built."""
        used = dict.fromkeys([*self.used, self.equation])
        header = tuple(f"{e.primitive.name}: {e.outputs[0].array_type}  from {describe_origin(e.origin)}" for e in used)
        kernel = Kernel(name, list(self.inputs.values()), [self.out], hoisted(self.body), header)
        return KernelCall(kernel, tuple(self.inputs), self.equation.outputs)

    def copy_operand(self, atom: Atom) -> None:
        """Copy an operand; a number that fills the result by one flat loop."""
        shape = self.type.shape
        number = self.number_in(atom)
        if number is not None:
            atom, shape = number, (self.out.size,)
        loops, indices = loops_over(shape)
        value = self.convert(self.read(atom, indices), self.type.dtype)
        self.body.append(Store(self.out, address(indices, shape), value))
        self.body = nested(self.body, loops)

    def number_in(self, atom: Atom) -> Literal | None:
        """The number all elements of an operand are, if that is known."""
        if isinstance(atom, Variable) and atom not in self.kept:
            definition = self.equations[atom]
            if definition.primitive is structure.broadcast_to:
                atom = definition.inputs[0]
        return atom if isinstance(atom, Literal) else None

    def row_parts(self) -> int:
        """In how many parts of its rows the result is worth making: several if it is large, starts as a number, and an index
        array says which rows are written."""
        if self.equation.primitive is structure.fold or self.equation.params["index"][0] != indexing.ARRAY:
            return 1
        operand, _, *arrays = self.equation.inputs
        is_read = all(isinstance(array, Variable) and (array in self.kept or array not in self.equations) for array in arrays)
        if self.number_in(operand) is None or not is_read or 0 in selection(self.equation, 2).selected_shape:
            return 1
        row = self.type.nbytes // self.type.shape[0]
        return min(MOST_PARTS, self.type.nbytes // ROWS_BYTES, row // LOOK_BYTES)

    def fill_and_write(self, parts: int) -> None:
        """Part by part of the rows, fill the result with the number it starts as, and write the value into it."""
        number = self.number_in(self.equation.inputs[0])
        assert number is not None
        row = self.out.size // self.type.shape[0]
        rows = -(-self.type.shape[0] // (parts * ROWS_GRANULE)) * ROWS_GRANULE
        part = Index(-(-self.type.shape[0] // rows))
        start = Affine(((part, rows),))
        element = Index(self.out.size)
        fill = Store(self.out, Affine(((element, 1),)), self.convert(self.read(number, ()), self.type.dtype))
        filling = Loop(element, [fill], rounds=(start * row, (start + rows) * row), lanes=True)
        self.write_value((start, start + rows))
        self.body = [Loop(part, [filling, *self.body])]

    def write_value(self, rows: tuple[Affine, Affine] | None = None) -> None:
        """Write the elements of the value where the index arrays say, if that is among some rows."""
        value = self.equation.inputs[1]
        found = selection(self.equation, 2)
        loops, indices = loops_over(found.selected_shape)
        outer, inner = found.split(loops)
        part = divided(inner, self.type.dtype) if rows is None else None
        places = self.selected(self.equation, 2, indices)
        times = None if rows is None else self.once_among(places[0], rows)
        before, self.body = self.body, []
        element = self.convert(self.read_broadcast(value, indices), self.type.dtype)
        offset = address(places, self.type.shape)
        if self.equation.primitive is indexing.index_add:
            self.body.append(Combine(self.out, offset, "add", element))
        else:
            self.body.append(Store(self.out, offset, element))
        body = nested(self.body, inner, None if part is None else part[1])
        body = [*before, *(body if times is None else [Loop(Index(1), body, rounds=(Affine(), times))])]
        self.body = nested(body, outer, ordered=True)
        if part is not None:
            self.body = [Loop(part[0], self.body)]

    def once_among(self, place: Affine, rows: tuple[Affine, Affine]) -> Affine:
        """1 if a place is among some rows, else 0."""
        own, first, end = (Scalar(INTEGER) for _ in range(3))
        self.body += [Position(own, place), Position(first, rows[0]), Position(end, rows[1])]
        is_among = [self.compute("greater_equal", [own, first], BOOLEAN), self.compute("less", [own, end], BOOLEAN)]
        times = Index(2)
        self.body.append(Bind(times, self.convert(self.compute("logical_and", is_among, BOOLEAN), INTEGER)))
        return Affine(((times, 1),))

    def add_windows(self) -> None:
        """Add up the elements of windows, one element of all windows after the other."""
        windows = self.equation.inputs[0]
        params, shape = self.equation.params, windows.array_type.shape
        loops, indices = loops_over(shape)
        rank = len(params["window"])
        lead = len(shape) - 2 * rank
        element = self.read(windows, indices)
        own = [
            place * stride + inner * spacing
            for place, inner, stride, spacing in zip(
                indices[lead : lead + rank], indices[lead + rank :], params["stride"], params["dilation"]
            )
        ]
        self.body.append(Combine(self.out, address((*indices[:lead], *own), self.type.shape), "add", element))
        self.body = nested(self.body, loops[lead : lead + rank])
        self.body = nested(nested(self.body, loops[lead + rank :], ordered=True), loops[:lead], lanes=False)


def loops_over(shape: Shape) -> tuple[list[Index], Indices]:
    """A loop for each axis, and the indices they count."""
    loops = list(map(Index, shape))
    return loops, tuple(Affine(((index, 1),)) for index in loops)


def divided(loops: Sequence[Index], dtype: np.dtype[Any]) -> tuple[Index, tuple[Affine, Affine]] | None:
    """The index of parts of the last loop, and the rounds of it in one; None if it is too short to be divided."""
    extent = loops[-1].extent if loops else 0
    granule = PART_BYTES // (dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize)
    size = -(-extent // (MOST_PARTS * granule)) * granule
    if extent < 2 * granule:
        return None
    part = Index(-(-extent // size))
    start = Affine(((part, size),))
    return part, (start, start + size)


def nested(
    body: list[Statement],
    loops: Sequence[Index],
    rounds: tuple[Affine, Affine] | None = None,
    *,
    lanes: bool = True,
    ordered: bool = False,
) -> list[Statement]:
    """Loops around statements: ordered ones, or the innermost over `rounds` of it and in lanes, if that may be."""
    for place, index in enumerate(reversed(loops)):
        innermost = place == 0 and not ordered
        in_lanes = lanes and innermost and index.extent > 3
        body = [Loop(index, body, rounds=rounds if innermost else None, lanes=in_lanes, ordered=ordered)]
    return body
