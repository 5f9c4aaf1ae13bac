"""Layers without parameters: a table of functions of `nn.functional` and what each layer keeps of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import functrans.torch.nn.functional as F
from functrans.errors import at_user_line
from functrans.torch.nn.functional.convolution import each
from functrans.torch.nn.modules.module import Module
from functrans.torch.ops.shapes import flatten
from functrans.torch.tensor import Tensor

REQUIRED = inspect.Parameter.empty


def layer(name: str, function: Callable[..., Any], text: str = "", *, training: bool = False, base: type = Module, **fields: Any) -> type:
    """The class of a layer that calls `function` with the fields it was made with.

    Args:
        name: of the class.
        function: of the input or inputs, then of the fields by keyword.
        text: what it prints, a format of the fields; `inplace` is added where it is set.
        training: whether the function is told if the layer is in training.
        base: another superclass.
        fields: defaults; `REQUIRED` where there is none.
    """

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        values = self._signature.bind(*args, **kwargs)
        values.apply_defaults()
        self.__dict__.update(values.arguments)

    def forward(self: Any, *inputs: Tensor) -> Any:
        own = self.__dict__
        values = {field: own[field] for field in self._fields}
        if training:
            values["training"] = self.training
        return function(*inputs, **values)

    def extra_repr(self: Any) -> str:
        parts = [text.format(**self.__dict__)] if text else []
        return ", ".join([*parts, *(["inplace=True"] if self.__dict__.get("inplace") else [])])

    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD
    members = {
        "__doc__": described(name, function),
        "__module__": __name__,
        "__qualname__": name,
        "_fields": tuple(fields),
        "_signature": inspect.Signature([inspect.Parameter(key, kinds, default=value) for key, value in fields.items()]),
        "__init__": __init__,
        "forward": forward,
        "extra_repr": extra_repr,
    }
    return type(name, (base,), members)


def described(name: str, function: Callable[..., Any]) -> str:
    """The docstring of a layer, with an example if there is one."""
    text = f"The layer of `nn.functional.{getattr(function, '__name__', name)}`."
    if name not in EXAMPLES:
        return text
    arguments, given, result = EXAMPLES[name]
    lines = result.replace("\n\n", "\n<BLANKLINE>\n").replace("\n", "\n        ")
    return f"""{text}

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.{name}({arguments})({given})
        {lines}
    """


_LINE, _SQUARE, _SERIES = "torch.tensor([-1.0, 0.5])", "torch.arange(4.0).reshape(1, 1, 2, 2)", "torch.tensor([[[1.0, 2.0, 4.0, 3.0]]])"
# For each layer its arguments, the input and the result.
EXAMPLES = {
    "Identity": ("", _LINE, "tensor([-1.0000,  0.5000])"),
    "ReLU": ("", _LINE, "tensor([0.0000, 0.5000])"),
    "ReLU6": ("", _LINE, "tensor([0.0000, 0.5000])"),
    "Sigmoid": ("", _LINE, "tensor([0.2689, 0.6225])"),
    "Tanh": ("", _LINE, "tensor([-0.7616,  0.4621])"),
    "LogSigmoid": ("", _LINE, "tensor([-1.3133, -0.4741])"),
    "Softsign": ("", _LINE, "tensor([-0.5000,  0.3333])"),
    "Tanhshrink": ("", _LINE, "tensor([-0.2384,  0.0379])"),
    "SiLU": ("", _LINE, "tensor([-0.2689,  0.3112])"),
    "Mish": ("", _LINE, "tensor([-0.3034,  0.3752])"),
    "SELU": ("", _LINE, "tensor([-1.1113,  0.5254])"),
    "Hardsigmoid": ("", _LINE, "tensor([0.3333, 0.5833])"),
    "Hardswish": ("", _LINE, "tensor([-0.3333,  0.2917])"),
    "GELU": ("", _LINE, "tensor([-0.1587,  0.3457])"),
    "ELU": ("", _LINE, "tensor([-0.6321,  0.5000])"),
    "CELU": ("alpha=0.5", _LINE, "tensor([-0.4323,  0.5000])"),
    "LeakyReLU": ("0.1", _LINE, "tensor([-0.1000,  0.5000])"),
    "Hardtanh": ("-0.5, 0.25", _LINE, "tensor([-0.5000,  0.2500])"),
    "Softplus": ("", _LINE, "tensor([0.3133, 0.9741])"),
    "Softshrink": ("", _LINE, "tensor([-0.5000,  0.0000])"),
    "Hardshrink": ("0.75", _LINE, "tensor([-1.,  0.])"),
    "Threshold": ("0.0, 20.0", _LINE, "tensor([20.0000,  0.5000])"),
    "GLU": ("", _LINE, "tensor([-0.6225])"),
    "Softmax": ("dim=0", _LINE, "tensor([0.1824, 0.8176])"),
    "Softmin": ("dim=0", _LINE, "tensor([0.8176, 0.1824])"),
    "LogSoftmax": ("dim=0", _LINE, "tensor([-1.7014, -0.2014])"),
    "Flatten": ("", _SQUARE, "tensor([[0., 1., 2., 3.]])"),
    "Unflatten": ("0, (2, 1)", _LINE, "tensor([[-1.0000],\n        [ 0.5000]])"),
    "PixelShuffle": ("2", "torch.arange(4.0).reshape(1, 4, 1, 1)", "tensor([[[[0., 1.],\n          [2., 3.]]]])"),
    "PixelUnshuffle": ("2", _SQUARE, "tensor([[[[0.]],\n\n         [[1.]],\n\n         [[2.]],\n\n         [[3.]]]])"),
    "Unfold": ("2", _SQUARE, "tensor([[[0.],\n         [1.],\n         [2.],\n         [3.]]])"),
    "Fold": ("(1, 3), (1, 2)", "torch.ones(1, 2, 2)", "tensor([[[[1., 2., 1.]]]])"),
    "ChannelShuffle": ("2", "torch.arange(4).reshape(1, 4, 1)", "tensor([[[0],\n         [2],\n         [1],\n         [3]]])"),
    "LocalResponseNorm": ("1, alpha=1.0, beta=1.0", "torch.ones(1, 1, 2)", "tensor([[[0.5000, 0.5000]]])"),
    "CosineSimilarity": ("", "torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])", "tensor([0.7071])"),
    "PairwiseDistance": ("eps=0.0", "torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])", "tensor([5.])"),
    "MaxPool1d": ("2", _SERIES, "tensor([[[2., 4.]]])"),
    "MaxPool2d": ("2", _SQUARE, "tensor([[[[3.]]]])"),
    "AvgPool1d": ("2", _SERIES, "tensor([[[1.5000, 3.5000]]])"),
    "AvgPool2d": ("2", _SQUARE, "tensor([[[[1.5000]]]])"),
    "AdaptiveAvgPool1d": ("2", _SERIES, "tensor([[[1.5000, 3.5000]]])"),
    "AdaptiveAvgPool2d": ("1", _SQUARE, "tensor([[[[1.5000]]]])"),
    "AdaptiveMaxPool1d": ("2", _SERIES, "tensor([[[2., 4.]]])"),
    "AdaptiveMaxPool2d": ("1", _SQUARE, "tensor([[[[3.]]]])"),
    "LPPool1d": ("2, 2", "torch.tensor([[[3.0, 4.0]]])", "tensor([[[5.]]])"),
    "LPPool2d": ("1, 2", _SQUARE, "tensor([[[[6.]]]])"),
    "MaxUnpool1d": ("2", "torch.tensor([[[5.0, 6.0]]]), torch.tensor([[[1, 2]]])", "tensor([[[0., 5., 6., 0.]]])"),
    "ZeroPad1d": ("1", _SERIES, "tensor([[[0., 1., 2., 4., 3., 0.]]])"),
    "ConstantPad1d": ("(1, 0), 9.0", _SERIES, "tensor([[[9., 1., 2., 4., 3.]]])"),
    "ReflectionPad1d": ("1", _SERIES, "tensor([[[2., 1., 2., 4., 3., 4.]]])"),
    "ReplicationPad1d": ("1", _SERIES, "tensor([[[1., 1., 2., 4., 3., 3.]]])"),
    "CircularPad1d": ("1", _SERIES, "tensor([[[3., 1., 2., 4., 3., 1.]]])"),
}  # fmt: skip

Identity: Any = layer("Identity", lambda input: input)
# It takes any arguments, so that it can stand for any layer.
Identity.__init__ = lambda self, *args, **kwargs: Module.__init__(self)

ReLU = layer("ReLU", F.relu, inplace=False)
ReLU6 = layer("ReLU6", F.relu6, inplace=False)
Sigmoid = layer("Sigmoid", F.sigmoid)
Tanh = layer("Tanh", F.tanh)
LogSigmoid = layer("LogSigmoid", F.logsigmoid)
Softsign = layer("Softsign", F.softsign)
Tanhshrink = layer("Tanhshrink", F.tanhshrink)
SiLU = layer("SiLU", F.silu, inplace=False)
Mish = layer("Mish", F.mish, inplace=False)
SELU = layer("SELU", F.selu, inplace=False)
Hardsigmoid = layer("Hardsigmoid", F.hardsigmoid, inplace=False)
Hardswish = layer("Hardswish", F.hardswish, inplace=False)
GELU = layer("GELU", F.gelu, "approximate={approximate!r}", approximate="none")
ELU = layer("ELU", F.elu, "alpha={alpha}", alpha=1.0, inplace=False)
CELU = layer("CELU", F.celu, "alpha={alpha}", alpha=1.0, inplace=False)
LeakyReLU = layer("LeakyReLU", F.leaky_relu, "negative_slope={negative_slope}", negative_slope=0.01, inplace=False)
Hardtanh = layer("Hardtanh", F.hardtanh, "min_val={min_val}, max_val={max_val}", min_val=-1.0, max_val=1.0, inplace=False)
Softplus = layer("Softplus", F.softplus, "beta={beta}, threshold={threshold}", beta=1.0, threshold=20.0)
Softshrink = layer("Softshrink", F.softshrink, "{lambd}", lambd=0.5)
Hardshrink = layer("Hardshrink", F.hardshrink, "{lambd}", lambd=0.5)
Threshold = layer("Threshold", F.threshold, "threshold={threshold}, value={value}", threshold=REQUIRED, value=REQUIRED, inplace=False)
RReLU = layer("RReLU", F.rrelu, "lower={lower}, upper={upper}", training=True, lower=1 / 8, upper=1 / 3, inplace=False)
GLU = layer("GLU", F.glu, "dim={dim}", dim=-1)
Softmax = layer("Softmax", F.softmax, "dim={dim}", dim=None)
Softmin = layer("Softmin", F.softmin, "dim={dim}", dim=None)
LogSoftmax = layer("LogSoftmax", F.log_softmax, "dim={dim}", dim=None)


def softmax_of_channels(input: Tensor) -> Any:
    """`softmax` over the channels of images."""
    if input.ndim not in (3, 4):
        raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead{at_user_line()}")
    return F.softmax(input, -3)


Softmax2d = layer("Softmax2d", softmax_of_channels)

Flatten = layer("Flatten", flatten, "start_dim={start_dim}, end_dim={end_dim}", start_dim=1, end_dim=-1)
Unflatten = layer(
    "Unflatten", lambda input, dim, unflattened_size: input.unflatten(dim, unflattened_size),
    "dim={dim}, unflattened_size={unflattened_size}", dim=REQUIRED, unflattened_size=REQUIRED,
)  # fmt: skip
PixelShuffle = layer("PixelShuffle", F.pixel_shuffle, "upscale_factor={upscale_factor}", upscale_factor=REQUIRED)
PixelUnshuffle = layer("PixelUnshuffle", F.pixel_unshuffle, "downscale_factor={downscale_factor}", downscale_factor=REQUIRED)
Unfold = layer(
    "Unfold", F.unfold, "kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}",
    kernel_size=REQUIRED, dilation=1, padding=0, stride=1,
)  # fmt: skip
Fold = layer(
    "Fold", F.fold, "output_size={output_size}, kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}",
    output_size=REQUIRED, kernel_size=REQUIRED, dilation=1, padding=0, stride=1,
)  # fmt: skip
ChannelShuffle = layer("ChannelShuffle", F.channel_shuffle, "groups={groups}", groups=REQUIRED)
_RESPONSE = "{size}, alpha={alpha}, beta={beta}, k={k}"
LocalResponseNorm = layer("LocalResponseNorm", F.local_response_norm, _RESPONSE, size=REQUIRED, alpha=1e-4, beta=0.75, k=1.0)
CosineSimilarity = layer("CosineSimilarity", F.cosine_similarity, dim=1, eps=1e-8)
PairwiseDistance = layer("PairwiseDistance", F.pairwise_distance, p=2.0, eps=1e-6, keepdim=False)


class _Dropout:
    """A share that is dropped must be one."""

    p: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {self.p}")


def dropout(name: str, function: Any) -> type:
    """The class of a layer that drops in training."""
    made = layer(name, function, training=True, p=0.5, inplace=False)
    text = {"extra_repr": lambda self: f"p={self.p}, inplace={self.inplace}", "__module__": __name__, "__doc__": made.__doc__}
    return type(name, (_Dropout, made), text)


Dropout = dropout("Dropout", F.dropout)
Dropout1d = dropout("Dropout1d", F.dropout1d)
Dropout2d = dropout("Dropout2d", F.dropout2d)
Dropout3d = dropout("Dropout3d", F.dropout3d)
AlphaDropout = dropout("AlphaDropout", F.alpha_dropout)
FeatureAlphaDropout = dropout("FeatureAlphaDropout", F.feature_alpha_dropout)

POOL = "kernel_size={kernel_size}, stride={stride}, padding={padding}"
MAX_POOL = {"kernel_size": REQUIRED, "stride": None, "padding": 0, "dilation": 1, "return_indices": False, "ceil_mode": False}
AVG_POOL = {"kernel_size": REQUIRED, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True}


def pool(name: str, function: Any, text: str, fields: dict[str, Any]) -> type:
    """The class of a pooling layer, whose stride is its window by default."""
    made: Any = layer(name, function, text, **fields)
    first = made.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        if self.stride is None:
            self.stride = self.kernel_size
        if name == "AvgPool1d":  # as torch has it
            for field in ("kernel_size", "stride", "padding"):
                value = getattr(self, field)
                setattr(self, field, (value,) if isinstance(value, int) else value)

    made.__init__ = __init__
    return made


_MAX = POOL + ", dilation={dilation}, ceil_mode={ceil_mode}"
MaxPool1d, MaxPool2d, MaxPool3d = (pool(f"MaxPool{n}d", getattr(F, f"max_pool{n}d"), _MAX, MAX_POOL) for n in (1, 2, 3))
AvgPool1d = pool("AvgPool1d", F.avg_pool1d, POOL, AVG_POOL)
AvgPool2d = pool("AvgPool2d", F.avg_pool2d, POOL, {**AVG_POOL, "divisor_override": None})
AvgPool3d = pool("AvgPool3d", F.avg_pool3d, POOL, {**AVG_POOL, "divisor_override": None})
_OUT = "output_size={output_size}"
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = (
    layer(f"AdaptiveAvgPool{n}d", getattr(F, f"adaptive_avg_pool{n}d"), _OUT, output_size=REQUIRED) for n in (1, 2, 3)
)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = (
    layer(f"AdaptiveMaxPool{n}d", getattr(F, f"adaptive_max_pool{n}d"), _OUT, output_size=REQUIRED, return_indices=False) for n in (1, 2, 3)
)


_LP = "norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}"
LPPool1d, LPPool2d, LPPool3d = (
    layer(f"LPPool{n}d", getattr(F, f"lp_pool{n}d"), _LP, norm_type=REQUIRED, kernel_size=REQUIRED, stride=None, ceil_mode=False)
    for n in (1, 2, 3)
)


def fractional(rank: int) -> type:
    """The class of a layer of pooling over windows at random places."""
    fields: dict[str, Any] = {"kernel_size": REQUIRED, "output_size": None, "output_ratio": None, "return_indices": False, "_random_samples": None}
    made: Any = layer(f"FractionalMaxPool{rank}d", getattr(F, f"fractional_max_pool{rank}d"), **fields)
    first = made.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        if self.output_size is None and self.output_ratio is None:
            raise ValueError(f"FractionalMaxPool{rank}d requires specifying either an output size, or a pooling ratio")
        if self.output_size is not None and self.output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        self.register_buffer("_random_samples", self.__dict__.pop("_random_samples"))

    def forward(self: Any, input: Tensor) -> Any:
        return getattr(F, f"fractional_max_pool{rank}d")(input, *(getattr(self, field) for field in fields))

    made.__init__, made.forward = __init__, forward
    return made


FractionalMaxPool2d, FractionalMaxPool3d = map(fractional, (2, 3))


def unpool(rank: int) -> type:
    """The class of a layer that puts back what a pooling layer chose."""
    function = getattr(F, f"max_unpool{rank}d")
    made: Any = layer(f"MaxUnpool{rank}d", function, POOL, kernel_size=REQUIRED, stride=None, padding=0)
    first = made.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        self.stride = self.kernel_size if self.stride is None else self.stride
        for field in ("kernel_size", "stride", "padding"):
            setattr(self, field, each(getattr(self, field), rank))

    def forward(self: Any, input: Tensor, indices: Tensor, output_size: Any = None) -> Any:
        return function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    made.__init__, made.forward = __init__, forward
    return made


MaxUnpool1d, MaxUnpool2d, MaxUnpool3d = map(unpool, (1, 2, 3))


class Upsample(Module):
    """The layer of `nn.functional.interpolate`.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.Upsample(scale_factor=2)(torch.tensor([[[1.0, 2.0]]]))
        tensor([[[1., 1., 2., 2.]]])
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.mode, self.align_corners, self.recompute_scale_factor = size, mode, align_corners, recompute_scale_factor
        many = isinstance(scale_factor, tuple)
        self.scale_factor = tuple(map(float, scale_factor)) if many else float(scale_factor) if scale_factor else None

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self) -> str:
        size = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images of another size, by the nearest element."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """Images of another size, by linear interpolation with corners that are aligned."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


