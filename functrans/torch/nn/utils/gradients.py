"""Gradients and parameters of a whole module at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor, made

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm", "parameters_to_vector", "vector_to_parameters"]


def get_total_norm(tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """The norm of all elements of several tensors.

    Raises:
        RuntimeError: it is not finite, and `error_if_nonfinite`.
    """
    norms = [np.linalg.norm(np.ravel(tensor._array), norm_type) for tensor in tensors]
    total = np.linalg.norm(np.array(norms), norm_type) if norms else np.float32(0)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be clipped. To disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return made(total)


def _grads(parameters: Any) -> list[Tensor]:
    own = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [each._grad for each in own if each._grad is not None]


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: Any = None
) -> Tensor:
    """Scale gradients, in place, such that their common norm is at most `max_norm` (Pascanu, Mikolov and Bengio 2013).

    Returns:
        The norm before.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.zeros(2, requires_grad=True)
        >>> (3 * x[0] + 4 * x[1]).backward()
        >>> torch.nn.utils.clip_grad_norm_([x], 1.0), x.grad
        (tensor(5.), tensor([0.6000, 0.8000]))
    """
    own = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_grads(own), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(own, max_norm, total)
    return total


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, foreach: Any = None) -> None:
    """Scale gradients, in place, such that a common norm of `total_norm` becomes at most `max_norm`."""
    scale = min(float(max_norm) / (float(total_norm) + 1e-6), 1.0)
    for grad in _grads(parameters):
        grad.detach().mul_(scale)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: Any = None) -> None:
    """Hold each element of the gradients, in place, within `clip_value` of 0."""
    for grad in _grads(parameters):
        grad.detach().clamp_(-float(clip_value), float(clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of several tensors as one vector; differentiable."""
    return FUNCTIONS["cat"]([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make parameters hold the elements of a vector."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vec[start : start + count].reshape(parameter.shape).data
        start += count
