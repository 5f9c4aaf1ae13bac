"""``torch.nn.utils``: what is done to parameters and gradients of modules."""

from typing import Any as _Any

from functrans.torch.nn.unsupported import refusal as _refusal
from functrans.torch.nn.utils import parametrizations, parametrize, rnn
from functrans.torch.nn.utils.gradients import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)
from functrans.torch.nn.utils.weight_norm import remove_weight_norm, weight_norm

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm", "parameters_to_vector", "parametrizations",
    "parametrize", "remove_weight_norm", "rnn", "vector_to_parameters", "weight_norm",
]  # fmt: skip

_FUSED = "the module in evaluation"
_UNSUPPORTED = {
    "clip_grad_norm": "clip_grad_norm_", "convert_conv2d_weight_memory_format": "the module as it is",
    "convert_conv3d_weight_memory_format": "the module as it is", "fuse_conv_bn_eval": _FUSED, "fuse_conv_bn_weights": _FUSED,
    "fuse_linear_bn_eval": _FUSED, "fuse_linear_bn_weights": _FUSED, "remove_spectral_norm": "parametrize.remove_parametrizations",
    "skip_init": "the module, whose parameters may be set afterwards", "spectral_norm": "parametrizations.spectral_norm",
}  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _UNSUPPORTED:
        return _refusal(f"torch.nn.utils.{name}", _UNSUPPORTED[name])
    raise AttributeError(f"module 'functrans.torch.nn.utils' has no attribute {name!r}")
