"""``torch.linalg``, and the functions of linear algebra that torch has beside it: inverses, systems, norms and products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.torch.dtypes import numpy_dtype, title
from functrans.torch.ops.factorizations import (
    INV_FAILED,
    SOLVE_FAILED,
    LinAlgError,
    checked,
    cholesky,
    cholesky_ex,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    entered,
    guarded,
    lstsq,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    matrix_exp,
    matrix_rank,
    pinv,
    qr,
    results,
    svd,
    svdvals,
    where_possible,
    with_check,
    zero_pivots,
)
from functrans.torch.ops.reductions import reduced_axes
from functrans.torch.ops.table import define, function, install
from functrans.torch.tensor import Tensor

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm",
    "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals",
    "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip


det = entered("det", lambda A: np.linalg.det(checked(A, "det")), "LinalgDetBackward0", ("det",))
inv = entered("inv", guarded(lambda A: np.linalg.inv(checked(A, "inv")), INV_FAILED), "LinalgInvExBackward0", ("inverse",))
InvEx, SolveEx = results("linalg_inv_ex", "inverse info"), results("linalg_solve_ex", "result info")


def inv_ex_of(A: Any) -> Any:
    """The inverses, and for each matrix where a pivot is 0, instead of an error."""
    numbers = zero_pivots(checked(A, "inv"))
    return InvEx(where_possible(np.linalg.inv, A, numbers), numbers)


SINGULAR = "The diagonal element is zero, the inversion could not be completed because the input matrix is singular."
inv_ex = with_check("inv_ex", entered("inv_ex", inv_ex_of, "LinalgInvExBackward0"), SINGULAR)
Slogdet = results("slogdet", "sign logabsdet")
slogdet = entered(
    "slogdet", lambda A: Slogdet(*np.linalg.slogdet(checked(A, "slogdet"))), "LinalgSlogdetBackward0", ("slogdet",)
)
install(
    "logdet",
    define("logdet", lambda A: np.linalg.slogdet(checked(A, "logdet"))[1] + np.log(np.linalg.slogdet(checked(A, "logdet"))[0])),
)


def solved(A: Any, B: Any, *, left: bool = True) -> Any:
    """The solution of ``A X = B``, or if not `left` of ``X A = B``."""
    checked(A, "solve")
    if not left:
        return np.swapaxes(np.linalg.solve(np.swapaxes(A, -1, -2), np.swapaxes(B, -1, -2)), -1, -2)
    if A.shape[-1] != B.shape[-1 if B.ndim == 1 else -2]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2] if B.ndim > 1 else B.shape[0]}x{B.shape[-1] if B.ndim > 1 else 1}){at_user_line()}"
        )
    return np.linalg.solve(A, B)


solve = entered("solve", guarded(solved, SOLVE_FAILED), "LinalgSolveExBackward0")


def solve_ex_of(A: Any, B: Any, *, left: bool = True) -> Any:
    """The solution, and for each matrix where a pivot is 0, instead of an error."""
    numbers = zero_pivots(checked(A, "solve"))
    return SolveEx(where_possible(lambda A: solved(A, B, left=left), A, numbers), numbers)


solve_ex = with_check("solve_ex", entered("solve_ex", solve_ex_of, "LinalgSolveExBackward0"), "the input matrix is singular.")


def triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The solution of equations with triangular matrices."""
    A = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        A = A - A * np.eye(A.shape[-1], dtype=dtype_of(A)) + np.eye(A.shape[-1], dtype=dtype_of(A))
    return solved(A, B, left=left)


solve_triangular = entered("solve_triangular", guarded(triangular, SOLVE_FAILED), "LinalgSolveTriangularBackward0")
Triangular = results("triangular_solve", "solution cloned_coefficient")


