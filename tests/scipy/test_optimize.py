"""`ft.scipy.optimize`: solutions as SciPy's, and derivatives against closed forms."""

import numpy as np
import pytest
import scipy.optimize

import functrans as ft
from functrans.scipy import optimize

C = np.array([2.0, 0.7])
DATA = np.array([[1.0, 2.0, 0.5], [3.0, 1.0, -1.0], [0.0, 1.0, 2.0], [1.0, -1.0, 0.3]])
TARGET = np.array([1.0, 2.0, 0.5, -1.0])


def circle_and_line(x, c):
    return np.stack([x[0] ** 2 + x[1] ** 2 - c[0] ** 2, x[0] - x[1] * c[1]])


def crossing(c):
    return c[0] / np.sqrt(1 + c[1] ** 2) * np.stack([c[1], 1.0])


def ridge(w, penalty):
    return np.sum((DATA @ w - TARGET) ** 2) + penalty * np.sum(w**2)


def fitted(penalty):
    return np.linalg.solve(DATA.T @ DATA + penalty * np.eye(3), DATA.T @ TARGET)


def check(f, exact, x, tolerance, order=2):
    """Values and derivatives of all modes, compiled and not."""
    near = lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
    near(f(x), exact(x))
    near(ft.jit(f)(x), exact(x))
    for derivative in (ft.jacfwd, ft.jacrev):
        near(derivative(f)(x), ft.jacfwd(exact)(x))
        near(ft.jit(derivative(f))(x), ft.jacfwd(exact)(x))
        for again in (ft.jacfwd, ft.jacrev) if order > 1 else ():
            near(again(derivative(f))(x), ft.jacfwd(ft.jacfwd(exact))(x))


@pytest.mark.parametrize("method", ["hybr", "lm", "krylov", "broyden1", "df-sane"])
def test_root(method):
    solution = lambda c: optimize.root(circle_and_line, np.array([1.0, 1.1]), c, method, tol=1e-11).x
    check(solution, crossing, C, 1e-6, order=2 if method == "hybr" else 1)


def test_root_is_scipys():
    ours = optimize.root(circle_and_line, np.array([1.0, 1.1]), C)
    theirs = scipy.optimize.root(circle_and_line, np.array([1.0, 1.1]), C)
    np.testing.assert_allclose(ours.x, theirs.x)
    assert ours.success and ours.status == theirs.status
    np.testing.assert_allclose(ours.fun, 0.0, atol=1e-12)


def test_root_with_values_closed_over():
    solution = lambda c: optimize.root(lambda x: circle_and_line(x, c), np.array([1.0, 1.1])).x
    check(solution, crossing, C, 1e-9)


@pytest.mark.parametrize(
    "method",
    [
        "BFGS",
        "CG",
        "Newton-CG",
        "L-BFGS-B",
        "TNC",
        "SLSQP",
        "dogleg",
        "trust-ncg",
        "trust-krylov",
        "trust-exact",
        "trust-constr",
    ],
)
def test_minimize(method):
    solution = lambda penalty: optimize.minimize(ridge, np.zeros(3), penalty, method, tol=1e-9).x
    check(solution, fitted, 0.3, 1e-5, order=2 if method == "BFGS" else 1)


@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell"])
def test_minimize_without_gradient(method):
    solution = lambda c: (
        optimize.minimize(lambda x: (x[0] - c) ** 2 + (x[1] * c - 1) ** 2, np.ones(2), method=method, tol=1e-10).x
    )
    check(solution, lambda c: np.stack([c, 1 / c]), 2.0, 1e-4, order=1)


def test_minimize_is_scipys():
    rosen = lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    ours = optimize.minimize(rosen, np.zeros(4), method="BFGS")
    theirs = scipy.optimize.minimize(rosen, np.zeros(4), method="BFGS", jac=ft.grad(rosen))
    np.testing.assert_array_equal(ours.x, theirs.x)
    assert (ours.nit, ours.nfev, ours.fun, ours.success) == (theirs.nit, theirs.nfev, theirs.fun, True)


