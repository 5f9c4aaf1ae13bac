"""Layers with parameters: linear maps, convolutions, normalisation."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

import functrans.torch.nn.functional as F
import functrans.torch.nn.init as init
from functrans.errors import at_user_line
from functrans.torch.dtypes import Device, default, numpy_dtype
from functrans.torch.nn.functional.convolution import each
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.parameter import Parameter
from functrans.torch.tensor import Tensor, made

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Bilinear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d",
    "ConvTranspose3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "Linear",
    "PReLU", "RMSNorm",
]  # fmt: skip


def parameter(shape: Any, dtype: Any, value: float | None = None, device: Any = None) -> Parameter:
    """A parameter of this shape, filled with a number or not at all."""
    if device is not None:
        Device(device)  # which raises for others than the CPU
    kind = default.numpy if dtype is None else numpy_dtype(dtype)
    return Parameter(made(np.empty(shape, kind) if value is None else np.full(shape, value, kind)))


def spread_(parameters: Any, inputs: int) -> None:
    """Fill parameters with uniform numbers within one over the root of how many inputs there are."""
    bound = 1 / math.sqrt(inputs) if inputs > 0 else 0
    for each_ in parameters:
        if each_ is not None:
            init.uniform_(each_, -bound, bound)


class Linear(Module):
    """``x @ weight.T + bias``: ``[..., in_features]`` to ``[..., out_features]``.

    Example:
        >>> import functrans.torch as torch
        >>> layer = torch.nn.Linear(3, 4)
        >>> layer
        Linear(in_features=3, out_features=4, bias=True)
        >>> layer(torch.zeros(8, 3)).shape
        torch.Size([8, 4])
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = parameter((out_features, in_features), dtype, device=device)
        self.register_parameter("bias", parameter((out_features,), dtype, device=device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        spread_((self.weight, self.bias), self.in_features)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """``x weight y + bias`` for each output."""

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = parameter((out_features, in1_features, in2_features), dtype, device=device)
        self.register_parameter("bias", parameter((out_features,), dtype, device=device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        spread_((self.weight, self.bias), self.in1_features)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class _Conv(Module):
    """A convolution over `rank` axes, or its adjoint."""

    rank: int
    transposed = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        rank = self.rank
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string '{padding}', should be one of 'same', 'valid'")
            if padding == "same" and any(step != 1 for step in each(stride, rank)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"padding_mode must be one of ['circular', 'reflect', 'replicate', 'zeros'], but got padding_mode='{padding_mode}'"
            )
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size, self.stride, self.dilation = each(kernel_size, rank), each(stride, rank), each(dilation, rank)
        self.padding: Any = padding if isinstance(padding, str) else each(padding, rank)
        self.output_padding = (0,) * rank
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = parameter((first, second // groups, *self.kernel_size), dtype, device=device)
        self.register_parameter("bias", parameter((out_channels,), dtype, device=device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        spread_((self.weight, self.bias), init.fans(self.weight)[0])

    def _margins(self) -> list[int]:
        """What `F.pad` adds where the padding is not zeros."""
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            pairs = [(total // 2, total - total // 2) for total in totals]
        else:
            pairs = [(0, 0) if isinstance(p, str) else (p, p) for p in self.padding]
        return [margin for pair in reversed(pairs) for margin in pair]

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros" and padding != "valid":
            input, padding = F.pad(input, self._margins(), self.padding_mode), 0
        convolve = getattr(F, f"conv{self.rank}d")
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.rank:
            text += f", padding={self.padding!r}" if not isinstance(self.padding, str) else f", padding={self.padding}"
        if self.dilation != (1,) * self.rank:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.rank:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class Conv1d(_Conv):
    """Convolution over one axis: ``[batch, in_channels, n]`` to ``[batch, out_channels, places]``."""

    rank = 1


class Conv2d(_Conv):
    """Convolution over two axes."""

    rank = 2


class Conv3d(_Conv):
    """Convolution over three axes."""

    rank = 3


class _ConvTranspose(_Conv):
    """The adjoint of a convolution."""

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        self.output_padding = each(output_padding, self.rank)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self.output_padding
        if output_size is not None:
            sizes = tuple(output_size)[-self.rank :]
            least = [
                (n - 1) * s - 2 * p + d * (k - 1) + 1
                for n, s, p, d, k in zip(input.shape[-self.rank :], self.stride, self.padding, self.dilation, self.kernel_size)
            ]
            extra = tuple(size - low for size, low in zip(sizes, least))
            if any(not 0 <= more < step for more, step in zip(extra, self.stride)):
                highest = [low + step - 1 for low, step in zip(least, self.stride)]
                raise ValueError(
                    f"requested an output size of {list(sizes)}, but valid sizes range from {least} to {highest} (for an input of {list(input.shape[2:])})"
                )
        convolve = getattr(F, f"conv_transpose{self.rank}d")
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of a convolution over one axis."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of a convolution over two axes."""

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of a convolution over three axes."""

    rank = 3


class _NormBase(Module):
    """Each channel with mean 0 and variance 1 over the batch."""

    ranks: tuple[int, ...]

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", parameter((num_features,), dtype, 1.0, device=device) if affine else None)
        self.register_parameter("bias", parameter((num_features,), dtype, 0.0, device=device) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", parameter((num_features,), dtype, 0.0, device=device).data if tracked else None)
        self.register_buffer("running_var", parameter((num_features,), dtype, 1.0, device=device).data if tracked else None)
        self.register_buffer("num_batches_tracked", made(np.array(0)) if tracked else None)

    def reset_running_stats(self) -> None:
        """Begin the running mean and variance anew."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Begin the running statistics and the parameters anew."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.ranks:
            raise ValueError(f"expected {' or '.join(f'{rank}D' for rank in self.ranks)} input (got {input.ndim}D input)")
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        own = self.training or self.running_mean is None
        tracked = not own or self.training and self.track_running_stats
        mean, variance = (self.running_mean, self.running_var) if tracked else (None, None)
        return F.batch_norm(input, mean, variance, self.weight, self.bias, own, momentum, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    """Normalisation of channels over a batch."""


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of ``[batch, channels]`` or ``[batch, channels, n]`` (Ioffe and Szegedy 2015)."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of ``[batch, channels, height, width]``."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of ``[batch, channels, depth, height, width]``."""

    ranks = (5,)


class _InstanceNorm(_NormBase):
    """Each channel of each example with mean 0 and variance 1."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.ranks:
            raise ValueError(f"expected {' or '.join(f'{rank}D' for rank in self.ranks)} input (got {input.ndim}D input)")
        batched = input if input.ndim == self.ranks[1] else input.unsqueeze(0)
        axis = 1 if batched is input else 0
        if input.shape[axis] != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={axis} to match num_features ({self.num_features}), but got: {input.shape[axis]}.{at_user_line()}"
                )
            warnings.warn(
                f"input's size at dim={axis} does not match num_features. You can silence this warning by not passing in num_features, "
                "which is not used because affine=False",
                UserWarning,
                stacklevel=3,
            )
        own = self.training or not self.track_running_stats
        out = F.instance_norm(batched, self.running_mean, self.running_var, self.weight, self.bias, own, self.momentum or 0.0, self.eps)
        return out if batched is input else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of ``[batch, channels, n]`` (Ulyanov, Vedaldi and Lempitsky 2016)."""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of ``[batch, channels, height, width]``."""

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of ``[batch, channels, depth, height, width]``."""

    ranks = (4, 5)


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last axes (Ba, Kiros and Hinton 2016)."""

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", parameter(self.normalized_shape, dtype, 1.0, device=device) if elementwise_affine else None)
        self.register_parameter("bias", parameter(self.normalized_shape, dtype, 0.0, device=device) if elementwise_affine and bias else None)

    def reset_parameters(self) -> None:
        """Begin the parameters anew."""
        for each_, start in ((self.weight, init.ones_), (self.bias, init.zeros_)):
            if each_ is not None:
                start(each_)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        text = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        return f"{text}, bias={self.bias is not None}"


class RMSNorm(Module):
    """The last axes divided by the root of their mean square (Zhang and Sennrich 2019)."""

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", parameter(self.normalized_shape, dtype, 1.0, device=device) if elementwise_affine else None)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Mean 0 and variance 1 in each group of channels (Wu and He 2018)."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None, dtype: Any = None,
        *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.register_parameter("weight", parameter((num_channels,), dtype, 1.0, device=device) if affine else None)
        self.register_parameter("bias", parameter((num_channels,), dtype, 0.0, device=device) if affine and bias else None)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class PReLU(Module):
    """`leaky_relu` with a slope that is learned (He et al. 2015)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = parameter((num_parameters,), dtype, init, device=device)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"