def old_triangular(b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    """The solution and the matrices, as ``torch.triangular_solve`` has it."""
    matrix = np.swapaxes(A, -1, -2) if transpose else A
    return Triangular(triangular(matrix, b, upper=upper != transpose, unitriangular=unitriangular), np.copy(A))


define("triangular_solve", guarded(old_triangular, SOLVE_FAILED))


def root_of_squares(x: Any, axes: Any, keepdim: bool) -> Any:
    """The Euclidean norm."""
    return np.sqrt(np.sum(np.real(x * np.conjugate(x)), axis=axes, keepdims=keepdim))


def in_dtype(x: Any, dtype: Any, name: str) -> Any:
    """`x` in torch's dtype, if one is given that is no narrower."""
    if dtype is None:
        return x
    if not np.can_cast(dtype_of(x), numpy_dtype(dtype)):
        raise RuntimeError(
            f"linalg.{name}: the dtype of the input ({title(dtype_of(x))}) should be convertible without narrowing to the specified dtype "
            f"({title(numpy_dtype(dtype))}){at_user_line()}"
        )
    return x.astype(numpy_dtype(dtype))


def vector_norm_of(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of vectors of any order."""
    if dtype_of(x).kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {title(dtype_of(x))}{at_user_line()}"
        )
    x = in_dtype(x, dtype, "vector_norm")
    axes = reduced_axes(dim, x.ndim)
    if ord in (2, 2.0):
        return root_of_squares(x, axes, keepdim)
    size = np.abs(x)
    if ord in (math.inf, -math.inf):
        return (np.max if ord > 0 else np.min)(size, axis=axes, keepdims=keepdim)
    if ord == 0:
        return np.sum((size != 0).astype(dtype_of(size)), axis=axes, keepdims=keepdim)
    if ord == 1:
        return np.sum(size, axis=axes, keepdims=keepdim)
    return np.sum(size ** float(ord), axis=axes, keepdims=keepdim) ** (1.0 / ord)


vector_norm = entered("vector_norm", vector_norm_of, "LinalgVectorNormBackward0")


def matrix_norm_of(A: Any, ord: Any, dim: Any, keepdim: bool, dtype: Any) -> Any:
    """The norm of matrices."""
    return np.linalg.norm(in_dtype(A, dtype, "matrix_norm"), ord, dim, keepdim)


# Each under the name of torch's last step.
LARGEST, SMALLEST, TOTAL, FROBENIUS = (
    define(f"_matrix_norm_{number}", matrix_norm_of, node=node, method=False, public=False)
    for number, node in enumerate(("AmaxBackward0", "AminBackward0", "SumBackward1", "LinalgVectorNormBackward0"))
)
MATRIX_NORMS: dict[Any, Callable[..., Any]] = {
    2: LARGEST, 1: LARGEST, math.inf: LARGEST, -2: SMALLEST, -1: SMALLEST, -math.inf: SMALLEST, "nuc": TOTAL,
    "fro": FROBENIUS,
}  # fmt: skip


def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of each matrix: of order "fro", "nuc", inf, -inf, 1, -1, 2 or -2."""
    checked(A._array, "matrix_norm", False)
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}{at_user_line()}")
    if ord not in MATRIX_NORMS:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.{at_user_line()}")
    return MATRIX_NORMS[ord](A, ord, tuple(dim), keepdim, dtype)


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors, or with two axes or a name of matrices."""
    axes = len(dim) if isinstance(dim, (tuple, list)) else None if dim is None else 1
    if axes is not None and axes not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}{at_user_line()}")
    if axes is None and ord is not None and A.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D.{at_user_line()}"
        )
    if isinstance(ord, str) or ord is not None and (A.ndim if axes is None else axes) == 2:
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


@function("norm")
def tensor_norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The p-norm of all elements, or along axes; of the order "nuc" of matrices."""
    if p == "nuc":
        return matrix_norm(input, "nuc", (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(input, 2 if p in ("fro", None) else float(p), dim, keepdim, dtype=dtype)


function("frobenius_norm", method=False)(lambda input, dim=(), keepdim=False: vector_norm(input, 2, dim, keepdim))
function("nuclear_norm", method=False)(lambda input, dim=(-2, -1), keepdim=False: matrix_norm(input, "nuc", dim, keepdim))
function("dist")(lambda input, other, p=2: vector_norm(input - other, float(p)))
define("renorm", lambda x, p, dim, maxnorm: renormed(x, p, dim, maxnorm), in_place=True)


def renormed(x: Any, p: float, dim: int, maxnorm: float) -> Any:
    """Slices of a norm above `maxnorm` scaled down to it."""
    axes = tuple(axis for axis in range(x.ndim) if axis != dim % x.ndim)
    norms = vector_norm_of(x, p, axes, True)
    return x * np.where(norms > maxnorm, maxnorm / (norms + 1e-7), dtype_of(x).type(1))


matrix_power = entered(
    "matrix_power",
    guarded(lambda A, n: np.linalg.matrix_power(checked(A, "matrix_power"), n), INV_FAILED),
    "MmBackward0",
    ("matrix_power",),
)


def product_of_several(tensors: Any) -> Any:
    """The product of matrices, in the cheapest order."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}{at_user_line()}")
    return np.linalg.multi_dot(tensors)


multi_dot = entered("multi_dot", product_of_several, "MmBackward0")


def condition(A: Any, p: Any) -> Any:
    """The product of the norms of matrices and their inverses, which is infinite for singular ones."""
    inverse = where_possible(np.linalg.inv, A, zero_pivots(A))
    product = np.linalg.norm(A, p, (-2, -1)) * np.linalg.norm(inverse, p, (-2, -1))
    return np.where(np.isnan(product), dtype_of(product).type(np.inf), product)


by_singular_values = define("_cond", lambda A, p: np.linalg.cond(A, p), node="SqueezeBackward1", method=False, public=False)
by_inverses = define("_cond_by_inverses", condition, node="NanToNumBackward0", method=False, public=False)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number of each matrix, by the norm of order `p`; None is 2."""
    if A.ndim < 2:
        raise RuntimeError(f"linalg.cond: The input tensor must have at least 2 dimensions.{at_user_line()}")
    if p in (None, 2, -2):
        return by_singular_values(A, p)
    if p not in MATRIX_NORMS:
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}{at_user_line()}")
    checked(A._array, f"cond(ord={p})")
    return by_inverses(A, p)


def powers(x: Any, *, N: int | None = None) -> Any:
    """The Vandermonde matrices of vectors, powers along a new last axis."""
    columns = (shape_of(x)[-1] if x.ndim else 1) if N is None else N
    if columns < 2:
        raise RuntimeError(f"N must be greater than 1.{at_user_line()}")
    return np.stack([x**power for power in range(columns)], axis=-1)


def product_of_reflections(A: Any, tau: Any) -> Any:
    """The first columns of the product of ``I - tau v v^H``, where each v is below the diagonal of `A`, on which it is 1."""
    rows, columns = checked(A, "householder_product", False).shape[-2:]
    if rows < columns:
        raise RuntimeError(
            f"torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]{at_user_line()}"
        )
    if shape_of(tau)[-1] > columns:
        raise RuntimeError(
            f"torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]{at_user_line()}"
        )
    vectors = np.tril(A, -1) + np.eye(rows, columns, dtype=dtype_of(A))
    result = np.broadcast_to(np.eye(rows, columns, dtype=dtype_of(A)), A.shape)
    for place in reversed(range(shape_of(tau)[-1])):
        v = vectors[..., :, place : place + 1]
        result = result - tau[..., place, None, None] * (v @ (np.conjugate(np.swapaxes(v, -1, -2)) @ result))
    return result


householder_product = entered("householder_product", product_of_reflections, "LinalgHouseholderProductBackward0", ("orgqr",))
vander = entered("vander", powers, "CatBackward0")
vecdot = entered("vecdot", lambda x, y, *, dim=-1: np.sum(np.conjugate(x) * y, axis=dim), "SumBackward1")
cross = entered("cross", lambda input, other, *, dim=-1: np.cross(input, other, axis=dim), "LinalgCrossBackward0")
tensorsolve = entered("tensorsolve", lambda A, B, dims=None: np.linalg.tensorsolve(A, B, dims), "ViewBackward0")
tensorinv = entered("tensorinv", lambda A, ind=2: np.linalg.tensorinv(A, ind), "ViewBackward0")


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product."""
    return input @ other


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two axes."""
    return A.diagonal(offset, dim1, dim2)
