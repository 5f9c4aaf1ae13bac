"""The workloads, written for every contender; each returns the same list of arrays.

A workload's function makes data and returns, by contender, a function without arguments. A contender
whose library is not installed is left out by the runner, which says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

import functrans as ft

Contender = Callable[[], list[Any]]


@dataclass(frozen=True)
class Workload:
    """A row of the table.

    Attributes:
        name: of the row.
        make: contenders by name: functions that import their library and return the contender.
        bars: the highest ratio functrans / peer that is good enough, by peer.
        limit: what bounds functrans on this row.
    """

    name: str
    make: dict[str, Callable[[], Contender]]
    bars: dict[str, float]
    limit: str
    rtol: float = 1e-10


def chain(module: Any) -> Callable[[Any], Any]:
    """600 scalar operations in a row."""

    def function(x: Any) -> Any:
        for _ in range(200):
            x = x * module.sin(x) + 1
        return x

    return function


def chain_functrans() -> Contender:
    gradient = ft.grad(chain(np))
    return lambda: [gradient(0.7)]


def chain_backward(torch: Any) -> Contender:
    """The gradient of the chain in torch's style."""
    function = chain(torch)

    def run() -> list[Any]:
        x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        function(x).backward()
        return [x.grad.numpy()]

    return run


def chain_autograd() -> Contender:
    gradient = import_module("autograd").grad(chain(import_module("autograd.numpy")))
    return lambda: [gradient(0.7)]


def network_data() -> tuple[list[Any], Any, Any]:
    """Weights of four 64 -> 64 layers, a batch of 32 inputs and targets."""
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(64, 64)) / 8 for _ in range(4)]
    return weights, generator.normal(size=(32, 64)), generator.normal(size=(32, 64))


def network_loss(module: Any) -> Callable[..., Any]:
    """Mean squared error of a tanh network."""

    def loss(weights: Any, x: Any, y: Any) -> Any:
        for w in weights:
            x = module.tanh(x @ w)
        return module.mean((x - y) ** 2)

    return loss


def network_functrans() -> Contender:
    data = network_data()
    both = ft.value_and_grad(network_loss(np))

    def run() -> list[Any]:
        value, gradients = both(*data)
        return [value, *gradients]

    return run


def network_autograd() -> Contender:
    data = network_data()
    both = import_module("autograd").value_and_grad(network_loss(import_module("autograd.numpy")))

    def run() -> list[Any]:
        value, gradients = both(*data)
        return [value, *gradients]

    return run


def network_torch() -> Contender:
    torch = import_module("torch")
    arrays, x, y = network_data()
    weights = [torch.tensor(w, requires_grad=True) for w in arrays]
    x, y = torch.tensor(x), torch.tensor(y)
    loss = network_loss(torch)

    def run() -> list[Any]:
        value = loss(weights, x, y)
        return [value.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(value, weights))]

    return run


WORKLOADS = [
    Workload(
        "eager grad of 200 x `x = x * sin(x) + 1`, scalar",
        {"functrans": chain_functrans, "torch": lambda: chain_backward(import_module("torch")), "autograd": chain_autograd},
        {"torch": 0.8, "autograd": 0.35},
        "Python: one tracer and one tape entry per operation",
        rtol=1e-6,
    ),
    Workload(
        "eager value_and_grad of an MLP, 4 x (64 -> 64) tanh, batch 32",
        {"functrans": network_functrans, "torch": network_torch, "autograd": network_autograd},
        {"autograd": 0.6},
        "BLAS, tanh, and Python per operation",
    ),
]
