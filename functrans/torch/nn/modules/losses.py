"""Losses as modules: a table of functions of `nn.functional` and of what each keeps of their arguments."""

from __future__ import annotations

from typing import Any

import functrans.torch.nn.functional as F
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.modules.simple import PairwiseDistance
from functrans.torch.tensor import Tensor

TABLE: dict[str, tuple[Any, dict[str, Any]]] = {
    "L1Loss": (F.l1_loss, {}),
    "MSELoss": (F.mse_loss, {}),
    "SmoothL1Loss": (F.smooth_l1_loss, {"beta": 1.0}),
    "HuberLoss": (F.huber_loss, {"delta": 1.0}),
    "CrossEntropyLoss": (F.cross_entropy, {"weight": None, "ignore_index": -100, "label_smoothing": 0.0}),
    "NLLLoss": (F.nll_loss, {"weight": None, "ignore_index": -100}),
    "BCELoss": (F.binary_cross_entropy, {"weight": None}),
    "BCEWithLogitsLoss": (F.binary_cross_entropy_with_logits, {"weight": None, "pos_weight": None}),
    "KLDivLoss": (F.kl_div, {"log_target": False}),
    "PoissonNLLLoss": (F.poisson_nll_loss, {"log_input": True, "full": False, "eps": 1e-8}),
    "GaussianNLLLoss": (F.gaussian_nll_loss, {"full": False, "eps": 1e-6}),
    "SoftMarginLoss": (F.soft_margin_loss, {}),
    "HingeEmbeddingLoss": (F.hinge_embedding_loss, {"margin": 1.0}),
    "MarginRankingLoss": (F.margin_ranking_loss, {"margin": 0.0}),
    "CosineEmbeddingLoss": (F.cosine_embedding_loss, {"margin": 0.0}),
    "TripletMarginLoss": (F.triplet_margin_loss, {"margin": 1.0, "p": 2.0, "eps": 1e-6, "swap": False}),
    "MultiMarginLoss": (F.multi_margin_loss, {"p": 1, "margin": 1.0, "weight": None}),
    "MultiLabelMarginLoss": (F.multilabel_margin_loss, {}),
    "TripletMarginWithDistanceLoss": (F.triplet_margin_with_distance_loss, {"distance_function": None, "margin": 1.0, "swap": False}),
    "CTCLoss": (F.ctc_loss, {"blank": 0, "zero_infinity": False}),
    "MultiLabelSoftMarginLoss": (F.multilabel_soft_margin_loss, {"weight": None}),
}


def loss(name: str, function: Any, fields: dict[str, Any]) -> type:
    """The class of a loss."""

    def __init__(self: Any, *args: Any, reduction: str = "mean", **kwargs: Any) -> None:
        Module.__init__(self)
        names = list(fields)
        if len(args) > len(names):
            raise TypeError(f"{name}() takes at most {len(names)} arguments by place, got {len(args)}")
        given = {**fields, **dict(zip(names, args))}
        for key in kwargs:
            if key not in given:
                raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{key}'")
        given.update(kwargs)
        self.reduction = reduction
        if "distance_function" in given and given["distance_function"] is None:
            given["distance_function"] = PairwiseDistance()
        for key, value in given.items():
            if isinstance(value, Tensor) or key in ("weight", "pos_weight"):
                self.register_buffer(key, value)
            else:
                setattr(self, key, value)

    def forward(self: Any, *inputs: Tensor) -> Tensor:
        return function(*inputs, reduction=self.reduction, **{key: getattr(self, key) for key in fields})

    doc = f"The loss of `nn.functional.{function.__name__}`."
    return type(name, (Module,), {"__doc__": doc, "__module__": __name__, "__init__": __init__, "forward": forward})


globals().update({name: loss(name, function, fields) for name, (function, fields) in TABLE.items()})
__all__ = list(TABLE)  # noqa: PLE0605
