"""Names that torch has and we do not: calls of them say so, with what to use instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrans.errors import at_user_line

__all__ = ["FUNCTIONS", "METHODS", "MODULES", "refusal"]

FUNCTIONS = {
    "grouped_mm": "matmul of each group", "pdist": "the norm of differences",
    "scaled_grouped_mm": "matmul of each group", "scaled_mm": "matmul",
}  # fmt: skip
MODULES = {
    "Container": "Module", "CrossMapLRN2d": "LocalResponseNorm", "DataParallel": "the module itself", "LinearCrossEntropyLoss": "Linear, then CrossEntropyLoss",
    "LinearCrossEntropyOptions": "Linear, then CrossEntropyLoss", "NLLLoss2d": "NLLLoss", "SyncBatchNorm": "BatchNorm2d",
    "factory_kwargs": "the keyword arguments themselves",
}  # fmt: skip


_HALF, _CPU = "half() or float()", "the module where it is: tensors live on the cpu"
METHODS = {
    "bfloat16": _HALF, "compile": "torch.compile(module)", "cuda": _CPU, "ipu": _CPU, "mtia": _CPU,
    "register_backward_hook": "register_full_backward_hook", "share_memory": "threads, which share memory", "xpu": _CPU,
}  # fmt: skip


def refusal(name: str, alternative: str) -> Callable[..., Any]:
    """A function that raises, naming what is not supported and an alternative."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{name} is not supported\n  Remedy: use {alternative}.{at_user_line()}")

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    return refuse
