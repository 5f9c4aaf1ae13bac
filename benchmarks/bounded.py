"""Workloads whose memory is bounded: `checkpoint` of a deep network, with and without a budget, and long `scan`s.

A bound is of what a call holds beyond its arguments and results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from compiled import generator

import functrans as ft

__all__ = ["ACTIVATION", "BOUNDED", "BUDGETS", "Bounded", "kept"]


@dataclass(frozen=True)
class Bounded:
    """A row.

    Attributes:
        function: whose memory is bounded.
        without: the same without bounds.
        bound: in bytes.
        named: what these are.
        bar: the highest ratio to these that is good enough, if there is one.
        slower: the highest ratio of times to that without bounds that is good enough, if there is one.
    """

    name: str
    function: Callable[..., Any]
    without: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    bound: int
    named: str
    bar: float | None
    slower: float | None = None
    donates = False

    def jitted(self, m: Any, api: Any) -> Any:
        """The compiled function."""
        return ft.jit(self.function)


LAYERS, BATCH, WIDTH = 64, 1024, 256
ACTIVATION = BATCH * WIDTH * 8


def layers(x: Any, weights: Any) -> Any:
    """Some layers of the network."""
    for w in weights:
        x = np.tanh(x @ w)
    return x


def network(part: Callable[..., Any], size: int = LAYERS) -> Callable[..., Any]:
    """The network in parts of `size` layers, and the gradient with respect to its weights."""

    def loss(weights: Any, x: Any) -> Any:
        for first in range(0, LAYERS, size):
            x = part(x, weights[first : first + size])
        return np.mean(x**2)

    return ft.value_and_grad(loss)


def network_arguments() -> tuple[Any, ...]:
    g = generator()
    return [g.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 for _ in range(LAYERS)], g.normal(size=(BATCH, WIDTH))


STEPS, CELLS = 100_000, 1000
STATE = CELLS * 8


def simulation(checkpoint: Any = None) -> Callable[..., Any]:
    """A reacting and diffusing field (Fisher's equation), and the gradient with respect to where it starts and how it grows."""

    def total(state: Any, growth: Any, weights: Any) -> Any:
        def step(u: Any, _: Any) -> Any:
            return u + 0.2 * (np.roll(u, 1) - 2 * u + np.roll(u, -1)) + 1e-3 * growth * u * (1 - u), None

        return np.sum(weights * ft.scan(step, state, None, length=STEPS, checkpoint=checkpoint)[0])

    return ft.value_and_grad(total, argnums=(0, 1))


def simulation_arguments() -> tuple[Any, ...]:
    g = generator()
    return 1e-3 * g.random(CELLS), g.random(CELLS), g.normal(size=CELLS)


def budgeted(activations: int) -> Callable[..., Any]:
    """The network's layers with a budget."""
    return ft.checkpoint(layers, budget=activations * ACTIVATION)


def budget(activations: int, bar: float | None) -> Bounded:
    name = f"checkpoint, budget of {activations} activations"
    return Bounded(
        name, network(budgeted(activations)), network(layers), network_arguments, activations * ACTIVATION, "budget", bar
    )


def scanned(checkpoint: Any, states: int, named: str, bar: float) -> Bounded:
    name = f"scan of {STEPS:,} steps, checkpoint={checkpoint!r}"
    return Bounded(name, simulation(checkpoint), simulation(), simulation_arguments, states * STATE, named, bar)


# Beside what is kept there is what is computed again at a time: few layers at a large budget, a step of a scan.
BOUNDED = [
    Bounded(
        f"checkpoint, {LAYERS} layers in 8 parts", network(ft.checkpoint(layers), LAYERS // 8), network(layers), network_arguments,
        16 * ACTIVATION, "8 + 8 activations", 1.3, 1.4,
    ),
    scanned("sqrt", 2 * isqrt(STEPS), "2 sqrt(n) states", 1.3),
    scanned("recursive", STEPS.bit_length(), "log2(n) states", 2.0),
    scanned(50, 50, "50 states", 2.0),
    budget(48, 1.1),
    budget(32, 1.1),
    budget(16, None),
]  # fmt: skip
# In activations, of which it is measured what is kept.
BUDGETS = 8, 16, 32, 48


def kept(activations: int) -> int:
    """The bytes that a budget lets the forward pass keep."""
    weights, x = network_arguments()
    return ft.inspect.residuals(budgeted(activations), x, weights).nbytes
