"""Train a small convolutional network on handwritten digits, in torch style.

The data are scikit-learn's 1,797 bundled images of 8 x 8 pixels. Nothing here knows which library runs it: ``--library torch``
imports PyTorch in place of `functrans.torch`, and the losses agree step by step, since weights and batches come from NumPy.
"""

from __future__ import annotations

import argparse
import importlib
import time

import numpy as np
from sklearn.datasets import load_digits


def load(torch, seed):
    """Training and held-out images float64[n,1,8,8] in [0, 1] and labels int64[n]: four fifths and one fifth."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images = torch.tensor(images[order].reshape(-1, 1, 8, 8) / 16.0)
    labels = torch.tensor(labels[order].astype(np.int64))
    held_out = len(labels) // 5
    return images[held_out:], labels[held_out:], images[:held_out], labels[:held_out]


def network(torch, seed):
    """Two convolutions with pooling between them, then one linear map; float64, with weights from NumPy."""
    nn = torch.nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
            )  # fmt: skip
            self.scores = nn.Linear(96, 10)

        def forward(self, images):
            return self.scores(self.features(images).flatten(1))

    model = Network().double()
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            shape = tuple(parameter.shape)
            bound = np.sqrt(6.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.0
            parameter.copy_(torch.tensor(generator.uniform(-bound, bound, shape)))
    return model


def train(torch, model, images, labels, epochs, seed, batch=64, rate=3e-3):
    """Train with Adam (Kingma and Ba 2015); returns the loss of every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    loss_fn = torch.nn.CrossEntropyLoss()
    generator = np.random.default_rng(seed)
    losses = []
    model.train()
    for epoch in range(epochs):
        order = torch.tensor(generator.permutation(len(labels)))
        began = time.perf_counter()
        for start in range(0, len(labels), batch):
            chosen = order[start : start + batch]
            loss = loss_fn(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1:2d}: loss {losses[-1]:.4f} in {time.perf_counter() - began:.1f} s")
    return losses


def accuracy(torch, model, images, labels):
    """The share of images whose highest score is their label's."""
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(1) == labels).double().mean().item()


def main(arguments=None):
    """Train and report; returns the losses and the held-out accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", default="functrans.torch", choices=["functrans.torch", "torch"])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one epoch")
    options = parser.parse_args(arguments)
    torch = importlib.import_module(options.library)
    images, labels, test_images, test_labels = load(torch, options.seed)
    model = network(torch, options.seed)
    losses = train(torch, model, images, labels, 1 if options.quick else options.epochs, options.seed)
    reached = accuracy(torch, model, test_images, test_labels)
    print(f"held-out accuracy {reached:.2%} on {len(test_labels)} images")
    return losses, reached


if __name__ == "__main__":
    main()
