"""Hooks of modules: those called after `forward`, and those of backward passes.

The latter are steps of the graph before and after a module's own, where hooks see the gradients.
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

__all__ = ["with_backward_hooks", "with_forward_hooks"]

# A copy of each, so that the results have a place of their own in the graph.
_through = define("_through", lambda *values: tuple(np.copy(value) for value in values), node="BackwardHookFunctionBackward", method=False, public=False)


def with_forward_hooks(module: Any, args: Any, kwargs: Any) -> Any:
    """What `forward` gives, after its hooks; those that are always called see None if something raises."""
    left = dict(module._hooks)
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
    hooks, before = list(module._backward_hooks.values()), list(module._backward_pre_hooks.values())
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
