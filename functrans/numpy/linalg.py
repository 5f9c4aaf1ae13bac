"""NumPy's linear algebra on traced values: ``solve inv cholesky slogdet det``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from functrans.core.types import dtype_of, result_dtype, shape_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.reduction import floating
from functrans.numpy.registry import implements
from functrans.numpy.structure import astype, broadcast_values
from functrans.ops import linalg as ops


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    a, b = floating(a), floating(b)
    vector = len(shape_of(b)) == 1
    b = b[:, None] if vector else b
    if shape_of(a)[-1] != shape_of(b)[-2]:
        raise ValueError(f"np.linalg.solve: shapes {shape_of(a)} and {shape_of(b)} do not match{at_user_line()}")
    lead = np.broadcast_shapes(shape_of(a)[:-2], shape_of(b)[:-2])
    dtype = result_dtype(dtype_of(a), dtype_of(b))
    a, b = (astype(broadcast_values(x, (*lead, *shape_of(x)[-2:])), dtype, copy=False) for x in (a, b))
    x = ops.solve(a, b)
    return x[..., 0] if vector else x


@implements(np.linalg.inv)
def inv(a: Any) -> Any:
    return ops.inv(floating(a))


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    lower = ops.cholesky(floating(a))
    return ops.adjoint(lower) if upper else lower


class SlogdetResult(NamedTuple):
    """The sign of a determinant and the logarithm of its magnitude."""

    sign: Any
    logabsdet: Any


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    a = floating(a)
    if dtype_of(a).kind == "c":
        raise UnsupportedError(f"np.linalg.slogdet: complex matrices are not supported on traced values{at_user_line()}")
    return SlogdetResult(np.sign(det(a)), ops.logabsdet(a))


@implements(np.linalg.det)
def det(a: Any) -> Any:
    return ops.det(floating(a))
