"""The tape of reverse mode: what the forward pass records and how the backward pass reads it.

The forward pass appends an entry for each operation on a differentiated value: the primitive, what its
partials need, and the places of its operands on the tape. The backward pass reads the tape from its
end and applies one rule per class of primitive, in ordinary operations, so an enclosing transform
differentiates, batches or stages it as any other code. (Speelpenning 1980; Griewank and Walther,
Evaluating Derivatives, 2008, chapter 3.)

Invariant: the tape holds values, not tracers, and only those that the pullbacks read.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
from functrans.core.trace import EVALUATION, NUMPY_ERRORS, Trace, TracedValue, current, explain, running
from functrans.core.tracer import Tracer, drops_derivative, operand
from functrans.core.types import PYTHON_SCALARS, ArrayType, dtype_of, is_differentiable, shape_of, type_of, uniform
from functrans.errors import UnsupportedError, at_user_line, performed_at, user_origin
from functrans.ops.arithmetic import add, masked_multiply, where
from functrans.ops.contraction import adjoints, contract
from functrans.ops.indexing import getitem, index_add, index_set, winners
from functrans.ops.structure import broadcast_to, reshape, unbroadcast

__all__ = ["ReverseTrace", "ReverseTracer", "backward", "fit", "keep_axes", "project", "record", "release", "scale", "zeros"]


class ReverseTracer(Tracer):
    """A value and its place on the tape; place -1 means that it is not differentiated."""

    __slots__ = ("node", "value")
    state = ("node", "value")

    def __init__(self, trace: Trace, value: Any, node: int) -> None:
        self.owner = trace
        self.value = value
        self.node = node
        self.origin = user_origin(3)
        self.cell = None

    @property
    def array_type(self) -> ArrayType:
        return type_of(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        return shape_of(self.value)

    @property
    def dtype(self) -> Any:
        return dtype_of(self.value)

    @property
    def weak(self) -> bool:
        return type(self.value) in PYTHON_SCALARS or getattr(self.value, "weak", False)

    def peek(self, asker: str) -> Any:
        return self.value.peek(asker) if isinstance(self.value, Tracer) else self.value

    def constant(self, asker: str) -> Any:
        if self.node >= 0:
            raise drops_derivative(self, asker)
        return self.value.constant(asker) if isinstance(self.value, Tracer) else self.value


class ReverseTrace(Trace):
    """Evaluates with the parent and records what the backward pass needs.

    A tape entry is ``(primitive, params, saved, places, wanted)``: `places` are the operands' places
    on the tape (-1 if not differentiated), `wanted` their types where the cotangents must be summed,
    projected or cast to them, else None (rules other than elementwise give the right shape). The tape starts with one None per argument.
    """

    __slots__ = ("tape",)

    def __init__(self, transform: str, parent: Trace) -> None:
        super().__init__(transform, parent)
        self.tape: list[Any] = []

    def argument(self, value: Any) -> ReverseTracer:
        """A differentiated argument."""
        self.tape.append(None)
        tracer = ReverseTracer(self, value, len(self.tape) - 1)
        tracer.cell = ARGUMENT
        return tracer

    def as_tracer(self, value: Any) -> ReverseTracer:
        if isinstance(value, ReverseTracer) and value.owner is self:
            return ReverseTracer(self, value.value, value.node)
        return ReverseTracer(self, self.parent.as_tracer(value), -1)

    def process(self, primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        values = []
        places = []
        active = 0
        own = foreign = False
        for position, value in enumerate(operands):
            node = -1
            if type(value) is ReverseTracer and value.owner is self:
                own = True
                node = value.node
                if node >= 0:
                    active |= 1 << position
                value = value.value
            elif isinstance(value, TracedValue):
                self.admit(value)
                foreign = True
            values.append(value)
            places.append(node)
        if active and isinstance(primitive, Composite):
            with running(self):
                return primitive.decomposition(*operands, **params)
        if not own:
            return self.parent.process(primitive, values, params)
        if active and isinstance(primitive, Control):
            with running(self.parent):
                out, residuals = primitive.forward(values, active, **params)
            return self._record_multiple(primitive, params, values, places, active, out, residuals)
        if self.parent is EVALUATION and not foreign:
            try:
                out = primitive.evaluate(*values, **params)
            except NUMPY_ERRORS as error:
                explain(error, primitive, values)
                raise
        else:
            out = self.parent.process(primitive, values, params)
        if primitive.multiple:
            return self._record_multiple(primitive, params, values, places, active, out, None)
        node = -1
        if active:
            node = self._record(primitive, params, values, places, active, out)
        return ReverseTracer(self, out, node)

    def _record(
        self, primitive: Primitive, params: dict[str, Any], values: list[Any], places: list[int], active: int, out: Any
    ) -> int:
        """The place of a new entry; -1 if the result has no derivative."""
        if type(primitive) is Elementwise:
            if not primitive.differentiable:
                return -1
            plan = primitive.plans.get(active) or primitive.plan(active)
            wanted = _wanted(values, places, out)
            values.append(out)
            saved = plan.save(values)
            if type(out) in PYTHON_SCALARS:
                saved = tuple(np.asarray(value)[()] for value in saved)
        else:
            dtype = dtype_of(out)
            saved = SAVERS[type(primitive)](primitive, values, active, out, params) if is_differentiable(dtype) else None
            if saved is None:
                return -1
            wanted = None
            for value, node in zip(values, places):
                if node >= 0 and dtype_of(value) is not dtype:
                    wanted = _types(values, places)
        self.tape.append((primitive, active, saved, places, wanted, params))
        return len(self.tape) - 1

    def _record_multiple(
        self, primitive: Any, params: dict[str, Any], values: list[Any], places: list[int], active: int, out: Any, residuals: Any
    ) -> Any:
        """Several results share one entry; each has a place of its own behind it."""
        if not (active and out):
            return tuple(ReverseTracer(self, part, -1) for part in out)
        start = len(self.tape)
        results = []
        for offset, part in enumerate(out):
            differentiable = is_differentiable(dtype_of(part))
            self.tape.append(None)
            results.append(ReverseTracer(self, part, start + offset if differentiable else -1))
        saved = residuals if isinstance(primitive, Control) else SAVERS[General](primitive, values, active, out, params)
        self.tape.append((primitive, active, (saved, start, len(out)), places, _types(values, places), params))
        return tuple(results)


class LocatedReverseTrace(ReverseTrace):
    """A reverse trace whose pullbacks are performed at the lines of the operations they belong to."""

    __slots__ = ()

    def _record(
        self, primitive: Primitive, params: dict[str, Any], values: list[Any], places: list[int], active: int, out: Any
    ) -> int:
        node = super()._record(primitive, params, values, places, active, out)
        if node >= 0:
            self._locate(primitive, out)
        return node

    def _record_multiple(
        self, primitive: Any, params: dict[str, Any], values: list[Any], places: list[int], active: int, out: Any, residuals: Any
    ) -> Any:
        results = super()._record_multiple(primitive, params, values, places, active, out, residuals)
        if active and out:
            self._locate(primitive, out[0])
        return results

    def _locate(self, primitive: Primitive, out: Any) -> None:
        """Let the newest entry, which made `out`, know the user's line."""
        origin = out.origin if isinstance(out, TracedValue) else user_origin()
        self.tape[-1] = (Located(primitive, origin), *self.tape[-1][1:])


