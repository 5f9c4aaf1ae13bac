"""``torch.utils.data``: data sets and batches of them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from functrans.torch.ops.creation import finished
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.random import numbers
from functrans.torch.tensor import Tensor

__all__ = [
    "BatchSampler", "ConcatDataset", "DataLoader", "Dataset", "IterableDataset", "RandomSampler", "SequentialSampler", "Subset",
    "TensorDataset", "default_collate", "random_split",
]  # fmt: skip


class Dataset:
    """Examples by number: subclasses define ``__getitem__`` and ``__len__``."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Examples one after the other: subclasses define ``__iter__``."""


class TensorDataset(Dataset):
    """The rows of tensors of the same length.

    Example:
        >>> import functrans.torch as torch
        >>> data = torch.utils.data.TensorDataset(torch.arange(4.0), torch.arange(4))
        >>> data[1]
        (tensor(1.), tensor(1))
    """

    def __init__(self, *tensors: Tensor) -> None:
        if any(len(tensor) != len(tensors[0]) for tensor in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> Any:
        return tuple(tensor[index] for tensor in self.tensors)  # type: ignore[index]

    def __len__(self) -> int:
        return len(self.tensors[0])


class ConcatDataset(Dataset):
    """Data sets one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        self.cumulative_sizes = list(itertools.accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise ValueError("absolute value of index should not exceed dataset length")
        index %= len(self)
        for data in self.datasets:
            if index < len(data):
                return data[index]
            index -= len(data)


class Subset(Dataset):
    """Some examples of a data set."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """The examples at random in parts of these lengths, or shares.

    Raises:
        ValueError: lengths do not sum to the data set's.
    """
    if any(isinstance(length, float) for length in lengths) and abs(sum(lengths) - 1) < 1e-9:
        counts = [int(len(dataset) * share) for share in lengths]
        for place in range(len(dataset) - sum(counts)):
            counts[place % len(counts)] += 1
    else:
        counts = [int(length) for length in lengths]
    if sum(counts) != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = numbers(generator).permutation(len(dataset)).tolist()
    ends = itertools.accumulate(counts)
    return [Subset(dataset, order[end - count : end]) for end, count in zip(ends, counts)]


class SequentialSampler:
    """All numbers in order."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler:
    """All numbers in random order; with `replacement` drawn independently."""

    def __init__(self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Any = None) -> None:
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self.num_samples = len(data_source) if num_samples is None else num_samples
        if self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    def __iter__(self) -> Iterator[int]:
        source, count = numbers(self.generator), len(self.data_source)
        if self.replacement:
            return iter(source.integers(0, count, self.num_samples).tolist())
        return iter(source.permutation(count)[: self.num_samples].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler:
    """The numbers of a sampler in batches."""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        return batches(iter(self.sampler), self.batch_size, self.drop_last)

    def __len__(self) -> int:
        count = len(self.sampler)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


def batches(items: Iterator[Any], size: int, drop_last: bool) -> Iterator[list[Any]]:
    """Items in lists of `size`, the last of which may be shorter, or is dropped."""
    while batch := list(itertools.islice(items, size)):
        if len(batch) == size or not drop_last:
            yield batch


def default_collate(batch: Sequence[Any]) -> Any:
    """Examples as one: tensors and numbers stacked, tuples and dicts part by part.

    Raises:
        TypeError: examples are of another type.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return FUNCTIONS["stack"](list(batch))
    if isinstance(first, (np.ndarray, np.generic)):
        return finished(np.stack(batch), False, None)
    if isinstance(first, float):
        return finished(np.array(batch, np.float64), False, None)
    if isinstance(first, int):
        return finished(np.array(batch), False, None)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return type(first)({key: default_collate([each[key] for each in batch]) for key in first})  # type: ignore[call-arg]
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(part) for part in zip(*batch)))
    if isinstance(first, (tuple, list)):
        if any(len(each) != len(first) for each in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [default_collate(part) for part in zip(*batch)]
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {type(first)}"
    )


class DataLoader:
    """Batches of a data set.

    Args:
        dataset: has ``__getitem__`` and ``__len__``, or is an `IterableDataset`.
        batch_size: of each but the last batch; None for single examples.
        shuffle: whether in random order.
        sampler: gives the numbers of examples, in place of `shuffle`.
        batch_sampler: gives lists of numbers, in place of all four.
        num_workers: how many threads make batches ahead; 0 makes them when asked for.
        collate_fn: makes a batch of a list of examples.
        drop_last: whether a last batch that is smaller is left out.
        generator: of the random order.

    Example:
        >>> import functrans.torch as torch
        >>> data = torch.utils.data.TensorDataset(torch.arange(5.0))
        >>> [batch.tolist() for (batch,) in torch.utils.data.DataLoader(data, batch_size=2)]
        [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None, sampler: Any = None, batch_sampler: Any = None,
        num_workers: int = 0, collate_fn: Callable[[list[Any]], Any] | None = None, pin_memory: bool = False, drop_last: bool = False,
        timeout: float = 0, worker_init_fn: Any = None, multiprocessing_context: Any = None, generator: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
        self.dataset, self.batch_size, self.drop_last, self.num_workers = dataset, batch_size, drop_last, num_workers
        self.iterable = isinstance(dataset, IterableDataset)
        if self.iterable and (shuffle or sampler is not None):
            raise ValueError(f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}")
        if not self.iterable and sampler is None and batch_sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and not self.iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        self.collate_fn = collate_fn or (default_collate if batch_size is not None else lambda example: example)

    def _fetched(self, numbers_: Any) -> Any:
        if self.batch_sampler is None:
            return self.collate_fn(self.dataset[numbers_])
        return self.collate_fn([self.dataset[number] for number in numbers_])

    def __iter__(self) -> Iterator[Any]:
        if self.iterable:
            items = iter(self.dataset)
            whole = items if self.batch_size is None else batches(items, self.batch_size, self.drop_last)
            return map(self.collate_fn, whole)
        order = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
        return self._ahead(order) if self.num_workers else map(self._fetched, order)

    def _ahead(self, order: Iterator[Any]) -> Iterator[Any]:
        """Batches in order, two for each thread under way."""
        with ThreadPoolExecutor(self.num_workers) as pool:
            waiting = deque(pool.submit(self._fetched, each) for each in itertools.islice(order, 2 * self.num_workers))
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(self._fetched, each) for each in itertools.islice(order, 1))
                yield batch

    def __len__(self) -> int:
        if self.iterable:
            length = len(self.dataset)
            return length if self.batch_size is None else length // self.batch_size if self.drop_last else -(-length // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)
