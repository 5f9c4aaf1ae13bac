"""Minimum cuts: the cheapest set of arcs whose removal keeps all supply from the sink.

Push-relabel, the node of the highest label first, with exact labels now and then and the gap rule; only its first
phase, which is all a cut needs. (Goldberg and Tarjan, A new approach to the maximum-flow problem, 1988; Cherkassky and
Goldberg, On implementing the push-relabel method, 1997.) O(n^2 sqrt(m)), and about linear on the networks of programs.

Invariant: capacities are integers of any size, so that the cut is exact; of several minimum cuts it is the one
nearest to the sink, which does not depend on the order of the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

__all__ = ["sink_side"]


def sink_side(supply: Sequence[int], arcs: Iterable[tuple[int, int, int]]) -> list[bool]:
    """Which nodes are on the sink's side of a minimum cut between the supply and the sink.

    Args:
        supply: the capacity of the arc from the source to each node.
        arcs: ``(tail, head, capacity)`` of the others; the sink is the node ``len(supply)``.
    """
    network = Network(supply, arcs)
    while network.work():
        pass
    return [distance < network.size for distance in network.distances()[:-1]]


class Network:
    """Nodes with an excess of flow, and arcs with what they can still take.

    Attributes:
        heads, capacities: by arc; the arc against arc ``i`` is ``i ^ 1``.
        leaving: by node, its arcs, those against arcs that enter it included.
        excess: by node, what has come in and is to go on towards the sink, or cannot.
    """

    def __init__(self, supply: Sequence[int], arcs: Iterable[tuple[int, int, int]]) -> None:
        self.size = len(supply) + 1
        self.heads: list[int] = []
        self.capacities: list[int] = []
        self.leaving: list[list[int]] = [[] for _ in range(self.size)]
        self.excess = [*supply, 0]
        for tail, head, capacity in arcs:
            self.leaving[tail].append(len(self.heads))
            self.leaving[head].append(len(self.heads) + 1)
            self.heads += (head, tail)
            self.capacities += (capacity, 0)

    def distances(self) -> list[int]:
        """How many arcs each node is from the sink, by arcs that can take more; `size` where there is no way."""
        heads, capacities, leaving = self.heads, self.capacities, self.leaving
        result = [self.size] * self.size
        result[-1] = 0
        queue = deque([self.size - 1])
        while queue:
            node = queue.popleft()
            distance = result[node] + 1
            for arc in leaving[node]:
                tail = heads[arc]
                if result[tail] > distance and capacities[arc ^ 1]:
                    result[tail] = distance
                    queue.append(tail)
        return result

    def work(self) -> bool:
        """Push excess towards the sink until labels are worth computing anew; False if there was none to push."""
        self.labels = labels = self.distances()
        self.current = [0] * self.size
        self.at_label = [0] * (self.size + 1)
        self.active: list[list[int]] = [[] for _ in range(self.size)]
        for node, label in enumerate(labels[:-1]):
            self.at_label[label] += 1
            if self.excess[node] and label < self.size:
                self.active[label].append(node)
        highest = self.size - 1
        remaining, found = 8 * self.size, False
        while highest > 0 and remaining > 0:
            if not self.active[highest]:
                highest -= 1
                continue
            found = True
            node = self.active[highest].pop()
            remaining -= self.discharge(node)
            if labels[node] < self.size:
                highest = labels[node]
        return found

    def discharge(self, node: int) -> int:
        """Push a node's excess on until it has none, or no way to the sink; returns how many arcs it looked at anew."""
        heads, capacities, labels, excess = self.heads, self.capacities, self.labels, self.excess
        arcs, place, left, looked = self.leaving[node], self.current[node], excess[node], 0
        while left:
            if place == len(arcs):
                looked += place
                place = 0
                if not self.relabel(node):
                    break
            arc = arcs[place]
            head = heads[arc]
            if capacities[arc] and labels[head] == labels[node] - 1:
                flow = min(left, capacities[arc])
                capacities[arc] -= flow
                capacities[arc ^ 1] += flow
                left -= flow
                if not excess[head] and head != self.size - 1:
                    self.active[labels[head]].append(head)
                excess[head] += flow
                if not left:
                    break
            place += 1
        excess[node], self.current[node] = left, place
        return looked

    def relabel(self, node: int) -> bool:
        """Lift a node above its lowest neighbour; False if the sink cannot be reached from it any more."""
        labels, old = self.labels, self.labels[node]
        new = 1 + min((labels[self.heads[arc]] for arc in self.leaving[node] if self.capacities[arc]), default=self.size)
        self.at_label[old] -= 1
        if not self.at_label[old]:  # a gap, which nothing above gets across
            new = self.size
            labels[:-1] = [self.size if label > old else label for label in labels[:-1]]
            self.at_label[old + 1 : self.size] = [0] * (self.size - old - 1)
        labels[node] = new = min(new, self.size)
        self.at_label[new] += 1
        return new < self.size
