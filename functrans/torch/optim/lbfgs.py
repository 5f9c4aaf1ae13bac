"""The limited-memory method of Broyden, Fletcher, Goldfarb and Shanno, and its line search.

Source: Nocedal and Wright, Numerical Optimization (2006): algorithms 7.4 and 7.5 for the direction, 3.5 and 3.6 for strong
Wolfe conditions, (3.59) for cubic interpolation. Where the book leaves a choice (first step, safeguards, when to stop), it is
the one of PyTorch, such that iterates are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.autograd.modes import enable_grad, no_grad
from functrans.torch.optim.optimizer import Optimizer, check_rate
from functrans.torch.storage.writes import put
from functrans.torch.tensor import made, memory

__all__ = ["LBFGS"]

SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9


@dataclass
class Point:
    """A place along a direction: how far, the loss, its gradient, and its slope along the direction."""

    step: float
    loss: float
    grad: Any
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with their slopes is least, held within bounds; between them if there is none."""
    a, b = (a, b) if a.step <= b.step else (b, a)
    low, high = bounds or (a.step, b.step)
    first = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = first * first - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    second = math.sqrt(square)
    least = b.step - (b.step - a.step) * ((b.slope + second - first) / (b.slope - a.slope + 2 * second))
    return min(max(least, low), high)


def line_search(
    evaluate: Callable[[float], Point], start: Point, step: float, direction: Any, tolerance: float, most: int
) -> tuple[Point, int]:
    """A point where the strong Wolfe conditions hold, and how often the loss was evaluated."""

    def too_high(point: Point) -> bool:
        return point.loss > start.loss + SUFFICIENT_DECREASE * point.step * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    before, point = start, evaluate(step)
    count = 0
    while count < most:
        if too_high(point) or count > 1 and point.loss >= before.loss:
            break
        if flat(point):
            return point, count + 1
        if point.slope >= 0:
            break
        bounds = point.step + 0.01 * (point.step - before.step), point.step * 10
        before, point = point, evaluate(cubic_minimum(before, point, bounds))
        count += 1
    else:
        before = start
    ends = [before, point]
    low = 0 if ends[0].loss <= ends[1].loss else 1
    near_end = False
    span = np.max(np.abs(direction))
    while count < most and abs(ends[1].step - ends[0].step) * span >= tolerance:
        step, near_end = safeguarded(cubic_minimum(ends[0], ends[1]), ends, near_end)
        point = evaluate(step)
        count += 1
        if too_high(point) or point.loss >= ends[low].loss:
            ends[1 - low] = point
            low = 0 if ends[0].loss <= ends[1].loss else 1
            continue
        if not flat(point) and point.slope * (ends[1 - low].step - ends[low].step) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = point
        if flat(point):
            break
    return ends[low], count + 1


def safeguarded(step: float, ends: list[Point], near_end: bool) -> tuple[float, bool]:
    """A step not too near an end of the interval twice in a row, and whether it is near one."""
    least, most = sorted(end.step for end in ends)
    margin = 0.1 * (most - least)
    if min(most - step, step - least) >= margin:
        return step, False
    if not near_end and least < step < most:
        return step, True
    return (most - margin if abs(step - most) < abs(step - least) else least + margin), False


