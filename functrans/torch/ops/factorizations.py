"""Factorizations of matrices, for ``torch.linalg`` and under the names that torch had before, and what is made of them.

Derivatives are those of `functrans/ops/decompositions.py`. Where torch takes a matrix to be Hermitian, cotangents are shared by both
triangles, as torch has them. Matrices without a result are found by LAPACK's numbers (``info``) where a function gives them, and have
nan and the derivative 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.control.pure_callback import pure_callback
from functrans.core.tracer import Tracer
from functrans.core.types import ArrayType, dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.ops import decompositions, matrix_functions
from functrans.ops.linalg import adjoint
from functrans.scipy import linalg as scipy_linalg
from functrans.torch.dtypes import title
from functrans.torch.ops.table import checked_kind, define, function, install, returned
from functrans.torch.tensor import Tensor
from functrans.transforms.custom import stop_gradient

__all__ = [
    "LinAlgError", "checked", "cholesky", "cholesky_ex", "eig", "eigh", "eigvals", "eigvalsh", "entered", "guarded", "lstsq", "lu",
    "lu_factor", "lu_factor_ex", "lu_solve", "matrix_exp", "matrix_rank", "pinv", "qr", "svd", "svdvals", "where_possible", "with_check",
    "zero_pivots",
]  # fmt: skip


class LinAlgError(RuntimeError):
    """A matrix has no such result."""


def checked(x: Any, name: str, square: bool = True) -> Any:
    """A floating matrix, or several, square where it must be."""
    checked_kind(dtype_of(x), name, "bic" if dtype_of(x) == np.float16 else "bifc")
    if dtype_of(x).kind not in "fc":
        raise RuntimeError(
            f"linalg.{name}: Expected a floating point or complex tensor as input. Got {title(dtype_of(x))}{at_user_line()}"
        )
    if x.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.{at_user_line()}")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices{at_user_line()}"
        )
    return x


def guarded(operation: Callable[..., Any], message: str, kind: type[Exception] = LinAlgError) -> Callable[..., Any]:
    """With torch's error for matrices without a result."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return operation(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            reason = str(error).partition("\n")[0]
            raise kind(f"{message} ({reason}){at_user_line()}") from None

    return call


def entered(
    name: str, operation: Callable[..., Any], node: str | None = None, aliases: Sequence[str] = (), method: bool = False
) -> Callable[..., Any]:
    """A function of ``torch.linalg``, which torch may also have under its own name."""
    made_ = define(name, operation, node=node, method=method, public=False)
    for alias in aliases:
        install(alias, made_)
    return made_


def results(name: str, fields: str) -> Any:
    """The class of several results."""
    return returned(name, fields.split())


SYMMETRIC_FAILED = "linalg.eigh: The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated eigenvalues"
SVD_FAILED = "linalg.svd: The algorithm failed to converge because the input matrix contained non-finite values."
EIG_FAILED = "torch.linalg.eig: input tensor should not contain infs or NaNs."
INV_FAILED = (
    "linalg.inv: The diagonal element is zero, the inversion could not be completed because the input matrix is singular."
)
SOLVE_FAILED = "torch.linalg.solve: The solver failed because the input matrix is singular."
INT = np.dtype(np.int32)
CHOLESKY_FAILED = "linalg.cholesky: The factorization could not be completed because the input is not positive-definite."


def assumed_hermitian(A: Any, UPLO: str) -> Any:
    """The Hermitian matrices of which one triangle is read; cotangents are shared by both."""
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}{at_user_line()}")
    half = decompositions.hermitian(A)
    return half + stop_gradient(decompositions.of_triangle(A, UPLO.upper()) - half)


Eigh, Eig = results("linalg_eigh", "eigenvalues eigenvectors"), results("linalg_eig", "eigenvalues eigenvectors")
eigh = entered(
    "eigh",
    guarded(lambda A, UPLO="L": Eigh(*np.linalg.eigh(assumed_hermitian(checked(A, "eigh"), UPLO), UPLO)), SYMMETRIC_FAILED),
    "LinalgEighBackward0",
)
eigvalsh = entered(
    "eigvalsh",
    guarded(lambda A, UPLO="L": np.linalg.eigvalsh(assumed_hermitian(checked(A, "eigh"), UPLO), UPLO), SYMMETRIC_FAILED),
    "LinalgEighBackward0",
)
eig = entered(
    "eig", guarded(lambda A: Eig(*decompositions.eig(checked(A, "eig"))), EIG_FAILED, RuntimeError), "LinalgEigBackward0"
)
eigvals = entered(
    "eigvals", guarded(lambda A: decompositions.eigvals(checked(A, "eigvals")), EIG_FAILED, RuntimeError), "LinalgEigBackward0"
)


def driven(driver: str | None) -> None:
    """Raise for a driver, which torch has on other devices."""
    if driver is not None:
        raise RuntimeError(
            f"torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend.{at_user_line()}"
        )


