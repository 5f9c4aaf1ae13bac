"""Functions of ``scipy.linalg`` that NumPy has not, of any number of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.types import dtype_of, shape_of
from functrans.numpy.reduction import floating
from functrans.ops import matrix_functions as ops
from functrans.ops.linalg import adjoint, swap

__all__ = ["expm", "lu", "lu_factor", "lu_solve"]


def expm(A: Any) -> Any:
    """The exponential of a matrix.

    Args:
        A: ``[..., n, n]``, floating or complex; integers are taken for float64.

    Returns:
        An array of the shape of `A`.

    Raises:
        LinAlgError: `A` is not square.

    Example:
        >>> import numpy as np, functrans as ft
        >>> turn = lambda angle: ft.scipy.linalg.expm(angle * np.array([[0.0, -1.0], [1.0, 0.0]]))
        >>> ft.jacobian(turn)(np.pi / 2).round(6).tolist()
        [[-1.0, -0.0], [0.0, -1.0]]

    Source: Najfeld and Havel, Derivatives of the matrix exponential and their computation (1995).
    """
    return ops.expm(floating(A))


def lu_factor(a: Any) -> tuple[Any, Any]:
    """The factors of ``P A = L U``, with partial pivoting, in one matrix.

    Args:
        a: ``[..., m, n]``, floating or complex; integers are taken for float64.

    Returns:
        ``(lu, piv)``: U and, below the diagonal, L without its diagonal of ones, ``[..., m, n]``; and int32 ``[..., min(m, n)]``: row
        i was exchanged with row ``piv[i]``.

    Raises:
        LinAlgError: `a` is no matrix; or a derivative is asked for where U is singular.

    Example:
        >>> import numpy as np, functrans as ft
        >>> a = np.array([[1.0, 2.0], [4.0, 2.0]])
        >>> ft.scipy.linalg.lu_factor(a)[0].tolist()
        [[4.0, 2.0], [0.25, 1.5]]
        >>> ft.grad(lambda a: ft.scipy.linalg.lu_factor(a)[0][1, 0])(a).tolist()  # of a[0, 0] / a[1, 0]
        [[0.25, 0.0], [-0.0625, 0.0]]

    Source: Seeger et al., Auto-differentiating linear algebra (2017).
    """
    factors, pivots, _, _ = ops.lu(floating(a))
    return factors, pivots


def lu(a: Any) -> tuple[Any, Any, Any]:
    """The factors of ``A = P L U``, with partial pivoting.

    Args:
        a: ``[..., m, n]``, floating or complex; integers are taken for float64.

    Returns:
        ``(p, l, u)``: a permutation matrix ``[..., m, m]``, a lower triangular one ``[..., m, k]`` with a diagonal of ones, and an upper
        triangular one ``[..., k, n]``, where k is the smaller of m and n.

    Raises:
        LinAlgError: `a` is no matrix; or a derivative is asked for where U is singular.

    Example:
        >>> import numpy as np, functrans as ft
        >>> p, l, u = ft.scipy.linalg.lu(np.array([[1.0, 2.0], [4.0, 2.0]]))
        >>> (p @ l @ u).tolist()
        [[1.0, 2.0], [4.0, 2.0]]
    """
    factors, _, order, _ = ops.lu(floating(a))
    return permutation_matrix(order, dtype_of(factors)), *ops.triangles(factors)


def permutation_matrix(order: Any, dtype: Any) -> Any:
    """P of ``A = P L U``, where ``A[order] = L U``."""
    return (np.arange(shape_of(order)[-1])[:, None] == order[..., None, :]).astype(np.zeros((), dtype).real.dtype)


def lu_solve(lu_and_piv: tuple[Any, Any], b: Any, trans: int = 0) -> Any:
    """The solution of ``A x = b`` by the factors of A.

    Args:
        lu_and_piv: what `lu_factor` gives of a square matrix.
        b: ``[n]`` or ``[..., n, k]``.
        trans: 0, or 1 for a system of the transpose, or 2 of the conjugate transpose.

    Returns:
        An array like `b`.

    Raises:
        LinAlgError: U is singular.
        ValueError: the shapes do not fit.

    Example:
        >>> import numpy as np, functrans as ft
        >>> factors = ft.scipy.linalg.lu_factor(np.array([[1.0, 2.0], [4.0, 2.0]]))
        >>> ft.jacobian(lambda b: ft.scipy.linalg.lu_solve(factors, b))(np.array([3.0, 6.0])).round(3).tolist()
        [[-0.333, 0.333], [0.667, -0.167]]
    """
    factors, pivots = lu_and_piv
    lower, upper = ops.triangles(floating(factors))
    order = ops.permutation(pivots, shape_of(factors)[-1])
    vector = len(shape_of(b)) == 1
    right = floating(b)[:, None] if vector else floating(b)
    if trans == 0:
        x = np.linalg.solve(upper, np.linalg.solve(lower, rows_taken(right, order)))
    else:
        turned = adjoint if trans == 2 else swap
        x = rows_taken(np.linalg.solve(turned(lower), np.linalg.solve(turned(upper), right)), np.argsort(order, axis=-1))
    return x[..., 0] if vector else x


def rows_taken(x: Any, order: Any) -> Any:
    """Rows of each matrix in an order, both broadcast."""
    lead = np.broadcast_shapes(shape_of(x)[:-2], shape_of(order)[:-1])
    x = np.broadcast_to(x, (*lead, *shape_of(x)[-2:]))
    return np.take_along_axis(x, np.broadcast_to(order, (*lead, shape_of(order)[-1]))[..., None], -2)
