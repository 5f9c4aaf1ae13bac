"""Sorting: `argsort`, and `sort`, which is differentiated as a gather of it."""

from __future__ import annotations

import numpy as np

from functrans.core.primitive import Composite, Structural
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
sort = Composite(
    "sort",
    lambda x, axis: np.sort(x, axis=axis),
    lambda x, axis: np.take_along_axis(x, np.argsort(x, axis=axis), axis=axis),
    shape=lambda shape, axis: shape,
    batch=lambda params, ranks, size: {"axis": params["axis"] + 1},
    samples=sample((2, 4), axis=1),
)
