"""What happens when a primitive of functrans is called on tensors.

It records one node, whose pullback is the rule of its class. Functions of arrays are in `composed.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.primitive import Elementwise
from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, type_of
from functrans.errors import at_user_line
from functrans.ops.structure import convert
from functrans.torch.autograd.checks import check_saved, seen
from functrans.torch.autograd.graph import PrimitiveNode, named, record
from functrans.torch.autograd.modes import INFERRED, cut, state
from functrans.torch.dtypes import default, result_dtype, title
from functrans.torch.tensor import Tensor, axis_message, current_edge, made

__all__ = ["binary", "converted", "perform", "seen", "special", "torch_error", "unary"]

ndarray = np.ndarray
PLAIN = frozenset({ndarray, np.float32, np.float64, np.int64, np.bool_, np.float16, np.int32, np.complex64, np.complex128})
NUMBERS = frozenset({float, int})
SCALARS = (bool, int, float, complex)
NO_PARAMS: dict[str, Any] = {}
CONVERSION = named("ToCopyBackward0", PrimitiveNode)


BOOLEANS = {
    "two": "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead.",
    "one": "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
    "`logical_not()` operator instead.",
}


def torch_error(error: Exception, name: str, values: Sequence[Any]) -> Exception:
    """NumPy's error as torch has it: its class and, where shapes do not fit, its words."""
    where = at_user_line()
    if isinstance(error, np.exceptions.AxisError):
        if error.axis is None:
            return IndexError(f"{error}{where}")
        return IndexError(axis_message(error.axis, error.ndim or 0) + where)
    if isinstance(error, IndexError):
        return IndexError(f"{error}{where}")
    shapes = [value.shape for value in values if hasattr(value, "shape")]
    if isinstance(error, ValueError) and len(shapes) == 2:
        x, y = shapes
        for back in range(1, min(len(x), len(y)) + 1):
            if x[-back] != y[-back] and 1 not in (x[-back], y[-back]):
                dim = max(len(x), len(y)) - back
                return RuntimeError(
                    f"The size of tensor a ({x[-back]}) must match the size of tensor b ({y[-back]}) at non-singleton dimension "
                    f"{dim}\n  in {name} of shapes {list(x)} and {list(y)}{where}"
                )
    if name == "sub" and isinstance(error, TypeError) and "numpy boolean" in str(error):
        return RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead." + where
        )
    if isinstance(error, TypeError) and not any(word in str(error) for word in ("ufunc", "unsupported in linalg", "numpy boolean")):
        return error
    if isinstance(error, TypeError):
        if "numpy boolean" in str(error):
            return RuntimeError(BOOLEANS["two" if "subtract" in str(error) else "one"] + where)
        kinds = ", ".join(dict.fromkeys(f"'{title(dtype_of(value))}'" for value in values if hasattr(value, "dtype")))
        return NotImplementedError(f'"{name}" not implemented for {kinds or "these arguments"}{where}')
    return RuntimeError(f"{name}: {error}{where}")


def converted(tensor: Tensor, dtype: Any) -> Tensor:
    """A tensor of another NumPy dtype, recorded."""
    return perform(convert, (tensor,), {"dtype": dtype}, CONVERSION)


