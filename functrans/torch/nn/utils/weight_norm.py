"""``nn.utils.weight_norm``, the form of it before parametrisations: the weight is computed by a hook before each forward pass."""

from __future__ import annotations

import warnings
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.parameter import Parameter
from functrans.torch.nn.utils.parametrizations import norm_except_dim, weight_of
from functrans.torch.tensor import Tensor

__all__ = ["remove_weight_norm", "weight_norm"]


class WeightNorm:
    """The hook: a weight from its norm ``weight_g`` and its direction ``weight_v``."""

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    def weight(self, module: Module) -> Tensor:
        """The weight of a module."""
        return weight_of(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Let a weight be a norm times a direction (Salimans and Kingma 2016); `parametrizations.weight_norm` takes its place.

    Returns:
        The module, with parameters ``weight_g`` and ``weight_v`` instead of ``weight``.

    Raises:
        RuntimeError: the weight has such a hook already.

    Example:
        >>> import warnings
        >>> import functrans.torch as torch
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     layer = torch.nn.utils.weight_norm(torch.nn.Linear(2, 3))
        >>> list(layer.state_dict())
        ['bias', 'weight_g', 'weight_v']
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.", FutureWarning, stacklevel=2
    )
    if any(isinstance(hook, WeightNorm) and hook.name == name for hook in module._pre_hooks.values()):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}{at_user_line()}")
    hook = WeightNorm(name, -1 if dim is None else dim)
    weight = getattr(module, name).detach()
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight, hook.dim)))
    module.register_parameter(f"{name}_v", Parameter(weight))
    setattr(module, name, hook.weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a parameter again.

    Raises:
        ValueError: it has no such hook.
    """
    for key, hook in module._pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            weight = hook.weight(module)
            for each in (name, f"{name}_g", f"{name}_v"):
                delattr(module, each)
            module.register_parameter(name, Parameter(weight.detach()))
            del module._pre_hooks[key]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
