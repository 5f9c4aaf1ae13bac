"""The primitive `scan_loop`: a loop of a known number of steps, which carries values along and stacks results.

Its operands are `consts` values that are the same in every step, `carry` first carries, then xs, which have a leading
axis of `length`. The body is a program (consts, carries, slices of the xs) -> (new carries, ys of the step). Both
derivatives and the batched loop are scans of bodies made from it: forward mode carries tangents beside the values;
reverse mode stacks what the pullbacks of the steps need, and goes back through the stacks with cotangents as carries.

Invariant: a body captures nothing, its carries keep their types, and it runs at least once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.control.bodies import (
    Flags,
    batched_body,
    chosen,
    fixed_point,
    reached,
    spread,
    strong_type,
    tangents_apart,
)
from functrans.control.evaluation import perform, run
from functrans.control.scan_bodies import (
    Back,
    Saved,
    Split,
    interleaved,
    linearized_step,
    parts,
    pieces,
    pruned_step,
    pushed_step,
    reverse_split,
    reverse_step,
)
from functrans.control.scan_revolve import revolving
from functrans.control.schedules import snapshots
from functrans.core.primitive import Control
from functrans.core.program import Program
from functrans.core.staging import StagingTrace
from functrans.core.trace import TracedValue, current
from functrans.core.types import ArrayType, is_differentiable, shape_of, type_of
from functrans.errors import UnsupportedError, at_user_line, describe_origin
from functrans.transforms.tape import zeros

__all__ = ["scan_loop"]


def evaluate(*operands: Any, **params: Any) -> tuple[Any, ...]:
    """The final carries, and the stacked ys."""
    return perform(scan_loop, interpret, operands, params)


def interpret(
    *operands: Any, body: Program, consts: int, carry: int, length: int, reverse: bool, **params: Any
) -> tuple[Any, ...]:
    """The loop in Python."""
    shared, carries, xs = operands[:consts], list(operands[consts : consts + carry]), operands[consts + carry :]
    types = [atom.array_type for atom in body.outputs[carry:]]
    ys = [np.empty((length, *type_.shape), type_.dtype) for type_ in types]
    is_number = [variable.array_type.weak for variable in body.inputs[consts + carry :]]  # the counter of a fori_loop
    for step in reversed(range(length)) if reverse else range(length):
        slices = [x[step].item() if weak else x[step] for x, weak in zip(xs, is_number)]
        results = run(body, [*shared, *carries, *slices])
        carries = results[:carry]
        for stack, y in zip(ys, results[carry:]):
            stack[step] = y
    return (*carries, *ys)


def types_of_results(*types: ArrayType, body: Program, consts: int, carry: int, length: int, **params: Any) -> list[ArrayType]:
    """Carries keep their types, ys are stacked."""
    ys = [ArrayType((length, *atom.array_type.shape), atom.array_type.dtype) for atom in body.outputs[carry:]]
    return [*(strong_type(type_) for type_ in types[consts : consts + carry]), *ys]


def spread_through(body: Program, consts: int, carry: int, active: Sequence[bool]) -> Flags:
    """`active`, of the operands, with the carries that derivatives spread to in any step."""
    shared, start, xs = parts(tuple(active), consts, carry)
    carried = fixed_point(lambda flags: reached(body, (*shared, *flags, *xs))[:carry], start)
    return (*shared, *carried, *xs)


def push(
    primals: list[Any], tangents: list[Any], *, from_selection: bool, body: Program, consts: int, carry: int, **params: Any
) -> Any:
    """The loop with tangents beside the values; two loops if only the tangents are staged, by `linearize`."""
    active = spread_through(body, consts, carry, [tangent is not None for tangent in tangents])
    full = [
        zeros(strong_type(type_of(primal))) if flag and tangent is None else tangent
        for primal, tangent, flag in zip(primals, tangents, active)
    ]
    run = push_apart if stages_tangents_only(primals) else push_together
    with np.errstate(all="ignore"):
        return run(primals, full, active, from_selection, body=body, consts=consts, carry=carry, **params)


def stages_tangents_only(primals: Sequence[Any]) -> bool:
    """Whether tangents are being staged while the values are there, or will be."""
    trace = current.get()
    if tangents_apart.get():
        return True
    if not isinstance(trace, StagingTrace) or not trace.is_partial:
        return False
    return not any(isinstance(value, TracedValue) and value.owner is trace for value in primals)


def push_together(
    primals: list[Any],
    tangents: list[Any],
    active: Flags,
    from_selection: bool,
    *,
    body: Program,
    consts: int,
    carry: int,
    **params: Any,
) -> Any:
    """One loop of values and tangents."""
    step = pushed_step(body, consts, carry, active, from_selection)
    of_consts, of_carries, of_xs = parts(active, consts, carry)
    operands = interleaved(primals, tangents, consts, carry)
    shared, start, xs = parts(operands, consts + sum(of_consts), carry + sum(of_carries))
    shared = step.consts(shared)
    results = scan_loop(*shared, *start, *xs, body=step.program, consts=len(shared), carry=len(start), **params)
    outputs, count = len(step.flags), sum(of_carries)
    values, parts_of_carries, ys, parts_of_ys = pieces(results, carry, count, outputs - carry)
    return [*values, *ys], spread([*parts_of_carries, *parts_of_ys], step.flags)


def push_apart(
    primals: list[Any],
    tangents: list[Any],
    active: Flags,
    from_selection: bool,
    *,
    body: Program,
    consts: int,
    carry: int,
    **params: Any,
) -> Any:
    """The loop of the values, and one of tangents, which reads what the first one stacks."""
    made, derivative = linearized_step(body, consts, carry, active, params.get("checkpoint") is not None, from_selection)
    results, saved = run_split(made, primals, consts, carry, params)
    of_consts, of_carries, of_xs = (chosen(*pair) for pair in zip(parts(tangents, consts, carry), parts(active, consts, carry)))
    shared = [*saved.consts, *of_consts]
    found = scan_loop(
        *shared, *of_carries, *saved.steps(params["reverse"]), *of_xs,
        body=derivative, consts=len(shared), carry=len(of_carries), **params,
    )  # fmt: skip
    return results[: len(body.outputs)], spread(found, made.step.flags)


def run_split(made: Split, operands: Sequence[Any], consts: int, carry: int, params: dict[str, Any]) -> tuple[Any, Saved]:
    """The results of the loop, residuals included, and what a later pass reads."""
    shared, start, xs = parts(operands, consts, carry)
    shared = made.step.consts(shared)
    results = scan_loop(*shared, *start, *xs, body=made.step.program, consts=len(shared), carry=carry, **params)
    return results, made.saved(shared, start, xs, results)


def forward(operands: list[Any], active: int, *, body: Program, consts: int, carry: int, **params: Any) -> Any:
    """The loop with residuals beside the ys; of one that is to keep few states, just the loop."""
    types = [type_of(value) for value in operands]
    keeps = what_is_kept(params)
    if keeps == "nothing":
        check_repeatable(body)
        return scan_loop(*operands, body=body, consts=consts, carry=carry, **params), (operands, types)
    made, _ = reverse_split(body, consts, carry, flags_of(active, types, body, consts, carry), keeps)
    with np.errstate(all="ignore"):
        results, saved = run_split(made, operands, consts, carry, params)
    return results[: len(body.outputs)], (saved, types)


def what_is_kept(params: dict[str, Any]) -> str:
    """What reverse mode keeps of each step, as `reverse_split` takes it."""
    return {None: "residuals", "step": "operands"}.get(params.get("checkpoint"), "nothing")


def check_repeatable(body: Program) -> None:
    """Raise if the steps of a loop cannot be run again."""
    for equation in body.equations:
        if not equation.repeatable:
            raise UnsupportedError(
                f"scan of {body.name}: checkpoint= runs steps again, and {equation.primitive} may then give something else"
                f"\n  made at {describe_origin(equation.origin)}"
                f"\n  Remedy: take it out of the loop, and pass its results as xs.{at_user_line()}"
            )


def flags_of(active: int, types: Sequence[ArrayType], body: Program, consts: int, carry: int) -> Flags:
    """Which operands derivatives spread to, by the bits of `active`."""
    given = [bool(active >> place & 1) and is_differentiable(type_.dtype) for place, type_ in enumerate(types)]
    return spread_through(body, consts, carry, given)


def pull(
    cts: Sequence[Any],
    saved: Any,
    active: int,
    *,
    from_selection: bool,
    body: Program,
    consts: int,
    carry: int,
    **params: Any,
) -> list[Any]:
    """The loop of the pullbacks of the steps, in the other direction."""
    kept, types = saved
    flags = flags_of(active, types, body, consts, carry)
    given = tuple(ct is not None for ct in cts)
    result_types = types_of_results(*types, body=body, consts=consts, carry=carry, **params)
    full = [zeros(type_) if ct is None else ct for ct, type_ in zip(cts, result_types)]
    keeps = what_is_kept(params)
    if keeps == "nothing":
        count = min(snapshots(params["checkpoint"], params["length"]), params["length"])
        made = revolving(body, consts, carry, flags, given, from_selection, count, params["reverse"], params["length"])
        back = made.back
        results = made.run(scan_loop, parts(kept, consts, carry), ct_parts(full, back, carry), params)
    else:
        back = reverse_step(body, consts, carry, flags, keeps, given, from_selection)
        results = run_back(back, kept, ct_parts(full, back, carry), params)
    of_carries, of_consts, of_xs = pieces(results, sum(back.cts[:carry]), len(back.sums))
    return spread([*of_consts, *of_carries, *of_xs], back.flags)


def ct_parts(cts: Sequence[Any], back: Back, carry: int) -> tuple[list[Any], list[Any]]:
    """The cotangents that the loop back takes, of carries and of ys."""
    return chosen(cts[:carry], back.cts[:carry]), chosen(cts[carry:], back.cts[carry:])


def run_back(back: Back, kept: Saved, cts: tuple[list[Any], list[Any]], params: dict[str, Any]) -> list[Any]:
    """The results of the loop back that are cotangents."""
    shared = [*back.values, *kept.consts]
    carries = [*cts[0], *map(zeros, back.sums), *kept.following]
    xs = [*kept.steps(params["reverse"]), *cts[1]]
    turned = {**params, "reverse": not params["reverse"]}
    results = scan_loop(*shared, *carries, *xs, body=back.program, consts=len(shared), carry=len(carries), **turned)
    of_cts, _, of_xs = pieces(results, len(carries) - len(kept.following), len(kept.following))
    return [*of_cts, *of_xs]


def batch(
    operands: list[Any],
    batched: list[bool],
    size: int,
    axis_name: Any,
    *,
    body: Program,
    consts: int,
    carry: int,
    **params: Any,
) -> Any:
    """The loop of batches; carries that a batch spreads to in any step are batched from the first."""
    shared, start, xs = parts(tuple(batched), consts, carry)
    ys = (False,) * (len(body.outputs) - carry)

    def step(flags: Flags) -> Flags:
        return batched_body(body, (*shared, *flags, *xs), (*flags, *ys), size, axis_name).flags[:carry]

    carried = fixed_point(step, start)
    program, values, flags = batched_body(body, (*shared, *carried, *xs), (*carried, *ys), size, axis_name)
    in_front = parts(operands, consts, carry)
    results = scan_loop(
        *values,
        *in_front[0],
        *(np.broadcast_to(value, (size, *shape_of(value))) if own and not old else value
          for value, old, own in zip(in_front[1], start, carried)),
        *(np.moveaxis(value, 0, 1) if own else value for value, own in zip(in_front[2], xs)),
        body=program, consts=len(values) + consts, carry=carry, **params,
    )  # fmt: skip
    stacks = [np.moveaxis(value, 1, 0) if own else value for value, own in zip(results[carry:], flags[carry:])]
    return [*results[:carry], *stacks], flags


def prune(wanted: Sequence[bool], *, body: Program, consts: int, carry: int, **params: Any) -> Any:
    """Without the ys nobody reads, and the carries that neither results nor other carries need."""
    program, operands, results = pruned_step(body, consts, carry, tuple(wanted))
    if all(operands) and all(results):
        return None
    counts = {"consts": sum(operands[:consts]), "carry": sum(results[:carry])}
    return operands, results, {"body": program, **counts, **params}


def reach(active: Sequence[bool], *, body: Program, consts: int, carry: int, **params: Any) -> Sequence[bool]:
    """Carries that derivatives spread to in any step, and what depends on them."""
    return reached(body, spread_through(body, consts, carry, active))


scan_loop = Control(
    "scan",
    evaluate,
    types=types_of_results,
    push=push,
    forward=forward,
    pull=pull,
    batch=batch,
    prune=prune,
    reach=reach,
    knows_selection=True,
)
