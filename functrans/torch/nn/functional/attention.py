"""Attention, as a function."""

from __future__ import annotations

import math

from functrans.errors import at_user_line
from functrans.torch.nn.functional.linear import dropout
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """``softmax(query key^T scale + mask) value`` (Vaswani et al. 2017).

    Args:
        query: ``[..., targets, n]``.
        key: ``[..., sources, n]``.
        value: ``[..., sources, m]``.
        attn_mask: to be added to the scores, or bool, True where a source may be attended to.
        dropout_p: the probability with which weights are dropped.
        is_causal: whether a target attends only to sources up to its own place.
        scale: by default one over the root of `n`.
        enable_gqa: whether each head of keys serves several of queries.

    Returns:
        ``[..., targets, m]``.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True{at_user_line()}")
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = FUNCTIONS["ones"](query.shape[-2], key.shape[-2]).tril() != 0
    return dropout(weights(scores, attn_mask), dropout_p, True) @ value if dropout_p else weights(scores, attn_mask) @ value


def weights(scores: Tensor, mask: Tensor | None) -> Tensor:
    """The softmax of scores after a mask."""
    if mask is None:
        return scores.softmax(-1)
    if mask._array.dtype.kind != "b":
        return (scores + mask).softmax(-1)
    return scores.masked_fill(~mask, -math.inf).softmax(-1)
