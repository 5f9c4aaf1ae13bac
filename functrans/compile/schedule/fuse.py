"""Fusion: the nodes of a program in nests of loops.

A *nest* is a loop over one class of axes and the nodes computed in it, again in nests over their other axes,
down to *leaves*, which compute elements. A node joins the nest that computes what it reads if it reads that
at the loop's own index; then the values between them need no memory, or as much as one round takes. (Kennedy
and McKinley, Maximizing loop parallelism and improving data locality via loop fusion and distribution, 1993.)

Invariant: items are in order of their dependencies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from functrans.compile.arguments import Layouts, strides_of
from functrans.compile.schedule.nodes import Node
from functrans.core.program import Variable
from functrans.ops.recomputation import barrier

__all__ = ["Item", "Leaf", "Nest", "arrange", "leaves_of"]

# A class is preferred to that of a node's leading axis if it weighs more by this factor.
PREFERRED = 1.25
# An axis is preferred for its length if it is longer by this factor.
LONGER = 8
# Rows that are read side by side, from far apart in memory: the processor foresees the reads of about as many.
FEW = 64
# Elements from which on a row is so long that the processor does not foresee the next one's.
LONG = 256
# Nodes in one nest: a compiler takes longer than in proportion to a function's length.
MOST_NODES = 400


@dataclass(eq=False)
class Leaf:
    """Nodes all of whose loops are around them: each computes an element. A call is alone in its leaf."""

    nodes: list[Node]

    @property
    def is_call(self) -> bool:
        return self.nodes[0].is_call


@dataclass(eq=False)
class Nest:
    """A loop over a class of axes.

    Attributes:
        loops: the nodes in it, each with the one of its loops that this is.
        items: what a round consists of, in order.
    """

    axis: Any
    extent: int
    loops: dict[Node, int]
    items: list[Item] = field(default_factory=list)


Item = Nest | Leaf
def leaves_of(item: Item, path: tuple[Nest, ...] = ()) -> Iterable[tuple[Node, tuple[Nest, ...]]]:
    """The nodes of an item with the nests around each, in order."""
    if isinstance(item, Leaf):
        for node in item.nodes:
            yield node, path
    else:
        for inner in item.items:
            yield from leaves_of(inner, (*path, item))


# For each node, the loops that are not yet around it, by class; of two in one class the first counts.
Remaining = Mapping[Node, dict[Any, int]]


@dataclass(frozen=True)
class Weights:
    """What decides which class of axes is looped over first.

    Attributes:
        rounds: by class, the rounds of nodes that have a loop of it.
        side_by_side: by node and class, and by class, the accesses of elements that are side by side in memory along it.
        waited_for: the classes along which something is reduced that another node needs in a loop they may share.
    """

    rounds: Mapping[Any, float]
    side_by_side: Mapping[Any, int]
    waited_for: Set[Any]


def arrange(nodes: Sequence[Node], layouts: Layouts) -> list[Item]:
    """Nests and leaves of all nodes, in order."""
    rounds: dict[Any, float] = {}
    side_by_side: Counter[Any] = Counter()
    read = {variable for node in nodes for variable, axes in node.reads if any(loop is not None for loop in axes)}
    looping = [node for node in nodes if not node.is_call]
    for node in looping:
        for loop, axis in enumerate(node.classes):
            rounds[axis] = rounds.get(axis, 0) + node.size * (1 if loop in node.kept else 0.5)
        for variable, axes in (*node.reads, (node.variable, node.kept)):
            for step, along in zip(strides_of(variable, layouts), axes):
                if step == 1 and along is not None and node.extents[along] != 1:
                    side_by_side.update({node.classes[along]: node.size, (node, node.classes[along]): node.size})
    waited_for = {node.classes[loop] for node in looping if node.variable in read for loop in node.reduced}
    return arranged(nodes, {node: set() for node in nodes}, Weights(rounds, side_by_side, waited_for))


def arranged(nodes: Sequence[Node], around: Mapping[Node, set[int]], weights: Weights) -> list[Item]:
    """Items for nodes that have the loops `around` them."""
    items: list[Item] = []
    places: dict[Node, int] = {}
    producers: dict[Variable, list[Node]] = {}
    behind: dict[Variable, int] = {}  # of what a barrier is in front of, the first place it may be read at from there on
    for node in nodes:
        if node.equation.primitive is barrier:
            read = [variable for variable, _ in node.reads]
            made = [places[producer] for variable in read for producer in producers.get(variable, ())]
            behind |= dict.fromkeys(read, max(made, default=0))
            continue
        left = loops_left(node, around[node])
        least = 0
        for variable, axes in node.reads:
            least = max(least, behind.get(variable, 0))
            for producer in producers.get(variable, ()):
                place = places[producer]
                least = max(least, place if may_share(items[place], producer, axes, left) else place + 1)
        axis = preferred(node, left, weights) if left else None
        for place in range(least, len(items)):
            item = items[place]
            if isinstance(item, Leaf):
                if not (left or node.is_call or item.is_call):
                    item.nodes.append(node)
                    break
            elif item.axis is axis and len(item.loops) < MOST_NODES:
                item.loops[node] = left[axis]
                break
        else:
            place = len(items)
            items.append(Nest(axis, node.extents[left[axis]], {node: left[axis]}) if left else Leaf([node]))
        places[node] = place
        for variable in node.equation.outputs:
            producers.setdefault(variable, []).append(node)
    for item in items:
        if isinstance(item, Nest):
            inside = list(item.loops)
            item.items = arranged(inside, {node: around[node] | {item.loops[node]} for node in inside}, weights)
    return items


def loops_left(node: Node, around: set[int]) -> dict[Any, int]:
    """The loops of a node that are not yet around it, by class."""
    left: dict[Any, int] = {}
    for loop, axis in enumerate(node.classes):
        if loop not in around and node.extents[loop] != 1:
            left.setdefault(axis, loop)
    return left


def may_share(item: Item, producer: Node, axes: Sequence[int | None], left: Mapping[Any, int]) -> bool:
    """Whether what reads `producer` by loops along its `axes` can be in the item that computes it."""
    if isinstance(item, Leaf):
        return not item.is_call
    axis = producer.follows(item.loops[producer])
    return axis is not None and item.axis in left and axes[axis] == left[item.axis]


def preferred(node: Node, left: Mapping[Any, int], weights: Weights) -> Any:
    """The class of the loop to come first: that of the leading axis, or one that weighs more or is far longer, unless
    memory is then read in long jumps."""
    chosen, *others = left
    for axis in others:
        is_longer = node.extents[left[axis]] >= LONGER * node.extents[left[chosen]]
        weighs_more = weights.rounds[axis] > weights.rounds[chosen] * (1 / PREFERRED if is_longer else PREFERRED)
        if is_inside(node, left, chosen, axis, weights) or weighs_more and not is_inside(node, left, axis, chosen, weights):
            chosen = axis
    return chosen


def is_inside(node: Node, left: Mapping[Any, int], inner: Any, outer: Any, weights: Weights) -> bool:
    """Whether a class is to be looped over inside another, because elements are side by side along it and there are
    many long rows of them, and nothing waits for a reduction along the other."""
    if node.extents[left[outer]] <= FEW or node.extents[left[inner]] < LONG or outer in weights.waited_for:
        return False
    counts = weights.side_by_side
    return counts[inner] > 2 * counts[outer] and counts[node, inner] > 2 * counts[node, outer]