Svd, OldSvd = results("linalg_svd", "U S Vh"), results("svd", "U S V")


def svd_of(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """The singular value decomposition."""
    driven(driver)
    return Svd(*np.linalg.svd(checked(A, "svd", False), full_matrices))


def svdvals_of(A: Any, *, driver: str | None = None) -> Any:
    """The singular values."""
    driven(driver)
    return np.linalg.svdvals(checked(A, "svd", False))


def old_svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition ``u diag(s) v^H``, as ``torch.svd`` has it."""
    A = checked(input, "svd", False)
    if compute_uv:
        u, s, vh = np.linalg.svd(A, not some)
        return OldSvd(u, s, adjoint(vh))
    square = [np.zeros((*A.shape[:-2], n, n), dtype_of(A)) for n in A.shape[-2:]]
    return OldSvd(square[0], np.linalg.svdvals(A), square[1])


svd = entered("svd", guarded(svd_of, SVD_FAILED), "LinalgSvdBackward0")
svdvals = entered("svdvals", guarded(svdvals_of, SVD_FAILED), "LinalgSvdBackward0")
define("svd", guarded(old_svd, SVD_FAILED), node="LinalgSvdBackward0")

Qr, OldQr = results("linalg_qr", "Q R"), results("qr", "Q R")


def qr_of(A: Any, mode: str = "reduced") -> Any:
    """The QR decomposition; with mode ``"r"``, without the first factor."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'{at_user_line()}"
        )
    q, r = np.linalg.qr(checked(A, "qr", False), "complete" if mode == "complete" else "reduced")
    return Qr(np.zeros(0, dtype_of(A)) if mode == "r" else q, r)


qr = entered("qr", qr_of, "LinalgQrBackward0")
define("qr", lambda input, some=True: OldQr(*qr_of(input, "reduced" if some else "complete")), node="LinalgQrBackward0")


