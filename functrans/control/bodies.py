"""Bodies of loops, branches and calls: functions staged as programs that capture nothing, and programs made of them.

What a function closes over becomes the first operands of its program, so that an enclosing transform sees it there.
Programs made for derivatives and batches are kept with the program they are made of, by the mask of active operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple, TypeVar

from functrans.core.primitive import Control, Elementwise
from functrans.core.program import Equation, Program, Variable, pruned, silent_params, without_dead_code
from functrans.core.staging import stage
from functrans.core.trace import root, running
from functrans.core.types import ArrayType, dtype_of, is_differentiable, shape_of, type_of
from functrans.numpy.structure import astype
from functrans.ops.structure import broadcast_to
from functrans.transforms.batch import released_batch, traced_batch
from functrans.transforms.custom import gradient_stop
from functrans.transforms.forward import pushed, released_pair
from functrans.transforms.tape import backward, fit, record, release, zeros

__all__ = [
    "Body",
    "Flags",
    "batched_body",
    "chosen",
    "closed",
    "derived",
    "fixed_point",
    "joint_body",
    "pushed_body",
    "reached",
    "read_inputs",
    "restaged",
    "separated",
    "spread",
    "staged_body",
    "strong",
    "strong_type",
    "tangents_apart",
]

Flags = tuple[bool, ...]

# What is kept of a program, at the most.
MOST_DERIVED = 256

Made = TypeVar("Made")


def staged_body(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: dict[str, Any] | None = None,
    *,
    transform: str,
    hoists: bool = True,
) -> tuple[Program, tuple[Any, ...]]:
    """The program of ``function(*args, **keywords)`` without captured values, and the values: its first operands.

    Args:
        args, keywords: pytrees of arrays, tracers or `ArrayType`.
        transform: for messages.
        hoists: whether what depends on captured values only is computed outside, once; not for what may never run.
    """
    return closed(without_dead_code(stage(function, args, keywords, transform=transform, hoists=hoists)))


def closed(program: Program) -> tuple[Program, tuple[Any, ...]]:
    """A program with what it captures as its first inputs, and these values."""
    return replace(program, inputs=(*program.captured, *program.inputs), captured=(), values=()), program.values


def derived(make: Callable[..., Made]) -> Callable[..., Made]:
    """`make` of a program and hashable arguments, kept with the program: what is made may well refer to it.

    The oldest is dropped when there are too many, as batches of ever other sizes make.
    """

    @wraps(make)
    def made(program: Program, *arguments: Any) -> Made:
        results: dict[Any, tuple[Made]] = program.__dict__.setdefault("_derived", {})
        key = made, *arguments
        found = results.get(key)
        if found is None:
            found = results[key] = (make(program, *arguments),)
            if len(results) > MOST_DERIVED:
                results.pop(list(results)[0], None)
        return found[0]

    return made


def strong(value: Any) -> Any:
    """`value` with a dtype that it keeps when it meets arrays of others."""
    return astype(value, dtype_of(value)) if type_of(value).weak else value


def strong_type(type_: ArrayType) -> ArrayType:
    """The type of what belongs to a value of `type_`: a slice of its stack, its tangent or its cotangent."""
    return ArrayType(type_.shape, type_.dtype)


def reached(program: Program, active: Sequence[bool]) -> Flags:
    """Which outputs depend on the active inputs, by a path of floating and complex values."""
    found = {variable for variable, flag in zip(program.inputs, active) if flag}
    for equation in program.equations:
        if not found.isdisjoint(equation.inputs):
            found.update(chosen(equation.outputs, reached_results(equation, [atom in found for atom in equation.inputs])))
    return tuple(atom in found for atom in program.outputs)


def reached_results(equation: Equation, active: Sequence[bool]) -> Sequence[bool]:
    """Which results of an equation have a derivative with respect to the active operands."""
    primitive = equation.primitive
    if isinstance(primitive, Control) and primitive.reach is not None:
        return primitive.reach(active, **equation.params)  # type: ignore[no-any-return]
    constant = primitive is gradient_stop or (isinstance(primitive, Elementwise) and not primitive.differentiable)
    return [not constant and is_differentiable(variable.array_type.dtype) for variable in equation.outputs]


def fixed_point(step: Callable[[Flags], Sequence[bool]], start: Sequence[bool]) -> Flags:
    """The least flags that include `start` and what `step` makes of them: which carries of a loop something spreads to."""
    flags = tuple(start)
    while True:
        new = tuple(old or more for old, more in zip(flags, step(flags), strict=True))
        if new == flags:
            return flags
        flags = new


def chosen(values: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    """The values whose flags are set."""
    return [value for value, flag in zip(values, flags, strict=True) if flag]


def spread(values: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    """The values at the places whose flags are set, and None at the others: undoes `chosen`."""
    remaining = iter(values)
    return [next(remaining) if flag else None for flag in flags]


class Body(NamedTuple):
    """A body made of another one.

    Attributes:
        program: the arrays it needs are its first inputs.
        values: these arrays, such as index arrays; plain ones.
        flags: which of its results there are, see the function that made it.
    """

    program: Program
    values: tuple[Any, ...]
    flags: Flags


# Whether loops staged now are to have their tangents in loops of their own, apart from the values.
tangents_apart: ContextVar[bool] = ContextVar("functrans_tangents_apart", default=False)


def restaged(
    name: str, function: Callable[..., Any], flags: list[bool], *types: Sequence[ArrayType], apart: bool = False
) -> Body:
    """The program of a function of lists of values, which sets `flags`; it is the same under all transforms."""
    function.__name__ = name
    token = tangents_apart.set(apart)
    try:
        with running(root()):
            program = without_dead_code(stage(function, tuple(map(list, types)), transform=name))
    finally:
        tangents_apart.reset(token)
    return Body(*closed(program), tuple(flags))


def types_of(program: Program, flags: Sequence[bool]) -> list[ArrayType]:
    """The types of tangents or cotangents of some inputs."""
    return [strong_type(variable.array_type) for variable in chosen(program.inputs, flags)]


@derived
def pushed_body(program: Program, active: Flags, always: Flags, from_selection: bool = False, apart: bool = False) -> Body:
    """(inputs, tangents of the active ones) -> (outputs, tangents of those with one), and which outputs have one.

    Those that `always` have one get zeros where they depend on no tangent. `from_selection` says that tangents may be of
    values that were not chosen. `apart`: loops within are to compute values without tangents, see `tangents_apart`.
    """
    flags: list[bool] = []

    def function(inputs: list[Any], tangents: list[Any]) -> Any:
        trace, results = pushed(list(zip(inputs, spread(tangents, active))), program.evaluate, from_selection)
        released = [released_pair(trace, result) for result in results]
        flags[:] = [tangent is not None or own for (_, tangent), own in zip(released, always)]
        tangents = [zeros(type_of(value)) if tangent is None else tangent for value, tangent in released]
        return [value for value, _ in released], chosen(tangents, flags)

    types = [variable.array_type for variable in program.inputs]
    return restaged(program.name, function, flags, types, types_of(program, active), apart=apart)


@derived
def joint_body(program: Program, active: Flags, live: Flags, always: Flags, from_selection: bool = False) -> Body:
    """(inputs, cotangents of the live outputs) -> (outputs, cotangents of active inputs with one), and which have one.

    Those that `always` have one get zeros where no cotangent flows to them. `from_selection` says that cotangents may be
    of values that were not chosen.
    """
    flags: list[bool] = []

    def function(inputs: list[Any], cotangents: list[Any]) -> Any:
        places = [place for place, flag in enumerate(active) if flag]

        def call(tracers: list[Any]) -> Any:
            complete = list(inputs)
            for place, tracer in zip(places, tracers):
                complete[place] = tracer
            return program.evaluate(complete)

        trace, results = record("vjp", call, chosen(inputs, active), call)
        released = [release(trace, result) for result in results]
        seeds = [(node, ct) for (_, node), ct in zip(released, spread(cotangents, live)) if node >= 0 and ct is not None]
        flowed = iter(backward(trace.tape, seeds, len(places), keep=False, from_selection=from_selection))
        found = [next(flowed) if flag else None for flag in active]
        flags[:] = [ct is not None or own for ct, own in zip(found, always)]
        types = [strong_type(type_of(value)) for value in inputs]
        found = [zeros(type_) if ct is None else fit(ct, type_) for ct, type_ in zip(found, types)]
        return [value for value, _ in released], chosen(found, flags)

    types = [variable.array_type for variable in program.inputs]
    ct_types = [strong_type(atom.array_type) for atom in chosen(program.outputs, live)]
    return restaged(program.name, function, flags, types, ct_types)


@derived
def batched_body(program: Program, batched: Flags, always: Flags, size: int, axis_name: Any) -> Body:
    """The program of batches, in front, for the inputs that are batched, and which outputs are batched.

    Those that `always` are get copies for the items.
    """
    flags: list[bool] = []

    def function(inputs: list[Any]) -> Any:
        trace, results = traced_batch(inputs, batched, size, axis_name, program.evaluate)
        released = [released_batch(trace, result) for result in results]
        flags[:] = [flag or own for (_, flag), own in zip(released, always)]
        return [
            broadcast_to(value, shape=(size, *shape_of(value))) if own and not flag else value
            for (value, flag), own in zip(released, always)
        ]

    types = [
        ArrayType((size, *variable.array_type.shape), variable.array_type.dtype) if own else variable.array_type
        for variable, own in zip(program.inputs, batched)
    ]
    return restaged(program.name, function, flags, types)


def read_inputs(program: Program) -> Flags:
    """Which inputs a program reads."""
    read = {atom for equation in program.equations for atom in equation.inputs} | set(program.outputs)
    return tuple(variable in read for variable in program.inputs)


def separated(program: Program, known: int, results: int) -> Program:
    """`program` with its branches and calls divided so that the first `results` outputs depend on known inputs only.

    An equation some of whose results depend on inputs from number `known` on is there twice, for these and for the others;
    effects are in one of them.
    """
    unknown: set[Any] = set(program.inputs[known:])
    equations: list[Equation] = []
    for equation in program.equations:
        if unknown.isdisjoint(equation.inputs):
            equations.append(equation)
            continue
        if isinstance(equation.primitive, Control):
            ahead, equation = divided(equation, unknown)
            equations += [ahead] if ahead is not None else []
        equations.append(equation)
        unknown.update(equation.outputs)
    return without_dead_code(replace(program, equations=tuple(equations)))


def divided(equation: Equation, unknown: set[Any]) -> tuple[Equation | None, Equation]:
    """The equation for the results that do not depend on unknown operands, if there are any, and for the others."""
    quiet = replace(equation, params=silent_params(equation.params))
    known = {variable for variable in equation.outputs if unknown.isdisjoint(pruned(quiet, {variable}).inputs)}
    if not known:
        return None, equation
    ahead, behind = pruned(equation, known), quiet
    if not unknown.isdisjoint(ahead.inputs):
        ahead, behind = pruned(quiet, known), equation
    behind = pruned(behind, set(equation.outputs) - known)
    outputs = tuple(Variable(item.array_type) if item in known else item for item in behind.outputs)
    return ahead, replace(behind, outputs=outputs)
