"""What SciPy has of linear algebra beside NumPy: `lu`, with partial pivoting, and `expm`, over any leading axes.

SciPy is imported where it is first called. Sources: Seeger et al., Auto-differentiating linear algebra (2017), for `lu`; Najfeld and
Havel, Derivatives of the matrix exponential and their computation (1995).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.primitive import General
from functrans.core.types import ArrayType, dtype_of, shape_of
from functrans.ops.decompositions import TALL, WIDE, divided, matrix_type
from functrans.ops.linalg import WELL_CONDITIONED, adjoint, inexact, solve, square_type

INT = np.dtype(np.int32)


def permutation(pivots: Any, rows: int) -> Any:
    """The order of rows that exchanges of rows i and ``pivots[i]``, one after the other, lead to."""
    places = np.arange(rows, dtype=INT)
    order = np.broadcast_to(places, (*shape_of(pivots)[:-1], rows))
    for row in range(shape_of(pivots)[-1]):
        pivot, this = pivots[..., row : row + 1], order[..., row : row + 1]
        other = np.take_along_axis(order, pivot, -1)
        order = np.where(places == row, other, np.where(places == pivot, this, order))
    return order


def factored(a: Any) -> tuple[Any, ...]:
    """LAPACK's factors in one matrix, its exchanges of rows, the order of rows they lead to, and the first pivot that is 0, from 1."""
    from scipy.linalg.lapack import get_lapack_funcs  # here, so that importing this package stays quick

    rows, columns = a.shape[-2:]
    factors = np.array(a, inexact(a.dtype), order="C")
    pivots, info = np.zeros((*a.shape[:-2], min(rows, columns)), INT), np.zeros(a.shape[:-2], INT)
    (getrf,) = get_lapack_funcs(("getrf",), (factors,))
    for place in np.ndindex(a.shape[:-2]) if factors.size else ():
        factors[place], pivots[place], info[place] = getrf(factors[place])
    return factors, pivots, np.array(permutation(pivots, rows)), info[()]


def lu_types(a: ArrayType) -> tuple[ArrayType, ...]:
    lead, rows, columns, dtype = matrix_type(a)
    return (
        ArrayType(a.shape, dtype),
        ArrayType((*lead, min(rows, columns)), INT),
        ArrayType((*lead, rows), INT),
        ArrayType(lead, INT),
    )


def triangles(factors: Any) -> tuple[Any, Any]:
    """L, with a diagonal of ones, and U."""
    rows, small = shape_of(factors)[-2], min(shape_of(factors)[-2:])
    return np.tril(factors[..., :small], -1) + np.eye(rows, small, dtype=dtype_of(factors)), np.triu(factors[..., :small, :])


def packed(lower: Any, upper: Any) -> Any:
    """What is below the diagonal of one, and above of the other, in one matrix, as columns or rows of the longer go on."""
    rows, small, columns = *shape_of(lower)[-2:], shape_of(upper)[-1]
    lower, upper = np.tril(lower, -1), np.triu(upper)
    corner = lower[..., :small, :] + upper[..., :small]
    if columns > small:
        return np.concatenate([corner, upper[..., small:]], axis=-1)
    return np.concatenate([corner, lower[..., small:, :]], axis=-2) if rows > small else corner


def lu_jvp(primals: Any, tangents: Any, out: Any, active: int) -> tuple[Any, ...]:
    """``dL = Y - L triu(C)`` and ``dU = Z - tril(C, -1) U``, where ``Z = L^-1 P dA``, ``Y = P dA U^-1`` and ``C = L^-1 Y``.

    Inverses are those of the square parts.
    """
    lower, upper = triangles(out[0])
    small = min(shape_of(out[0])[-2:])
    x = np.take_along_axis(tangents[0], out[2][..., None], -2)
    y, z = divided(x[..., :small], upper[..., :small]), solve(lower[..., :small, :], x[..., :small, :])
    c = divided(z[..., :small], upper[..., :small])
    return packed(y - lower @ np.triu(c), z - np.tril(c, -1) @ upper), None, None, None


def lu_pullback(cts: Any, operands: Any, out: Any, active: int) -> tuple[Any]:
    """The transpose of `lu_jvp`."""
    lower, upper = triangles(out[0])
    small = min(shape_of(out[0])[-2:])
    ct = np.conjugate(cts[0])
    to_lower, to_upper = np.tril(ct[..., :small], -1), np.triu(ct[..., :small, :])
    to_c = -np.tril(to_upper @ adjoint(upper), -1) - np.triu(adjoint(lower) @ to_lower)
    inverse = adjoint(upper[..., :small])
    to_z, to_y = beside(divided(to_c, inverse), to_upper), divided(to_lower, inverse)
    from_z = solve(adjoint(lower[..., :small, :]), to_z)
    rows, columns = shape_of(ct)[-2:]
    to_x = from_z if rows == small else np.concatenate([from_z, np.zeros_like(ct[..., small:, :])], axis=-2)
    to_x = to_x + (to_y if columns == small else np.concatenate([to_y, np.zeros_like(ct[..., small:])], axis=-1))
    return (np.conjugate(np.take_along_axis(to_x, np.argsort(out[2], axis=-1)[..., None], -2)),)


def beside(square: Any, whole: Any) -> Any:
    """A matrix added to the columns of another that come first."""
    small = shape_of(square)[-1]
    front = whole[..., :small] + square
    return front if shape_of(whole)[-1] == small else np.concatenate([front, whole[..., small:]], axis=-1)


lu = General(
    "lu",
    factored,
    types=lu_types,
    jvp=lu_jvp,
    pullback=lu_pullback,
    batch=lambda operands, batched, size: lu(*operands),
    multiple=True,
    takes_none=True,
    samples=lambda: [((x,), {}) for x in (WELL_CONDITIONED[:, ::-1], TALL, WIDE)],
)


def exponential(a: Any) -> Any:
    """SciPy's, of float32 by float32."""
    from scipy.linalg import expm  # here, so that importing this package stays quick

    return expm(a).astype(inexact(a.dtype), copy=False) if a.size else np.zeros(a.shape, inexact(a.dtype))


def expm_derivative(a: Any, da: Any) -> Any:
    """The derivative in a direction, which is a block of the exponential of a triangular block matrix (Najfeld and Havel, 3.2)."""
    size = shape_of(a)[-1]
    blocks = np.concatenate([np.concatenate([a, da], axis=-1), np.concatenate([np.zeros_like(a), a], axis=-1)], axis=-2)
    return expm(blocks)[..., :size, size:]


expm = General(
    "expm",
    exponential,
    types=square_type,
    jvp=lambda primals, tangents, out, active: expm_derivative(primals[0], tangents[0]),
    pullback=lambda ct, operands, out, active: (np.conjugate(expm_derivative(adjoint(operands[0]), np.conjugate(ct))),),
    batch=lambda operands, batched, size: expm(*operands),
    samples=lambda: [((WELL_CONDITIONED / 3,), {})],
)
