"""Transformers and their layers (Vaswani et al. 2017).

The hints `is_causal` of torch, by which it may choose a faster kernel, say nothing that masks do not say.
"""

from __future__ import annotations

import copy
from typing import Any

import functrans.torch.nn.functional as F
import functrans.torch.nn.init as init
from functrans.errors import at_user_line
from functrans.torch.nn.modules.attention import MultiheadAttention
from functrans.torch.nn.modules.containers import ModuleList
from functrans.torch.nn.modules.layers import LayerNorm, Linear
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.modules.simple import Dropout
from functrans.torch.ops.table import FUNCTIONS
from functrans.torch.tensor import Tensor

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer"]


class _Layer(Module):
    """What the layers share: attention, two linear maps, and each normalised after it is added, or before."""

    # How many parts are normalised, and whether one of them attends to something else.
    parts = 2

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = F.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise RuntimeError(f"activation should be relu/gelu, not {activation}")
        for name in ("self_attn", "multihead_attn")[: self.parts - 1]:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype))
        self.linear1 = Linear(d_model, dim_feedforward, bias, device=device, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device=device, dtype=dtype)
        self.norm_first = norm_first
        for number in range(1, self.parts + 1):
            setattr(self, f"norm{number}", LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype))
        for number in range(1, self.parts + 1):
            setattr(self, f"dropout{number}", Dropout(dropout))
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation

    def _added(self, x: Any, number: int, part: Any) -> Any:
        """The input with a part's output added, normalised before or after."""
        norm, drop = self._modules[f"norm{number}"], self._modules[f"dropout{number}"]
        if self.norm_first:
            return x + drop(part(norm(x)))
        return norm(x + drop(part(x)))

    def _feed(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention and two linear maps, each added to its input and normalised.

    Args:
        d_model: the width.
        nhead: the number of heads.
        dim_feedforward: the width between the linear maps.
        dropout: of weights and of what is added, in training.
        activation: ``"relu"``, ``"gelu"`` or a function, between the linear maps.
        layer_norm_eps: of the normalisation.
        batch_first: whether the batch is the first axis.
        norm_first: whether the input of each part is normalised, instead of its output.
        bias: whether linear maps and normalisation have one.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.TransformerEncoderLayer(4, nhead=2, dim_feedforward=8)(torch.zeros(5, 2, 4)).shape
        torch.Size([5, 2, 4])
    """

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """``[time, batch, d_model]``, or batch first, to the same shape; `is_causal` says of `src_mask` that it is the causal one."""
        x = self._added(src, 1, lambda x: self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0])
        return self._added(x, 2, self._feed)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to an encoder's output, and two linear maps, each added to its input and normalised.

    Args are those of `TransformerEncoderLayer`.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.TransformerDecoderLayer(4, nhead=2, dim_feedforward=8)(torch.zeros(5, 2, 4), torch.zeros(7, 2, 4)).shape
        torch.Size([5, 2, 4])
    """

    parts = 3

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """``[targets, batch, d_model]`` and memory ``[sources, batch, d_model]``, or batch first, to the shape of the first."""
        x = self._added(tgt, 1, lambda x: self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0])
        attend = self.multihead_attn
        x = self._added(
            x, 2, lambda x: attend(x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal)[0]
        )
        return self._added(x, 3, self._feed)


def copies(layer: Module, count: int) -> ModuleList:
    """Copies of a layer."""
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after the other.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.TransformerEncoderLayer(4, nhead=2, dim_feedforward=8)
        >>> torch.nn.TransformerEncoder(layer, num_layers=2)(torch.zeros(5, 2, 4)).shape
        torch.Size([5, 2, 4])
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True, mask_check: bool = True
    ) -> None:
        super().__init__()
        self.layers, self.num_layers, self.norm = copies(encoder_layer, num_layers), num_layers, norm

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool | None = None
    ) -> Tensor:
        """``[time, batch, d_model]``, or batch first, to the same shape."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, is_causal=bool(is_causal), src_key_padding_mask=src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after the other.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.TransformerDecoderLayer(4, nhead=2, dim_feedforward=8)
        >>> torch.nn.TransformerDecoder(layer, num_layers=2)(torch.zeros(5, 2, 4), torch.zeros(7, 2, 4)).shape
        torch.Size([5, 2, 4])
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers, self.num_layers, self.norm = copies(decoder_layer, num_layers), num_layers, norm

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """``[targets, batch, d_model]`` and memory ``[sources, batch, d_model]``, or batch first, to the shape of the first."""
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal), memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder that attends to its output.

    Args are those of `TransformerEncoderLayer`, beside:
        num_encoder_layers: how many the encoder has.
        num_decoder_layers: how many the decoder has.
        custom_encoder: another encoder.
        custom_decoder: another decoder.

    Example:
        >>> import functrans.torch as torch
        >>> model = torch.nn.Transformer(4, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=8)
        >>> model(torch.zeros(7, 2, 4), torch.zeros(5, 2, 4)).shape
        torch.Size([5, 2, 4])
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6, dim_feedforward: int = 2048,
        dropout: float = 0.1, activation: Any = F.relu, custom_encoder: Any = None, custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        options = dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype
        self.encoder, self.decoder = custom_encoder, custom_decoder
        if custom_encoder is None:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
            self.encoder = TransformerEncoder(TransformerEncoderLayer(d_model, nhead, *options), num_encoder_layers, norm)
        if custom_decoder is None:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
            self.decoder = TransformerDecoder(TransformerDecoderLayer(d_model, nhead, *options), num_decoder_layers, norm)
        for each in self.parameters():
            if each.ndim > 1:
                init.xavier_uniform_(each)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None, src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Any:  # fmt: skip
        """``[sources, batch, d_model]`` and ``[targets, batch, d_model]``, or batch first, to the shape of the second.

        Raises:
            RuntimeError: batches or widths do not match.
        """
        axis = 0 if self.batch_first else 1
        if src.ndim == 3 and src.shape[axis] != tgt.shape[axis]:
            raise RuntimeError(f"the batch number of src and tgt must be equal{at_user_line()}")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError(f"the feature number of src and tgt must be equal to d_model{at_user_line()}")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """A mask ``[sz, sz]`` to add to scores, by which a target attends only to sources up to its own place."""
        return FUNCTIONS["full"]((sz, sz), float("-inf"), device=device, dtype=dtype).triu(1)
