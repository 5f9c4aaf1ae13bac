"""More optimisers that change each parameter on its own: Adadelta, Adafactor, Adamax, ASGD, NAdam, RAdam, Rprop."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.torch.dtypes import default
from functrans.torch.optim.optimizer import Optimizer, check_means, check_others, check_rate, counted, number, slot
from functrans.torch.optim.rules import decayed, moved, weighted

__all__ = ["ASGD", "Adadelta", "Adafactor", "Adamax", "NAdam", "RAdam", "Rprop"]


class Adadelta(Optimizer):
    """Steps whose size is that of earlier ones over that of gradients (Zeiler 2012).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.Adadelta([x], rho=0.75, eps=1.0)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(-0.4142, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, foreach: Any = None,
        *, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_others(epsilon=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "capturable": capturable,
            "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        counted(state)
        grad, rho, eps = decayed(value, grad, group), group["rho"], group["eps"]
        square, steps = slot(state, "square_avg", value), slot(state, "acc_delta", value)
        moved(square, grad * grad, 1 - rho)
        delta = np.sqrt(steps + eps) / np.sqrt(square + eps) * grad
        moved(steps, delta * delta, 1 - rho)
        return value - float(group["lr"]) * delta


class Adamax(Optimizer):
    """Adam with the greatest gradient in place of the mean of squares (Kingma and Ba 2015).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.Adamax([x], lr=0.25)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.7500, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0, foreach: Any = None,
        *, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        check_means(lr, betas, eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step, (first, second) = counted(state), group["betas"]
        grad = decayed(value, grad, group)
        mean, most = slot(state, "exp_avg", value), slot(state, "exp_inf", value)
        moved(mean, grad, 1 - first)
        np.maximum(most * second, np.abs(grad) + group["eps"], out=most)
        return value - float(group["lr"]) / (1 - first**step) * (mean / most)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2016).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.NAdam([x], lr=0.25)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x.item() < 0.8
        True
    """

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False,
        *, foreach: Any = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_means(lr, betas, eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        rate, (first, second) = float(group["lr"]), group["betas"]
        step, product = counted(state), number(state, "mu_product", 1.0)
        value, grad = weighted(value, grad, group)
        momentum, following = (first * (1 - 0.5 * 0.96 ** (each * group["momentum_decay"])) for each in (step, step + 1))
        product *= momentum
        mean, square = slot(state, "exp_avg", value), slot(state, "exp_avg_sq", value)
        moved(mean, grad, 1 - first)
        moved(square, grad * grad, 1 - second)
        scale = np.sqrt(square / (1 - second**step)) + group["eps"]
        now, then = float(product), float(product) * following
        return value - rate * (1 - momentum) / (1 - now) * (grad / scale) - rate * following / (1 - then) * (mean / scale)


class RAdam(Optimizer):
    """Adam that does without the mean of squares while its variance is too large (Liu et al. 2020).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.RAdam([x], lr=0.25)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.5000, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        decoupled_weight_decay: bool = False, *, foreach: Any = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_means(lr, betas, eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step, (first, second) = counted(state), group["betas"]
        value, grad = weighted(value, grad, group)
        mean, square = slot(state, "exp_avg", value), slot(state, "exp_avg_sq", value)
        moved(mean, grad, 1 - first)
        moved(square, grad * grad, 1 - second)
        change = mean / (1 - first**step)
        # The length of the approximated simple moving average, and what it is at most.
        most = 2 / (1 - second) - 1
        length = most - 2 * step * second**step / (1 - second**step)
        if length > 5:
            rectified = ((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) ** 0.5
            change = change * rectified * ((1 - second**step) ** 0.5 / (np.sqrt(square) + group["eps"]))
        return value - float(group["lr"]) * change


class Rprop(Optimizer):
    """Steps of sizes that grow while the sign of the gradient stays, and shrink when it changes (Riedmiller and Braun 1993).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.Rprop([x], lr=0.25)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.7500, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, etas: Any = (0.5, 1.2), step_sizes: Any = (1e-6, 50), *, capturable: bool = False,
        foreach: Any = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        counted(state)
        before, size = slot(state, "prev", value), slot(state, "step_size", value, float(group["lr"]))
        agreement, (shrink, grow) = grad * before, group["etas"]
        np.clip(size * np.where(agreement > 0, grow, np.where(agreement < 0, shrink, 1)), *group["step_sizes"], out=size)
        before[...] = np.where(agreement < 0, 0, grad)
        return value - np.sign(before) * size


class ASGD(Optimizer):
    """Gradient descent, and from step `t0` on the mean of the parameters, as ``"ax"`` in the state (Polyak and Juditsky 1992).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> optimizer = torch.optim.ASGD([x], lr=0.25, lambd=0.0)
        >>> (x * x).backward()
        >>> optimizer.step()
        >>> x
        tensor(0.5000, requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6, weight_decay: float = 0,
        foreach: Any = None, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_others(weight_decay=weight_decay)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        rate = float(group["lr"])
        step, eta, share = counted(state), number(state, "eta", rate), number(state, "mu", 1.0)
        mean, grad = slot(state, "ax", value), decayed(value, grad, group)
        value = value * (1 - group["lambd"] * float(eta)) - float(eta) * grad
        mean += (value - mean) * float(share)
        # As torch has it, both go through the default dtype.
        eta[...] = default.numpy.type(rate / (1 + group["lambd"] * rate * step) ** group["alpha"])
        share[...] = default.numpy.type(1 / max(1, step - group["t0"]))
        return value


class Adafactor(Optimizer):
    """Steps over the root of a mean of squares, of which only the sums of rows and columns are kept (Shazeer and Stern 2018).

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = torch.optim.Adafactor([x], lr=0.25)
        >>> (x * x).sum().backward()
        >>> optimizer.step()
        >>> x
        tensor([0.7500], requires_grad=True)
    """

    elementwise = False

    def __init__(
        self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8, eps: Any = (None, 1e-3), d: float = 1.0,
        weight_decay: float = 0.0, *, foreach: Any = None, maximize: bool = False,
    ) -> None:  # fmt: skip
        if not 0.0 <= float(lr):
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        for place, least in enumerate(eps, 1):
            if least is not None and not 0.0 <= least:
                raise ValueError(f"epsilon{place} should be >= 0 but is: {least}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, value: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step, rate, (tiny, least) = counted(state), float(group["lr"]), group["eps"]
        tiny = np.finfo(value.dtype).eps if tiny is None else tiny
        share = step ** group["beta2_decay"]
        size = max(least, root_mean_square(value)) * min(rate, step**-0.5)
        value = value * (1 - rate * group["weight_decay"])
        square = grad * grad
        if value.ndim > 1:
            rows, columns = np.mean(square, -1, keepdims=True), np.mean(square, -2, keepdims=True)
            row, column = slot(state, "row_var", rows), slot(state, "col_var", columns)
            moved(row, rows, share)
            moved(column, columns, share)
            spread = row @ column / np.maximum(np.mean(row, -2, keepdims=True), tiny)
        else:
            spread = slot(state, "variance", value)
            moved(spread, square, share)
        change = grad / np.sqrt(np.maximum(spread, tiny * tiny))
        return value - size / max(1.0, root_mean_square(change) / group["d"]) * change


def root_mean_square(x: Any) -> float:
    """The root of the mean of squares of all elements."""
    return float(np.sqrt(np.mean(x * x)))
