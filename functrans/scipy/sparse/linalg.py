"""Linear systems by the iterative solvers of ``scipy.sparse.linalg``.

Their solutions have derivatives, of any order and in both modes, with respect to the right side and the matrix, which may
be an array or a function that multiplies by it; each derivative is the solution of another such system. (See
`ft.custom_linear_solve`.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.control.custom_linear_solve import custom_linear_solve
from functrans.control.custom_root import custom_root
from functrans.control.pure_callback import pure_callback
from functrans.core.staging import stage
from functrans.core.trace import Evaluation, current
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, describe, shape_of, type_of
from functrans.errors import ConvergenceError, StructureError, at_user_line, describe_origin, user_origin
from functrans.scipy.host import HostFunction, Vectors, call_scipy
from functrans.transforms.custom import CustomRule, custom_vjp
from functrans.transforms.linear import linear_transpose

__all__ = ["bicgstab", "cg", "gmres"]

Product = Callable[[Any], Any]


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    check: bool | None = None,
) -> tuple[Any, Any]:
    """The solution of ``A x = b`` for a symmetric positive definite matrix, by conjugate gradients.

    Args:
        A: the matrix: an array, a function that multiplies a tree like `b` by it, or one of ``scipy.sparse`` or a
            ``LinearOperator``, which are constants to derivatives.
        b: the right side, a vector or a tree of arrays.
        x0: the first guess, like `b`; zeros by default. It has no derivative.
        rtol, atol: the norm of ``b - A x`` is to be at most ``max(rtol * norm(b), atol)``. Derivatives are as exact.
        maxiter: the highest number of iterations.
        M: an approximate inverse of the matrix, as one of the kinds of `A`. It has no derivative.
        check: whether to raise where the solver does not converge. None: for derivatives only, which have no other way
            to say so.

    Returns:
        ``(x, info)``: the solution, like `b`, and 0 if the solver converged.

    Raises:
        ConvergenceError: no convergence, see `check`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> a, b = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
        >>> solution = lambda a, b: ft.scipy.sparse.linalg.cg(a, b, rtol=1e-12)[0]
        >>> np.round(11 * solution(a, b), 6).tolist()
        [1.0, 7.0]
        >>> np.round(11 * ft.jacobian(solution, 1)(a, b), 6).tolist()
        [[3.0, -1.0], [-1.0, 4.0]]

    Source: Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems (1952).
    """
    return solution("cg", A, b, x0, M, check, {"rtol": rtol, "atol": atol, "maxiter": maxiter}, symmetric=True)


def bicgstab(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    check: bool | None = None,
) -> tuple[Any, Any]:
    """The solution of ``A x = b``, by stabilised biconjugate gradients.

    Arguments, results and errors are those of `cg`; the matrix may be any that is not singular.

    Example:
        >>> import numpy as np, functrans as ft
        >>> x, info = ft.scipy.sparse.linalg.bicgstab(lambda x: np.stack([x[0] + x[1], x[1]]), np.array([3.0, 2.0]))
        >>> np.round(x, 6).tolist(), int(info)
        ([1.0, 2.0], 0)

    Source: van der Vorst, Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG (1992).
    """
    return solution("bicgstab", A, b, x0, M, check, {"rtol": rtol, "atol": atol, "maxiter": maxiter}, symmetric=False)


def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    restart: int | None = None,
    maxiter: int | None = None,
    M: Any = None,
    check: bool | None = None,
) -> tuple[Any, Any]:
    """The solution of ``A x = b``, by generalised minimal residuals.

    Arguments, results and errors are those of `cg`; the matrix may be any that is not singular.

    Args:
        restart: iterations between restarts; more take more memory and converge sooner.

    Example:
        >>> import numpy as np, functrans as ft
        >>> a = np.array([[1.0, 1.0], [0.0, 1.0]])
        >>> ft.grad(lambda a: ft.scipy.sparse.linalg.gmres(a, np.array([3.0, 2.0]))[0][0])(a).round(6).tolist()
        [[-1.0, -2.0], [1.0, 2.0]]

    Source: Saad and Schultz, GMRES: a generalized minimal residual algorithm (1986).
    """
    options = {"rtol": rtol, "atol": atol, "maxiter": maxiter, "restart": restart}
    return solution("gmres", A, b, x0, M, check, options, symmetric=False)


def solution(
    method: str, A: Any, b: Any, x0: Any, M: Any, check: bool | None, options: dict[str, Any], symmetric: bool
) -> tuple[Any, Any]:
    """The solution by one of SciPy's methods, and its info."""
    name = f"scipy.sparse.linalg.{method}"
    vectors = Vectors(name, b)
    matvec = product_of(name, "A", A, vectors)
    vectors.type = matched(matvec, vectors.type)
    symmetric = symmetric and vectors.type.dtype.kind != "c"  # where cg is for Hermitian ones
    right = vectors.vector(b, "b")
    guess = np.zeros(vectors.type.shape, vectors.type.dtype) if x0 is None else vectors.vector(x0, "x0")
    solver = Solver(name, vectors.type, options)
    precondition = None if M is None else product_of(name, "M", M, vectors)

    def transposed(product: Product | None) -> Product | None:
        return product if product is None or symmetric else lambda ct: linear_transpose(product, vectors.type)(ct)[0]

    def again(precondition: Product | None) -> Callable[[Product, Any], Any]:
        nothing = np.zeros(vectors.type.shape, vectors.type.dtype)
        return lambda matvec, b: solver(matvec, b, nothing, precondition, check is not False)[0]

    x, info = custom_root(
        lambda x: matvec(x) - right,
        guess,
        lambda f, guess: solver(matvec, right, guess, precondition, check is True),
        lambda g, y: custom_linear_solve(g, y, again(precondition), again(transposed(precondition)), symmetric),
        has_aux=True,
    )
    return vectors.tree(x), info


