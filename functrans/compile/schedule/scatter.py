"""Kernels of `fold`, and of `index_set` and `index_add` with index arrays: a copy of an operand, then a loop that writes into it.

Elements are written in NumPy's order, so that of equal indices the last wins and sums are rounded as its are.
Threads share the last axis of a row, never those of index arrays; of windows, the axes they do not run over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.compile.arguments import Layouts
from functrans.compile.loops import Affine, Buffer, Combine, Index, Kernel, Loop, Statement, Store, hoisted
from functrans.compile.schedule.elements import Builder, Definitions, Indices, address
from functrans.compile.schedule.kernels import KernelCall
from functrans.compile.schedule.places import selection
from functrans.core.program import Atom, Equation, Literal, Variable
from functrans.core.types import Shape
from functrans.errors import describe_origin
from functrans.ops import indexing, structure

__all__ = ["scatter_calls"]

# Bytes of a row that a part of it has at the least, whole vectors of any width; and how many parts there are at the most.
PART_BYTES = 256
MOST_PARTS = 16


def scatter_calls(
    definitions: Definitions, kept: set[Variable], layouts: Layouts, name: str, equation: Equation
) -> list[KernelCall]:
    """The kernels of an equation."""
    copy, write = (ScatterBuilder(definitions, kept, layouts, equation) for _ in range(2))
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
        if isinstance(atom, Variable) and atom not in self.kept:
            definition = self.equations[atom]
            if definition.primitive is structure.broadcast_to and isinstance(definition.inputs[0], Literal):
                atom = definition.inputs[0]
        if isinstance(atom, Literal):
            shape = (self.out.size,)
        loops, indices = loops_over(shape)
        value = self.convert(self.read(atom, indices), self.type.dtype)
        self.body.append(Store(self.out, address(indices, shape), value))
        self.body = nested(self.body, loops)

    def write_value(self) -> None:
        """Write the elements of the value where the index arrays say."""
        value = self.equation.inputs[1]
        found = selection(self.equation, 2)
        loops, indices = loops_over(found.selected_shape)
        outer, inner = found.split(loops)
        part = divided(inner, self.type.dtype)
        places = self.selected(self.equation, 2, indices)
        before, self.body = self.body, []
        element = self.convert(self.read_broadcast(value, indices), self.type.dtype)
        offset = address(places, self.type.shape)
        if self.equation.primitive is indexing.index_add:
            self.body.append(Combine(self.out, offset, "add", element))
        else:
            self.body.append(Store(self.out, offset, element))
        body = [*before, *nested(self.body, inner, None if part is None else part[1])]
        self.body = nested(body, outer, ordered=True)
        if part is not None:
            self.body = [Loop(part[0], self.body)]

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
