"""Code that nothing is differentiated through: how solvers run whose results get their derivatives by other means.

Invariant: no operation of it sees a differentiated value, so forward mode carries no tangent, and reverse mode records
nothing; other transforms see its operations as any others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from functrans import tree
from functrans.core.primitive import Primitive
from functrans.core.trace import Evaluation, Trace, TracedValue, current
from functrans.transforms.custom import gradient_stop, stop_gradient

__all__ = ["undifferentiated"]


class UndifferentiatedTrace(Trace):
    """Hands operations to its parent, with operands whose derivative is stopped.

    Attributes:
        own: the results of its operations, which have no derivative to be stopped, by identity.
    """

    __slots__ = ("own",)

    def __init__(self, parent: Trace) -> None:
        super().__init__("undifferentiated", parent)
        self.own: WeakValueDictionary[int, TracedValue] = WeakValueDictionary()

    def process(self, primitive: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        result = self.parent.process(primitive, [self.stopped(value) for value in operands], params)
        for value in result if primitive.multiple else (result,):
            if isinstance(value, TracedValue):
                self.own[id(value)] = value
        return result

    def stopped(self, value: Any) -> Any:
        """An operand without its derivative."""
        if not isinstance(value, TracedValue) or self.own.get(id(value)) is value:
            return value
        self.admit(value)
        return self.parent.process(gradient_stop, (value,), {})

    def as_tracer(self, value: Any) -> Any:
        return self.parent.as_tracer(self.stopped(value))


def undifferentiated(function: Callable[..., Any], *args: Any) -> Any:
    """The result of ``function(*args)``, a tree, none of which has a derivative, whatever it is made of."""
    parent = current.get()
    if isinstance(parent, Evaluation):
        return function(*args)
    trace = UndifferentiatedTrace(parent)
    token = trace.begin()
    try:
        result = function(*args)
    finally:
        trace.end(token)
    return tree.map(lambda leaf: stop_gradient(leaf) if isinstance(leaf, TracedValue) else leaf, result)
