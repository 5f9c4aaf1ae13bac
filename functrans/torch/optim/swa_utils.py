"""``torch.optim.swa_utils``: means of a model's parameters over steps (Izmailov et al. 2018), and exponential ones."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from functrans.torch.autograd.modes import no_grad
from functrans.torch.dtypes import Device
from functrans.torch.nn.modules import layers
from functrans.torch.nn.modules.module import Module
from functrans.torch.optim.lr_scheduler.base import LRScheduler, per_group, rates_of
from functrans.torch.optim.optimizer import Optimizer
from functrans.torch.tensor import made

__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn"]


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """The function by which the mean of `n` values becomes that of ``n + 1``."""
    return lambda mean, value, count: mean + (value - mean) / (float(count) + 1)


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """The function by which an exponential mean goes on.

    Raises:
        ValueError: `decay` is not between 0 and 1.
    """
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")
    return lambda mean, value, count: decay * mean + (1 - decay) * value


def _of_many(function: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], None]:
    """The function of lists of means, which it writes into, and values."""

    def update(means: Any, values: Any, count: Any) -> None:
        with no_grad():
            for mean, value in zip(means, values):
                mean.copy_(function(mean, value, count))

    return update


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """As `get_swa_avg_fn`, of lists of means, which it writes into."""
    return _of_many(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """As `get_ema_avg_fn`, of lists of means, which it writes into."""
    return _of_many(get_ema_avg_fn(decay))


class AveragedModel(Module):
    """A copy of a model whose parameters are means of the model's.

    Args:
        model: is copied.
        avg_fn: makes of a mean, a value and how many values there were the new mean; the plain mean by default.
        multi_avg_fn: likewise, of lists of means, which it writes into, and of values.
        use_buffers: whether buffers have means, too, instead of the model's values.

    Example:
        >>> import functrans.torch as torch
        >>> model = torch.nn.Linear(1, 1)
        >>> mean = torch.optim.swa_utils.AveragedModel(model)
        >>> for value in (1.0, 3.0):
        ...     torch.nn.init.constant_(model.weight, value) is model.weight
        ...     mean.update_parameters(model)
        True
        True
        >>> mean.module.weight.item()
        2.0
    """

    def __init__(self, model: Module, device: Any = None, avg_fn: Any = None, multi_avg_fn: Any = None, use_buffers: bool = False) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        if device is not None:
            Device(device)
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", made(np.array(0)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def _parts(self, module: Any) -> list[Any]:
        own = itertools.chain(module.parameters(), module.buffers()) if self.use_buffers else module.parameters()
        return [each.detach() for each in own]

    def update_parameters(self, model: Module) -> None:
        """Let the means go on with the model's parameters."""
        means, values = self._parts(self.module), self._parts(model)
        with no_grad():
            if self.n_averaged == 0:
                for mean, value in zip(means, values):
                    mean.copy_(value)
            else:
                update = self.multi_avg_fn or _of_many(self.avg_fn or get_swa_avg_fn())
                update(means, values, self.n_averaged)
            if not self.use_buffers:
                for own, other in zip(self.module.buffers(), model.buffers()):
                    own.detach().copy_(other.detach())
            self.n_averaged.add_(1)


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of batch normalisation anew, as the means over batches, or over their first parts."""
    momenta = {module: module.momentum for module in model.modules() if isinstance(module, layers._BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    with no_grad():
        for module in momenta:
            module.reset_running_stats()
            module.momentum = None
        for batch in loader:
            model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """To a constant rate `swa_lr` in `anneal_epochs` epochs, along half a cosine or straight.

    Example:
        >>> import functrans.torch as torch
        >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.5, anneal_epochs=2, anneal_strategy="linear")
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.75]
    """

    def __init__(
        self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10, anneal_strategy: str = "cos", last_epoch: int = -1
    ) -> None:
        for group, rate in zip(optimizer.param_groups, per_group("swa_lr", optimizer, swa_lr)):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of the way is behind."""
        place = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return place if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * place)) / 2

    def get_lr(self) -> list[Any]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for rate, end in zip(rates_of(self.optimizer), rates_of(self.optimizer, "swa_lr")):
            start = end if before == 1 else (rate - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
