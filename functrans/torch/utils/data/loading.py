"""The loader: batches of a data set, made when asked for or ahead, by workers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.random import numbers
from functrans.torch.utils.data.collation import default_collate, default_convert
from functrans.torch.utils.data.datasets import IterableDataset
from functrans.torch.utils.data.sampling import BatchSampler, RandomSampler, SequentialSampler, batches, count_of
from functrans.torch.utils.data.workers import Workers

__all__ = ["DataLoader"]


class DataLoader:
    """Batches of a data set.

    Args:
        dataset: has ``__getitem__`` and ``__len__``, or is an `IterableDataset`.
        batch_size: of each but the last batch; None for single examples.
        shuffle: whether in random order.
        sampler: gives the numbers of examples, in place of `shuffle`.
        batch_sampler: gives lists of numbers, in place of all four.
        num_workers: how many threads make batches ahead; 0 makes them when asked for. Batches come in the same order, and
            what a data set raises in a worker is raised where the batch is asked for.
        collate_fn: makes a batch of a list of examples.
        pin_memory: says nothing on a CPU.
        drop_last: whether a last batch that is smaller is left out.
        timeout: for how many seconds to wait for a batch of a worker; 0 for as long as it takes.
        worker_init_fn: is called in each worker, with its number.
        generator: of the random order.
        prefetch_factor: how many batches of each worker are under way; 2 by default.
        persistent_workers: whether the threads stay for the next iteration.
        in_order: whether batches come in order, which they do in any case.

    Raises:
        ValueError: options exclude each other.
        NotImplementedError: a `multiprocessing_context` is given.
        RuntimeError: while iterating, a worker takes longer than `timeout`.

    Example:
        >>> import functrans.torch as torch
        >>> data = torch.utils.data.TensorDataset(torch.arange(5.0))
        >>> [batch.tolist() for (batch,) in torch.utils.data.DataLoader(data, batch_size=2)]
        [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None, sampler: Any = None, batch_sampler: Any = None,
        num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None, pin_memory: bool = False, drop_last: bool = False,
        timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None, multiprocessing_context: Any = None,
        generator: Any = None, *, prefetch_factor: int | None = None, persistent_workers: bool = False, pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:  # fmt: skip
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if multiprocessing_context is not None:
            raise NotImplementedError(
                f"torch.utils.data.DataLoader: multiprocessing_context is not supported\n  Remedy: leave it out; workers are threads.{at_user_line()}"
            )
        self.dataset, self.num_workers, self.generator, self.timeout = dataset, num_workers, generator, timeout
        self.pin_memory, self.persistent_workers, self.worker_init_fn = pin_memory, persistent_workers, worker_init_fn
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            for name, value in (("shuffle", shuffle), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value not in (None, False) or name != "shuffle" and value is not None:
                    raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None and not self._iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and not self._iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last, self.sampler, self.batch_sampler = batch_size, drop_last, sampler, batch_sampler
        batched = batch_sampler is not None or self._iterable and batch_size is not None
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self._workers: Workers | None = None

    def _fetched(self, numbers_: Any) -> Any:
        """The batch of these numbers, or the example of one."""
        if self.batch_sampler is None:
            return self.collate_fn(self.dataset[numbers_])
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.collate_fn(self.dataset.__getitems__(numbers_))
        return self.collate_fn([self.dataset[number] for number in numbers_])

    def _streamed(self, _: Any = None) -> Iterator[Any]:
        """The batches of a data set without numbers."""
        items = iter(self.dataset)
        return map(self.collate_fn, items if self.batch_size is None else batches(items, self.batch_size, self.drop_last))

    def __iter__(self) -> Iterator[Any]:
        # Drawn in any case, so that the order that follows does not depend on the number of workers.
        seed = int(numbers(self.generator).integers(2**62))
        if self.num_workers:
            return self._ahead(seed)
        return self._streamed() if self._iterable else map(self._fetched, iter(self._order))

    @property
    def _order(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _ahead(self, seed: int) -> Iterator[Any]:
        """Batches that workers make; without `persistent_workers` these end with the iteration, also if it is broken off."""
        workers = self._workers
        if workers is None:
            begin, ahead = self.worker_init_fn, self.prefetch_factor or 2
            workers = Workers(self.num_workers, self.dataset, seed, begin, ahead, self.timeout)
            if self.persistent_workers:
                self._workers = workers
                weakref.finalize(self, workers.close)
        try:
            yield from workers.streams(self._streamed) if self._iterable else workers.batches(self._fetched, iter(self._order))
        finally:
            if not self.persistent_workers:
                workers.close()

    def __len__(self) -> int:
        if not self._iterable:
            return len(self._order)
        length = len(self.dataset)
        return length if self.batch_size is None else count_of(length, self.batch_size, self.drop_last)


def _check_workers(count: int, timeout: float, ahead: int | None, persistent: bool) -> None:
    if count < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if count == 0 and ahead is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable multiprocessing, otherwise "
            "set prefetch_factor to None."
        )
    if ahead is not None and ahead < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent and count == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
