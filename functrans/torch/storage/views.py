"""Views: tensors that share the memory of another one, and how their history follows writes into it.

A view knows the tensor that owns the memory, its base, and the steps that lead from the base to it, linear primitives
of functrans. When the memory was written into, the history of a view is found anew from that of the base. A base that
changes its own shape remembers the steps back, which its older views then begin with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from functrans.core.trace import EVALUATION, current
from functrans.core.tracer import Tracer
from functrans.core.types import ArrayType, type_of
from functrans.errors import at_user_line
from functrans.ops import structure
from functrans.ops.indexing import ARRAY, getitem, index_set, numpy_index
from functrans.torch.autograd.graph import Node, PrimitiveNode, named
from functrans.torch.autograd.modes import cut, state
from functrans.torch.ops.apply import special
from functrans.torch.tensor import Tensor, current_edge, like, memory
from functrans.transforms.custom import gradient_stop
from functrans.transforms.tape import PULLBACKS

__all__ = ["AsStrided", "OVERLAP", "Step", "View", "detached", "hold", "look", "replaced", "replay", "view"]


NOTHING: dict[str, Any] = {}


class Step(NamedTuple):
    """One step from a base to a view of it."""

    primitive: Any
    params: dict[str, Any]
    source: ArrayType
    arrays: tuple[Any, ...] = ()
    strides: Any = None  # shape, steps and offset of `as_strided`, whose `arrays` say where elements lie

    @property
    def saved(self) -> Any:
        """What the primitive's pullback reads."""
        return ((self.source,), self.arrays) if self.primitive is getitem else (self.source,)

    def look(self, array: Any) -> Any:
        """The view of an array's memory that the step makes."""
        if self.strides is None or isinstance(array, Tracer):
            return look(array, self.primitive, self.params, self.arrays)
        shape, steps, offset = self.strides
        return np.lib.stride_tricks.as_strided(array[offset:], shape, [step * array.itemsize for step in steps])


class View:
    """How a view was made.

    Attributes:
        base: the tensor that owns the memory.
        steps: from the base to the view; None if the base was resized since, so that there are none.
        version: that of the memory when the view's edge was found.
        origin: ``"no_grad"``, ``"multiple"`` or ``""``: whether it was made without recording, or with others by one call.
        name: of the node that made it.
    """

    __slots__ = ("base", "name", "origin", "steps", "version")

    def __init__(self, base: Tensor, steps: tuple[Step, ...] | None, version: int, origin: str, name: str) -> None:
        self.base = base
        self.steps = steps
        self.version = version
        self.origin = origin
        self.name = name

    def edge(self, tensor: Tensor) -> Any:
        """The edge of `tensor`, the view; found anew if the memory was written into."""
        version = len(tensor._changes)
        if version != self.version:
            edge = current_edge(self.base)
            for since, back in (self.base._extras or NOTHING).get("shapes", ()):
                if since > self.version:
                    self.steps = None if back is None or self.steps is None else (*back, *self.steps)
            # A base that was detached and written into leads nowhere, nor do its views any more.
            has_history = tensor._edge is not None if edge is None else tensor._edge is None or tensor._edge[0] is not edge[0]
            if has_history and self.origin != "no_grad":
                if self.steps is None:
                    raise NotImplementedError(f"a view of a tensor that was resized since has no history; take the view again{at_user_line()}")
                tensor._edge = AsStrided((edge,), self.steps), 0
            self.version = version
        return tensor._edge


class StepsNode(Node):
    """From a base to a view of it in several steps."""

    __slots__ = ("steps",)

    def __init__(self, edges: tuple[Any, ...], steps: tuple[Step, ...]) -> None:
        super().__init__(edges)
        self.steps = steps

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        ct = cts[0]
        for step in reversed(self.steps):
            (ct,) = PULLBACKS[type(step.primitive)](step.primitive, 1, step.saved, step.params, ct, flag)
        return (ct,)


AsStrided = named("AsStridedBackward0", StepsNode)


def replay(value: Any, steps: Sequence[Step]) -> Any:
    """The steps applied to a value: array or tracer."""
    for step in steps:
        value = step.primitive(value, *step.arrays, **step.params)
    return value


