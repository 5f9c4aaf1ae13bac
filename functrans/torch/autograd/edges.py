"""``torch.autograd.graph`` beside nodes: edges by themselves, hooks of several tensors at once, versions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from functrans.errors import at_user_line, user_origin
from functrans.torch.autograd.modes import state
from functrans.torch.tensor import Tensor, clock, current_edge

__all__ = [
    "GradientEdge", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version",
    "register_multi_grad_hook",
]  # fmt: skip


class GradientEdge(NamedTuple):
    """A place in the graph: result `output_nr` of `node`. Gradients can be asked for with respect to it."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge of a tensor, which can stand for it in `autograd.grad` and `backward`, and does not keep its memory.

    Raises:
        RuntimeError: it requires no gradient.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> y = x * x
        >>> edge = torch.autograd.graph.get_gradient_edge(y)
        >>> torch.autograd.grad(y * 3, edge)
        (tensor(3.),)
    """
    edge = current_edge(tensor)
    if edge is None:
        raise RuntimeError(f"It is not possible to get the gradient edge for a Tensor that does not require gradients{at_user_line()}")
    return GradientEdge(*edge)


def increment_version(tensor: Any) -> None:
    """Count a write into the memory of a tensor, or of several, that was made where they do not see it.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.zeros(2)
        >>> torch.autograd.graph.increment_version(x)
        >>> x._version
        1
    """
    for each in (tensor,) if isinstance(tensor, Tensor) else tensor:
        each._changes.append((next(clock), user_origin(), each._array.dtype, each._array.shape))


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """While it is entered, `saved_tensors_hooks` raises a RuntimeError of this message."""
    previous, state.hooks_disabled = state.hooks_disabled, error_message
    try:
        if state.saved_hooks:
            raise RuntimeError(error_message)
        yield
    finally:
        state.hooks_disabled = previous


def allow_mutation_on_saved_tensors() -> Any:
    """Not supported."""
    raise NotImplementedError(
        "torch.autograd.graph.allow_mutation_on_saved_tensors is not supported: saved values are not copied when they are written into"
        f"\n  Remedy: use the out-of-place operation, or write into a clone().{at_user_line()}"
    )


class MultiHandle:
    """Several hooks that are registered as one."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Take the hooks back."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> MultiHandle:
        return self

    def __exit__(self, *error: Any) -> None:
        self.remove()


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all") -> MultiHandle:
    """Call `fn` in each backward pass when the gradients of `tensors` are known.

    Args:
        tensors: all require a gradient.
        fn: with ``"all"`` gets the list of gradients, None for tensors that the pass does not come to; with ``"any"`` the
            first one that is known.
        mode: ``"all"`` or ``"any"``.

    Example:
        >>> import functrans.torch as torch
        >>> a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> _ = torch.autograd.graph.register_multi_grad_hook([a, b], print)
        >>> (a * b * b).sum().backward()
        [tensor([1., 1.]), tensor([2., 2.])]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}{at_user_line()}")
    hook = MultiHook(tensors, fn)
    registered = [
        tensor.register_hook(hook.of_one(place) if mode == "all" else hook.first)
        for place, tensor in enumerate(tensors)
        if mode == "all" or current_edge(tensor) is not None
    ]
    return MultiHandle(registered)


class MultiHook:
    """The gradients that a pass has found so far; `pending` holds them by pass."""

    def __init__(self, tensors: Sequence[Tensor], fn: Callable[..., Any]) -> None:
        self.edges = [current_edge(tensor) for tensor in tensors]
        self.fn = fn
        self.lock = threading.Lock()
        self.pending: dict[Any, dict[int, Any]] = {}

    def of_one(self, place: int) -> Callable[[Tensor], None]:
        """The hook of one tensor."""

        def hook(gradient: Tensor) -> None:
            current = state.passes[-1]
            with self.lock:
                found = self.pending.setdefault(current, {})
                found[place] = gradient
                count = sum(current.will_visit(edge[0]) for edge in self.edges)
                complete = len(found) == count
                if complete:
                    del self.pending[current]
            if complete:
                self.fn([found.get(each) for each in range(len(self.edges))])

        return hook

    def first(self, gradient: Tensor) -> None:
        """The hook of every tensor, if the first gradient is enough."""
        current = state.passes[-1]
        with self.lock:
            if current.seen_by(self):
                return
        self.fn(gradient)
