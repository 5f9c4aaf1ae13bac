"""Import paths: modules that torch has under another path than this package, and namespaces that are attributes only.

Python finds them in ``sys.modules``, so that ``from functrans.torch.optim.adam import Adam`` and ``import functrans.torch.linalg``
work as torch's own. A path under which this package has a file of its own is not among them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import functrans.torch.autograd as autograd
import functrans.torch.nn as nn
import functrans.torch.nn.utils as nn_utils
import functrans.torch.optim as optim
import functrans.torch.utils as utils
from functrans.torch.func import functional_call
from functrans.torch.nn.functional.convolution import each
from functrans.torch.nn.modules import layers, losses

__all__ = ["install_paths"]

ROOT = "functrans.torch"
OF_MODULES = """activation batchnorm channelshuffle container conv distance dropout flatten fold instancenorm linear loss normalization
padding pixelshuffle pooling rnn sparse upsampling utils""".split()
# Namespaces, and the paths under which torch has their names.
PATHS: list[tuple[ModuleType, str, Sequence[str]]] = [
    (nn.modules, "nn.modules", OF_MODULES),
    (nn_utils, "nn.utils", ["clip_grad", "convert_parameters", "stateless"]),
    (optim, "optim", "adadelta adagrad adam adamax adamw asgd nadam radam rmsprop rprop sgd".split()),
    (utils.data, "utils.data", ["dataloader", "dataset", "sampler", "_utils.collate"]),
    (autograd, "autograd", ["gradcheck", "variable"]),
]
# Names that torch has there beside those of the namespace.
BESIDE: dict[str, dict[str, Any]] = {
    "nn.modules.batchnorm": {"_BatchNorm": layers._BatchNorm, "_NormBase": layers._NormBase},
    "nn.modules.conv": {"_ConvNd": layers._Conv},
    "nn.modules.instancenorm": {"_InstanceNorm": layers._InstanceNorm},
    "nn.modules.loss": {"_Loss": losses._Loss, "_WeightedLoss": losses._WeightedLoss},
    "nn.modules.utils": {f"_{name}": partial(each, rank=count) for count, name in enumerate(("single", "pair", "triple", "quadruple"), 1)},
    "nn.utils.stateless": {"functional_call": functional_call},
}


def renamed(of: ModuleType, path: str) -> ModuleType:
    """A namespace under another path."""
    module = ModuleType(f"{ROOT}.{path}", of.__doc__)
    names = {name: value for name, value in vars(of).items() if name in ("__all__", "__getattr__") or not name.startswith("__")}
    module.__dict__.update(names | BESIDE.get(path, {}))
    return module


def namespaces(path: str, module: ModuleType) -> Iterator[tuple[str, ModuleType]]:
    """A namespace and those in it, with their paths."""
    yield path, module
    if module.__name__ == f"{ROOT}.{path}":
        for name, part in vars(module).items():
            if isinstance(part, ModuleType):
                yield from namespaces(f"{path}.{name}", part)


def install_paths(of: dict[str, ModuleType]) -> None:
    """Make modules importable: the namespaces `of`, and those of `PATHS`."""
    for name, module in of.items():
        for path, part in namespaces(name, module):
            sys.modules.setdefault(f"{ROOT}.{path}", part)
    for module, under, names in PATHS:
        for name in names:
            sys.modules.setdefault(f"{ROOT}.{under}.{name}", renamed(module, f"{under}.{name}"))
