"""Hooks of saved values and anomaly mode: contexts that change what nodes keep, and what passes look for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrans.torch.autograd.modes import _Mode, state
from functrans.torch.tensor import Tensor, made

__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "save_on_cpu", "saved_tensors_hooks", "set_detect_anomaly"]


class saved_tensors_hooks:
    """While it is entered, ``pack_hook(tensor)`` says what nodes keep of each tensor they save, and
    ``unpack_hook(packed)`` gives the tensor back when it is needed.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().copy(), torch.from_numpy):
        ...     y = (x * x).sum()
        >>> y.backward()
        >>> x.grad
        tensor([2., 2.])
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if state.hooks_disabled is not None:
            raise RuntimeError(state.hooks_disabled)
        state.saved_hooks.append((self.pack_hook, self.unpack_hook))
        state.special += 1

    def __exit__(self, *error: Any) -> None:
        state.saved_hooks.pop()
        state.special -= 1


class save_on_cpu(saved_tensors_hooks):
    """Nodes keep copies in the memory of the CPU, where tensors are in any case."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cpu") -> None:
        super().__init__(lambda tensor: made(tensor._array.copy()), lambda tensor: tensor)


class _Anomaly(_Mode):
    """Look for nan in backward passes."""

    def __init__(self, mode: bool = True, check_nan: bool = True) -> None:
        self.mode = bool(mode), bool(check_nan)

    def clone(self) -> _Anomaly:
        return _Anomaly(*self.mode)

    def __enter__(self) -> None:
        self.previous = state.anomaly
        state.anomaly = self.mode

    def __exit__(self, *error: Any) -> None:
        state.anomaly = self.previous


class detect_anomaly(_Anomaly):
    """Backward passes raise at the first node that gives nan, naming it and the line it stems from.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(-1.0, requires_grad=True)
        >>> with torch.autograd.detect_anomaly():
        ...     torch.sqrt(x).backward()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output...
    """

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


class set_detect_anomaly(_Anomaly):
    """Switch anomaly mode on or off: at once, and as it was again at the end of a ``with``."""

    def __init__(self, mode: bool = True, check_nan: bool = True) -> None:
        super().__init__(mode, check_nan)
        self.before = state.anomaly
        state.anomaly = self.mode

    def __enter__(self) -> None:
        self.previous = self.before
        state.anomaly = self.mode


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return state.anomaly[0]


def is_anomaly_check_nan_enabled() -> bool:
    """Whether backward passes look for nan in anomaly mode."""
    return state.anomaly[1]
