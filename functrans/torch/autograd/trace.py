"""The trace that is current while pullbacks run with ``create_graph=True``: it records nodes, as tensors' operations do.

Its tracers are arrays with an edge. A rule of functrans, or a composition of NumPy's functions, that runs on them makes
the graph of its own derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from functrans.core.primitive import Composite, Control, Elementwise, Primitive
from functrans.core.trace import Trace, TracedValue, running
from functrans.core.tracer import Tracer, drops_derivative
from functrans.core.types import ArrayType, dtype_of, is_differentiable, type_of
from functrans.errors import user_origin
from functrans.torch.autograd.graph import MultipleNode, Node, node_class, record
from functrans.torch.tensor import Tensor, current_edge, made

__all__ = ["GraphTrace", "GraphTracer", "Placeholder"]


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
            return tuple(GraphTracer(self, part, None) for part in out)
        edge = None
        if active and is_differentiable(dtype_of(out)) and (type(primitive) is not Elementwise or primitive.differentiable):
            edge = record(primitive, values, edges, out, params, (None,) * len(values), None, node_class(primitive))
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


class Placeholder(Node):
    """Stands for an operand of a composition whose graph is made again: passes cotangents on."""

    __slots__ = ()

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        return cts
