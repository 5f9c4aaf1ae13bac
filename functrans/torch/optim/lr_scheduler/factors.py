"""Schedules that multiply: the rate of an epoch is that of the epoch before times a factor.

Each says in `following` what comes after a rate, and in `closed` what the rate is at an epoch if nobody else changed it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any

from functrans.torch.optim.lr_scheduler.base import LRScheduler, rates_of
from functrans.torch.optim.optimizer import Optimizer

__all__ = ["ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LinearLR", "MultiStepLR", "PolynomialLR", "StepLR"]


class Following(LRScheduler):
    """A schedule of rates each of which follows from the one before."""

    # Whether one that goes on at a later epoch begins with the rates as they are.
    holds = True

    @property
    def first(self) -> float:
        """The factor to begin with."""
        return 1.0

    @abstractmethod
    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        """The rate at `epoch`, after `rate` and from the first one, `base`."""

    @abstractmethod
    def closed(self, base: Any, epoch: int) -> Any:
        """The rate at `epoch` if no other schedule changes it."""

    def get_lr(self) -> list[Any]:
        rates = rates_of(self.optimizer)
        if self.last_epoch == 0:
            return [rate * self.first for rate in rates] if self.first != 1 else rates
        if self._is_initial and self.holds:
            return rates
        return [self.following(rate, base, self.last_epoch) for rate, base in zip(rates, self.base_lrs)]

    def _get_closed_form_lr(self) -> list[Any]:
        return [self.closed(base, self.last_epoch) for base in self.base_lrs]


class StepLR(Following):
    """Times `gamma` every `step_size` epochs.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        >>> for _ in range(4):
        ...     optimizer.step()
        ...     schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    holds = False

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        return rate if epoch % self.step_size else rate * self.gamma

    def closed(self, base: Any, epoch: int) -> Any:
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(Following):
    """Times `gamma` at each milestone.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 2], gamma=0.5)
        >>> for _ in range(4):
        ...     optimizer.step()
        ...     schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    holds = False

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    @property
    def first(self) -> float:
        return self.gamma ** self.milestones[0]

    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        return rate * self.gamma ** self.milestones[epoch] if epoch in self.milestones else rate

    def closed(self, base: Any, epoch: int) -> Any:
        return base * self.gamma ** bisect_right(sorted(self.milestones.elements()), epoch)


class ConstantLR(Following):
    """Times `factor` until `total_iters`.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=4).get_last_lr()
        [0.5]
    """

    holds = False

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 <= factor <= 1.0:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    @property
    def first(self) -> float:
        return self.factor

    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        return rate * (1.0 / self.factor) if epoch == self.total_iters else rate

    def closed(self, base: Any, epoch: int) -> Any:
        return base * (self.factor if epoch < self.total_iters else 1.0)


class LinearLR(Following):
    """Times a factor that moves from `start_factor` to `end_factor` over `total_iters` epochs.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.75]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 < start_factor <= 1.0:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1.0:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    @property
    def first(self) -> float:
        return self.start_factor

    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        if epoch > self.total_iters:
            return rate
        change = self.end_factor - self.start_factor
        return rate * (1.0 + change / (self.total_iters * self.start_factor + (epoch - 1) * change))

    def closed(self, base: Any, epoch: int) -> Any:
        return base * (self.start_factor + (self.end_factor - self.start_factor) * min(epoch, self.total_iters) / self.total_iters)


class ExponentialLR(Following):
    """Times `gamma` every epoch.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        return rate * self.gamma

    def closed(self, base: Any, epoch: int) -> Any:
        return base * self.gamma**epoch


class PolynomialLR(Following):
    """To 0 in `total_iters` epochs, by a power of what is left.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4)
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.75]
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        if epoch > self.total_iters:
            return rate
        return rate * ((1.0 - epoch / self.total_iters) / (1.0 - (epoch - 1) / self.total_iters)) ** self.power

    def closed(self, base: Any, epoch: int) -> Any:
        return base * (1.0 - min(epoch, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(Following):
    """From the first rate to `eta_min` and back along a cosine of half period `T_max` (Loshchilov and Hutter 2017).

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2, eta_min=0.5)
        >>> optimizer.step()
        >>> schedule.step()
        >>> round(schedule.get_last_lr()[0], 4)
        0.75
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _share(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def following(self, rate: Any, base: Any, epoch: int) -> Any:
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            # The epoch before was at the bottom, where a factor says nothing.
            return rate + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return self._share(epoch) / self._share(epoch - 1) * (rate - self.eta_min) + self.eta_min

    def closed(self, base: Any, epoch: int) -> Any:
        return self.eta_min + (base - self.eta_min) * self._share(epoch) / 2
