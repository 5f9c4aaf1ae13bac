"""Learn to learn sinusoids: model-agnostic meta-learning (Finn, Abbeel and Levine 2017, section 5.1), written twice.

A network 1-40-40-1 is trained such that one gradient step on 5 (or 10) points of a new sinusoid fits it. Its meta-gradient goes
through that step. `functional` writes it as `ft.grad` of a function that takes gradient steps; `stateful` as torch users do, with
`autograd.grad(create_graph=True)`. Both give the same meta-gradients, which is checked before training.
"""

from __future__ import annotations

import argparse

import matplotlib
import numpy as np

import functrans as ft
import functrans.torch as torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

SIZES = (1, 40, 40, 1)


def tasks(generator, count, shots):
    """Points of `count` sinusoids, amplitude in [0.1, 5], phase in [0, pi]: x and y float64[count,2 shots,1].

    The first half of each is to learn from, the second to measure with.
    """
    amplitude = generator.uniform(0.1, 5.0, (count, 1, 1))
    phase = generator.uniform(0.0, np.pi, (count, 1, 1))
    x = generator.uniform(-5.0, 5.0, (count, 2 * shots, 1))
    return x, amplitude * np.sin(x - phase)


def initial_parameters(seed):
    """A list of weights and biases, layer by layer."""
    generator = np.random.default_rng(seed)
    # Small enough that ten gradient steps from anywhere near do not run away.
    pairs = [(generator.uniform(-1, 1, (n, m)) / np.sqrt(n), generator.uniform(-1, 1, m) / np.sqrt(n)) for n, m in zip(SIZES, SIZES[1:])]
    return [array for pair in pairs for array in pair]


# As functions of NumPy arrays.


def network(parameters, x):
    """The network's values at `x`."""
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2]):
        x = np.maximum(x @ weight + bias, 0.0)
    return x @ parameters[-2] + parameters[-1]


def error(parameters, x, y):
    """The mean squared error."""
    return np.mean((network(parameters, x) - y) ** 2)


def adapted(parameters, x, y, rate, steps=1):
    """Parameters after gradient steps on these points."""
    for _ in range(steps):
        gradient = ft.grad(error)(parameters, x, y)
        parameters = [p - rate * g for p, g in zip(parameters, gradient)]
    return parameters


def meta_error(parameters, x, y, rate):
    """The mean over tasks of the error on the second half of the points after a step on the first."""
    shots = x.shape[1] // 2

    def of_task(x, y):
        return error(adapted(parameters, x[:shots], y[:shots], rate), x[shots:], y[shots:])

    return np.mean(ft.vmap(of_task)(x, y))


functional = ft.value_and_grad(meta_error)


# The same in torch style.


def stateful(parameters, x, y, rate):
    """The meta-error and its gradient, by `autograd.grad` through `autograd.grad`."""
    parameters = [torch.tensor(p, requires_grad=True) for p in parameters]
    x, y = torch.tensor(x), torch.tensor(y)
    shots = x.shape[1] // 2

    def loss(parameters, x, y):
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2]):
            x = torch.relu(x @ weight + bias)
        return torch.nn.functional.mse_loss(x @ parameters[-2] + parameters[-1], y)

    total = 0.0
    for task in range(len(x)):
        gradient = torch.autograd.grad(loss(parameters, x[task, :shots], y[task, :shots]), parameters, create_graph=True)
        moved = [p - rate * g for p, g in zip(parameters, gradient)]
        total = total + loss(moved, x[task, shots:], y[task, shots:])
    total = total / len(x)
    return total.item(), [g.numpy() for g in torch.autograd.grad(total, parameters)]


def largest_difference(parameters, x, y, rate):
    """How far the two meta-gradients are apart."""
    (_, own), (_, other) = functional(parameters, x, y, rate), stateful(parameters, x, y, rate)
    return max(float(np.max(np.abs(a - b))) for a, b in zip(own, other))


def train(step, parameters, batches, rate=1e-3):
    """Parameters after Adam (Kingma and Ba 2015) on the gradients that `step` gives for each batch."""
    mean, square = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    for count, batch in enumerate(batches, 1):
        _, gradient = step(parameters, *batch)
        mean = [0.9 * m + 0.1 * g for m, g in zip(mean, gradient)]
        square = [0.999 * s + 0.001 * g * g for s, g in zip(square, gradient)]
        size = rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        parameters = [p - size * m / (np.sqrt(s) + 1e-8) for p, m, s in zip(parameters, mean, square)]
    return parameters


def errors_after(parameters, x, y, rate, steps):
    """The mean error over tasks on the second halves, after each number of gradient steps on the first."""
    shots = x.shape[1] // 2
    measure = ft.vmap(lambda moved, x, y: error(moved, x, y))
    advance = ft.vmap(lambda moved, x, y: adapted(moved, x, y, rate))
    moved = [np.repeat(p[None], len(x), axis=0) for p in parameters]
    results = {}
    for step in range(max(steps) + 1):
        if step in steps:
            results[step] = float(np.mean(measure(moved, x[:, shots:], y[:, shots:])))
        moved = advance(moved, x[:, :shots], y[:, :shots])
    return results


def draw(path, fits):
    """Save, for one sinusoid, the points and what each network makes of them before and after gradient steps."""
    figure, axes = plt.subplots(1, len(fits), figsize=(5 * len(fits), 3.5), layout="constrained", sharey=True, squeeze=False)
    grid = np.linspace(-5, 5, 200)[:, None]
    for axis, (title, (parameters, x, y, rate)) in zip(axes.flat, fits.items()):
        for steps, style in ((0, ":"), (1, "--"), (10, "-")):
            axis.plot(grid, network(adapted(parameters, x, y, rate, steps), grid), style, label=f"{steps} steps")
        axis.plot(x, y, "k^", label="points")
        axis.set(title=title)
        axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments=None):
    """Train both networks, report and draw; returns the errors by network and shots, and the difference of meta-gradients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=15000)
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--tasks", type=int, default=25, help="tasks in a batch")
    parser.add_argument("--rate", type=float, default=0.01, help="of the inner gradient step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="maml_sinusoid.png", help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="200 iterations, 5 shots")
    options = parser.parse_args(arguments)
    if options.quick:
        options.iterations, options.shots = 200, [5]
    rate, results, fits = options.rate, {}, {}
    start = initial_parameters(options.seed)
    difference = largest_difference(start, *tasks(np.random.default_rng(options.seed), 4, 5), rate)
    print(f"largest difference between the meta-gradients of ft.grad and of the shim: {difference:.1e}")
    meta_step, plain_step = ft.jit(functional), ft.jit(ft.value_and_grad(lambda p, x, y, rate: error(p, x, y)))
    for shots in options.shots:
        for name, step in (("MAML", meta_step), ("pretrained", plain_step)):
            generator = np.random.default_rng(options.seed)
            batches = ((*tasks(generator, options.tasks, shots), rate) for _ in range(options.iterations))
            parameters = train(step, start, batches)
            x, y = tasks(np.random.default_rng(options.seed + 1), 600, shots)
            found = results[name, shots] = errors_after(parameters, x, y, rate, (0, 1, 10))
            text = ", ".join(f"{value:.3f} after {steps}" for steps, value in found.items())
            print(f"{shots}-shot {name}: mean squared error {text} gradient steps")
            if shots == options.shots[0]:
                fits[f"{name}, {shots} points"] = (parameters, x[0, :shots], y[0, :shots], rate)
        print(f"{shots}-shot curves to compare with: figure 3 of the paper")
    draw(options.output, fits)
    print(f"saved {options.output}")
    return results, difference


if __name__ == "__main__":
    main()
