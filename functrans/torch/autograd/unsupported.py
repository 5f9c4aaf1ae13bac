"""Names that torch.autograd and torch.func have and we do not: calls of them say so, with what to use instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrans.errors import at_user_line

__all__ = ["AUTOGRAD", "FUNC", "FUNCTION", "GRAPH", "refusal", "refusals"]

_THREADS = "backward from threads of your own, which may run at once"
_STREAMS = "nothing in its place: there are no streams"
AUTOGRAD = {
    "NestedIOFunction": "Function, with the tensors as its arguments",
    "SavedTensor": "saved_tensors_hooks",
    "enforce_grad_layout_policy": "gradients as they are: there is one layout",
    "is_multithreading_enabled": _THREADS,
    "is_view_replay_enabled": "views as they are",
    "set_multithreading_enabled": _THREADS,
}
GRAPH = {
    "region_activation_memory_budget": "utils.checkpoint.checkpoint",
    "set_override_stale_capture_stream": _STREAMS,
    "set_warn_on_accumulate_grad_stream_mismatch": _STREAMS,
}
FUNCTION = {
    "BackwardCFunction": "the node, y.grad_fn",
    "InplaceFunction": "Function, with ctx.mark_dirty",
    "NestedIOFunction": "Function, with the tensors as its arguments",
    "traceable": "the class without it",
}
FUNC = {"debug_unwrap": "has_aux=True, to return a value as well", "rearrange": "x.reshape and x.permute"}


def refusal(name: str, alternative: str) -> Callable[..., Any]:
    """A function that raises, naming what is not supported and an alternative."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{name} is not supported\n  Remedy: use {alternative}.{at_user_line()}")

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    refuse.__doc__ = f"``{name}``, which is not supported; use {alternative}."
    return refuse


def refusals(module: str, names: dict[str, str]) -> dict[str, Callable[..., Any]]:
    """Functions that raise, by name."""
    return {name: refusal(f"{module}.{name}", alternative) for name, alternative in names.items()}
