"""``torch.linalg``, and the functions of linear algebra that torch has beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.torch.dtypes import title
from functrans.torch.ops.reductions import reduced_axes
from functrans.torch.ops.table import define, function, install, returned
from functrans.torch.tensor import Tensor, made

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "inv", "matmul", "matrix_norm", "matrix_power", "multi_dot", "norm",
    "slogdet", "solve", "vecdot", "vector_norm",
]  # fmt: skip


class LinAlgError(RuntimeError):
    """A matrix has no such result."""


def checked(x: Any, name: str, square: bool = True) -> Any:
    """A floating matrix, or several, square where it must be."""
    if dtype_of(x).kind not in "fc":
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {title(dtype_of(x))}{at_user_line()}")
    if x.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.{at_user_line()}")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices{at_user_line()}"
        )
    return x


def guarded(function: Any, message: str) -> Any:
    """With torch's error for matrices without a result."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(f"{message} ({error})") from None

    return call


def entered(name: str, operation: Any, node: str | None = None, aliases: tuple[str, ...] = (), method: bool = False) -> Any:
    """A function of ``torch.linalg``, which torch may also have under its own name."""
    made_ = define(name, operation, node=node, method=method, public=False)
    for alias in aliases:
        install(alias, made_)
    return made_


det = entered("det", lambda A: np.linalg.det(checked(A, "det")), "LinalgDetBackward0", ("det",))
inv = entered(
    "inv",
    guarded(lambda A: np.linalg.inv(checked(A, "inv")), "linalg.inv: The diagonal element is zero, the inversion could not be completed because the input matrix is singular."),
    "LinalgInvExBackward0",
    ("inverse",),
)
Slogdet = returned("slogdet", ["sign", "logabsdet"])
slogdet = entered("slogdet", lambda A: Slogdet(*np.linalg.slogdet(checked(A, "slogdet"))), "LinalgSlogdetBackward0", ("slogdet",))
install("logdet", define("logdet", lambda A: np.linalg.slogdet(checked(A, "logdet"))[1] + np.log(np.linalg.slogdet(checked(A, "logdet"))[0])))
cholesky = entered(
    "cholesky",
    guarded(
        lambda A, *, upper=False: np.linalg.cholesky(checked(A, "cholesky"), upper=upper),
        "linalg.cholesky: The factorization could not be completed because the input is not positive-definite.",
    ),
    "LinalgCholeskyExBackward0",
)
function("cholesky")(lambda input, upper=False: cholesky(input, upper=upper))


def solved(A: Any, B: Any, *, left: bool = True) -> Any:
    checked(A, "solve")
    if not left:
        return np.swapaxes(np.linalg.solve(np.swapaxes(A, -1, -2), np.swapaxes(B, -1, -2)), -1, -2)
    if A.shape[-1] != B.shape[-1 if B.ndim == 1 else -2]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2] if B.ndim > 1 else B.shape[0]}x{B.shape[-1] if B.ndim > 1 else 1}){at_user_line()}"
        )
    return np.linalg.solve(A, B)


solve = entered(
    "solve",
    guarded(solved, "torch.linalg.solve: The solver failed because the input matrix is singular."),
    "LinalgSolveExBackward0",
)


def triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    A = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        A = A - A * np.eye(A.shape[-1], dtype=dtype_of(A)) + np.eye(A.shape[-1], dtype=dtype_of(A))
    return solved(A, B, left=left)


solve_triangular = entered("solve_triangular", triangular, "LinalgSolveTriangularBackward0")


def root_of_squares(x: Any, axes: Any, keepdim: bool) -> Any:
    return np.sqrt(np.sum(np.real(x * np.conjugate(x)), axis=axes, keepdims=keepdim))


def vector_norm_of(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if dtype_of(x).kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {title(dtype_of(x))}{at_user_line()}"
        )
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


def matrix_norm_of(A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False) -> Any:
    return np.linalg.norm(A, ord, tuple(dim), keepdim)


matrix_norm = entered("matrix_norm", matrix_norm_of, "LinalgMatrixNormBackward0")


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors, or with two axes or a name of matrices."""
    axes = A.ndim if dim is None else len(dim) if isinstance(dim, (tuple, list)) else 1
    if ord is None or axes == 1:
        return vector_norm(A, 2 if ord is None else ord, dim, keepdim)
    return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim)


@function("norm")
def tensor_norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The p-norm of all elements, or along axes."""
    return vector_norm(input, 2 if p in ("fro", None) else float(p), dim, keepdim)


