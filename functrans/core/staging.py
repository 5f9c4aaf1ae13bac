"""Staging: running a function on types to record the `Program` it performs.

Invariant: a program holds no array. Arrays the function closes over, and tracers of enclosing
transforms, become captured inputs, bound by reference; only Python and NumPy scalars are literals.
What does not depend on a staged value is not recorded but computed by the parent, once; unless it has an
effect, which belongs to the function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.config import settings
from functrans.core.calling import called, function_title, returned
from functrans.core.mutation import ARGUMENT
from functrans.core.primitive import PRIMITIVES, Control, Primitive
from functrans.core.program import Atom, Equation, Literal, Program, Variable, check, has_effect, silent_params
from functrans.core.trace import NUMPY_ERRORS, Trace, TracedValue, current, explain
from functrans.core.tracer import Tracer, not_concrete, operand
from functrans.core.types import PYTHON_SCALARS, ArrayType, type_of, uniform_element
from functrans.errors import GlobalRandomError, describe_origin, user_origin

__all__ = ["StagedTracer", "StagingTrace", "stage"]


class StagedTracer(Tracer):
    """A variable of the program being recorded."""

    __slots__ = ("variable",)
    state = ("variable",)

    def __init__(self, trace: Trace, variable: Variable) -> None:
        self.owner = trace
        self.variable = variable
        self.origin = user_origin(3)
        self.cell = None

    @property
    def array_type(self) -> ArrayType:
        return self.variable.array_type

    def peek(self, asker: str) -> Any:
        raise not_concrete(
            self,
            asker,
            "which has no value while the function is staged",
            "choose between values with np.where and between computations with ft.cond, and repeat them with ft.while_loop; keep "
            "other Python branches outside the staged function, or make what they depend on a static argument",
        )

    constant = peek

    def known(self) -> str:
        return "no value yet, see ft.debug.print"


class StagingTrace(Trace):
    """Records the operations on its tracers as equations, and all that have an effect.

    Attributes:
        is_partial: whether the function is performed now, and only what depends on the staged values is recorded:
            then other effects take place now as well.
        hoists: whether the parent performs what depends on no staged value; else operations on the tracers of enclosing
            transforms are recorded as well, as a function needs that may not run at all.
    """

    __slots__ = ("captured", "equations", "hoists", "is_partial", "values")

    def __init__(self, transform: str, parent: Trace, *, is_partial: bool = False, hoists: bool = True) -> None:
        super().__init__(transform, parent)
        self.keeps_lines = True
        self.is_partial = is_partial
        self.hoists = hoists
        self.equations: list[Equation] = []
        self.captured: dict[int, Variable] = {}
        self.values: list[Any] = []

    def argument(self, array_type: ArrayType) -> StagedTracer:
        """A tracer for a new input."""
        tracer = StagedTracer(self, Variable(array_type))
        tracer.cell = ARGUMENT
        return tracer

    def process(self, primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        for value in operands:
            if isinstance(value, StagedTracer) and value.owner is self:
                if self.is_partial and isinstance(primitive, Control):
                    return self.record_rest(primitive, operands, params)
                return self.record(primitive, operands, params)
            if not self.hoists and isinstance(value, TracedValue):
                return self.record(primitive, operands, params)
        if not self.is_partial and has_effect(primitive, params):
            return self.record(primitive, operands, params)
        return self.parent.process(primitive, operands, params)

    def record(self, primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        """The tracers of the results of a new equation."""
        atoms = tuple(map(self.atom, operands))
        try:
            types = primitive.result_type([atom.array_type for atom in atoms], params)
        except NUMPY_ERRORS as error:
            explain(error, primitive, operands)
            raise
        results = [StagedTracer(self, Variable(type_)) for type_ in (types if primitive.multiple else (types,))]
        outputs = tuple(result.variable for result in results)
        self.equations.append(Equation(outputs, primitive, atoms, params, results[0].origin if results else user_origin()))
        return tuple(results) if primitive.multiple else results[0]

    def record_rest(self, primitive: Control, operands: Sequence[Any], params: dict[str, Any]) -> tuple[Any, ...]:
        """The results of a loop, a branch or a call that no staged value is needed for, and the tracers of the others.

        A loop for the tangents finds the values once more on its way, but has no effects again.
        """
        count = len(primitive.result_type([type_of(value) for value in operands], params))
        staged = [isinstance(value, StagedTracer) and value.owner is self for value in operands]
        silent = silent_params(params)

        def part(wanted: list[bool], params: dict[str, Any]) -> Any:
            return primitive.prune(wanted, **params) or ([True] * len(operands), [True] * count, params)

        def is_known(wanted: list[bool], params: dict[str, Any]) -> bool:
            return not any(needs and own for needs, own in zip(part(wanted, params)[0], staged))

        known = [is_known([other == place for other in range(count)], silent) for place in range(count)]
        ahead, behind = (params, silent) if is_known(known, params) else (silent, params)
        results: list[Any] = [None] * count
        for wanted, own, perform in ((known, ahead, self.parent.process), ([not own for own in known], behind, self.record)):
            if any(wanted) or has_effect(primitive, own):
                needed, given, own = part(wanted, own)
                made = iter(perform(primitive, [value for value, needs in zip(operands, needed) if needs], own))
                found = [next(made) if is_given else None for is_given in given]
                results = [new if flag else old for new, old, flag in zip(found, results, wanted)]
        return tuple(results)

    def atom(self, value: Any) -> Atom:
        """What stands for `value` in an equation."""
        if isinstance(value, StagedTracer) and value.owner is self:
            return value.variable
        if type(value) in PYTHON_SCALARS or isinstance(value, np.generic):
            return Literal(value)
        if isinstance(value, TracedValue):
            self.admit(value)
        elif value.ndim:
            element = uniform_element(value)
            if element is not None:
                spread: StagedTracer = self.record(PRIMITIVES["broadcast_to"], (element,), {"shape": value.shape})
                return spread.variable
        variable = self.captured.get(id(value))
        if variable is None:
            variable = self.captured[id(value)] = Variable(type_of(value))
            self.values.append(_contents(value))
            self._keep(value)
        return variable

    def program(
        self,
        name: str,
        inputs: Sequence[StagedTracer],
        outputs: Sequence[Any],
        input_structure: Any = None,
        output_structure: Any = None,
    ) -> Program:
        """What was recorded, as a program from `inputs` to `outputs`."""
        atoms = tuple(map(self.atom, outputs))
        program = Program(
            name,
            tuple(tracer.variable for tracer in inputs),
            tuple(self.equations),
            atoms,
            tuple(self.captured.values()),
            tuple(self.values[::2]),
            input_structure,
            output_structure,
        )
        return check(program) if settings.check_programs else program

    def _keep(self, value: Any) -> None:
        """Hold on to `value` while staging, so that its id stays its own."""
        self.values.append(value)

    def as_tracer(self, value: Any) -> Any:
        if isinstance(value, StagedTracer) and value.owner is self:
            return StagedTracer(self, value.variable)
        if self.is_partial and current.get() is not self:  # of a value that a trace within knows, and has a tracer of its own for
            return self.parent.as_tracer(value)
        return self.record(PRIMITIVES["copy"], (value,), {})


def _contents(value: Any) -> Any:
    """`value`; of a tracer, a new one with today's contents, which later in-place code leaves alone."""
    if not isinstance(value, Tracer):
        return value
    contents = object.__new__(type(value))
    contents.owner, contents.origin, contents.cell = value.owner, value.origin, None
    contents.become(value)
    return contents


