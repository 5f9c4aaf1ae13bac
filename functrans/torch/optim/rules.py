"""Optimisers that change each parameter on its own: SGD, Adam, AdamW, RMSprop, Adagrad."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.torch.optim.optimizer import Optimizer, check_means, check_others, check_rate, counted, number, slot
from functrans.torch.tensor import Tensor, made, memory

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop"]


def decayed(value: Any, grad: Any, group: dict[str, Any]) -> Any:
    """The gradient with that of the weight decay."""
    decay = group["weight_decay"]
    return grad + decay * value if decay else grad


def moved(mean: Any, value: Any, share: float) -> None:
    """Move a running mean, in place, towards a value by a share of the way."""
    mean += share * (value - mean)


def weighted(value: Any, grad: Any, group: dict[str, Any]) -> tuple[Any, Any]:
    """Value and gradient with the weight decay in one of them: the value if it is decoupled."""
    if group["decoupled_weight_decay"]:
        return value * (1 - float(group["lr"]) * group["weight_decay"]), grad
    return value, decayed(value, grad, group)


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak 1964; Nesterov's as in Sutskever et al. 2013).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.SGD([x], lr=0.25)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.5000, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False,
        *, maximize: bool = False, foreach: Any = None, differentiable: bool = False, fused: Any = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_others(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        grad = decayed(value, grad, group)
        momentum = group["momentum"]
        if momentum:
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = made(np.array(grad))
                velocity = grad
            else:
                velocity = slot(state, "momentum_buffer", value)
                velocity *= momentum
                velocity += (1 - group["dampening"]) * grad
            grad = grad + momentum * velocity if group["nesterov"] else velocity
        change = float(group["lr"]) * grad
        return np.subtract(value, change, out=value) if type(value) is np.ndarray else value - change


class Adam(Optimizer):
    """Steps by running means of gradients and of their squares (Kingma and Ba 2015).

    With `amsgrad` the greatest mean of squares so far counts (Reddi, Kale and Kumar 2018).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.Adam([x], lr=0.25)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.7500, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False,
        *, foreach: Any = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False, fused: Any = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        check_means(lr, betas, eps, weight_decay=weight_decay)
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        betas = tuple(float(beta) if isinstance(beta, Tensor) else beta for beta in betas)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        rate, (first, second) = float(group["lr"]), group["betas"]
        step = counted(state)
        value, grad = weighted(value, grad, group)
        mean, square = slot(state, "exp_avg", value), slot(state, "exp_avg_sq", value)
        moved(mean, grad, 1 - first)
        moved(square, grad * grad, 1 - second)
        if group["amsgrad"]:
            square = np.maximum(slot(state, "max_exp_avg_sq", value), square, out=slot(state, "max_exp_avg_sq", value))
        scale = np.sqrt(square) / (1 - second**step) ** 0.5 + group["eps"]
        return value - rate / (1 - first**step) * (mean / scale)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.AdamW([x], lr=0.25, weight_decay=0.2)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.7000, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False,
        *, maximize: bool = False, foreach: Any = None, capturable: bool = False, differentiable: bool = False, fused: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip


class RMSprop(Optimizer):
    """Steps by gradients over the root of a running mean of their squares (Tieleman and Hinton 2012).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.RMSprop([x], lr=0.25, alpha=0.75)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.5000, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0, momentum: float = 0,
        centered: bool = False, capturable: bool = False, foreach: Any = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_others(epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered, "weight_decay": weight_decay,
            "capturable": capturable, "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        counted(state)
        grad, alpha = decayed(value, grad, group), group["alpha"]
        square = slot(state, "square_avg", value)
        moved(square, grad * grad, 1 - alpha)
        spread = square
        if group["centered"]:
            mean = slot(state, "grad_avg", value)
            moved(mean, grad, 1 - alpha)
            spread = square - mean * mean
        grad = grad / (np.sqrt(spread) + group["eps"])
        if group["momentum"]:
            velocity = slot(state, "momentum_buffer", value)
            velocity *= group["momentum"]
            velocity += grad
            grad = velocity
        return value - float(group["lr"]) * grad


class Adagrad(Optimizer):
    """Steps by gradients over the root of the sum of their squares (Duchi, Hazan and Singer 2011).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.Adagrad([x], lr=0.25)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.7500, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0, initial_accumulator_value: float = 0,
        eps: float = 1e-10, foreach: Any = None, *, maximize: bool = False, differentiable: bool = False, fused: Any = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_others(lr_decay=lr_decay, weight_decay=weight_decay, initial_accumulator_value=initial_accumulator_value, epsilon=eps)
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for parameter in group["params"]:
                number(self.state[parameter], "step", 0.0)
                slot(self.state[parameter], "sum", memory(parameter), group["initial_accumulator_value"])

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step = counted(state)
        grad = decayed(value, grad, group)
        total = slot(state, "sum", value, group["initial_accumulator_value"])
        total += grad * grad
        return value - float(group["lr"]) / (1 + (step - 1) * group["lr_decay"]) * (grad / (np.sqrt(total) + group["eps"]))
