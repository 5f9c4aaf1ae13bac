"""Kernels: the statements of a nest of loops.

Reductions are carried from round to round in registers where the loops inside are reduced too, else in a buffer
of results. Long ones are made of blocks, and of parts for threads to share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from functrans.compile.arguments import Layouts
from functrans.compile.loops import (
    Affine,
    Buffer,
    Carried,
    Combine,
    Index,
    Kernel,
    Load,
    Loop,
    Operand,
    Scalar,
    Statement,
    Store,
    hoisted,
    walk,
)
from functrans.compile.schedule.elements import Builder, Definitions
from functrans.compile.schedule.fuse import Item, Leaf, Nest
from functrans.compile.schedule.indices import address
from functrans.compile.schedule.nodes import REDUCTIONS, Node
from functrans.compile.schedule.reductions import carried_dtype, first_of, is_rounded, operation_of
from functrans.compile.schedule.sums import Total
from functrans.compile.schedule.values import ItemBuilder
from functrans.core.program import Atom, Variable
from functrans.core.types import ArrayType
from functrans.errors import describe_origin
from functrans.ops.contraction import contract, split

__all__ = ["KernelCall", "kernel_calls"]

# Rounds whose terms are added one after the other before their sum is added to others': in lanes, and not. Rounding
# costs as much then as in NumPy's sums. The latter divides MOST_LANES, so that blocks do not reach from part to part.
BLOCK = 512
ROUND_BLOCK = 16
# Parts that a reduction over the outermost loop is made of, for threads to share; never more, so that results do not
# depend on the number of threads.
MOST_PARTS = 32
PART_OPERATIONS = 200_000
# What the rounds of a part are a multiple of.
MOST_LANES = 64


@dataclass(frozen=True, eq=False)
class KernelCall:
    """A kernel and the variables that are its inputs and outputs.

    Attributes:
        updates: of the variables it writes into the memory of an input, instead of an output's, this input.
    """

    kernel: Kernel
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    updates: Mapping[Variable, Variable] = field(default_factory=dict)


def kernel_calls(
    definitions: Definitions,
    kept: set[Variable],
    layouts: Layouts,
    name: str,
    item: Item,
    wanted: set[Variable],
    scattered: set[Variable],
) -> list[KernelCall]:
    """The kernel of an item that stores those of its values that are wanted outside; and one that adds up parts of results."""
    builder = KernelBuilder(definitions, kept, layouts, item, wanted, scattered)
    builder.item(item)
    buffers = list(builder.inputs.values()), list(builder.outputs.values())
    kernel = Kernel(name, *buffers, hoisted(builder.body), header(builder), builder.own)
    put_in_lanes(kernel.body)
    make_private(kernel)
    calls = [KernelCall(kernel, tuple(builder.inputs), tuple(builder.outputs))]
    for number, (variable, parts) in enumerate(builder.parts.items()):
        calls.append(sum_of_parts(f"{name}_total{number}", builder.nodes[variable][0], parts))
    return calls


def header(builder: KernelBuilder) -> tuple[str, ...]:
    """A line for each equation: its operation, its type and the user's line."""
    lines = []
    for equation in dict.fromkeys([*builder.used, *(node.equation for node in builder.paths)]):
        types = ", ".join(str(variable.array_type) for variable in equation.outputs)
        lines.append(f"{equation.primitive.name}: {types}  from {describe_origin(equation.origin)}")
    return tuple(lines)


def put_in_lanes(body: Sequence[Statement]) -> None:
    """Mark the innermost loops, but those in a loop in lanes."""
    for statement in body:
        if isinstance(statement, Loop) and not statement.lanes:
            if any(isinstance(inner, Loop) for inner in statement.body):
                put_in_lanes(statement.body)
            else:
                statement.lanes = statement.index.extent > 3


