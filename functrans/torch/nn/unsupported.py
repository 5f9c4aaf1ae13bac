"""Names that torch has and we do not: calls of them say so, with what to use instead."""

from __future__ import annotations

from functrans.torch.autograd.unsupported import refusal

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
