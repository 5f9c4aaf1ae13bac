"""Roots and minima by ``scipy.optimize``, with exact Jacobians, and with derivatives of what is found.

What is found, as a function of `args` and of all that a function closes over, has the derivatives of the implicit
function theorem (see `ft.custom_root`): a root those of the equation, a minimum those of "the gradient is zero".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from functrans import tree
from functrans.control.custom_root import custom_root
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, describe, shape_of, type_of
from functrans.errors import ConvergenceError, StructureError, UnsupportedError, at_user_line, describe_origin, user_origin
from functrans.scipy.host import HostFunction, Vectors, call_scipy
from functrans.transforms.derived import hessian, hvp, jacfwd
from functrans.transforms.reverse import grad, value_and_grad

__all__ = ["OptimizeResult", "RootResults", "minimize", "root", "root_scalar"]

Solve = Callable[[Callable[[Any], Any], Any], Any]

# Methods by what of the derivatives SciPy takes.
JACOBIAN_METHODS = {"hybr", "lm"}
GRADIENT_METHODS = {
    "cg", "bfgs", "newton-cg", "l-bfgs-b", "tnc", "slsqp", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr",
}  # fmt: skip
PRODUCT_METHODS = {"newton-cg", "trust-ncg", "trust-krylov", "trust-constr"}
HESSIAN_METHODS = {"dogleg", "trust-exact"}
BOUNDED_METHODS = {"nelder-mead", "l-bfgs-b", "tnc", "slsqp", "powell", "trust-constr", "cobyla", "cobyqa"}


@tree.register_dataclass
@dataclass
class OptimizeResult:
    """What `root` and `minimize` return: a pytree.

    Attributes:
        x: the solution, a tree like the first guess, in float64.
        success: whether the solver found one.
        status: SciPy's number for how it ended.
        fun: the function's value there.
        nfev: how often the function was called.
        nit: how many iterations there were; None for `root`.
    """

    x: Any
    success: Any
    status: Any
    fun: Any
    nfev: Any
    nit: Any = None


@tree.register_dataclass
@dataclass
class RootResults:
    """What `root_scalar` returns: a pytree.

    Attributes:
        root: the root.
        converged: whether the solver found it.
        iterations: how many there were.
        function_calls: how often the function was called.
    """

    root: Any
    converged: Any
    iterations: Any
    function_calls: Any


def dense(g: Callable[[Any], Any], y: Any) -> Any:
    """The solution of ``g(x) = y`` by the matrix of `g`."""
    return np.linalg.solve(jacfwd(g)(y), y)


def arguments(args: Any) -> tuple[Any, ...]:
    """SciPy's `args`: a tuple, or the only one."""
    return args if isinstance(args, tuple) else (args,)


def real_vectors(name: str, x0: Any) -> Vectors:
    """Trees like the first guess as vectors of float64."""
    vectors = Vectors(name, x0)
    if vectors.type.dtype.kind == "c":
        raise UnsupportedError(
            f"{name}: the first guess is complex, which SciPy does not take\n  Remedy: solve for its real and imaginary "
            f"parts.{at_user_line()}"
        )
    vectors.type = ArrayType(vectors.type.shape, float)
    return vectors


class Ending:
    """How a call of SciPy is to end: with an error where nothing was found, if that is checked."""

    def __init__(self, name: str, check: bool) -> None:
        self.name, self.check, self.origin = name, check, user_origin()

    def look(self, success: Any, message: Any) -> None:
        """Raise if nothing was found."""
        if self.check and not success:
            raise ConvergenceError(
                f"{self.name}: SciPy found no solution: {message}\n  called at {describe_origin(self.origin)}"
                "\n  Remedy: begin with a better guess, choose another method or its options, or pass check=False and look at success."
            )


