"""NumPy's decompositions on traced values, and what is made of them: ranks and least squares.

What vectors and equal eigenvalues leave open, and what derivatives are then, is in `functrans/ops/decompositions.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import dtype_of, result_dtype, shape_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.reduction import all, count_nonzero, floating, max, sum
from functrans.numpy.registry import NO_VALUE, implements
from functrans.numpy.sorting import argsort, sort
from functrans.numpy.structure import astype, broadcast_values
from functrans.ops import decompositions as ops

# NumPy gives these classes no public names.
EigResult: Any = type(np.linalg.eig(np.ones((1, 1))))
EighResult: Any = type(np.linalg.eigh(np.ones((1, 1))))
QRResult: Any = type(np.linalg.qr(np.ones((1, 1))))
SVDResult: Any = type(np.linalg.svd(np.ones((1, 1))))


def triangle_of(UPLO: str) -> str:
    """``"L"`` or ``"U"``."""
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"np.linalg.eigh: UPLO must be 'L' or 'U', got {UPLO!r}{at_user_line()}")
    return UPLO.upper()


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    """Derivatives are those of one triangle, as NumPy reads it."""
    return EighResult(*ops.eigh(floating(a), UPLO=triangle_of(UPLO)))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return ops.eigvalsh(floating(a), UPLO=triangle_of(UPLO))


@implements(np.linalg.eig)
def eig(a: Any) -> Any:
    """Complex, also where NumPy gives real numbers because all eigenvalues are: a dtype does not depend on values."""
    return EigResult(*ops.eig(floating(a)))


@implements(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """Complex, as `eig` is."""
    return ops.eigvals(floating(a))


@implements(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    a = floating(a)
    if not compute_uv:
        return sort(np.abs(eigvalsh(a)))[..., ::-1] if hermitian else svdvals(a)
    if not hermitian:
        return SVDResult(*ops.svd(a, full_matrices=bool(full_matrices)))
    w, v = eigh(a)
    order = argsort(np.abs(w))[..., ::-1]
    w, v = np.take_along_axis(w, order, -1), np.take_along_axis(v, order[..., None, :], -1)
    return SVDResult(v, np.abs(w), ops.adjoint(v * np.copysign(1.0, w)[..., None, :]))


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    return ops.svdvals(floating(x))


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "complete", "r"):
        raise UnsupportedError(
            f"np.linalg.qr: mode={mode!r} is not supported on traced values\n  Remedy: use 'reduced', 'complete' or 'r'.{at_user_line()}"
        )
    q, r = ops.qr(floating(a), mode="complete" if mode == "complete" else "reduced")
    return r if mode == "r" else QRResult(q, r)


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = NO_VALUE) -> Any:
    """Derivatives are those among matrices of the same rank."""
    if rcond is not None and rtol is not NO_VALUE:
        raise ValueError(f"np.linalg.pinv: `rtol` and `rcond` can't be both set.{at_user_line()}")
    a = floating(a)
    if rtol is None:
        rcond = ops.precision(a)
    elif rcond is None:
        rcond = 1e-15 if rtol is NO_VALUE else rtol
    a = ops.of_triangle(a, "L") if hermitian else a
    return ops.pinv(a, broadcast_values(floating(rcond), shape_of(a)[:-2]))


@implements(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    if tol is not None and rtol is not None:
        raise ValueError(f"np.linalg.matrix_rank: `tol` and `rtol` can't be both set.{at_user_line()}")
    A = floating(A)
    if len(shape_of(A)) < 2:
        return astype(~all(A == 0), np.intp)
    s = svd(A, compute_uv=False, hermitian=hermitian)
    if tol is None:
        rtol = ops.precision(A) if rtol is None else floating(rtol)[..., None]
        tol = max(s, -1, keepdims=True, initial=0) * rtol
    else:
        tol = floating(tol)[..., None]
    return count_nonzero(s > tol, -1)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """The residuals of a tall matrix are there whatever its rank, which NumPy looks at: a shape does not depend on values.

    Derivatives of the solution are those of the one of least norm, among matrices of the same rank.
    """
    a, b = floating(a), floating(b)
    if len(shape_of(a)) != 2 or len(shape_of(b)) not in (1, 2) or shape_of(a)[0] != shape_of(b)[0]:
        raise np.linalg.LinAlgError(f"np.linalg.lstsq: shapes {shape_of(a)} and {shape_of(b)} do not match{at_user_line()}")
    rows, columns = shape_of(a)
    dtype = result_dtype(dtype_of(a), dtype_of(b))
    a, right = astype(a, dtype, copy=False), astype(b if len(shape_of(b)) == 2 else b[:, None], dtype, copy=False)
    rcond = ops.precision(a) if rcond is None else float(rcond)
    rcond = float(np.finfo(dtype).eps) if rcond < 0 else rcond  # as LAPACK takes it
    x, s = ops.lstsq(a, right, rcond=rcond), svdvals(a)
    away = right - a @ x
    residuals = sum(np.real(np.conjugate(away) * away), 0) if rows > columns else np.zeros(0, dtype_of(s))
    rank = astype(count_nonzero(s > rcond * max(s, initial=0)), np.int32)
    return x if len(shape_of(b)) == 2 else x[:, 0], residuals, rank, s
