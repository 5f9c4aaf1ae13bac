"""Batching: `vmap`, and sums over named batch axes.

Each tracer stands for one element of a batch; its value carries the whole batch along axis 0. A rule
per class of primitive applies the operation to the batch at once.

Invariant: the batch axis of a value is always axis 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.calling import called, function_title, operands_of
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
from functrans.core.tracer import Tracer, not_concrete, operand
from functrans.core.types import ArrayType, describe, shape_of, type_of
from functrans.errors import StructureError, at_user_line, user_origin
from functrans.ops.indexing import ARRAY, Slice, Template
from functrans.ops.structure import broadcast_to
from functrans.transforms.arguments import wraps

__all__ = ["pmean", "psum", "released_batch", "traced_batch", "vmap"]


class BatchTracer(Tracer):
    """One element of a batch, or, if not `batched`, a value all elements share."""

    __slots__ = ("batched", "value")
    state = ("batched", "value")

    def __init__(self, trace: Trace, value: Any, batched: bool) -> None:
        self.owner = trace
        self.value = value
        self.batched = batched
        self.origin = user_origin(3)
        self.cell = None

    @property
    def array_type(self) -> ArrayType:
        type_ = type_of(self.value)
        return ArrayType(type_.shape[1:], type_.dtype) if self.batched else type_

    def peek(self, asker: str) -> Any:
        if self.batched:
            raise not_concrete(
                self,
                asker,
                "which stands for a whole batch of values",
                "choose between values with np.where and between computations with ft.cond, and repeat them with ft.while_loop; "
                "keep what Python must know out of the batched arguments (in_axes=None)",
            )
        return self.value.peek(asker) if isinstance(self.value, Tracer) else self.value

    def known(self) -> str:
        return f"one of {self.value}" if self.batched else str(self.value)

    def constant(self, asker: str) -> Any:
        if self.batched:
            self.peek(asker)
        return self.value.constant(asker) if isinstance(self.value, Tracer) else self.value


class BatchTrace(Trace):
    """Applies operations to whole batches."""

    __slots__ = ("axis_name", "size")

    def __init__(self, parent: Trace, size: int, axis_name: Any) -> None:
        super().__init__("vmap", parent)
        self.size = size
        self.axis_name = axis_name

    def as_tracer(self, value: Any) -> BatchTracer:
        if isinstance(value, BatchTracer) and value.owner is self:
            return BatchTracer(self, value.value, value.batched)
        return BatchTracer(self, self.parent.as_tracer(value), False)

    def process(self, primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        values, batched = [], []
        own = False
        for value in operands:
            mine = False
            if type(value) is BatchTracer and value.owner is self:
                own = True
                mine = value.batched
                value = value.value
            elif isinstance(value, TracedValue):
                self.admit(value)
            values.append(value)
            batched.append(mine)
        if primitive is axis_sum and params["axis_name"] == self.axis_name:
            with running(self.parent):
                total = np.sum(values[0], axis=0) if batched[0] else values[0] * self.size
            return BatchTracer(self, total, False)
        if not any(batched) and not self.goes_over_axis(params):
            out = self.parent.process(primitive, values, params)
            return self._wrapped(primitive, out, False) if own else out
        with running(self.parent):
            if isinstance(primitive, Control):
                results, flags = primitive.batch(values, batched, self.size, self.axis_name, **params)
                return tuple(BatchTracer(self, part, flag) for part, flag in zip(results, flags))
            out = RULES[type(primitive)](primitive, values, batched, self.size, params)
        return self._wrapped(primitive, out, True)

    def goes_over_axis(self, params: dict[str, Any]) -> bool:
        """Whether a program among the parameters sums over the batch."""
        return self.axis_name is not None and any(self.axis_name in program.axis_names for program in programs_in(params))

    def _wrapped(self, primitive: Primitive, out: Any, batched: bool) -> Any:
        if primitive.multiple:
            return tuple(BatchTracer(self, part, batched) for part in out)
        return BatchTracer(self, out, batched)


def rank_of(value: Any, batched: bool) -> int:
    """The rank of one element."""
    return len(shape_of(value)) - batched


def batch_elementwise(primitive: Any, values: list[Any], batched: list[bool], size: int, params: dict[str, Any]) -> Any:
    """Element ranks are aligned by axes of length 1 behind the batch axis."""
    rank = max(map(rank_of, values, batched))
    aligned = []
    for value, own in zip(values, batched):
        missing = rank - rank_of(value, own)
        if own and missing:
            shape = shape_of(value)
            value = np.reshape(value, (shape[0], *(1,) * missing, *shape[1:]))
        aligned.append(value)
    return primitive(*aligned, **params)


def all_batched(values: list[Any], batched: list[bool], size: int) -> list[Any]:
    """Values with a batch axis each."""
    return [
        value if own else broadcast_to(operand(value), shape=(size, *shape_of(value))) for value, own in zip(values, batched)
    ]


def batch_structural(primitive: Any, values: list[Any], batched: list[bool], size: int, params: dict[str, Any]) -> Any:
    """The parameters are moved past the batch axis."""
    if primitive is broadcast_to:
        shape = params["shape"]
        old = shape_of(values[0])
        lead = np.reshape(values[0], (size, *(1,) * (len(shape) - len(old) + 1), *old[1:]))
        return broadcast_to(lead, shape=(size, *shape))
    values = all_batched(values, batched, size)
    return primitive(*values, **primitive.batch(params, [len(shape_of(value)) - 1 for value in values], size))


def batch_reduction(primitive: Any, values: list[Any], batched: list[bool], size: int, params: dict[str, Any]) -> Any:
    """The axes are moved past the batch axis."""
    return primitive(values[0], axes=tuple(axis + 1 for axis in params["axes"]))


def batch_contraction(primitive: Any, values: list[Any], batched: list[bool], size: int, params: dict[str, Any]) -> Any:
    """One more letter."""
    inputs, out = params["subscripts"].split("->")
    letter = next(letter for letter in reversed(ascii_letters) if letter not in inputs)
    x, y = (letter * own + letters for letters, own in zip(inputs.split(","), batched))
    return primitive(*values, subscripts=f"{x},{y}->{letter}{out}")


def batch_indexing(primitive: Any, values: list[Any], batched: list[bool], size: int, params: dict[str, Any]) -> Any:
    """A full slice in front if only slices and ints index, else an index array that counts the batch."""
    count = primitive.differentiated
    data = all_batched(values[:count], batched[:count], size)
    arrays = values[count:]
    index: Template = params["index"]
    if not arrays:
        return primitive(*data, index=(Slice(None, None, None), *index))
    index, arrays, flags = explicit_arrays(index, arrays, batched[count:])
    rank = max(len(shape_of(array)) - own for array, own in zip(arrays, flags))
    counting = np.reshape(np.arange(size), (size,) + (1,) * rank)
    aligned = []
    for array, own in zip(arrays, flags):
        shape = shape_of(array)
        if own:
            array = np.reshape(array, (size, *(1,) * (rank - len(shape) + 1), *shape[1:]))
        aligned.append(array)
    place = array_axes_place(params["index"])
    new = (ARRAY, *index)
    moved = move_axes(place, rank)
    if primitive.differentiated == 2:
        data[1] = np.moveaxis(data[1], *moved) if moved else data[1]
        return primitive(*data, counting, *aligned, index=new)
    out = primitive(*data, counting, *aligned, index=new)
    return np.moveaxis(out, *moved[::-1]) if moved else out


def explicit_arrays(index: Template, arrays: list[Any], flags: list[bool]) -> tuple[Template, list[Any], list[bool]]:
    """Ints beside index arrays count as index arrays to NumPy: make them such."""
    template: list[Any] = []
    explicit: list[Any] = []
    batched: list[bool] = []
    remaining = iter(zip(arrays, flags))
    for entry in index:
        if entry == ARRAY or isinstance(entry, int):
            array, own = next(remaining) if entry == ARRAY else (np.asarray(entry), False)
            explicit.append(array)
            batched.append(own)
            entry = ARRAY
        template.append(entry)
    return tuple(template), explicit, batched


def array_axes_place(index: Template) -> int:
    """Where NumPy puts the axes of the index arrays in the result: in place if they are adjacent, else first."""
    places = [i for i, entry in enumerate(index) if entry == ARRAY or isinstance(entry, int)]
    if places[-1] - places[0] != len(places) - 1:
        return 0
    return places[0]


def move_axes(place: int, rank: int) -> Any:
    """The move that takes the index arrays' axes from where the elements have them to the front of the batch."""
    if place == 0 or rank == 0:
        return None
    return tuple(range(1 + place, 1 + place + rank)), tuple(range(1, 1 + rank))


