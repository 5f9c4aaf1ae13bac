"""Writes into the memory of tensors: methods with an underscore, ``out=`` and assignment.

A write computes the new value as the function without underscore does, then puts it into the memory. The tensor takes
on the history of the value; if it is a view, its base takes on that of a `CopySlices`, from which other views find
theirs. Nothing is written, and no history changed, when an error is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of
from functrans.errors import at_user_line, user_origin
from functrans.ops.arithmetic import where
from functrans.torch.autograd.graph import Node, named
from functrans.torch.autograd.modes import cut, state
from functrans.torch.dtypes import title
from functrans.torch.ops.apply import converted
from functrans.torch.ops.table import IN_PLACE
from functrans.torch.storage.views import OVERLAP, AsStrided, Step, hold, replaced, replay
from functrans.torch.tensor import Tensor, clock, current_edge, made, memory
from functrans.transforms.custom import custom_jvp

__all__ = ["assign", "in_place", "requires_grad", "written"]


class CopySlices(Node):
    """A write into a view, as its base sees it: the base's old value but where the view lies, and the view's new value."""

    __slots__ = ("shape", "steps")

    def __init__(self, edges: tuple[Any, ...], shape: tuple[int, ...], steps: tuple[Step, ...]) -> None:
        super().__init__(edges)
        self.shape, self.steps = shape, steps

    def name(self) -> str:
        return "torch::autograd::CopySlices"

    def __repr__(self) -> str:
        return f"<CopySlices object at {id(self):#x}>"

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        (ct,) = cts
        to_value = None if self.edges[1] is None else replay(ct, self.steps)
        if self.edges[0] is None:
            return None, to_value
        return where(untouched(self.shape, self.steps), ct, dtype_of(ct).type(0)), to_value


CopySlices.__module__ = "torch.autograd.graph"


def untouched(shape: tuple[int, ...], steps: Sequence[Step]) -> Any:
    """Which elements of a base a view of it leaves out."""
    mask = np.ones(shape, np.bool_)
    part: Any = mask
    for step in steps:
        part = step.look(part)
    if np.may_share_memory(part, mask):
        part[...] = False
        return mask
    # A step is no view of a mask whose elements lie otherwise than those of the base.
    mask.reshape(-1)[replay(np.arange(mask.size).reshape(shape), steps)] = False
    return mask


def zeros(ct: Any) -> Any:
    """A cotangent of what is overwritten, so that leaves have gradients, which optimisers move by."""
    return np.zeros(ct.shape, ct.dtype)


class ConstantNode(Node):
    """What was overwritten by a constant."""

    __slots__ = ()

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        return (zeros(cts[0]),)


def requires_grad(value: Any) -> bool:
    """Whether an argument, or something in it, is a tensor with a history."""
    if isinstance(value, Tensor):
        return current_edge(value) is not None
    return isinstance(value, (list, tuple)) and any(map(requires_grad, value))


def check_writable(target: Tensor, recorded: bool) -> None:
    """Raise if torch does not let `target` be written into."""
    array = target._array
    extras = (target if target._view is None else target._view.base)._extras
    if extras is not None and "part" in extras:
        raise NotImplementedError(
            f"{extras['part']}: its result is no view of the tensor, and writing into it is not supported"
            f"\n  Remedy: write into a clone(), or into the tensor itself.{at_user_line()}"
        )
    if type(array) is np.ndarray and not array.flags.writeable:
        raise RuntimeError(OVERLAP + at_user_line())
    if target._extras is not None and target._extras.get("inference") and not state.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal tensor before "
            f"doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details.{at_user_line()}"
        )
    check_history(target, recorded)


def check_history(target: Tensor, recorded: bool) -> None:
    """Raise if torch does not let the history of `target` change."""
    view, edge = target._view, current_edge(target)
    owner = target if view is None else view.base
    if state.grad and owner._extras is not None and "leaf" in owner._extras:  # an argument of torch.func.grad
        raise leaf_written() if view is None else view_of_leaf()
    base = None if view is None else current_edge(view.base)
    if not recorded and (base is None or not state.grad):
        return
    if view is None:
        if edge is not None and edge[0].is_leaf:
            raise leaf_written()
        return
    if view.steps is None:
        raise NotImplementedError(
            f"a view of a tensor that was resized since cannot be written into\n  Remedy: take the view again.{at_user_line()}"
        )
    if view.origin == "no_grad":
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that this use "
            "case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and the "
            "inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both outside (if you "
            f"want the inplace to be tracked).{at_user_line()}"
        )
    if edge is not None and base is None or base is not None and base[0].is_leaf:  # a base that was detached is a leaf, too
        raise view_of_leaf()
    if view.origin == "multiple":
        raise RuntimeError(
            f"Output {target.output_nr} of {view.name.removesuffix('Backward0')} is a view and is being modified inplace. This view is "
            "the output of a function that returns multiple views. Such functions do not allow the output views to be modified "
            f"inplace. You should replace the inplace operation by an out-of-place one.{at_user_line()}"
        )


def leaf_written() -> RuntimeError:
    """The error for a write into a leaf."""
    return RuntimeError(
        "a leaf Variable that requires grad is being used in an in-place operation."
        f"\n  Remedy: write inside torch.no_grad(), or into a clone(), or use the out-of-place operation.{at_user_line()}"
    )


def view_of_leaf() -> RuntimeError:
    """The error for a write into a part of a leaf."""
    return RuntimeError(
        "a view of a leaf Variable that requires grad is being used in an in-place operation."
        f"\n  Remedy: write inside torch.no_grad(), or into a view of a clone().{at_user_line()}"
    )


_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def fitting(target: Tensor, value: Tensor, name: str) -> Tensor:
    """A value in the dtype of what it is written into, of the same shape."""
    wanted, given = target._array.dtype, value._array.dtype
    if value._array.shape != target._array.shape:
        raise RuntimeError(
            f"output with shape {list(target._array.shape)} doesn't match the broadcast shape {list(value._array.shape)}{at_user_line()}"
        )
    if wanted == given:
        return value
    if name != "copy_" and _RANK[given.kind] > _RANK[wanted.kind]:
        raise RuntimeError(
            f"result type {title(given)} can't be cast to the desired output type {title(wanted)}{at_user_line()}"
        )
    return converted(value, wanted)


def put(target: Tensor, array: Any, origin: Any = None) -> None:
    """Write into the memory, and count it, with the user's line, if that is not known already."""
    own, transform = memory(target), state.transform
    if isinstance(own, Tracer) or isinstance(array, Tracer) or transform is not None and transform.stages:
        put_traced(target, own, array)
    elif array is not own:  # which may have been written into already
        state.quiet(np.copyto, own, array, "unsafe")
    target._changes.append((next(clock), origin or user_origin(), own.dtype, own.shape))


