"""``torch.FloatTensor`` and its kin: constructors of tensors of one dtype, and classes of them for `isinstance`."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.dtypes import DTYPES, TITLES
from functrans.torch.ops.creation import tensor, zeros
from functrans.torch.tensor import Tensor

__all__ = ["TYPES"]


class tensortype(type):
    """The class of ``torch.FloatTensor``, whose instances are the tensors of a dtype."""

    wanted: np.dtype[Any]

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance._array.dtype == cls.wanted

    def __call__(cls, *data: Any) -> Tensor:
        of = DTYPES[cls.wanted]
        if not data or all(type(item) is int for item in data):
            return zeros(data or (0,), dtype=of)
        if not isinstance(data[0], Tensor):
            return tensor(data[0], dtype=of)
        if data[0].dtype is not of:
            raise TypeError(f"expected a tensor of {of} (got one of {data[0].dtype})\n  Remedy: use Tensor.to.{at_user_line()}")
        return data[0].view_as(data[0])


def typed(name: str, wanted: np.dtype[Any]) -> Any:
    """The class of tensors of a dtype."""
    doc = f"Zeros of a shape given by ints, or a tensor of data; {wanted.name}."
    return tensortype(name, (), {"wanted": wanted, "__module__": "torch", "__doc__": doc})


TYPES = {
    f"{TITLES[name]}Tensor": typed(f"{TITLES[name]}Tensor", np.dtype(name))
    for name in ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
}
