"""Workers of a loader: threads, each of which makes every n-th batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Timeout
from dataclasses import dataclass
from typing import Any

from functrans.errors import at_user_line

__all__ = ["Workers", "get_worker_info"]

_own = threading.local()


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker knows of itself: its number `id`, how many there are, its `seed` and the `dataset`."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


def get_worker_info() -> WorkerInfo | None:
    """Which worker calls; None outside of workers.

    Example:
        >>> import functrans.torch as torch
        >>> torch.utils.data.get_worker_info() is None
        True
    """
    return getattr(_own, "info", None)


class Workers:
    """Threads that make batches ahead.

    Args:
        count: how many.
        dataset: what their `WorkerInfo` has.
        seed: of the first; each further one's is greater by one.
        begin: is called in each, with its number.
        ahead: how many batches of each are under way.
        timeout: for how many seconds to wait for a batch; 0 for as long as it takes.
    """

    def __init__(self, count: int, dataset: Any, seed: int, begin: Callable[[int], None] | None, ahead: int, timeout: float) -> None:
        self.ahead, self.timeout = ahead, timeout
        self.threads = [
            ThreadPoolExecutor(1, f"DataLoader worker {number}", self._begin, (WorkerInfo(number, count, seed + number, dataset), begin))
            for number in range(count)
        ]

    def _begin(self, info: WorkerInfo, begin: Callable[[int], None] | None) -> None:
        _own.info, _own.failed = info, None
        try:
            if begin is not None:
                begin(info.id)
        except BaseException as error:  # it is raised where the batch is asked for
            _own.failed = error

    @staticmethod
    def _run(make: Callable[[Any], Any], argument: Any) -> Any:
        if _own.failed is not None:
            raise _own.failed
        return make(argument)

    def close(self) -> None:
        """End the threads."""
        for thread in self.threads:
            thread.shutdown(wait=False, cancel_futures=True)

    def batches(self, make: Callable[[Any], Any], order: Iterator[Any]) -> Iterator[Any]:
        """``make(argument)`` for each argument, in order."""
        waiting: deque[Future[Any]] = deque()
        numbered = enumerate(order)

        def submit() -> None:
            for number, argument in numbered:
                waiting.append(self.threads[number % len(self.threads)].submit(self._run, make, argument))
                return

        for _ in range(self.ahead * len(self.threads)):
            submit()
        while waiting:
            batch = self._awaited(waiting.popleft())
            submit()
            yield batch

    def streams(self, begin: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
        """What ``begin()`` iterates over in each worker, one item of each in turn."""
        begun = [(thread, thread.submit(self._run, begin, None)) for thread in self.threads]
        streams = [(thread, self._awaited(future)) for thread, future in begun]
        waiting = deque((thread, items, thread.submit(self._run, following, items)) for thread, items in streams)
        while waiting:
            thread, items, future = waiting.popleft()
            batch = self._awaited(future)
            if batch is not END:
                waiting.append((thread, items, thread.submit(self._run, following, items)))
                yield batch

    def _awaited(self, future: Future[Any]) -> Any:
        try:
            return future.result(self.timeout or None)
        except Timeout:
            if future.done():  # the worker raised it
                raise
            raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds{at_user_line()}") from None


END = object()


def following(items: Iterator[Any]) -> Any:
    """The next item, or `END`."""
    return next(items, END)
