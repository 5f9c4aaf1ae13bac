"""Sorting: `argsort` alone, since sorted values are a gather of it."""

from __future__ import annotations

import numpy as np

from functrans.core.primitive import Structural
from functrans.ops.structure import sample

# Stable, so that ties keep their order. Its result is made of integers, which have no derivative.
argsort = Structural(
    "argsort",
    lambda x, axis: np.argsort(x, axis=axis, kind="stable"),
    shape=lambda shape, axis: shape,
    dtype=lambda dtype, axis: np.intp,
    adjoint=lambda ct, x, axis: None,
    batch=lambda params, ranks, size: {"axis": params["axis"] + 1},
    samples=sample((2, 4), axis=1),
)