def batch_general(primitive: Any, values: list[Any], batched: list[bool], size: int, params: dict[str, Any]) -> Any:
    """The declared rule."""
    return primitive.batch(values, batched, size, **params)


RULES: dict[type, Callable[..., Any]] = {
    Elementwise: batch_elementwise,
    Structural: batch_structural,
    Composite: batch_structural,
    Reduction: batch_reduction,
    Contraction: batch_contraction,
    Indexing: batch_indexing,
    General: batch_general,
}


def _unbound(x: Any, axis_name: Any) -> Any:
    raise NameError(
        f"psum: no vmap with axis_name={axis_name!r} is running here\n  Remedy: give the enclosing ft.vmap that axis_name.{at_user_line()}"
    )


axis_sum: General = General(
    "axis_sum",
    _unbound,
    types=lambda x, axis_name: x,
    jvp=lambda primals, tangents, out, active, axis_name: axis_sum(tangents[0], axis_name=axis_name),
    pullback=lambda ct, operands, out, active, axis_name: (axis_sum(ct, axis_name=axis_name),),
    batch=lambda operands, batched, size, axis_name: axis_sum(operands[0], axis_name=axis_name),
)


def psum(x: Any, axis_name: Any) -> Any:
    """The sum of a tree `x` over the batch axis named `axis_name` of an enclosing `vmap`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.vmap(lambda x: x / ft.psum(x, "batch"), axis_name="batch")(np.array([1.0, 3.0])).tolist()
        [0.25, 0.75]
    """
    return tree.map(lambda leaf: axis_sum(operand(leaf), axis_name=axis_name), x)


