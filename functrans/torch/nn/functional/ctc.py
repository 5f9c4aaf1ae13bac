"""The loss of connectionist temporal classification (Graves et al. 2006): all ways to align labels with longer sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.torch.nn.functional.losses import check_reduction
from functrans.torch.ops.table import define
from functrans.torch.tensor import Tensor

__all__ = ["ctc_loss"]

# Stands for the logarithm of 0: sums of logarithms near it have derivatives.
NEVER = -1e30


def aligned(scores: Any, labels: Any, times: Any, lengths: Any, blank: int, no_infinity: bool) -> Any:
    """Minus the log-probability of each row's labels, by the forward recursion of section 4.1.

    Args:
        scores: log-probabilities ``[time, batch, classes]``.
        labels: ``[batch, most]``, of which `lengths` says how many count.
        times: how many times of each sequence count.
    """
    batch, most = labels.shape
    kind = dtype_of(scores).type
    states = np.full((batch, 2 * most + 1), blank)  # a blank before, between and after labels
    states[:, 1::2] = labels
    skips = np.zeros(states.shape, np.bool_)  # a blank may be left out between labels that differ
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    chances = scores[:, np.arange(batch)[:, None], states]
    begin = np.arange(2 * most + 1) <= np.where(lengths > 0, 1, 0)[:, None]
    alpha = np.where(begin, chances[0], kind(NEVER))
    for time in range(1, scores.shape[0]):
        one = shifted(alpha, 1, kind)
        two = np.where(skips, shifted(alpha, 2, kind), kind(NEVER))
        after = chances[time] + np.logaddexp(np.logaddexp(alpha, one), two)
        alpha = np.where((time < times)[:, None], after, alpha)
    last = np.take_along_axis(alpha, 2 * lengths[:, None], axis=1)[:, 0]
    before = np.take_along_axis(alpha, np.maximum(2 * lengths - 1, 0)[:, None], axis=1)[:, 0]
    total = np.logaddexp(last, np.where(lengths > 0, before, kind(NEVER)))
    return np.where(total < NEVER / 2, kind(0 if no_infinity else np.inf), -total)


def shifted(alpha: Any, count: int, kind: Any) -> Any:
    """States moved on by some places."""
    return np.concatenate([np.full((alpha.shape[0], count), NEVER, kind), alpha[:, :-count]], axis=1)[:, : alpha.shape[1]]


_aligned = define("_nn_ctc_loss", aligned, node="CtcLossBackward0", method=False, public=False)


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Minus the log-probability of labels, whichever way they are aligned with the sequence (Graves et al. 2006).

    The gradient is that of the loss; PyTorch's has ``exp(log_probs)`` added, which `log_softmax` before it takes away again.

    Args:
        log_probs: ``[time, batch, classes]`` or ``[time, classes]``.
        targets: labels ``[batch, most]``, or those of all sequences one after the other.
        input_lengths: of the sequences.
        target_lengths: how many labels each has.
        blank: the class that stands for no label.
        reduction: ``"mean"`` divides each loss by the number of its labels first.
        zero_infinity: whether a loss is 0 where the sequence is too short for its labels.

    Returns:
        The mean, the sum, or a loss for each sequence.

    Raises:
        RuntimeError: lengths or the blank are out of range.

    Example:
        >>> import functrans.torch as torch
        >>> scores = torch.full((3, 1, 2), 0.5).log()
        >>> torch.nn.functional.ctc_loss(scores, torch.tensor([[1]]), [3], [1])
        tensor(0.2877)
    """
    check_reduction(reduction)
    single = log_probs.ndim == 2
    scores: Any = log_probs.unsqueeze(1) if single else log_probs
    time, batch, classes = scores.shape
    times, lengths = (_counts(each, batch, name) for name, each in (("input_lengths", input_lengths), ("target_lengths", target_lengths)))
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range{at_user_line()}")
    if times.size and times.max() > time:
        raise RuntimeError(f"Expected input_lengths to have value at most {time}, but got value {times.max()}{at_user_line()}")
    labels = targets._array
    if labels.ndim == 1 and (not single or labels.size != lengths[0]):
        if labels.size != lengths.sum():
            raise RuntimeError(f"Expected tensor to have size {lengths.sum()} at dimension 0, but got size {labels.size}{at_user_line()}")
        rows = np.full((batch, int(lengths.max(initial=0))), blank)
        rows[np.arange(rows.shape[1]) < lengths[:, None]] = labels
        labels = rows
    labels = labels.reshape(batch, -1)
    if lengths.size and lengths.max() > labels.shape[1]:
        raise RuntimeError(f"Expected tensor to have size at least {lengths.max()} at dimension 1, but got size {labels.shape[1]}{at_user_line()}")
    labels = np.where(np.arange(labels.shape[1]) < lengths[:, None], labels, blank).astype(np.int64)
    loss = _aligned(scores, labels, times, lengths, blank, zero_infinity)
    if reduction == "mean":
        return (loss / Tensor(np.maximum(lengths, 1).tolist()).to(loss.dtype)).mean()
    return loss.sum() if reduction == "sum" else loss.squeeze(0) if single else loss


def _counts(given: Any, batch: int, name: str) -> Any:
    counts = np.asarray(given._array if isinstance(given, Tensor) else given, np.int64).reshape(-1)
    if counts.size != batch:
        raise RuntimeError(f"{name} must be of size batch_size{at_user_line()}")
    return counts
