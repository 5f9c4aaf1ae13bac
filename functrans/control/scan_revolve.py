"""The way back through a loop of which few states are kept at a time: `revolve` as loops that a compiler can take.

A state is what the carries are before a step. The loop back goes through the steps from the last one, and carries,
beside the cotangents, a stack of states: for each step it takes the state on top, runs on from there to the step, while
it puts states on the stack where `schedules.split` says, and goes back through the step. In all, no step is run more
often than in any other schedule with as much room. The program holds one step and one step with its pullback, however
many steps there are.

Invariant: as for `schedules.revolve`, with one more slot behind the stack that states are written to in vain.

Source: Griewank and Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26 (2000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from functrans.control.bodies import Flags, chosen, derived, restaged, staged_body
from functrans.control.scan_bodies import Back, Split, hoisted, parts, pieces, pruned_step, reverse_split, reverse_step
from functrans.core.primitive import PRIMITIVES
from functrans.core.program import Program
from functrans.core.types import ArrayType, type_of
from functrans.ops.indexing import ARRAY, getitem, index_set
from functrans.transforms.tape import zeros

__all__ = ["Revolving", "revolving"]


@dataclass(frozen=True)
class Revolving:
    """The loop back.

    Attributes:
        program: (values, consts and xs of the loop, invariants; cotangents of carries, sums of those of consts, the step's
            number, how many states are on the stack, their steps, the states; xs the step reads, cotangents of ys) -> (the
            same carries; cotangents of xs).
        values: plain arrays, its first consts.
        invariant: (values, consts and xs of the loop) -> its last consts.
        split, back: the way back through one step.
        states: which carries states are made of.
        kept: how many states there is room for.
    """

    program: Program
    values: tuple[Any, ...]
    invariant: Program
    split: Split
    back: Back
    states: Flags
    kept: int

    def run(
        self, loop: Callable[..., Any], operands: Sequence[Sequence[Any]], cts: Sequence[Sequence[Any]], params: dict[str, Any]
    ) -> list[Any]:
        """The results of the loop back that have cotangents: of carries, of consts and of xs.

        Args:
            operands: of the loop: consts, first carries and xs.
            cts: of its results that have any: carries and ys.
            params: of the loop, but for its body.
        """
        consts, start, xs = operands
        complete = [*self.values, *self.split.step.consts(consts), *xs]
        shared = [*complete, *self.invariant.evaluate(complete)]
        steps = zeros(ArrayType((self.kept + 1,), np.dtype(np.int64)))
        stack = [np.int64(1), steps, *(with_room(state, self.kept) for state in chosen(start, self.states))]
        stack = [np.int64(params["length"] - 1), *stack]
        carries = [*cts[0], *map(zeros, self.back.sums), *stack]
        slices = [xs[place] for kind, place in self.split.sources if kind == "x"]
        results = loop(
            *shared, *carries, *slices, *cts[1],
            body=self.program, consts=len(shared), carry=len(carries),
            **{**params, "reverse": not params["reverse"], "checkpoint": "recursive"},
        )  # fmt: skip
        return [*results[: len(carries) - len(stack)], *results[len(carries) :]]


def with_room(state: Any, kept: int) -> Any:
    """A state with slots behind it for `kept` more."""
    return np.concatenate([np.expand_dims(state, 0), zeros(type_of(state).stacked(kept))])


@derived
def revolving(
    body: Program,
    consts: int,
    carry: int,
    active: Flags,
    given: Flags,
    from_selection: bool,
    kept: int,
    reverse: bool,
    length: int,
) -> Revolving:
    """The loop back through a loop of `length` steps, with room for `kept` states; see `reverse_step`."""
    made, _ = reverse_split(body, consts, carry, active, "nothing")
    back = reverse_step(body, consts, carry, active, "nothing", given, from_selection)
    needed = [("carry", place) in made.sources for place in range(carry)]
    forward, operands, results = pruned_step(body.silent, consts, carry, (*needed, *(False,) * (len(body.outputs) - carry)))
    states = results[:carry]
    of_consts, _, of_xs = parts(operands, consts, carry)
    types = [variable.array_type for variable in made.step.program.inputs]
    first = len(made.step.values)
    shared, of_carries, slices = parts(types, len(types) - (len(active) - consts), carry)
    xs = [type_.stacked(length) for type_ in slices]

    def step(shared: list[Any], carries: list[Any], slices: list[Any]) -> Any:
        own, stacks = pieces(shared, len(shared) - len(xs))
        common, arrays = chosen(own[first : first + consts], of_consts), chosen(stacks, of_xs)

        def run(position: Any, *state: Any) -> list[Any]:
            place = length - 1 - position if reverse else position
            return [position + 1, *forward.evaluate([*common, *state, *(item(array, place) for array in arrays)])]

        sums, (number, count, steps), stack = pieces(carries, len(carries) - len(stack_types), 3)
        state, count, steps, states_kept = state_before(number, count, steps, stack, kept, run)
        values = iter(slices)
        found = dict(zip((place for place, flag in enumerate(states) if flag), state))
        read = [found[place] if kind == "carry" else next(values) for kind, place in made.sources]
        arguments = [*back.values, *(own[place] for place in made.consts), *sums, *read, *values]
        totals, cts = pieces(back.program.evaluate(arguments), len(sums))
        return [*totals, number - 1, count - (item(steps, count - 1) == number), steps, *states_kept, *cts]

    whole_number = ArrayType((), np.dtype(np.int64))
    stack_types = [whole_number, whole_number, whole_number.stacked(kept + 1), *(t.stacked(kept + 1) for t in chosen(of_carries, states))]
    cts = [variable.array_type for variable in back.program.inputs[len(back.values) + len(made.consts) :]]
    sums, values, ys = pieces(cts, sum(back.cts[:carry]) + len(back.sums), len(made.sources))
    read = [type_ for type_, (kind, _) in zip(values, made.sources) if kind == "x"]
    program, arrays, _ = restaged(body.name, step, [], [*shared, *xs], [*sums, *stack_types], [*read, *ys])
    inside, before = hoisted(program, len(arrays) + len(shared) + len(xs))
    return Revolving(inside, arrays, before, made, back, states, kept)


def item(array: Any, place: Any) -> Any:
    """``array[place]`` of any two values."""
    return getitem(array, place, index=(ARRAY,))


def state_before(
    number: Any, count: Any, steps: Any, stack: Sequence[Any], kept: int, run: Callable[..., list[Any]]
) -> tuple[Sequence[Any], Any, Any, Sequence[Any]]:
    """The state before step `number`, and the stack with those that were kept on the way to it.

    Args:
        count, steps, stack: how many states are on the stack, the steps they are before, and their arrays.
        run: (position, *state) -> the same, a step later.
    """

    def advance(position: Any, count: Any, steps: Any, *rest: Any) -> list[Any]:
        state, stack = pieces(rest, len(rest) // 2)
        room = count < kept
        distance = split(np.where(room, number + 1 - position, 1), kept + 1 - count)
        stop = np.where(room, position + distance, number)
        _, *state = looped(lambda position, *_: position < stop, run, [position, *state])
        slot = np.minimum(count, kept)
        arrays = [index_set(array, value, slot, index=(ARRAY,)) for array, value in zip((steps, *stack), (stop, *state))]
        return [stop, count + room, arrays[0], *state, *arrays[1:]]

    position, *top = [item(array, count - 1) for array in (steps, *stack)]
    found = looped(lambda position, *_: position < number, advance, [position, count, steps, *top, *stack])
    (_, count, steps), state, kept_states = pieces(found, 3, len(stack))
    return state, count, steps, kept_states


def split(steps: Any, kept: Any) -> Any:
    """`schedules.split` of traced numbers."""

    def more(combinations: Any, repeats: Any) -> list[Any]:
        return [combinations * (kept + repeats + 1) // (repeats + 1), repeats + 1]

    start = [kept + 1, np.int64(1)]  # comb(kept + repeats, kept), and repeats
    combinations, repeats = looped(lambda combinations, _: combinations < steps, more, start)
    less = combinations * repeats // (kept + repeats)
    return np.maximum(1, np.minimum(less, steps - less * kept // (kept + repeats - 1)))


def looped(condition: Callable[..., Any], body: Callable[..., list[Any]], carries: Sequence[Any]) -> Sequence[Any]:
    """The carries after as many rounds as the condition holds before."""
    types = tuple(map(type_of, carries))
    cond, cond_values = staged_body(condition, types, transform="scan")
    program, values = staged_body(body, types, transform="scan", hoists=False)
    return PRIMITIVES["while_loop"](  # type: ignore[no-any-return]
        *cond_values, *values, *carries,
        cond=cond, body=program, cond_consts=len(cond_values), body_consts=len(values), max_steps=None, checkpoint="recursive",
    )  # fmt: skip
