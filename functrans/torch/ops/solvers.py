"""Functions of ``torch.linalg`` that follow from others: LU, the exponential, solvers that report instead of raising.

LU is elimination step by step wherever its derivative is asked for, so that it has derivatives of any order; pivots are those
LAPACK finds. The exponential is scaling and squaring with the Padé approximant of order 13 of Higham, The scaling and squaring
method for the matrix exponential revisited (2005).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import lapack

from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.torch.ops import linalg
from functrans.torch.ops.linalg import LinAlgError, checked, entered, triangular
from functrans.torch.ops.table import define, function, install, returned
from functrans.torch.tensor import Tensor, current_edge, made

__all__ = [
    "cholesky_ex", "eigvals", "householder_product", "inv_ex", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matrix_exp",
    "matrix_rank", "solve_ex", "vander",
]  # fmt: skip


def values_of(x: Any, name: str) -> Any:
    """The numbers of an array, of which pivots are found."""
    return np.asarray(x.peek(name) if isinstance(x, Tracer) else x)


def each_matrix(function: Callable[[Any], Any], a: Any) -> Any:
    """`function`, which gives a row or a number, of every matrix."""
    rows = [function(matrix) for matrix in a.reshape(-1, *a.shape[-2:])]
    return np.array(rows, np.int32).reshape((*a.shape[:-2], *np.shape(rows[0] if rows else ())))


def factorized(a: Any) -> tuple[Any, Any]:
    """LAPACK's pivots of a matrix, from 1, and the place of the first pivot that is 0, or 0."""
    (getrf,) = lapack.get_lapack_funcs(("getrf",), (a,))
    _, pivots, info = getrf(a)
    return pivots + 1, info


def pivots_of(a: Any) -> Any:
    return each_matrix(lambda matrix: factorized(matrix)[0], a)


def permutation(pivots: Any, rows: int) -> Any:
    """The rows of a matrix in the order that exchanges, one after the other, put them in."""
    flat = pivots.reshape(-1, pivots.shape[-1])
    orders = np.tile(np.arange(rows), (len(flat), 1))
    for order, exchanges in zip(orders, flat):
        for place, other in enumerate(exchanges):
            order[place], order[other - 1] = order[other - 1], order[place]
    return orders.reshape(*pivots.shape[:-1], rows)


def eliminated(a: Any) -> Any:
    """L and U of matrices whose rows are in order, in one matrix: U, and below its diagonal L."""
    m, n = shape_of(a)[-2:]
    lower, upper = [], []
    for k in range(min(m, n)):
        row = a[..., k : k + 1, :]
        pivot = row[..., k : k + 1]
        column = a[..., :, k : k + 1] / pivot
        below = (np.arange(m) > k)[:, None]
        column = np.where(below, column, np.zeros((), dtype_of(a)))
        a = a - column * row
        lower.append(column)
        upper.append(np.where(np.arange(n) >= k, row, np.zeros((), dtype_of(a))))
    packed = np.concatenate(upper, axis=-2)
    if m > n:
        packed = np.concatenate([packed, np.zeros((*shape_of(a)[:-2], m - n, n), dtype_of(a))], axis=-2)
    left = np.concatenate(lower, axis=-1)
    if n > m:
        left = np.concatenate([left, np.zeros((*shape_of(a)[:-2], m, n - m), dtype_of(a))], axis=-1)
    return packed + left


def checked_pivot(pivot: bool, name: str) -> None:
    if not pivot:
        raise RuntimeError(f"linalg.{name}: LU without pivoting is not implemented on the CPU{at_user_line()}")


def packed(A: Any, name: str) -> tuple[Any, Any]:
    """L and U in one matrix, and pivots."""
    checked(A, name, False)
    raw = values_of(A, name)
    if not raw.size:
        return A, np.zeros((*raw.shape[:-2], min(raw.shape[-2:])), np.int32)
    pivots = pivots_of(raw)
    order = permutation(pivots, raw.shape[-2])
    return eliminated(np.take_along_axis(A, order[..., None], -2)), pivots


Factor = returned("linalg_lu_factor", ["LU", "pivots"])
FactorEx = returned("linalg_lu_factor_ex", ["LU", "pivots", "info"])
LU = returned("linalg_lu", ["P", "L", "U"])
Unpacked = returned("lu_unpack", ["P", "L", "U"])


def lu_factor_of(A: Any, *, pivot: bool = True) -> Any:
    checked_pivot(pivot, "lu_factor")
    return Factor(*packed(A, "lu_factor"))


