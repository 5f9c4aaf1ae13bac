"""``torch.amp``, switched off: as in torch where there is no device for it, so that programs that can do without run as they are."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from functrans.errors import at_user_line

__all__ = ["GradScaler", "autocast", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Whether computations can be of mixed precision: they cannot."""
    return False


class autocast:
    """A context, or a decorator, in which nothing changes.

    Args:
        device_type: for ``"cuda"`` it warns, as torch does without that device, and is switched off.
        enabled: False.

    Raises:
        NotImplementedError: it is enabled, for a device that is there.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None) -> None:
        if enabled and device_type == "cuda":
            warnings.warn("User provided device_type of 'cuda', but CUDA is not available. Disabling", UserWarning, stacklevel=2)
        elif enabled:
            raise NotImplementedError(
                f"torch.autocast is not supported by functrans.torch\n  Remedy: use enabled=False, or torch.float32 throughout.{at_user_line()}"
            )

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(function)(lambda *args, **kwargs: function(*args, **kwargs))


class GradScaler:
    """Losses and steps as they are, which needs no factor.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer, scaler = torch.optim.SGD([x], lr=0.25), torch.amp.GradScaler("cpu", enabled=False)
        >>> scaler.scale(x * x).backward()
        >>> scaler.step(optimizer)
        >>> scaler.update()
        >>> x
        tensor(0.5000, requires_grad=True)
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, *args: Any, enabled: bool = True, **options: Any) -> None:
        if enabled and device == "cuda":
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", UserWarning, stacklevel=2)
        elif enabled:
            raise NotImplementedError(f"torch.amp.GradScaler is not supported by functrans.torch\n  Remedy: use enabled=False.{at_user_line()}")

    def is_enabled(self) -> bool:
        """Whether there is a factor: there is none."""
        return False

    def get_scale(self) -> float:
        """The factor: 1."""
        return 1.0

    def scale(self, outputs: Any) -> Any:
        """The losses themselves."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Gradients stay as they are."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """A step of the optimiser."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """There is no factor to change."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing is taken over."""