def test_the_least_value_has_derivatives():
    least = lambda penalty: optimize.minimize(ridge, np.zeros(3), penalty, tol=1e-10).fun
    check(least, lambda penalty: ridge(fitted(penalty), penalty), 0.3, 1e-7)


def test_batched():
    penalties = np.array([0.1, 0.2, 0.4])
    f = lambda penalty: optimize.minimize(ridge, np.zeros(3), penalty, tol=1e-8)
    result = ft.vmap(f)(penalties)
    np.testing.assert_allclose(result.x, [fitted(penalty) for penalty in penalties], atol=1e-7)
    assert result.success.tolist() == [True] * 3 and result.nit.shape == (3,)
    slopes = ft.vmap(ft.jacrev(lambda penalty: f(penalty).x))(penalties)
    np.testing.assert_allclose(slopes, [ft.jacfwd(fitted)(penalty) for penalty in penalties], atol=1e-6)
    np.testing.assert_allclose(ft.jit(ft.vmap(f))(penalties).x, result.x, atol=1e-9)


def test_trees():
    def loss(t, c):
        return np.sum((t["matrix"] - c) ** 2) + (t["number"] - np.sum(t["matrix"])) ** 2

    f = lambda c: optimize.minimize(loss, {"matrix": np.zeros((2, 2)), "number": 0}, c, tol=1e-10).x
    np.testing.assert_allclose(f(1.5)["matrix"], np.full((2, 2), 1.5), atol=1e-8)
    np.testing.assert_allclose(ft.jacrev(f)(1.5)["number"], 4.0, atol=1e-6)
    scalar = optimize.root(lambda x: np.cos(x) - x, 1.0)
    assert scalar.x.shape == () and scalar.fun.shape == ()


def test_lists_of_numbers_are_arrays():
    f = lambda c: optimize.root(lambda x: [x[0] * x[1] - c, (x**2)[0] - x[1]], [1.0, 1]).x
    np.testing.assert_allclose(f(8.0), [2.0, 4.0])
    np.testing.assert_allclose(ft.jit(ft.jacrev(f))(8.0), ft.jacfwd(lambda c: np.stack([np.cbrt(c), np.cbrt(c) ** 2]))(8.0))


def test_bounds():
    f = lambda c, high: optimize.minimize(lambda x: np.sum((x - c) ** 2), np.zeros(3), bounds=[(-1.0, high)] * 3, tol=1e-12).x
    c = np.array([0.5, 3.0, -2.0])
    np.testing.assert_allclose(f(c, 2.0), [0.5, 2.0, -1.0])
    for derivative in (ft.jacfwd, ft.jacrev, lambda *args: ft.jit(ft.jacrev(*args))):
        by_c, by_high = derivative(f, (0, 1))(c, 2.0)
        np.testing.assert_allclose(by_c, np.diag([1.0, 0.0, 0.0]), atol=1e-9)
        np.testing.assert_allclose(by_high, [0.0, 1.0, 0.0], atol=1e-9)
    for bounds in (
        [(None, 2.0), (0.0, None), (None, None)],
        scipy.optimize.Bounds([-np.inf, 0.0, -np.inf], [2.0, np.inf, np.inf]),
    ):
        result = ft.jit(lambda c: optimize.minimize(lambda x: np.sum((x - c) ** 2), np.zeros(3), bounds=bounds))(c - 1)
        np.testing.assert_allclose(result.x, [-0.5, 2.0, -3.0])
    columns = lambda c: optimize.minimize(lambda x: np.sum((x - 9.0) ** 2), np.zeros(3), bounds=np.stack([c - 1, c], 1)).x
    np.testing.assert_allclose(ft.jacrev(columns)(c), np.eye(3), atol=1e-9)
    with pytest.raises(ft.errors.StructureError, match=r"bounds are float64\[2,2\], and x0 has 3 numbers"):
        optimize.minimize(lambda x: np.sum(x), np.zeros(3), bounds=[(0, 1), (0, 1)])
    with pytest.raises(ft.errors.UnsupportedError, match="method 'BFGS' takes no bounds"):
        optimize.minimize(lambda x: x**2, 1.0, method="BFGS", bounds=[(0.0, 1.0)])


