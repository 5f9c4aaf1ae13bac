"""``torch.optim.lr_scheduler``: learning rates by the number of the step."""

from functrans.torch.optim.lr_scheduler.base import LambdaLR, LRScheduler, MultiplicativeLR
from functrans.torch.optim.lr_scheduler.combined import ChainedScheduler, ReduceLROnPlateau, SequentialLR
from functrans.torch.optim.lr_scheduler.cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from functrans.torch.optim.lr_scheduler.factors import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR", "LRScheduler",
    "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR",
    "StepLR",
]  # fmt: skip

_LRScheduler = LRScheduler  # its name in older programs
