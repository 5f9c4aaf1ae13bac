"""Operations that say something about recomputation, and are identities otherwise."""

from __future__ import annotations

from functrans.core.primitive import Structural
from functrans.ops.structure import sample

# A value with a name that policies of `checkpoint` know it by.
checkpoint_name = Structural(
    "checkpoint_name",
    lambda x, name: x,
    shape=lambda shape, name: shape,
    adjoint=lambda ct, x, name: ct,
    batch=lambda params, ranks, size: params,
    samples=sample((2, 3), name="hidden"),
)