class Located:
    """A primitive in a tape's entry, with the user's line that it was called at."""

    __slots__ = ("multiple", "perform", "primitive", "selects")

    def __init__(self, primitive: Primitive, origin: Any) -> None:
        self.primitive = primitive
        self.multiple, self.selects = primitive.multiple, primitive.selects
        self.perform = performed_at(origin, "backward pass")


# Scalars of one of these classes are of one type.
_SCALARS = frozenset({float, complex, np.float64, np.float32, np.complex128, np.complex64})


def _wanted(values: list[Any], places: list[int], out: Any) -> Any:
    """Types of active operands whose shape or dtype is not the result's; None if there are none."""
    kind = type(out)
    for value, node in zip(values, places):
        if node < 0:
            continue
        if type(value) is kind:
            if kind in _SCALARS:
                continue
            if value.dtype is out.dtype and value.shape == out.shape:
                continue
        return _types(values, places)
    return None


def _types(values: list[Any], places: list[int]) -> tuple[Any, ...]:
    return tuple(type_of(value) if node >= 0 else None for value, node in zip(values, places))


def fit(ct: Any, wanted: ArrayType) -> Any:
    """`ct` summed over broadcast axes and projected to the dtype of its operand."""
    return project(ct if shape_of(ct) == wanted.shape else unbroadcast(ct, wanted.shape), wanted.dtype)


