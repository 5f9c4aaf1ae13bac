"""Activations, as functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans import nn
from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.ops import special
from functrans.torch.autograd.modes import no_grad
from functrans.torch.ops.table import FUNCTIONS, define
from functrans.torch.random import numbers
from functrans.torch.storage.writes import written
from functrans.torch.tensor import Tensor, made

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_",
    "log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu_", "relu6", "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin",
    "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip


def _scaled(x: Any, number: float) -> Any:
    """A Python number in the dtype of `x`, so that an operation keeps it."""
    return dtype_of(x).type(number)


def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return nn.gelu(x)
    return x * (0.5 * (1 + special.erf(x * math.sqrt(0.5))))


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    linear = x * beta > threshold
    return np.where(linear, x, nn.softplus(np.where(linear, 0, x * beta)) / beta)


def _between(x: Any, low: float, high: float) -> Any:
    """`x` held between two numbers; outside and on them the derivative is 0."""
    return np.where(x <= low, _scaled(x, low), np.where(x >= high, _scaled(x, high), x))


def _private(name: str, operation: Any, node: str | None = None) -> Any:
    return define(f"_nn_{name}", operation, node=node or _node_name(name), method=False, public=False)


def _node_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_")) + "Backward0"


_elu = _private("elu", lambda x, alpha: nn.elu(x, alpha))
_leaky_relu = _private("leaky_relu", lambda x, slope: nn.leaky_relu(x, slope))
_hardtanh = _private("hardtanh", _between)
_silu = _private("silu", lambda x: nn.silu(x))
_mish = _private("mish", lambda x: x * np.tanh(_softplus(x)))
_gelu_of = _private("gelu", _gelu)
_softplus_of = _private("softplus", _softplus)
_logsigmoid = _private("log_sigmoid", lambda x: nn.log_sigmoid(x))
_softshrink = _private("softshrink", lambda x, lambd: np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, 0 * x)))
_hardshrink = _private("hardshrink", lambda x, lambd: np.where(np.abs(x) <= lambd, _scaled(x, 0), x))
_hardsigmoid = _private("hardsigmoid", lambda x: _between(x / 6 + 0.5, 0, 1))
_hardswish = _private(
    "hardswish", lambda x: np.where(x <= -3, _scaled(x, 0), np.where(x >= 3, x, x * (x + 3) / 6))
)
_rrelu = _private("rrelu", lambda x, slopes: np.where(x > 0, x, slopes * x), node="RreluWithNoiseBackward0")


def _applied(name: str, operation: Any, inplace: bool, input: Any, *args: Any) -> Tensor:
    """An activation of a tensor; with `inplace` written into it, as torch does."""
    _tensor(name, input)
    return written(input, operation, args, {}, f"{name}_") if inplace else operation(input, *args)


def _tensor(name: str, input: Any) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}{at_user_line()}")
    return input


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``, with derivative 0 at 0."""
    return input.relu_() if inplace else FUNCTIONS["relu"](input)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return FUNCTIONS["sigmoid"](input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return FUNCTIONS["tanh"](input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` held between two numbers."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _applied("hardtanh", _hardtanh, inplace, input, min_val, max_val)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """`x` held between 0 and 6."""
    return hardtanh(input, 0.0, 6.0, inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where positive, else ``alpha * (exp(x) - 1)`` (Clevert, Unterthiner and Hochreiter 2016)."""
    return _applied("elu", _elu, inplace, input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The self-normalising `elu` (Klambauer et al. 2017)."""
    return _applied("selu", FUNCTIONS["selu"], inplace, input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where positive, else ``alpha * (exp(x / alpha) - 1)`` (Barron 2017)."""
    return _applied("celu", FUNCTIONS["celu"], inplace, input, alpha)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`x` where positive, else `negative_slope` times `x`."""
    return _applied("leaky_relu", _leaky_relu, inplace, input, negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """`x` where positive, else `weight`, of each channel or of all, times `x` (He et al. 2015)."""
    if input.ndim == 0:
        if weight.numel() != 1:
            raise RuntimeError(f"Not allow zero-dim input tensor.{at_user_line()}")
        return FUNCTIONS["prelu"](input.reshape(1), weight.reshape(1)).reshape(())
    return FUNCTIONS["prelu"](input, weight)


def rrelu(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Tensor:
    """`leaky_relu` with slopes drawn between two numbers in training, and of their mean otherwise."""
    shape = _tensor("rrelu", input)._array.shape
    slopes = numbers(None).uniform(lower, upper, shape) if training else (lower + upper) / 2
    return _applied("rrelu", _rrelu, inplace, input, np.asarray(slopes, input._array.dtype))


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`x` where above `threshold`, else `value`."""
    return _applied("threshold", FUNCTIONS["threshold"], inplace, input, threshold, value)


def _written(function: Any) -> Any:
    """The function that writes its result into the input."""

    def call(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return function(input, *args, **kwargs, inplace=True)

    call.__name__ = call.__qualname__ = f"{function.__name__}_"
    call.__doc__ = f"As `{function.__name__}`, written into the input."
    return call


celu_, elu_, hardtanh_, leaky_relu_, relu_, rrelu_, selu_, threshold_ = map(
    _written, (celu, elu, hardtanh, leaky_relu, relu, rrelu, selu, threshold)
)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """The Gaussian error linear unit (Hendrycks and Gimpel 2016), exact or in its tanh form."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return _gelu_of(_tensor("gelu", input), approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * sigmoid(x)``."""
    return _applied("silu", _silu, inplace, input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    return _applied("mish", _mish, inplace, input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta x)) / beta``; `x` itself where ``beta x`` is above `threshold`."""
    return _softplus_of(_tensor("softplus", input), beta, threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """The logarithm of `sigmoid`."""
    return _logsigmoid(_tensor("logsigmoid", input))


def softsign(input: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """``x - tanh(x)``."""
    return input - input.tanh()


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """`x` moved towards 0 by `lambd`, but not beyond it."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return _softshrink(_tensor("softshrink", input), lambd)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """`x` where its size is above `lambd`, else 0."""
    return _hardshrink(_tensor("hardshrink", input), lambd)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``x / 6 + 1 / 2`` held between 0 and 1."""
    return _applied("hardsigmoid", _hardsigmoid, inplace, input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x`` times `hardsigmoid` of it (Howard et al. 2019)."""
    return _applied("hardswish", _hardswish, inplace, input)


def _dim(dim: int | None, ndim: int) -> int:
    """Torch's axis where none is given."""
    return dim if dim is not None else 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """Exponentials that sum to 1 along an axis."""
    return FUNCTIONS["softmax"](input, _dim(dim, input.ndim), dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """`softmax` of the negative."""
    return FUNCTIONS["softmax"](-input, _dim(dim, input.ndim), dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`."""
    return FUNCTIONS["log_softmax"](input, _dim(dim, input.ndim), dtype)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along an axis times `sigmoid` of the second (Dauphin et al. 2017)."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if input.shape[dim] % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim % input.ndim} is size {input.shape[dim]}{at_user_line()}"
        )
    half = input.shape[dim] // 2
    return input.narrow(dim, 0, half) * input.narrow(dim, half, half).sigmoid()


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A draw from the Gumbel-softmax distribution (Jang, Gu and Poole 2017); `hard` ones are one-hot, with its gradient."""
    noise = numbers(None).gumbel(size=logits._array.shape).astype(logits._array.dtype)
    soft = ((logits + made(noise)) / tau).softmax(dim)
    if not hard:
        return soft
    with no_grad():
        one = FUNCTIONS["zeros_like"](soft).scatter(dim, soft.argmax(dim, keepdim=True), 1.0)
    return one - soft.detach() + soft
