"""`checkpoint`: what a function saves for the backward pass is computed again there, instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from functrans.torch.autograd.hooks import saved_tensors_hooks
from functrans.torch.autograd.modes import enable_grad
from functrans.torch.random import default_generator
from functrans.torch.tensor import Tensor, current_edge, like

__all__ = ["checkpoint", "checkpoint_sequential"]


class CheckpointError(RuntimeError):
    """The function did not save the same tensors when it was performed again."""


class Recomputation:
    """What a call of a function saves, by number; performed again when the first of it is asked for."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], preserve: bool) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.state = default_generator.get_state() if preserve else None
        self.count = 0
        self.again: dict[int, Tensor] = {}

    def pack(self, tensor: Tensor) -> int:
        """The number that stands for a saved tensor."""
        self.count += 1
        return self.count - 1

    def unpack(self, number: int) -> Tensor:
        """The tensor, computed again."""
        if number not in self.again:
            self.perform()
        return self.again.pop(number)

    def perform(self) -> None:
        """Perform the function again, and hold what it saves."""
        later = default_generator.get_state()
        if self.state is not None:
            default_generator.set_state(self.state)
        numbers = iter(range(self.count))
        self.again = {}

        def keep(tensor: Tensor) -> None:
            number = next(numbers, None)
            if number is None:
                raise CheckpointError("checkpoint: the function saved more tensors when it was performed again than before")
            self.again[number] = tensor

        with enable_grad(), saved_tensors_hooks(keep, lambda packed: packed):
            self.function(*self.args, **self.kwargs)
        default_generator.set_state(later)
        if len(self.again) != self.count:
            raise CheckpointError(
                f"checkpoint: the function saved {len(self.again)} tensors when it was performed again, and {self.count} before"
            )


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True, **kwargs: Any
) -> Any:
    """The result of ``function(*args)``, whose backward pass performs the function again for what it needs.

    Args:
        function: of tensors; it must do the same when performed again.
        use_reentrant: both kinds of torch's are one here.
        preserve_rng_state: whether random numbers are the same again.

    Example:
        >>> import functrans.torch as torch
        >>> from functrans.torch.autograd.checkpoint import checkpoint
        >>> x = torch.ones(2, requires_grad=True)
        >>> checkpoint(lambda x: (x.sin() * x).sum(), x).backward()
        >>> x.grad
        tensor([1.3818, 1.3818])
    """
    own = [held(each) for each in args]
    again = Recomputation(function, own, kwargs, preserve_rng_state)
    with saved_tensors_hooks(again.pack, again.unpack):
        return function(*args, **kwargs)


def held(value: Any) -> Any:
    """An argument, as it is now, for another time."""
    if not isinstance(value, Tensor):
        return value
    tensor = like(value, value._array)
    tensor._edge = current_edge(value)
    return tensor


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Functions one after the other, in so many stretches, of which all but the last are checkpointed."""
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(functions) // segments

    def stretch(start: int, stop: int) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for function in functions[start:stop]:
                value = function(value)
            return value

        return run

    for number in range(segments - 1):
        input = checkpoint(stretch(number * size, (number + 1) * size), input, **kwargs)
    return stretch((segments - 1) * size, len(functions))(input)
