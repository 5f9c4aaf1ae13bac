"""``torch.nn.utils.rnn``: sequences of several lengths, padded to one, or packed time after time.

A packed sequence has the elements of all sequences that are as long as that at each time, the longest sequence first;
`batch_sizes` says how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.ops.table import FUNCTIONS, define
from functrans.torch.tensor import Tensor, made

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence",
    "unpack_sequence", "unpad_sequence",
]  # fmt: skip


class Packed(NamedTuple):
    """The fields of a packed sequence."""

    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(Packed):
    """Sequences of several lengths, one element of each after the other; the functions below make them.

    Attributes:
        data: ``[total, ...]``, the elements at time 0, then those at time 1, and so on.
        batch_sizes: how many sequences there are at each time.
        sorted_indices: the numbers of the sequences, the longest first; None if they came in this order.
        unsorted_indices: the place of each sequence in that order, or None.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.utils.rnn.pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4, 5])]).batch_sizes
        tensor([2, 2, 1])
    """

    __slots__ = ()

    def __new__(cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With data of another dtype."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else PackedSequence(data, *self[1:])

    def double(self) -> PackedSequence:
        """With data in float64."""
        return PackedSequence(self.data.double(), *self[1:])

    def float(self) -> PackedSequence:
        """With data in float32."""
        return PackedSequence(self.data.float(), *self[1:])

    @property
    def is_cuda(self) -> bool:
        """Whether it lives on a GPU: it does not."""
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """For each number its place in a permutation.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.utils.rnn.invert_permutation(torch.tensor([2, 0, 1]))
        tensor([1, 2, 0])
    """
    return None if permutation is None else made(np.argsort(permutation._array))


_packed = define("_nn_pack", lambda x, places: x[places], node="PackPaddedSequenceBackward0", method=False, public=False)


def _unpacked(data: Any, places: Any, padding: Any) -> Any:
    there = np.reshape(places >= 0, (*places.shape, *(1,) * (data.ndim - 1)))
    return np.where(there, data[np.maximum(places, 0)], data.dtype.type(padding))


_padded = define("_nn_unpack", _unpacked, node="PadPackedSequenceBackward0", method=False, public=False)


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    """Sequences that were padded, packed.

    Args:
        input: ``[time, batch, ...]``, or batch first.
        lengths: of the sequences.
        batch_first: whether the batch is the first axis.
        enforce_sorted: whether the longest sequence must come first; otherwise they are sorted.

    Raises:
        RuntimeError: lengths are not sorted as asked for, not positive, or not as many as sequences.

    Example:
        >>> import functrans.torch as torch
        >>> padded = torch.tensor([[1, 2, 3], [4, 5, 0]])
        >>> torch.nn.utils.rnn.pack_padded_sequence(padded, [3, 2], batch_first=True).data
        tensor([1, 4, 2, 5, 3])
    """
    counts = np.asarray(lengths._array if isinstance(lengths, Tensor) else lengths, np.int64)
    order = np.arange(len(counts)) if enforce_sorted else np.argsort(-counts, kind="stable")
    batch, time = input.shape[:2] if batch_first else input.shape[1::-1]
    if len(counts) != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} (batch_size={batch}){at_user_line()}")
    if counts.size and counts.min() <= 0:
        raise RuntimeError(f"Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0{at_user_line()}")
    if np.any(np.diff(counts[order]) > 0):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass `enforce_sorted=False` to "
            "pad_packed_sequence and/or pack_sequence to sidestep this requirement if you do not need ONNX exportability."
            f"{at_user_line()}"
        )
    longest = int(counts.max(initial=0))
    if longest > time:
        raise RuntimeError(f"Expected lengths of at most {time}, but got {longest}{at_user_line()}")
    when, which = np.nonzero(np.arange(longest)[:, None] < counts[order])
    places = (order[which], when) if batch_first else (when, order[which])
    flat = input.reshape(-1, *input.shape[2:])
    data = _packed(flat, np.ravel_multi_index(places, tuple(input.shape[:2])))
    return PackedSequence(data, made(np.bincount(when)), None if enforce_sorted else made(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Packed sequences, padded.

    Args:
        sequence: packed.
        batch_first: whether the batch becomes the first axis.
        padding_value: what is added.
        total_length: the length to pad to; that of the longest by default.

    Returns:
        ``[time, batch, ...]``, or batch first, and the lengths.

    Raises:
        ValueError: a sequence is longer than `total_length`.

    Example:
        >>> import functrans.torch as torch
        >>> packed = torch.nn.utils.rnn.pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4, 5])])
        >>> torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
        (tensor([[1, 2, 3],
                [4, 5, 0]]), tensor([3, 2]))
    """
    sizes = sequence.batch_sizes._array
    if total_length is not None and total_length < len(sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {len(sizes)}{at_user_line()}"
        )
    ranks = np.arange(sizes[0])
    if sequence.unsorted_indices is not None:
        ranks = sequence.unsorted_indices._array
    places = np.full((total_length or len(sizes), len(ranks)), -1)
    starts = np.cumsum(sizes) - sizes
    places[: len(sizes)] = np.where(ranks < sizes[:, None], starts[:, None] + ranks, -1)
    lengths = made(np.sum(places >= 0, axis=0))
    return _padded(sequence.data, places.T if batch_first else places, padding_value), lengths


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences ``[length, ...]`` padded to the length of the longest, as ``[time, batch, ...]``, or batch first.

    Raises:
        RuntimeError: there is nothing to iterate over.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.utils.rnn.pad_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])], batch_first=True)
        tensor([[1, 2, 3],
                [4, 0, 0]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}{at_user_line()}")
    own: list[Any] = list(sequences)
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.{at_user_line()}")
    if not own:
        raise RuntimeError(f"received an empty list of sequences{at_user_line()}")
    longest = max(len(each) for each in own)
    padded = []
    for each in own:
        fill = FUNCTIONS["full"]((longest - len(each), *each.shape[1:]), padding_value, dtype=each.dtype)
        padded.append(FUNCTIONS["cat"]([each, fill] if padding_side == "right" else [fill, each]))
    return FUNCTIONS["stack"](padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences without what was added at their ends.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.utils.rnn.unpad_sequence(torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1]), batch_first=True)
        [tensor([1, 2]), tensor([3])]
    """
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(length)] for row, length in zip(rows, lengths)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences ``[length, ...]``, packed.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.utils.rnn.pack_sequence([torch.tensor([4]), torch.tensor([1, 2])], enforce_sorted=False).data
        tensor([1, 4, 2])
    """
    return pack_padded_sequence(pad_sequence(sequences), [len(each) for each in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Packed sequences as a list of sequences.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.utils.rnn.unpack_sequence(torch.nn.utils.rnn.pack_sequence([torch.tensor([1, 2]), torch.tensor([3])]))
        [tensor([1, 2]), tensor([3])]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
