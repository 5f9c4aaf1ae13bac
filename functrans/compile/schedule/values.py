"""Values of an item: where they are, and how they are read.

A value read in the round that computes it stays in a register; read in another nest of the same round, it
goes through a buffer of the kernel's own; read by other kernels, it is stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from functrans.compile.arguments import Layouts, strides_of
from functrans.compile.loops import Affine, Buffer, Index, Load, Loop, Operand, Scalar, Statement, Store
from functrans.compile.schedule.elements import Builder, Definitions
from functrans.compile.schedule.fuse import Item, Leaf, Nest, leaves_of
from functrans.compile.schedule.indices import Indices, address
from functrans.compile.schedule.lanes import lane_nests
from functrans.compile.schedule.nodes import Node
from functrans.core.program import Variable

__all__ = ["ItemBuilder"]

# Elements of a row that is copied to where lanes are side by side.
LARGEST_PACKED = 512


def defined_in(node: Node, path: tuple[Nest, ...]) -> tuple[Nest, ...]:
    """The nests around the place where a node's value is complete: not those that reduce it."""
    for depth, nest in enumerate(path):
        if nest.loops[node] not in node.kept:
            return path[:depth]
    return path


class ItemBuilder(Builder):
    """Reads values at the place in an item that is being built, and makes the buffers they are in.

    Attributes:
        nodes: those of the item, by variable.
        outputs: the buffers of values wanted outside.
        own: the buffers of values that are not.
        parts: the reductions that are left in parts, with the variables of these; and the index and the rounds of a part.
        around: the nests around the place, outermost first.
        at: for each node the indices of its loops there.
        running: the reductions that are carried in registers there, as they are when a round begins.
        latest: and as they are in the end of one.
        prologue: what each round of the outermost loop begins with.
    """

    def __init__(
        self,
        definitions: Definitions,
        kept: set[Variable],
        layouts: Layouts,
        item: Item,
        wanted: set[Variable],
        scattered: set[Variable],
    ) -> None:
        super().__init__(definitions, kept, layouts)
        self.wanted, self.scattered = wanted, scattered
        self.outputs: dict[Variable, Buffer] = {}
        self.own: list[Buffer] = []
        self.parts: dict[Variable, Variable] = {}
        self.part: tuple[Index, int] | None = None
        self.paths = dict(leaves_of(item))
        self.nodes: dict[Variable, list[Node]] = {}
        for node in self.paths:
            self.nodes.setdefault(node.variable, []).append(node)
        self.at: dict[Node, list[Affine]] = {node: [Affine()] * len(node.extents) for node in self.paths}
        self.around: list[Nest] = []
        self.running: dict[Node, Operand] = {}
        self.latest: dict[Node, Operand] = {}
        self.shared = self.shared_nests()
        # The buffer of a value, or of what a reduction has so far, with the axes that address it.
        self.places: dict[Variable, tuple[Buffer, tuple[int, ...]]] = {}
        self.repeats = self.read_in_rounds(item)
        self.prologue: list[Statement] = []
        self.lane = Index(1)  # that of the outermost loop, once there is one
        self.lane_nests = lane_nests(item, wanted, layouts) if isinstance(item, Nest) else set()

    def shared_nests(self) -> dict[Variable, int]:
        """For each value that is read in the item where its register is not, how many nests are around both places."""
        result: dict[Variable, int] = {}
        for reader, path in self.paths.items():
            for variable, _ in reader.reads:
                for node in self.nodes.get(variable, ()):
                    complete = defined_in(node, self.paths[node])
                    common = sum(1 for a, b in zip(complete, path) if a is b)
                    if common < len(complete) or node.joined is not None:
                        result[variable] = min(common, result.get(variable, common))
        return result

    def read_in_rounds(self, item: Item) -> dict[Variable, float]:
        """How often a round of the outermost loop reads each element it does of the values from outside."""
        counts: dict[Variable, float] = {}
        if isinstance(item, Leaf):
            return counts
        for node, outer in item.loops.items():
            for variable, axes in node.reads:
                if variable not in self.nodes and outer in axes:
                    shape = variable.array_type.shape
                    row = math.prod(shape) // max(1, shape[axes.index(outer)])
                    if 0 < row <= LARGEST_PACKED:
                        counts[variable] = counts.get(variable, 0) + node.size / max(1, item.extent) / row
        return counts

    def load_flat(self, variable: Variable, offset: Affine) -> Operand:
        if variable not in self.nodes:
            return super().load_flat(variable, offset)
        buffer, axes = self.places[variable]
        target = Scalar(buffer.dtype)
        self.body.append(Load(target, buffer, self.within(variable, axes, offset)))
        return self.convert(target, variable.array_type.dtype)

    def within(self, variable: Variable, axes: Sequence[int], offset: Affine) -> Affine:
        """An address in a whole value as one in a buffer over some of its axes: the others have their nests around."""
        node = self.nodes[variable][0]
        outside = {index for axis, loop in enumerate(node.kept) if axis not in axes for index, _ in self.at[node][loop].terms}
        return Affine(tuple(term for term in offset.terms if term[0] not in outside), offset.constant)

    def load(self, variable: Variable, indices: Indices) -> Operand:
        if variable not in self.nodes:
            axis = self.strided_axis(variable, indices)
            if axis is None:
                return super().load(variable, indices)
            self.pack(variable, axis)
        buffer, axes = self.places[variable]
        target = Scalar(buffer.dtype)
        self.body.append(Load(target, buffer, self.offset(variable, axes, indices)))
        return self.convert(target, variable.array_type.dtype)

    def strided_axis(self, variable: Variable, indices: Indices) -> int | None:
        """The axis along which a value from outside is read in lanes, if its elements are far apart there, and read often."""
        if not self.around or self.around[0] not in self.lane_nests or self.repeats.get(variable, 0) < 2:
            return None
        found = [axis for axis, index in enumerate(indices) if any(term[0] is self.lane for term in index.terms)]
        if len(found) != 1 or indices[found[0]] != Affine(((self.lane, 1),)):
            return None
        return found[0] if strides_of(variable, self.layouts)[found[0]] not in (0, 1) else None

    def pack(self, variable: Variable, axis: int) -> None:
        """Copy what a round reads of a value from outside, once, to where lanes are side by side."""
        if variable in self.places:
            return
        shape = variable.array_type.shape
        axes = tuple(other for other in range(len(shape)) if other != axis)
        buffer = self.own_buffer(variable, axes, 1)
        loops = [self.lane if other == axis else Index(length) for other, length in enumerate(shape)]
        indices = tuple(Affine(((index, 1),)) for index in loops)
        target = Scalar(variable.array_type.dtype)
        body: list[Statement] = [
            Load(target, self.buffer(variable), self.address_in(variable, indices)),
            Store(buffer, self.offset(variable, axes, indices), target),
        ]
        for index in reversed(loops):
            body = [Loop(index, body)] if index is not self.lane and index.extent != 1 else body
        self.prologue += body

    def offset(self, variable: Variable, axes: Sequence[int], indices: Indices) -> Affine:
        """The address of an element in a buffer over some axes of a value; and of the part, if it is left in parts."""
        lengths = [variable.array_type.shape[axis] for axis in axes]
        result = address(tuple(indices[axis] for axis in axes), lengths)
        if self.part is not None and variable in self.parts:
            result = result + Affine(((self.part[0], math.prod(lengths)),))
        return result

    def indices(self, node: Node) -> Indices:
        """Where in its value a node computes an element."""
        found = [self.at[node][loop] for loop in node.kept]
        if node.joined is not None:
            axis, start = node.joined
            found[axis] = found[axis] + start
        return tuple(found)

    def output(self, variable: Variable) -> Buffer:
        """The buffer of a value that is wanted outside."""
        if variable not in self.outputs:
            self.outputs[variable] = Buffer(variable.array_type.dtype, math.prod(variable.array_type.shape))
        return self.outputs[variable]

    def is_private(self, variable: Variable, depth: int) -> bool:
        """Whether a value is read only in the round of a loop in lanes that it is computed in, one of the outermost `depth` nests."""
        path = self.paths[self.nodes[variable][0]]
        return any(nest in self.lane_nests for nest in path[:depth])

    def own_buffer(self, variable: Variable, axes: tuple[int, ...], depth: int) -> Buffer:
        """The kernel's own buffer over some axes of a value, for a round of the outermost `depth` nests."""
        if variable not in self.places:
            size = math.prod(variable.array_type.shape[axis] for axis in axes)
            private = variable not in self.nodes or self.is_private(variable, depth)
            self.own.append(Buffer(variable.array_type.dtype, size, private))
            self.places[variable] = self.own[-1], axes
        return self.places[variable][0]

    def axes_inside(self, node: Node, depth: int) -> tuple[int, ...]:
        """The axes of a value but those of the outermost `depth` nests around it."""
        outside = {nest.loops[node] for nest in self.paths[node][:depth]}
        return tuple(axis for axis, loop in enumerate(node.kept) if loop not in outside)
