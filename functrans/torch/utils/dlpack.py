"""``torch.utils.dlpack``: arrays of other libraries, which share memory with tensors."""

from __future__ import annotations

from typing import Any

from functrans.torch.ops.methods import from_dlpack
from functrans.torch.tensor import Tensor

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule of the tensor's memory, for libraries that take one rather than the tensor itself.

    Example:
        >>> import functrans.torch as torch
        >>> torch.utils.dlpack.to_dlpack(torch.ones(2))  # doctest: +ELLIPSIS
        <capsule object "dltensor" at ...>
    """
    return tensor.__dlpack__()
