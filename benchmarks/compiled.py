"""Workloads under `jit`, written once: with NumPy and functrans, or with JAX's namespaces of the same names.

Each builds a function of the arguments, given the array module and the module of transforms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["COMPILED", "Compiled", "generator"]


@dataclass(frozen=True)
class Compiled:
    """A row: `build` makes the function, of an array module `m` and a module of transforms `api`.

    Attributes:
        bar: the highest ratio of run times functrans / JAX that is good enough.
        limit: what bounds functrans on this row.
        share: of the time that each workload is run for.
        donates: whether the first argument is donated, and the second of the results takes its place in the next call.
    """

    row: str
    name: str
    build: Callable[[Any, Any], Callable[..., Any]]
    arguments: Callable[[], tuple[Any, ...]]
    bar: float
    limit: str
    rtol: float = 1e-8
    share: float = 1.0
    donates: bool = False

    def jitted(self, m: Any, api: Any) -> Any:
        """The compiled function."""
        return api.jit(self.build(m, api), donate_argnums=(0,) if self.donates else ())

    def caller(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[[], Any]:
        """A call of a compiled function on arguments, which are its own."""
        current = list(arguments)

        def call() -> Any:
            results = function(*current)
            if self.donates:
                current[0] = results[1]
            return results

        return call


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def small_call(m: Any, api: Any) -> Callable[..., Any]:
    return lambda x, y: x * y + 1.0


def dictionary_call(m: Any, api: Any) -> Callable[..., Any]:
    return api.value_and_grad(lambda arrays: sum(m.sum(array * array) for array in arrays.values()))


def scalar_chain(m: Any, api: Any) -> Callable[..., Any]:
    def chain(x: Any) -> Any:
        for _ in range(200):
            x = x * m.sin(x) + 1
        return x

    return api.grad(chain)


def network(m: Any, api: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        for w in weights:
            x = m.tanh(x @ w)
        return m.mean((x - y) ** 2)

    return api.value_and_grad(loss)


def network_arguments() -> tuple[Any, ...]:
    g = generator()
    return [g.normal(size=(64, 64)) / 8 for _ in range(4)], g.normal(size=(32, 64)), g.normal(size=(32, 64))


def cross_entropy(m: Any, logits: Any, labels: Any) -> Any:
    """The mean over rows of minus the logarithm of the labels' softmax."""
    shifted = logits - m.max(logits, axis=-1, keepdims=True)
    total = m.log(m.sum(m.exp(shifted), axis=-1))
    return m.mean(total - m.sum(shifted * labels, axis=-1))


def one_hot(g: np.random.Generator, count: int, classes: int) -> Any:
    return np.eye(classes, dtype=np.float32)[g.integers(classes, size=count)]


def training_step(m: Any, api: Any) -> Callable[..., Any]:
    def loss(parameters: Any, x: Any, labels: Any) -> Any:
        (w1, b1), (w2, b2), (w3, b3) = parameters
        x = m.maximum(x @ w1 + b1, 0)
        x = m.maximum(x @ w2 + b2, 0)
        return cross_entropy(m, x @ w3 + b3, labels)

    def step(parameters: Any, x: Any, labels: Any) -> Any:
        value, gradients = api.value_and_grad(loss)(parameters, x, labels)
        updated = [(w - 0.1 * dw, b - 0.1 * db) for (w, b), (dw, db) in zip(parameters, gradients)]
        return value, updated

    return step


def training_arguments() -> tuple[Any, ...]:
    g = generator()
    sizes = [784, 512, 512, 10]
    parameters = [
        ((g.normal(size=(n, k)) / math.sqrt(n)).astype(np.float32), np.zeros(k, np.float32)) for n, k in zip(sizes, sizes[1:])
    ]
    return parameters, g.random((256, 784), np.float32), one_hot(g, 256, 10)


def nested_tanh(depth: int) -> Callable[[Any, Any], Callable[..., Any]]:
    def build(m: Any, api: Any) -> Callable[..., Any]:
        def total(x: Any, y: Any) -> Any:
            for _ in range(depth):
                x = m.tanh(x * y + 1)
            return m.sum(x)

        return api.value_and_grad(total)

    return build


def softmax_cross_entropy(m: Any, api: Any) -> Callable[..., Any]:
    return api.value_and_grad(lambda logits, labels: cross_entropy(m, logits, labels))


