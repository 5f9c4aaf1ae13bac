"""Schedules made of schedules, and the one that follows a measured quantity."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.optim.lr_scheduler.base import EPOCH_WARNING, LRScheduler, check_optimizer, per_group, rates_of, set_rate
from functrans.torch.optim.optimizer import Optimizer

__all__ = ["ChainedScheduler", "ReduceLROnPlateau", "SequentialLR"]


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a quantity has not become better for more than `patience` epochs.

    Args:
        optimizer: whose rates are set.
        mode: whether less (``"min"``) or more (``"max"``) is better.
        factor: what rates are multiplied by.
        patience: for how many epochs it may be no better.
        threshold: by how much it must be better: a share of the best (``threshold_mode="rel"``) or a number (``"abs"``).
        threshold_mode: see `threshold`.
        cooldown: for how many epochs after a change it does not count.
        min_lr: the least rate, or one for each group.
        eps: rates that would change by less stay.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     schedule.step(loss)
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if factor >= 1.0:
            raise ValueError("Factor should be < 1.0.")
        check_optimizer(optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        if isinstance(min_lr, (list, tuple)) and len(min_lr) != len(optimizer.param_groups):
            raise ValueError(f"expected {len(optimizer.param_groups)} min_lrs, got {len(min_lr)}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = per_group("min_lr", optimizer, min_lr)
        self.mode_worse = self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = rates_of(optimizer)

    @property
    def in_cooldown(self) -> bool:
        """Whether epochs are let pass after a reduction."""
        return self.cooldown_counter > 0

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        margin = self.threshold * abs(self.best) if self.threshold_mode == "rel" else self.threshold
        return sign * value < (sign * self.best - margin if math.isfinite(self.best) else sign * self.best)

    def step(self, metrics: Any, epoch: Any = None) -> None:  # type: ignore[override]  # as torch has it
        """Go on by one epoch, after which the quantity is `metrics`."""
        value = float(metrics)
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = rates_of(self.optimizer)

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"The number of param groups in the `optimizer` ({len(groups)}) differs from when `ReduceLROnPlateau` was "
                    f"initialized ({len(self.min_lrs)}), usually due to a new param group being added to the optimizer. Please "
                    f"modify the `min_lrs` field to match the length of the `optimizer` param groups.{at_user_line()}"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs):
            now = float(group["lr"])
            rate = max(now * self.factor, least)
            if now - rate > self.eps:
                set_rate(group, rate)


def check_parts(name: str, schedulers: Sequence[Any], optimizer: Any, none: str) -> None:
    """Raise unless there are schedules, all of one optimiser, that can be stepped without an argument."""
    if len(schedulers) < 1:
        raise ValueError(f"{name} {none}")
    for place, schedule in enumerate(schedulers):
        if not hasattr(schedule, "optimizer"):
            raise TypeError(f"{name} at index {place} should have `optimizer` as its attribute.")
        if isinstance(schedule, ReduceLROnPlateau):
            raise ValueError(
                f"{name} does not support `ReduceLROnPlateau` scheduler as it requires additional kwargs to be specified when "
                f"calling `step`, but got one at index {place} in the given schedulers sequence."
            )
        if schedule.optimizer is not (optimizer or schedulers[0].optimizer):
            raise ValueError(
                f"{name} expects all schedulers to belong to the same optimizer, but got scheduler {type(schedule).__name__} at "
                f"index {place} has {schedule.optimizer}, which is different from {type(optimizer).__name__}."
            )


class OfSchedules(LRScheduler):
    """A schedule made of others, whose state is in its state dict."""

    _schedulers: list[Any]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [each.state_dict() for each in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_schedulers"})
        for schedule, state in zip(self._schedulers, state_dict["_schedulers"]):
            schedule.load_state_dict(state)


class ChainedScheduler(OfSchedules):
    """Several schedules at once: each step is one of all of them, in order.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedules = torch.optim.lr_scheduler
        >>> parts = [schedules.ConstantLR(optimizer, 0.5, 4), schedules.ExponentialLR(optimizer, 0.5)]
        >>> schedule = schedules.ChainedScheduler(parts)
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(self, schedulers: Sequence[Any], optimizer: Optimizer | None = None) -> None:
        check_parts("ChainedScheduler", schedulers, optimizer, "expects at least one scheduler to be chained, but got no scheduler.")
        self._schedulers = list(schedulers)
        self.optimizer = optimizer or schedulers[0].optimizer
        self._last_lr = rates_of(self.optimizer)

    def step(self) -> None:  # type: ignore[override]  # as torch has it
        """Go on by one epoch."""
        for schedule in self._schedulers:
            schedule.step()
        self._last_lr = rates_of(self.optimizer)


class SequentialLR(OfSchedules):
    """One schedule after the other, the next from each milestone on.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedules = torch.optim.lr_scheduler
        >>> parts = [schedules.ConstantLR(optimizer, 0.5, 4), schedules.ExponentialLR(optimizer, 0.9)]
        >>> schedule = schedules.SequentialLR(optimizer, parts, milestones=[2])
        >>> for _ in range(3):
        ...     optimizer.step()
        ...     schedule.step()
        >>> schedule.get_last_lr()
        [0.9]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Any], milestones: Sequence[int], last_epoch: int = -1) -> None:
        check_parts("SequentialLR", schedulers, optimizer, "expects at least one scheduler, but got no scheduler.")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of milestone points, but "
                f"got number of schedulers {len(schedulers)} and the number of milestones to be equal to {len(milestones)}"
            )
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.last_epoch, self.optimizer = last_epoch + 1, optimizer
        # Each part has set the rates when it was made: they begin again, with the part whose turn it is.
        for group in optimizer.param_groups:
            set_rate(group, group["initial_lr"])
        begin_again(self)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:  # type: ignore[override]  # as torch has it
        """Go on by one epoch."""
        self.last_epoch += 1
        number = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[number]
        if number and self._milestones[number - 1] == self.last_epoch:
            schedule._update_lr(0)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()


def begin_again(schedule: Any) -> None:
    """Undo the first step of a schedule, or of its parts."""
    if isinstance(schedule, OfSchedules):
        for part in schedule._schedulers:
            begin_again(part)
    else:
        schedule.last_epoch -= 1
