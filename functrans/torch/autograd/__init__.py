"""Automatic differentiation of tensors: ``torch.autograd``."""

from functrans.torch.autograd import forward_ad, functional, graph
from functrans.torch.autograd.engine import backward, grad
from functrans.torch.autograd.function import Function
from functrans.torch.autograd.gradient_checks import gradcheck, gradgradcheck
from functrans.torch.autograd.hooks import detect_anomaly, set_detect_anomaly
from functrans.torch.autograd.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from functrans.torch.autograd.unsupported import AUTOGRAD, refusals
from functrans.torch.tensor import Tensor as Variable

globals().update(refusals("torch.autograd", AUTOGRAD))

__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "forward_ad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