def stage(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: dict[str, Any] | None = None,
    *,
    transform: str,
    hoists: bool = True,
) -> Program:
    """The `Program` of ``function(*args, **keywords)``; leaves are arrays, scalars, tracers or types."""
    keywords = keywords or {}
    leaves, input_structure = tree.flatten((args, keywords))
    trace = StagingTrace(transform, current.get(), hoists=hoists)
    tracers = [trace.argument(leaf if isinstance(leaf, ArrayType) else type_of(operand(leaf, transform))) for leaf in leaves]
    state = _random_state()
    token = trace.begin()
    try:
        staged_args, staged_keywords = tree.unflatten(input_structure, tracers)
        results, output_structure = tree.flatten(called(transform, function, staged_args, staged_keywords))
        program = trace.program(
            function_title(function), tracers, returned(transform, function, results), input_structure, output_structure
        )
    finally:
        trace.end(token)
    if _random_state() != state:
        raise _drew_random_numbers(function, args, keywords, transform)
    return program


def _random_state() -> Any:
    """A value that changes when NumPy's global random state does; None before numpy.random is used."""
    module = sys.modules.get("numpy.random")
    if module is None:
        return None
    _, keys, position, has_gauss, gauss = module.get_state()
    return position, has_gauss, gauss, keys.tobytes()


def _drew_random_numbers(
    function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any], transform: str
) -> GlobalRandomError:
    """The error naming the line that drew, found by staging once more and looking after each line."""
    found: list[Any] = []
    state = _random_state()
    last: list[Any] = [None]

    def look(frame: Any, event: str, _: Any) -> Any:
        nonlocal state
        new = _random_state()
        if new != state and not found and last[0] is not None:
            found.append(last[0])
        state = new
        if event in {"line", "call"}:
            last[0] = (frame.f_code, frame.f_lasti)
        return look

    trace = StagingTrace(transform, current.get())
    leaves, structure = tree.flatten((args, keywords))
    previous = sys.gettrace()
    token = trace.begin()
    try:
        tracers = [trace.argument(leaf if isinstance(leaf, ArrayType) else type_of(operand(leaf))) for leaf in leaves]
        again_args, again_keywords = tree.unflatten(structure, tracers)
        sys.settrace(look)
        function(*again_args, **again_keywords)
    finally:
        sys.settrace(previous)
        trace.end(token)
    origin = found[0] if found else None
    return GlobalRandomError(
        f"{transform}: {function_title(function)} drew from NumPy's global random state while it was staged, which would freeze "
        f"the numbers into the program\n  drawn at {describe_origin(origin)}"
        "\n  Remedy: draw the numbers outside and pass them in as an argument."
    )
