"""Lanes: which nests of an item have their rounds computed side by side, in the lanes of vectors.

A vector is read whole where the elements of an array are side by side along the loop in lanes, and an element at
a time elsewhere. In an outer loop in lanes, what its inner loops hand on is private to each lane and reductions
over them cost nothing more; an innermost loop has short rounds. The cheapest choice, by an estimate, is taken
for each branch of the nests. Invariant: no chosen nest is inside another.
"""

from __future__ import annotations

from collections.abc import Sequence

from functrans.compile.arguments import Layouts, strides_of
from functrans.compile.schedule.fuse import Nest, leaves_of
from functrans.compile.schedule.nodes import Node
from functrans.core.program import Variable

__all__ = ["lane_nests"]

# Elements a vector register holds, about.
LANES = 8
# What beginning a loop in lanes costs, in rounds of a scalar operation.
START = 4.0

# The strides of a value, the loops along its axes, and whether it is made in the item.
Side = tuple[Sequence[int], Sequence[int | None], bool]


def lane_nests(item: Nest, wanted: set[Variable], layouts: Layouts) -> set[Nest]:
    """The nests of an item to be in lanes; innermost ones are not named."""
    return cheapest(item, 1, wanted, layouts)[1]


def cheapest(nest: Nest, outer: int, wanted: set[Variable], layouts: Layouts) -> tuple[float, set[Nest]]:
    """What a nest costs at the least, and the nests in lanes then, if those around it have `outer` rounds."""
    inside = {node: path for node, path in leaves_of(nest)}
    own = {variable for node in inside for variable in node.equation.outputs}
    sides = {node: sides_of(node, own, wanted, layouts) for node in inside}
    whole = sum(cost_in_lanes(nest, node, outer, sides[node]) for node in inside)
    inner = [item for item in nest.items if isinstance(item, Nest)]
    if not inner:
        return whole, set()
    total, chosen = 0.0, set[Nest]()
    for item in inner:
        cost, nests = cheapest(item, outer * nest.extent, wanted, layouts)
        total, chosen = total + cost, chosen | nests
    total += sum(node.size * (2 + len(sides[node])) for node, path in inside.items() if len(path) == 1)
    return (whole, {nest}) if whole < total else (total, chosen)


def sides_of(node: Node, own: set[Variable], wanted: set[Variable], layouts: Layouts) -> list[Side]:
    """What a node reads and writes in memory; `own` values are made in the item."""
    sides: list[Side] = [(strides_of(variable, layouts), axes, variable in own) for variable, axes in node.reads]
    return [*sides, (strides_of(node.variable, layouts), node.kept, False)] if node.variable in wanted else sides


def cost_in_lanes(nest: Nest, node: Node, outer: int, sides: Sequence[Side]) -> float:
    """About what a node costs if a nest around it is in lanes."""
    loop = nest.loops[node]
    rounds = max(1, node.size // max(1, outer * nest.extent))
    used = nest.extent / (-(-nest.extent // LANES) * LANES) if nest.extent else 1.0
    cost = 2.0 / (LANES * used) + (START / (max(1, nest.extent) * rounds) if outer > 1 or rounds == 1 else 0.0)
    if loop not in node.kept and node.kept and rounds > 1:
        cost += 1.0 / LANES
    for steps, axes, is_own in sides:
        is_strided = loop in axes and steps[axes.index(loop)] not in (0, 1) and not is_own
        cost += 1.0 if is_strided else 1.0 / (LANES * used)
    return node.size * cost
