"""Methods that change the shape of a tensor in place: `t_`, `squeeze_`, `as_strided_`, `resize_`.

Such a tensor becomes the view of itself that the function without underscore makes; no element moves. Its older views
find their way back through ``_extras["shapes"]``, the steps from the new shape to the old one since a version.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.core.types import ArrayType, type_of
from functrans.errors import at_user_line, user_origin
from functrans.ops import structure
from functrans.torch.autograd.graph import named
from functrans.torch.autograd.modes import enable_grad, state
from functrans.torch.formats import checked_format
from functrans.torch.ops.shapes import joined_shape, squeeze, t, transpose, unsqueeze
from functrans.torch.ops.strided import as_strided
from functrans.torch.storage.views import Step
from functrans.torch.storage.writes import check_history
from functrans.torch.tensor import Tensor, clock, current_edge, install_members, like, memory

__all__ = ["resize_", "resize_as_"]


def steps_back(step: Step, view: Any, type_: ArrayType) -> tuple[Step, ...] | None:
    """The step from a view back to what it is a view of, where all elements are in both."""
    if step.primitive is structure.transpose:
        return (Step(structure.transpose, {"axes": tuple(map(int, np.argsort(step.params["axes"])))}, type_of(view)),)
    if step.primitive is structure.reshape:
        return (Step(structure.reshape, {"shape": type_.shape}, type_of(view)),)
    return None


def remember(tensor: Tensor, back: tuple[Step, ...] | None) -> None:
    """Count a change of shape, for views of the tensor to find their way back."""
    array = tensor._array
    tensor._changes.append((next(clock), user_origin(), array.dtype, array.shape))
    if tensor._view is None:
        extras = tensor._extras or {}
        tensor._extras = {**extras, "shapes": [*extras.get("shapes", ()), (len(tensor._changes), back)]}
    else:
        tensor._view.version = len(tensor._changes)


def relaid(target: Tensor, view_of: Callable[..., Tensor], args: Sequence[Any], kwargs: dict[str, Any], node: str) -> Tensor:
    """Make `target` the view of itself that a function makes."""
    edge = current_edge(target)
    check_history(target, state.grad and edge is not None)
    array = memory(target)
    if state.transform is not None and state.transform.is_outside(target):
        raise NotImplementedError(
            "a tensor made outside cannot change its shape inside torch.func and torch.compile"
            f"\n  Remedy: use the function without underscore.{at_user_line()}"
        )
    if isinstance(array, Tracer) and len((target._extras or {}).get("views", ())):
        raise NotImplementedError(
            "a tensor with views cannot change its shape inside torch.func and torch.compile"
            f"\n  Remedy: use the function without underscore.{at_user_line()}"
        )
    source = like(target, array)
    source._edge, source._view, source._extras = edge, target._view, target._extras
    # Without a node the cotangent would come back in the new shape, whatever the mode.
    with contextlib.nullcontext() if edge is None or edge[0].is_leaf else enable_grad():
        result = view_of(source, *args, **kwargs)
    assert result._view is not None and result._view.steps is not None
    target._array = result._array
    if result._extras is not None:
        target._extras = {**(target._extras or {}), **result._extras}
    if result._edge is not None:
        target._edge = result._edge
        target._edge[0].__class__ = named(node, type(target._edge[0]).__mro__[1])
    if target._view is not None:
        result._view.origin = target._view.origin
        target._view = result._view
    remember(target, steps_back(result._view.steps[-1], result._array, type_of(array)))
    return target


def shaping(name: str, view_of: Callable[..., Tensor], node: str | Callable[..., str]) -> None:
    """The method with an underscore of a function that makes a view."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return relaid(self, view_of, args, kwargs, node if isinstance(node, str) else node(*args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``{name[:-1]}``, in place: the tensor takes on the shape, the memory stays."
    setattr(Tensor, name, method)


shaping("t_", t, "TBackward1")
shaping("transpose_", transpose, "TransposeBackward1")
shaping("swapaxes_", transpose, "TransposeBackward1")
shaping("swapdims_", transpose, "TransposeBackward1")
shaping("unsqueeze_", unsqueeze, "UnsqueezeBackward1")
shaping("squeeze_", squeeze, lambda dim=None: "SqueezeBackward3" if dim is None else "SqueezeBackward4")
shaping("as_strided_", as_strided, "AsStridedBackward1")


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Take on a shape of any number of elements; memory that it needs beyond its own is new, and holds zeros.

    Raises:
        RuntimeError: the tensor requires a gradient.
        NotImplementedError: it needs more memory than it shares with views.
    """
    checked_format(memory_format, "resize_")
    shape = joined_shape(sizes)
    if current_edge(self) is not None:
        raise RuntimeError(f"cannot resize variables that require grad{at_user_line()}")
    if any(length < 0 for length in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}{at_user_line()}")
    array = memory(self)
    if isinstance(array, Tracer):
        raise NotImplementedError(
            f"resize_ of a traced tensor is not supported\n  Remedy: make a tensor of the new shape.{at_user_line()}"
        )
    if shape == array.shape:
        return self
    self._array = of_size(self, array, shape)
    if self._view is not None:
        self._view.steps = None
    remember(self, None)
    return self


def of_size(tensor: Tensor, array: Any, shape: tuple[int, ...]) -> Any:
    """An array of a shape in the same memory, or with the same elements in a larger one."""
    count = math.prod(shape)
    root = array
    while isinstance(root.base, np.ndarray) and root.base.dtype == root.dtype:
        root = root.base
    start = (array.ctypes.data - root.ctypes.data) // array.itemsize
    if root.flags.c_contiguous and start + count <= root.size:
        return root.reshape(-1)[start : start + count].reshape(shape)
    if array.size and (tensor._view is not None or sys.getrefcount(tensor._changes) > 2):
        raise NotImplementedError(
            "resize_ to more memory than a tensor has is not supported while views or the graph share it"
            f"\n  Remedy: make a tensor of the new shape.{at_user_line()}"
        )
    larger = np.zeros(count, array.dtype)
    larger[: array.size] = array.ravel("K")
    return larger.reshape(shape)


def resize_as_(self: Tensor, other: Tensor, *, memory_format: Any = None) -> Tensor:
    """Take on the shape of another tensor; see `resize_`."""
    return resize_(self, tuple(other._array.shape), memory_format=memory_format)


install_members(resize_=resize_, resize_as_=resize_as_)
