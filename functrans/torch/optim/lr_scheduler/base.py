"""What schedules have in common.

A schedule says in `get_lr` what the rates of the groups become at `last_epoch`, from those they have. So schedules of one
optimiser may be stepped one after the other, and rates that were changed by hand are gone on from.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.optim.optimizer import Optimizer
from functrans.torch.tensor import Tensor

__all__ = ["LRScheduler"]

EPOCH_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler."
)
ORDER_WARNING = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite order: `optimizer.step()` "
    "before `lr_scheduler.step()`. Otherwise the first value of the learning rate schedule is skipped."
)


def check_optimizer(optimizer: Any) -> None:
    """Raise unless it is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer{at_user_line()}")


def rates_of(optimizer: Optimizer, name: str = "lr") -> list[Any]:
    """An option of all groups; tensors are copied."""
    values = [group[name] for group in optimizer.param_groups]
    return [value.detach().clone() if isinstance(value, Tensor) else value for value in values]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A number for every group, or the numbers given."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, param_groups has {groups}.")
    return list(value)


def set_rate(group: dict[str, Any], rate: Any) -> None:
    """Give a group another rate; a tensor stays the same one."""
    if isinstance(group["lr"], Tensor):
        group["lr"].detach().fill_(float(rate))
    else:
        group["lr"] = rate


class LRScheduler:
    """A schedule of an optimiser's learning rates; call `step` after each epoch, or each step of the optimiser.

    Args:
        optimizer: whose rates are set.
        last_epoch: the epoch to go on after; -1 to begin.

    Raises:
        TypeError: `optimizer` is none.
        KeyError: it goes on, but the groups have no ``"initial_lr"``.

    Example:
        >>> import functrans.torch as torch
        >>> class Halving(torch.optim.lr_scheduler.LRScheduler):
        ...     def get_lr(self):
        ...         return [group["lr"] / 2 if self.last_epoch else group["lr"] for group in self.optimizer.param_groups]
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.5)
        >>> schedule = Halving(optimizer)
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                rate = group["lr"]
                group.setdefault("initial_lr", rate.detach().clone() if isinstance(rate, Tensor) else rate)
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{number}] when resuming scheduler with last_epoch >= 0.")
        self.base_lrs = rates_of(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        """The step that gives the rates to begin with."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[Any]:
        """The rates at `last_epoch`; what they are now is in the groups. Subclasses define it."""
        raise NotImplementedError(f'{type(self).__name__} is missing the required "get_lr" method{at_user_line()}')

    def step(self, epoch: Any = None) -> None:
        """Go on by one epoch, or to `epoch`."""
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(ORDER_WARNING, UserWarning, stacklevel=2)
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: Any = None) -> None:
        """Set the rates of the next epoch, or of `epoch`, by what a closed form says where there is one."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._set(self.get_lr() if epoch is None else getattr(self, "_get_closed_form_lr", self.get_lr)())

    def _set(self, rates: Sequence[Any]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates):
            set_rate(group, rate)
        self._last_lr = rates_of(self.optimizer)

    def get_last_lr(self) -> list[Any]:
        """The rates that hold now."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on later: all attributes but the optimiser."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state dict."""
        self.__dict__.update(state_dict)


def saved_functions(functions: Sequence[Any]) -> list[Any]:
    """What state dicts have of functions: the attributes of callable objects, None of plain functions."""
    return [None if isinstance(each, types.FunctionType) else dict(each.__dict__) for each in functions]


class OfFunctions(LRScheduler):
    """A schedule by a function of the epoch, or one for each group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        groups = len(optimizer.param_groups)
        self.lr_lambdas: list[Callable[[int], float]] = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lr_lambdas": saved_functions(self.lr_lambdas)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"]):
            if attributes is not None:
                function.__dict__.update(attributes)


class LambdaLR(OfFunctions):
    """The first rate times a function of the epoch.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def get_lr(self) -> list[Any]:
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self.lr_lambdas)]


class MultiplicativeLR(OfFunctions):
    """At each epoch the rate times a function of the epoch.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.25)
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.25]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        for function in lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda]:
            if not callable(function):
                raise TypeError(f"lr_lambda should be a function, but got {type(function).__name__}")
        super().__init__(optimizer, lr_lambda, last_epoch)

    def get_lr(self) -> list[Any]:
        rates = rates_of(self.optimizer)
        return rates if self._is_initial else [rate * function(self.last_epoch) for rate, function in zip(rates, self.lr_lambdas)]
