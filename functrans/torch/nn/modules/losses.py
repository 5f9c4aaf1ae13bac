"""Losses as modules: a table of functions of `nn.functional` and of the arguments each keeps, in torch's order."""

from __future__ import annotations

import inspect
from typing import Any

import functrans.torch.nn.functional as F
from functrans.torch.nn.functional.losses import chosen
from functrans.torch.nn.modules.module import Module
from functrans.torch.nn.modules.simple import PairwiseDistance
from functrans.torch.tensor import Tensor

LEGACY = {"size_average": None, "reduce": None, "reduction": "mean"}
WEIGHTED = {"weight": None, **LEGACY}
LABELS = {"weight": None, "size_average": None, "ignore_index": -100, "reduce": None, "reduction": "mean"}
# The arguments after a "*" go by keyword only. The example's arguments, of the loss and of its call, give the number behind.
TABLE: dict[str, tuple[Any, dict[str, Any], str]] = {
    "L1Loss": (F.l1_loss, LEGACY, "()(torch.zeros(2), torch.ones(2)) = 1."),
    "MSELoss": (F.mse_loss, LEGACY, "()(torch.zeros(2), torch.full((2,), 2.0)) = 4."),
    "SmoothL1Loss": (F.smooth_l1_loss, {**LEGACY, "beta": 1.0}, "()(torch.zeros(2), torch.full((2,), 2.0)) = 1.5000"),
    "HuberLoss": (F.huber_loss, {"reduction": "mean", "delta": 1.0}, "(delta=0.5)(torch.zeros(2), torch.ones(2)) = 0.3750"),
    "CrossEntropyLoss": (F.cross_entropy, {**LABELS, "label_smoothing": 0.0}, "()(torch.zeros(1, 4), torch.tensor([2])) = 1.3863"),
    "NLLLoss": (F.nll_loss, LABELS, "()(torch.tensor([[-0.5, -1.0]]), torch.tensor([1])) = 1."),
    "BCELoss": (F.binary_cross_entropy, WEIGHTED, "()(torch.full((2,), 0.5), torch.ones(2)) = 0.6931"),
    "BCEWithLogitsLoss": (
        F.binary_cross_entropy_with_logits, {**WEIGHTED, "pos_weight": None}, "()(torch.zeros(2), torch.ones(2)) = 0.6931",
    ),
    "KLDivLoss": (F.kl_div, {**LEGACY, "log_target": False}, "(reduction='sum')(torch.zeros(1), torch.ones(1)) = 0."),
    "PoissonNLLLoss": (
        F.poisson_nll_loss, {"log_input": True, "full": False, "size_average": None, "eps": 1e-8, "reduce": None, "reduction": "mean"},
        "()(torch.zeros(2), torch.ones(2)) = 1.",
    ),
    "GaussianNLLLoss": (
        F.gaussian_nll_loss, {"*": None, "full": False, "eps": 1e-6, "reduction": "mean"},
        "()(torch.zeros(2), torch.ones(2), torch.ones(2)) = 0.5000",
    ),
    "SoftMarginLoss": (F.soft_margin_loss, LEGACY, "()(torch.zeros(2), torch.ones(2)) = 0.6931"),
    "HingeEmbeddingLoss": (F.hinge_embedding_loss, {"margin": 1.0, **LEGACY}, "()(torch.zeros(2), -torch.ones(2)) = 1."),
    "MarginRankingLoss": (
        F.margin_ranking_loss, {"margin": 0.0, **LEGACY}, "()(torch.zeros(2), torch.ones(2), torch.ones(2)) = 1.",
    ),
    "CosineEmbeddingLoss": (
        F.cosine_embedding_loss, {"margin": 0.0, **LEGACY}, "()(torch.ones(1, 2), -torch.ones(1, 2), torch.ones(1)) = 2.",
    ),
    "TripletMarginLoss": (
        F.triplet_margin_loss, {"margin": 1.0, "p": 2.0, "eps": 1e-6, "swap": False, **LEGACY},
        "()(torch.zeros(1, 4), torch.ones(1, 4), torch.ones(1, 4)) = 1.",
    ),
    "MultiMarginLoss": (
        F.multi_margin_loss, {"p": 1, "margin": 1.0, **WEIGHTED}, "()(torch.zeros(1, 2), torch.tensor([1])) = 0.5000",
    ),
    "MultiLabelMarginLoss": (F.multilabel_margin_loss, LEGACY, "()(torch.zeros(1, 2), torch.tensor([[1, -1]])) = 0.5000"),
    "TripletMarginWithDistanceLoss": (
        F.triplet_margin_with_distance_loss, {"*": None, "distance_function": None, "margin": 1.0, "swap": False, "reduction": "mean"},
        "(margin=2.0)(torch.zeros(1, 4), torch.ones(1, 4), torch.ones(1, 4)) = 2.",
    ),
    "CTCLoss": (
        F.ctc_loss, {"blank": 0, "reduction": "mean", "zero_infinity": False},
        "()(torch.full((3, 1, 2), 0.5).log(), torch.tensor([[1]]), [3], [1]) = 0.2877",
    ),
    "MultiLabelSoftMarginLoss": (F.multilabel_soft_margin_loss, WEIGHTED, "()(torch.zeros(1, 2), torch.ones(1, 2)) = 0.6931"),
}  # fmt: skip


class _Loss(Module):
    """A loss, and how it is reduced: the base of all, also of the user's."""

    reduction: str

    def __init__(self, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = chosen(reduction, size_average, reduce, check=False)


class _WeightedLoss(_Loss):
    """A loss with weights of classes."""

    def __init__(self, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


def loss(name: str, function: Any, fields: dict[str, Any], example: str) -> type:
    """The class of a loss."""
    parts: list[inspect.Parameter] = []
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    for key, value in fields.items():
        if key == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            parts.append(inspect.Parameter(key, kind, default=value))
    signature = inspect.Signature(parts)
    kept = [key for key in fields if key not in ("*", "size_average", "reduce")]

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        given["reduction"] = chosen(given["reduction"], given.get("size_average"), given.get("reduce"), check=False)
        if "distance_function" in given and given["distance_function"] is None:
            given["distance_function"] = PairwiseDistance()
        for key in kept:
            if isinstance(given[key], Tensor) or key in ("weight", "pos_weight"):
                self.register_buffer(key, given[key])
            else:
                setattr(self, key, given[key])

    def forward(self: Any, *inputs: Any) -> Tensor:
        return function(*inputs, **{key: getattr(self, key) for key in kept})

    call, number = example.split(" = ")
    doc = f"""The loss of `nn.functional.{function.__name__}`.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.{name}{call}
        tensor({number})
    """
    members = {"__doc__": doc, "__module__": __name__, "_signature": signature, "__init__": __init__, "forward": forward}
    return type(name, (_WeightedLoss if "weight" in kept else _Loss,), members)


globals().update({name: loss(name, *row) for name, row in TABLE.items()})
__all__ = list(TABLE)  # noqa: PLE0605
