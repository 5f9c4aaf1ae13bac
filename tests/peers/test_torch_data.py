"""`utils.data` of the shim against PyTorch: batches, collated examples, errors."""

from collections import namedtuple

import numpy as np
import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

Point = namedtuple("Point", ["x", "y"])


def plain(value):
    """What a batch consists of, without its tensors' library."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return "tensor", str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(each) for each in value]
    return value


def streams(d):
    class Count(d.IterableDataset):
        def __iter__(self):
            return iter(range(5))

    return Count()


CASES = """
list(d.DataLoader(d.TensorDataset(t.arange(7.), t.arange(7)), 3)) | list(d.DataLoader(d.TensorDataset(t.arange(7.)), 3, drop_last=True)) | list(d.DataLoader([1, 2, 3]))
list(d.DataLoader([1, 2, 3], batch_size=None)) | list(d.DataLoader(range(6), sampler=[3, 1, 2], batch_size=2)) | list(d.DataLoader(range(6), batch_sampler=[[3, 1], [2]]))
list(d.DataLoader(range(4), collate_fn=sum, batch_size=2)) | len(d.DataLoader(range(7), 2)) | len(d.DataLoader(range(7), 2, drop_last=True)) | list(d.DataLoader(stream, 2))
list(d.DataLoader(stream, None)) | list(d.DataLoader(stream, 2, drop_last=True)) | list(d.DataLoader(d.ChainDataset([stream, stream]), 3)) | list(d.DataLoader(stream + stream, 4))
d.default_collate([1, 2]) | d.default_collate([1.5, 2.5]) | d.default_collate([True, False]) | d.default_collate([np.float32(1), np.float32(2)]) | d.default_collate(['a', 'b'])
d.default_collate([np.ones((2, 2)), np.zeros((2, 2))]) | d.default_collate([(1, 2.0), (3, 4.0)]) | d.default_collate([[1, 2], [3, 4]]) | d.default_collate([{'a': 1, 'b': [2]}, {'a': 3, 'b': [4]}])
d.default_collate([Point(1, 2.0), Point(3, 4.0)]) | d.default_collate([t.ones(2), t.zeros(2)]) | d.default_collate([b'a', b'b']) | d.default_convert(np.arange(3)) | d.default_convert([1, np.ones(2)])
d.default_convert({'a': np.ones(1), 'b': 'c'}) | d.default_convert((1, np.ones(1))) | d.default_convert(np.array(['a'])) | d.default_convert(Point(np.ones(1), 2))
list(d.BatchSampler(range(5), 2, True)) | len(d.BatchSampler(range(5), 2, False)) | sorted(d.RandomSampler(range(4), num_samples=8)) | len(d.RandomSampler(range(4), True, 9))
list(d.WeightedRandomSampler([0, 1.0, 0], 4)) | sorted(d.SubsetRandomSampler([5, 3, 9])) | list(d.SequentialSampler(range(3))) | [len(p) for p in d.random_split(range(11), [0.5, 0.3, 0.2])]
[len(p) for p in d.random_split(range(5), [0.9, 0.1])] | [len(p) for p in d.random_split(range(5), [2, 3])] | list(d.Subset(range(9), [4, 2])) | d.ConcatDataset([[1, 2], [3]])[-1]
d.ConcatDataset([[1, 2], [3]])[2] | len(d.ConcatDataset([[1, 2], [3]])) | d.StackDataset([1, 2], [3, 4])[1] | d.StackDataset(a=[1, 2], b=[3, 4])[0] | len(d.StackDataset([1, 2]))
list(d.DataLoader(d.StackDataset(a=[1, 2], b=[3, 4]), 2)) | list(d.DataLoader(d.Subset(d.TensorDataset(t.arange(5)), [3, 1]), 2)) | d.get_worker_info()
"""
CASES = [case.strip() for line in CASES.strip().splitlines() for case in line.split(" | ")]


def space(t):
    return {"t": t, "d": t.utils.data, "np": np, "Point": Point, "stream": streams(t.utils.data)}


@pytest.mark.parametrize("expression", CASES)
def test_data(expression):
    assert plain(eval(expression, space(shim))) == plain(eval(expression, space(torch)))


BAD = """
d.DataLoader(range(3), num_workers=-1) | d.DataLoader(range(3), timeout=-1) | d.DataLoader(range(3), prefetch_factor=2) | d.DataLoader(range(3), persistent_workers=True)
d.DataLoader(range(3), 0) | d.DataLoader(range(3), shuffle=True, sampler=[1]) | d.DataLoader(range(3), 2, batch_sampler=[[1]]) | d.DataLoader(range(3), None, drop_last=True)
d.DataLoader(stream, shuffle=True) | d.DataLoader(stream, sampler=[1]) | d.DataLoader(stream, batch_sampler=[[1]]) | d.DataLoader(range(3), wrong=1) | d.Dataset()[0] | iter(d.Sampler())
d.RandomSampler([]) | d.RandomSampler([1], replacement=1) | d.RandomSampler([1], num_samples=0) | d.WeightedRandomSampler([1.0], 0) | d.WeightedRandomSampler([[1.0]], 1)
d.WeightedRandomSampler([1.0], 1, 3) | d.BatchSampler([1], 0, False) | d.BatchSampler([1], 1, 3) | d.random_split(range(3), [1, 1]) | d.random_split(range(3), [1.5, -0.5])
d.TensorDataset(t.ones(2), t.ones(3)) | d.StackDataset() | d.StackDataset([1], a=[1]) | d.StackDataset([1], [1, 2]) | d.ConcatDataset([]) | d.ConcatDataset([stream]) | d.ConcatDataset([[1]])[-3]
list(d.ChainDataset([[1]])) | d.default_collate([object()]) | d.default_collate([[1], [1, 2]]) | d.default_collate([np.array(['a'])]) | list(d.DataLoader([t.ones(2), t.ones(3)], 2)) | len(d.DataLoader(stream))
d.ConcatDataset([[1], [2]])[2]
"""
BAD = [case.strip() for line in BAD.strip().splitlines() for case in line.split(" | ")]


@pytest.mark.parametrize("expression", BAD)
def test_errors(expression):
    with pytest.raises(Exception) as peer:
        eval(expression, space(torch))
    with pytest.raises(peer.type) as own:
        eval(expression, space(shim))
    if not isinstance(peer.value, TypeError):
        assert str(own.value).lower().startswith(str(peer.value).split("\n")[0][:40].lower())
