"""Looking at what transforms would do, without doing it: what a reverse pass keeps.

Everything here works on types: functions are staged, and nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from functrans import tree
from functrans.control.checkpoint import checkpoint_call
from functrans.core.calling import function_title
from functrans.core.program import Program, Variable
from functrans.core.staging import StagedTracer, stage
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, is_differentiable, type_of
from functrans.errors import DifferentiationError, at_user_line, describe_origin
from functrans.ops.recomputation import checkpoint_name, offload
from functrans.transforms.costs import is_view
from functrans.transforms.tape import record

__all__ = ["Residual", "Residuals", "residuals"]


@dataclass(frozen=True)
class Residual:
    """A value that is kept from the forward to the backward pass.

    Attributes:
        type: its `ArrayType`.
        kind: ``"argument"``; ``"captured"``, of an array the function closes over; ``"computed"``; or ``"file"``, if it
            was computed and is kept in a file.
        what: the operation that gave it, its name if it was given one, or which argument it is.
        line: the user's line.
    """

    type: ArrayType
    kind: str
    what: str
    line: str

    @property
    def nbytes(self) -> int:
        """The memory of its elements."""
        return self.type.nbytes


class Residuals(Sequence[Residual]):
    """What a reverse pass keeps, in order; prints as a table.

    Attributes:
        title: the function's name.
    """

    def __init__(self, title: str, items: Sequence[Residual]) -> None:
        self.title = title
        self.items = tuple(items)

    def __getitem__(self, place: Any) -> Any:
        return self.items[place]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def computed(self) -> tuple[Residual, ...]:
        """Those that take memory beyond what is there anyway, or that is in files."""
        return tuple(item for item in self.items if item.kind == "computed")

    @property
    def nbytes(self) -> int:
        """The memory of what was computed; arguments, and arrays the function closes over, are there anyway."""
        return sum(item.nbytes for item in self.computed)

    @property
    def total(self) -> int:
        """The memory of all of them, whatever it is that holds them."""
        return sum(item.nbytes for item in self.items)

    def __str__(self) -> str:
        rows = [("bytes", "type", "kind", "what", "line")]
        rows += [(f"{item.nbytes:,}", str(item.type), item.kind, item.what, item.line) for item in self.items]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join((row[0].rjust(widths[0]), *(text.ljust(width) for text, width in zip(row[1:4], widths[1:])), row[4]))
            for row in rows
        ]
        sums = {kind: sum(item.nbytes for item in self.items if item.kind == kind) for kind in KINDS}
        parts = ", ".join(f"{size:,} {KINDS[kind]}" for kind, size in sums.items() if size)
        head = f"residuals of {self.title}: {self.total:,} bytes{parts and f', {parts}'}"
        return "\n".join(line.rstrip() for line in (head, *(lines if self.items else ())))

    __repr__ = __str__


KINDS = {"computed": "computed", "file": "in files", "argument": "of arguments", "captured": "of arrays from outside"}


def residuals(function: Callable[..., Any], *args: Any, **keywords: Any) -> Residuals:
    """What a reverse pass of `function` keeps: for each value its type, its bytes and the user's line.

    With `ft.checkpoint` around parts of the function, it is what those keep. Views are listed as the array they are of.

    Args:
        function: of pytrees of arrays.
        args: arrays, or `ArrayType` in their place; derivatives are with respect to the floating and complex ones.
        keywords: further arguments, which are not differentiated.

    Returns:
        A sequence of `Residual` with the sums ``nbytes``, of what was computed, and ``total``.

    Raises:
        DifferentiationError: no argument is floating or complex.

    Example:
        >>> import numpy as np, functrans as ft
        >>> w = np.ones((3, 3))
        >>> found = ft.inspect.residuals(lambda x: np.sum(np.tanh(x @ w)), np.ones(3))
        >>> [(str(item.type), item.kind, item.what) for item in found]
        [('float64[3,3]', 'captured', ''), ('float64[3]', 'computed', 'tanh')]
        >>> found.nbytes, found.total
        (24, 96)
    """
    title = function_title(function)
    leaves, structure = tree.flatten((args, keywords))
    leaves = [leaf if isinstance(leaf, ArrayType) else operand(leaf, "residuals") for leaf in leaves]
    count = len(tree.leaves(args))
    types = [leaf if isinstance(leaf, ArrayType) else type_of(leaf) for leaf in leaves]
    active = [place for place, type_ in enumerate(types[:count]) if is_differentiable(type_.dtype)]
    if not active:
        raise DifferentiationError(
            f"residuals of {title}: no argument is floating or complex, got {', '.join(map(str, types)) or 'none'}"
            f"\n  Remedy: pass floats (x.astype(float), 3.0 for 3).{at_user_line()}"
        )
    kept: list[Any] = []

    def staged(*given: Any) -> Any:
        def call(tracers: list[Any]) -> Any:
            complete = list(given)
            for place, tracer in zip(active, tracers):
                complete[place] = tracer
            args, keywords = tree.unflatten(structure, complete)
            return function(*args, **keywords)

        trace, _ = record("residuals", function, [given[place] for place in active], call)
        kept.extend(values_in([entry[2] for entry in trace.tape if entry is not None]))
        return ()

    program = stage(staged, tuple(types), transform="residuals")
    names = [*(f"args{path}" for path in tree.paths(args)), *(f"keywords{path}" for path in tree.paths(keywords))]
    paths = dict(zip(program.inputs, names))
    found: dict[Any, Residual] = {}
    for value in kept:
        if isinstance(value, StagedTracer):
            key, item = described(program, value.variable, paths)
        else:
            key, item = id(value), Residual(type_of(value), "captured", "", "")
        found.setdefault(key, item)
    return Residuals(title, list(found.values()))


def values_in(item: Any) -> Iterator[Any]:
    """The arrays in nested tuples and lists."""
    if isinstance(item, (tuple, list)):
        for part in item:
            yield from values_in(part)
    elif isinstance(item, StagedTracer) or isinstance(item, np.ndarray) and item.ndim:
        yield item


def described(program: Program, variable: Variable, paths: dict[Variable, str], name: str = "") -> tuple[Any, Residual]:
    """What a value is known by, and what it is: a view is the array that it is of, what a loop or a call gives is what gave
    it inside."""
    equation = program.definitions().get(variable)
    if equation is None:
        kind = "argument" if variable in paths else "captured"
        return variable, Residual(variable.array_type, kind, paths.get(variable, ""), "")
    body, (first, *_) = equation.params.get("body"), (*equation.inputs, None)
    if isinstance(body, Program) and len(body.outputs) == len(equation.outputs):
        atom = body.outputs[equation.outputs.index(variable)]
        if atom in body.inputs and equation.primitive is checkpoint_call:
            atom = equation.inputs[body.inputs.index(atom)]
            return described(program, atom, paths, name)  # type: ignore[arg-type]
        if isinstance(atom, Variable) and atom not in body.inputs:
            return variable, replace(described(body, atom, {}, name)[1], type=variable.array_type)
    elif equation.primitive is offload:
        key, item = described(program, first, paths, name)  # type: ignore[arg-type]
        return key, replace(item, kind="file")
    elif is_view(equation) and isinstance(first, Variable):
        is_named = equation.primitive is checkpoint_name
        return described(program, first, paths, name or (equation.params["name"] if is_named else ""))
    what = name or equation.primitive.name
    return variable, Residual(variable.array_type, "computed", what, describe_origin(equation.origin))