def as_tensor_operand(value: Any, name: str) -> Any:
    """A tensor or a Python number."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Tensor, *SCALARS)):
        return value
    if isinstance(value, (ndarray, Tracer)):
        return made(value)
    raise TypeError(
        f"{name}(): argument 'other' (position 2) must be Tensor or Number, not {type(value).__name__}{at_user_line()}"
    )


def prepared(operands: Sequence[Any], name: str, floating: bool) -> tuple[list[Any], list[Any]]:
    """The arrays of operands in their common dtype, and their edges."""
    operands = [as_tensor_operand(value, name) for value in operands]
    arrays = [value._array if isinstance(value, Tensor) else value for value in operands]
    if name in ("sub", "rsub") and any(array.dtype == bool if hasattr(array, "dtype") else type(array) is bool for array in arrays):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
            f"`logical_not()` operator instead.{at_user_line()}"
        )
    dtype = result_dtype(*arrays)
    if floating and dtype.kind in "biu":
        dtype = default.numpy
    values, edges = [], []
    for operand, array in zip(operands, arrays):
        edge = None
        if isinstance(operand, Tensor):
            if array.dtype != dtype:
                operand = converted(operand, dtype)
                array = operand._array
            edge = current_edge(operand)
        elif dtype.kind not in "fc" or type(array) is complex or len(operands) == 1:
            array = np.asarray(array).astype(dtype)[()]
        values.append(array)
        edges.append(edge)
    return values, edges


def unary(name: str, primitive: Elementwise, cls: Any, floating: bool) -> Callable[..., Any]:
    """A function of one tensor."""
    evaluate, plans, differentiable = primitive.evaluate, primitive.plans, primitive.differentiable

    def function(input: Any) -> Any:
        if state.special:
            return special(name, primitive, (input,), NO_PARAMS, function)
        try:
            x = input._array
            edge = input._edge if input._view is None else input._view.edge(input)
        except AttributeError:
            raise not_a_tensor(name, input) from None
        if type(x) not in PLAIN or floating and x.dtype.kind in "biu":
            (x,), (edge,) = prepared((input,), name, floating)
        try:
            out = state.quiet(evaluate, x) if type(x) in PLAIN else primitive(cut(x))
        except (TypeError, ValueError) as error:
            raise torch_error(error, name, (x,)) from None
        result = made(out)
        if edge is not None and differentiable and state.grad:
            plan = plans.get(1) or primitive.plan(1)
            saved = plan.save((x, out))
            watched = plan.save((input._changes, result._changes))
            result._edge = cls(primitive, 1, saved, NO_PARAMS, None, (edge,), watched), 0
        return result

    return function


def binary(name: str, primitive: Elementwise, cls: Any, floating: bool) -> Callable[..., Any]:
    """A function of two tensors, one of which may be a Python number."""
    evaluate, plans, differentiable = primitive.evaluate, primitive.plans, primitive.differentiable

    def function(input: Any, other: Any) -> Any:
        if state.special:
            return special(name, primitive, (input, other), NO_PARAMS, function)
        x_edge = y_edge = x_changes = y_changes = None
        if isinstance(input, Tensor):
            x, x_changes = input._array, input._changes
            x_edge = input._edge if input._view is None else input._view.edge(input)
        else:
            x = input
        if isinstance(other, Tensor):
            y, y_changes = other._array, other._changes
            y_edge = other._edge if other._view is None else other._view.edge(other)
        else:
            y = other
        kind, other_kind = type(x), type(y)
        if other_kind in NUMBERS and kind in PLAIN:
            plain = x.dtype.kind == "f"
        elif kind in NUMBERS and other_kind in PLAIN:
            plain = y.dtype.kind == "f"
        else:
            plain = kind in PLAIN and other_kind in PLAIN and x.dtype is y.dtype and (not floating or x.dtype.kind in "fc")
        if not plain:
            (x, y), (x_edge, y_edge) = prepared((input, other), name, floating)
        try:
            traced = isinstance(x, Tracer) or isinstance(y, Tracer)
            out = primitive(cut(x), cut(y)) if traced else state.quiet(evaluate, x, y)
        except (TypeError, ValueError) as error:
            raise torch_error(error, name, (x, y)) from None
        result = made(out)
        if (x_edge is not None or y_edge is not None) and differentiable and state.grad:
            active = (x_edge is not None) | (y_edge is not None) << 1
            plan = plans.get(active) or primitive.plan(active)
            saved = plan.save((x, y, out))
            watched = plan.save((x_changes, y_changes, result._changes))
            if INFERRED:
                check_saved((input, other), watched)
            wanted: Any = None
            shape = out.shape
            if x_edge is not None and x.shape != shape:
                wanted = type_of(x), None
            if y_edge is not None and y.shape != shape:
                wanted = (None if wanted is None else wanted[0]), type_of(y)
            result._edge = cls(primitive, active, saved, NO_PARAMS, wanted, (x_edge, y_edge), watched), 0
        return result

    return function


def not_a_tensor(name: str, value: Any) -> TypeError:
    """The error for an argument that must be a tensor."""
    return TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(value).__name__}{at_user_line()}")


def perform(primitive: Any, operands: Sequence[Any], params: Any, cls: Any, name: str | None = None) -> Tensor:
    """A primitive with one result, called on tensors and arrays."""
    if state.special:
        return special(
            name or primitive.name, primitive, operands, params, lambda *operands: perform_plainly(primitive, operands, params, cls, name)
        )
    return perform_plainly(primitive, operands, params, cls, name)


def perform_plainly(primitive: Any, operands: Sequence[Any], params: Any, cls: Any, name: str | None = None) -> Tensor:
    """As `perform`, without regard to what is asked for beside the result."""
    values = [value._array if isinstance(value, Tensor) else value for value in operands]
    try:
        for value in values:
            if isinstance(value, Tracer):
                out = primitive(*map(cut, values), **params)
                break
        else:
            out = state.quiet(primitive.evaluate, *values, **params)
    except (TypeError, ValueError, IndexError) as error:
        raise torch_error(error, name or primitive.name, values) from None
    result = made(out)
    if state.grad:
        edges = [current_edge(value) if isinstance(value, Tensor) else None for value in operands]
        if edges.count(None) < len(edges):
            changes = [value._changes if isinstance(value, Tensor) else None for value in operands]
            result._edge = record(primitive, values, edges, out, params, changes, result._changes, cls)
            if INFERRED and result._edge is not None:
                check_saved(operands, result._edge[0].watched)
    return result


# What is asked for beside results, while `state.special`: set by `ops/special_calls.py`.
SPECIAL: list[Callable[..., Any]] = []


def special(name: str, array_function: Any, args: Sequence[Any], params: Any, plainly: Callable[..., Any]) -> Any:
    """A call while something beside results is asked for."""
    return SPECIAL[0](name, array_function, args, params, plainly)


