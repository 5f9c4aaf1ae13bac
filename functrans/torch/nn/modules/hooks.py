"""Hooks of modules: those called after `forward`, those of backward passes, and those of all modules.

Backward hooks are steps of the graph before and after a module's own, where they see the gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.errors import at_user_line
from functrans.torch.autograd.handles import RemovableHandle
from functrans.torch.autograd.modes import state
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor, current_edge

__all__ = [
    "of_all", "register_module_forward_hook", "register_module_forward_pre_hook", "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook", "with_backward_hooks", "with_forward_hooks",
]  # fmt: skip

# A copy of each, so that the results have a place of their own in the graph.
_through = define("_through", lambda *values: tuple(np.copy(value) for value in values), node="BackwardHookFunctionBackward", method=False, public=False)


class Hooks:
    """Hooks of all modules, which are called before a module's own."""

    def __init__(self) -> None:
        self.pre_hooks: dict[int, Any] = {}
        self.hooks: dict[int, Any] = {}
        self.backward_hooks: dict[int, Any] = {}
        self.backward_pre_hooks: dict[int, Any] = {}

    def used(self) -> bool:
        """Whether there are any."""
        return bool(self.hooks or self.pre_hooks or self.backward_hooks or self.backward_pre_hooks)


of_all = Hooks()


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, args)`` before `forward` of every module."""
    return RemovableHandle(of_all.pre_hooks, hook)


def register_module_forward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after `forward` of every module.

    Example:
        >>> import functrans.torch as torch
        >>> from functrans.torch.nn.modules.module import register_module_forward_hook
        >>> with register_module_forward_hook(lambda module, args, output: print(type(module).__name__, tuple(output.shape))):
        ...     y = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())(torch.ones(1, 3))
        Linear (1, 2)
        ReLU (1, 2)
        Sequential (1, 2)
    """
    return RemovableHandle(of_all.hooks, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` in backward passes through every module."""
    return RemovableHandle(of_all.backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward pass of every module."""
    return RemovableHandle(of_all.backward_pre_hooks, hook)


def with_forward_hooks(module: Any, args: Any, kwargs: Any) -> Any:
    """What `forward` gives, after its hooks; those that are always called see None if something raises."""
    left = {**of_all.hooks, **module._hooks}
    result = None

    def call(key: int, hook: Any) -> Any:
        return hook(module, args, kwargs, result) if key in module._with_kwargs else hook(module, args, result)

    try:
        result = module.forward(*args, **kwargs)
        for key, hook in list(left.items()):
            del left[key]
            changed = call(key, hook)
            if changed is not None:
                result = changed
    except Exception:
        for key, hook in left.items():
            if key in module._always_called:
                call(key, hook)
        raise
    return result


def with_backward_hooks(module: Any, args: Any, kwargs: Any) -> Any:
    """The result of `forward` and its hooks, with the module's backward hooks on what flows back through both."""
    hooks = [*of_all.backward_hooks.values(), *module._backward_hooks.values()]
    before = [*of_all.backward_pre_hooks.values(), *module._backward_pre_hooks.values()]
    record: dict[str, Any] = {"inputs": None, "outputs": None}

    def on_inputs(grad_inputs: Any, grad_outputs: Any) -> Any:
        own = [None] * record["count"]
        for place, grad in zip(record["places"], grad_inputs):
            own[place] = grad
        grads = tuple(own)
        for hook in hooks:
            changed = hook(module, grads, record["outputs"])
            if changed is not None:
                grads = changed if isinstance(changed, tuple) else (changed,)
        return tuple(grads[place] for place in record["places"])

    def on_outputs(grad_outputs: Any) -> Any:
        grads = tuple(grad_outputs)
        for hook in before:
            changed = hook(module, grads)
            if changed is not None:
                grads = changed if isinstance(changed, tuple) else (changed,)
        record["outputs"] = grads
        if not record.get("places"):
            for hook in hooks:
                hook(module, (None,) * record["count"], grads)
        return grads

    record["count"] = len(args)
    places = [i for i, each in enumerate(args) if isinstance(each, Tensor) and state.grad and current_edge(each) is not None]
    record["places"] = places
    if places and hooks:
        watched = _through(*(args[place] for place in places))
        watched[0].grad_fn.register_hook(on_inputs)
        args = list(args)
        for place, value in zip(places, watched):
            args[place] = value
    result = with_forward_hooks(module, args, kwargs)
    outputs = result if isinstance(result, tuple) else (result,)
    if any(isinstance(each, Tensor) and isinstance(each._array, Tracer) for each in outputs):
        raise NotImplementedError(
            f"backward hooks of {type(module).__name__} are not called inside transforms and torch.compile\n  Remedy: remove them, or call "
            f"the module outside.{at_user_line()}"
        )
    kept = [i for i, each in enumerate(outputs) if isinstance(each, Tensor) and current_edge(each) is not None]
    if not kept or not state.grad:
        return result
    watched = _through(*(outputs[place] for place in kept))
    watched[0].grad_fn.register_prehook(on_outputs)
    shown = list(outputs)
    for place, value in zip(kept, watched):
        shown[place] = value
    return shown[0] if not isinstance(result, tuple) else tuple(shown)
