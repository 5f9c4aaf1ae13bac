"""Functions with rules of their own: `custom_vjp`, `custom_jvp`, and `stop_gradient`.

Both classes can carry both rules. A call runs the function on plain values and hands each trace the
rule it needs; where only the other one is there, forward mode transposes the reverse rule and
reverse mode transposes the forward one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.calling import called, check_function, function_title
from functrans.core.matching import leaves_like
from functrans.core.primitive import General
from functrans.core.program import Program
from functrans.core.staging import stage
from functrans.core.trace import TracedValue, leaked, root, running
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, describe, dtype_of, is_differentiable, shape_of, type_of
from functrans.errors import DifferentiationError, StructureError, TracerLeakError, UnsupportedError, at_user_line
from functrans.transforms.arguments import Transformed, is_global
from functrans.transforms.batch import vmap
from functrans.transforms.linear import linear_transpose

__all__ = ["custom_jvp", "custom_vjp", "stop_gradient"]


class CustomRule(Transformed):
    """A function and the rules given for it; see `custom_vjp` and `custom_jvp`."""

    def __init__(self, transform: str, function: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        check_function(transform, function)
        functools.update_wrapper(self, function)
        self.transform = transform
        self.function = function
        self.title = function_title(function)
        self.nondiff_argnums = tuple(nondiff_argnums)
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None
        self.push: Callable[..., Any] | None = None
        self.batched: Callable[..., Any] | None = None

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the reverse rule: ``forward(*args) -> (output, residuals)``, ``backward(residuals, ct) -> cotangents``."""
        self.forward, self.backward = forward, backward

    def defjvp(self, push: Callable[..., Any]) -> Callable[..., Any]:
        """Set the forward rule: ``push(primals, tangents) -> (output, tangent)``. Usable as a decorator."""
        self.push = push
        return push

    def defvmap(self, batched: Callable[..., Any]) -> Callable[..., Any]:
        """Set the batching rule: ``batched(size, flags, args) -> output``.

        `flags` says for each argument whether it has the batch axis, in front; each result has it there. Without this
        rule the function and its other rules are batched.
        """
        self.batched = batched
        return batched

    def by_position(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments that rules take, in the order of the function's signature."""
        try:
            bound = inspect.signature(self.function).bind(*args, **keywords)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self.transform} of {self.title}: {error}{at_user_line()}") from error
        if bound.kwargs:
            raise TypeError(
                f"{self.transform} of {self.title}: {', '.join(bound.kwargs)} can be passed by name only, and rules take arguments by "
                f"position\n  Remedy: declare them without the * before.{at_user_line()}"
            )
        return bound.args

    def __repr__(self) -> str:
        return f"<{self.transform} of {self.title}>"

    def __reduce__(self) -> Any:
        return self.__qualname__ if is_global(self) else (object.__new__, (CustomRule,), self.__dict__)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords:
            args = self.by_position(args, keywords)
        if self.push is None and self.backward is None:
            raise UnsupportedError(
                f"{self.transform} of {self.title}: no rule was given\n  Remedy: call defvjp or defjvp first.{at_user_line()}"
            )
        if any(not 0 <= place < len(args) for place in self.nondiff_argnums):
            raise ValueError(
                f"{self.transform} of {self.title}: nondiff_argnums={self.nondiff_argnums} name arguments that are not there: the call "
                f"has {len(args)}\n  Remedy: count positions from 0, and pass these arguments.{at_user_line()}"
            )
        places = [place for place in range(len(args)) if place not in self.nondiff_argnums]
        static = tuple((place, args[place]) for place in self.nondiff_argnums)
        leaves, structure = tree.flatten(tuple(args[place] for place in places))
        call = Call(self, static, structure)
        results = custom_call(*map(operand, leaves), call=call)
        return tree.unflatten(call.output_structure, results)


