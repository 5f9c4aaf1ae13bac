"""`checkpoint`: a function whose backward pass computes again, from its arguments, what a policy does not keep.

A call of the function is an operation whose parameter is its program. Reverse mode makes the joint program of the function
and its pullback, divides it by the partitioner, and performs both parts as operations of the same kind: derivatives of
derivatives compute again as well. Forward mode and batching are calls of the program with tangents, and of batches.

Invariant: what a compiler inlines reads, in a backward part, the values that are computed from again through a barrier,
so that it neither takes what is computed again for what was computed before, nor computes it before it must.

Sources: Griewank, Achieving logarithmic growth of temporal and spatial complexity in reverse automatic differentiation
(1992); Chen et al., Training deep nets with sublinear memory cost (2016).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from functrans import tree
from functrans.control import policies
from functrans.control.bodies import (
    Flags,
    batched_body,
    chosen,
    derived,
    joint_body,
    pushed_body,
    reached,
    read_inputs,
    spread,
    staged_body,
)
from functrans.control.known import known
from functrans.control.policies import Offload
from functrans.core.calling import called, function_title
from functrans.core.primitive import Control
from functrans.core.program import Equation, Program, Variable, without_dead_code
from functrans.core.trace import root, running
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, dtype_of, is_differentiable
from functrans.errors import at_user_line
from functrans.ops import recomputation
from functrans.transforms.arguments import wraps
from functrans.transforms.partition import Partition, Policy, partition
from functrans.transforms.tape import zeros

__all__ = ["checkpoint", "checkpoint_call", "checkpoint_name"]


@dataclass(frozen=True)
class Options:
    """What is kept, and whether a compiler may undo it; see `checkpoint`."""

    policy: Policy | None
    budget: int | None
    prevent_cse: bool

    def __repr__(self) -> str:
        policy = getattr(self.policy, "__name__", self.policy)
        return "by cost" if self.policy is None and self.budget is None else str(self.budget if policy is None else policy)


def evaluate(*operands: Any, body: Program, options: Options, sources: Flags) -> tuple[Any, ...]:
    """The function itself."""
    with running(root()):
        return tuple(body.evaluate(operands))


def push(primals: list[Any], tangents: list[Any], *, body: Program, options: Options, sources: Flags) -> Any:
    """The function with tangents beside the values."""
    active = tuple(tangent is not None for tangent in tangents)
    program, values, flags = pushed_body(body, active, (False,) * len(body.outputs), True)
    sources = (*unread(values), *sources, *chosen(sources, active))
    with np.errstate(all="ignore"):
        results = checkpoint_call(*values, *primals, *chosen(tangents, active), body=program, options=options, sources=sources)
    count = len(body.outputs)
    return results[:count], spread(results[count:], flags)


def unread(values: Sequence[Any]) -> Flags:
    """That of some values nothing is computed again."""
    return (False,) * len(values)


@dataclass(frozen=True)
class Passes:
    """The two parts of a function and its pullback.

    Attributes:
        values: arrays that both need, as the first inputs of `forward`.
        forward: (values, operands) -> results, then residuals.
        backward: the kept ones of values and operands, residuals, cotangents of the live results -> those of operands.
        inputs: which of values and operands are kept.
        live: the results that have cotangents.
        flags: the operands that get one.
        sources: which inputs of `backward` something is computed from again.
    """

    values: tuple[Any, ...]
    forward: Program
    backward: Program
    inputs: tuple[int, ...]
    live: Flags
    flags: Flags
    sources: Flags


@derived
def passes_of(body: Program, active: Flags, options: Options) -> Passes:
    """The two parts with respect to the active operands."""
    live = reached(body, active)
    joint, values, flags = joint_body(body, active, live, (False,) * len(active), True)
    count = len(body.outputs)
    parts = partition(joint, len(values) + len(active), count, policy=options.policy, budget=options.budget)
    forward = offloaded(parts, options.policy.folder) if isinstance(options.policy, Offload) else parts.forward
    before, after = parts.forward.definitions(), parts.backward.definitions()
    repeats = not before.keys().isdisjoint(after)
    kept = len(parts.inputs) + len(parts.residuals)
    sources = tuple(repeats and place < kept for place in range(len(parts.backward.inputs)))
    return Passes(values, forward, parts.backward, parts.inputs, live, flags, sources)


def offloaded(parts: Partition, folder: str | None) -> Program:
    """The forward part with its residuals in files, from when they are there."""
    forward = parts.forward
    copies = {residual: Variable(residual.array_type) for residual in parts.residuals if residual.array_type.shape}
    equations: list[Equation] = []
    for equation in forward.equations:
        equations.append(equation)
        for variable in equation.outputs:
            if variable in copies:
                made = copies[variable]
                equations.append(Equation((made,), recomputation.offload, (variable,), {"folder": folder}, equation.origin))
    results = forward.outputs[: len(forward.outputs) - len(parts.residuals)]
    kept = [copies.get(residual, residual) for residual in parts.residuals]
    return replace(forward, equations=tuple(equations), outputs=(*results, *kept))


def forward(operands: list[Any], active: int, *, body: Program, options: Options, sources: Flags) -> Any:
    """The function, with what its pullback reads."""
    given = tuple(bool(active >> place & 1) and is_differentiable(dtype_of(x)) for place, x in enumerate(operands))
    passes = passes_of(body, given, options)
    complete = [*passes.values, *operands]
    sources = (*unread(passes.values), *sources)
    count = len(body.outputs)
    # Residuals may be parts of derivatives.
    with np.errstate(all="ignore") if len(passes.forward.outputs) > count else nullcontext():
        results = checkpoint_call(*complete, body=passes.forward, options=options, sources=sources)
    return results[:count], (passes, [complete[place] for place in passes.inputs], results[count:])


def pull(cts: Sequence[Any], saved: Any, active: int, *, body: Program, options: Options, sources: Flags) -> list[Any]:
    """The backward part."""
    passes, kept, residuals = saved
    full = [
        zeros(ArrayType(atom.array_type.shape, atom.array_type.dtype)) if ct is None else ct
        for ct, atom in zip(cts, body.outputs)
    ]
    results = checkpoint_call(
        *kept, *residuals, *chosen(full, passes.live), body=passes.backward, options=options, sources=passes.sources
    )
    return spread(results, passes.flags)


def batch(
    operands: list[Any], batched: list[bool], size: int, axis_name: Any, *, body: Program, options: Options, sources: Flags
) -> Any:
    """The function of batches."""
    program, values, flags = batched_body(body, tuple(batched), (False,) * len(body.outputs), size, axis_name)
    sources = (*unread(values), *sources)
    return checkpoint_call(*values, *operands, body=program, options=options, sources=sources), flags


def prune(wanted: Sequence[bool], *, body: Program, options: Options, sources: Flags) -> Any:
    """Without what only other results need."""
    program, operands = pruned_body(body, tuple(wanted))
    if all(operands) and all(wanted):
        return None
    return operands, wanted, {"body": program, "options": options, "sources": tuple(chosen(sources, operands))}


@derived
def pruned_body(body: Program, wanted: Flags) -> tuple[Program, Flags]:
    """The body for the wanted results, and which operands it reads."""
    program = without_dead_code(replace(body, outputs=tuple(chosen(body.outputs, wanted))))
    operands = read_inputs(program)
    return replace(program, inputs=tuple(chosen(program.inputs, operands))), operands


# Its parameters: the function's program `body`, which captures nothing; `options`; and `sources`, which operands of a
# backward part something is computed from again.
checkpoint_call = Control(
    "checkpoint",
    evaluate,
    types=lambda *types, body, options, sources: [atom.array_type for atom in body.outputs],
    push=push,
    forward=forward,
    pull=pull,
    batch=batch,
    prune=prune,
    selects=True,
)


def checkpoint(
    function: Callable[..., Any],
    *,
    policy: Policy | None = None,
    budget: int | None = None,
    prevent_cse: bool = True,
    static_argnums: int | Sequence[int] = (),
) -> Callable[..., Any]:
    """`function` with a backward pass that takes less memory, and computes more.

    Of what `function` computes nothing is kept for its backward pass but what `policy` or `budget` allow; the rest is
    computed again there, from the arguments, which are kept. Values and derivatives of any order stay the same, in
    eager mode and compiled; forward mode keeps nothing anyway. Effects (`ft.debug.print`) happen once.

    Args:
        function: of pytrees of arrays. It is staged, so that its branches must not depend on their values.
        policy: says which values are kept, see `ft.checkpoint_policies`: a function ``(primitive, *types, **params)``
            that returns whether. By default none is, or if there is a budget, those that are dearest to compute again.
        budget: how many bytes of values computed in `function` may be kept. Of what fits it is about the cheapest.
        prevent_cse: whether compiled code is kept from taking what is computed again for what was computed before,
            which would keep it. Only inside loops may it be False at no risk.
        static_argnums: which positional arguments are passed as they are: flags, names, functions.

    Returns:
        A function of the same arguments and results.

    Raises:
        BudgetError: what is never computed again takes more than `budget`, when a derivative is taken.
        ConcretizationError: a branch of `function` depends on a value.

    Example:
        >>> import numpy as np, functrans as ft
        >>> def block(x, w):
        ...     for _ in range(3):
        ...         x = np.tanh(x @ w)
        ...     return x
        >>> x, w = np.ones(2), np.eye(2)
        >>> loss = lambda block: lambda w: np.sum(block(block(x, w), w))
        >>> bool(np.all(ft.grad(loss(ft.checkpoint(block)))(w) == ft.grad(loss(block))(w)))
        True

    Sources: Griewank, Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
    differentiation (1992); Chen et al., Training deep nets with sublinear memory cost (2016).
    """
    static = check_options(function, policy, budget, static_argnums)
    options = Options(policies.nothing if policy is None and budget is None else policy, budget, prevent_cse)

    @wraps(with_options, function, policy, budget, prevent_cse, static_argnums)
    def checkpointed(*args: Any, **keywords: Any) -> Any:
        fixed = {place % len(args): args[place] for place in static if -len(args) <= place < len(args)}
        given = tuple(arg for place, arg in enumerate(args) if place not in fixed)

        def call(*given: Any, **keywords: Any) -> Any:
            remaining = iter(given)
            complete = [fixed[place] if place in fixed else next(remaining) for place in range(len(args))]
            return called("checkpoint", function, complete, keywords)

        call.__name__ = function_title(function)
        leaves = [operand(leaf, "checkpoint") for leaf in tree.leaves((given, keywords))]
        body, values = staged_body(call, given, keywords, transform="checkpoint")
        structure, operands = body.output_structure, [*values, *leaves]
        results = checkpoint_call(*operands, body=known(body), options=options, sources=unread(operands))
        return tree.unflatten(structure, results)

    return checkpointed


def with_options(
    function: Callable[..., Any],
    policy: Policy | None,
    budget: int | None,
    prevent_cse: bool,
    static_argnums: int | Sequence[int],
) -> Callable[..., Any]:
    """`checkpoint` with all options by place."""
    return checkpoint(function, policy=policy, budget=budget, prevent_cse=prevent_cse, static_argnums=static_argnums)


def check_options(function: Any, policy: Any, budget: Any, static_argnums: Any) -> list[int]:
    """The numbers of the static arguments, if all options are of their types."""
    title = function_title(function)
    if not callable(function):
        raise TypeError(f"checkpoint: expected a function, got {type(function).__name__}{at_user_line()}")
    if policy is not None and not callable(policy):
        raise TypeError(
            f"checkpoint of {title}: policy must be a function (primitive, *types, **params) -> bool, got {policy!r}"
            f"\n  Remedy: pass one of ft.checkpoint_policies.{at_user_line()}"
        )
    if budget is not None and (isinstance(budget, bool) or not hasattr(budget, "__index__") or budget < 0):
        raise ValueError(
            f"checkpoint of {title}: budget must be a number of bytes, an int of 0 or more, got {budget!r}"
            f"\n  Remedy: pass for example 2**30.{at_user_line()}"
        )
    try:
        return list(map(operator.index, static_argnums if isinstance(static_argnums, (tuple, list)) else (static_argnums,)))
    except TypeError:
        raise TypeError(
            f"checkpoint of {title}: static_argnums must be an int or a sequence of ints, got {static_argnums!r}"
            f"\n  Remedy: pass the positions of the arguments, counted from 0.{at_user_line()}"
        ) from None


def checkpoint_name(x: Any, name: str) -> Any:
    """A tree `x` as it is, with a name that policies of `checkpoint` know its arrays by.

    Example:
        >>> import numpy as np, functrans as ft
        >>> float(ft.checkpoint_name(2.0, "length"))
        2.0
    """
    if not isinstance(name, str):
        raise TypeError(f"checkpoint_name: the name must be a str, got {type(name).__name__}{at_user_line()}")
    return tree.map(lambda leaf: recomputation.checkpoint_name(operand(leaf), name=name), x)