class Solver:
    """One of SciPy's iterative solvers, of vectors of one type."""

    def __init__(self, name: str, type_: ArrayType, options: dict[str, Any]) -> None:
        self.name, self.type, self.options = name, type_, options
        self.origin = user_origin()

    def __call__(self, matvec: Product, b: Any, x0: Any, precondition: Product | None, check: bool) -> Any:
        """The solution and SciPy's info."""

        def call(functions: Any, b: Any, x0: Any) -> Any:
            from scipy.sparse import linalg

            size, dtype = b.size, self.type.dtype
            A, M = (f if f is None else linalg.LinearOperator((size, size), matvec=f, dtype=dtype) for f in functions)
            x, info = getattr(linalg, self.name.rpartition(".")[2])(A, b, x0=x0, M=M, **self.options)
            if check and info:
                raise ConvergenceError(
                    f"{self.name}: SciPy found no solution (info is {info})\n  called at {describe_origin(self.origin)}"
                    "\n  Remedy: raise maxiter or rtol, precondition with M, or pass check=False to go on with what it found."
                )
            return x.astype(dtype), int(info)

        functions = [HostFunction(matvec, self.type), None if precondition is None else HostFunction(precondition, self.type)]
        return call_scipy(call, functions, (self.type, 0), b, x0)


def product_of(name: str, what: str, matrix: Any, vectors: Vectors) -> Product:
    """The product of a vector with a matrix of one of the kinds that are known."""
    if type(matrix).__module__.startswith("scipy.sparse"):
        return constant_product(matrix)
    if callable(matrix):
        return lambda x: vectors.vector(matrix(vectors.tree(x)), f"what {what} returns")
    matrix, size = operand(matrix, name), vectors.type.shape[0]
    if shape_of(matrix) != (size, size):
        raise StructureError(
            f"{name}: {what} is {describe(matrix)}, and b has {size} numbers"
            f"\n  Remedy: pass a square matrix, or a function that multiplies by it.{at_user_line()}"
        )
    return lambda x: matrix @ x


def constant_product(matrix: Any) -> Product:
    """The product of a vector with a matrix of SciPy's own kinds, which is linear, and whose transpose SciPy knows."""

    def product(matrix: Any) -> CustomRule:
        def call(x: Any) -> Any:
            type_ = ArrayType(matrix.shape[:1], np.result_type(matrix.dtype, type_of(x).dtype))
            return pure_callback(lambda x: np.asarray(matrix @ x), type_, x, vmap_method="sequential")

        return custom_vjp(call)

    ahead, back = product(matrix), product(matrix.T)
    for own, other in ((ahead, back), (back, ahead)):
        own.defvjp(lambda x: (None, None), lambda _, ct, other=other: (other(ct),))
        own.defjvp(lambda primals, tangents, own=own: (None, own(*tangents)))
    return ahead


def matched(matvec: Product, type_: ArrayType) -> ArrayType:
    """The type of vectors that a product with a matrix leaves as it is."""
    if isinstance(current.get(), Evaluation):
        return type_of(operand(matvec(np.zeros(type_.shape, type_.dtype))))
    (out,) = stage(matvec, (type_,), transform="scipy").outputs
    return out.array_type
