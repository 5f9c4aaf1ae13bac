"""The table of operations: `define` enters one, in one line, under all its names.

``define("sin", arithmetic.sin)`` makes ``torch.sin``, ``Tensor.sin`` and ``Tensor.sin_``, with nodes ``SinBackward0``.
The operation is a primitive of functrans, or a function of arrays with torch's argument names, which then may call anything
that functrans differentiates. Names that torch has and we do not are in `unsupported`.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

from functrans.core.primitive import Elementwise
from functrans.torch.autograd.graph import PRIMITIVE_NODES, PrimitiveNode, named
from functrans.torch.ops.apply import CompositionNode, binary, composition, unary
from functrans.torch.tensor import Tensor

__all__ = ["FUNCTIONS", "IN_PLACE", "define", "function", "install"]

# The functions of the namespace, by name.
FUNCTIONS: dict[str, Callable[..., Any]] = {}
# Names of functions that have a method with an underscore, which `storage/writes.py` makes.
IN_PLACE: dict[str, Callable[..., Any]] = {}


def returned(name: str, fields: Sequence[str]) -> Any:
    """The class of what a function with several results returns: a named tuple that prints as torch's."""

    def text(self: Any) -> str:
        items = ",\n".join(f"{field}={value!r}" for field, value in zip(fields, self))
        return f"torch.return_types.{name}(\n{items})"

    return type(name, (namedtuple(name, fields),), {"__slots__": (), "__repr__": text, "__module__": "torch.return_types"})  # type: ignore[misc]


def node_name(name: str) -> str:
    """Torch's name of a function's node: ``log_softmax`` has ``LogSoftmaxBackward0``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Backward0"


def define(
    name: str,
    operation: Any,
    *,
    node: str | None = None,
    floating: bool = False,
    method: bool = True,
    in_place: bool | None = None,
    public: bool = True,
    aliases: Sequence[str] = (),
) -> Callable[..., Any]:
    """Enter an operation.

    Args:
        name: torch's.
        operation: a primitive, or a function of arrays.
        node: the name of its nodes; follows from `name`.
        floating: whether integers are taken for numbers of the default dtype.
        method: whether tensors have it.
        in_place: whether there is a method with an underscore; by default if it is a primitive of one kind of elements.
        public: whether the namespace has it.
        aliases: other names.
    """
    node = node or node_name(name)
    if isinstance(operation, Elementwise):
        PRIMITIVE_NODES.setdefault(operation, node)
        make = unary if operands_of(operation) == 1 else binary
        made = make(name, operation, named(node, PrimitiveNode), floating)
        in_place = in_place is not False and operation.differentiable or bool(in_place)
    else:
        made = composition(name, operation, named(node, CompositionNode))
    made.__name__ = made.__qualname__ = name
    made.__doc__ = f"``{name}`` as torch has it."
    install(name, made, method=method, in_place=bool(in_place), public=public, aliases=aliases)
    return made


def operands_of(primitive: Elementwise) -> int:
    """How many operands it has."""
    if primitive.partials:
        return len(primitive.partials)
    return getattr(primitive.ufunc, "nin", 1)


def install(
    name: str,
    function: Callable[..., Any],
    *,
    method: bool = True,
    in_place: bool = False,
    public: bool = True,
    aliases: Sequence[str] = (),
) -> None:
    """Enter a function of tensors under its names."""
    for each in (name, *aliases):
        if public:
            FUNCTIONS[each] = function
        if method:
            setattr(Tensor, each, function)
        if in_place:
            IN_PLACE[f"{each}_"] = function


def function(
    name: str | None = None,
    *,
    method: bool = True,
    in_place: bool = False,
    public: bool = True,
    aliases: Sequence[str] = (),
) -> Callable[[Any], Any]:
    """A decorator: a function of tensors, made of others, is entered under its name."""

    def enter(made: Any) -> Any:
        install(name or made.__name__, made, method=method, in_place=in_place, public=public, aliases=aliases)
        return made

    return enter