def make_private(kernel: Kernel) -> None:
    """Give each lane the own buffers that every round of a loop in lanes writes anew: those of parts of one element too."""
    for loop in walk(kernel.body):
        if isinstance(loop, Loop) and loop.lanes:
            for item in walk(loop.body):
                if isinstance(item, Store) and item.buffer in kernel.own and loop.index not in dict(item.offset.terms):
                    item.buffer.private = True


class KernelBuilder(ItemBuilder):
    """Builds the statements of an item."""

    # Items

    def item(self, item: Item) -> None:
        """The statements of an item, at the end of the body."""
        if isinstance(item, Leaf):
            for node in item.nodes:
                self.leaf(node)
        else:
            self.nest(item)

    def leaf(self, node: Node) -> None:
        """An element of a node, or a term of one."""
        equation, at = node.equation, self.at[node]
        dtype = equation.outputs[0].array_type.dtype
        if equation.primitive is contract:
            x, y, out = split(equation.params["subscripts"])
            letters = out + "".join(letter for letter in x if letter not in out)
            factors = [
                self.convert(self.read(atom, tuple(at[letters.index(letter)] for letter in side)), dtype)
                for atom, side in zip(equation.inputs, (x, y))
            ]
            self.accumulate(node, factors)
        elif equation.primitive in REDUCTIONS:
            self.accumulate(node, [self.convert(self.read(equation.inputs[0], tuple(at)), carried_dtype(node))])
        elif node.joined is not None:
            self.define(node, self.convert(self.read(self.operand_of(node), tuple(at)), dtype))
        else:
            self.define(node, self.convert(self.element(equation, tuple(at)), dtype))

    @staticmethod
    def operand_of(node: Node) -> Atom:
        """The operand of a concatenation that a node stores."""
        axis, start = node.joined or (0, 0)
        for atom in node.equation.inputs:
            if start == 0 and atom.array_type.shape == node.extents:
                return atom
            start -= atom.array_type.shape[axis]
        raise AssertionError("a part is no operand of its concatenation")

    def accumulate(self, node: Node, term: Sequence[Operand]) -> None:
        """Take a term, or a product of two factors, into a reduction."""
        operation, dtype = operation_of(node), carried_dtype(node)
        running = self.running.get(node)
        if running is not None:
            if len(term) == 2 and dtype.kind in "fc":
                self.latest[node] = self.compute("multiply_add", [*term, running], dtype)
            else:
                self.latest[node] = self.compute(operation, [running, self.product(term, dtype)], dtype)
        elif node.variable in self.places:
            self.combine(node, self.product(term, dtype))
        elif len(term) == 2:
            self.define(node, self.product(term, dtype))
        else:
            self.define(node, self.compute(operation, [first_of(node), *term], dtype))

    def product(self, factors: Sequence[Operand], dtype: np.dtype[Any]) -> Operand:
        return factors[0] if len(factors) == 1 else self.compute("multiply", factors, dtype)

    def combine(self, node: Node, value: Operand) -> None:
        """Take a value into the buffer of a reduction's results."""
        buffer, axes = self.places[node.variable]
        offset = self.offset(node.variable, axes, self.indices(node))
        self.body.append(Combine(buffer, offset, operation_of(node), self.convert(value, buffer.dtype)))

    def define(self, node: Node, value: Operand) -> None:
        """Make a complete value known here, and store it where it is read elsewhere."""
        variable = node.variable
        value = self.convert(value, variable.array_type.dtype)
        at = self.indices(node)
        if node.joined is None:
            self.known[variable, at] = value
        if variable in self.wanted:
            self.body.append(Store(self.output(variable), address(at, variable.array_type.shape), value))
        if variable in self.shared:
            if variable in self.wanted and (variable in self.scattered or not self.is_private(variable, self.shared[variable])):
                self.places[variable] = self.outputs[variable], tuple(range(len(at)))
                return
            axes = self.axes_inside(node, self.shared[variable])
            buffer = self.own_buffer(variable, axes, self.shared[variable])
            self.body.append(Store(buffer, self.offset(variable, axes, at), value))

    # Loops

    def nest(self, nest: Nest) -> None:
        """A loop, with what is carried through it."""
        reducing = [node for node, loop in nest.loops.items() if loop not in node.kept]
        carried = [node for node in reducing if self.is_carried(node)]
        outermost = not self.around
        if outermost and reducing:
            self.part = self.parts_of(nest, reducing)
        before = self.body
        if self.part is not None and outermost:
            self.body = []
        for node in reducing:
            if node not in carried and node.variable not in self.places:
                self.clear(node)
        first = {node: first_of(node) if is_rounded(node) else self.running.get(node, first_of(node)) for node in carried}
        index = Index(nest.extent)
        if outermost:
            self.lane = index
        if self.part is not None and outermost:
            results = self.in_blocks(nest, index, carried, first, self.part)
        elif nest.extent > self.block_size(nest) and any(map(is_rounded, carried)):
            results = self.in_blocks(nest, index, carried, first, None)
        else:
            results = self.loop(nest, index, carried, first, None)
        for node, result in results.items():
            if node in self.running and is_rounded(node):
                self.latest[node] = self.compute("add", [self.running[node], result], carried_dtype(node))
            elif node in self.running:
                self.latest[node] = result
            elif node.variable in self.places:
                self.combine(node, result)
            elif node.variable in self.parts:
                self.body.append(Store(self.output(self.parts[node.variable]), self.offset(node.variable, (), ()), result))
            else:
                self.define(node, result)
        if self.part is not None and outermost:
            before.append(Loop(self.part[0], self.body))
            self.body = before

    def is_carried(self, node: Node) -> bool:
        """Whether the loops of a node inside the nests so far, and the one that begins, are all reduced."""
        outside = {nest.loops[node] for nest in self.around}
        return all(loop in outside or node.extents[loop] == 1 for loop in node.kept)

    def clear(self, node: Node) -> None:
        """Make the buffer of a reduction's results, and fill it with what the reduction starts from."""
        variable = node.variable
        inside = self.axes_inside(node, len(self.around))
        if variable in self.parts:
            self.places[variable] = self.output(self.parts[variable]), inside
        elif variable in self.wanted:
            self.places[variable] = self.output(variable), tuple(range(len(node.kept)))
        else:
            depth = min(len(self.around), self.shared.get(variable, len(self.around)))
            self.own_buffer(variable, self.axes_inside(node, depth), depth)
        buffer, axes = self.places[variable]
        indices = list(self.indices(node))
        loops = {axis: Index(variable.array_type.shape[axis]) for axis in inside}
        for axis, index in loops.items():
            indices[axis] = Affine(((index, 1),))
        first = first_of(node, buffer.dtype)
        body: list[Statement] = [Store(buffer, self.offset(variable, axes, tuple(indices)), first)]
        for index in reversed(loops.values()):
            body = [Loop(index, body)] if index.extent != 1 else body
        self.body += body

    def loop(
        self,
        nest: Nest,
        index: Index,
        carried: Sequence[Node],
        first: dict[Node, Operand],
        rounds: tuple[Affine, Affine] | None,
    ) -> dict[Node, Operand]:
        """A loop over a nest's items; gives what the carried reductions are after it."""
        body, known, running = self.body, self.known, dict(self.running)
        self.body, self.known = [], dict(known)
        inside = {node: Scalar(carried_dtype(node)) for node in carried}
        self.running.update(inside)
        for node, loop in nest.loops.items():
            self.at[node][loop] = Affine(((index, 1),))
        self.around.append(nest)
        for item in nest.items:
            self.item(item)
        self.around.pop()
        if not self.around:
            self.body = self.prologue + self.body
        for node, loop in nest.loops.items():
            self.at[node][loop] = Affine()
        items = [Carried(inside[node], first[node], self.latest[node]) for node in carried]
        results = {node: Scalar(carried_dtype(node)) for node in carried}
        statement = Loop(index, self.body, items, list(results.values()), rounds, nest in self.lane_nests)
        self.body, self.known, self.running = body, known, running
        self.body.append(statement)
        return dict(results)

    def block_size(self, nest: Nest) -> int:
        """How many rounds of a nest are one block: more if they are in lanes, where each adds to another sum."""
        is_inner = any(other in self.lane_nests for other in self.around)
        is_innermost = not any(isinstance(item, Nest) for item in nest.items)
        return BLOCK if nest in self.lane_nests or is_innermost and not is_inner else ROUND_BLOCK

    def in_blocks(
        self, nest: Nest, index: Index, carried: Sequence[Node], first: dict[Node, Operand], part: tuple[Index, int] | None
    ) -> dict[Node, Operand]:
        """A loop over blocks of rounds, each of which starts its sums anew; of the blocks of one part only."""
        length = nest.extent if part is None else part[1]
        size = min(self.block_size(nest), length) if any(map(is_rounded, carried)) else length
        block = Index(-(-length // size))
        start = Affine(((block, size),)) if block.extent > 1 else Affine()
        if part is not None:
            start = start + Affine(((part[0], length),))
        if block.extent == 1:
            return self.loop(nest, index, carried, first, (start, start + size))
        body = self.body
        self.body = []
        terms = self.loop(nest, index, carried, {node: first_of(node) for node in carried}, (start, start + size))
        totals = {node: Total(self, operation_of(node), terms[node], is_rounded(node)) for node in carried}
        statement = loop_of(block, self.body, [item for node in carried for item in totals[node].carried(first[node])])
        self.body = body
        self.body.append(statement)
        results = iter(statement.results)
        return {node: totals[node].after(results) for node in carried}

    # Parts

    def parts_of(self, nest: Nest, reducing: Sequence[Node]) -> tuple[Index, int] | None:
        """The index of parts of the outermost loop, and the rounds in one, if its reductions are worth dividing."""
        operations = sum(node.size * (1 + len(node.reads)) for node in nest.loops)
        rounds = max(1, -(-nest.extent // min(MOST_PARTS, max(1, operations // PART_OPERATIONS))))
        granule = BLOCK if rounds > BLOCK else MOST_LANES
        rounds = -(-rounds // granule) * granule
        count = -(-nest.extent // rounds)
        if count <= 1:
            return None
        for node in reducing:
            self.parts[node.variable] = Variable(ArrayType((count, *node.variable.array_type.shape), carried_dtype(node)))
        return Index(count), rounds


def loop_of(index: Index, body: list[Statement], carried: list[Carried]) -> Loop:
    """A loop with results for what it carries."""
    return Loop(index, body, carried, [Scalar(item.inside.dtype) for item in carried])


def sum_of_parts(name: str, node: Node, parts: Variable) -> KernelCall:
    """The kernel that makes a reduction's result of its parts."""
    type_, dtype = node.variable.array_type, parts.array_type.dtype
    count, size = parts.array_type.shape[0], math.prod(type_.shape)
    source, out = Buffer(dtype, count * size), Buffer(type_.dtype, size)
    element, part = Index(size), Index(count)
    builder, term = Builder({}, set(), {}), Scalar(dtype)
    place = Affine(((element, 1),)) if size != 1 else Affine()
    builder.body.append(Load(term, source, place + Affine(((part, size),))))
    total = Total(builder, operation_of(node), term, is_rounded(node))
    loop = loop_of(part, builder.body, total.carried(first_of(node)))
    builder.body = [loop]
    result = builder.convert(total.after(iter(loop.results)), type_.dtype)
    statements = [*builder.body, Store(out, place, result)]
    line = f"{node.equation.primitive.name}: {type_}  from {describe_origin(node.equation.origin)}"
    nest: list[Statement] = [Loop(element, statements, lanes=True)] if size != 1 else statements
    return KernelCall(Kernel(name, [source], [out], nest, (line,)), (parts,), (node.variable,))