function("dist")(lambda input, other, p=2: vector_norm(input - other, float(p)))
define("renorm", lambda x, p, dim, maxnorm: renormed(x, p, dim, maxnorm), in_place=True)


def renormed(x: Any, p: float, dim: int, maxnorm: float) -> Any:
    axes = tuple(axis for axis in range(x.ndim) if axis != dim % x.ndim)
    norms = vector_norm_of(x, p, axes, True)
    return x * np.where(norms > maxnorm, maxnorm / (norms + 1e-7), dtype_of(x).type(1))


matrix_power = entered("matrix_power", lambda A, n: np.linalg.matrix_power(checked(A, "matrix_power"), n), "MmBackward0", ("matrix_power",))
multi_dot = entered("multi_dot", lambda tensors: np.linalg.multi_dot(tensors), "MmBackward0")
cond = entered("cond", lambda A, p=None: np.linalg.cond(A, p), "LinalgCondBackward0")
vecdot = entered("vecdot", lambda x, y, *, dim=-1: np.sum(np.conjugate(x) * y, axis=dim), "SumBackward1")
cross = entered("cross", lambda x, y, *, dim=-1: np.cross(x, y, axis=dim), "LinalgCrossBackward0")
tensorsolve = entered("tensorsolve", lambda A, B, dims=None: np.linalg.tensorsolve(A, B, dims), "ViewBackward0")
tensorinv = entered("tensorinv", lambda A, ind=2: np.linalg.tensorinv(A, ind), "ViewBackward0")


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """The matrix product."""
    return x @ y  # type: ignore[operator, no-any-return]


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two axes."""
    return A.diagonal(offset, dim1, dim2)  # type: ignore[attr-defined, no-any-return]


def undifferentiated(name: str, result: Any, run: Any, alternative: str) -> Any:
    """A factorization that functrans has no derivative of: of tensors without a history only."""

    def call(A: Tensor, *args: Any, **kwargs: Any) -> Any:
        if A.requires_grad:  # type: ignore[attr-defined]
            raise NotImplementedError(f"the derivative of torch.linalg.{name} is not supported\n  Remedy: {alternative}.{at_user_line()}")
        out = run(A._array, *args, **kwargs)
        return result(*map(made, out)) if result is not None else made(out)

    call.__name__ = name
    __all__.append(name)
    return call


WITHOUT = "use torch.linalg.cholesky or solve, or detach() the matrix"
svd = undifferentiated(
    "svd", returned("linalg_svd", ["U", "S", "Vh"]), lambda a, full_matrices=True: np.linalg.svd(a, full_matrices), WITHOUT
)
svdvals = undifferentiated("svdvals", None, lambda a: np.linalg.svd(a, compute_uv=False), WITHOUT)
eigh = undifferentiated(
    "eigh", returned("linalg_eigh", ["eigenvalues", "eigenvectors"]), lambda a, UPLO="L": np.linalg.eigh(a, UPLO), WITHOUT
)
eigvalsh = undifferentiated("eigvalsh", None, lambda a, UPLO="L": np.linalg.eigvalsh(a, UPLO), WITHOUT)
eig = undifferentiated("eig", returned("linalg_eig", ["eigenvalues", "eigenvectors"]), lambda a: as_complex(np.linalg.eig(a)), WITHOUT)
qr = undifferentiated("qr", returned("linalg_qr", ["Q", "R"]), lambda a, mode="reduced": np.linalg.qr(a, mode), WITHOUT)
pinv = undifferentiated("pinv", None, lambda a: np.linalg.pinv(a), "use torch.linalg.solve")
matrix_rank = undifferentiated("matrix_rank", None, lambda a: np.linalg.matrix_rank(a), WITHOUT)
lstsq = undifferentiated(
    "lstsq", returned("linalg_lstsq", ["solution", "residuals"]), lambda a, b: np.linalg.lstsq(a, b._array)[:2], "use torch.linalg.solve"
)


def as_complex(parts: Any) -> Any:
    kind = np.result_type(parts[0], np.complex64)
    return parts[0].astype(kind), parts[1].astype(kind)


