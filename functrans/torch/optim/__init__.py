"""``torch.optim``: optimisers and schedules of their learning rates."""

from typing import Any as _Any

from functrans.torch.nn.unsupported import refusal as _refusal
from functrans.torch.optim import lr_scheduler, swa_utils
from functrans.torch.optim.further import ASGD, Adadelta, Adafactor, Adamax, NAdam, RAdam, Rprop
from functrans.torch.optim.lbfgs import LBFGS
from functrans.torch.optim.optimizer import Optimizer
from functrans.torch.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "NAdam", "Optimizer", "RAdam", "RMSprop",
    "Rprop", "SGD", "lr_scheduler", "swa_utils",
]  # fmt: skip

_UNSUPPORTED = {
    "Muon": "AdamW", "SparseAdam": "Adam, with dense gradients",
    "swap_in_optimizer_params_and_state": "state_dict and load_state_dict",
}  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _UNSUPPORTED:
        return _refusal(f"torch.optim.{name}", _UNSUPPORTED[name])
    raise AttributeError(f"module 'functrans.torch.optim' has no attribute {name!r}")