def test_tangent_solve_of_ones_own():
    def conjugate_gradients(g, y):
        return ft.scipy.sparse.linalg.cg(g, y, rtol=1e-12)[0]

    f = lambda penalty: optimize.minimize(ridge, np.zeros(3), penalty, tol=1e-10, tangent_solve=conjugate_gradients).x
    check(f, fitted, 0.3, 1e-6)


METHODS = {
    "brentq": {"bracket": (0.0, np.pi)}, "bisect": {"bracket": (0.0, np.pi)}, "toms748": {"bracket": (0.0, np.pi)},
    "newton": {"x0": 1.0}, "halley": {"x0": 1.0}, "secant": {"x0": 1.0, "x1": 1.2},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_root_scalar(method):
    cube_root = lambda c: optimize.root_scalar(lambda x, c: x**3 - c, c, method, xtol=1e-12, **METHODS[method]).root
    check(cube_root, np.cbrt, 5.0, 1e-9, order=2 if method in ("brentq", "newton") else 1)
    default = optimize.root_scalar(lambda x: x**3 - 5.0, **METHODS[method])
    assert default.converged and abs(default.root - np.cbrt(5.0)) < 1e-6


def test_root_scalar_batched_over_brackets():
    f = lambda c, high: optimize.root_scalar(lambda x: x**2 - c, bracket=(0.0, high)).root
    cs, highs = np.array([1.0, 4.0]), np.array([2.0, 9.0])
    np.testing.assert_allclose(ft.vmap(f)(cs, highs), [1.0, 2.0])
    np.testing.assert_allclose(ft.vmap(ft.grad(f))(cs, highs), [0.5, 0.25])
    np.testing.assert_allclose(ft.vmap(ft.grad(f, 1))(cs, highs), [0.0, 0.0])


FAILING = {
    "root": lambda c, check: optimize.root(lambda x: x**2 + c, 0.3, check=check).success,
    "minimize": lambda c, check: (
        optimize.minimize(lambda x: np.sum(x**4) * c, np.ones(2), options={"maxiter": 2}, check=check).success
    ),
    "root_scalar": lambda c, check: optimize.root_scalar(lambda x: x**2 + c, x0=0.3, maxiter=5, check=check).converged,
}


@pytest.mark.parametrize("name", FAILING)
def test_no_success(name):
    f = FAILING[name]
    for run in (f, ft.jit(f, static_argnums=1)):
        assert not run(1.0, False)
        with pytest.raises(
            ft.errors.ConvergenceError, match=rf"(?s)scipy.optimize.{name}: SciPy found no solution: .*test_optimize.py"
        ):
            run(1.0, True)


def test_wrong_arguments():
    with pytest.raises(ft.errors.StructureError, match=r"what fun returns is float64\[1\] .*shapes \(2,\)"):
        optimize.root(lambda x: x[:1], np.ones(2))
    with pytest.raises(ft.errors.UnsupportedError, match="the first guess is complex"):
        optimize.minimize(lambda z: np.abs(z) ** 2, 1j)
    with pytest.raises(ValueError, match="neither bracket nor x0"):
        optimize.root_scalar(lambda x: x)
    with pytest.raises(ValueError, match="different signs"):
        optimize.root_scalar(lambda x: x**2 + 1, bracket=(0.0, 1.0))
    with pytest.raises(TypeError, match=r"f must return a real number, got float64\[1\]"):
        optimize.root_scalar(lambda x: np.stack([x]), x0=1.0)
    with pytest.raises(ft.errors.DifferentiationError, match="the output must be a scalar"):
        optimize.minimize(lambda x: x, np.ones(2))
