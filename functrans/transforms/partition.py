"""The partitioner: a forward and a backward program from one that computes both.

Staged together, a function and its pullback are one *joint* program: (inputs, cotangents) -> (results, cotangents of
the inputs). Equations that depend on cotangents are backward, those with an effect are forward; all others may be
computed in the forward pass and kept, as *residuals*, or be computed again in the backward pass. A minimum cut between
the inputs and what the backward pass reads decides, at the least sum of bytes kept and of work done twice. On the side
of the backward pass an equation is computed again, and a value read. What is cut costs

    between the source and an equation: its recomputation (infinite for what cannot be repeated)
    between an equation and its result: the bytes of the result (infinite if a policy says to compute it again)
    between a value and an equation that reads it: infinite

Invariant: the forward and the backward program together compute what the joint program does, each effect once and in
order.

Sources: Chen et al., Training deep nets with sublinear memory cost (2016); Horace He, Min-cut optimal recomputation with
AOTAutograd (2022), whose cut this is, with costs in place of bans.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from functrans.config import settings
from functrans.core.program import Atom, Equation, Program, Variable, check, silent, without_dead_code
from functrans.errors import ProgramError
from functrans.ops.recomputation import checkpoint_name
from functrans.transforms.budget import Choice, within_budget
from functrans.transforms.costs import UNIT, is_view, recomputation_cost
from functrans.transforms.minimum_cut import sink_side

__all__ = ["Partition", "Policy", "partition"]

# ``(primitive, *types of the operands, **params)`` -> whether the results of an equation are kept where the backward
# pass reads them; if not, they are computed again.
Policy = Callable[..., Any]


@dataclass(frozen=True)
class Partition:
    """A joint program in two.

    Attributes:
        forward: known inputs -> results, then residuals.
        backward: kept known inputs, residuals, cotangent inputs -> the other outputs of the joint program.
        inputs: the known inputs that `backward` reads, by place; they are not outputs of `forward`.
        residuals: the computed values that are kept, as variables of both programs.
    """

    forward: Program
    backward: Program
    inputs: tuple[int, ...]
    residuals: tuple[Variable, ...]


def partition(
    joint: Program,
    known: int,
    results: int,
    *,
    policy: Policy | None = None,
    budget: int | None = None,
    charged: Collection[int] = (),
) -> Partition:
    """The forward and the backward part of a joint program.

    Args:
        joint: captures nothing. Its first `known` inputs are those of the forward pass, the rest cotangents; its first
            `results` outputs are those of the forward pass, the rest computed with the cotangents.
        policy: ``(primitive, *types, **params)`` -> whether results of an equation of the forward pass are kept, if the
            backward pass reads them. It is asked neither about views nor about what only derivatives need, both of
            which are computed again. By default a model of costs decides.
        budget: how many bytes of residuals may be kept; what is computed again is then the cheapest that fits, found
            by the price of a byte, and between two prices by what costs least for the bytes it saves.
        charged: the known inputs, by place, that cost their bytes to keep: by default none does, since all are alive.

    Raises:
        ProgramError: `joint` captures values, or a result depends on cotangents.
        BudgetError: the residuals that cannot be computed again take more than `budget`.
    """
    if joint.captured:
        raise ProgramError(f"partition: program {joint.name} captures values: give them as inputs")
    pool = Pool(with_names(without_dead_code(joint)), known, results, policy, charged)
    choice = pool.cheapest(1, 1) if budget is None else within_budget(pool, joint.name, budget)
    return pool.divided(choice)


def with_names(joint: Program) -> Program:
    """`joint` with the named value in place of the one a name was given to, wherever that is read afterwards."""
    named: dict[Variable, Variable] = {}

    def current(atom: Atom) -> Atom:
        while isinstance(atom, Variable) and atom in named:
            atom = named[atom]
        return atom

    equations = []
    for equation in joint.equations:
        equation = replace(equation, inputs=tuple(map(current, equation.inputs)))
        equations.append(equation)
        (first,) = equation.inputs[:1] or (None,)
        if equation.primitive is checkpoint_name and isinstance(first, Variable):
            named[first] = equation.outputs[0]
    return replace(joint, equations=tuple(equations), outputs=tuple(map(current, joint.outputs))) if named else joint


@dataclass(frozen=True)
class Network:
    """A network to cut, in units of work and of memory.

    Attributes:
        places: those of the equations the first nodes stand for.
        costs, prices: for each node, what the arc from the source holds of either.
        arcs: the others, with what they hold of memory; None if that is infinite.
    """

    places: list[int]
    costs: list[int]
    prices: list[int]
    arcs: list[tuple[int, int, int | None]]


class Pool:
    """The equations of a joint program that either pass may compute, and the others.

    Attributes:
        forward, backward: the equations that do not depend on cotangents, and those that do.
        wanted: the values that backward equations and outputs read and that are no cotangents.
        free: those of `forward` that a value of `wanted` depends on, in order; a choice among them is a set of places.
        costs: of computing each of `free` again; None if it must not be.
        prices: of keeping each result of `free`, None if it must not be, and each charged input.
    """

    def __init__(self, joint: Program, known: int, results: int, policy: Policy | None, charged: Collection[int]) -> None:
        self.joint, self.known, self.results = joint, known, results
        self.charged = {joint.inputs[place] for place in charged}
        unknown: set[Atom] = set(joint.inputs[known:])
        self.forward: list[Equation] = []
        self.backward: list[Equation] = []
        for equation in joint.equations:
            if unknown.isdisjoint(equation.inputs):
                self.forward.append(equation)
            else:
                self.backward.append(equation)
                unknown.update(equation.outputs)
        if not unknown.isdisjoint(joint.outputs[:results]):
            raise ProgramError(f"partition: a result of program {joint.name} depends on cotangents")
        read = [*(equation.inputs for equation in self.backward), joint.outputs[results:]]
        self.wanted = {atom for atoms in read for atom in atoms if isinstance(atom, Variable)} - unknown
        self.free = ancestors(self.forward, self.wanted)
        self.definitions = {variable: place for place, equation in enumerate(self.free) for variable in equation.outputs}
        self._price(policy)

    def _price(self, policy: Policy | None) -> None:
        """Set the costs and the prices."""
        effects = {atom for equation in self.forward if equation.has_effect for atom in equation.inputs}
        results = effects.union(self.joint.outputs[: self.results])
        required = set(map(id, ancestors(self.forward, results)))
        self.costs: list[int | None] = []
        self.prices: dict[Variable, int | None] = {variable: variable.array_type.nbytes * UNIT for variable in self.charged}
        for equation in self.free:
            cost: int | None = recomputation_cost(equation)
            is_unasked = is_view(equation) and equation.primitive is not checkpoint_name
            is_required = id(equation) in required
            kept = policy is not None and is_required and not is_unasked and asked(policy, equation)
            if kept or not equation.repeatable or quiet(equation).has_effect:
                cost = None
            elif not is_required:
                cost = 0  # it is computed once, in one pass or the other
            barred = policy is not None and cost is not None
            for variable in equation.outputs:
                # Of equal choices the one that keeps what is there anyway, rather than a view or a derivative of it.
                price = variable.array_type.nbytes * UNIT + (is_unasked or not is_required)
                self.prices[variable] = None if barred else price
            self.costs.append(cost)

    @cached_property
    def network(self) -> Network:
        """What is cut: a node for each equation that may be computed again and each value, but that `wanted` are the sink."""
        places = [place for place, cost in enumerate(self.costs) if cost is not None]
        nodes: dict[int | Variable, int] = {place: node for node, place in enumerate(places)}
        for variable in (*self.definitions, *self.charged):
            if variable not in self.wanted:
                nodes[variable] = len(nodes)
        sink = len(nodes)
        costs, prices = [0] * sink, [0] * sink
        arcs: list[tuple[int, int, int | None]] = []
        for place, equation in enumerate(self.free):
            own = nodes.get(place)
            for variable in equation.outputs:
                price, head = self.prices[variable], nodes.get(variable, sink)
                if own is not None:
                    arcs.append((own, head, price))
                elif head != sink:
                    prices[head] = price or 0
            if own is not None:
                costs[own] = self.costs[place] or 0
                read = [atom for atom in equation.inputs if atom in self.definitions or atom in self.charged]
                arcs += [(nodes.get(atom, sink), own, None) for atom in read if atom not in self.wanted]
        for variable in self.charged - self.wanted:
            prices[nodes[variable]] = self.prices[variable] or 0
        return Network(places, costs, prices, arcs)

    def cheapest(self, work: int, memory: int) -> Choice:
        """The choice that costs least, where `work` is what a unit of work done twice costs, and `memory` a unit of memory."""
        network = self.network
        supply = [cost * work + price * memory for cost, price in zip(network.costs, network.prices)]
        arcs = [(tail, head, None if price is None else price * memory) for tail, head, price in network.arcs]
        infinite = 1 + sum(supply) + sum(capacity for _, _, capacity in arcs if capacity is not None)
        sides = sink_side(supply, [(t, h, infinite if capacity is None else capacity) for t, h, capacity in arcs])
        return self.choice(place for place, on_side in zip(network.places, sides) if on_side)

    def choice(self, places: Iterable[int]) -> Choice:
        """The choice to compute the equations at these places again, as far as they are read."""
        chosen, again = set(places), []
        kept: dict[Variable, None] = {}
        read = set(self.wanted)
        for place in range(len(self.free) - 1, -1, -1):
            equation = self.free[place]
            outputs = [variable for variable in equation.outputs if variable in read]
            if outputs and place in chosen:
                again.append(place)
                read.update(atom for atom in equation.inputs if isinstance(atom, Variable))
            else:
                kept.update(dict.fromkeys(outputs))
        charged = [variable for variable in self.charged if variable in read]
        return Choice(
            frozenset(again),
            tuple(reversed(kept)),
            sum(variable.array_type.nbytes for variable in (*kept, *charged)),
            sum(self.prices[variable] or 0 for variable in (*kept, *charged)),
            sum(self.costs[place] or 0 for place in again),
        )

    def divided(self, choice: Choice) -> Partition:
        """The two programs for a choice."""
        joint, results = self.joint, self.results
        again: dict[Variable, Equation] = {}
        for place in sorted(choice.again):
            equation = quiet(self.free[place])
            again |= dict.fromkeys(equation.outputs, equation)
        equations = on_demand(self.backward, again, joint.outputs[results:])
        read = {atom for equation in equations for atom in equation.inputs}.union(joint.outputs[results:])
        inputs = tuple(place for place, variable in enumerate(joint.inputs[: self.known]) if variable in read)
        forward = Program(joint.name, joint.inputs[: self.known], tuple(self.forward), (*joint.outputs[:results], *choice.kept))
        backward = Program(
            f"{joint.name}_backward",
            (*(joint.inputs[place] for place in inputs), *choice.kept, *joint.inputs[self.known :]),
            tuple(equations),
            joint.outputs[results:],
        )
        forward = without_dead_code(forward)
        if settings.check_programs:
            check(forward)
            check(backward)
        return Partition(forward, backward, inputs, choice.kept)


def asked(policy: Policy, equation: Equation) -> bool:
    """What a policy says of an equation."""
    return bool(policy(equation.primitive, *(atom.array_type for atom in equation.inputs), **equation.params))


def quiet(equation: Equation) -> Equation:
    """An equation without the effects of the programs among its parameters, as far as these give no results."""
    return replace(equation, params=silent(equation)) if equation.has_effect else equation


def ancestors(equations: Sequence[Equation], values: Iterable[Any]) -> list[Equation]:
    """The equations that any of `values` depends on, in order."""
    read = set(values)
    found = []
    for equation in reversed(equations):
        if not read.isdisjoint(equation.outputs):
            found.append(equation)
            read.update(equation.inputs)
    return found[::-1]


def on_demand(equations: Iterable[Equation], again: dict[Variable, Equation], outputs: Iterable[Atom]) -> list[Equation]:
    """`equations` with those that define variables of `again` put before the first that reads them, so that what is
    computed again is not alive before it must be."""
    order: list[Equation] = []
    placed: set[int] = set()

    def place(equation: Equation) -> None:
        stack = [(equation, iter(equation.inputs))]
        while stack:
            last, remaining = stack[-1]
            for atom in remaining:
                definition = again.get(atom) if isinstance(atom, Variable) else None
                if definition is not None and id(definition) not in placed:
                    stack.append((definition, iter(definition.inputs)))
                    break
            else:
                stack.pop()
                if id(last) not in placed:
                    placed.add(id(last))
                    order.append(last)

    for equation in equations:
        place(equation)
    for atom in outputs:
        if isinstance(atom, Variable) and atom in again:
            place(again[atom])
    return order
