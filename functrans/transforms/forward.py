"""Forward mode: `jvp`.

Each tracer carries a value and its tangent, and a rule per class of primitive moves both on. A
tangent of None means zero. (Wengert 1964; Griewank and Walther, Evaluating Derivatives, 2008, 3.1.)

Invariant: a tangent has the shape and dtype of its value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.calling import called, function_title
from functrans.core.matching import auxiliary_pair, leaves_like
from functrans.core.mutation import ARGUMENT
from functrans.core.primitive import (
    Composite,
    Contraction,
    Control,
    Elementwise,
    General,
    Indexing,
    Primitive,
    Reduction,
    Structural,
)
from functrans.core.program import programs_in
from functrans.core.trace import Trace, TracedValue, current, running
from functrans.core.tracer import Tracer, drops_derivative, operand
from functrans.core.types import PYTHON_SCALARS, ArrayType, describe, dtype_of, is_differentiable, shape_of, type_of
from functrans.errors import DifferentiationError, StructureError, UnsupportedError, at_user_line, performed_at, user_origin
from functrans.numpy.structure import broadcast_values
from functrans.ops.contraction import contract
from functrans.transforms.tape import keep_axes, project, scale, zeros

__all__ = ["in_dtype", "jvp", "pushed", "pushforward", "released_pair"]


class ForwardTracer(Tracer):
    """A value, its tangent (None for zero), and whether the tangent may stem from an infinite slope."""

    __slots__ = ("selected", "tangent", "value")
    state = ("selected", "tangent", "value")

    def __init__(self, trace: Trace, value: Any, tangent: Any, selected: bool) -> None:
        self.owner = trace
        self.value = value
        self.tangent = tangent
        self.selected = selected
        self.origin = user_origin(3)
        self.cell = None

    @property
    def array_type(self) -> ArrayType:
        return type_of(self.value)

    def peek(self, asker: str) -> Any:
        return self.value.peek(asker) if isinstance(self.value, Tracer) else self.value

    def constant(self, asker: str) -> Any:
        if self.tangent is not None:
            raise drops_derivative(self, asker)
        return self.value.constant(asker) if isinstance(self.value, Tracer) else self.value


class ForwardTrace(Trace):
    """Evaluates values with the parent, and tangents beside them."""

    __slots__ = ("rules",)

    def __init__(self, transform: str, parent: Trace) -> None:
        super().__init__(transform, parent)
        self.rules = LOCATED_RULES if self.keeps_lines else RULES

    def argument(self, value: Any, tangent: Any, selected: bool = False) -> ForwardTracer:
        """A tracer of an argument."""
        tracer = ForwardTracer(self, value, tangent, selected and tangent is not None)
        tracer.cell = ARGUMENT
        return tracer

    def as_tracer(self, value: Any) -> ForwardTracer:
        if isinstance(value, ForwardTracer) and value.owner is self:
            return ForwardTracer(self, value.value, value.tangent, value.selected)
        return ForwardTracer(self, self.parent.as_tracer(value), None, False)

    def process(self, primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        values, tangents = [], []
        active = 0
        own = False
        flag = primitive.selects
        for position, value in enumerate(operands):
            tangent = None
            if type(value) is ForwardTracer and value.owner is self:
                own = True
                tangent = value.tangent
                if tangent is not None:
                    active |= 1 << position
                    flag = flag or value.selected
                value = value.value
            elif isinstance(value, TracedValue):
                self.admit(value)
            values.append(value)
            tangents.append(tangent)
        if active and isinstance(primitive, Composite):
            with running(self):
                return primitive.decomposition(*operands, **params)
        if active and isinstance(primitive, Control):
            more = {"from_selection": flag} if primitive.knows_selection else {}
            with running(self.parent):
                results, parts = primitive.push(values, tangents, **more, **params)
            flag = flag or any(program.selects for program in programs_in(params))
            return tuple(ForwardTracer(self, value, part, flag and part is not None) for value, part in zip(results, parts))
        out = self.parent.process(primitive, values, params)
        if not own:
            return out
        if primitive.multiple:
            parts = [None] * len(out)
            if active and out:
                with running(self.parent), np.errstate(all="ignore"):
                    parts = list(self.rules[General](primitive, values, tangents, active, out, params, flag))
            return tuple(ForwardTracer(self, value, part, flag) for value, part in zip(out, parts))
        tangent = None
        if active and is_differentiable(dtype_of(out)):
            with running(self.parent), np.errstate(all="ignore"):
                tangent = self.rules[type(primitive)](primitive, values, tangents, active, out, params, flag)
                if tangent is not None:
                    tangent = project(broadcast_values(tangent, shape_of(out)), dtype_of(out))
        return ForwardTracer(self, out, tangent, flag and tangent is not None)


def push_elementwise(
    primitive: Any, values: list[Any], tangents: list[Any], active: int, out: Any, params: dict[str, Any], flag: bool
) -> Any:
    """The sum of the partials times the tangents."""
    plan = primitive.plan(active)
    saved = plan.save([*values, out])
    if type(out) in PYTHON_SCALARS:
        saved = tuple(np.asarray(value)[()] for value in saved)
    total = None
    for position, factor in plan.terms:
        if callable(factor):
            factor = factor(saved, params)
        term = scale(tangents[position], factor, flag)
        total = term if total is None else total + term
    return total


def filled(values: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """Tangents with zeros in place of None."""
    return [zeros(type_of(value)) if tangent is None else tangent for value, tangent in zip(values, tangents)]


def push_structural(
    primitive: Any, values: list[Any], tangents: list[Any], active: int, out: Any, params: dict[str, Any], flag: bool
) -> Any:
    """The function itself, which is linear."""
    return primitive(*filled(values, tangents), **params)


def push_reduction(
    primitive: Any, values: list[Any], tangents: list[Any], active: int, out: Any, params: dict[str, Any], flag: bool
) -> Any:
    """The sum along the axes of the partial times the tangent."""
    if primitive.partial is None:
        return None
    (x,), axes = values, params["axes"]
    inputs = {}
    if primitive.needs_x:
        inputs["x"] = x
    if primitive.needs_out:
        inputs["out"] = keep_axes(out, shape_of(x), axes)
    factor = primitive.partial(**inputs) if callable(primitive.partial) else primitive.partial
    return np.sum(scale(tangents[0], factor, flag), axis=axes)


def push_contraction(
    primitive: Any, values: list[Any], tangents: list[Any], active: int, out: Any, params: dict[str, Any], flag: bool
) -> Any:
    """The product rule."""
    (x, y), (x_tangent, y_tangent) = values, tangents
    left = contract(x_tangent, y, **params) if active & 1 else None
    right = contract(x, y_tangent, **params) if active & 2 else None
    return left if right is None else right if left is None else left + right


def push_indexing(
    primitive: Any, values: list[Any], tangents: list[Any], active: int, out: Any, params: dict[str, Any], flag: bool
) -> Any:
    """The same read or write, of tangents."""
    count = primitive.differentiated
    return primitive(*filled(values[:count], tangents[:count]), *values[count:], **params)


def push_general(
    primitive: Any, values: list[Any], tangents: list[Any], active: int, out: Any, params: dict[str, Any], flag: bool
) -> Any:
    """The declared rule."""
    if primitive.jvp is None:
        if primitive.pullback is None:
            return None
        raise UnsupportedError(f"{primitive.name} has no forward-mode rule{at_user_line()}")
    return primitive.jvp(values, tangents, out, active, **params)


RULES: dict[type, Callable[..., Any]] = {
    Elementwise: push_elementwise,
    Structural: push_structural,
    Reduction: push_reduction,
    Contraction: push_contraction,
    Indexing: push_indexing,
    General: push_general,
}


def located(rule: Callable[..., Any]) -> Callable[..., Any]:
    """`rule` performed as the tangent of the user's line, with a look at what it gave."""

    def push(
        primitive: Any, values: list[Any], tangents: list[Any], active: int, out: Any, params: dict[str, Any], flag: bool
    ) -> Any:
        trace = current.get()

        def perform() -> Any:
            result = rule(primitive, values, tangents, active, out, params, flag)
            trace.look(f"the tangent of {primitive}", (values, tangents, out), result)
            return result

        return performed_at(user_origin(), "tangent")(perform)

    return push


