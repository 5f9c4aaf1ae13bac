"""Data sets, samplers and loaders."""

import gc
import threading
import time

import numpy as np
import pytest

import functrans.torch as torch
from functrans.torch.utils import data


def pairs(count=7):
    return data.TensorDataset(torch.arange(float(count)), torch.arange(count))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_in_order(workers):
    loader = data.DataLoader(pairs(), batch_size=3, num_workers=workers)
    assert [x.tolist() for x, _ in loader] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0]]
    assert len(loader) == 3


def test_last_batch_is_dropped():
    loader = data.DataLoader(pairs(), batch_size=3, drop_last=True)
    assert len(list(loader)) == len(loader) == 2


def test_shuffling_follows_the_generator():
    def order():
        loader = data.DataLoader(pairs(20), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3))
        return [n for _, y in loader for n in y.tolist()]

    assert order() == order() != list(range(20))
    assert sorted(order()) == list(range(20))


def test_workers_raise_what_the_data_set_raises():
    class Broken(data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            raise OSError("no such image")

    with pytest.raises(OSError, match="no such image") as error:
        list(data.DataLoader(Broken(), num_workers=2))
    assert any("__getitem__" in str(entry) for entry in error.traceback)


def test_splits_and_sums_of_data_sets():
    first, second = data.random_split(pairs(10), [0.75, 0.25])
    assert (len(first), len(second)) == (8, 2)
    joined = first + second
    assert sorted(int(joined[i][1]) for i in range(10)) == list(range(10))
    with pytest.raises(ValueError, match="Sum of input lengths"):
        data.random_split(pairs(10), [3, 3])


def test_collating_keeps_structure():
    batch = data.default_collate([{"x": 1.0, "name": "a"}, {"x": 2.0, "name": "b"}])
    assert batch["x"].tolist() == [1.0, 2.0] and batch["x"].dtype is torch.float64
    assert batch["name"] == ["a", "b"]
    with pytest.raises(TypeError, match="default_collate"):
        data.default_collate([object()])


def test_iterable_data_sets():
    class Count(data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

    assert [batch.tolist() for batch in data.DataLoader(Count(), batch_size=2)] == [[0, 1], [2, 3], [4]]


def test_options_that_exclude_each_other():
    with pytest.raises(ValueError, match="mutually exclusive"):
        data.DataLoader(pairs(), shuffle=True, sampler=data.SequentialSampler(pairs()))
    with pytest.raises(ValueError, match="batch_size should be a positive"):
        data.DataLoader(pairs(), batch_size=0)


def test_the_order_does_not_depend_on_workers():
    def order(workers):
        loader = data.DataLoader(pairs(20), 3, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(5))
        return [y.tolist() for _ in range(2) for _, y in loader]

    assert order(0) == order(3)


def workers_after_a_while(expected):
    """How many threads of loaders there are, once they are as many as expected or five seconds have passed."""
    deadline = time.monotonic() + 5
    while True:
        count = sum(thread.name.startswith("DataLoader worker") for thread in threading.enumerate())
        if count == expected or time.monotonic() > deadline:
            return count
        time.sleep(0.01)


def test_workers_know_themselves_and_end():
    class Where(data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            info = data.get_worker_info()
            return info.id, info.num_workers

    begun = []
    loader = data.DataLoader(Where(), num_workers=2, worker_init_fn=begun.append)
    assert [batch[0].item() for batch in loader] == [0, 1, 0, 1, 0, 1]
    assert sorted(begun) == [0, 1]
    for _ in data.DataLoader(Where(), num_workers=2):
        break
    assert workers_after_a_while(0) == 0
    assert data.get_worker_info() is None


def test_persistent_workers_stay_until_the_loader_goes():
    assert workers_after_a_while(0) == 0
    loader = data.DataLoader(pairs(), num_workers=2, persistent_workers=True)
    assert len(list(loader)) == len(list(loader)) == 7
    assert workers_after_a_while(2) == 2
    del loader
    gc.collect()
    assert workers_after_a_while(0) == 0


def test_a_worker_that_cannot_begin_says_so():
    def begin(number):
        raise KeyError("no such file")

    with pytest.raises(KeyError, match="no such file"):
        list(data.DataLoader(pairs(), num_workers=1, worker_init_fn=begin))


def test_workers_that_take_too_long():
    class Slow(data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            time.sleep(0.3)
            return index

    with pytest.raises(RuntimeError, match="DataLoader timed out after 0.05 seconds"):
        list(data.DataLoader(Slow(), num_workers=1, timeout=0.05))


def test_each_worker_iterates_over_a_data_set_without_numbers():
    class Shard(data.IterableDataset):
        def __iter__(self):
            info = data.get_worker_info()
            return iter(range(7) if info is None else range(info.id, 7, info.num_workers))

    assert [batch.tolist() for batch in data.DataLoader(Shard(), batch_size=2, num_workers=2)] == [[0, 2], [1, 3], [4, 6], [5]]
    assert [batch.tolist() for batch in data.DataLoader(Shard(), batch_size=3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_whole_batches_at_once():
    class Many(data.Dataset):
        def __len__(self):
            return 4

        def __getitems__(self, indices):
            return [10 * index for index in indices]

    assert [batch.tolist() for batch in data.DataLoader(Many(), batch_size=3)] == [[0, 10, 20], [30]]


def test_arrays_of_different_lengths():
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        next(iter(torch.utils.data.DataLoader([np.zeros(2), np.zeros(3)], batch_size=2)))
