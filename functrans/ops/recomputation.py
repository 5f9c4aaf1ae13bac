"""What says where values are kept between a forward and a backward pass: identities, all of them.

`checkpoint_name` gives a value a name that policies know it by. `offload` keeps it in a file that is mapped into memory
and has no name of its own, so that it is gone with the last array that reads it. `barrier` separates what is computed
again from what was computed before: its results are its operands, once all of these are there, and to a compiler they
are values of their own.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from functrans.core.primitive import General, Structural
from functrans.core.types import dtype_of, shape_of
from functrans.ops.structure import sample

checkpoint_name = Structural(
    "checkpoint_name",
    lambda x, name: x,
    shape=lambda shape, name: shape,
    adjoint=lambda ct, x, name: ct,
    batch=lambda params, ranks, size: params,
    samples=sample((2, 3), name="hidden"),
)


def offload_evaluate(x: Any, folder: str | None) -> Any:
    """A copy of an array in a file that is deleted already, though it can be read as long as the copy is there."""
    import tempfile  # here, so that importing this package stays quick

    if not isinstance(x, np.ndarray) or not x.size:
        return x
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(x.nbytes)
        memory = mmap.mmap(file.fileno(), x.nbytes)
    copy: Any = np.ndarray(x.shape, x.dtype, memory)
    copy[...] = x
    if hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)  # written pages are the file's from here on
    return copy


offload = Structural(
    "offload",
    offload_evaluate,
    shape=lambda shape, folder: shape,
    adjoint=lambda ct, x, folder: ct,
    batch=lambda params, ranks, size: params,
    samples=sample((2, 3), folder=None),
)


def with_zeros(tangents: Any, primals: Any) -> tuple[Any, ...]:
    """Tangents with zeros for those that are None."""
    return tuple(
        np.zeros(shape_of(primal), dtype_of(primal))[()] if tangent is None else tangent
        for tangent, primal in zip(tangents, primals)
    )


# Results are the first `count` operands; the others are only waited for.
barrier: General = General(
    "barrier",
    lambda *operands, count: operands[:count],
    types=lambda *types, count: types[:count],
    jvp=lambda primals, tangents, out, active, count: with_zeros(tangents[:count], primals),
    pullback=lambda cts, operands, out, active, count: (*cts, *(None for _ in operands[count:])),
    batch=lambda operands, batched, size, count: barrier(
        *(operand if own else np.broadcast_to(operand, (size, *shape_of(operand))) for operand, own in zip(operands, batched)),
        count=count,
    ),
    multiple=True,
)