def padding(kind: str, mode: str, rank: int) -> type:
    """The class of a layer that pads the last axes."""
    fields: dict[str, Any] = {"padding": REQUIRED, **({"value": REQUIRED} if kind == "Constant" else {})}
    text = "padding={padding}, value={value}" if kind == "Constant" else "{padding}"

    def padded(input: Tensor, padding: Any, value: float = 0.0) -> Tensor:
        if kind == "Circular" and input.ndim not in (rank + 1, rank + 2):
            raise ValueError(f"expected {rank + 1}D or {rank + 2}D input (got {input.ndim}D input){at_user_line()}")
        return F.pad(input, padding, mode, value)

    padded.__name__ = "pad"
    made: Any = layer(f"{kind}Pad{rank}d", padded, text, **fields)
    first = made.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        self.padding = (self.padding,) * (2 * rank) if isinstance(self.padding, int) else tuple(self.padding)

    made.__init__ = __init__
    return made


MODES = {"Zero": "constant", "Constant": "constant", "Reflection": "reflect", "Replication": "replicate", "Circular": "circular"}
PADS = {f"{kind}Pad{rank}d": padding(kind, mode, rank) for kind, mode in MODES.items() for rank in (1, 2, 3)}
globals().update(PADS)

__all__ = [name for name, value in globals().items() if isinstance(value, type) and value is not Module and value.__module__ == __name__ and name[0] != "_"]  # noqa: PLE0605