class LBFGS(Optimizer):
    """Quasi-Newton steps by the latest changes of parameters and gradients (Liu and Nocedal 1989).

    Args:
        params: parameters; there can be only one group.
        lr: the length of steps, or of the first one tried.
        max_iter: directions in one call of `step`.
        max_eval: evaluations in one call of `step`; 5/4 of `max_iter` by default.
        tolerance_grad: no element of the gradient is greater when it stops.
        tolerance_change: nor does the loss, or a parameter, change by more.
        history_size: how many changes are kept.
        line_search_fn: ``"strong_wolfe"``, or None for steps of length `lr`.

    Raises:
        ValueError: there are several groups, or `lr` is negative.

    Example:
        >>> import functrans.torch as torch
        >>> x = torch.tensor([3.0, -1.0], requires_grad=True)
        >>> optimizer = torch.optim.LBFGS([x], line_search_fn="strong_wolfe")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = ((x - 1) ** 2).sum()
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure)
        tensor(8., grad_fn=<SumBackward0>)
        >>> x
        tensor([1., 1.], requires_grad=True)
    """

    def __init__(
        self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None, tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9, history_size: int = 100, line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def _flat_grad(self) -> Any:
        """The gradients of all parameters as one vector; complex ones as pairs of numbers."""
        parts = []
        for parameter in self.param_groups[0]["params"]:
            value, grad = memory(parameter), parameter._grad
            part = np.zeros(value.size, value.dtype) if grad is None else np.ravel(grad._array).astype(value.dtype)
            parts.append(part.view(value.real.dtype))
        return np.concatenate(parts)

    def _move(self, starts: list[Any], step: float, direction: Any) -> None:
        """Put parameters at a place along the direction."""
        begin = 0
        for parameter, start in zip(self.param_groups[0]["params"], starts):
            end = begin + start.size * (2 if start.dtype.kind == "c" else 1)
            part = direction[begin:end].view(start.dtype).reshape(start.shape)
            put(parameter, start + start.real.dtype.type(step) * part)
            begin = end

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters by at most `max_iter` directions.

        Args:
            closure: clears the gradients, computes the loss and its gradients, and returns the loss.

        Returns:
            The loss at the beginning.
        """
        if closure is None:
            raise TypeError(f"LBFGS.step() missing 1 required positional argument: 'closure'{at_user_line()}")
        with no_grad():
            return self._descend(enable_grad()(closure))

    def _descend(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        parameters, rate, search = group["params"], float(group["lr"]), group["line_search_fn"]
        smallest, change = group["tolerance_grad"], group["tolerance_change"]
        state = self.state[parameters[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss, grad = float(first_loss), self._flat_grad()
        evaluations = 1
        state["func_evals"] += 1
        if np.max(np.abs(grad)) <= smallest:
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(state, grad, group["history_size"])
            state["prev_flat_grad"], state["prev_loss"], before = made(grad.copy()), loss, loss
            step = min(1.0, 1.0 / float(np.sum(np.abs(grad)))) * rate if state["n_iter"] == 1 else rate
            state["t"], slope = step, float(grad @ direction)
            if slope > -change:
                break
            starts = [memory(parameter).copy() for parameter in parameters]
            used = 0
            if search is None:
                self._move(starts, step, direction)
                if iteration < group["max_iter"]:
                    loss, grad, used = float(closure()), self._flat_grad(), 1
            elif search != "strong_wolfe":
                raise RuntimeError(f"only 'strong_wolfe' is supported{at_user_line()}")
            else:
                evaluate = lambda length: self._point(closure, starts, length, direction)
                start = Point(0.0, loss, grad, slope)
                found, used = line_search(evaluate, start, step, direction, 1e-9, group["max_eval"] - evaluations)
                loss, grad, step = found.loss, found.grad, found.step
                self._move(starts, step, direction)
            state["t"] = step
            evaluations += used
            state["func_evals"] += used
            done = evaluations >= group["max_eval"] or np.max(np.abs(grad)) <= smallest
            if done or np.max(np.abs(direction * step)) <= change or abs(loss - before) < change:
                break
        return first_loss

    def _point(self, closure: Callable[[], Any], starts: list[Any], step: float, direction: Any) -> Point:
        """The loss at a place along the direction; parameters are put back."""
        self._move(starts, step, direction)
        loss, grad = float(closure()), self._flat_grad()
        for parameter, start in zip(self.param_groups[0]["params"], starts):
            put(parameter, start)
        return Point(step, loss, grad, float(grad @ direction))

    def _direction(self, state: dict[str, Any], grad: Any, history: int) -> Any:
        """Minus the gradient times the approximated inverse Hessian; the latest change is added to the history."""
        if state["n_iter"] == 1:
            state.update(d=made(-grad), old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return state["d"]._array
        change, step = grad - state["prev_flat_grad"]._array, state["d"]._array * float(state["t"])
        curvature = change @ step
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        if curvature > 1e-10:
            for held, value in ((changes, change), (steps, step), (inverses, 1.0 / curvature)):
                if len(held) == history:
                    held.pop(0)
                held.append(made(value))
            state["H_diag"] = made(curvature / (change @ change))
        factors = state.setdefault("al", [None] * history)
        direction = -grad
        for place in reversed(range(len(changes))):
            factor = (steps[place]._array @ direction) * inverses[place]._array
            direction = direction - factor * changes[place]._array
            factors[place] = made(factor)
        scale = state["H_diag"]
        direction = direction * (scale if isinstance(scale, int) else scale._array)
        for place in range(len(changes)):
            factor = (changes[place]._array @ direction) * inverses[place]._array
            direction = direction + steps[place]._array * (factors[place]._array - factor)
        state["d"] = made(direction)
        return direction
