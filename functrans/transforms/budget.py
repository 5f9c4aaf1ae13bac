"""Which equations to compute again so that what is kept fits a budget of bytes, at the least work.

At a price for a byte the partitioner's minimum cut is the exact best, and a lower price never has more computed again:
so prices are searched for the two neighbouring cuts that the budget lies between (Gallo, Grigoriadis and Tarjan, A fast
parametric maximum flow algorithm, 1989). What the two differ in falls into groups, of which those that save most for
their work are taken until the rest fits; which groups to take at best is a knapsack problem, and this its greedy answer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from functrans.core.program import Equation, Variable
from functrans.errors import BudgetError, at_user_line

__all__ = ["Choice", "within_budget"]


@dataclass(frozen=True)
class Choice:
    """What is computed again, and what follows from it.

    Attributes:
        again: the equations, by place.
        kept: the residuals.
        nbytes: the memory of the residuals, and of charged inputs.
        price: the same in the units of the cut.
        cost: of computing `again`.
    """

    again: frozenset[int]
    kept: tuple[Variable, ...]
    nbytes: int
    price: int
    cost: int


class Pool(Protocol):
    """What choices are made from; see `partition`."""

    free: list[Equation]
    costs: list[int | None]
    prices: dict[Variable, int | None]
    definitions: dict[Variable, int]

    def cheapest(self, work: int, memory: int) -> Choice: ...

    def choice(self, places: Iterable[int]) -> Choice: ...


def within_budget(pool: Pool, title: str, budget: int) -> Choice:
    """The cheapest choice found that keeps at most `budget` bytes."""
    few = pool.cheapest(1 + sum(price or 0 for price in pool.prices.values()), 1)
    if few.nbytes <= budget:
        return few
    many = pool.cheapest(1, 1 + sum(cost or 0 for cost in pool.costs))
    if many.nbytes > budget:
        raise BudgetError(
            f"checkpoint of {title}: a budget of {budget} bytes is too small: {many.nbytes} bytes are kept at least, of values "
            f"that are never computed again\n  Remedy: give a budget of {many.nbytes} bytes or more.{at_user_line()}"
        )
    for _ in range(64):
        middle = pool.cheapest(few.price - many.price, many.cost - few.cost)
        if middle.again in (few.again, many.again):
            break
        if middle.nbytes <= budget:
            many = middle
        else:
            few = middle
    return between(pool, few, many, budget)


def between(pool: Pool, few: Choice, many: Choice, budget: int) -> Choice:
    """`few` and the best groups of what `many` computes again beyond it, so that it fits."""
    groups = sorted_groups(pool, few, many)

    def with_groups(chosen: Iterable[frozenset[int]]) -> Choice:
        return pool.choice(few.again.union(*chosen))

    count = bisect_left(range(len(groups)), True, key=lambda n: with_groups(groups[:n]).nbytes <= budget)
    chosen = groups[:count]
    best = with_groups(chosen)
    if best.nbytes > budget:
        return many
    for group in reversed(chosen[:-1]):  # what fits without it after all
        less = with_groups(other for other in chosen if other is not group)
        if less.nbytes <= budget:
            chosen, best = [other for other in chosen if other is not group], less
    return best


def sorted_groups(pool: Pool, few: Choice, many: Choice) -> list[frozenset[int]]:
    """For each value that only `few` keeps, what gives it again; those that save most for their work first.

    Of equals, those far apart come first, so that few values that are computed again are alive at once.
    """
    kept, extra = set(few.kept), many.again - few.again
    targets = [variable for variable in few.kept if pool.definitions[variable] in extra]
    ranked = []
    for rank, variable in enumerate(targets):
        group = origins(pool, variable, extra, kept)
        choice = pool.choice(few.again | group)
        saved = few.price - choice.price
        ranked.append(((choice.cost - few.cost) / saved if saved > 0 else inf, reversed_bits(rank), group))
    return [group for _, _, group in sorted(ranked, key=lambda item: item[:2])]


def origins(pool: Pool, variable: Variable, extra: frozenset[int], kept: set[Variable]) -> frozenset[int]:
    """The equations among `extra` that give a variable from values that are kept, or computed again anyway."""
    found: set[int] = set()
    waiting: list[Any] = [variable]
    while waiting:
        place = pool.definitions.get(waiting.pop())
        if place is not None and place in extra and place not in found:
            found.add(place)
            waiting += [atom for atom in pool.free[place].inputs if atom not in kept]
    return frozenset(found)


def reversed_bits(number: int) -> int:
    """The bits of a number in the opposite order: of the first n numbers, those far apart come first (van der Corput)."""
    return int(f"{number:032b}"[::-1], 2)