def pmean(x: Any, axis_name: Any) -> Any:
    """The mean of a tree `x` over the batch axis named `axis_name` of an enclosing `vmap`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.vmap(lambda x: x - ft.pmean(x, "batch"), axis_name="batch")(np.array([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    size = axis_sum(1.0, axis_name=axis_name)
    return tree.map(lambda leaf: axis_sum(operand(leaf), axis_name=axis_name) / size, x)


def vmap(
    function: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_size: int | None = None,
    axis_name: Any = None,
) -> Callable[..., Any]:
    """`function` applied to every element of a batch at once.

    Args:
        function: of arguments without the batch axis.
        in_axes: the batch axis of each positional argument: an int, None for an argument all share, or
            a tuple of these or of trees of these. Keyword arguments are batched along axis 0.
        out_axes: where the results get the batch axis: an int or None, or a tree of these.
        axis_size: the size of the batch; needed only if no argument is batched.
        axis_name: a name for `psum` and `pmean`.

    Returns:
        A function of arrays with batch axes.

    Raises:
        StructureError: batch axes differ in length, or an argument lacks one.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.vmap(np.dot, in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0])).tolist()
        [3.0, 4.0]
        >>> ft.vmap(ft.grad(lambda x: x**3))(np.array([1.0, 2.0])).tolist()
        [3.0, 12.0]
    """
    title = function_title(function)

    @wraps(vmap, function, in_axes, out_axes, axis_size, axis_name)
    def batched_function(*args: Any, **keywords: Any) -> Any:
        axes = in_axes if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
        if len(axes) != len(args):
            raise StructureError(
                f"vmap of {title}: in_axes has {len(axes)} entries for {len(args)} positional arguments"
                f"\n  Remedy: give one entry per positional argument.{at_user_line()}"
            )
        leaves, structure = tree.flatten((args, keywords))
        places = _axes(title, "in_axes", in_axes, (tuple(axes), {name: 0 for name in keywords}), (args, keywords))
        leaves = operands_of("vmap", function, args, keywords, leaves, "close over it, as functools.partial does")
        moved = [_in_front(title, leaf, place) for leaf, place in zip(leaves, places)]
        size = _batch_size(title, leaves, moved, places, axis_size)
        batched = [place is not None for place in places]

        def call(tracers: list[Any]) -> Any:
            batch_args, batch_keywords = tree.unflatten(structure, tracers)
            return called("vmap", function, batch_args, batch_keywords)

        trace, result = traced_batch(moved, batched, size, axis_name, call)
        out_leaves, out_structure = tree.flatten(result)
        out_places = _axes(title, "out_axes", out_axes, out_axes, result)
        return tree.unflatten(
            out_structure, [_released(title, trace, leaf, place) for leaf, place in zip(out_leaves, out_places)]
        )

    return batched_function


def traced_batch(
    values: Sequence[Any], batched: Sequence[bool], size: int, axis_name: Any, call: Callable[[list[Any]], Any]
) -> tuple[BatchTrace, Any]:
    """Trace ``call(arguments)`` where those of `values` that are batched, with the batch axis in front, are tracers."""
    trace = BatchTrace(current.get(), size, axis_name)
    arguments = []
    for value, own in zip(values, batched):
        if own:
            value = BatchTracer(trace, value, True)
            value.cell = ARGUMENT
        arguments.append(value)
    token = trace.begin()
    try:
        return trace, call(arguments)
    finally:
        trace.end(token)


def released_batch(trace: BatchTrace, value: Any) -> tuple[Any, bool]:
    """What a result of the traced function is outside: its value, and whether it has a batch axis in front."""
    value = operand(value)
    if isinstance(value, BatchTracer) and value.owner is trace:
        return value.value, value.batched
    if isinstance(value, TracedValue):
        trace.admit(value)
    return value, False


def _axes(title: str, name: str, given: Any, prefix: Any, whole: Any) -> list[Any]:
    """One axis, or None, for each leaf of `whole`."""
    what = "argument" if name == "in_axes" else "result"
    try:
        axes = tree.broadcast_prefix(prefix, whole, is_leaf=lambda item: item is None)
    except ValueError as error:
        structure = tree.structure(whole[0] if name == "in_axes" else whole)
        raise StructureError(
            f"vmap of {title}: {name}={given!r} does not fit {what}s of structure {structure}"
            f"\n  Remedy: give an int or None for each {what}, or a tree of them like the {what}.{at_user_line()}"
        ) from error
    for axis in axes:
        if axis is not None and not hasattr(axis, "__index__"):
            raise TypeError(
                f"vmap of {title}: {name} must be made of ints and None, got {given!r}"
                f"\n  Remedy: give the number of an axis for each {what} that has a batch axis.{at_user_line()}"
            )
    return axes


def _in_front(title: str, leaf: Any, axis: Any) -> Any:
    if axis is None:
        return leaf
    rank = len(shape_of(leaf))
    if not -rank <= axis < rank:
        raise StructureError(
            f"vmap of {title}: an argument of type {describe(leaf)} has no axis {axis}"
            f"\n  Remedy: pass in_axes=None for arguments that all elements share.{at_user_line()}"
        )
    return leaf if axis == 0 else np.moveaxis(leaf, axis, 0)


def _batch_size(title: str, leaves: list[Any], moved: list[Any], places: list[Any], axis_size: int | None) -> int:
    sizes = {shape_of(value)[0] for value, place in zip(moved, places) if place is not None}
    if axis_size is not None:
        sizes.add(axis_size)
    if len(sizes) != 1:
        found = ", ".join(f"{describe(leaf)} along axis {place}" for leaf, place in zip(leaves, places) if place is not None)
        raise StructureError(
            f"vmap of {title}: the batch axes must have one length, got {found or 'no batched argument'}"
            f"\n  Remedy: {'make the lengths equal' if sizes else 'pass axis_size'}.{at_user_line()}"
        )
    return sizes.pop()


def _released(title: str, trace: BatchTrace, leaf: Any, place: Any) -> Any:
    """A result with its batch axis at `place`."""
    value, batched = released_batch(trace, leaf)
    if place is None:
        if batched:
            raise StructureError(
                f"vmap of {title}: out_axes is None for a result of type {describe(value)} that differs across the batch"
                f"\n  Remedy: give it an axis, or reduce it with ft.psum.{at_user_line()}"
            )
        return value
    if not batched:
        value = (
            np.array(np.broadcast_to(value, (trace.size, *shape_of(value))))
            if not isinstance(value, Tracer)
            else (broadcast_to(value, shape=(trace.size, *shape_of(value))))
        )
    rank = len(shape_of(value))
    if not -rank <= place < rank:
        raise StructureError(
            f"vmap of {title}: out_axes={place} is no place for the batch axis of a result that is {describe(value)} with it in front"
            f"\n  Remedy: give one from {-rank} to {rank - 1}.{at_user_line()}"
        )
    return value if place == 0 else np.moveaxis(value, 0, place)
