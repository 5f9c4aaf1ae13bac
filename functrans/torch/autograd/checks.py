"""What a backward pass is given, and what hooks give back: checked, with torch's errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.errors import at_user_line, describe_origin, user_origin
from functrans.torch.autograd.edges import GradientEdge
from functrans.torch.autograd.graph import Node
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import DTYPES, title
from functrans.torch.tensor import Tensor, current_edge, made

__all__ = ["check_saved", "checked_count", "checked_grad", "conjugate", "input_edge", "look_for_nan", "root_edge", "seed", "seeds_given", "seen", "tensors_given"]


def tensors_given(value: Any) -> tuple[Any, ...]:
    """Tensors and edges, one or the items of any iterable, as a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, (Tensor, GradientEdge)) else (value,)


def seen(value: Any) -> Any:
    """An argument as the transform of functrans that is under way, if one is, has it: tensors made outside are its inputs."""
    transform = state.transform
    if transform is None:
        return value
    if isinstance(value, Tensor):
        return transform.take(value)
    if type(value) in (list, tuple):
        return type(value)([seen(item) for item in value])
    return value


def seeds_given(gradients: Any, count: int) -> tuple[Any, ...]:
    """The cotangents that a pass is given, None where there is none."""
    if gradients is None:
        return (None,) * count
    given = (gradients,) if isinstance(gradients, Tensor) else tuple(gradients)
    if len(given) != count:
        raise RuntimeError(f"got {count} tensors and {len(given)} gradients{at_user_line()}")
    return given


def root_edge(tensor: Tensor | GradientEdge, place: int) -> Any:
    """The edge a backward pass begins at."""
    if isinstance(tensor, GradientEdge):
        return tensor[:2]
    edge = current_edge(seen(tensor))
    if edge is None:
        raise RuntimeError(
            f"element {place} of tensors does not require grad and does not have a grad_fn"
            "\n  Remedy: make what it is computed from with requires_grad=True, and outside of torch.no_grad(); .detach(), .item(), "
            f".numpy() and torch.tensor(x) cut the graph.\n  at {describe_origin(user_origin())}"
        )
    return edge


def input_edge(tensor: Tensor | GradientEdge) -> Any:
    """The edge of a tensor whose gradient is asked for."""
    if isinstance(tensor, GradientEdge):
        return tensor[:2]
    edge = current_edge(seen(tensor))
    if edge is None:
        raise RuntimeError(f"One of the differentiated Tensors does not require grad\n  at {describe_origin(user_origin())}")
    return edge


def seed(tensor: Any, gradient: Tensor | None) -> Tensor:
    """The cotangent a pass begins with at `tensor`."""
    if isinstance(tensor, GradientEdge):
        if not isinstance(gradient, Tensor):
            raise NotImplementedError(f"a pass from a GradientEdge needs its gradient\n  Remedy: pass a tensor of its shape.{at_user_line()}")
        return gradient
    if gradient is None:
        array = tensor._array
        if array.size != 1:
            raise RuntimeError(
                "grad can be implicitly created only for scalar outputs"
                f"\n  Remedy: this one has shape {list(array.shape)}: sum it, or pass gradient=torch.ones_like(y).\n  at {describe_origin(user_origin())}"
            )
        if array.dtype.kind == "c":
            raise RuntimeError("grad can be implicitly created only for real scalar outputs but got " + tensor.dtype.__repr__())
        return made(np.ones(array.shape, array.dtype)[()])
    if not isinstance(gradient, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
    if gradient._array.shape != tensor._array.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape of {tensor.shape}."
        )
    if (gradient._array.dtype.kind == "c") != (tensor._array.dtype.kind == "c"):
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
            f"grad_output[0] has a dtype of {gradient.dtype} and output[0] has a dtype of {tensor.dtype}."
        )
    if gradient._array.dtype != tensor._array.dtype:
        gradient = gradient.to(tensor.dtype)
    return gradient


def conjugate(ct: Any) -> Any:
    """A cotangent in the other convention."""
    return np.conjugate(ct) if ct.dtype.kind == "c" else ct


def look_for_nan(node: Node, results: Sequence[Any]) -> None:
    """Raise if a node gave nan, in anomaly mode."""
    for place, ct in enumerate(results):
        if ct is not None:
            value = ct.peek("detect_anomaly") if isinstance(ct, Tracer) else ct
            if np.isnan(np.sum(value)):
                raise RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {place}th output."
                    f"\n  made at {describe_origin(node.origin)}"
                )


def hook_name(hook: Any) -> str:
    """What messages call a hook."""
    return f"hook '{getattr(hook, '__name__', type(hook).__name__)}'"


def checked_count(given: Any, count: int, hook: Any) -> Any:
    """What a hook of a node returned, if it is as many as it got."""
    given = given if isinstance(given, tuple) else (given,)
    if len(given) != count:
        raise RuntimeError(f"{hook_name(hook)} has returned an incorrect number of values (got {len(given)}, but expected {count})")
    return given


def checked_grad(given: Any, ct: Any, hook: Any) -> Tensor:
    """What a hook returned, if it can stand for the cotangent."""
    if not isinstance(given, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(given).__name__}'")
    if given._array.shape != ct.shape:
        raise RuntimeError(f"{hook_name(hook)} has changed the size of value")
    if given._array.dtype != ct.dtype:
        names = [f"torch.{title(DTYPES[array.dtype])}Tensor" for array in (ct, given._array)]
        raise RuntimeError(f"{hook_name(hook)} has changed the type of value (was {names[0]} got {names[1]})")
    return given


INFERENCE = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation tracked by "
    "autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead "
    "of `torch.inference_mode()`."
)


def check_saved(operands: Sequence[Any], watched: Sequence[Any]) -> None:
    """Raise if a node keeps a tensor that was made in inference mode."""
    for value in operands:
        if isinstance(value, Tensor) and value._extras is not None and value._extras.get("inference"):
            if any(changes is value._changes for changes in watched):
                raise RuntimeError(INFERENCE + at_user_line())
