"""Names that torch has and we do not: calls of them say so, with what to use instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrans.errors import at_user_line

__all__ = ["FUNCTIONS", "MODULES", "refusal"]

_POOL = "max_pool or avg_pool"
_INTERPOLATE = "index the input, or repeat_interleave"
FUNCTIONS = {
    "adaptive_max_pool1d_with_indices": _POOL, "adaptive_max_pool2d_with_indices": _POOL, "adaptive_max_pool3d_with_indices": _POOL,
    "affine_grid": _INTERPOLATE, "channel_shuffle": "reshape and transpose", "conv_tbc": "transpose, then conv1d",
    "ctc_loss": "cross_entropy of aligned labels", "embedding_bag": "embedding, then sum or mean", "feature_alpha_dropout": "alpha_dropout",
    "fold": "conv_transpose2d", "fractional_max_pool2d": _POOL, "fractional_max_pool3d": _POOL, "grid_sample": _INTERPOLATE,
    "interpolate": _INTERPOLATE, "local_response_norm": "group_norm", "lp_pool1d": _POOL, "lp_pool2d": _POOL, "lp_pool3d": _POOL,
    "max_unpool1d": "scatter", "max_unpool2d": "scatter", "max_unpool3d": "scatter", 
    "multilabel_margin_loss": "multilabel_soft_margin_loss", "pdist": "the norm of differences", "upsample": _INTERPOLATE,
    "triplet_margin_with_distance_loss": "triplet_margin_loss", "linear_cross_entropy": "linear, then cross_entropy",
    "upsample_bilinear": _INTERPOLATE, "upsample_nearest": _INTERPOLATE,
}  # fmt: skip
_LAZY = "the layer that is told its input size"
MODULES = {
    "AdaptiveLogSoftmaxWithLoss": "CrossEntropyLoss", "CTCLoss": "CrossEntropyLoss of aligned labels", "ChannelShuffle": "reshape and transpose",
    "CrossMapLRN2d": "GroupNorm", "DataParallel": "the module itself", "EmbeddingBag": "Embedding, then sum or mean",
    "FeatureAlphaDropout": "AlphaDropout", "Fold": "ConvTranspose2d", "FractionalMaxPool2d": _POOL, "FractionalMaxPool3d": _POOL,
    "LPPool1d": _POOL, "LPPool2d": _POOL, "LPPool3d": _POOL, "LazyBatchNorm1d": _LAZY, "LazyBatchNorm2d": _LAZY, "LazyBatchNorm3d": _LAZY,
    "LazyConv1d": _LAZY, "LazyConv2d": _LAZY, "LazyConv3d": _LAZY, "LazyConvTranspose1d": _LAZY, "LazyConvTranspose2d": _LAZY,
    "LazyConvTranspose3d": _LAZY, "LazyInstanceNorm1d": _LAZY, "LazyInstanceNorm2d": _LAZY, "LazyInstanceNorm3d": _LAZY, "LazyLinear": _LAZY,
    "LocalResponseNorm": "GroupNorm", "MaxUnpool1d": "scatter", "MaxUnpool2d": "scatter", "MaxUnpool3d": "scatter",
    "MultiLabelMarginLoss": "MultiLabelSoftMarginLoss", "SyncBatchNorm": "BatchNorm2d", 
    "TripletMarginWithDistanceLoss": "TripletMarginLoss",
    "UninitializedBuffer": _LAZY, "UninitializedParameter": _LAZY, "Upsample": _INTERPOLATE, "UpsamplingBilinear2d": _INTERPOLATE,
    "UpsamplingNearest2d": _INTERPOLATE, "LinearCrossEntropyLoss": "Linear, then CrossEntropyLoss",
}  # fmt: skip

def refusal(name: str, alternative: str) -> Callable[..., Any]:
    """A function that raises, naming what is not supported and an alternative."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{name} is not supported\n  Remedy: use {alternative}.{at_user_line()}")

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    return refuse
