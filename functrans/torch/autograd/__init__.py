"""Automatic differentiation of tensors: ``torch.autograd``."""

from functrans.torch.autograd.engine import backward, grad
from functrans.torch.autograd.modes import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["backward", "enable_grad", "grad", "inference_mode", "no_grad", "set_grad_enabled"]
