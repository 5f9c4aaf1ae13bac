"""Workloads of loops under `jit`, as those of `compiled.py`: written once for functrans and for JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from compiled import Compiled, generator

__all__ = ["LOOPS"]


def loops_of(api: Any) -> Any:
    """The module that has `scan` and `while_loop`."""
    return getattr(api, "lax", api)


def pendulum(m: Any, api: Any) -> Callable[..., Any]:
    """A damped pendulum, 1,000 steps; derivatives with respect to the angle and the velocity at first."""

    def total(angle: Any, velocity: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            x, v = carry
            return (x + 0.01 * v, v + 0.01 * (-m.sin(x) - 0.1 * v)), x

        _, angles = loops_of(api).scan(step, (angle, velocity), None, length=1000)
        return m.sum(angles**2)

    return api.value_and_grad(total, argnums=(0, 1))


def lstm(m: Any, api: Any) -> Callable[..., Any]:
    """ADBench's LSTM objective and its gradient with respect to the weights."""

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + m.exp(-x))

    def objective(main: Any, extra: Any, state: Any, sequence: Any) -> Any:
        layers = main.shape[0]

        def step(carry: Any, x: Any) -> Any:
            z, new = x * extra[0], []
            for layer, (h, c) in enumerate(carry):
                w, b = main[layer, 0], main[layer, 1]
                forget = sigmoid(z * w[0] + b[0])
                ingate = sigmoid(h * w[1] + b[1])
                outgate = sigmoid(z * w[2] + b[2])
                change = m.tanh(h * w[3] + b[3])
                c = c * forget + ingate * change
                z = outgate * m.tanh(c)
                new.append((z, c))
            return new, z * extra[1] + extra[2]

        start = [(state[layer, 0], state[layer, 1]) for layer in range(layers)]
        _, ys = loops_of(api).scan(step, start, sequence[:-1])
        logarithms = m.log(2 + m.sum(m.exp(ys), axis=1, keepdims=True))
        return -m.sum(sequence[1:] * (ys - logarithms)) / ys.size

    return api.value_and_grad(objective, argnums=(0, 1))


def lstm_arguments(layers: int, steps: int, width: int = 14) -> Callable[[], tuple[Any, ...]]:
    def make() -> tuple[Any, ...]:
        g = generator()
        sequence = (g.random((steps, width)) < 0.3).astype(np.float64)
        return g.normal(size=(layers, 2, 4, width)), g.normal(size=(3, width)), g.normal(size=(layers, 2, width)), sequence

    return make


def newton(m: Any, api: Any) -> Callable[..., Any]:
    """Kepler's equation by Newton's method until it holds; JAX has no reverse mode of it."""

    def solved(mean_anomaly: Any, eccentricity: Any) -> Any:
        def is_off(x: Any) -> Any:
            return m.abs(x - eccentricity * m.sin(x) - mean_anomaly) > 1e-13

        def improved(x: Any) -> Any:
            return x - (x - eccentricity * m.sin(x) - mean_anomaly) / (1 - eccentricity * m.cos(x))

        return loops_of(api).while_loop(is_off, improved, mean_anomaly + 0.0)

    return lambda x, e, t: api.jvp(lambda x: solved(x, e), (x,), (t,))


def gru(m: Any, api: Any) -> Callable[..., Any]:
    """Two layers of gated recurrent units over 512 steps; the gradient with respect to the weights."""

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + m.exp(-x))

    def cell(weights: Any, h: Any, x: Any) -> Any:
        wz, uz, wr, ur, wh, uh = weights
        z, r = sigmoid(x @ wz + h @ uz), sigmoid(x @ wr + h @ ur)
        return (1 - z) * h + z * m.tanh(x @ wh + (r * h) @ uh)

    def loss(weights: Any, xs: Any, targets: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            first, second = carry
            first = cell(weights[0], first, x)
            second = cell(weights[1], second, first)
            return (first, second), second

        start = m.zeros(xs.shape[1:], xs.dtype)
        _, hs = loops_of(api).scan(step, (start, start), xs)
        return m.mean((hs - targets) ** 2)

    return api.value_and_grad(loss)


def gru_arguments() -> tuple[Any, ...]:
    g = generator()
    weights = [[(g.normal(size=(32, 32)) / 32**0.5).astype(np.float32) for _ in range(6)] for _ in range(2)]
    return weights, *g.normal(size=(2, 512, 16, 32)).astype(np.float32)


LOOPS = [
    Compiled("8", "scan of a damped pendulum, 1,000 steps, grad", pendulum, lambda: (1.0, 0.5), 0.8, "sin and cos, one after the other"),
    Compiled("17", "LSTM l2 c1024", lstm, lstm_arguments(2, 1024), 0.4, "exp and tanh"),
    Compiled("17", "LSTM l4 c1024", lstm, lstm_arguments(4, 1024), 0.4, "exp and tanh"),
    Compiled("loops", "Newton's method in a while_loop, jvp", newton, lambda: (2.0, 0.9, 1.0), 0.8, "sin and cos, one after the other"),
    Compiled("loops", "GRU, 2 layers, 512 steps, grad", gru, gru_arguments, 0.8, "BLAS, exp", 1e-3),
]
