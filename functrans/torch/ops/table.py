"""The table of operations: `define` enters one, in one line, under all its names.

``define("sin", arithmetic.sin)`` makes ``torch.sin``, ``Tensor.sin`` and ``Tensor.sin_``, with nodes ``SinBackward0``.
The operation is a primitive of functrans, or a function of arrays with torch's argument names, which then may call anything
that functrans differentiates. Names that torch has and we do not are in `unsupported`.
"""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.primitive import Elementwise
from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.torch.autograd.graph import PRIMITIVE_NODES, PrimitiveNode, named
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import default, result_dtype, title
from functrans.torch.ops.apply import binary, seen, unary
from functrans.torch.ops.composed import CompositionNode, composition, numpy_names
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

    return type(name, (namedtuple(name, fields),), {"__slots__": (), "__repr__": text, "__module__": "torch.return_types"})


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
    kinds: str = "bifc",
    together: int = 1,
    same: bool = False,
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
        kinds: of elements that it takes: ``b`` bool, ``i`` integers, ``f`` floating, ``c`` complex numbers.
        together: how many of its first arguments are taken in their common dtype, and are of these kinds.
        same: whether they must have it already.
    """
    node = node or node_name(name)
    if isinstance(operation, Elementwise):
        PRIMITIVE_NODES.setdefault(operation, node)
        make = unary if operands_of(operation) == 1 else binary
        made = make(name, operation, named(node, PrimitiveNode), floating)
        single = floating and not keeps_half(operation)
        if kinds != "bifc" or single:
            made = guarded(name, made, kinds, single)
        in_place = in_place is not False and operation.differentiable or bool(in_place)
    else:
        if kinds != "bifc" or floating or together > 1:
            operation = of_kinds(name, operation, kinds, floating, together, same)
        made = composition(name, operation, named(node, CompositionNode))
    made.__name__ = made.__qualname__ = name
    made.__doc__ = f"``{name}`` as torch has it."
    install(name, made, method=method, in_place=bool(in_place), public=public, aliases=aliases)
    return made


def checked_kind(of: np.dtype[Any], name: str, kinds: str) -> None:
    """Raise torch's error unless an operation takes elements of a dtype."""
    if of.kind.replace("u", "i") not in kinds:
        name = name.strip("_").removesuffix("_along").removesuffix("_all")
        raise NotImplementedError(f'"{name}" not implemented for \'{title(of)}\'{at_user_line()}')


def of_kinds(name: str, operation: Any, kinds: str, floating: bool, together: int, same: bool) -> Callable[..., Any]:
    """A function of arrays for elements of some kinds, in the common dtype of its first arguments, floating if it is so."""

    names = operation.__code__.co_varnames[:together]

    @functools.wraps(operation)
    def call(*args: Any, **kwargs: Any) -> Any:
        for each in names[len(args) :] if kwargs else ():
            if each not in kwargs:
                break
            args = (*args, kwargs.pop(each))
        operands = args[:together]
        dtypes = {operand.dtype for operand in operands if hasattr(operand, "dtype")}
        common = dtypes.pop() if len(dtypes) == 1 else result_dtype(*operands)
        if same and dtypes:
            words = " and ".join(title(dtype_of(operand)) for operand in operands)
            raise RuntimeError(f"{name}(): expected the same dtype, but got {words}\n  Remedy: convert with Tensor.to.{at_user_line()}")
        checked_kind(common, name, kinds)
        if floating and common.kind in "biu":
            common = default.numpy
        return operation(*[cast(operand, common) for operand in operands], *args[together:], **kwargs)

    return call


def cast(operand: Any, dtype: np.dtype[Any]) -> Any:
    """An array of a dtype; Python's numbers become scalars of it."""
    if not hasattr(operand, "dtype"):
        return dtype.type(operand)
    return operand if operand.dtype == dtype else operand.astype(dtype)


def keeps_half(primitive: Elementwise) -> bool:
    """Whether a primitive of float16 is float16: SciPy's are not."""
    with np.errstate(all="ignore"):
        return bool(primitive.evaluate(*[np.float16(0.5)] * operands_of(primitive)).dtype == np.float16)


def guarded(name: str, made: Callable[..., Any], kinds: str, single: bool) -> Callable[..., Any]:
    """A function of operands for elements of some kinds; if it is `single`, those of float16 are computed in float32."""

    def call(*operands: Any) -> Any:
        common = result_dtype(*[operand._array if isinstance(operand, Tensor) else operand for operand in operands])
        checked_kind(common, name, kinds)
        if single and common == np.float16:
            return made(*[operand.float() if isinstance(operand, Tensor) else operand for operand in operands]).half()
        return made(*operands)

    def one(input: Any) -> Any:
        return made(input) if not isinstance(input, Tensor) or input._array.dtype.num in QUICK else call(input)

    def two(input: Any, other: Any) -> Any:
        if isinstance(input, Tensor) and input._array.dtype.num in QUICK:
            if other._array.dtype.num in QUICK if isinstance(other, Tensor) else type(other) in (int, float):
                return made(input, other)
        known = all(isinstance(operand, (Tensor, bool, int, float, complex)) for operand in (input, other))
        return call(input, other) if known else made(input, other)

    return one if made.__code__.co_argcount == 1 else two


# Dtypes that every operation takes as they are.
QUICK = frozenset({np.dtype(np.float32).num, np.dtype(np.float64).num})


def operands_of(primitive: Elementwise) -> int:
    """How many operands it has."""
    if primitive.partials:
        return len(primitive.partials)
    return getattr(primitive.ufunc, "nin", 1)


def entering(made: Callable[..., Any]) -> Callable[..., Any]:
    """A function that reads arrays of its arguments, which inside a transform are those that the transform has."""

    other_names = numpy_names(made)

    @functools.wraps(made)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs and other_names:
            kwargs = {other_names.get(key, key): value for key, value in kwargs.items()}
        if state.special and state.transform is not None:
            args = tuple([seen(value) for value in args])
            kwargs = {name: seen(value) for name, value in kwargs.items()}
        return made(*args, **kwargs)

    return call


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
        if "_array" in made.__code__.co_names or numpy_names(made):
            made = entering(made)
        install(name or made.__name__, made, method=method, in_place=in_place, public=public, aliases=aliases)
        return made

    return enter