def root(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: str = "hybr",
    *,
    tol: float | None = None,
    options: dict[str, Any] | None = None,
    check: bool = False,
    tangent_solve: Solve | None = None,
) -> OptimizeResult:
    """A root of a system of equations, by ``scipy.optimize.root``.

    Args:
        fun: ``fun(x, *args)``, a tree like `x0`, all parts of which are to be zero. Its Jacobian is computed where
            `method` takes one.
        x0: the first guess, an array (or a list or tuple of numbers, as one) or a tree of arrays of real numbers; the
            solution has no derivative with respect to it.
        args: further arguments, a tuple, or a single one.
        method, tol, options: as in SciPy.
        check: whether to raise if there is no success. If not, look at ``success``: derivatives are those at a root.
        tangent_solve: solves the linear systems of the derivatives, as in `ft.custom_root`, of vectors of all numbers of `x0`;
            with the whole Jacobian by default. For long vectors pass one that calls `ft.custom_linear_solve`.

    Returns:
        `OptimizeResult`. Its `x` has derivatives, of any order and in both modes, with respect to `args` and to what
        `fun` closes over.

    Raises:
        ConvergenceError: no success, with ``check=True``.
        StructureError: `fun` returns another structure or other shapes than those of `x0`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> def circle_and_line(x, radius):
        ...     return np.stack([x[0] ** 2 + x[1] ** 2 - radius**2, x[0] - x[1]])
        >>> solution = lambda radius: ft.scipy.optimize.root(circle_and_line, np.array([1.0, 2.0]), radius).x
        >>> solution(2.0).round(6).tolist(), ft.jacobian(solution)(2.0).round(6).tolist()
        ([1.414214, 1.414214], [0.707107, 0.707107])
    """
    name = "scipy.optimize.root"
    vectors = real_vectors(name, x0)
    args, ending = arguments(args), Ending(name, check)

    def equations(x: Any) -> Any:
        return vectors.vector(fun(vectors.tree(x), *args), "what fun returns")

    def call(functions: Any, guess: Any) -> Any:
        from scipy import optimize

        function, jacobian = functions
        found = optimize.root(function, guess, method=method, jac=jacobian, tol=tol, options=options)
        ending.look(found.success, found.message)
        # Of some methods, the numbers are matrices, or missing.
        status = found.get("status", 0 if found.success else 1)
        return found.x, (
            np.bool_(found.success),
            int(status),
            np.array(found.fun, float),
            int(found.get("nfev", found.get("nit", 0))),
        )

    def solve(f: Any, guess: Any) -> Any:
        types = vectors.type, (ArrayType((), bool), 0, vectors.type, 0)
        jacobian = HostFunction(jacfwd(equations), vectors.type) if method.lower() in JACOBIAN_METHODS else None
        return call_scipy(call, [HostFunction(equations, vectors.type), jacobian], types, guess)

    guess = vectors.vector(x0, "the first guess")
    x, (success, status, value, calls) = custom_root(equations, guess, solve, tangent_solve or dense, has_aux=True)
    return OptimizeResult(vectors.tree(x), success, status, vectors.tree(value), calls)


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: str | None = None,
    *,
    bounds: Any = None,
    tol: float | None = None,
    options: dict[str, Any] | None = None,
    check: bool = False,
    tangent_solve: Solve | None = None,
) -> OptimizeResult:
    """A minimum of a function, by ``scipy.optimize.minimize``.

    Args:
        fun: ``fun(x, *args)``, a real number. Its gradient, and where `method` takes them its Hessian or products with
            it, are computed.
        x0: the first guess, as for `root`.
        args: further arguments, a tuple, or a single one.
        method: as in SciPy: by default BFGS, or with bounds L-BFGS-B.
        bounds: as in SciPy: a pair ``(lower, upper)`` for each number of `x0`, with None for no bound; an array of two
            columns; or a ``scipy.optimize.Bounds``. The solution has derivatives with respect to them.
        tol, options: as in SciPy. Derivatives are as exact as the solution is: about as the tolerance of the gradient.
        check: whether to raise if there is no success. If not, look at ``success``: derivatives are those at a minimum.
        tangent_solve: solves the linear systems of the derivatives, as in `ft.custom_root`, of vectors of all numbers of
            `x0`; with the whole Hessian by default. For many numbers pass one that calls `ft.custom_linear_solve`.

    Returns:
        `OptimizeResult`. Its `x` and `fun` have derivatives, of any order and in both modes, with respect to `args`, to
        `bounds` and to what `fun` closes over.

    Raises:
        ConvergenceError: no success, with ``check=True``.
        UnsupportedError: bounds, with a method that takes none.
        StructureError: bounds that are not a pair for each number.

    Example:
        >>> import numpy as np, functrans as ft
        >>> def ridge(w, x, y, penalty):
        ...     return np.sum((x @ w - y) ** 2) + penalty * np.sum(w**2)
        >>> x, y = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0, 0.5])
        >>> fitted = lambda penalty: ft.scipy.optimize.minimize(ridge, np.zeros(2), (x, y, penalty), tol=1e-10).x
        >>> exact = lambda penalty: np.linalg.solve(x.T @ x + penalty * np.eye(2), x.T @ y)
        >>> np.allclose(fitted(0.1), exact(0.1), atol=1e-8)
        True
        >>> np.allclose(ft.jacobian(fitted)(0.1), ft.jacobian(exact)(0.1), atol=1e-8)
        True
    """
    name = "scipy.optimize.minimize"
    vectors = real_vectors(name, x0)
    args, ending = arguments(args), Ending(name, check)
    method = method or ("BFGS" if bounds is None else "L-BFGS-B")
    kind = method.lower()
    if bounds is not None and kind not in BOUNDED_METHODS:
        raise UnsupportedError(
            f"{name}: method {method!r} takes no bounds\n  Remedy: use one of {', '.join(sorted(BOUNDED_METHODS))}.{at_user_line()}"
        )
    limits = [] if bounds is None else limits_of(name, vectors, bounds)

    def objective(x: Any) -> Any:
        return fun(vectors.tree(x), *args)

    def condition(x: Any) -> Any:
        gradient = grad(objective)(x)
        # At a bound, the gradient may point out of it: the step against it is cut off there.
        return x - np.clip(x - gradient, *limits) if limits else gradient

    def call(functions: Any, guess: Any, *limits: Any) -> Any:
        from scipy import optimize

        function, hess, hessp = functions
        found = optimize.minimize(
            function, guess, method=method, jac=kind in GRADIENT_METHODS or None, hess=hess, hessp=hessp, tol=tol,
            options=options, bounds=optimize.Bounds(*limits) if limits else None,
        )  # fmt: skip
        ending.look(found.success, found.message)
        return found.x, (np.bool_(found.success), int(found.status), int(found.nfev), int(found.get("nit", 0)))

    def solve(f: Any, guess: Any) -> Any:
        type_ = vectors.type
        function = HostFunction(value_and_grad(objective) if kind in GRADIENT_METHODS else objective, type_)
        hess = HostFunction(hessian(objective), type_) if kind in HESSIAN_METHODS else None
        product = lambda x, direction: hvp(objective, (x,), (direction,))
        hessp = HostFunction(product, type_, type_) if kind in PRODUCT_METHODS else None
        types = type_, (ArrayType((), bool), 0, 0, 0)
        return call_scipy(call, [function, hess, hessp], types, guess, *limits)

    guess = vectors.vector(x0, "the first guess")
    x, (success, status, calls, iterations) = custom_root(condition, guess, solve, tangent_solve or dense, has_aux=True)
    return OptimizeResult(vectors.tree(x), success, status, objective(x), calls, iterations)


