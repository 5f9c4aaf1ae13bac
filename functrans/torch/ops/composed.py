"""What happens when a function of arrays is called on tensors.

Two kinds: a composition, written with NumPy and functrans, runs under the reverse trace of `transforms/tape.py`, whose tape
the node keeps; for ``create_graph`` it runs again, under the trace that records the pullback. A function with a rule has its
pullback written out, of operations that can be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.trace import current
from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, is_differentiable, type_of
from functrans.torch.autograd.checks import check_saved
from functrans.torch.autograd.engine import Pass
from functrans.torch.autograd.graph import FREED, FREED_MESSAGE, Node, overwritten
from functrans.torch.autograd.modes import INFERRED, cut, state
from functrans.torch.autograd.trace import Placeholder
from functrans.torch.ops.apply import NO_PARAMS, special, torch_error
from functrans.torch.tensor import Tensor, current_edge, made
from functrans.transforms.tape import ReverseTrace, backward, fit, release

__all__ = ["CompositionNode", "RuleNode", "Slot", "composition", "filled", "filled_keywords", "numpy_names", "owned", "plain", "with_rule"]

ndarray = np.ndarray


class Slot(int):
    """Stands in the arguments of a composition for the operand of this number."""


def template(argument: Any, operands: list[Tensor]) -> Any:
    """An argument with operands, tensors that have a history, replaced by slots, and other tensors by their arrays."""
    if isinstance(argument, Tensor):
        if current_edge(argument) is None:
            return argument._array
        operands.append(argument)
        return Slot(len(operands) - 1)
    if type(argument) in (list, tuple):
        return type(argument)([template(item, operands) for item in argument])
    return argument


def filled(argument: Any, values: Sequence[Any]) -> Any:
    """An argument with values in its slots."""
    if type(argument) is Slot:
        return values[argument]
    if type(argument) in (list, tuple):
        return type(argument)([filled(item, values) for item in argument])
    return argument


def plain(argument: Any) -> Any:
    """An argument with tensors replaced by their arrays."""
    if isinstance(argument, Tensor):
        return cut(argument._array)
    if type(argument) in (list, tuple):
        return type(argument)([plain(item) for item in argument])
    return argument


class CompositionNode(Node):
    """A function of arrays and the tape of its evaluation.

    Attributes:
        function, args, kwargs: the call; operands are slots in the arguments.
        operands, tape: what was saved, see `transforms.tape`, or `FREED`.
        places: for each result its place on the tape, -1 if it has no derivative.
        unpack: gives what hooks of saved values have kept, or None.
        watched: the lists of writes of operands and results that the tape holds.
        watched_again: those of all operands, which are read where the function is called again.
    """

    __slots__ = ("args", "function", "kwargs", "operands", "places", "tape", "unpack", "watched", "watched_again")

    args: Any
    function: Callable[..., Any]
    kwargs: dict[str, Any]
    operands: Any
    places: list[int]
    tape: Any
    unpack: Callable[[Any], Any] | None
    watched: list[Any]
    watched_again: list[Any]

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return len(self.places)

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        if self.tape is FREED:
            raise RuntimeError(FREED_MESSAGE)
        tape, operands = self.tape, self.operands
        if self.unpack is not None:
            operands = self.unpack(operands)
            tape = [entry and (*entry[:2], self.unpack(entry[2]), *entry[3:]) for entry in tape]
        else:
            overwritten(self, self.watched if trace is None else self.watched_again)
        if trace is not None:
            return self._pull_again(operands, cts, trace)
        seeds = [(place, ct) for place, ct in zip(self.places, cts) if ct is not None and place >= 0]
        results = backward(tape, seeds, len(self.edges), keep=True, from_selection=flag)
        return [None if ct is None else fit(ct, type_of(value)) for ct, value in zip(results, operands)]

    def keep(self, packed: Callable[[Any], Any]) -> None:
        """Keep what `packed` makes of what was saved."""
        self.operands = packed(self.operands)
        self.tape = [entry and (*entry[:2], packed(entry[2]), *entry[3:]) for entry in self.tape]

    def _pull_again(self, operands: Any, cts: list[Any], trace: Any) -> list[Any]:
        """The pullback as a function of the operands: of the graph that the function makes under `trace`."""
        edges = [(Placeholder((edge,)), 0) for edge in self.edges]
        values = [trace.lift(value, edge) for value, edge in zip(operands, edges)]
        results = self.function(*filled(self.args, values), **filled_keywords(self.kwargs, values))
        results = results if isinstance(results, tuple) else (results,)
        pairs = [(part, ct) for part, ct in zip(results, cts) if ct is not None and getattr(part, "edge", None) is not None]
        step = Pass(True, trace, edges, False)
        step.run([part.edge for part, _ in pairs], [ct for _, ct in pairs])
        assert step.captured is not None
        return [step.captured[node][0] for node, _ in edges]

    def free(self) -> None:
        self.tape = self.operands = self.args = FREED


class RuleNode(Node):
    """A function of arrays whose pullback is written out.

    Attributes:
        rule: of the cotangent, the operands and for each of these whether its cotangent is wanted; gives the cotangents.
        operands: the arrays, None where the rule does not read them.
        watched: the lists of writes of those it reads.
    """

    __slots__ = ("operands", "rule", "unpack", "watched")

    operands: Any
    rule: Callable[..., Any]
    unpack: Callable[[Any], Any] | None
    watched: list[Any]

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        operands = self.operands
        if operands is FREED:
            raise RuntimeError(FREED_MESSAGE)
        if self.unpack is not None:
            operands = self.unpack(operands)
        else:
            overwritten(self, self.watched)
        if trace is not None:
            operands = [trace.lift(value, edge) for value, edge in zip(operands, self.edges)]
        return self.rule(cts[0], *operands, [edge is not None for edge in self.edges])

    def saved_arrays(self) -> Sequence[tuple[Any, bool]]:
        return [(value, False) for value in self.operands]

    def keep(self, packed: Callable[[Any], Any]) -> None:
        """Keep what `packed` makes of what was saved."""
        self.operands = packed(self.operands)

    def free(self) -> None:
        self.operands = FREED


def with_rule(
    name: str, array_function: Callable[..., Any], reads: Sequence[Sequence[int]], rule: Callable[..., Any], cls: Any
) -> Callable[..., Any]:
    """A function of tensors from one of arrays, and its rule.

    Args:
        reads: for each operand the places of those whose cotangents the rule computes from it.
        rule: see `RuleNode`.
        cls: a class of `RuleNode`.
    """

    def function(*tensors: Any) -> Any:
        if state.special:
            return special(name, array_function, tensors, NO_PARAMS, function)
        values = [tensor._array for tensor in tensors]
        try:
            traced = any(isinstance(value, Tracer) for value in values)
            out = array_function(*map(cut, values)) if traced else state.quiet(array_function, *values)
        except (ValueError, TypeError) as error:
            raise torch_error(error, name, values) from None
        result = made(out)
        if state.grad:
            edges = tuple([current_edge(tensor) for tensor in tensors])
            if edges.count(None) < len(edges):
                node = cls(edges)
                node.rule, node.unpack = rule, None
                read = [any(edges[place] is not None for place in places) for places in reads]
                node.operands = [value if flag else None for value, flag in zip(values, read)]
                node.watched = [tensor._changes if flag else None for tensor, flag in zip(tensors, read)]
                if INFERRED:
                    check_saved(tensors, node.watched)
                result._edge = node, 0
        return result

    return function


def filled_keywords(kwargs: dict[str, Any], values: Sequence[Any]) -> dict[str, Any]:
    """Keyword arguments with values in their slots."""
    return {name: filled(value, values) for name, value in kwargs.items()}


def numpy_names(function: Any) -> dict[str, str]:
    """NumPy's names for arguments that a function has under torch's: torch takes both."""
    code = getattr(function, "__wrapped__", function).__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {other: name for other, name in (("axis", "dim"), ("keepdims", "keepdim")) if name in own and other not in own}


def composition(name: str, array_function: Callable[..., Any], cls: Any) -> Callable[..., Any]:
    """A function of tensors from one of arrays: arguments that are tensors, alone or in lists, become arrays."""

    other_names = numpy_names(array_function)

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            if "input" in kwargs:
                args = (kwargs.pop("input"), *args)
            if other_names:
                kwargs = {other_names.get(key, key): value for key, value in kwargs.items()}
        if state.special:
            return special(name, array_function, args, kwargs, lambda *args: function(*args, **kwargs))
        if state.grad:
            operands: list[Tensor] = []
            own_args = [template(argument, operands) for argument in args]
            own_kwargs = {key: template(value, operands) for key, value in kwargs.items()}
            if operands:
                return traced(name, array_function, cls, operands, own_args, own_kwargs)
        else:
            own_args = [plain(argument) for argument in args]
            own_kwargs = {key: plain(value) for key, value in kwargs.items()}
        try:
            with np.errstate(all="ignore"):
                out = array_function(*own_args, **own_kwargs)
        except (ValueError, IndexError, TypeError, np.linalg.LinAlgError) as error:
            raise torch_error(error, name, own_args) from None
        return each(lambda part: made(owned(part, own_args)), out)

    return function


def owned(array: Any, args: Sequence[Any]) -> Any:
    """An array whose memory is that of no argument."""
    if type(array) is ndarray and (array.base is not None or not array.flags.writeable or any(array is each for each in args)):
        return array.copy()
    return array


def each(function: Callable[..., Any], out: Any) -> Any:
    """`function` of a result, or of each of several, as they came."""
    if not isinstance(out, tuple):
        return function(out)
    parts = [function(part) for part in out]
    return type(out)(*parts) if hasattr(out, "_fields") else tuple(parts)


def traced(name: str, array_function: Callable[..., Any], cls: Any, operands: list[Tensor], args: Any, kwargs: Any) -> Any:
    """A composition of which at least one operand has a history."""
    trace = ReverseTrace(name, current.get())
    values = [operand._array for operand in operands]
    tracers = [trace.argument(value) for value in values]
    token = trace.begin()
    try:
        with np.errstate(all="ignore"):
            out = array_function(*filled(args, tracers), **filled_keywords(kwargs, tracers))
    except (ValueError, IndexError, TypeError, np.linalg.LinAlgError) as error:
        raise torch_error(error, name, values) from None
    finally:
        trace.end(token)
    parts = out if isinstance(out, tuple) else (out,)
    released = [release(trace, part) for part in parts]
    places = [place if place >= 0 and is_differentiable(dtype_of(value)) else -1 for value, place in released]
    results = [made(owned(value, values)) for value, _ in released]
    if any(place >= 0 for place in places):
        node = cls(tuple(current_edge(operand) for operand in operands))
        node.function, node.args, node.kwargs, node.unpack = array_function, args, kwargs, None
        node.operands, node.tape, node.places = values, trace.tape, places
        node.watched_again = [operand._changes for operand in operands]
        held = held_by(trace.tape)
        node.watched = [each._changes for each in (*operands, *results) if id(owner(each._array)) in held]
        if INFERRED:
            check_saved(operands, node.watched)
        for number, (result, place) in enumerate(zip(results, places)):
            if place >= 0:
                result._edge = node, number
    if not isinstance(out, tuple):
        return results[0]
    return type(out)(*results) if hasattr(out, "_fields") else tuple(results)


def owner(array: Any) -> Any:
    """What owns an array's memory; of a tracer, which nobody writes into, itself."""
    return array if isinstance(array, Tracer) or array.base is None else array.base


def held_by(tape: list[Any]) -> set[int]:
    """The owners of what a tape holds, by identity."""
    found: set[int] = set()
    stack = [entry[2] for entry in tape if entry is not None]
    while stack:
        part = stack.pop()
        kind = type(part)
        if kind is ndarray:
            found.add(id(owner(part)))
        elif kind is tuple or kind is list:
            stack.extend(part)
    return found
