"""Calls while something beside their results is asked for: tangents, hooks of saved values, inference mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.core.trace import current
from functrans.core.types import dtype_of, is_differentiable
from functrans.torch.autograd.modes import no_grad, state
from functrans.torch.autograd.trace import GraphTrace
from functrans.torch.ops.apply import SPECIAL, seen
from functrans.torch.ops.composed import Slot, filled, filled_keywords, plain
from functrans.torch.tensor import Tensor, made
from functrans.transforms.forward import pushed, released_pair


def tangent_of(value: Any) -> Tensor | None:
    """The tangent of a dual tensor, None of others."""
    return value._extras.get("tangent") if isinstance(value, Tensor) and value._extras else None


def results_of(out: Any) -> list[Tensor]:
    """The tensors among the results of a call."""
    return [part for part in (out if isinstance(out, tuple) else (out,)) if isinstance(part, Tensor)]


def special_call(name: str, array_function: Any, args: Sequence[Any], params: Any, plainly: Callable[..., Any]) -> Any:
    """The result of a call, with what is asked for beside it."""
    asked, state.special = state.special, 0
    try:
        if state.transform is not None:
            args = [seen(value) for value in args]
        out = plainly(*args)
        results = results_of(out)
        if state.transform is not None:
            for result in results:
                result._extras = {**(result._extras or {}), "inside": state.transform}
        if state.saved_hooks:
            for node in {result._edge[0] for result in results if result._edge is not None}:
                pack(node)
        if state.inference:
            for result in results:
                result._extras = {**(result._extras or {}), "inference": True}
        if state.level:
            push_tangents(array_function, args, params, results)
    finally:
        state.special = asked
    return out


SPECIAL.append(special_call)


def pack(node: Any) -> None:
    """Let a new node keep what the innermost hooks make of what it saved."""
    if not hasattr(node, "unpack") or node.is_leaf or node.unpack is not None:
        return
    packer = Packer(*state.saved_hooks[-1])
    node.keep(packer.packed)
    node.unpack = packer.unpacked


class Packed:
    """What a hook made of a saved value."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content


class Packer:
    """A pair of hooks, for values in tuples and lists."""

    def __init__(self, pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> None:
        self.pack, self.unpack = pack, unpack

    def packed(self, value: Any) -> Any:
        """A value with floating arrays replaced by what the first hook makes of them."""
        if isinstance(value, (np.ndarray, np.generic)) and dtype_of(value).kind in "fc":
            with no_grad():
                return Packed(self.pack(made(value)))
        if type(value) in (tuple, list):
            return type(value)([self.packed(part) for part in value])
        return value

    def unpacked(self, value: Any) -> Any:
        """A value with the arrays that the second hook gives back."""
        if type(value) is Packed:
            tensor = self.unpack(value.content)
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(tensor).__name__}"
                )
            return tensor._array
        if type(value) in (tuple, list):
            return type(value)([self.unpacked(part) for part in value])
        return value


def slotted(value: Any, duals: list[Tensor]) -> Any:
    """An argument with dual tensors, which are collected, replaced by slots, and other tensors by their arrays."""
    if isinstance(value, Tensor):
        if tangent_of(value) is None:
            return value._array
        duals.append(value)
        return Slot(len(duals) - 1)
    if type(value) in (list, tuple):
        return type(value)([slotted(item, duals) for item in value])
    return value


def push_tangents(array_function: Any, args: Sequence[Any], params: Any, results: list[Tensor]) -> None:
    """Give results the tangents that those of the arguments make."""
    duals: list[Tensor] = []
    own_args = [slotted(value, duals) for value in args]
    own_params = {key: slotted(value, duals) for key, value in params.items()}
    if not duals:
        return
    trace = GraphTrace("forward_ad", current.get()) if state.grad else None
    take: Callable[[Any], Any] = trace.take if trace is not None else plain
    token = trace.begin() if trace is not None else None
    try:
        pairs = [(take(dual), take(tangent_of(dual))) for dual in duals]
        with np.errstate(all="ignore"):
            forward, out = pushed(
                pairs, lambda tracers: array_function(*filled(own_args, tracers), **filled_keywords(own_params, tracers))
            )
            parts = [released_pair(forward, part)[1] for part in (out if isinstance(out, tuple) else (out,))]
        for result, tangent in zip(results, parts):
            if is_differentiable(dtype_of(result._array)):
                if tangent is None:
                    tangent = np.zeros(result._array.shape, result._array.dtype)[()]
                given = trace.give(tangent) if trace is not None else made(tangent)
                result._extras = {**(result._extras or {}), "tangent": given}
    finally:
        if trace is not None:
            trace.end(token)