def project(value: Any, dtype: Any) -> Any:
    """`value` cast to `dtype`, without its imaginary part where that is real."""
    if dtype_of(value).kind == "c" and dtype.kind != "c":
        value = np.real(value)
    return value if dtype_of(value) == dtype else value.astype(dtype)


def scale(ct: Any, factor: Any, selected: bool) -> Any:
    """``ct * factor``, with 0 winning where the cotangent comes from a selection."""
    kind = type(factor)
    if kind is int or kind is float:
        return ct if factor == 1 else -ct if factor == -1 else masked_multiply(ct, factor) if selected else ct * factor
    if kind is not np.float64 and dtype_of(factor).kind == "b":
        return where(factor, ct, dtype_of(ct).type(0))
    return masked_multiply(ct, factor) if selected else ct * factor


def _save_types(primitive: Primitive, values: list[Any], active: int, out: Any, params: dict[str, Any]) -> Any:
    return tuple(map(type_of, values))


def _save_reduction(primitive: Any, values: list[Any], active: int, out: Any, params: dict[str, Any]) -> Any:
    if primitive.partial is None:
        return None
    return shape_of(values[0]), values[0] if primitive.needs_x else None, out if primitive.needs_out else None


def _save_contraction(primitive: Primitive, values: list[Any], active: int, out: Any, params: dict[str, Any]) -> Any:
    x, y = values
    return x if active & 2 else None, y if active & 1 else None


def _save_indexing(primitive: Primitive, values: list[Any], active: int, out: Any, params: dict[str, Any]) -> Any:
    data = primitive.differentiated  # type: ignore[attr-defined]
    return tuple(map(type_of, values[:data])), tuple(values[data:])


def _save_general(primitive: Any, values: list[Any], active: int, out: Any, params: dict[str, Any]) -> Any:
    if primitive.pullback is None:
        if primitive.jvp is None:
            return None
        raise UnsupportedError(f"{primitive.name} has no reverse-mode rule{at_user_line()}")
    return values, out


SAVERS: dict[type, Callable[..., Any]] = {
    Structural: _save_types,
    Reduction: _save_reduction,
    Contraction: _save_contraction,
    Indexing: _save_indexing,
    General: _save_general,
}