def limits_of(name: str, vectors: Vectors, bounds: Any) -> list[Any]:
    """The lower and the upper bounds, as vectors."""
    if hasattr(bounds, "lb"):
        return [np.broadcast_to(np.asarray(bound, float), vectors.type.shape) for bound in (bounds.lb, bounds.ub)]
    if isinstance(bounds, (list, tuple)):
        bounds = [[free if bound is None else bound for bound, free in zip(pair, (-np.inf, np.inf))] for pair in bounds]
    pairs = operand(bounds) * 1.0
    if shape_of(pairs) != (*vectors.type.shape, 2):
        raise StructureError(
            f"{name}: bounds are {describe(pairs)}, and x0 has {vectors.type.shape[0]} numbers"
            f"\n  Remedy: pass a pair (lower, upper) for each of them.{at_user_line()}"
        )
    return [pairs[:, 0], pairs[:, 1]]


def root_scalar(
    f: Callable[..., Any],
    args: Any = (),
    method: str | None = None,
    bracket: Sequence[Any] | None = None,
    *,
    x0: Any = None,
    x1: Any = None,
    xtol: float | None = None,
    rtol: float | None = None,
    maxiter: int | None = None,
    check: bool = False,
) -> RootResults:
    """A root of a function of one number, by ``scipy.optimize.root_scalar``.

    Args:
        f: ``f(x, *args)``, a real number. Its derivatives are computed where `method` takes them.
        args: further arguments, a tuple, or a single one.
        method: as in SciPy: by default brentq with a bracket, secant with `x1`, else newton.
        bracket: two numbers at which `f` has different signs.
        x0, x1: first guesses.
        xtol, rtol, maxiter: as in SciPy.
        check: whether to raise if the solver does not converge. If not, look at ``converged``.

    Returns:
        `RootResults`. Its `root` has derivatives, of any order and in both modes, with respect to `args` and to what `f`
        closes over; none with respect to guesses and brackets.

    Raises:
        ConvergenceError: no convergence, with ``check=True``.
        ValueError: SciPy's own, such as for a bracket without a change of sign.

    Example:
        >>> import numpy as np, functrans as ft
        >>> kepler = lambda anomaly, mean, eccentricity: anomaly - eccentricity * np.sin(anomaly) - mean
        >>> solution = lambda *args: ft.scipy.optimize.root_scalar(kepler, args, bracket=(0.0, np.pi)).root
        >>> round(float(solution(1.0, 0.3)), 6), round(float(ft.grad(solution)(1.0, 0.3)), 6)
        (1.288091, 1.091329)
        >>> ft.vmap(solution, in_axes=(0, None))(np.array([1.0, 2.0]), 0.3).round(6).tolist()
        [1.288091, 2.236031]
    """
    name = "scipy.optimize.root_scalar"
    args, ending = arguments(args), Ending(name, check)
    method = method or ("brentq" if bracket is not None else "newton" if x1 is None else "secant")
    given = {"x0": x0, "x1": x1}
    if bracket is not None:
        given |= {"a": bracket[0], "b": bracket[1]}
    given = {key: operand(value) * 1.0 for key, value in given.items() if value is not None}
    if not given:
        raise ValueError(f"{name}: neither bracket nor x0 was given\n  Remedy: give one of them.{at_user_line()}")
    names, has_bracket = list(given), bracket is not None
    tolerances = {"xtol": xtol, "rtol": rtol, "maxiter": maxiter}
    number = ArrayType((), float)

    def function(x: Any) -> Any:
        value = operand(f(x, *args))
        if shape_of(value) or type_of(value).dtype.kind not in "fiu":
            raise TypeError(f"{name}: f must return a real number, got {describe(value)}{at_user_line()}")
        return value

    def call(functions: Any, *starts: Any) -> Any:
        from scipy import optimize

        plain, fprime, fprime2 = functions
        named = dict(zip(names, starts))
        ends = (named.pop("a"), named.pop("b")) if has_bracket else None
        found = optimize.root_scalar(plain, method=method, bracket=ends, fprime=fprime, fprime2=fprime2, **named, **tolerances)
        ending.look(found.converged, found.flag)
        return float(found.root), (np.bool_(found.converged), int(found.iterations), int(found.function_calls))

    def solve(_: Any, guess: Any) -> Any:
        fprime = HostFunction(grad(function), number) if method in ("newton", "halley") else None
        fprime2 = HostFunction(grad(grad(function)), number) if method == "halley" else None
        types = 0.0, (ArrayType((), bool), 0, 0)
        return call_scipy(call, [HostFunction(function, number), fprime, fprime2], types, *given.values())

    guess = next(iter(given.values()))
    found, rest = custom_root(function, guess, solve, lambda g, y: y / g(1.0), has_aux=True)
    return RootResults(found, *rest)
