"""Functions that select: `where`, `masked_fill`, `relu` and `clamp`. What is not selected contributes nothing to a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import dtype_of
from functrans.ops import arithmetic
from functrans.torch.autograd.graph import PrimitiveNode, named
from functrans.torch.dtypes import result_dtype
from functrans.torch.ops.apply import converted, perform, prepared, seen
from functrans.torch.ops.table import checked_kind, define, function
from functrans.torch.tensor import Tensor, install_members, made

__all__ = ["clamp", "masked_fill", "relu", "where"]

SELECT = {name: named(f"{name}Backward0", PrimitiveNode) for name in ("Where", "Relu", "MaskedFill")}
SELECT["Clamp"] = named("ClampBackward1", PrimitiveNode)


@function()
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` holds, else `other`; with one argument the indices where it holds."""
    if input is None:
        return condition.nonzero(as_tuple=True)
    if not isinstance(condition, Tensor):
        raise TypeError(f"where(): argument 'condition' (position 1) must be Tensor, not {type(condition).__name__}")
    if condition._array.dtype.kind != "b" and condition._array.dtype != np.uint8:
        raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}")
    condition = seen(condition)
    x, y = in_common(seen(input), seen(other), "where")
    return perform(arithmetic.where, (condition._array.astype(bool), x, y), {}, SELECT["Where"], "where")


def where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """The tensor where `condition` holds, else `other`."""
    return where(condition, self, other)


install_members(where=where_method)


def in_common(input: Any, other: Any, name: str) -> list[Any]:
    """Two operands in their common dtype: tensors as such, numbers as scalars of it."""
    values, edges = prepared((input, other), name, False)
    result: list[Any] = []
    for value, edge in zip(values, edges):
        if edge is None:
            result.append(np.asarray(value, dtype_of(next(v for v in values if hasattr(v, "dtype"))) if type(value) in (int, float, bool) else None)[()] if not hasattr(value, "dtype") else value)
            continue
        tensor = made(value)
        tensor._edge = edge
        result.append(tensor)
    for place, operand in enumerate((input, other)):
        if isinstance(result[place], Tensor) and isinstance(operand, Tensor) and operand._array.dtype == result[place]._array.dtype:
            result[place] = operand
    return result


@function(in_place=True)
def relu(input: Tensor) -> Tensor:
    """The positive part, with derivative 0 at 0."""
    input = seen(input)
    x = input._array
    checked_kind(x.dtype, "relu", "if")
    return perform(arithmetic.where, (x <= 0, x.dtype.type(0), input), {}, SELECT["Relu"], "relu")


@function(in_place=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where `mask` holds."""
    if not isinstance(mask, Tensor) or mask._array.dtype.kind != "b":
        raise RuntimeError("masked_fill_ only supports boolean masks, but got mask with dtype " + str(getattr(mask, "dtype", mask)))
    mask = seen(mask)
    if isinstance(value, Tensor):
        if value._array.ndim:
            raise RuntimeError(
                f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value._array.ndim} dimension(s)."
            )
        filling: Any = value if value._array.dtype == input._array.dtype else value.to(input.dtype)
    else:
        filling = input._array.dtype.type(value)
    return perform(arithmetic.where, (mask._array, filling, input), {}, SELECT["MaskedFill"], "masked_fill")


def clamped(x: Any, low: Any, high: Any) -> Any:
    """`x` between bounds, which belong to what has a derivative."""
    if low is not None:
        x = arithmetic.where(x < low, low, x)
    if high is not None:
        x = arithmetic.where(x > high, high, x)
    return x


_clamp = define("_clamp", clamped, node="ClampBackward1", public=False, method=False, kinds="if", together=3)
_clamp_low = define("_clamp", lambda x, low: clamped(x, low, None), node="ClampBackward1", public=False, method=False, kinds="bif", together=2)
_clamp_high = define("_clamp", lambda x, high: clamped(x, None, high), node="ClampBackward1", public=False, method=False, kinds="bif", together=2)


@function(in_place=True, aliases=("clip",))
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Between `min` and `max`, with derivative 1 at the bounds."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    input = seen(input)
    x = input._array
    checked_kind(x.dtype, "clamp", "bif")
    if not isinstance(min, Tensor) and not isinstance(max, Tensor):
        if x.dtype.kind != "f" or type(min) is complex or type(max) is complex:
            wanted = result_dtype(x, *(bound for bound in (min, max) if bound is not None))
            checked_kind(wanted, "clamp", "bif")
            input = input if wanted == x.dtype else converted(input, wanted)
            x = input._array
        kind = x.dtype.type
        low, high = (None if bound is None else kind(bound) for bound in (min, max))
        if low is not None and high is not None:
            bound, outside = np.where(x < low, low, high), (x < low) | (x > high)
        elif low is not None:
            bound, outside = low, x < low
        else:
            bound, outside = high, x > high
        return perform(arithmetic.where, (outside, bound, input), {}, SELECT["Clamp"], "clamp")
    if max is None:
        return _clamp_low(input, min)
    return _clamp_high(input, max) if min is None else _clamp(input, min, max)


@function(in_place=True, aliases=("clip_min",))
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Not less than `min`."""
    return clamp(input, min)


@function(in_place=True, aliases=("clip_max",))
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Not greater than `max`."""
    return clamp(input, None, max)
