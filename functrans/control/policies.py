"""Policies of `checkpoint`: which values of the forward pass are kept for the backward pass.

A policy is a function ``(primitive, *types, **params)`` of an equation, its operands' types and its parameters, that
says whether the results are kept where the backward pass reads them. It is asked neither about views, which cost
nothing, nor about what only derivatives need. Here are those that are needed most; any function will do.

Example:
    >>> import numpy as np, functrans as ft
    >>> w = np.ones((3, 3))
    >>> layer = ft.checkpoint(lambda x: np.sum(np.tanh(x @ w)), policy=ft.checkpoint_policies.dots)
    >>> [str(residual.type) for residual in ft.inspect.residuals(layer, np.ones(3)).computed]
    ['float64[3]']
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from functrans.ops.contraction import contract
from functrans.ops.recomputation import checkpoint_name

__all__ = ["dots", "everything", "nothing", "save_and_offload", "save_names"]


def nothing(primitive: Any, *types: Any, **params: Any) -> bool:
    """Everything is computed again, from the arguments."""
    return False


def everything(primitive: Any, *types: Any, **params: Any) -> bool:
    """Nothing is computed again but views."""
    return True


def dots(primitive: Any, *types: Any, **params: Any) -> bool:
    """Results of matrix products and their like are kept."""
    return primitive is contract


@dataclass(frozen=True)
class Names:
    """Keeps the values with one of these names."""

    names: frozenset[str]

    def __call__(self, primitive: Any, *types: Any, **params: Any) -> bool:
        return primitive is checkpoint_name and params["name"] in self.names


@dataclass(frozen=True)
class Offload:
    """Keeps what another policy does, in files in a folder."""

    policy: Callable[..., Any]
    folder: str | None

    def __call__(self, primitive: Any, *types: Any, **params: Any) -> Any:
        return self.policy(primitive, *types, **params)


def save_names(*names: str) -> Names:
    """The policy that keeps the values with one of these names, see `checkpoint_name`.

    Raises:
        TypeError: a name is no str.

    Example:
        >>> import numpy as np, functrans as ft
        >>> f = lambda x: np.sum(np.sin(ft.checkpoint_name(np.exp(x), "power")))
        >>> f = ft.checkpoint(f, policy=ft.checkpoint_policies.save_names("power"))
        >>> float(ft.grad(f)(0.0)) == float(np.cos(1.0))
        True
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"save_names: names are str, got {type(name).__name__}"
                "\n  Remedy: pass the names given by ft.checkpoint_name, one by one."
            )
    return Names(frozenset(names))


def save_and_offload(*kept: str | Callable[..., Any], folder: str | None = None) -> Offload:
    """The policy that keeps values in files, mapped into memory, from which they are read in the backward pass.

    Args:
        kept: names, see `checkpoint_name`, or one policy that says which values are kept.
        folder: where the files are; by default the system's folder for temporary files, which may be memory itself.
            They have no names, and are gone when the last array that reads them is.

    Example:
        >>> import numpy as np, functrans as ft
        >>> policy = ft.checkpoint_policies.save_and_offload("power")
        >>> f = ft.checkpoint(lambda x: np.sum(np.sin(ft.checkpoint_name(np.exp(x), "power"))), policy=policy)
        >>> ft.grad(f)(np.zeros(2)).tolist() == [np.cos(1.0)] * 2
        True
    """
    if len(kept) == 1 and callable(kept[0]):
        return Offload(kept[0], folder)
    return Offload(save_names(*kept), folder)  # type: ignore[arg-type]
