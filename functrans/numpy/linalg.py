"""NumPy's linear algebra on traced values: ``solve inv cholesky slogdet det``, norms and condition numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.types import describe, dtype_of, result_dtype, shape_of
from functrans.errors import at_user_line
from functrans.numpy.decompositions import svdvals
from functrans.numpy.reduction import floating, max, min, sum
from functrans.numpy.registry import implements, normalize_axes, normalize_axis
from functrans.numpy.structure import (
    astype,
    broadcast_values,
    conjugate,
    expand_dims,
    ravel,
    real,
    reshape,
)
from functrans.ops import arithmetic
from functrans.ops import linalg as ops


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    a, b = floating(a), floating(b)
    vector = len(shape_of(b)) == 1
    if len(shape_of(a)) < 2 or shape_of(a)[-1] != shape_of(b)[-1 if vector else -2]:
        raise ValueError(
            f"np.linalg.solve: {describe(a)} and {describe(b)} do not match"
            f"\n  Remedy: pass matrices [...,n,n] and a right side [n] or [...,n,k].{at_user_line()}"
        )
    b = b[:, None] if vector else b
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
    # NumPy reads one triangle only: the one it returns.
    return ops.adjoint(ops.cholesky(ops.adjoint(floating(a)))) if upper else ops.cholesky(floating(a))


# NumPy gives its class no public name.
SlogdetResult: Any = type(np.linalg.slogdet(np.ones((1, 1))))


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    a = floating(a)
    return SlogdetResult(ops.det_sign(a), ops.logabsdet(a))


@implements(np.linalg.det)
def det(a: Any) -> Any:
    return ops.det(floating(a))


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = floating(x)
    if axis is None:
        if ord is None:
            result = np.sqrt(squares(ravel(x), None))
            return reshape(result, (1,) * len(shape_of(x))) if keepdims else result
        axis = tuple(range(len(shape_of(x))))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if len(axes) == 1:
        return vector_norm_along(x, 2 if ord is None else ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError(f"np.linalg.norm: improper number of dimensions to norm{at_user_line()}")
    rows, columns = normalize_axis(axes[0], len(shape_of(x)), "norm"), normalize_axis(axes[1], len(shape_of(x)), "norm")
    if ord is None or ord == "fro":
        return np.sqrt(squares(x, (rows, columns), keepdims))
    if ord in (1, -1, np.inf, -np.inf):
        inner, outer = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = sum(np.abs(x), inner, keepdims=keepdims)
        return (max if ord > 0 else min)(sums, outer if keepdims or outer < inner else outer - 1, keepdims=keepdims)
    if ord in (2, -2, "nuc"):
        values = svdvals(np.moveaxis(x, (rows, columns), (-2, -1)))
        result = sum(values, -1) if ord == "nuc" else (max if ord > 0 else min)(values, -1)
        return expand_dims(result, tuple(sorted((rows, columns)))) if keepdims else result
    raise ValueError(f"np.linalg.norm: Invalid norm order for matrices: {ord!r}{at_user_line()}")


def squares(x: Any, axis: Any, keepdims: bool = False) -> Any:
    """The sum of squared magnitudes."""
    return sum(real(x * conjugate(x)) if dtype_of(x).kind == "c" else x * x, axis, keepdims=keepdims)


def vector_norm_along(x: Any, ord: Any, axis: int, keepdims: bool) -> Any:
    if ord == 2:
        return np.sqrt(squares(x, axis, keepdims))
    if ord in (np.inf, -np.inf):
        return (max if ord > 0 else min)(np.abs(x), axis, keepdims=keepdims)
    if ord == 1:
        return sum(np.abs(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum(astype(arithmetic.not_equal(x, 0), np.real(x).dtype), axis, keepdims=keepdims)
    return sum(np.abs(x) ** float(ord), axis, keepdims=keepdims) ** (1.0 / ord)


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    x = floating(x)
    ndim = len(shape_of(x))
    axes = normalize_axes(axis, ndim, "vector_norm")
    kept = [i for i in range(ndim) if i not in axes]
    merged = reshape(np.transpose(x, [*kept, *axes]), (*(shape_of(x)[i] for i in kept), -1))
    result = vector_norm_along(merged, ord, -1, False)
    return expand_dims(result, axes) if keepdims and axes else result


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    if p in (None, 2, -2):
        values = svdvals(x)
        ratio = values[..., -1] / values[..., 0] if p == -2 else values[..., 0] / values[..., -1]
        # 0 / 0, of a matrix of zeros, is infinite; what is made of nan is nan.
        return np.where(np.isnan(ratio) & ~np.any(np.isnan(x), (-2, -1)), ratio.dtype.type(np.inf), ratio)
    x = floating(x)
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = floating(a), floating(b)
    if axes is not None:
        a = np.moveaxis(a, axes, range(len(shape_of(a)) - len(axes), len(shape_of(a))))
    shape = shape_of(a)[len(shape_of(b)) :]
    return reshape(solve(reshape(a, (-1, math.prod(shape))), ravel(b)), shape)


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    a = floating(a)
    shape = shape_of(a)
    return reshape(inv(reshape(a, (math.prod(shape[:ind]), -1))), shape[ind:] + shape[:ind])