def put_traced(target: Tensor, own: Any, array: Any) -> None:
    """Write inside a transform of functrans, where a tensor that is written into holds another array."""
    view = target._view
    owner = target if view is None else view.base
    if state.transform is not None:
        state.transform.check_written(owner)
    if not state.grad and cut(own) is not own and (current_edge(target) is not None or state.transform is None or not state.transform.stages):
        array = keeps_derivative(own, array)
    hold(owner, array if view is None else replaced(owner._array, view.steps, array))


# A write without recording changes the value, and leaves the history as it is.
keeps_derivative = custom_jvp(lambda old, new: new)
keeps_derivative.defjvp(lambda primals, tangents: (primals[1], tangents[0]))


def assign(target: Tensor, value: Tensor, name: str) -> Tensor:
    """Make `target` hold `value`: memory and history. Returns `target`."""
    if state.transform is not None and state.transform.stages:
        inside = state.transform.take(target)
        if inside is not target:
            assign(inside, value, name)
            return target
    recorded = state.grad and (current_edge(target) is not None or current_edge(value) is not None)
    check_writable(target, recorded)
    value = fitting(target, value, name)
    edge, old = current_edge(value), current_edge(target)
    put(target, value._array)
    if state.level:
        move_tangent(target, value)
    if recorded:
        rebase(target, edge, old, name)
        maker = current_edge(target)
        if maker is not None:  # messages of overwritten values name it
            made_by = CopySlices.name(maker[0]) if target._view is not None else maker[0].name().removesuffix("Backward0")
            target._changes[-1] = (*target._changes[-1], made_by)
    return target


def move_tangent(target: Tensor, value: Tensor) -> None:
    """Give a tensor that was written into the tangent of what was written."""
    tangents = [(each._extras or {}).get("tangent") for each in (target, value)]
    if tangents[0] is None and tangents[1] is None:
        return
    if target._view is not None:
        raise NotImplementedError(f"writing into a view of a dual tensor is not supported; write into the tensor itself{at_user_line()}")
    tangent = made(np.zeros_like(target._array)) if tangents[1] is None else tangents[1]
    target._extras = {**(target._extras or {}), "tangent": tangent}