def layernorm(m: Any, api: Any) -> Callable[..., Any]:
    def loss(x: Any, scale: Any, shift: Any, weight: Any) -> Any:
        centred = x - m.mean(x, axis=-1, keepdims=True)
        variance = m.mean(centred * centred, axis=-1, keepdims=True)
        return m.sum((centred / m.sqrt(variance + 1e-5) * scale + shift) * weight)

    return api.value_and_grad(loss, argnums=(0, 1, 2))


def attention(m: Any, api: Any) -> Callable[..., Any]:
    def loss(q: Any, k: Any, v: Any) -> Any:
        scores = m.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(32)
        weights = m.exp(scores - m.max(scores, axis=-1, keepdims=True))
        weights = weights / m.sum(weights, axis=-1, keepdims=True)
        return m.sum(m.einsum("bhqk,bhkd->bhqd", weights, v) ** 2)

    return api.value_and_grad(loss, argnums=(0, 1, 2))


def convolution(api: Any, x: Any, kernel: Any) -> Any:
    """Images [batch, channels, height, width] under a kernel [outputs, channels, height, width], padded to the same size."""
    if hasattr(api, "lax"):
        return api.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")
    return api.nn.conv(x, kernel, padding="same")


def max_pooling(api: Any, x: Any) -> Any:
    """The greatest of each 2 x 2 elements."""
    if hasattr(api, "lax"):
        return api.lax.reduce_window(x, -np.inf, api.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return api.nn.max_pool(x, 2)


def digits_step(m: Any, api: Any) -> Callable[..., Any]:
    """A training step of two convolutions, each with a rectifier and a pooling, and a linear layer."""

    def loss(parameters: Any, x: Any, labels: Any) -> Any:
        (k1, b1), (k2, b2), (w, b) = parameters
        x = max_pooling(api, m.maximum(convolution(api, x, k1) + b1[:, None, None], 0))
        x = max_pooling(api, m.maximum(convolution(api, x, k2) + b2[:, None, None], 0))
        return cross_entropy(m, m.reshape(x, (x.shape[0], -1)) @ w + b, labels)

    def step(parameters: Any, x: Any, labels: Any) -> Any:
        value, gradients = api.value_and_grad(loss)(parameters, x, labels)
        return value, [(w - 0.1 * dw, b - 0.1 * db) for (w, b), (dw, db) in zip(parameters, gradients)]

    return step


def digits_arguments() -> tuple[Any, ...]:
    g = generator()
    shapes = [(16, 1, 3, 3), (32, 16, 3, 3), (128, 10)]
    kernels = [(g.normal(size=shape) / math.sqrt(math.prod(shape) / shape[-1])).astype(np.float32) for shape in shapes]
    parameters = [(kernel, g.normal(size=count).astype(np.float32)) for kernel, count in zip(kernels, (16, 32, 10))]
    return parameters, g.random((128, 1, 8, 8), np.float32), one_hot(g, 128, 10)


def embedding(m: Any, api: Any) -> Callable[..., Any]:
    return api.grad(lambda table, numbers, weight: m.sum(table[numbers] * weight))


def logistic_product(m: Any, api: Any) -> Callable[..., Any]:
    def loss(w: Any, x: Any, y: Any) -> Any:
        margins = y * (x @ w)
        return m.mean(m.logaddexp(0.0, -margins)) + 0.5e-3 * m.sum(w * w)

    return lambda w, v, x, y: api.jvp(lambda w: api.grad(loss)(w, x, y), (w,), (v,))[1]


def network_product(m: Any, api: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        for w in weights:
            x = m.tanh(x @ w)
        return m.mean((x - y) ** 2)

    return lambda weights, v, x, y: api.jvp(lambda weights: api.grad(loss)(weights, x, y), (weights,), (v,))[1]


def network_product_arguments() -> tuple[Any, ...]:
    weights, x, y = network_arguments()
    return weights, [w + 0.1 for w in weights], x, y


def meta_gradient(m: Any, api: Any) -> Callable[..., Any]:
    def predict(parameters: Any, x: Any) -> Any:
        (w1, b1), (w2, b2), (w3, b3) = parameters
        return m.tanh(m.tanh(x @ w1 + b1) @ w2 + b2) @ w3 + b3

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return m.mean((predict(parameters, x) - y) ** 2)

    def adapted(parameters: Any, x1: Any, y1: Any, x2: Any, y2: Any) -> Any:
        for _ in range(5):
            gradients = api.grad(loss)(parameters, x1, y1)
            parameters = [(w - 0.01 * dw, b - 0.01 * db) for (w, b), (dw, db) in zip(parameters, gradients)]
        return loss(parameters, x2, y2)

    def total(parameters: Any, x1: Any, y1: Any, x2: Any, y2: Any) -> Any:
        return m.mean(api.vmap(adapted, in_axes=(None, 0, 0, 0, 0))(parameters, x1, y1, x2, y2))

    return api.grad(total)


def meta_arguments() -> tuple[Any, ...]:
    g = generator()
    sizes = [1, 40, 40, 1]
    parameters = [(g.normal(size=(n, k)) / math.sqrt(n), np.zeros(k)) for n, k in zip(sizes, sizes[1:])]
    x1, x2 = g.uniform(-5, 5, size=(2, 25, 10, 1))
    phase = g.uniform(0, 3, size=(25, 1, 1))
    return parameters, x1, np.sin(x1 + phase), x2, np.sin(x2 + phase)


def robot_arm(transform: str) -> Callable[[Any, Any], Callable[..., Any]]:
    """Denavit-Hartenberg parameters of a six-joint arm: lengths in metres, twists in radians."""
    lengths, offsets = (0.0, 0.43, 0.02, 0.0, 0.0, 0.0), (0.67, 0.0, 0.15, 0.43, 0.0, 0.06)
    twists = (math.pi / 2, 0.0, -math.pi / 2, math.pi / 2, -math.pi / 2, 0.0)

    def build(m: Any, api: Any) -> Callable[..., Any]:
        def kinematics(angles: Any) -> Any:
            rotation, place = m.eye(3), m.zeros(3)
            for joint in range(6):
                c, s = m.cos(angles[joint]), m.sin(angles[joint])
                ct, st = math.cos(twists[joint]), math.sin(twists[joint])
                turn = m.stack(
                    [m.stack([c, -s * ct, s * st]), m.stack([s, c * ct, -c * st]), m.stack([0 * c, 0 * c + st, 0 * c + ct])]
                )
                step = m.stack([lengths[joint] * c, lengths[joint] * s, 0 * c + offsets[joint]])
                place = place + rotation @ step
                rotation = rotation @ turn
            return place, rotation

        return api.vmap(getattr(api, transform)(kinematics))

    return build


def mixture(m: Any, api: Any) -> Callable[..., Any]:
    """ADBench's GMM objective and its gradient; `scatter` puts the entries below the diagonal in place."""

    def objective(alpha: Any, mean: Any, icf: Any, x: Any, scatter: Any, gamma: float, wishart: float) -> Any:
        n, d = x.shape
        k = alpha.shape[0]
        diagonal = m.exp(icf[:, :d])
        lower = (icf[:, d:] @ scatter).reshape((k, d, d))
        q = lower + diagonal[:, :, None] * m.eye(d)
        centred = x[:, None, :] - mean
        scaled = m.einsum("kij,nkj->nki", q, centred)
        sums = m.sum(icf[:, :d], axis=1)
        terms = alpha + sums - 0.5 * m.sum(scaled * scaled, axis=2)
        total = m.sum(logsumexp(m, terms)) - n * logsumexp(m, alpha)
        prior = 0.5 * gamma**2 * (m.sum(diagonal**2) + m.sum(icf[:, d:] ** 2)) - wishart * m.sum(sums)
        return total + prior

    return api.grad(objective, argnums=(0, 1, 2))


def logsumexp(m: Any, x: Any) -> Any:
    """The logarithm of the sum of exponentials over the last axis."""
    largest = m.max(x, axis=-1, keepdims=True)
    return m.log(m.sum(m.exp(x - largest), axis=-1)) + largest[..., 0]


def mixture_arguments(d: int, k: int, n: int) -> Callable[[], tuple[Any, ...]]:
    def make() -> tuple[Any, ...]:
        g = generator()
        entries = d * (d - 1) // 2
        scatter = np.zeros((entries, d * d))
        places = [(row, column) for column in range(d) for row in range(column + 1, d)]
        for entry, (row, column) in enumerate(places):
            scatter[entry, row * d + column] = 1
        x = g.normal(size=(n, d))
        return g.normal(size=k), g.random((k, d)), g.normal(size=(k, d + entries)), x, scatter, 1.0, 0.0

    return make


def uniform(*shapes: tuple[int, ...], dtype: Any = np.float64) -> Callable[[], tuple[Any, ...]]:
    return lambda: tuple(g.random(shape).astype(dtype) for g in [generator()] for shape in shapes)


def embedding_arguments() -> tuple[Any, ...]:
    g = generator()
    return g.normal(size=(50_000, 64)), g.integers(50_000, size=8192), g.normal(size=(8192, 64))


def logistic_arguments() -> tuple[Any, ...]:
    g = generator()
    return g.normal(size=200) / 20, g.normal(size=200), g.normal(size=(10_000, 200)), np.sign(g.normal(size=10_000))


def labelled(rows: int, classes: int) -> Callable[[], tuple[Any, ...]]:
    return lambda: (generator().normal(size=(rows, classes)).astype(np.float32), one_hot(generator(), rows, classes))


COMPILED = [
    Compiled("1a", "x * y + 1.0, 10 elements", small_call, uniform((10,), (10,)), 0.4, "Python around the call"),
    Compiled(
        "1b", "dict of 20 arrays, sum of squares and grad", dictionary_call,
        lambda: ({f"k{n}": np.arange(5.0) for n in range(20)},), 0.5, "flattening the dict, making 20 arrays",
    ),
    Compiled("3", "grad of 200 x `x = x * sin(x) + 1`, scalar", scalar_chain, lambda: (0.7,), 0.4, "sin and cos, one after the other", 1e-6),
    Compiled("4", "MLP 4 x (64 -> 64) tanh, batch 32", network, network_arguments, 0.6, "matrix products"),
    Compiled("5", "MLP 784-512-512-10 float32, training step", training_step, training_arguments, 1.0, "matrix products", 1e-3, donates=True),
    *(
        Compiled("6", f"tanh(x * y + 1) nested {depth} deep, 2^{power}", nested_tanh(depth), uniform((2**power,), (2**power,)), 0.8, "tanh")
        for depth in (4, 16) for power in (16, 20)
    ),
    Compiled("9", "softmax cross-entropy 1024 x 1000 float32", softmax_cross_entropy, labelled(1024, 1000), 0.7, "exp, memory", 1e-4),
    Compiled(
        "9", "layernorm 4096 x 512 float32", layernorm,
        uniform((4096, 512), (512,), (512,), (4096, 512), dtype=np.float32), 0.7, "memory", 1e-2,
    ),
    Compiled(
        "10", "attention 8 x 4 heads x 128 x 32 float32", attention, uniform(*[(8, 4, 128, 32)] * 3, dtype=np.float32), 1.0, "BLAS, exp", 1e-3
    ),
    Compiled("11", "convolutional network on 8 x 8 digits, batch 128", digits_step, digits_arguments, 1.0, "BLAS, windows", 1e-3),
    Compiled("12", "embedding 50,000 x 64, 8,192 indices, grad", embedding, embedding_arguments, 0.7, "memory"),
    Compiled("13", "Hessian-vector product, logistic 10,000 x 200", logistic_product, logistic_arguments, 0.7, "memory"),
    Compiled("13", "Hessian-vector product of row 4's network", network_product, network_product_arguments, 0.7, "matrix products"),
    Compiled("14", "MAML meta-gradient, 25 tasks, 5 steps", meta_gradient, meta_arguments, 0.7, "small products"),
    Compiled("15", "jacfwd of a 6-joint arm, 100,000 items", robot_arm("jacfwd"), uniform((100_000, 6)), 0.4, "memory"),
    Compiled("15", "jacrev of a 6-joint arm, 100,000 items", robot_arm("jacrev"), uniform((100_000, 6)), 0.4, "memory"),
    Compiled("16", "GMM d10 K25 n 1,000", mixture, mixture_arguments(10, 25, 1000), 0.5, "multiply-adds"),
    Compiled("16", "GMM d32 K50 n 10,000", mixture, mixture_arguments(32, 50, 10_000), 0.5, "multiply-adds"),
]  # fmt: skip
