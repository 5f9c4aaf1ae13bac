"""Data sets, samplers and loaders."""

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

    with pytest.raises(OSError, match="no such image"):
        list(data.DataLoader(Broken(), num_workers=2))


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
