"""Kernels of `index_set` and `index_add` with index arrays: a copy of the operand, then a loop that writes into it.

Elements are written in the order of the index arrays, so that of equal indices the last wins and sums are
rounded as NumPy rounds them. Threads share the last axis of a row, never those of index arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from functrans.compile.elements import Builder, Definitions, address
from functrans.compile.kernels import KernelCall
from functrans.compile.loops import Affine, Buffer, Combine, Index, Kernel, Loop, Statement, Store, hoisted
from functrans.compile.places import selection
from functrans.core.program import Equation, Literal, Variable
from functrans.errors import describe_origin
from functrans.ops import indexing, structure

__all__ = ["scatter_calls"]

# Bytes of a row that a part of it has at the least, whole vectors of any width; and how many parts there are at the most.
PART_BYTES = 256
MOST_PARTS = 16


def scatter_calls(definitions: Definitions, kept: set[Variable], name: str, equation: Equation) -> list[KernelCall]:
    """The kernels of an equation."""
    copy, write = (ScatterBuilder(definitions, kept, equation) for _ in range(2))
    copy.copy_operand()
    write.write_value()
    return [copy.call(f"{name}_copy"), write.call(name)]


class ScatterBuilder(Builder):
    """Builds one of the kernels.

    Attributes:
        out: the buffer of the result.
    """

    def __init__(self, definitions: Definitions, kept: set[Variable], equation: Equation) -> None:
        super().__init__(definitions, kept)
        self.equation = equation
        self.type = equation.outputs[0].array_type
        self.out = Buffer(self.type.dtype, math.prod(self.type.shape))

    def call(self, name: str) -> KernelCall:
        """The kernel of what was built."""
        used = dict.fromkeys([*self.used, self.equation])
        header = tuple(f"{e.primitive.name}: {e.outputs[0].array_type}  from {describe_origin(e.origin)}" for e in used)
        kernel = Kernel(name, list(self.inputs.values()), [self.out], hoisted(self.body), header)
        return KernelCall(kernel, tuple(self.inputs), self.equation.outputs)

    def copy_operand(self) -> None:
        """Copy the first operand; a number that fills it by one flat loop."""
        atom = self.equation.inputs[0]
        definition = self.equations.get(atom) if isinstance(atom, Variable) and atom not in self.kept else None
        fills = definition is not None and definition.primitive is structure.broadcast_to
        shape = self.type.shape
        if definition is not None and fills and isinstance(definition.inputs[0], Literal):
            atom, shape = definition.inputs[0], (self.out.size,)
        loops = list(map(Index, shape))
        indices = tuple(Affine(((index, 1),)) for index in loops)
        value = self.convert(self.read(atom, indices), self.type.dtype)
        self.body.append(Store(self.out, address(indices, shape), value))
        self.body = nested(self.body, loops)

    def write_value(self) -> None:
        """Write the elements of the value where the index arrays say."""
        value = self.equation.inputs[1]
        found = selection(self.equation, 2)
        loops = list(map(Index, found.selected_shape))
        outer, inner = found.split(loops)
        part = divided(inner, self.type.dtype.itemsize)
        indices = tuple(Affine(((index, 1),)) for index in loops)
        places = self.selected(self.equation, 2, indices)
        before, self.body = self.body, []
        element = self.convert(self.read_broadcast(value, indices), self.type.dtype)
        offset = address(places, self.type.shape)
        if self.equation.primitive is indexing.index_add:
            self.body.append(Combine(self.out, offset, "add", element))
        else:
            self.body.append(Store(self.out, offset, element))
        body = nested(self.body, inner, None if part is None else part[1])
        self.body = nested([*before, *body], [*([part[0]] if part is not None else []), *outer], lanes=False)


def divided(loops: Sequence[Index], itemsize: int) -> tuple[Index, tuple[Affine, Affine]] | None:
    """The index of parts of the last loop, and the rounds of it in one; None if it is too short to be divided."""
    extent = loops[-1].extent if loops else 0
    granule = PART_BYTES // itemsize
    size = -(-extent // (MOST_PARTS * granule)) * granule
    if extent < 2 * granule:
        return None
    part = Index(-(-extent // size))
    start = Affine(((part, size),))
    return part, (start, start + size)


def nested(
    body: list[Statement], loops: Sequence[Index], rounds: tuple[Affine, Affine] | None = None, *, lanes: bool = True
) -> list[Statement]:
    """Loops around statements; the innermost over some of its rounds only, and in lanes if that may be."""
    for place, index in enumerate(reversed(loops)):
        if place or index.extent != 1 or rounds is not None:
            is_innermost = place == 0
            body = [Loop(index, body, rounds=rounds if is_innermost else None, lanes=lanes and is_innermost and index.extent > 3)]
    return body