LOCATED_RULES = {kind: located(rule) for kind, rule in RULES.items()}


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """The value of `function` and its directional derivative.

    Args:
        function: of positional arguments, each a pytree of arrays.
        primals: the arguments, as a tuple or list.
        tangents: the direction: trees like the arguments, with the same shapes.
        has_aux: whether `function` returns ``(output, auxiliary)``.

    Returns:
        ``(output, tangent)``, and the auxiliary data third with `has_aux`.

    Raises:
        StructureError: a tangent does not match its argument.
        DifferentiationError: an argument is not floating or complex.

    Example:
        >>> import numpy as np, functrans as ft
        >>> value, tangent = ft.jvp(lambda x: x**3, (2.0,), (1.0,))
        >>> float(value), float(tangent)
        (8.0, 12.0)

    Source: Griewank and Walther, Evaluating Derivatives (2008), section 3.1.
    """
    return pushforward("jvp", function, primals, tangents, has_aux)


def pushforward(
    transform: str, function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> Any:
    """What `jvp` returns, computed in the name of `transform`."""
    title = f"{transform} of {function_title(function)}"
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise StructureError(
            f"{title}: primals and tangents must be tuples or lists, with one entry for each argument, got {describe(primals)} and "
            f"{describe(tangents)}\n  Remedy: write (x,) for one argument.{at_user_line()}"
        )
    leaves, structure = tree.flatten(tuple(primals))
    leaves = [_checked_primal(transform, title, primals, place, leaf) for place, leaf in enumerate(leaves)]
    remedy = "pass a tangent for each argument, of its structure and shapes"
    tangent_leaves = leaves_like(title, "the tuple of tangents", tuple(tangents), "that of the primals", structure, leaves, remedy)
    pairs = [(leaf, in_dtype(tangent, dtype_of(leaf))) for leaf, tangent in zip(leaves, tangent_leaves)]
    trace, result = pushed(pairs, lambda tracers: called(transform, function, tree.unflatten(structure, tracers)), name=transform)
    aux: Any = None
    if has_aux:
        result, aux = auxiliary_pair(title, result)
        aux = tree.map(lambda leaf: released_pair(trace, leaf)[0] if isinstance(leaf, TracedValue) else leaf, aux)
    out_leaves, out_structure = tree.flatten(result)
    released = [released_pair(trace, leaf) for leaf in out_leaves]
    output = tree.unflatten(out_structure, [value for value, _ in released])
    tangent = tree.unflatten(
        out_structure,
        [np.zeros(shape_of(v), dtype_of(v))[()] if t is None else t for v, t in released],
    )
    return (output, tangent, aux) if has_aux else (output, tangent)


def pushed(
    pairs: Sequence[tuple[Any, Any]], call: Callable[[list[Any]], Any], selected: bool = False, name: str = "jvp"
) -> tuple[ForwardTrace, Any]:
    """Trace ``call(tracers)`` for tracers of pairs of a value and its tangent, which may be None, or come from a selection."""
    trace = ForwardTrace(name, current.get())
    tracers = [trace.argument(value, tangent, selected) for value, tangent in pairs]
    token = trace.begin()
    try:
        return trace, call(tracers)
    finally:
        trace.end(token)


def _checked_primal(transform: str, title: str, primals: Sequence[Any], place: int, leaf: Any) -> Any:
    """`leaf`, if it can be differentiated with respect to."""
    leaf = operand(leaf, transform)
    if is_differentiable(dtype_of(leaf)):
        return leaf
    path = tree.paths(tuple(primals))[place]
    raise DifferentiationError(
        f"{title}: an argument{path and f' leaf {path}'} is {describe(leaf)}, and only floating and complex arrays have derivatives"
        f"\n  Remedy: pass a float, or close over the argument.{at_user_line()}"
    )


def in_dtype(tangent: Any, dtype: np.dtype[Any]) -> Any:
    """A tangent in the dtype of its argument."""
    return project(dtype.type(tangent) if type(tangent) in PYTHON_SCALARS else tangent, dtype)


def released_pair(trace: ForwardTrace, value: Any) -> tuple[Any, Any]:
    """What a result of the traced function is outside: its value, and its tangent or None."""
    value = operand(value)
    if isinstance(value, ForwardTracer) and value.owner is trace:
        return value.value, value.tangent
    if isinstance(value, TracedValue):
        trace.admit(value)
    return value, None
