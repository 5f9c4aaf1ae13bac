"""Attention, as functions."""

from __future__ import annotations

import math
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.nn.functional.linear import dropout, linear, pad
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


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

    Example:
        >>> import functrans.torch as torch
        >>> q, k, v = torch.zeros(1, 2, 3), torch.zeros(1, 4, 3), torch.arange(4.0).reshape(1, 4, 1)
        >>> torch.nn.functional.scaled_dot_product_attention(q, k, v).flatten()
        tensor([1.5000, 1.5000])
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True{at_user_line()}")
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = FUNCTIONS["ones"](query.shape[-2], key.shape[-2]).tril() != 0
    shares = weights(scores, attn_mask)
    return (dropout(shares, dropout_p, True) if dropout_p else shares) @ value


def weights(scores: Tensor, mask: Tensor | None) -> Tensor:
    """The softmax of scores after a mask."""
    if mask is None:
        return scores.softmax(-1)
    if mask._array.dtype.kind != "b":
        return (scores + mask).softmax(-1)
    return scores.masked_fill(~mask, -math.inf).softmax(-1)


def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any, in_proj_bias: Any, bias_k: Any,
    bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any, out_proj_bias: Any, training: bool = True,
    key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None, use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None, k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Attention in several heads, with its linear maps; what `nn.MultiheadAttention` computes.

    Args:
        query: ``[targets, batch, embed_dim]``, or without the batch; key and value ``[sources, batch, ...]``.
        key_padding_mask: ``[batch, sources]``, of bools, True where there is nothing to attend to, or numbers to add.
        attn_mask: ``[targets, sources]`` or ``[batch * heads, targets, sources]``, likewise.
        is_causal: says of `attn_mask`, which must be given, that it is the causal one.

    Returns:
        The output ``[targets, batch, embed_dim]`` and the weights ``[batch, targets, sources]``, each head's if they are not
        averaged, or None.

    Raises:
        AssertionError: numbers of axes or sizes do not match.
        RuntimeError: `attn_mask` has another shape, or is missing.
    """
    single = _check_axes(query, key, value, key_padding_mask, attn_mask)
    if single:
        query, key, value = (each.unsqueeze(1) for each in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    targets, batch, width = query.shape
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            f"`generate_square_subsequent_mask` to create this mask.{at_user_line()}"
        )
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}{at_user_line()}")
    if not use_separate_proj_weight and key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}{at_user_line()}")
    if key.shape[:2] != value.shape[:2]:
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}{at_user_line()}")
    maps = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (linear(x, weight, bias) for x, weight, bias in zip((query, key, value), maps, biases))
    masks = [_score_mask(attn_mask, q, targets, len(key), batch * num_heads, num_heads)]
    masks.append(_padding_mask(key_padding_mask, q, batch, len(key)))
    if bias_k is not None:
        k = FUNCTIONS["cat"]([k, bias_k.repeat(1, batch, 1)])
        v = FUNCTIONS["cat"]([v, bias_v.repeat(1, batch, 1)])
        masks = [None if mask is None else pad(mask, (0, 1)) for mask in masks]
    q = _heads(q, num_heads)
    k = _heads(k, num_heads) if static_k is None else static_k.reshape(batch, num_heads, *static_k.shape[1:])
    v = _heads(v, num_heads) if static_v is None else static_v.reshape(batch, num_heads, *static_v.shape[1:])
    if add_zero_attn:
        k, v = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1))
        masks = [None if mask is None else pad(mask, (0, 1)) for mask in masks]
    scores = q * (1 / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)
    for mask in masks:
        scores = scores if mask is None else scores + mask
    shares = dropout(scores.softmax(-1), dropout_p, training)
    out = linear((shares @ v).permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    found = None if not need_weights else shares.mean(1) if average_attn_weights else shares
    if single:
        return out.squeeze(1), None if found is None else found.squeeze(0)
    return out, found


def _heads(x: Any, heads: int) -> Any:
    """``[time, batch, n]`` as ``[batch, heads, time, n / heads]``."""
    return x.reshape(*x.shape[:2], heads, -1).permute(1, 2, 0, 3)


def _check_axes(query: Any, key: Any, value: Any, padding: Any, mask: Any) -> bool:
    """Whether there is no batch; raises if numbers of axes do not match."""
    rank = query.ndim
    if rank not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor{at_user_line()}")
    title = f"For {'batched' if rank == 3 else 'unbatched'} ({rank}-D) `query`, expected"
    if key.ndim != rank or value.ndim != rank:
        raise AssertionError(
            f"{title} `key` and `value` to be {rank}-D but found {key.ndim}-D and {value.ndim}-D tensors respectively{at_user_line()}"
        )
    if padding is not None and padding.ndim != rank - 1:
        raise AssertionError(f"{title} `key_padding_mask` to be `None` or {rank - 1}-D but found {padding.ndim}-D tensor instead{at_user_line()}")
    if mask is not None and mask.ndim not in (2, 3):
        raise AssertionError(f"{title} `attn_mask` to be `None`, 2-D or 3-D but found {mask.ndim}-D tensor instead{at_user_line()}")
    return bool(rank == 2)


def _added(mask: Any, name: str, like: Any) -> Any:
    """A mask as numbers to add: -inf where a bool says True."""
    kind = mask._array.dtype.kind
    if kind not in "bf":
        raise AssertionError(f"only bool and floating types of {name} are supported{at_user_line()}")
    return mask if kind == "f" else FUNCTIONS["zeros"](mask.shape, dtype=like.dtype).masked_fill(mask, -math.inf)


def _score_mask(mask: Any, like: Any, targets: int, sources: int, rows: int, heads: int) -> Any:
    """What is added to scores ``[batch, heads, targets, sources]``."""
    if mask is None:
        return None
    expected = (targets, sources) if mask.ndim == 2 else (rows, targets, sources)
    if tuple(mask.shape) != expected:
        raise RuntimeError(f"The shape of the {mask.ndim}D attn_mask is {mask.shape}, but should be {expected}.{at_user_line()}")
    mask = _added(mask, "attn_mask", like)
    return mask if mask.ndim == 2 else mask.reshape(-1, heads, targets, sources)


def _padding_mask(mask: Any, like: Any, batch: int, sources: int) -> Any:
    """What is added to scores ``[batch, heads, targets, sources]``."""
    if mask is None:
        return None
    for place, size in enumerate((batch, sources)):
        if mask.shape[place] != size:
            raise AssertionError(f"Expected key_padded_mask.shape[{place}] to be {size}, but got {mask.shape[place]}{at_user_line()}")
    return _added(mask, "key_padding_mask", like)[:, None, None, :]
