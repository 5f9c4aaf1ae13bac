"""Decompositions: `eigh`, `eig`, `svd`, `qr`, `pinv` and least squares, over any leading axes.

Vectors are not determined altogether: their signs or phases are free, so are bases of null spaces, and of the space that belongs to
equal eigenvalues. Derivatives are those of functions of them that do not depend on the choice, which are all that have any.

Where eigenvalues, or singular values, differ by no more than rounding, vectors have no derivative, but what does not depend on
their choice may have one. Functions of the values alone have theirs. In reverse mode so have functions of the vectors alone, such as
projections on whole eigenspaces: a quotient by the difference is 0. What needs both, ``f(A) = V @ diag(f(w)) @ V.T`` or the second
derivative of a sum over eigenvalues, cannot be told from what rules are given, and is nan, as is the tangent of such vectors.
`pinv`, `expm`, `solve` and products of matrices have rules of their own, to which equal eigenvalues are no matter.

Rules are for the pairing of complex matrices by the real part of ``sum(conj(x) * y)``; `of_pairing` makes of them what the tape asks.

Sources: Giles, Collected matrix derivative results for forward and reverse mode (2008); Townsend, Differentiating the singular
value decomposition (2016); Seeger et al., Auto-differentiating linear algebra (2017); Walter and Lehmann, Algorithmic
differentiation of linear algebra functions with application in optimum experimental design (2010); for `pinv` Golub and Pereyra,
The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate (1973).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.primitive import Composite, General
from functrans.core.types import ArrayType, Shape, dtype_of, shape_of
from functrans.ops.linalg import (
    POSITIVE_DEFINITE,
    WELL_CONDITIONED,
    adjoint,
    aligned,
    half_lower,
    inexact,
    solve,
    square_type,
    swap,
)
from functrans.ops.recomputation import with_zeros

TALL = np.array([[[1.0, 0.5], [-0.3, 1.2], [0.8, -0.6]], [[0.2, 1.1], [1.5, -0.4], [0.3, 0.9]]])
WIDE = swap(TALL)


def of_pairing(rule: Callable[..., Any]) -> Callable[..., tuple[Any]]:
    """The pullback, for the pairing ``Re(sum(ct * tangent))``, of a rule for ``Re(sum(conj(ct) * tangent))``."""

    def pullback(ct: Any, operands: Any, out: Any, active: int, **params: Any) -> tuple[Any]:
        conjugate = tuple(None if part is None else np.conjugate(part) for part in ct)
        return (np.conjugate(rule(conjugate, operands[0], out, **params)),)

    return pullback


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the magnitudes of numbers of `dtype`."""
    return np.zeros((), inexact(dtype)).real.dtype


def matrix_type(a: ArrayType) -> tuple[Shape, int, int, np.dtype[Any]]:
    """Leading axes, rows, columns and the dtype of results; raises as NumPy does."""
    if len(a.shape) < 2:
        raise np.linalg.LinAlgError(f"{a} given: matrices must be at least two-dimensional")
    return a.shape[:-2], *a.shape[-2:], inexact(a.dtype)


def diagonal(x: Any) -> Any:
    """The diagonal of each matrix."""
    return np.diagonal(x, axis1=-2, axis2=-1)


def diagonal_matrix(x: Any) -> Any:
    """A matrix for each vector."""
    return x[..., None] * np.eye(shape_of(x)[-1], dtype=dtype_of(x))


def quotient(numerator: Any, x: Any, values: Any, is_determined: Any) -> Any:
    """``numerator / x``; where `x` is no more than rounding errors of `values`, which are along the last axis, 0 or nan.

    That is 0 where it is determined, by an array of truth values or one for all.
    """
    negligible = float(np.finfo(dtype_of(values)).eps) * np.sum(np.abs(values), axis=-1)
    unresolved = np.abs(x) <= np.reshape(
        negligible, shape_of(negligible) + (1,) * (len(shape_of(x)) - len(shape_of(values)) + 1)
    )
    other = np.where(is_determined, 0, np.nan).astype(real_dtype(dtype_of(values)))
    return np.where(unresolved, other, numerator / np.where(unresolved, 1, x))


def neither(numerator: Any, ct: Any) -> Any:
    """Where ``[i, j]`` and ``[j, i]`` of a numerator are 0, and the cotangents of both values, if there are any."""
    zero = numerator == 0
    zero = zero & swap(zero)
    return zero if ct is None else zero & (ct[..., None, :] == 0) & (ct[..., :, None] == 0)


