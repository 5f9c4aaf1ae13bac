"""`scan`: a loop of a known number of steps, which carries values along and collects results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from functrans import tree
from functrans.control.bodies import chosen, staged_body, strong
from functrans.control.carries import checked_carry
from functrans.control.known import known
from functrans.control.scan_bodies import parts
from functrans.control.scan_loop import scan_loop
from functrans.control.schedules import Checkpoint, checked_checkpoint
from functrans.control.segments import divided
from functrans.core.calling import called, function_title
from functrans.core.program import Program
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, describe, dtype_of, shape_of, type_of
from functrans.errors import StructureError, at_user_line

__all__ = ["scan", "scan_loop"]


def scan(
    f: Callable[[Any, Any], Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    checkpoint: Checkpoint = None,
) -> tuple[Any, Any]:
    """A loop that carries values along and collects results: ``carry, y = f(carry, x)`` for each `x` of `xs`.

    Args:
        f: ``(carry, x) -> (carry, y)``, of pytrees; the carry keeps its structure, shapes and dtypes.
        init: the first carry; Python numbers become NumPy's.
        xs: a pytree of arrays with a common leading axis, of which `f` gets a slice each time; None if it needs none.
        length: the number of steps; needed if `xs` has no arrays.
        reverse: whether to go from the last slice to the first; ys stay at the place of their slice.
        unroll: a hint for the compiler: how many steps to write out, True for all. Results do not depend on it.
        checkpoint: what reverse mode keeps of a loop of n steps. By default what the pullbacks of the steps read, of each
            step. ``"sqrt"``: carries before about sqrt(n) segments, and what the pullbacks read in one of them; each step
            is run once more. An int: so many carries at a time; ``"recursive"``: about log2(n) carries. Steps are then run
            again from the last carry that is kept, as seldom as there can be with so few: about log2(n) / 2 times with
            ``"recursive"``. What is kept for derivatives of derivatives is bounded in the same way.

    Returns:
        ``(carry, ys)``: the last carry, and the ys stacked along a new leading axis.

    Raises:
        StructureError: the carry changes its structure or the type of a leaf, or leading axes differ.
        UnsupportedError: a loop with few carries is to be differentiated, and a step gives something else when run again.

    Example:
        >>> import numpy as np, functrans as ft
        >>> total, sums = ft.scan(lambda c, x: (c + x, c + x), 0.0, np.array([1.0, 2.0, 3.0]))
        >>> float(total), sums.tolist()
        (6.0, [1.0, 3.0, 6.0])
        >>> ft.grad(lambda x: ft.scan(lambda c, x: (c * x, None), 1.0, x)[0])(np.array([2.0, 3.0])).tolist()
        [3.0, 2.0]
        >>> simulate = lambda a: ft.scan(lambda c, _: (c + a * np.sin(c), None), 1.0, length=1000, checkpoint="sqrt")[0]
        >>> float(ft.grad(simulate)(0.001)) > 0
        True

    Source: the signature is that of ``jax.lax.scan``; for reverse mode see Griewank and Walther, Evaluating
    Derivatives (2008), sections 4 and 12.
    """
    title = function_title(f)
    carries, structure = tree.flatten(init)
    carries = [strong(operand(leaf, "scan")) for leaf in carries]
    slices, xs_structure = tree.flatten(xs)
    slices = [operand(leaf, "scan") for leaf in slices]
    count = checked_length(title, slices, tree.paths(xs), length)
    params: dict[str, Any] = {"length": count, "reverse": bool(reverse), "unroll": steps_at_once(unroll, count)}
    if checked_checkpoint(f"scan of {title}", checkpoint) is not None:
        params["checkpoint"] = checkpoint
    types = [type_of(value) for value in carries]
    y_structures: list[Any] = []

    def step(carry: Any, x: Any) -> Any:
        new, y = checked_pair(title, called("scan", f, [carry, x]))
        y_structures[:] = [tree.structure(y)]
        leaves = checked_carry(f"scan of {title}", "the body", new, init, types)
        return leaves, [strong(operand(leaf)) for leaf in tree.leaves(y)]

    step.__name__ = title
    slice_types = [ArrayType(shape_of(x)[1:], dtype_of(x)) for x in slices]
    args = tree.unflatten(structure, types), tree.unflatten(xs_structure, slice_types)
    program, values = staged_body(step, args, transform="scan", hoists=count > 0)
    if count == 0:
        stacks = [atom.array_type.stacked(0) for atom in program.outputs[len(types) :]]
        results = [*carries, *(np.zeros(type_.shape, type_.dtype) for type_ in stacks)]
    else:
        results = run(program, values, carries, slices, params)
    return tree.unflatten(structure, results[: len(carries)]), tree.unflatten(y_structures[0], results[len(carries) :])


def run(
    body: Program, values: Sequence[Any], carries: Sequence[Any], xs: Sequence[Any], params: dict[str, Any]
) -> list[Any]:
    """The results of a loop of at least one step; carries that no step changes are consts."""
    first, count = len(values), len(carries)
    changes = [body.outputs[place] is not body.inputs[first + place] for place in range(count)]
    stays = [not flag for flag in changes]
    shared, own, slices = parts(body.inputs, first, count)
    body = replace(
        body,
        inputs=(*shared, *chosen(own, stays), *chosen(own, changes), *slices),
        outputs=(*chosen(body.outputs[:count], changes), *body.outputs[count:]),
    )
    consts = [*values, *chosen(carries, stays)]
    start = chosen(carries, changes)
    loop = divided if params.get("checkpoint") == "sqrt" else scan_loop
    results = loop(*consts, *start, *xs, body=known(body), consts=len(consts), carry=len(start), **params)
    changed = iter(results)
    return [next(changed) if flag else value for value, flag in zip(carries, changes)] + list(results[len(start) :])


def steps_at_once(unroll: int | bool, length: int, loop: str = "scan") -> int:
    """The hint as a number of steps."""
    if isinstance(unroll, bool):
        return max(length, 1) if unroll else 1
    if not isinstance(unroll, int) or unroll < 1:
        raise ValueError(
            f"{loop}: unroll is {unroll!r}, and must be a positive int or a bool"
            f"\n  Remedy: leave it out; results do not depend on it.{at_user_line()}"
        )
    return unroll


def checked_length(title: str, slices: Sequence[Any], paths: Sequence[str], length: int | None) -> int:
    """The number of steps, if all xs agree on it."""
    for x, path in zip(slices, paths):
        if not shape_of(x):
            raise StructureError(
                f"scan of {title}: xs{path} is {describe(x)}, and has no leading axis to go along"
                f"\n  Remedy: close over what is the same in every step; stack lists of numbers with np.array.{at_user_line()}"
            )
    lengths = {shape_of(x)[0] for x in slices}
    if length is not None:
        if not hasattr(length, "__index__") or length < 0:
            raise ValueError(
                f"scan of {title}: length is {length!r}, and must be an int that is not negative"
                f"\n  Remedy: pass a Python int; for a number of steps that is traced use ft.fori_loop.{at_user_line()}"
            )
        lengths.add(int(length))
    if len(lengths) != 1:
        found = ", ".join(f"xs{path} is {describe(x)}" for x, path in zip(slices, paths))
        given = "" if length is None else f", length is {length}"
        raise StructureError(
            f"scan of {title}: the leading axes of the xs and length must agree, got {found or 'no xs'}{given}"
            f"\n  Remedy: {'make them equal' if lengths else 'pass length'}.{at_user_line()}"
        )
    return lengths.pop()


def checked_pair(title: str, result: Any) -> tuple[Any, Any]:
    """What the body returned, if that is a pair."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise StructureError(
            f"scan of {title}: the body must return a pair (carry, y), got {describe(result)}"
            f"\n  Remedy: return (carry, None) if there is nothing to collect.{at_user_line()}"
        )
    return result[0], result[1]
