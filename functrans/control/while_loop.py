"""The loop of a number of steps that values decide, and the way back through it, as primitives; `loops.py` has the functions.

The number of steps is known only when the loop has ended, so reverse mode keeps the first carries alone. `while_pullback`
runs the loop again from there, keeps the carries before each step, and goes back through the steps with the pullback of
the body; with `checkpoint` it keeps a few and runs on from them. The two are closed under differentiation. With F(x) the
loop, of consts and first carries, F'(x) dx the loop with tangents, and R(x, ct) its pullback of ct:

    tangent of F:     F'(x) dx                      cotangent in F:       R(x, ct)
    tangent of R:     R of the loop with tangents, at (x, dx) and (tangent of ct, ct), with respect to x
    cotangents in R:  of ct, for u of the result:  F'(x) u
                      of x:  R of the loop with tangents, at (x, u) and (0, ct), with respect to x

since second derivatives are symmetric. Invariant: operands of `while_pullback` are values that it reads, and no others,
so that the way back through a linear loop does not depend on what the loop was run on.

Source: Griewank and Walther, Evaluating Derivatives (2008), chapters 5 and 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.control.bodies import Flags, chosen, spread, strong_type
from functrans.control.evaluation import perform
from functrans.control.items import item_by_item
from functrans.control.while_evaluation import interpret, interpret_pullback
from functrans.control.while_programs import (
    Batch,
    Loop,
    batched_loop,
    loop_of,
    pruned_loop,
    pushed_loop,
    reverse_of,
    reverse_with,
    spread_batch,
    union,
)
from functrans.core.primitive import Control
from functrans.core.program import Program
from functrans.core.types import ArrayType, dtype_of, is_differentiable, shape_of, type_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.ops.structure import broadcast_to
from functrans.transforms.batch import released_batch, traced_batch
from functrans.transforms.tape import zeros

__all__ = ["while_loop", "while_pullback"]


def evaluate(*operands: Any, **params: Any) -> tuple[Any, ...]:
    """The final carries."""
    return perform(while_loop, interpret, operands, params)


def result_types(*types: ArrayType, body: Program, **params: Any) -> list[ArrayType]:
    """Those of the carries."""
    return [atom.array_type for atom in body.outputs]


def reach(active: Sequence[bool], **params: Any) -> Flags:
    """The carries that derivatives spread to in any step."""
    loop = loop_of(**params)
    return loop.spread(active[loop.cond_consts :])[loop.body_consts :]


def with_zeros(values: Sequence[Any], primals: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    """Tangents or cotangents of the primals with a flag, zeros in place of None."""
    return [zeros_like(primal) if value is None else value for value, primal, flag in zip(values, primals, flags) if flag]


def zeros_like(value: Any) -> Any:
    """Zeros of the type of a tangent."""
    return zeros(strong_type(value if isinstance(value, ArrayType) else type_of(value)))


def push(primals: list[Any], tangents: list[Any], *, from_selection: bool, **params: Any) -> Any:
    """The loop with tangents beside the carries."""
    loop = loop_of(**params, masked=from_selection)
    _, consts_active, carries_active = loop.parts([tangent is not None for tangent in tangents])
    active = loop.spread((*consts_active, *carries_active))
    consts_active, carries_active = active[: loop.body_consts], active[loop.body_consts :]
    own, consts, carries = loop.parts(primals)
    _, const_tangents, carry_tangents = loop.parts(tangents)
    pushed, values = pushed_loop(loop, active)
    with np.errstate(all="ignore"):
        results = while_loop(
            *own,
            *values, *consts, *chosen(const_tangents, consts_active),
            *carries, *with_zeros(carry_tangents, carries, carries_active),
            **{**params, **pushed.params},
        )  # fmt: skip
    return results[: len(carries)], spread(results[len(carries) :], carries_active)


def forward(operands: list[Any], active: int, **params: Any) -> Any:
    """The loop; what it is run on is kept, as far as the way back reads it."""
    loop = loop_of(**params)
    if not (loop.cond.repeatable and loop.body.repeatable):
        raise UnsupportedError(
            f"while_loop or fori_loop of {loop.body.name}: reverse mode runs the loop again, and an operation in it may give something else then"
            f"\n  Remedy: draw the numbers outside, or use ft.scan or ft.fori_loop with a fixed number of steps.{at_user_line()}"
        )
    given = [bool(active >> place & 1) and is_differentiable(dtype_of(value)) for place, value in enumerate(operands)]
    flags = loop.spread(given[loop.cond_consts :])
    own, consts, carries = loop.parts(operands)
    made = reverse_of(loop, flags)
    kept = *own, *chosen([*consts, *carries], made.read)
    return while_loop(*operands, **params), (kept, flags)


def pull(cts: Sequence[Any], saved: Any, active: int, *, from_selection: bool, **params: Any) -> Any:
    """The way back."""
    kept, flags = saved
    loop = loop_of(**params)
    made = reverse_of(loop, flags)
    own, consts, carries, _ = made.parts(kept)
    values = spread([*consts, *carries], made.read)
    loop = loop.silent._replace(masked=from_selection)
    return [*(None,) * loop.cond_consts, *way_back(loop, own, values, flags, cts, params)]


def way_back(
    loop: Loop, own: Sequence[Any], values: Sequence[Any], active: Flags, cts: Sequence[Any], params: dict[str, Any]
) -> list[Any]:
    """The cotangents of the active inputs of the body, from those of the final carries; each may be None, for zero.

    Only what the final carries with a cotangent depend on is gone through; what that does not read may be None in `values`.
    """
    pruned = pruned_loop(loop, [ct is not None for ct in cts], active[: loop.body_consts])
    left = tuple(chosen(active, pruned.inputs))
    read = chosen(chosen(values, pruned.inputs), reverse_of(pruned.loop, left).read)
    check_known(loop.body, read)
    types = [variable.array_type for variable in pruned.loop.body.inputs[pruned.loop.body_consts :]]
    full = with_zeros(chosen(cts, pruned.carries), types, left[pruned.loop.body_consts :])
    found = while_pullback(
        *chosen(own, pruned.cond_consts), *read, *full,
        active=left, batches=(), **{**params, **pruned.loop.params, "masked": loop.masked},
    )  # fmt: skip
    return spread(spread(found, left), pruned.inputs)


def batch(operands: list[Any], batched: list[bool], size: int, axis_name: Any, **params: Any) -> Any:
    """The loop of batches, if all items take the same steps; else each item runs its own."""
    loop = loop_of(**params)
    found = batched_loop(loop, tuple(batched), size, axis_name)
    if found is None:
        return item_by_item(while_loop, operands, batched, size, axis_name, params)
    made, cond_values, body_values, flags = found
    own, consts, carries = loop.parts(operands)
    full = spread_over(carries, loop.parts(batched)[2], flags, size)
    results = while_loop(*cond_values, *own, *body_values, *consts, *full, **{**params, **made.params})
    return results, flags


def spread_over(values: Sequence[Any], batched: Sequence[bool], wanted: Sequence[bool], size: int) -> list[Any]:
    """The values with the batch axis in front of all that want one."""
    return [
        broadcast_to(value, shape=(size, *shape_of(value))) if flag and not own else value
        for value, own, flag in zip(values, batched, wanted)
    ]


def prune(wanted: Sequence[bool], **params: Any) -> Any:
    """Without the carries that neither results, nor the condition, nor other carries need."""
    pruned = pruned_loop(loop_of(**params), wanted)
    operands = *pruned.cond_consts, *pruned.inputs
    return None if all(operands) else (operands, pruned.carries, {**params, **pruned.loop.params})


while_loop = Control(
    "while_loop",
    evaluate,
    types=result_types,
    push=push,
    forward=forward,
    pull=pull,
    batch=batch,
    prune=prune,
    reach=reach,
    knows_selection=True,
)


def evaluate_pullback(*operands: Any, **params: Any) -> tuple[Any, ...]:
    """The cotangents of the active consts and of the active first carries."""
    return perform(while_pullback, interpret_pullback, operands, params)


def pullback_types(*types: ArrayType, max_steps: int | None, checkpoint: Any, **params: Any) -> list[ArrayType]:
    """Those of the active consts and carries, with the axes of batches."""
    return [strong_type(atom.array_type) for atom in reverse_with(**params).back.outputs]


class Point:
    """Where a way back is differentiated: the operands of `while_pullback`, or what belongs to them, by what they are.

    Attributes:
        loop: the loop.
        own: consts of the condition.
        values: of the inputs of its body, consts and carries; None where they are not read.
        cts: cotangents of the active carries.
    """

    def __init__(self, operands: Sequence[Any], active: Flags, params: dict[str, Any]) -> None:
        self.loop = loop_of(**params)
        made = reverse_of(self.loop, active)
        self.own, consts, carries, self.cts = made.parts(operands)
        self.values = spread([*consts, *carries], made.read)

    def carry_cts(self, active: Flags, cts: Sequence[Any]) -> list[Any]:
        """For each input of the body its cotangent at the end, None but for active carries."""
        count = self.loop.body_consts
        return [*(None,) * count, *spread(cts, active[count:])]


class Joint:
    """The loop with tangents at a point: what belongs to an input of its body is a value or a tangent, or None.

    Attributes:
        loop: the loop with tangents.
        active: which inputs of the body have tangents.
        operands: the inputs of its body: arrays it needs, values and tangents.
    """

    def __init__(self, point: Point, active: Flags, tangents: Sequence[Any]) -> None:
        self.point, self.active = point, active
        self.loop, arrays = pushed_loop(point.loop, active)
        self.arrays = len(arrays)
        pairs = zip(tangents, point.values)
        full = [zeros_like(value) if tangent is None and value is not None else tangent for tangent, value in pairs]
        self.operands = self.merged(arrays, point.values, full)

    def merged(self, arrays: Sequence[Any], values: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """What belongs to the inputs of the body with tangents, from what belongs to those of the body."""
        count = self.point.loop.body_consts
        parts = [chosen(tangents[part], self.active[part]) for part in (slice(count), slice(count, None))]
        return [*arrays, *values[:count], *parts[0], *values[count:], *parts[1]]

    def divided(self, items: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """What belongs to the values and to the tangents: undoes `merged`."""
        count = self.point.loop.body_consts
        consts, carries = items[self.arrays : self.loop.body_consts], items[self.loop.body_consts :]
        first, rest = self.active[:count], self.active[count:]
        tangents = [*spread(consts[count:], first), *spread(carries[len(rest) :], rest)]
        return [*consts[:count], *carries[: len(rest)]], tangents

    def flags(self, values: Sequence[Any], tangents: Sequence[Any]) -> Flags:
        """Flags of the inputs of its body."""
        return tuple(map(bool, self.merged((False,) * self.arrays, values, tangents)))

    def cotangents(
        self, value_cts: Sequence[Any], tangent_cts: Sequence[Any], wanted: Flags, params: dict[str, Any]
    ) -> tuple[list[Any], list[Any]]:
        """The way back: the cotangents of the wanted values and tangents, from those of the final carries and theirs."""
        cts = self.merged((None,) * self.arrays, value_cts, tangent_cts)[self.loop.body_consts :]
        return self.divided(way_back(self.loop, self.point.own, self.operands, wanted, cts, params))

    def final_tangents(self, params: dict[str, Any]) -> list[Any]:
        """The loop: the final tangents of the active carries."""
        count, carries = self.point.loop.body_consts, len(self.point.loop.body.outputs)
        pruned = pruned_loop(self.loop, (*(False,) * carries, *(True,) * sum(self.active[count:])))
        operands = chosen(self.operands, pruned.inputs)
        check_known(self.point.loop.body, operands)
        own = chosen(self.point.own, pruned.cond_consts)
        results = while_loop(*own, *operands, **{**without(params, "masked"), **pruned.loop.params})
        return spread(results, pruned.carries)[carries:]


def without(params: dict[str, Any], name: str) -> dict[str, Any]:
    """Parameters but for one."""
    return {key: value for key, value in params.items() if key != name}


def check_known(body: Program, values: Sequence[Any]) -> None:
    """Raise if a derivative reads what a first one does not."""
    if any(value is None for value in values):
        raise UnsupportedError(
            f"while_loop or fori_loop of {body.name}: a higher derivative reads values that the first one does not: the rules of a custom_vjp or custom_jvp "
            f"in the body do not fit together\n  Remedy: let defvjp and defjvp give the same derivative.{at_user_line()}"
        )


def push_pullback(
    primals: list[Any], tangents: list[Any], *, from_selection: bool, active: Flags, batches: tuple[Batch, ...], **params: Any
) -> Any:
    """The way back through the loop with tangents; or once more, if only cotangents have tangents."""
    params["masked"] = params["masked"] or from_selection
    if batches:
        return push_batched(primals, tangents, active, batches, params)
    point, given = Point(primals, active, params), Point(tangents, active, params)
    flags = [tangent is not None for tangent in given.values]
    if not any(flags):
        results = while_pullback(*primals, active=active, batches=(), **params)
        first = primals[: len(primals) - len(point.cts)]
        ct_tangents = with_zeros(given.cts, point.cts, (True,) * len(point.cts))
        return results, list(while_pullback(*first, *ct_tangents, active=active, batches=(), **params))
    joint = Joint(point, point.loop.spread(union(active, flags)), given.values)
    cts = point.carry_cts(active, given.cts), point.carry_cts(active, point.cts)
    of_values, of_tangents = joint.cotangents(*cts, joint.flags(active, active), params)
    return chosen(of_tangents, active), chosen(of_values, active)


def forward_pullback(operands: list[Any], bits: int, **params: Any) -> Any:
    """The way back, and all it reads."""
    return while_pullback(*operands, **params), operands


def pull_pullback(
    cts: Sequence[Any], saved: Any, bits: int, *, from_selection: bool, active: Flags, batches: tuple[Batch, ...], **params: Any
) -> Any:
    """The loop with tangents, for the cotangents; and the way back through it, for consts and carries."""
    params["masked"] = params["masked"] or from_selection
    if batches:
        return pull_batched(cts, saved, bits, active, batches, params)
    point = Point(saved, active, params)
    wanted = [bool(bits >> place & 1) and is_differentiable(dtype_of(value)) for place, value in enumerate(saved)]
    needs = Point(wanted, active, params)
    types = [variable.array_type for variable in point.loop.body.inputs]
    directions = with_zeros(spread(cts, active), types, active)
    joint = Joint(point, active, spread(directions, active))
    of_cts: Sequence[Any] = [None] * len(point.cts)
    if any(needs.cts):
        of_cts = joint.final_tangents(params)
    of_values: Sequence[Any] = [None] * len(point.values)
    if any(needs.values):
        ends = [None] * len(point.values)
        flags = joint.loop.spread(joint.flags(needs.values, (False,) * len(active)))
        of_values, _ = joint.cotangents(ends, point.carry_cts(active, point.cts), flags, params)
    return [*(None,) * len(point.own), *chosen(of_values, reverse_of(point.loop, active).read), *of_cts]


def push_batched(
    primals: list[Any], tangents: list[Any], active: Flags, batches: tuple[Batch, ...], params: dict[str, Any]
) -> Any:
    """The rule for one item, mapped over the outermost batch."""
    *inner, level = batches
    flags = reverse_with(active, batches, **params).flags[-1]
    has_tangent = [tangent is not None for tangent in tangents]

    def call(values: list[Any]) -> Any:
        own, others = values[: len(primals)], spread(values[len(primals) :], has_tangent)
        return push_pullback(own, others, from_selection=False, active=active, batches=tuple(inner), **params)

    values = [*primals, *chosen(tangents, has_tangent)]
    trace, (results, parts) = traced_batch(
        values, [*level.flags, *chosen(level.flags, has_tangent)], level.size, level.axis_name, call
    )
    return in_front(trace, results, flags), in_front(trace, parts, flags)


def in_front(trace: Any, results: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    """Results of a trace of a batch, of which those with a flag have its axis in front."""
    released = [(None, True) if value is None else released_batch(trace, value) for value in results]
    assert all(flag or not own or value is None for (value, own), flag in zip(released, flags)), "a result is batched"
    return spread_over([value for value, _ in released], [own for _, own in released], flags, trace.size)


def pull_batched(
    cts: Sequence[Any], saved: Any, bits: int, active: Flags, batches: tuple[Batch, ...], params: dict[str, Any]
) -> Any:
    """The rule for one item, mapped over the outermost batch; what all items share has the sum of their cotangents.

    The cotangent of a result that all items share is given to one of them.
    """
    *inner, level = batches
    flags = reverse_with(active, batches, **params).flags[-1]
    given = [ct is not None for ct in cts]
    full = [ct if flag else first_item(ct, level.size) for ct, flag in zip(cts, flags) if ct is not None]

    def call(values: list[Any]) -> Any:
        own, others = values[: len(saved)], spread(values[len(saved) :], given)
        return pull_pullback(others, own, bits, from_selection=False, active=active, batches=tuple(inner), **params)

    trace, found = traced_batch([*saved, *full], [*level.flags, *(True,) * len(full)], level.size, level.axis_name, call)
    released = [(None, False) if value is None else released_batch(trace, value) for value in found]
    values = spread_over(
        [value for value, _ in released], [batched or value is None for value, batched in released], level.flags, level.size
    )
    shared = [batched and not own for (_, batched), own in zip(released, level.flags)]
    return [np.sum(value, axis=0) if is_shared else value for value, is_shared in zip(values, shared)]


def first_item(ct: Any, size: int) -> Any:
    """A batch of zeros but for the first item."""
    return np.pad(np.reshape(ct, (1, *shape_of(ct))), [(0, size - 1), *((0, 0),) * len(shape_of(ct))])


def batch_pullback(
    operands: list[Any],
    batched: list[bool],
    size: int,
    axis_name: Any,
    *,
    active: Flags,
    batches: tuple[Batch, ...],
    **params: Any,
) -> Any:
    """The way back with one more batch, if all items take the same steps; else each item goes its own.

    The batch is kept as such, since the cotangent of what all items share differs from item to item.
    """
    made = reverse_with(active, batches, **params)
    flags = spread_batch(made, batched, size, axis_name)
    if flags is None:
        given = {"active": active, "batches": batches, **params}
        return item_by_item(while_pullback, operands, batched, size, axis_name, given)
    levels = *batches, Batch(size, axis_name, flags)
    results = while_pullback(*spread_over(operands, batched, flags, size), active=active, batches=levels, **params)
    return results, reverse_with(active, levels, **params).flags[-1]


def prune_pullback(wanted: Sequence[bool], *, active: Flags, batches: tuple[Batch, ...], **params: Any) -> Any:
    """Without the cotangents that neither results nor other cotangents need, and what only those read."""
    loop = loop_of(**params)
    made = reverse_of(loop, active)
    results = made.needed(wanted)
    wanted_active = tuple(map(bool, spread(results, active)))
    consts, carries = wanted_active[: loop.body_consts], wanted_active[loop.body_consts :]
    pruned = pruned_loop(loop, carries, consts)
    left = tuple(chosen(wanted_active, pruned.inputs))
    read = spread(reverse_of(pruned.loop, left).read, pruned.inputs)
    operands = (*pruned.cond_consts, *map(bool, chosen(read, made.read)), *chosen(carries, active[loop.body_consts :]))
    if all(operands) and all(results):
        return None
    levels = tuple(level._replace(flags=tuple(chosen(level.flags, operands))) for level in batches)
    return operands, results, {**params, **pruned.loop.params, "active": left, "batches": levels}


while_pullback = Control(
    "while_pullback",
    evaluate_pullback,
    types=pullback_types,
    push=push_pullback,
    forward=forward_pullback,
    pull=pull_pullback,
    batch=batch_pullback,
    prune=prune_pullback,
    knows_selection=True,
)
