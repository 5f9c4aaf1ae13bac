"""Attention with several heads, and the encoder layer of transformers (Vaswani et al. 2017)."""

from __future__ import annotations

import copy
from typing import Any

import functrans.torch.nn.functional as F
import functrans.torch.nn.init as init
from functrans.errors import at_user_line
from functrans.torch.nn.functional.attention import weights
from functrans.torch.nn.modules.containers import ModuleList
from functrans.torch.nn.modules.layers import LayerNorm, Linear, parameter
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.modules.simple import Dropout
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor

__all__ = ["MultiheadAttention", "TransformerEncoder", "TransformerEncoderLayer"]


class NonDynamicallyQuantizableLinear(Linear):
    """The last map of attention, under torch's name for it."""


class MultiheadAttention(Module):
    """Attention in several heads: query ``[targets, batch, n]``, key and value ``[sources, batch, n]``, or batch first.

    Returns:
        The output ``[targets, batch, n]`` and the weights, ``[batch, targets, sources]``, averaged over heads, or None.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if add_bias_kv or add_zero_attn or kdim not in (None, embed_dim) or vdim not in (None, embed_dim):
            raise NotImplementedError(
                "torch.nn.MultiheadAttention: add_bias_kv, add_zero_attn, kdim and vdim are not supported"
                f"\n  Remedy: use Linear and nn.functional.scaled_dot_product_attention.{at_user_line()}"
            )
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} instead")
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.head_dim = embed_dim // num_heads
        self.in_proj_weight = parameter((3 * embed_dim, embed_dim), dtype)
        self.register_parameter("in_proj_bias", parameter((3 * embed_dim,), dtype, 0.0) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, dtype=dtype)
        init.xavier_uniform_(self.in_proj_weight)
        if bias:
            init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """As the class says; True in a mask of bools is what may not be attended to."""
        if is_causal and attn_mask is None:
            raise RuntimeError(f"Need attn_mask if specifying the is_causal hint.{at_user_line()}")
        single = query.ndim == 2
        if single:
            query, key, value = (each.unsqueeze(0) for each in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (each.transpose(0, 1) for each in (query, key, value))
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        parts = zip((query, key, value), self.in_proj_weight.chunk(3), biases)
        q, k, v = (self._heads(F.linear(x, weight, bias)) for x, weight, bias in parts)
        shares = weights((q * self.head_dim**-0.5) @ k.transpose(-2, -1) + self._mask(q, attn_mask, key_padding_mask), None)
        kept = F.dropout(shares, self.dropout, self.training)
        out = self.out_proj((kept @ v).transpose(1, 2).flatten(2))
        found = None if not need_weights else kept.mean(1) if average_attn_weights else kept
        if single:
            return out.squeeze(0), None if found is None else found.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), found

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(self, q: Tensor, mask: Tensor | None, padding: Tensor | None) -> Any:
        """What is added to the scores ``[batch, heads, targets, sources]``."""
        total: Any = 0.0
        if mask is not None:
            mask = added(mask, q)
            total = mask if mask.ndim == 2 else mask.reshape(-1, self.num_heads, *mask.shape[1:])
        if padding is not None:
            total = added(padding, q)[:, None, None, :] + total
        return total


def added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add: -inf where a bool says True."""
    if mask._array.dtype.kind != "b":
        return mask
    return FUNCTIONS["zeros"](mask.shape, dtype=like.dtype).masked_fill(mask, float("-inf"))


class TransformerEncoderLayer(Module):
    """Self-attention and two linear maps, each added to its input and normalised."""

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = "relu",
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise RuntimeError(f"activation should be relu/gelu, not {activation}")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """``[time, batch, d_model]``, or batch first, to the same shape."""
        attend = lambda x: self.dropout1(self.self_attn(x, x, x, src_key_padding_mask, False, src_mask)[0])
        feed = lambda x: self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))
        if self.norm_first:
            src = src + attend(self.norm1(src))
            return src + feed(self.norm2(src))
        src = self.norm1(src + attend(src))
        return self.norm2(src + feed(src))


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after the other."""

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True, mask_check: bool = True
    ) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool | None = None
    ) -> Tensor:
        """``[time, batch, d_model]``, or batch first, to the same shape."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)