def replaced(whole: Any, steps: Sequence[Step], value: Any) -> Any:
    """`whole` with `value` in place of what the steps lead to: a write through a view, inside a transform."""
    if not steps:
        return value
    first, rest = steps[0], steps[1:]
    if first.primitive is gradient_stop:
        raise NotImplementedError(
            f"writing into a detached tensor inside a transform of functrans is not supported\n  Remedy: write into a clone().{at_user_line()}"
        )
    if rest:
        value = replaced(replay(whole, steps[:1]), rest, value)
    if first.primitive is getitem:
        return index_set(whole, value, *first.arrays, index=first.params["index"])
    if first.primitive is structure.reshape:
        return np.reshape(value, first.source.shape)
    places = first.look(np.arange(int(np.prod(first.source.shape))).reshape(first.source.shape)).reshape(-1)
    if places.size > np.unique(places).size:
        raise RuntimeError(OVERLAP + at_user_line())
    flat = index_set(np.reshape(whole, (-1,)), np.reshape(value, (-1,)), places, index=(ARRAY,))
    return np.reshape(flat, first.source.shape)


OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please clone() the "
    "tensor before performing the operation."
)


def hold(tensor: Tensor, array: Any) -> None:
    """Let a tensor that owns its memory, and its views, hold another array; inside transforms, where nothing is shared."""
    tensor._array = array
    views = (tensor._extras or {}).get("views")
    for view in [] if views is None else list(views.values()):
        view._array = replay(array, view._view.steps)


def look(array: Any, primitive: Any, params: dict[str, Any], arrays: tuple[Any, ...] = ()) -> Any:
    """The view of an array's memory that a primitive makes; of a tracer, its result."""
    if isinstance(array, Tracer):
        return primitive(array, *arrays, **params)
    if primitive is getitem:
        return array[(*numpy_index(params["index"], ()), ...)]
    if primitive is structure.windows:
        result = primitive.evaluate(array, **params)
        disjoint = all(step >= length for step, length in zip(params["stride"], params["window"]))
        return np.lib.stride_tricks.as_strided(array, result.shape, result.strides, writeable=disjoint and array.flags.writeable)
    result = primitive.evaluate(array, **params)
    if primitive is structure.diagonal or primitive is structure.broadcast_to and result.size == array.size:
        result.flags.writeable = array.flags.writeable
    return result


def viewed(tensor: Tensor, primitive: Any, params: dict[str, Any], name: str, multiple: bool = False) -> Tensor:
    """A view that `primitive` makes of a tensor."""
    array = cut(memory(tensor))
    result = like(tensor, look(array, primitive, params))
    edge = current_edge(tensor)
    step = Step(primitive, params, type_of(array))
    if edge is not None and state.grad:
        cls = named(name, PrimitiveNode)
        result._edge = cls(primitive, 1, step.saved, params, None, (edge,), (), 4), 0
    return attached(result, tensor, step, name, multiple)


def attached(result: Tensor, tensor: Tensor, step: Step, name: str, multiple: bool) -> Tensor:
    """`result`, known as a view of `tensor`."""
    parent = tensor._view
    base, steps = (tensor, (step,)) if parent is None else (parent.base, (*parent.steps, step))
    origin = "" if state.grad else "no_grad"
    if multiple or parent is not None and parent.origin == "multiple":
        origin = "multiple"
    result._view = View(base, steps, len(tensor._changes), origin, name)
    if current.get() is not EVALUATION:
        extras = base._extras = base._extras or {}
        extras.setdefault("views", WeakValueDictionary())[id(result)] = result
    return result


def detached(tensor: Tensor) -> Tensor:
    """A tensor of the same memory without a history."""
    array = memory(tensor)
    if not isinstance(array, Tracer):
        return like(tensor, array)
    result = attached(like(tensor, gradient_stop(array)), tensor, Step(gradient_stop, {}, type_of(array)), "", False)
    result._view.origin = "no_grad"
    if state.transform is not None:
        result._extras = {**(result._extras or {}), "inside": state.transform}
    return result


def view(tensor: Tensor, primitive: Any, params: dict[str, Any], name: str, multiple: bool = False) -> Tensor:
    """As `viewed`, with what else is asked for."""
    if state.special:
        return special(name, primitive, (tensor,), params, lambda tensor: viewed(tensor, primitive, params, name, multiple))
    return viewed(tensor, primitive, params, name, multiple)
