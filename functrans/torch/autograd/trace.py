"""The trace that is current while pullbacks run with ``create_graph=True``: it records nodes, as tensors' operations do.

Its tracers are arrays with an edge. A rule of functrans, or a composition of NumPy's functions, that runs on them makes
the graph of its own derivative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from functrans.core.primitive import Composite, Control, Elementwise, Primitive
from functrans.core.trace import Trace, TracedValue, current, running
from functrans.core.tracer import Tracer, drops_derivative
from functrans.core.types import ArrayType, dtype_of, is_differentiable, shape_of, type_of
from functrans.errors import at_user_line, user_origin
from functrans.torch.autograd.graph import MultipleNode, Node, named, node_class, record
from functrans.torch.autograd.modes import state, switch
from functrans.torch.tensor import Tensor, current_edge, made

__all__ = ["GraphTrace", "GraphTracer", "Placeholder", "Transform"]


class GraphTracer(Tracer):
    """A value and its edge; without one it is a constant."""

    __slots__ = ("edge", "value")
    state = ("edge", "value")

    def __init__(self, trace: Trace, value: Any, edge: Any) -> None:
        self.owner = trace
        self.value = value
        self.edge = edge
        self.origin = user_origin(3)
        self.cell = None

    @property
    def array_type(self) -> ArrayType:
        return type_of(self.value)

    def peek(self, asker: str) -> Any:
        return self.value.peek(asker) if isinstance(self.value, Tracer) else self.value

    def constant(self, asker: str) -> Any:
        if self.edge is not None:
            raise drops_derivative(self, asker)
        return self.value.constant(asker) if isinstance(self.value, Tracer) else self.value


class GraphTrace(Trace):
    """Evaluates with the parent and records a node for each operation on a value with an edge."""

    __slots__ = ()

    def lift(self, value: Any, edge: Any) -> Any:
        """`value` as a tracer that depends on what `edge` leads to; itself if there is no edge."""
        return value if edge is None or value is None else GraphTracer(self, value, edge)

    def take(self, tensor: Tensor) -> Any:
        """A tensor's array, as a tracer if it has a history."""
        return self.lift(tensor._array, current_edge(tensor))

    def give(self, value: Any) -> Tensor:
        """A value as a tensor with its history."""
        if type(value) is GraphTracer and value.owner is self:
            tensor = made(value.value)
            tensor._edge = value.edge
            return tensor
        return made(value)

    def as_tracer(self, value: Any) -> GraphTracer:
        if isinstance(value, GraphTracer) and value.owner is self:
            return GraphTracer(self, value.value, value.edge)
        return GraphTracer(self, self.parent.as_tracer(value), None)

    def process(self, primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        values, edges = [], []
        own = False
        active = 0
        for position, value in enumerate(operands):
            edge = None
            if type(value) is GraphTracer and value.owner is self:
                own = True
                edge = value.edge
                if edge is not None:
                    active |= 1 << position
                value = value.value
            elif isinstance(value, TracedValue):
                self.admit(value)
            values.append(value)
            edges.append(edge)
        if active and isinstance(primitive, Composite):
            with running(self):
                return primitive.decomposition(*operands, **params)
        if active and primitive.multiple:
            return self._multiple(primitive, values, edges, active, params)
        out = self.parent.process(primitive, values, params)
        if not own:
            return out
        if primitive.multiple:
            return tuple([GraphTracer(self, part, None) for part in out])
        edge = None
        if active and is_differentiable(dtype_of(out)) and (type(primitive) is not Elementwise or primitive.differentiable):
            by_number = any(type(value) in (int, float) for value in values)
            edge = record(primitive, values, edges, out, params, (None,) * len(values), None, node_class(primitive, by_number))
        return GraphTracer(self, out, edge)

    def _multiple(self, primitive: Any, values: list[Any], edges: list[Any], active: int, params: dict[str, Any]) -> Any:
        saved: Any = ()
        with running(self.parent):
            if isinstance(primitive, Control):
                out, saved = primitive.forward(values, active, **params)
            else:
                out = self.parent.process(primitive, values, params)
        node = MultipleNode(primitive, active, values, out, saved, params, tuple(edges))
        return tuple(
            GraphTracer(self, part, (node, place) if is_differentiable(dtype_of(part)) else None) for place, part in enumerate(out)
        )


# Functions whose slope does not change where it is known, by their nodes. To torch their gradients have a history.
PIECEWISE_LINEAR = {
    "ReluBackward0": "ThresholdBackwardBackward0",
    "AbsBackward0": "MulBackward0",
    "LeakyReluBackward0": "LeakyReluBackwardBackward0",
    "HardtanhBackward0": "HardtanhBackwardBackward0",
}


class Flat(Node):
    """The history of a slope that does not change: its derivative is 0."""

    __slots__ = ()

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        return (np.zeros(shape_of(cts[0]), dtype_of(cts[0]))[()],)


def with_history(node: Node, results: Sequence[Any], trace: GraphTrace) -> Sequence[Any]:
    """Cotangents that a pullback under `trace` gave, with a history if the pullback depends on values."""
    name = PIECEWISE_LINEAR.get(type(node).__name__)
    if name is None:
        return results
    given = []
    for ct, edge in zip(results, node.edges):
        value = ct.value if type(ct) is GraphTracer and ct.edge is None else ct
        if edge is not None and value is not None and not isinstance(value, Tracer):
            ct = GraphTracer(trace, value, (named(name, Flat)((edge,)), 0))
        given.append(ct)
    return given


class Placeholder(Node):
    """Stands for an operand of a composition whose graph is made again: passes cotangents on."""

    __slots__ = ()

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        return cts


class Transform:
    """What tensors are inside a transform of `torch.func`: those made outside that have a history are tracers of `trace`.

    Results then have a history as those of other operations. ``with no_grad()`` around a transform says that they
    have none; it is not seen inside.

    Attributes:
        stages: whether tensors made outside become inputs of a program.
        previous: the transform around this one.
        randomness: what the innermost `vmap` makes of random numbers.
    """

    stages = False

    def __init__(self) -> None:
        self.trace = GraphTrace("torch.func", current.get())
        self.records = state.grad
        self.previous = state.transform
        self.randomness: str = getattr(self.previous, "randomness", "error")

    def take(self, tensor: Tensor) -> Tensor:
        """A tensor as the transform sees it."""
        if tensor._extras is not None and tensor._extras.get("inside") is self:
            return tensor
        if self.previous is not None:
            tensor = self.previous.take(tensor)
        if not self.records or current_edge(tensor) is None:
            return tensor
        return made(self.trace.take(tensor))

    def is_outside(self, tensor: Tensor) -> bool:
        """Whether `tensor` was made outside."""
        return tensor._extras is None or tensor._extras.get("inside") is not self

    def check_written(self, tensor: Tensor) -> None:
        """Raise if `tensor`, which is to be written into, was made outside."""
        if self.is_outside(tensor):
            raise RuntimeError(
                "During a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call in-place operation that would "
                "mutate a captured Tensor. This is not supported; please rewrite the function being transformed to explicitly accept "
                f"the mutated Tensor(s) as inputs.{at_user_line()}"
            )

    def accumulates(self, leaf: Tensor) -> None:
        """Raise if a gradient must not be put into `leaf`, a tensor made outside."""
        if leaf._extras is None or "inside" not in leaf._extras or "outside" in leaf._extras:
            raise NotImplementedError(
                "backward() inside torch.func or torch.compile would put gradients into tensors made outside"
                f"\n  Remedy: use torch.autograd.grad, and return the gradients.{at_user_line()}"
            )

    def __enter__(self) -> Transform:
        self.trace.alive = True
        self.token = self.trace.begin()
        self.previous = state.transform
        self.mode = state.grad, state.since
        state.transform = self
        state.special += 1
        switch(True)
        return self

    def __exit__(self, *error: Any) -> None:
        state.grad, state.since = self.mode
        state.transform = self.previous
        state.special -= 1
        self.trace.end(self.token)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Enter once more, for a pullback, which holds tracers of `trace`: under what runs now, where that began later."""
        inner, parent = current.get(), self.trace.parent
        while inner is not parent and getattr(inner, "parent", parent) is not parent:
            inner = inner.parent
        if inner is parent or not hasattr(inner, "parent"):
            with self:
                yield
            return
        inner.parent = self.trace
        self.trace.alive = True
        try:
            yield
        finally:
            inner.parent = parent
            self.trace.alive = False