def pull_elementwise(primitive: Any, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """The cotangent times each partial."""
    cotangents = [None] * len(primitive.partials)
    for place, factor in primitive.plans[active].terms:
        cotangents[place] = scale(ct, factor(saved, params) if callable(factor) else factor, selected)
    return cotangents


def pull_structural(primitive: Any, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """The declared adjoint."""
    cotangents = primitive.adjoint(ct, *saved, **params)
    return cotangents if isinstance(cotangents, tuple) else (cotangents,)


def keep_axes(value: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """A reduced value with its axes back, of length 1."""
    return reshape(value, shape=tuple([1 if axis in axes else n for axis, n in enumerate(shape)])) if shape else value


def pull_reduction(primitive: Any, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """The cotangent repeated along the reduced axes, times the partial."""
    shape, x, out = saved
    axes = params["axes"]
    if primitive.partial == 1:
        return (broadcast_to(ct if len(axes) == len(shape) else keep_axes(ct, shape, axes), shape=shape),)
    ct = keep_axes(ct, shape, axes)
    inputs = {}
    if primitive.needs_x:
        inputs["x"] = x
    if primitive.needs_out:
        inputs["out"] = keep_axes(out, shape, axes)
    return (scale(ct, primitive.partial(**inputs), selected),)


def pull_contraction(primitive: Any, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """The cotangent contracted with the other operand."""
    x, y = saved
    to_x, to_y = adjoints(params["subscripts"])
    return (
        contract(ct, y, subscripts=to_x) if active & 1 else None,
        contract(x, ct, subscripts=to_y) if active & 2 else None,
    )


def zeros(type_: ArrayType) -> Any:
    """Zeros of a type, without memory of their own."""
    return uniform(0, type_.dtype, type_.shape) if type_.shape else type_.dtype.type(0)


def pull_indexing(primitive: Any, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """Gather and scatter-add are each other's adjoint; a scatter sends nothing to what it overwrote."""
    types, arrays = saved
    if primitive is getitem:
        return (index_add(zeros(ArrayType(types[0].shape, dtype_of(ct))), ct, *arrays, **params),)
    to_value = None
    if active & 2:
        to_value = getitem(ct, *arrays, **params)
        if primitive is index_set and any(shape_of(array) for array in arrays):  # only then an element is written twice
            to_value = where(winners(types[0].shape, types[1].shape, arrays, params["index"]), to_value, dtype_of(ct).type(0))
    if primitive is index_add or not active & 1:
        return ct, to_value
    return index_set(ct, zeros(ArrayType(types[1].shape, dtype_of(ct))), *arrays, **params), to_value


def pull_general(primitive: Any, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """The declared pullback."""
    values, out = saved
    if primitive.multiple and not primitive.takes_none:
        ct = tuple(zeros(type_of(value)) if part is None else part for part, value in zip(ct, out))
    return primitive.pullback(ct, values, out, active, **params)


def pull_control(primitive: Any, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """The declared rule."""
    more = {"from_selection": selected} if primitive.knows_selection else {}
    return primitive.pull(ct, saved, active, **more, **params)


def pull_located(located: Located, active: int, saved: Any, params: dict[str, Any], ct: Any, selected: bool) -> Any:
    """The pullback of a primitive at its line, with a look at what it gave."""
    primitive = located.primitive
    trace, rule = current.get(), PULLBACKS[type(primitive)]

    def pull() -> Any:
        cotangents = rule(primitive, active, saved, params, ct, selected)
        trace.look(f"the pullback of {primitive}", (ct, saved), cotangents)
        return cotangents

    return located.perform(pull)


PULLBACKS: dict[type, Callable[..., Any]] = {
    Elementwise: pull_elementwise,
    Structural: pull_structural,
    Reduction: pull_reduction,
    Contraction: pull_contraction,
    Indexing: pull_indexing,
    General: pull_general,
    Control: pull_control,
    Located: pull_located,
}


def backward(
    tape: list[Any], seeds: Sequence[tuple[int, Any]], arguments: int, keep: bool, from_selection: bool = False
) -> list[Any]:
    """The cotangents of the first `arguments` places of the tape, None where nothing flowed.

    `from_selection` says that the seeds may come from one.
    """
    cotangents: list[Any] = [None] * len(tape)
    selected = [False] * len(tape)
    plus = add if current.get().keeps_lines else operator.add
    for node, ct in seeds:
        cotangents[node] = ct if cotangents[node] is None else cotangents[node] + ct
        selected[node] = from_selection
    for position in range(len(tape) - 1, arguments - 1, -1):
        entry = tape[position] if keep else tape.pop()
        if entry is None:
            continue
        primitive, active, saved, places, wanted, params = entry
        if primitive.multiple:
            saved, start, count = saved
            ct = cotangents[start : start + count]
            cotangents[start : start + count] = [None] * count
            if all(part is None for part in ct):
                continue
            flag = any(selected[start : start + count]) or primitive.selects
        else:
            ct = cotangents[position]
            if ct is None:
                continue
            cotangents[position] = None
            flag = selected[position] or primitive.selects
        results = PULLBACKS[type(primitive)](primitive, active, saved, params, ct, flag)
        if primitive.multiple:
            flag = flag or any(program.selects for program in programs_in(params))
        for place, contribution in enumerate(results):
            node = places[place]
            if node < 0 or contribution is None:
                continue
            if wanted is not None:
                contribution = fit(contribution, wanted[place])
            previous = cotangents[node]
            cotangents[node] = contribution if previous is None else plus(previous, contribution)
            if flag:
                selected[node] = True
    return cotangents[:arguments]


def record(
    transform: str, function: Callable[..., Any], leaves: Sequence[Any], call: Callable[[list[Any]], Any]
) -> tuple[ReverseTrace, Any]:
    """Trace ``call(tracers)`` for tracers of `leaves`."""
    parent = current.get()
    trace = (LocatedReverseTrace if parent.keeps_lines else ReverseTrace)(transform, parent)
    tracers = [trace.argument(leaf) for leaf in leaves]
    token = trace.begin()
    try:
        return trace, call(tracers)
    finally:
        trace.end(token)


def release(trace: ReverseTrace, value: Any) -> tuple[Any, int]:
    """What a result of the traced function is outside: its value, and its place on the tape."""
    value = operand(value)
    if isinstance(value, ReverseTracer) and value.owner is trace:
        return value.value, value.node
    if isinstance(value, TracedValue):
        trace.admit(value)
    return value, -1
