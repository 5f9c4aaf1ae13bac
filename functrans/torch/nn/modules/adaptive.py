"""A softmax over many classes, of which rare ones lie in clusters (Grave et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import functrans.torch.nn.functional as F
from functrans.errors import at_user_line
from functrans.torch.nn.modules.containers import ModuleList, Sequential
from functrans.torch.nn.modules.layers import Linear
from functrans.torch.nn.modules.module import Module
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class ASMoutput(NamedTuple):
    """The log-probability of each target, and minus their mean."""

    output: Any
    loss: Any


class AdaptiveLogSoftmaxWithLoss(Module):
    """The loss of a softmax whose rare classes have features of fewer dimensions (Grave et al. 2017).

    Args:
        in_features: how many features there are.
        n_classes: how many classes there are, the most frequent first.
        cutoffs: where clusters begin.
        div_value: by what the features of each further cluster are fewer.
        head_bias: whether the map to frequent classes and clusters has a bias.

    Returns:
        A named tuple of the log-probability of each target, `output`, and minus their mean, `loss`.

    Raises:
        ValueError: cutoffs do not increase, or are out of range.
        RuntimeError: shapes do not match, or a target is out of range.

    Example:
        >>> import functrans.torch as torch
        >>> loss = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
        >>> loss(torch.zeros(3, 8), torch.tensor([1, 7, 19])).output.shape
        torch.Size([3])
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0, head_bias: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        own = list(cutoffs)
        if not own:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if own != sorted(set(own)) or own[0] <= 0 or own[-1] > n_classes - 1 or any(int(each) != each for each in own):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value is between "
                "1 and n_classes-1"
            )
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*own, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = own[0], len(own)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for number, (start, stop) in enumerate(zip(self.cutoffs, self.cutoffs[1:]), 1):
            width = int(in_features // div_value**number)
            parts = Linear(in_features, width, bias=False, device=device, dtype=dtype), Linear(width, stop - start, bias=False, device=device, dtype=dtype)
            self.tail.append(Sequential(*parts))

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: Any, target_: Any) -> ASMoutput:
        if target_.ndim > 1:
            raise RuntimeError(f"0D or 1D target tensor expected, multi-target not supported{at_user_line()}")
        if target_.ndim == 1 and len(input_) != len(target_):
            raise RuntimeError(f"Input and target should have the same size in the batch dimension.{at_user_line()}")
        if input_.ndim != target_.ndim + 1:
            raise RuntimeError(
                f"{target_.ndim}D target tensor expects {target_.ndim + 1}D input tensors, but found inputs with size {input_.shape}{at_user_line()}"
            )
        single = target_.ndim == 0
        input, target = (input_.unsqueeze(0), target_.unsqueeze(0)) if single else (input_, target_)
        labels = target._array
        if labels.size and not 0 <= labels.min() <= labels.max() < self.n_classes:
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{labels.min()}, {labels.max()}] were found. "
                f"{at_user_line()}"
            )
        head = F.log_softmax(self.head(input), 1)
        columns, parts = target.clone(), []
        for number, (start, stop) in enumerate(zip(self.cutoffs, self.cutoffs[1:])):
            rows = ((target >= start) & (target < stop)).nonzero().squeeze(1)
            if not rows.numel():
                continue
            columns[rows] = self.shortlist_size + number
            scores = F.log_softmax(self.tail[number](input[rows]), 1)
            parts.append((rows, scores.gather(1, (target[rows] - start).unsqueeze(1)).squeeze(1)))
        output = head.gather(1, columns.unsqueeze(1)).squeeze(1)
        for rows, scores in parts:
            output = output.index_add(0, rows, scores)
        loss = (-output).mean()
        return ASMoutput(output.squeeze(0) if single else output, loss)

    def log_prob(self, input: Tensor) -> Any:
        """The log-probability of every class, ``[batch, n_classes]``."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for number, tail in enumerate(self.tail):
            parts.append(F.log_softmax(tail(input), 1) + head[:, self.shortlist_size + number].unsqueeze(1))
        return FUNCTIONS["cat"](parts, 1)

    def predict(self, input: Tensor) -> Any:
        """The most probable class of each row; where the head prefers a class of its own to the clusters, it is that one."""
        first = self.head(input).argmax(1)
        return FUNCTIONS["where"](first < self.shortlist_size, first, self.log_prob(input).argmax(1))
