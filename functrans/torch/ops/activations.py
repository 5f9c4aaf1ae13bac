"""Softmax and its kin, and the activations that torch has as functions of the namespace."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans import nn
from functrans.core.types import dtype_of
from functrans.torch.dtypes import numpy_dtype
from functrans.torch.ops.shapes import axis_of
from functrans.torch.ops.table import checked_kind, define


def cast(x: Any, dtype: Any, name: str) -> Any:
    """`x` in the dtype asked for, if one is, which must be floating."""
    x = x if dtype is None else x.astype(numpy_dtype(dtype))
    checked_kind(dtype_of(x), name, "f")
    return x


define("softmax", lambda x, dim, dtype=None: nn.softmax(cast(x, dtype, "softmax"), axis_of(dim, x.ndim)))
define("log_softmax", lambda x, dim, dtype=None: nn.log_softmax(cast(x, dtype, "log_softmax"), axis_of(dim, x.ndim)))
define("selu", lambda x: nn.selu(x), node="EluBackward0", method=False, in_place=True, kinds="f")
define("celu", lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x) / alpha)), method=False, in_place=True, kinds="f")
define("threshold", lambda x, threshold, value: np.where(x > threshold, x, dtype_of(x).type(value)), method=False, in_place=True, kinds="if")
define("hardshrink", lambda x, lambd=0.5: np.where(np.abs(x) <= lambd, dtype_of(x).type(0), x), kinds="f")
define("prelu", lambda x, weight: np.where(x > 0, x, aligned(weight, x) * x), node="PreluKernelBackward0")


def aligned(weight: Any, x: Any) -> Any:
    """One weight for all, or one per channel, shaped to meet `x`."""
    return np.reshape(weight, (-1, *(1,) * (x.ndim - 2))) if weight.size > 1 else weight
