"""``torch.utils.data``: data sets, the order of their examples, and batches of them."""

from typing import Any as _Any

from functrans.torch.nn.unsupported import refusal as _refusal
from functrans.torch.utils.data.collation import default_collate, default_convert
from functrans.torch.utils.data.datasets import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from functrans.torch.utils.data.loading import DataLoader
from functrans.torch.utils.data.sampling import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from functrans.torch.utils.data.workers import get_worker_info

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "IterableDataset", "RandomSampler", "Sampler",
    "SequentialSampler", "StackDataset", "Subset", "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler",
    "default_collate", "default_convert", "get_worker_info", "random_split",
]  # fmt: skip

_PIPES = "IterableDataset"
_UNSUPPORTED = {
    "DFIterDataPipe": _PIPES, "DataChunk": "list", "DistributedSampler": "RandomSampler", "IterDataPipe": _PIPES, "MapDataPipe": "Dataset",
    "argument_validation": _PIPES, "functional_datapipe": _PIPES, "guaranteed_datapipes_determinism": _PIPES,
    "non_deterministic": _PIPES, "runtime_validation": _PIPES, "runtime_validation_disabled": _PIPES,
}  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _UNSUPPORTED:
        return _refusal(f"torch.utils.data.{name}", _UNSUPPORTED[name])
    raise AttributeError(f"module 'functrans.torch.utils.data' has no attribute {name!r}")
