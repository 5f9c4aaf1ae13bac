"""``torch.optim``: optimisers and schedules of their learning rates."""

from typing import Any as _Any

from functrans.torch.nn.unsupported import refusal as _refusal
from functrans.torch.optim import lr_scheduler
from functrans.torch.optim.optimizer import Optimizer
from functrans.torch.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]

_UNSUPPORTED = {
    "ASGD": "SGD", "Adadelta": "RMSprop", "Adamax": "Adam", "LBFGS": "scipy.optimize.minimize with ft.value_and_grad", "NAdam": "Adam",
    "RAdam": "Adam", "Rprop": "RMSprop", "SparseAdam": "Adam", "Adafactor": "Adam", "Muon": "AdamW",
}  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _UNSUPPORTED:
        return _refusal(f"torch.optim.{name}", _UNSUPPORTED[name])
    raise AttributeError(f"module 'functrans.torch.optim' has no attribute {name!r}")