def over_gaps(numerator: Any, values: Any, is_determined: Any) -> Any:
    """``numerator[i, j] / (values[j] - values[i])``, 0 on the diagonal; see `quotient`."""
    same = np.eye(shape_of(values)[-1], dtype=bool)
    numerator, gaps = np.where(same, 0, numerator), values[..., None, :] - values[..., :, None]
    return quotient(numerator, gaps, values, is_determined | same)


def over_sums(numerator: Any, values: Any, is_determined: Any) -> Any:
    """``numerator[i, j] / (values[j] + values[i])``; see `quotient`."""
    return quotient(numerator, values[..., None, :] + values[..., :, None], values, is_determined)


def over_columns(numerator: Any, values: Any, is_determined: Any) -> Any:
    """``numerator[i, j] / values[j]``; see `quotient`."""
    columns = np.broadcast_to(values[..., None, :], shape_of(numerator))
    return quotient(numerator, columns, values, is_determined)


def hermitian(x: Any) -> Any:
    """The Hermitian part of each matrix."""
    return (x + adjoint(x)) / 2


# What NumPy reads of a matrix that is taken to be Hermitian: one triangle, and the real part of the diagonal.
def of_triangle(x: Any, UPLO: str) -> Any:
    """The Hermitian matrices of which one triangle is given."""
    half = half_lower(x if UPLO == "L" else adjoint(x))
    return half + adjoint(half)


def to_triangle(x: Any, UPLO: str) -> Any:
    """The transpose of `of_triangle`."""
    x = hermitian(x)
    lower = np.tril(x) + np.tril(x, -1)
    return lower if UPLO == "L" else adjoint(lower)


def eigh_types(a: ArrayType, UPLO: str) -> tuple[ArrayType, ArrayType]:
    vectors = square_type(a)
    return ArrayType(a.shape[:-1], real_dtype(a.dtype)), vectors


def eigh_jvp(primals: Any, tangents: Any, out: Any, active: int, UPLO: str) -> tuple[Any, Any]:
    """``dw = diag P`` and ``dV = V (F * P)``, where ``P = V^H dA V`` and ``F`` is the reciprocal of the gaps (Giles, 3.1)."""
    w, v = out
    turned = adjoint(v) @ of_triangle(tangents[0], UPLO) @ v
    return np.real(diagonal(turned)), v @ over_gaps(turned, w, turned == 0)


def eigh_rule(cts: Any, a: Any, out: Any, UPLO: str) -> Any:
    """The transpose of `eigh_jvp`: ``V (diag(dw) + F * V^H dV) V^H``."""
    w, v = out
    if cts[1] is None:
        return to_triangle((v * cts[0][..., None, :]) @ adjoint(v), UPLO)
    ct_w, ct_v = with_zeros(cts, out)
    turned = adjoint(v) @ ct_v
    inner = diagonal_matrix(ct_w) + over_gaps(turned, w, cts[0] is None or neither(turned, ct_w))
    return to_triangle(v @ inner @ adjoint(v), UPLO)


eigh = General(
    "eigh",
    lambda a, UPLO: tuple(np.linalg.eigh(a, UPLO)),
    types=eigh_types,
    jvp=eigh_jvp,
    pullback=of_pairing(eigh_rule),
    batch=lambda operands, batched, size, UPLO: eigh(*operands, UPLO=UPLO),
    multiple=True,
    takes_none=True,
    samples=lambda: [((POSITIVE_DEFINITE,), {"UPLO": "L"}), ((WELL_CONDITIONED,), {"UPLO": "U"})],
)
eigvalsh = Composite(
    "eigvalsh",
    lambda a, UPLO: np.linalg.eigvalsh(a, UPLO),
    lambda a, UPLO: eigh(a, UPLO=UPLO)[0],
    shape=lambda shape, UPLO: shape[:-1],
    dtype=lambda dtype, UPLO: real_dtype(dtype),
    batch=lambda params, ranks, size: params,
    samples=lambda: [((POSITIVE_DEFINITE,), {"UPLO": "L"})],
)


def in_complex(a: Any) -> tuple[Any, Any]:
    """`np.linalg.eig`, complex even where all eigenvalues are real."""
    w, v = np.linalg.eig(a)
    dtype = np.result_type(v, np.complex64)
    return w.astype(dtype), v.astype(dtype)


def complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of eigenvalues."""
    return np.result_type(inexact(dtype), np.complex64)


def eig_types(a: ArrayType) -> tuple[ArrayType, ArrayType]:
    shape, dtype = square_type(a).shape, complex_dtype(a.dtype)
    return ArrayType(shape[:-1], dtype), ArrayType(shape, dtype)


def eig_jvp(primals: Any, tangents: Any, out: Any, active: int) -> tuple[Any, Any]:
    """``dw = diag P`` and ``dV = V (F * P)``, where ``P = V^-1 dA V``, less what changes the lengths of vectors (Giles, 3.1)."""
    w, v = out
    turned = solve(v, tangents[0] @ v)
    moved = v @ over_gaps(turned, w, turned == 0)
    return diagonal(turned), moved - v * np.sum(np.real(np.conjugate(v) * moved), axis=-2, keepdims=True)


def eig_rule(cts: Any, a: Any, out: Any) -> Any:
    """The transpose of `eig_jvp`."""
    w, v = out
    if cts[1] is None:
        return solve(adjoint(v), cts[0][..., :, None] * adjoint(v))
    ct_w, ct_v = with_zeros(cts, out)
    ct = ct_v - v * np.sum(np.real(np.conjugate(v) * ct_v), axis=-2, keepdims=True)
    turned = adjoint(v) @ ct
    inner = diagonal_matrix(ct_w) + over_gaps(turned, np.conjugate(w), cts[0] is None or neither(turned, ct_w))
    return solve(adjoint(v), inner @ adjoint(v))


eig = General(
    "eig",
    in_complex,
    types=eig_types,
    jvp=eig_jvp,
    pullback=of_pairing(eig_rule),
    batch=lambda operands, batched, size: eig(*operands),
    multiple=True,
    takes_none=True,
    samples=lambda: [((WELL_CONDITIONED @ WELL_CONDITIONED,), {})],
)
eigvals = Composite(
    "eigvals",
    lambda a: np.linalg.eigvals(a).astype(complex_dtype(dtype_of(a))),
    lambda a: eig(a)[0],
    shape=lambda shape: shape[:-1],
    dtype=complex_dtype,
    batch=lambda params, ranks, size: params,
    samples=lambda: [((WELL_CONDITIONED,), {})],
)


def svd_types(a: ArrayType, full_matrices: bool) -> tuple[ArrayType, ArrayType, ArrayType]:
    lead, rows, columns, dtype = matrix_type(a)
    small = min(rows, columns)
    left, right = (rows, columns) if full_matrices else (small, small)
    return (
        ArrayType((*lead, rows, left), dtype),
        ArrayType((*lead, small), real_dtype(dtype)),
        ArrayType((*lead, right, columns), dtype),
    )


def split_vectors(a: Any, u: Any, vh: Any) -> tuple[Any, ...]:
    """Left and right vectors that belong to singular values, and those beyond, as columns."""
    small, v = min(shape_of(a)[-2:]), adjoint(vh)
    return u[..., :small], v[..., :small], u[..., small:], v[..., small:]


def svd_jvp(primals: Any, tangents: Any, out: Any, active: int, full_matrices: bool) -> tuple[Any, Any, Any]:
    """``ds = Re diag P``, where ``P = U^H dA V``; its Hermitian and its other part turn the vectors within their spaces.

    They do so over differences and sums of singular values; what of ``dA V`` and ``dA^H U`` is outside of the spaces is divided by
    singular values (Townsend). Vectors beyond turn as they must to stay orthogonal.
    """
    (a,), (da,), (u, s, vh) = primals, tangents, out
    u, v, u_beyond, v_beyond = split_vectors(a, u, vh)
    to_u, to_v = da @ v, adjoint(da) @ u
    turned = adjoint(u) @ to_u
    is_determined = neither(turned, None)
    even = over_gaps(hermitian(turned), s, is_determined)
    odd = over_sums((turned - adjoint(turned)) / 2, s, is_determined)
    du = moved_vectors(u, even + odd, to_u, s, u_beyond)
    dv = moved_vectors(v, even - odd, to_v, s, v_beyond)
    return du, np.real(diagonal(turned)), adjoint(dv)


def moved_vectors(u: Any, turn: Any, to_u: Any, s: Any, beyond: Any) -> Any:
    """The tangent of vectors, and of those beyond."""
    outward = over_columns(to_u, s, to_u == 0)
    moved = u @ (turn - adjoint(u) @ outward) + outward
    return np.concatenate([moved, -u @ (adjoint(outward) @ beyond)], axis=-1) if shape_of(beyond)[-1] else moved


def svd_rule(cts: Any, a: Any, out: Any, full_matrices: bool) -> Any:
    """The transpose of `svd_jvp`."""
    u, v, u_beyond, v_beyond = split_vectors(a, out[0], out[2])
    s, small = out[1], shape_of(u)[-1]
    if cts[0] is None and cts[2] is None:
        return (u * cts[1][..., None, :]) @ adjoint(v)
    ct_u, ct_s, ct_v = with_zeros(cts, out)
    ct_v = adjoint(ct_v)
    from_u, from_v = adjoint(u) @ ct_u[..., :small], adjoint(v) @ ct_v[..., :small]
    is_determined = cts[1] is None or neither(from_u, ct_s) & neither(from_v, None)
    even = hermitian(over_gaps(from_u + from_v, s, is_determined))
    odd = over_sums(from_u - from_v, s, is_determined)
    inner = even + (odd - adjoint(odd)) / 2 + diagonal_matrix(ct_s)
    to_u = outward_cotangent(u, from_u, ct_u, s, u_beyond, cts[1])
    to_v = outward_cotangent(v, from_v, ct_v, s, v_beyond, cts[1])
    return (u @ inner + to_u) @ adjoint(v) + u @ adjoint(to_v)


def outward_cotangent(u: Any, inward: Any, ct: Any, s: Any, beyond: Any, ct_s: Any) -> Any:
    """The cotangent of ``dA V``."""
    small = shape_of(u)[-1]
    outward = ct[..., :small] - u @ inward
    if shape_of(beyond)[-1]:
        outward = outward - beyond @ (adjoint(ct[..., small:]) @ u)
    return over_columns(outward, s, ct_s is None or (outward == 0) & (ct_s[..., None, :] == 0))


svd = General(
    "svd",
    lambda a, full_matrices: tuple(np.linalg.svd(a, full_matrices)),
    types=svd_types,
    jvp=svd_jvp,
    pullback=of_pairing(svd_rule),
    batch=lambda operands, batched, size, full_matrices: svd(*operands, full_matrices=full_matrices),
    multiple=True,
    takes_none=True,
    samples=lambda: [((x,), {"full_matrices": full}) for full in (False, True) for x in (WELL_CONDITIONED, TALL, WIDE)],
)
svdvals = Composite(
    "svdvals",
    lambda a: np.linalg.svd(a, compute_uv=False),
    lambda a: svd(a, full_matrices=False)[1],
    shape=lambda shape: (*shape[:-2], min(shape[-2:])),
    dtype=real_dtype,
    batch=lambda params, ranks, size: params,
    samples=lambda: [((TALL,), {})],
)


def qr_types(a: ArrayType, mode: str) -> tuple[ArrayType, ArrayType]:
    lead, rows, columns, dtype = matrix_type(a)
    inner = rows if mode == "complete" else min(rows, columns)
    return ArrayType((*lead, rows, inner), dtype), ArrayType((*lead, inner, columns), dtype)


def divided(x: Any, r: Any) -> Any:
    """``x r^-1``."""
    return swap(solve(swap(r), swap(x)))


def qr_jvp(primals: Any, tangents: Any, out: Any, active: int, mode: str) -> tuple[Any, Any]:
    """``dQ = X - Q (C - W)`` and ``dR = Q^H dA - W R``, where ``X = dA R^-1``, ``C = Q^H X`` and W is its part that turns Q.

    W is made of the lower triangle of C, so that R stays triangular, with a diagonal that stays real (Walter and Lehmann). Of a wide
    matrix, the columns in front make Q. Columns of Q beyond those of the matrix turn as they must to stay orthogonal.
    """
    (a,), (da,), (q, r) = primals, tangents, out
    small = min(shape_of(a)[-2:])
    q, beyond, r = q[..., :small], q[..., small:], r[..., :small, :]
    x = divided(da[..., :small], r[..., :small])
    c = adjoint(q) @ x
    turn = half_lower(c)
    turn = turn - adjoint(turn)
    dq, dr = x - q @ (c - turn), np.triu(adjoint(q) @ da - turn @ r)
    if not shape_of(beyond)[-1]:
        return dq, dr
    below = np.zeros_like(dr, shape=(*shape_of(dr)[:-2], shape_of(beyond)[-1], shape_of(dr)[-1]))
    return np.concatenate([dq, -q @ (adjoint(x) @ beyond)], axis=-1), np.concatenate([dr, below], axis=-2)


def qr_rule(cts: Any, a: Any, out: Any, mode: str) -> Any:
    """The transpose of `qr_jvp`."""
    small, columns = min(shape_of(a)[-2:]), shape_of(a)[-1]
    q, beyond, r = out[0][..., :small], out[0][..., small:], out[1][..., :small, :]
    ct_q, ct_r = with_zeros(cts, out)
    ct_q, ct_beyond, ct_r = ct_q[..., :small], ct_q[..., small:], np.triu(ct_r[..., :small, :])
    inner = adjoint(q) @ ct_q
    turn = inner - ct_r @ adjoint(r)
    ct_x = ct_q + q @ (half_lower(turn - adjoint(turn)) - inner)
    if shape_of(beyond)[-1]:
        ct_x = ct_x - beyond @ (adjoint(ct_beyond) @ q)
    in_front = divided(ct_x, adjoint(r[..., :small]))
    if columns > small:
        behind = np.zeros_like(in_front, shape=(*shape_of(in_front)[:-1], columns - small))
        in_front = np.concatenate([in_front, behind], axis=-1)
    return in_front + q @ ct_r


qr = General(
    "qr",
    lambda a, mode: tuple(np.linalg.qr(a, mode)),
    types=qr_types,
    jvp=qr_jvp,
    pullback=of_pairing(qr_rule),
    batch=lambda operands, batched, size, mode: qr(*operands, mode=mode),
    multiple=True,
    takes_none=True,
    samples=lambda: [((x,), {"mode": mode}) for mode in ("reduced", "complete") for x in (WELL_CONDITIONED, TALL, WIDE)],
)


def pinv_type(a: ArrayType, rcond: ArrayType) -> ArrayType:
    lead, rows, columns, dtype = matrix_type(a)
    return ArrayType((*lead, columns, rows), dtype)


def is_wide(a: Any) -> bool:
    """Whether matrices have more columns than rows."""
    return shape_of(a)[-1] > shape_of(a)[-2]


def pinv_tangent(a: Any, da: Any, p: Any) -> Any:
    """``-P dA P + P P^H dA^H (I - A P) + (I - P A) dA^H P^H P``, for matrices near `a` of the same rank (Golub and Pereyra, 4.12)."""
    if is_wide(a):  # so that products are those of the small side
        return adjoint(pinv_tangent(adjoint(a), adjoint(da), adjoint(p)))
    ph, dah = adjoint(p), adjoint(da)
    left, right = (p @ ph) @ dah, (dah @ ph) @ p
    return left - (left @ a) @ p + right - p @ (a @ right) - p @ (da @ p)


def pinv_cotangent(ct: Any, a: Any, p: Any) -> Any:
    """The transpose of `pinv_tangent`."""
    if is_wide(a):
        return adjoint(pinv_cotangent(adjoint(ct), adjoint(a), adjoint(p)))
    ph, cth = adjoint(p), adjoint(ct)
    inner = p @ cth
    return (cth - a @ inner) @ (p @ ph) + ph @ (inner - (inner @ p) @ a) - ph @ (ct @ ph)


# a: [..., m, n]; rcond: [...], the singular values to take for 0, as parts of the largest.
pinv = General(
    "pinv",
    lambda a, rcond: np.linalg.pinv(a, rcond),
    types=pinv_type,
    jvp=lambda primals, tangents, out, active: pinv_tangent(primals[0], tangents[0], out) if active & 1 else np.zeros_like(out),
    pullback=lambda ct, operands, out, active: (np.conjugate(pinv_cotangent(np.conjugate(ct), operands[0], out)), None),
    batch=lambda operands, batched, size: pinv(*aligned(operands, batched, size)),
    samples=lambda: [((x, np.array([1e-15, 1e-14])), {}) for x in (TALL, WIDE)],
)


def least_squares(a: Any, b: Any, rcond: float) -> Any:
    """The solutions of `np.linalg.lstsq`, which takes one matrix at a time."""
    solution = np.empty((*a.shape[:-2], a.shape[-1], b.shape[-1]), np.result_type(inexact(a.dtype), b.dtype))
    for place in np.ndindex(a.shape[:-2]):
        solution[place] = np.linalg.lstsq(a[place], b[place], rcond)[0]
    return solution


def precision(a: Any) -> float:
    """The part of the largest singular value that others are taken for 0 below: the size times the precision of numbers."""
    return float(np.finfo(inexact(dtype_of(a))).eps) * max(shape_of(a)[-2:], default=0)


# a: [..., m, n], b: [..., m, k], with the same leading axes. Derivatives are those of the solution of least norm.
lstsq = Composite(
    "lstsq",
    least_squares,
    lambda a, b, rcond: pinv(a, np.full(shape_of(a)[:-2], rcond)) @ b,
    shape=lambda a, b, rcond: (*a[:-2], a[-1], b[-1]),
    dtype=lambda a, b, rcond: np.result_type(inexact(a), b),
    batch=lambda params, ranks, size: params,
    samples=lambda: [((x, x @ swap(x)), {"rcond": 1e-14}) for x in (TALL, WIDE)],
)