class Call:
    """One call of a custom function: the parameter of its primitive.

    Attributes:
        has_effect: whether the function does more than give results, as far as it was staged.
        repeatable: whether it gives the same results when it is computed once more, as far as it was staged.
    """

    __slots__ = ("has_effect", "output_structure", "repeatable", "rule", "static", "structure")

    def __init__(self, rule: CustomRule, static: tuple[Any, ...], structure: Any) -> None:
        self.rule = rule
        self.static = static
        self.structure = structure
        self.output_structure: Any = None
        self.has_effect = False
        self.repeatable = True

    def __repr__(self) -> str:
        return self.rule.title

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """The function's arguments from the differentiated leaves."""
        arguments = list(tree.unflatten(self.structure, leaves))
        for place, value in sorted(self.static):
            arguments.insert(place, value)
        return arguments

    def flat(self, result: Any) -> tuple[Any, ...]:
        """The leaves of an output; remembers its structure."""
        leaves, self.output_structure = tree.flatten(result)
        return tuple(map(operand, leaves))

    def run(self, function: Callable[..., Any], leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The flat outputs of `function`, which must depend on traced values through its arguments only."""
        return self.flat(called(self.rule.transform, function, self.arguments(leaves)))

    def pair(self, name: str, parts: str, rule: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, Any]:
        """What a rule returns, if that is a pair."""
        result = called(self.rule.transform, rule, args)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise StructureError(
                f"{self.rule.transform} of {self.rule.title}: its {name} rule must return a pair ({parts}), got {describe(result)}"
                f"\n  Remedy: return both.{at_user_line()}"
            )
        return result[0], result[1]

    def returned(self, name: str, got: Any, model: str, structure: Any, likes: Sequence[Any]) -> list[Any]:
        """The leaves of what a rule returned, if they match in structure and shape."""
        what = "tangent per output" if name == "jvp" else "cotangent per argument, in a tuple"
        title = f"{self.rule.transform} of {self.rule.title}"
        return leaves_like(title, f"what its {name} rule returned", got, model, structure, likes, f"return one {what}")

    def program(self, types: Sequence[ArrayType]) -> Program:
        """The function as a program of arguments of these types."""
        return stage(lambda *leaves: self.run(self.rule.function, leaves), tuple(types), transform=self.rule.transform)


def evaluate(*leaves: Any, call: Call) -> tuple[Any, ...]:
    """The function itself, run as at the root, where a captured tracer is an error."""
    try:
        with running(root()):
            return call.run(call.rule.function, leaves)
    except TracerLeakError as error:
        raise captured(call, error) from error


def captured(call: Call, error: Exception) -> TracerLeakError:
    """The error for a rule or function that closes over a traced value."""
    return TracerLeakError(
        f"{call.rule.transform} of {call.rule.title}: the function or its rule closes over a traced value, whose derivative would "
        f"be lost\n  Remedy: pass it as an argument.\n{error}"
    )


def result_types(*types: ArrayType, call: Call) -> tuple[ArrayType, ...]:
    """The types of the outputs, by staging the function."""
    program = call.program(types)
    call.has_effect, call.repeatable = program.has_effect, program.repeatable
    for value in program.values:
        if isinstance(value, TracedValue):
            raise captured(call, leaked(value))
    return tuple(atom.array_type for atom in program.outputs)


def push_call(primals: Any, tangents: Any, out: Any, active: int, call: Call) -> Any:
    """The forward rule, or the transpose of the reverse rule."""
    rule = call.rule
    full = [np.zeros(shape_of(p), dtype_of(p))[()] if t is None else t for p, t in zip(primals, tangents)]
    out_types = [type_of(value) for value in out]
    if rule.push is not None:
        primal_args = tree.unflatten(call.structure, primals)
        tangent_args = tree.unflatten(call.structure, full)
        statics = [value for _, value in sorted(call.static)]
        _, tangent = call.pair("jvp", "output, tangent", rule.push, [*statics, primal_args, tangent_args])
        return call.returned("jvp", tangent, "the output", call.output_structure, out_types)

    def pull(*cts: Any) -> Any:
        return tuple(pull_leaves(call, primals, cts))

    try:
        return linear_transpose(pull, *[ArrayType(type_.shape, type_.dtype) for type_ in out_types])(tuple(full))
    except DifferentiationError as error:
        raise DifferentiationError(
            f"{rule.transform} of {rule.title}: it has no forward rule, and its reverse rule cannot be transposed for forward mode"
            f"\n  Remedy: give it a forward rule with defjvp.\n{error}"
        ) from error


def pull_call(ct: Any, operands: Any, out: Any, active: int, call: Call) -> Any:
    """The reverse rule, or the transpose of the forward rule."""
    rule = call.rule
    if rule.backward is not None:
        return pull_leaves(call, operands, ct)
    types = [ArrayType(shape_of(value), dtype_of(value)) for value in operands]
    active_places = [i for i, value in enumerate(operands) if active >> i & 1 and is_differentiable(dtype_of(value))]

    def push(*tangents: Any) -> Any:
        full: list[Any] = [None] * len(operands)
        for place, tangent in zip(active_places, tangents):
            full[place] = tangent
        return tuple(push_call(operands, full, out, active, call))

    cotangents = linear_transpose(push, *[types[i] for i in active_places])(tuple(ct))
    results: list[Any] = [None] * len(operands)
    for place, cotangent in zip(active_places, cotangents):
        results[place] = cotangent
    return results


def pull_leaves(call: Call, operands: Sequence[Any], cts: Sequence[Any]) -> list[Any]:
    """The cotangents of the operands by the reverse rule."""
    rule = call.rule
    assert rule.forward is not None and rule.backward is not None
    statics = [value for _, value in sorted(call.static)]
    try:
        _, residuals = call.pair("forward", "output, residuals", rule.forward, call.arguments(operands))
        result = called(rule.transform, rule.backward, [*statics, residuals, tree.unflatten(call.output_structure, cts)])
    except TracerLeakError as error:
        raise captured(call, error) from error
    if not isinstance(result, tuple) and call.structure.num_children == 1:
        result = (result,)
    return call.returned("vjp", result, "the tuple of arguments", call.structure, operands)


def batch_call(operands: Any, batched: Any, size: int, call: Call) -> Any:
    """What the batching rule gives, or a call of the batched function, whose rules are the batched rules."""
    if call.rule.batched is not None:
        return call.flat(call.rule.batched(size, call.arguments(batched), call.arguments(operands)))
    axes = [0 if own else None for own in batched]
    rule = CustomRule(call.rule.transform, call.rule.function)
    rule.function = vmap(lambda *leaves: call.run(call.rule.function, leaves), tuple(axes), axis_size=size)

    def push(primals: Any, tangents: Any) -> Any:
        def one(primals: Any, tangents: Any) -> Any:
            out = call.run(call.rule.function, primals)
            return out, tuple(push_call(primals, tangents, out, -1, call))

        return vmap(one, (tuple(axes), 0), axis_size=size)(tuple(primals), _spread(tangents, batched, size))

    def backward(residuals: Any, cts: Any) -> Any:
        def one(primals: Any, cts: Any) -> Any:
            return tuple(pull_leaves(call, primals, cts))

        cotangents = vmap(one, (tuple(axes), 0), axis_size=size)(residuals, cts)
        return tuple(ct if own else np.sum(ct, axis=0) for ct, own in zip(cotangents, batched))

    if call.rule.push is not None:
        rule.push = push
    if call.rule.backward is not None:
        rule.forward = lambda *leaves: (None, leaves)
        rule.backward = backward
    return rule_call(rule, operands)


def _spread(tangents: Any, batched: Any, size: int) -> tuple[Any, ...]:
    return tuple(t if own else np.broadcast_to(t, (size, *shape_of(t))) for t, own in zip(tangents, batched))


def rule_call(rule: CustomRule, leaves: Sequence[Any]) -> tuple[Any, ...]:
    """A call on flat arguments that returns flat results."""
    structure = tree.structure(tuple(leaves))
    call = Call(rule, (), structure)
    return custom_call(*leaves, call=call)  # type: ignore[no-any-return]


custom_call = General(
    "custom_call",
    evaluate,
    types=result_types,
    jvp=push_call,
    pullback=pull_call,
    batch=batch_call,
    multiple=True,
    runs_user_code=True,
)


def custom_vjp(function: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> CustomRule:
    """`function` with a reverse-mode rule of its own, set with ``defvjp``; ``defjvp`` may be set as well.

    Args:
        function: of positional arguments; must not close over traced values.
        nondiff_argnums: arguments that are passed to the rules as they are, first.

    Returns:
        A callable with the method ``defvjp(forward, backward)``: ``forward(*args)`` returns
        ``(output, residuals)`` and ``backward(residuals, ct)`` a tuple, one cotangent per argument.
        Forward mode transposes the rule where it has none of its own.

    Raises:
        StructureError: a rule returns the wrong structure or shapes.
        TracerLeakError: the function or a rule closes over a traced value.

    Example:
        >>> import numpy as np, functrans as ft
        >>> @ft.custom_vjp
        ... def clipped(x):
        ...     return x
        >>> clipped.defvjp(lambda x: (x, None), lambda residuals, ct: (np.clip(ct, -1.0, 1.0),))
        >>> float(ft.grad(lambda x: clipped(x) * 5.0)(2.0))
        1.0
    """
    return CustomRule("custom_vjp", function, nondiff_argnums)


def custom_jvp(function: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> CustomRule:
    """`function` with a forward-mode rule of its own, set with ``defjvp``; ``defvjp`` may be set as well.

    Args:
        function: of positional arguments; must not close over traced values.
        nondiff_argnums: arguments that are passed to the rules as they are, first.

    Returns:
        A callable with the decorator ``defjvp``: the rule takes ``(primals, tangents)`` and returns
        ``(output, tangent)``, linear in the tangents. Reverse mode transposes it.

    Raises:
        StructureError: a rule returns the wrong structure or shapes.
        TracerLeakError: the function or a rule closes over a traced value.

    Example:
        >>> import numpy as np, functrans as ft
        >>> @ft.custom_jvp
        ... def log1pexp(x):
        ...     return np.log1p(np.exp(x))
        >>> @log1pexp.defjvp
        ... def rule(primals, tangents):
        ...     (x,), (t,) = primals, tangents
        ...     return log1pexp(x), t * (1 - 1 / (1 + np.exp(x)))
        >>> float(ft.grad(log1pexp)(100.0))
        1.0
    """
    return CustomRule("custom_jvp", function, nondiff_argnums)


gradient_stop: General = General(
    "stop_gradient",
    lambda x: x,
    types=lambda x: x,
    jvp=None,
    pullback=None,
    batch=lambda operands, batched, size: gradient_stop(operands[0]),
)


def stop_gradient(x: Any) -> Any:
    """A tree `x` as a constant: the value passes, the derivative does not.

    Example:
        >>> import functrans as ft
        >>> float(ft.grad(lambda x: x * ft.stop_gradient(x))(3.0))
        3.0
    """
    return tree.map(lambda leaf: gradient_stop(operand(leaf)), x)
