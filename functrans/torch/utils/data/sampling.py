"""Samplers: the numbers of examples in some order, and batches of these."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.random import numbers
from functrans.torch.tensor import Tensor, made

__all__ = ["BatchSampler", "RandomSampler", "Sampler", "SequentialSampler", "SubsetRandomSampler", "WeightedRandomSampler"]

Number = TypeVar("Number", covariant=True)


class Sampler(Generic[Number]):
    """Numbers of examples in some order: subclasses define ``__iter__`` and, for loaders that are asked for it, ``__len__``.

    Example:
        >>> import functrans.torch as torch
        >>> class Backwards(torch.utils.data.Sampler):
        ...     def __iter__(self):
        ...         return iter([2, 1, 0])
        ...     def __len__(self):
        ...         return 3
        >>> [batch.tolist() for batch in torch.utils.data.DataLoader([5, 6, 7], sampler=Backwards())]
        [[7], [6], [5]]
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"Subclasses of Sampler should implement __iter__.{at_user_line()}")


class SequentialSampler(Sampler[int]):
    """All numbers in order."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """All numbers in random order, again and again if more are asked for; with `replacement` drawn independently.

    Example:
        >>> import functrans.torch as torch
        >>> sorted(torch.utils.data.RandomSampler(range(3)))
        [0, 1, 2]
    """

    def __init__(self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Any = None) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.data_source, self.replacement, self.generator, self._num_samples = data_source, replacement, generator, num_samples
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        """How many places it draws."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        source, count = numbers(self.generator), len(self.data_source)
        if self.replacement:
            yield from source.integers(0, count, self.num_samples).tolist()
            return
        for start in range(0, self.num_samples, count):
            yield from source.permutation(count)[: self.num_samples - start].tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Some numbers in random order.

    Example:
        >>> import functrans.torch as torch
        >>> sorted(torch.utils.data.SubsetRandomSampler([7, 5]))
        [5, 7]
    """

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[place] for place in numbers(self.generator).permutation(len(self.indices)).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Numbers drawn with the probabilities, up to a factor, that weights say.

    Example:
        >>> import functrans.torch as torch
        >>> list(torch.utils.data.WeightedRandomSampler([0.0, 1.0], num_samples=3))
        [1, 1, 1]
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None) -> None:
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        own = np.array(weights._array if isinstance(weights, Tensor) else weights, np.float64)
        if own.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {own.shape}")
        self.weights, self.num_samples, self.replacement, self.generator = made(own), num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        weights = self.weights._array
        drawn = numbers(self.generator).choice(len(weights), self.num_samples, self.replacement, weights / weights.sum())
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The numbers of a sampler in batches.

    Example:
        >>> import functrans.torch as torch
        >>> list(torch.utils.data.BatchSampler(range(5), batch_size=2, drop_last=False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        return batches(iter(self.sampler), self.batch_size, self.drop_last)

    def __len__(self) -> int:
        return count_of(len(self.sampler), self.batch_size, self.drop_last)


def batches(items: Iterator[Any], size: int, drop_last: bool) -> Iterator[list[Any]]:
    """Items in lists of `size`, the last of which may be shorter, or is dropped."""
    while batch := list(itertools.islice(items, size)):
        if len(batch) == size or not drop_last:
            yield batch


def count_of(length: int, size: int, drop_last: bool) -> int:
    """How many batches that gives."""
    return length // size if drop_last else -(-length // size)
