"""Train a small network on handwritten digits, then look at the curvature of its loss.

The data are scikit-learn's 1,797 bundled images of 8 x 8 pixels. The loss is plain NumPy; its gradient is
`ft.value_and_grad`, and the largest eigenvalues of its Hessian come from Lanczos on `ft.hvp`, without
the Hessian itself.
"""

from __future__ import annotations

import argparse

import matplotlib
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits

import functrans as ft

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

SIZES = (64, 256, 10)


def load(seed):
    """Training and held-out images float64[n,64] in [0, 1] and labels int64[n]: four fifths and one fifth."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images, labels = images[order] / 16.0, labels[order]
    held_out = len(labels) // 5
    return images[held_out:], labels[held_out:], images[:held_out], labels[:held_out]


def shifted(images, generator):
    """Each image moved by up to one pixel in each direction: more training data for free."""
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    down, right = generator.integers(0, 3, (2, len(images), 1, 1))
    rows, columns = np.arange(8)[:, None] + down, np.arange(8)[None, :] + right
    return padded[np.arange(len(images))[:, None, None], rows, columns].reshape(-1, 64)


def initial_parameters(seed):
    """One dict of weights and biases per layer."""
    generator = np.random.default_rng(seed)
    return [{"w": generator.standard_normal((n, m)) * np.sqrt(2.0 / n), "b": np.zeros(m)} for n, m in zip(SIZES, SIZES[1:])]


def scores(parameters, images):
    """The network's scores float64[n,10] for each digit."""
    *hidden, last = parameters
    for layer in hidden:
        images = np.maximum(images @ layer["w"] + layer["b"], 0.0)
    return images @ last["w"] + last["b"]


def loss(parameters, images, labels):
    """The mean cross-entropy, with a little weight decay."""
    z = scores(parameters, images)
    top = np.max(z, axis=1, keepdims=True)
    log_total = top[:, 0] + np.log(np.sum(np.exp(z - top), axis=1))
    decay = sum(np.sum(layer["w"] ** 2) for layer in parameters)
    return np.mean(log_total - z[np.arange(len(labels)), labels]) + 1e-4 * decay


def accuracy(parameters, images, labels):
    """The share of images whose highest score is their label's."""
    return float(np.mean(np.argmax(scores(parameters, images), axis=1) == labels))


def train(images, labels, epochs, seed, batch=64, rate=3e-3):
    """Parameters after Adam (Kingma and Ba 2015) with a cosine schedule, and the loss of every epoch."""
    parameters = initial_parameters(seed)
    step = ft.value_and_grad(loss)
    generator = np.random.default_rng(seed)
    mean = ft.tree.map(np.zeros_like, parameters)
    square = ft.tree.map(np.zeros_like, parameters)
    history, count = [], 0
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("loss {task.fields[loss]:.4f}"), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=epochs, loss=np.nan)
        for epoch in range(epochs):
            decayed = rate * (1 + np.cos(np.pi * epoch / epochs)) / 2
            order = generator.permutation(len(labels))
            values = []
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                value, gradient = step(parameters, shifted(images[chosen], generator), labels[chosen])
                count += 1
                mean = ft.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
                square = ft.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradient)
                size = decayed * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
                parameters = ft.tree.map(lambda p, m, s: p - size * m / (np.sqrt(s) + 1e-8), parameters, mean, square)
                values.append(value)
            history.append(float(np.mean(values)))
            progress.update(task, advance=1, loss=history[-1])
    return parameters, history


def curvature(parameters, images, labels, count=5):
    """The largest eigenvalues of the loss's Hessian, descending, their vectors, and the Hessian as an operator."""
    leaves, structure = ft.tree.flatten(parameters)
    ends = np.cumsum([leaf.size for leaf in leaves])

    def tree_of(vector):
        parts = np.split(np.ravel(vector), ends[:-1])
        return ft.tree.unflatten(structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves)])

    def product(vector):
        result = ft.hvp(lambda p: loss(p, images, labels), (parameters,), (tree_of(vector),))
        return np.concatenate([leaf.ravel() for leaf in ft.tree.leaves(result)])

    operator = LinearOperator((ends[-1], ends[-1]), matvec=product, dtype=np.float64)
    values, vectors = eigsh(operator, k=count, which="LA", tol=1e-6, v0=np.ones(ends[-1]))
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order], operator


def draw(path, history, images, labels, predictions, eigenvalues):
    """Save the loss curve, some held-out images with predictions, and the eigenvalues."""
    figure = plt.figure(figsize=(10, 6), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    left, right = top.subplots(1, 2)
    left.semilogy(history)
    left.set(title="training loss", xlabel="epoch")
    right.bar(np.arange(1, len(eigenvalues) + 1), eigenvalues)
    right.set(title="largest eigenvalues of the Hessian", xlabel="rank")
    for axes, image, label, prediction in zip(bottom.subplots(2, 8).flat, images, labels, predictions):
        axes.imshow(image.reshape(8, 8), cmap="gray_r")
        axes.set_title(str(prediction), color="black" if prediction == label else "red")
        axes.axis("off")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments=None):
    """Train, report, and draw; returns the held-out accuracy and the eigenvalues with their residuals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="digits.png", help="where the picture goes")
    options = parser.parse_args(arguments)
    images, labels, test_images, test_labels = load(options.seed)
    parameters, history = train(images, labels, options.epochs, options.seed)
    reached = accuracy(parameters, test_images, test_labels)
    print(f"held-out accuracy {reached:.2%} on {len(test_labels)} images")
    eigenvalues, vectors, hessian = curvature(parameters, images, labels)
    residuals = np.linalg.norm(hessian @ vectors - vectors * eigenvalues, axis=0)
    print("largest eigenvalues of the Hessian:", ", ".join(f"{value:.3f}" for value in eigenvalues))
    predictions = np.argmax(scores(parameters, test_images), axis=1)
    draw(options.output, history, test_images, test_labels, predictions, eigenvalues)
    print(f"saved {options.output}")
    if reached < 0.97:
        raise SystemExit(f"the held-out accuracy {reached:.2%} is under 97 %")
    return reached, eigenvalues, residuals


if __name__ == "__main__":
    main()