lu_factor = entered("lu_factor", lu_factor_of, "LinalgLuFactorExBackward0")


def lu_factor_ex_of(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    checked_pivot(pivot, "lu_factor_ex")
    raw = values_of(checked(A, "lu_factor_ex", False), "lu_factor_ex")
    info = each_matrix(lambda matrix: factorized(matrix)[1], raw)
    if check_errors and np.any(info):
        raise LinAlgError(f"torch.linalg.lu_factor_ex: U[{info.max()},{info.max()}] is zero{at_user_line()}")
    return FactorEx(*packed(A, "lu_factor_ex"), info)


lu_factor_ex = entered("lu_factor_ex", lu_factor_ex_of, "LinalgLuFactorExBackward0")


def parts(data: Any, pivots: Any) -> tuple[Any, Any, Any]:
    """P, L and U of what `lu_factor` gives."""
    m, n = shape_of(data)[-2:]
    k = min(m, n)
    order = permutation(values_of(pivots, "lu_unpack"), m)
    lower = np.tril(data[..., :, :k], -1) + np.eye(m, k, dtype=dtype_of(data))
    rows = np.eye(m, dtype=dtype_of(data))[order]
    return np.swapaxes(rows, -1, -2), lower, np.triu(data[..., :k, :])


def lu_of(A: Any, *, pivot: bool = True) -> Any:
    checked_pivot(pivot, "lu")
    return LU(*parts(*packed(A, "lu")))


lu = entered("lu", lu_of, "LinalgLuBackward0")


def lu_unpacked(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    p, lower, upper = parts(LU_data, LU_pivots)
    none = np.zeros(0, dtype_of(LU_data))
    return Unpacked(p if unpack_pivots else none, lower if unpack_data else none, upper if unpack_data else none)


define("lu_unpack", lu_unpacked, method=False)


def lu_solved(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    p, lower, upper = parts(LU, pivots)
    if not left:
        turned = lu_solved(LU, pivots, np.conjugate(np.swapaxes(B, -1, -2)), adjoint=not adjoint)
        return np.conjugate(np.swapaxes(turned, -1, -2))
    if adjoint:
        lower, upper = (np.conjugate(np.swapaxes(each, -1, -2)) for each in (lower, upper))
        return p @ triangular(lower, triangular(upper, B, upper=False), upper=True)
    return triangular(upper, triangular(lower, np.swapaxes(p, -1, -2) @ B, upper=False), upper=True)


lu_solve = entered("lu_solve", lu_solved, "LinalgLuSolveBackward0")
function("lu_solve")(lambda b, LU_data, LU_pivots: lu_solve(LU_data, LU_pivots, b))

PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600, 670442572800,
    33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip


def exponential(A: Any) -> Any:
    checked(A, "matrix_exp")
    n, dtype = shape_of(A)[-1], dtype_of(A)
    raw = values_of(A, "matrix_exp")
    if not raw.size:
        return A
    norm = np.abs(raw).sum(axis=-2).max()
    halvings = max(int(np.ceil(np.log2(norm / 5.4))), 0) if np.isfinite(norm) and norm > 0 else 0
    b = [dtype.type(each / PADE[-2]) for each in PADE]
    eye = np.eye(n, dtype=dtype)
    a = A * dtype.type(0.5**halvings)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
    result = np.linalg.solve(even - odd, even + odd)
    for _ in range(halvings):
        result = result @ result
    return result


matrix_exp = entered("matrix_exp", exponential, "LinalgMatrixExpBackward0", ("matrix_exp",))


def reporting(name: str, fields: list[str], solve: Callable[..., Any], failures: Callable[[Any], Any], node: str) -> Any:
    """A function that says which matrices have no result, which is nan there, instead of raising."""
    result = returned(f"linalg_{name}", fields)

    def call(A: Any, *others: Any, check_errors: bool = False, **options: Any) -> Any:
        info = each_matrix(failures, values_of(checked(A, name), name))
        failed = info != 0
        if check_errors and np.any(failed):
            raise LinAlgError(f"torch.linalg.{name}: the factorization could not be completed (info {info.max()}){at_user_line()}")
        if np.any(failed):
            A = np.where(failed[..., None, None], np.eye(shape_of(A)[-1], dtype=dtype_of(A)), A)
        out = solve(A, *others, **options)
        if np.any(failed):
            beside = failed.reshape(*failed.shape, *(1,) * (len(shape_of(out)) - failed.ndim))
            out = np.where(beside, dtype_of(out).type(np.nan), out)
        return result(out, info)

    return entered(name, call, node)


def without_root(a: Any) -> Any:
    """The order of the first leading minor that is not positive, or 0."""
    (potrf,) = lapack.get_lapack_funcs(("potrf",), (a,))
    return potrf(a, lower=True)[1]


cholesky_ex = reporting(
    "cholesky_ex", ["L", "info"], lambda A, *, upper=False: np.linalg.cholesky(A, upper=upper), without_root, "LinalgCholeskyExBackward0"
)
inv_ex = reporting("inv_ex", ["inverse", "info"], np.linalg.inv, lambda a: factorized(a)[1], "LinalgInvExBackward0")
solve_ex = reporting("solve_ex", ["result", "info"], linalg.solved, lambda a: factorized(a)[1], "LinalgSolveExBackward0")


def reflected(A: Any, tau: Any) -> Any:
    """The first columns of the product of Householder's reflections ``1 - tau v v^H``, from the last one on."""
    m, n = shape_of(A)[-2:]
    result = np.broadcast_to(np.eye(m, n, dtype=dtype_of(A)), shape_of(A))
    for k in reversed(range(shape_of(tau)[-1])):
        rows = np.arange(m)
        v = np.where(rows > k, A[..., :, k], (rows == k).astype(dtype_of(A)))[..., :, None]
        result = result - tau[..., k, None, None] * (v @ (np.conjugate(np.swapaxes(v, -1, -2)) @ result))
    return result


householder_product = entered("householder_product", reflected, "LinalgHouseholderProductBackward0", ("orgqr",))


def powers(x: Any, *, N: int | None = None) -> Any:
    n = shape_of(x)[-1] if N is None else N
    if n <= 1:
        raise RuntimeError(f"N must be greater than 1.{at_user_line()}")
    ones = np.ones((*shape_of(x), 1), dtype_of(x))
    columns = np.broadcast_to(x[..., None], (*shape_of(x), n - 1))
    return np.concatenate([ones, np.cumprod(columns, axis=-1)], axis=-1)


vander = entered("vander", powers, "CatBackward0")


def cholesky_inverted(L: Any, upper: bool = False) -> Any:
    lower = np.conjugate(np.swapaxes(np.triu(L), -1, -2)) if upper else np.tril(L)
    return np.linalg.inv(lower @ np.conjugate(np.swapaxes(lower, -1, -2)))


def cholesky_solved(B: Any, L: Any, upper: bool = False) -> Any:
    lower = np.conjugate(np.swapaxes(np.triu(L), -1, -2)) if upper else np.tril(L)
    return np.linalg.solve(np.conjugate(np.swapaxes(lower, -1, -2)), np.linalg.solve(lower, B))


define("cholesky_inverse", cholesky_inverted)
define("cholesky_solve", cholesky_solved)


def singular_values(a: Any, hermitian: bool) -> Any:
    return np.abs(np.linalg.eigvalsh(a)) if hermitian else np.linalg.svd(a, compute_uv=False)


def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The number of singular values greater than ``max(atol, rtol * the greatest)``."""
    a = checked(A._array, "matrix_rank", False)
    sizes = singular_values(a, hermitian)
    absolute, relative = (
        None if each is None else each._array if isinstance(each, Tensor) else each for each in (tol if atol is None else atol, rtol)
    )
    if relative is None:
        given = absolute is not None and np.any(np.asarray(absolute) > 0)
        relative = 0.0 if tol is not None or given else max(a.shape[-2:]) * np.finfo(a.dtype).eps
    bound = np.maximum(0.0 if absolute is None else absolute, relative * sizes.max(axis=-1, initial=0))
    return made(np.count_nonzero(sizes > np.asarray(bound)[..., None], axis=-1))


def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of matrices, complex; without a derivative."""
    if current_edge(A) is not None:
        raise NotImplementedError(
            "the derivative of torch.linalg.eigvals is not supported\n  Remedy: use torch.linalg.eigvalsh of a symmetric matrix, or "
            f"detach() the matrix.{at_user_line()}"
        )
    a = checked(A._array, "eigvals")
    return made(np.linalg.eigvals(a).astype(np.result_type(a, np.complex64)))


def install_solvers() -> None:
    """Enter them into ``torch.linalg``."""
    for name in __all__:
        setattr(linalg, name, globals()[name])
        if name not in linalg.__all__:
            linalg.__all__.append(name)


install_solvers()
install("matrix_exp", matrix_exp)
