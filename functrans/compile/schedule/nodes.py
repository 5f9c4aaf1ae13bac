"""Nodes: the stored values of a program, each with the loops that compute it.

Every value is either *stored*, in a buffer, or *inlined*: computed where it is read, at the index it is
read at. Structural operations then cost nothing: they are maps of indices. A stored value is a node: a map
(a loop for each of its axes), a reduction or a contraction (loops for the summed axes as well), or a call.

Axes of different nodes belong to one *class* if one node reads the other, or both read the same value, at the
same index along them: loops over axes of one class may be fused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from functrans.compile.machine.blas import matrix_product
from functrans.compile.machine.casts import can_convert
from functrans.compile.machine.registers import in_registers
from functrans.compile.machine.vector_math import FUNCTIONS
from functrans.compile.rewrite.expand import has_empty
from functrans.compile.schedule.axes import Axes
from functrans.compile.schedule.elements import Definitions, is_inlined, operand_axes
from functrans.compile.schedule.indices import is_view
from functrans.core.primitive import Primitive
from functrans.core.program import Atom, Equation, Literal, Program, Variable
from functrans.ops import arithmetic, indexing, reduction, structure
from functrans.ops.contraction import contract, split
from functrans.ops.recomputation import barrier

__all__ = ["Node", "REDUCTIONS", "is_contracted", "is_scattered", "nodes_of", "stored"]

REDUCTIONS: dict[Primitive, str] = {
    reduction.sum: "add", reduction.max: "maximum", reduction.min: "minimum", reduction.all: "logical_and",
    reduction.any: "logical_or", reduction.prod: "multiply", contract: "add",
}  # fmt: skip

# Elements of the smaller operand up to which a product is computed by loops: BLAS is slow for small matrices.
SMALL_MATRIX = 1024
# Operations, about, that an inlined value may take.
LARGEST_INLINED = 1000


@dataclass(eq=False)
class Node:
    """A stored value and the loops that compute it.

    Attributes:
        extents: of the loops.
        kept: the loop of each axis of the value; the others are reduced.
        reads: the stored values it reads, with the loops that run along their axes.
        is_call: whether BLAS or NumPy computes it, or them.
        joined: of a part of a concatenation, the axis and where on it the part begins.
        classes: the class of each loop's axis.
    """

    equation: Equation
    extents: tuple[int, ...]
    kept: tuple[int, ...]
    reads: tuple[tuple[Variable, Axes], ...]
    is_call: bool
    joined: tuple[int, int] | None = None
    classes: list[Any] = field(default_factory=list)

    @property
    def variable(self) -> Variable:
        return self.equation.outputs[0]

    def follows(self, loop: int) -> int | None:
        """The axis of the value whose index is that of a loop."""
        if loop not in self.kept:
            return None
        axis = self.kept.index(loop)
        return None if self.joined is not None and self.joined[0] == axis else axis

    @property
    def size(self) -> int:
        """The number of rounds of all loops."""
        return math.prod(self.extents)

    @property
    def reduced(self) -> list[int]:
        """The loops that are no axis of the value."""
        return [loop for loop in range(len(self.extents)) if loop not in self.kept]


def is_reduced(equation: Equation) -> bool:
    """Whether an equation is a reduction with a loop form."""
    if equation.primitive not in REDUCTIONS or equation.primitive is contract:
        return False
    old, new = equation.inputs[0].array_type, equation.outputs[0].array_type
    if not (in_registers(old.dtype) and in_registers(new.dtype) and can_convert(old.dtype, new.dtype)):
        return False
    # Complex extrema are not taken part by part. Products may overflow in one order of the factors and not in NumPy's.
    if new.dtype.kind == "c" and equation.primitive is not reduction.sum:
        return False
    if new.dtype.kind == "f" and equation.primitive is reduction.prod:
        return False
    return math.prod(old.shape) > 0 or equation.primitive in (reduction.sum, reduction.prod)


def is_joined(equation: Equation) -> bool:
    """Whether an equation is a concatenation whose parts are stored one by one."""
    if equation.primitive is not structure.concatenate:
        return False
    out = equation.outputs[0].array_type.dtype
    dtypes = [atom.array_type.dtype for atom in equation.inputs]
    return all(in_registers(d) and can_convert(d, out) for d in (*dtypes, out))


def is_scattered(equation: Equation) -> bool:
    """Whether an equation writes where index arrays say, or adds up windows, by kernels of its own."""
    types = [atom.array_type for atom in equation.inputs]
    if equation.primitive is structure.fold:
        return in_registers(types[0].dtype)
    is_update = equation.primitive in (indexing.index_set, indexing.index_add) and len(types) > 2 and not has_empty(equation)
    return is_update and all(in_registers(t.dtype) for t in types) and can_convert(types[1].dtype, types[0].dtype)


def is_contracted(equation: Equation) -> bool:
    """Whether an equation is a contraction that is computed by loops."""
    if equation.primitive is not contract:
        return False
    types = [atom.array_type for atom in (*equation.inputs, *equation.outputs)]
    out = types[2].dtype
    if out.kind not in "iufc" or not all(in_registers(t.dtype) and can_convert(t.dtype, out) for t in types):
        return False
    if out.kind != "f":
        return True  # NumPy has no fast routine for them: measured, loops take a third to a seventh of its time
    x, y, result = split(equation.params["subscripts"])
    sizes = dict(zip(x + y, types[0].shape + types[1].shape))
    summed = math.prod(sizes[letter] for letter in x if letter in y and letter not in result)
    rows = math.prod(sizes[letter] for letter in x if letter not in y)
    columns = math.prod(sizes[letter] for letter in y if letter not in x)
    if min(summed, rows, columns) <= 1:
        return True
    small = summed * min(rows, columns) <= SMALL_MATRIX or rows * columns <= SMALL_MATRIX
    product = matrix_product(equation, {})
    is_fast = max(summed, rows, columns) > 4 * SMALL_MATRIX or product is None or not product.is_packed
    return small and is_fast or rows * columns * summed <= 4 * SMALL_MATRIX


def nodes_of(program: Program, kept: set[Variable]) -> list[Node]:
    """The nodes of a program whose variables `kept` are stored, in order."""
    definitions = program.definitions()
    found = []
    for equation in program.equations:
        if is_joined(equation):
            found += parts_of(definitions, kept, equation)
        elif equation.has_effect or equation.primitive is barrier or not kept.isdisjoint(equation.outputs):
            found.append(node_of(definitions, kept, equation))
    classify(found)
    return found


def stored(program: Program) -> set[Variable]:
    """The variables that get a buffer: inputs, results of reductions and calls, outputs, and what is dear and read often."""
    kept = {*program.inputs, *program.captured}
    kept.update(atom for atom in program.outputs if isinstance(atom, Variable))
    readers: dict[Variable, int] = {}
    costs: dict[Any, int] = {}
    for equation in program.equations:
        if equation.primitive is barrier:
            continue
        inlined, contracted = is_inlined(equation), is_contracted(equation)
        fused = inlined or contracted or is_reduced(equation) or is_joined(equation) or is_scattered(equation)
        if not inlined:
            kept.update(equation.outputs)
        size = loop_size(equation, contracted)
        for atom in equation.inputs:
            if not isinstance(atom, Variable):
                continue
            readers[atom] = readers.get(atom, 0) + 1
            repeated = costs.get(atom, 0) > 2 and math.prod(atom.array_type.shape) < size
            if not fused or repeated or inlined and is_view(equation):
                kept.add(atom)
        if not equation.outputs:
            continue
        own = 20 if equation.primitive.name in FUNCTIONS else 4 if equation.primitive is arithmetic.divide else 1
        costs[equation.outputs[0]] = own + sum(costs.get(atom, 0) for atom in equation.inputs if atom not in kept)
        if costs[equation.outputs[0]] > LARGEST_INLINED:
            kept.update(equation.outputs)
    costs.clear()
    for equation in program.equations:
        own = 20 if equation.primitive.name in FUNCTIONS else 1
        for out in equation.outputs[:1]:
            costs[out] = own + sum(costs.get(atom, 0) for atom in equation.inputs if atom not in kept)
            if readers.get(out, 0) > 1 and costs[out] > 4:
                kept.add(out)
    return kept


def loop_size(equation: Equation, contracted: bool) -> int:
    """How often an equation reads an element of its operands, at most."""
    shapes = [atom.array_type.shape for atom in (*equation.inputs, *equation.outputs)]
    if not contracted:
        return max(map(math.prod, shapes), default=0)
    x, y, _ = split(equation.params["subscripts"])
    return math.prod(dict(zip(x + y, shapes[0] + shapes[1])).values())


def node_of(definitions: Definitions, kept: set[Variable], equation: Equation) -> Node:
    """The node of an equation whose results are stored."""
    own: list[Axes]
    if is_inlined(equation):
        extents = equation.outputs[0].array_type.shape
        loops = tuple(range(len(extents)))
        own = [operand_axes(equation, operand, loops) for operand in range(len(equation.inputs))]
        return Node(equation, extents, loops, reads_of(definitions, kept, equation.inputs, own), False)
    if is_reduced(equation):
        extents = equation.inputs[0].array_type.shape
        remaining = tuple(loop for loop in range(len(extents)) if loop not in equation.params["axes"])
        own = [tuple(range(len(extents)))]
        return Node(equation, extents, remaining, reads_of(definitions, kept, equation.inputs, own), False)
    if is_contracted(equation):
        x, y, out = split(equation.params["subscripts"])
        letters = out + "".join(letter for letter in x if letter not in out)
        sizes = dict(zip(x + y, equation.inputs[0].array_type.shape + equation.inputs[1].array_type.shape))
        own = [tuple(letters.index(letter) for letter in side) for side in (x, y)]
        extents = tuple(sizes[letter] for letter in letters)
        return Node(equation, extents, tuple(range(len(out))), reads_of(definitions, kept, equation.inputs, own), False)
    whole: list[Axes] = [(None,) * len(atom.array_type.shape) for atom in equation.inputs]
    return Node(equation, (), (), reads_of(definitions, kept, equation.inputs, whole), True)


def parts_of(definitions: Definitions, kept: set[Variable], equation: Equation) -> list[Node]:
    """A node for each operand of a concatenation."""
    axis, start = equation.params["axis"], 0
    found = []
    for atom in equation.inputs:
        extents = atom.array_type.shape
        loops = tuple(range(len(extents)))
        reads = reads_of(definitions, kept, [atom], [loops])
        found.append(Node(equation, extents, loops, reads, False, (axis, start)))
        start += extents[axis]
    return found


def reads_of(
    definitions: Definitions, kept: set[Variable], operands: Sequence[Atom], own: Sequence[Axes]
) -> tuple[tuple[Variable, Axes], ...]:
    """The stored values that operands are made of, through inlined ones, with the loops along their axes."""
    found: dict[tuple[Variable, Axes], None] = {}
    seen: set[tuple[Variable, Axes]] = set()
    waiting = list(zip(operands, own))
    while waiting:
        atom, axes = waiting.pop()
        if isinstance(atom, Literal) or (atom, axes) in seen:
            continue
        seen.add((atom, axes))
        if atom in kept:
            found[atom, axes] = None
        else:
            inner = definitions[atom]
            waiting += [(operand, operand_axes(inner, place, axes)) for place, operand in enumerate(inner.inputs)]
    return tuple(found)


def classify(nodes: Iterable[Node]) -> None:
    """Give each loop of the nodes its class (disjoint sets, Tarjan 1975)."""
    parents: dict[Any, Any] = {}

    def root(item: Any) -> Any:
        while (parent := parents.get(item, item)) is not item:
            parents[item] = item = parents.get(parent, parent)
        return item

    nodes = list(nodes)
    items = {node: [(node, loop) for loop in range(len(node.extents))] for node in nodes}
    places: dict[tuple[Any, int], Any] = {}
    for node in nodes:
        own = tuple(loop if node.follows(loop) is not None else None for loop in node.kept)
        sides = [(node.variable, own), *node.reads] if not node.is_call else []
        for variable, axes in sides:
            for place, loop in enumerate(axes):
                if loop is not None and node.extents[loop] != 1:
                    item = items[node][loop]
                    other = places.setdefault((variable, place), item)
                    parents[root(item)] = root(other)
    for node in nodes:
        node.classes = [root(item) for item in items[node]]
