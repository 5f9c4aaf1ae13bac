"""The workloads of code in torch's style: one function, run by `functrans.torch` and by PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from workloads import Contender, Workload, chain_backward

MODULES = {"functrans": "functrans.torch", "torch": "torch"}


def both(make: Callable[[Any], Contender]) -> dict[str, Callable[[], Contender]]:
    """The contenders that run what `make` gives for each of the two modules."""
    return {name: lambda module=module: make(import_module(module)) for name, module in MODULES.items()}


def network(torch: Any, dtype: str) -> tuple[Any, Any, Any]:
    """Four layers 64 -> 64 with tanh, a batch of 32 inputs and targets."""
    generator = import_module("numpy").random.default_rng(0)
    layers = [layer for _ in range(4) for layer in (torch.nn.Linear(64, 64), torch.nn.Tanh())]
    model = torch.nn.Sequential(*layers).to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.tensor(generator.normal(size=tuple(parameter.shape)) / 8))
    return model, *(torch.tensor(generator.normal(size=(32, 64)).astype(dtype)) for _ in range(2))


def training(dtype: str, compiles: bool = False) -> Callable[[Any], Contender]:
    """A training step of the network: forward, backward, SGD."""

    def make(torch: Any) -> Contender:
        model, x, y = network(torch, dtype)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        # What is compiled is functrans's alone: the bar is PyTorch's eager step.
        compile = torch.compile if compiles and torch.__name__ != "torch" else lambda function: function
        loss_of = compile(lambda x, y: torch.nn.functional.mse_loss(model(x), y))

        def run() -> list[Any]:
            optimizer.zero_grad()
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            return [loss.detach().numpy()]

        return run

    return make


TORCH_STYLE = [
    Workload(
        "torch style: backward() of 200 x `x = x * sin(x) + 1`, scalar",
        both(chain_backward),
        {"torch": 1.5},
        "Python: one tensor and one node per operation",
    ),
    *(
        Workload(
            f"torch style: training step of an MLP, 4 x (64 -> 64) tanh, batch 32, {dtype}{', compiled beside eager' if compiles else ''}",
            both(training(dtype, compiles)),
            {"torch": 0.5 if compiles else 1.2},
            "Python per operation" if not compiles else "BLAS, tanh, Python per call",
            rtol,
        )
        for compiles in (False, True)
        for dtype, rtol in (("float64", 1e-9), ("float32", 1e-4))
    ),
]