def pinv_of(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """The pseudoinverse, with singular values below a tolerance taken for 0."""
    if dtype_of(A).kind not in "fc" or A.ndim < 2:
        raise RuntimeError(
            f"linalg.pinv({title(dtype_of(A))}{{{list(A.shape)}}}): expected a tensor with 2 or more dimensions of float, double, cfloat "
            f"or cdouble types{at_user_line()}"
        )
    A = assumed_hermitian(checked(A, "pinv"), "L") if hermitian else A
    largest = np.linalg.norm(stop_gradient(A), 2, (-2, -1))
    return np.linalg.pinv(A, least(A, largest, rcond, atol, rtol) / np.where(largest == 0, 1, largest))


def least(A: Any, largest: Any, relative: Any, atol: Any, rtol: Any) -> Any:
    """The size below which singular values count as 0, from the tolerances torch has for it."""
    rtol = relative if rtol is None else rtol
    if rtol is None:
        rtol = decompositions.precision(A) if atol is None else 0.0
    return np.maximum(0.0 if atol is None else atol, rtol * largest)


pinv = entered("pinv", guarded(pinv_of, SVD_FAILED), "LinalgPinvBackward0")
define("pinverse", guarded(lambda input, rcond=1e-15: pinv_of(input, rcond), SVD_FAILED), node="LinalgPinvBackward0")


def rank_of(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """The number of singular values above a tolerance."""
    if A.ndim < 2:
        raise RuntimeError(f"torch.linalg.matrix_rank: The input tensor input must have at least 2 dimensions.{at_user_line()}")
    A = stop_gradient(checked(A, "matrix_rank", hermitian))
    values = np.abs(np.linalg.eigvalsh(A)) if hermitian else np.linalg.svdvals(A)
    largest = np.max(values, axis=-1, initial=0)
    atol, rtol = (tol, 0.0) if tol is not None else (atol, rtol)
    return np.sum(values > least(A, largest, None, atol, rtol)[..., None], axis=-1)


matrix_rank = entered("matrix_rank", guarded(rank_of, SVD_FAILED))
Lstsq = results("linalg_lstsq", "solution residuals rank singular_values")
DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq_of(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """As LAPACK's drivers have it: `gels` takes the rank for full, `gelsd` and `gelss` give singular values and residuals."""
    driver = driver or "gelsy"
    if driver not in DRIVERS:
        raise RuntimeError(f"torch.linalg.lstsq: parameter `driver` should be one of {DRIVERS}{at_user_line()}")
    vector = B.ndim == 1 or A.ndim - 1 == B.ndim and B.shape == A.shape[:-1]
    right = B[..., None] if vector else B
    checked(A, "lstsq", False)
    if A.shape[-2] != right.shape[-2]:
        raise RuntimeError(f"torch.linalg.lstsq: input.size(-2) should match other.size(-2){at_user_line()}")
    if dtype_of(A) != dtype_of(B):
        raise RuntimeError(f"torch.linalg.lstsq: Expected input and other to have the same dtype{at_user_line()}")
    lead = np.broadcast_shapes(A.shape[:-2], right.shape[:-2])
    A, right = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (A, right))
    rcond = decompositions.precision(A) if rcond is None else rcond
    solution = decompositions.lstsq(A, right, rcond=rcond)
    residuals = rank = nothing = np.zeros(0, decompositions.real_dtype(dtype_of(A)))
    values = nothing
    if driver == "gels":
        rank = np.zeros(0, np.int64)
    else:
        singular = np.linalg.svdvals(stop_gradient(A))
        rank = np.sum(singular > rcond * np.max(singular, axis=-1, keepdims=True, initial=0), axis=-1)
        values = nothing if driver == "gelsy" else singular
    if A.shape[-2] > A.shape[-1] and driver != "gelsy" and (driver == "gels" or bool(np.all(rank == A.shape[-1]))):
        away = right - A @ solution
        residuals = np.sum(np.real(np.conjugate(away) * away), axis=-2)
    return Lstsq(solution[..., 0] if vector else solution, residuals, rank, values)


lstsq = entered("lstsq", guarded(lstsq_of, SVD_FAILED), "LinalgLstsqBackward0")


# LAPACK's number of a matrix: 0, or where it met what leaves the matrix without a result, counted from 1.


def zero_pivots(A: Any) -> Any:
    """The number of each matrix as its rows are eliminated: it is singular."""
    return matrix_functions.lu(stop_gradient(A))[3]


def indefinite_minors(A: Any) -> Any:
    """The number of each matrix as its Cholesky factor is computed: it is not positive definite."""
    return pure_callback(numbers_of_minors, ArrayType(shape_of(A)[:-2], INT), stop_gradient(A), vmap_method="expand_dims")


def numbers_of_minors(a: Any) -> Any:
    """For each matrix the order of the first minor that is not positive, 0 if there is none; what LAPACK says."""
    from scipy.linalg.lapack import get_lapack_funcs  # here, so that importing this package stays quick

    (potrf,) = get_lapack_funcs(("potrf",), (a,))
    numbers = np.zeros(a.shape[:-2], INT)
    for place in np.ndindex(numbers.shape) if a.size else ():
        numbers[place] = potrf(a[place], lower=True)[1]
    return numbers[()]


def where_possible(operation: Callable[[Any], Any], A: Any, numbers: Any) -> Any:
    """`operation` of matrices whose number is 0, nan for others."""
    failed = numbers > 0
    result = operation(np.where(failed[..., None, None], np.eye(shape_of(A)[-1], dtype=dtype_of(A)), A))
    beside = (*shape_of(numbers), *(1,) * (len(shape_of(result)) - len(shape_of(numbers))))
    return np.where(np.reshape(failed, beside), dtype_of(result).type(np.nan), result)


def with_check(name: str, operation: Callable[..., Any], message: str) -> Callable[..., Any]:
    """A function of tensors that raises where numbers are not 0, if it is asked to."""

    def call(*args: Any, check_errors: bool = False, **kwargs: Any) -> Any:
        out = operation(*args, **kwargs)
        if check_errors and bool(np.any(out.info._array)):
            raise LinAlgError(f"linalg.{name}: {message}{at_user_line()}")
        return out

    call.__name__ = name
    return call


cholesky = entered(
    "cholesky",
    guarded(lambda A, *, upper=False: cholesky_of(checked(A, "cholesky"), upper), CHOLESKY_FAILED),
    "LinalgCholeskyExBackward0",
)
function("cholesky")(lambda input, upper=False: cholesky(input, upper=upper))
CholeskyEx = results("linalg_cholesky_ex", "L info")


def cholesky_of(A: Any, upper: bool) -> Any:
    """The triangular factor of positive definite matrices."""
    return np.linalg.cholesky(assumed_hermitian(A, "U" if upper else "L"), upper=upper)


def cholesky_ex_of(A: Any, *, upper: bool = False) -> Any:
    """The factor, and for each matrix the order of the first minor that is not positive, instead of an error."""
    A = assumed_hermitian(checked(A, "cholesky"), "U" if upper else "L")
    numbers = indefinite_minors(A)
    return CholeskyEx(where_possible(lambda A: cholesky_of(A, upper), A, numbers), numbers)


cholesky_ex = with_check(
    "cholesky_ex",
    entered("cholesky_ex", cholesky_ex_of, "LinalgCholeskyExBackward0"),
    "The factorization could not be completed because the input is not positive-definite.",
)


def of_factor(L: Any, upper: bool) -> Any:
    """The matrix of a Cholesky factor."""
    return adjoint(np.triu(L)) @ np.triu(L) if upper else np.tril(L) @ adjoint(np.tril(L))


def solved_by_factor(input: Any, L: Any, upper: bool = False) -> Any:
    """The solution of equations whose matrices have this Cholesky factor."""
    if input.ndim < 2:
        raise RuntimeError(f"b should have at least 2 dimensions, but has {input.ndim} dimensions instead{at_user_line()}")
    if shape_of(input)[-2] != shape_of(L)[-1]:
        rows, columns = shape_of(input)[-2:]
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {shape_of(L)[-1]} by {shape_of(L)[-1]} but each b matrix is "
            f"{rows} by {columns}{at_user_line()}"
        )
    return np.linalg.solve(of_factor(L, upper), input)


define("cholesky_inverse", lambda input, upper=False: np.linalg.inv(of_factor(input, upper)))
define("cholesky_solve", solved_by_factor)

LuFactor, LuFactorEx = results("linalg_lu_factor", "LU pivots"), results("linalg_lu_factor_ex", "LU pivots info")
Lu, LuUnpack = results("linalg_lu", "P L U"), results("lu_unpack", "P L U")


def factors_of(A: Any, *, pivot: bool = True) -> Any:
    """The LU decomposition in one matrix, pivots counted from 1, and where a pivot is 0."""
    if not pivot:
        raise RuntimeError(f"linalg.lu_factor: LU without pivoting is not implemented on the CPU{at_user_line()}")
    if A.ndim < 2:
        raise RuntimeError(
            f"torch.lu_factor: Expected tensor with 2 or more dimensions. Got size: {list(A.shape)} instead{at_user_line()}"
        )
    factors, pivots, _, numbers = matrix_functions.lu(checked(A, "lu_factor", False))
    return LuFactorEx(factors, pivots + 1, numbers)


def lu_of(A: Any, *, pivot: bool = True) -> Any:
    """The LU decomposition: permutation, lower and upper factor."""
    factors, pivots, _ = factors_of(A, pivot=pivot)
    return Lu(*unpacked(factors, pivots))


def unpacked(LU: Any, pivots: Any) -> tuple[Any, Any, Any]:
    """Permutation, lower and upper factor of what `factors_of` gives."""
    order = matrix_functions.permutation(pivots - 1, shape_of(LU)[-2])
    return scipy_linalg.permutation_matrix(order, dtype_of(LU)).astype(dtype_of(LU)), *matrix_functions.triangles(LU)


def solved_by_factors(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The solution of equations whose matrices have this LU decomposition."""
    factors = (LU, pivots - 1)
    if left:
        return scipy_linalg.lu_solve(factors, B, 2 if adjoint else 0)
    return conjugate_transpose(scipy_linalg.lu_solve(factors, conjugate_transpose(B), 0 if adjoint else 2))


def conjugate_transpose(x: Any) -> Any:
    """`adjoint`, where torch's argument has that name."""
    return adjoint(x)


lu = entered("lu", lu_of, "LinalgLuBackward0")
factored_ex = entered("lu_factor_ex", factors_of, "LinalgLuFactorExBackward0")
lu_factor_ex = with_check("lu_factor_ex", factored_ex, "a diagonal element of U is zero, so the input matrix is singular.")


def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """The factors of ``P A = L U`` in one matrix, and the exchanges of rows, counted from 1; raises for singular matrices."""
    out = factored_ex(A, pivot=pivot)
    if not isinstance(out.info._array, Tracer) and np.any(out.info._array):
        place = int(np.max(out.info._array))
        raise RuntimeError(
            f"torch.linalg.lu_factor: U[{place},{place}] is zero and using it on lu_solve would result in a division by zero. If you still "
            f"want to perform the factorization, consider calling linalg.lu(A) or linalg.lu_factor_ex(A){at_user_line()}"
        )
    return LuFactor(out.LU, out.pivots)


lu_solve = entered("lu_solve", guarded(solved_by_factors, SOLVE_FAILED), "LinalgLuSolveBackward0")
function("lu_solve")(lambda input, LU_data, LU_pivots: lu_solve(LU_data, LU_pivots, input))


@function("lu")
def old_lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """The factors in one matrix, the exchanges of rows, and if asked for LAPACK's numbers."""
    out = factored_ex(A, pivot=pivot)
    return tuple(out) if get_infos else tuple(out)[:2]


def unpacked_if(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """As `unpacked`; what is not asked for is empty."""
    order, lower, upper = unpacked(LU_data, LU_pivots)
    nothing = np.zeros(0, dtype_of(LU_data))
    return LuUnpack(order if unpack_pivots else nothing, *((lower, upper) if unpack_data else (nothing, nothing)))


define("lu_unpack", unpacked_if, method=False)

matrix_exp = entered(
    "matrix_exp", lambda A: scipy_linalg.expm(checked(A, "matrix_exp")), "LinalgMatrixExpBackward0", ("matrix_exp",)
)
