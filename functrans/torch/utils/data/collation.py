"""Examples as one batch, and NumPy's arrays as tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from functrans.torch.ops.creation import finished
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor

__all__ = ["default_collate", "default_convert"]


def default_collate(batch: Sequence[Any]) -> Any:
    """Examples as one: tensors and numbers stacked, tuples, lists and dicts part by part.

    Raises:
        TypeError: examples are of another type.
        RuntimeError: tuples or lists differ in length.

    Example:
        >>> import functrans.torch as torch
        >>> torch.utils.data.default_collate([{"x": 1, "y": 0.5}, {"x": 2, "y": 1.5}])
        {'x': tensor([1, 2]), 'y': tensor([0.5000, 1.5000], dtype=torch.float64)}
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return FUNCTIONS["stack"](list(batch))
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind not in "SUO":
        return FUNCTIONS["stack"]([finished(np.asarray(each), False, None) for each in batch])
    if isinstance(first, float):
        return finished(np.array(batch, np.float64), False, None)
    if isinstance(first, int):
        return finished(np.array(batch), False, None)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return rebuilt(first, {key: default_collate([each[key] for each in batch]) for key in first})
    if isinstance(first, Sequence):
        if any(len(each) != len(first) for each in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return rebuilt(first, [default_collate(part) for part in zip(*batch)])
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
        f"{first.dtype if isinstance(first, np.ndarray) else type(first)}"
    )


def default_convert(data: Any) -> Any:
    """NumPy's arrays and numbers, also in lists, tuples and dicts, as tensors; what else there is stays.

    Example:
        >>> import numpy as np
        >>> import functrans.torch as torch
        >>> torch.utils.data.default_convert((np.ones(2), "a"))
        [tensor([1., 1.], dtype=torch.float64), 'a']
    """
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind not in "SUO":
        return finished(np.asarray(data), False, None)
    if isinstance(data, Tensor) or isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return rebuilt(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, Sequence):
        return rebuilt(data, [default_convert(each) for each in data])
    return data


def rebuilt(like: Any, parts: Any) -> Any:
    """Parts in a container like another one, as torch does it: of tuples without names a list."""
    if isinstance(like, tuple):
        return type(like)(*parts) if hasattr(like, "_fields") else parts
    if isinstance(like, (MutableMapping, MutableSequence)):
        other = copy.copy(like)
        for key, part in parts.items() if isinstance(parts, dict) else enumerate(parts):
            other[key] = part
        return other
    make: Callable[[Any], Any] = type(like)
    try:
        return make(parts)
    except TypeError:
        return parts