def rebase(target: Tensor, edge: Any, old: Any, name: str) -> None:
    """Give a tensor that was written into, or its base, the history of what was written."""
    if edge is not None and (edge[0].is_leaf or name == "copy_"):
        # The node that made the value stays as it is: what it saved may be what is overwritten.
        edge = COPY((old if target._view is None else None, edge)), 0
    view = target._view
    if view is None:
        if edge is None and old is not None:
            edge = (COPY((old, None)) if name == "copy_" else named(constant_name(name), ConstantNode)((old,))), 0
        if edge is not None:
            edge[0].sequence = next(clock)
            keep_retaining(target, old, edge)
        target._edge = edge
        return
    base = view.base
    base._edge = CopySlices((current_edge(base), edge), base._array.shape, view.steps), 0


def keep_retaining(target: Tensor, old: Any, new: Any) -> None:
    """Let a tensor that retains its gradient, and was written into, retain that of what it holds now."""
    if old is None or old[0].hooks is None or old[0] is new[0]:
        return
    reference = old[0].hooks.retain.get(old[1])
    if reference is not None and reference() is target:
        del old[0].hooks.retain[old[1]]
        new[0].hooked().retain[new[1]] = reference


class Through(Node):
    """Passes the cotangent on to the value written, and zeros to the one overwritten."""

    __slots__ = ()

    def pull(self, cts: list[Any], flag: bool, trace: Any) -> Sequence[Any]:
        (ct,) = cts
        return None if self.edges[0] is None else zeros(ct), ct

    def name(self) -> str:
        return "torch::autograd::CopyBackwards"


COPY = named("CopyBackwards", Through)


# Where torch's name of the node of a constant is not made of the function's.
CONSTANT_NAMES = {"fill_": "FillBackward2", "bernoulli_": "BernoulliBackward2"}


def constant_name(name: str) -> str:
    """Torch's name of the node of a write of a constant."""
    return CONSTANT_NAMES.get(name) or "".join(part.capitalize() for part in name.strip("_").split("_")) + "Backward0"


def edge_of_old_value(target: Tensor) -> Any:
    """The edge of what is overwritten: of a view by strides that of the base, which has more elements than what it was made of."""
    view = target._view
    edge = current_edge(target)
    if view is None or edge is None or view.steps is None or all(step.strides is None for step in view.steps):
        return edge
    base = current_edge(view.base)
    return edge if base is None else (AsStrided((base,), view.steps), 0)


def written(target: Tensor, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], name: str) -> Tensor:
    """Make `target` hold ``function(target, *args)``."""
    recorded = state.grad and (requires_grad(target) or any(map(requires_grad, args)) or any(map(requires_grad, kwargs.values())))
    check_writable(target, recorded)
    if not recorded and not state.special and len(args) == 1 and directly(target, function, args[0], kwargs):
        return target
    source = target
    if recorded and type(target._array) is np.ndarray:
        # What the node saves must not be what is overwritten.
        source = made(target._array.copy())
        source._edge = edge_of_old_value(target)
        source._extras = target._extras
        args = [source if each is target else each for each in args]
    return assign(target, function(source, *args, **kwargs), name)


# Functions of two operands that NumPy can write straight into the first.
UFUNCS: dict[Callable[..., Any], np.ufunc] = {}


def directly(target: Tensor, function: Callable[..., Any], other: Any, kwargs: dict[str, Any]) -> bool:
    """Let NumPy write the result into `target`, if that needs neither a history nor a conversion; whether it did."""
    ufunc, array = UFUNCS.get(function), target._array
    if ufunc is None or type(array) is not np.ndarray or array.dtype.kind != "f" or kwargs and kwargs.keys() != {"alpha"}:
        return False
    if isinstance(other, Tensor):
        value = other._array
        if type(value) is not np.ndarray or value.dtype is not array.dtype or value.shape != array.shape:
            return False
    elif type(other) in (int, float):
        value = other
    else:
        return False
    if kwargs:
        value = state.quiet(np.multiply, value, kwargs["alpha"], dtype=array.dtype)
    state.quiet(ufunc, array, value, array)
    target._changes.append((next(clock), user_origin(), array.dtype, array.shape))
    return True


def in_place(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The method with an underscore of a function."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return written(self, function, args, kwargs, name)

    method.__name__ = method.__qualname__ = name
    return method


def install_in_place() -> None:
    """Give tensors the methods with an underscore that tables have entered."""
    for name, function in IN_PLACE.items():
        if name not in Tensor.__dict__:
            setattr(Tensor, name, in_place(name, function))
