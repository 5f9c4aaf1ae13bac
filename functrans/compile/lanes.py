"""Lanes: which nests of an item have their rounds computed side by side, in the lanes of vectors.

A vector is read whole where the loop in lanes runs along the last axis of an array, and an element at a time
along others. In an outer loop in lanes, what its inner loops hand on is private to each lane and reductions
over them cost nothing more; an innermost loop has short rounds. The cheapest choice, by an estimate, is taken
for each branch of the nests. Invariant: no chosen nest is inside another.
"""

from __future__ import annotations

from collections.abc import Sequence

from functrans.compile.fuse import Nest, leaves_of
from functrans.compile.nodes import Node
from functrans.core.program import Variable

__all__ = ["lane_nests"]

# Elements a vector register holds, about.
LANES = 8
# What beginning a loop in lanes costs, in rounds of a scalar operation.
START = 4.0

Side = tuple[Variable, Sequence[int | None], bool]


def lane_nests(item: Nest, wanted: set[Variable]) -> set[Nest]:
    """The nests of an item to be in lanes; innermost ones are not named."""
    return cheapest(item, 1, wanted)[1]


def cheapest(nest: Nest, outer: int, wanted: set[Variable]) -> tuple[float, set[Nest]]:
    """What a nest costs at the least, and the nests in lanes then, if those around it have `outer` rounds."""
    inside = {node: path for node, path in leaves_of(nest)}
    own = {variable for node in inside for variable in node.equation.outputs}
    whole = sum(cost_in_lanes(nest, node, outer, sides_of(node, own, wanted)) for node in inside)
    inner = [item for item in nest.items if isinstance(item, Nest)]
    if not inner:
        return whole, set()
    total, chosen = 0.0, set[Nest]()
    for item in inner:
        cost, nests = cheapest(item, outer * nest.extent, wanted)
        total, chosen = total + cost, chosen | nests
    total += sum(node.size * (2 + len(sides_of(node, own, wanted))) for node, path in inside.items() if len(path) == 1)
    return (whole, {nest}) if whole < total else (total, chosen)


def sides_of(node: Node, own: set[Variable], wanted: set[Variable]) -> list[Side]:
    """What a node reads and writes in memory, with the loops along its axes, and whether it is one of `own` values."""
    sides: list[Side] = [(variable, axes, variable in own) for variable, axes in node.reads]
    return [*sides, (node.variable, node.kept, False)] if node.variable in wanted else sides


def cost_in_lanes(nest: Nest, node: Node, outer: int, sides: Sequence[Side]) -> float:
    """About what a node costs if a nest around it is in lanes."""
    loop = nest.loops[node]
    rounds = max(1, node.size // max(1, outer * nest.extent))
    used = nest.extent / (-(-nest.extent // LANES) * LANES) if nest.extent else 1.0
    cost = 2.0 / (LANES * used) + (START / (max(1, nest.extent) * rounds) if outer > 1 or rounds == 1 else 0.0)
    if loop not in node.kept and node.kept and rounds > 1:
        cost += 1.0 / LANES
    for variable, axes, is_own in sides:
        shape = variable.array_type.shape
        last = max((place for place, length in enumerate(shape) if length != 1), default=-1)
        is_strided = loop in axes and axes.index(loop) != last and not is_own
        cost += 1.0 if is_strided else 1.0 / (LANES * used)
    return node.size * cost
