"""`custom_root`: derivatives of roots, in every mode and to third order."""

import numpy as np
import pytest
import scipy.optimize

import functrans as ft
from functrans.testing import check_grads


def divide(g, y):
    return y / g(1.0)


def dense(g, y):
    return np.linalg.solve(ft.jacobian(g)(y), y)


def newton(f, x):
    """In Python, until it is there."""
    while np.abs(f(x)) > 1e-14:
        x = x - f(x) / ft.grad(f)(x)
    return x


def steps(f, x):
    """A fixed number of steps, which need no values."""
    for _ in range(40):
        x = x - np.linalg.solve(ft.jacfwd(f)(x), f(x))
    return x


def cube_root(c, solve=newton):
    return ft.custom_root(lambda x: x**3 - c, 1.5, solve, divide)


def scalar_steps(f, x):
    for _ in range(40):
        x = x - f(x) / ft.grad(f)(x)
    return x


def system(c):
    """Two equations with a matrix that is not symmetric."""
    return ft.custom_root(
        lambda x: np.stack([x[0] ** 2 + x[1] - c[0], x[1] ** 3 - x[0] * c[1]]), np.array([1.5, 1.0]), steps, dense
    )


def forward(f):
    return lambda x: ft.jvp(f, (x,), (1.0,))[1]


def test_value_outside_of_transforms():
    assert cube_root(8.0) == pytest.approx(2.0, abs=1e-14)


@pytest.mark.parametrize("modes", ["rrr", "fff", "rff", "frf", "ffr", "rrf", "rfr", "frr"])
def test_third_order(modes):
    f = cube_root
    for order, mode in enumerate(modes, 1):
        f = ft.grad(f) if mode == "r" else forward(f)
        exact = {1: 1 / 12, 2: -1 / 144, 3: 10 / 27 * 8 ** (-8 / 3)}[order]
        np.testing.assert_allclose(f(8.0), exact, rtol=1e-12)


def test_against_finite_differences():
    check_grads(system, (np.array([3.0, 0.8]),), order=3, rtol=1e-4, atol=1e-5)


def test_batched():
    cs = np.array([8.0, 27.0, 1.0])
    gradient = ft.grad(lambda c: cube_root(c, scalar_steps))
    np.testing.assert_allclose(ft.vmap(lambda c: cube_root(c, scalar_steps))(cs), np.cbrt(cs))
    np.testing.assert_allclose(ft.vmap(gradient)(cs), np.cbrt(cs) ** -2 / 3)
    np.testing.assert_allclose(ft.vmap(ft.grad(gradient))(cs), -2 / 9 * np.cbrt(cs) ** -5)
    whole = ft.jacrev(lambda cs: ft.vmap(lambda c: cube_root(c, scalar_steps))(cs))(cs)
    np.testing.assert_allclose(whole, np.diag(np.cbrt(cs) ** -2 / 3), atol=1e-15)


def test_batch_of_guesses_alone():
    roots = ft.vmap(lambda guess: ft.custom_root(lambda x: x**2 - 4.0, guess, scalar_steps, divide))(np.array([1.0, -1.0]))
    np.testing.assert_allclose(roots, [2.0, -2.0])


def test_batched_constants_and_shared_ones():
    cs = np.array([[3.0, 0.8], [2.0, 1.1]])
    f = lambda c, d: ft.custom_root(
        lambda x: np.stack([x[0] ** 2 + x[1] - c[0], x[1] ** 3 - x[0] * d]), np.array([1.5, 1.0]), steps, dense
    )
    loop = np.stack([ft.jacrev(f, 1)(c, 0.9) for c in cs])
    np.testing.assert_allclose(ft.vmap(ft.jacrev(f, 1), in_axes=(0, None))(cs, 0.9), loop)
    np.testing.assert_allclose(ft.jacrev(lambda d: ft.vmap(lambda c: f(c, d))(cs))(0.9), loop)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_compiled(order):
    f = lambda c: cube_root(c, scalar_steps)
    for _ in range(order):
        f = ft.grad(f)
    np.testing.assert_allclose(ft.jit(f)(8.0), f(8.0), rtol=1e-13)


def test_derivative_of_compiled():
    compiled = ft.jit(lambda c: cube_root(c, scalar_steps))
    np.testing.assert_allclose(ft.grad(ft.grad(compiled))(8.0), -1 / 144)
    np.testing.assert_allclose(ft.vmap(ft.grad(compiled))(np.array([8.0, 27.0])), [1 / 12, 1 / 27])


def test_linearized():
    value, derivative = ft.linearize(system, np.array([3.0, 0.8]))
    tangent = np.array([1.0, -2.0])
    np.testing.assert_allclose(derivative(tangent), ft.jvp(system, (np.array([3.0, 0.8]),), (tangent,))[1])
    np.testing.assert_allclose(value, system(np.array([3.0, 0.8])))


def test_program_can_be_differentiated():
    program = ft.make_program(lambda c: cube_root(c, scalar_steps))(8.0)
    np.testing.assert_allclose(ft.grad(ft.grad(program))(8.0), -1 / 144)


def test_trees():
    pack = lambda t: np.stack([t["a"], t["b"][0]])
    unpack = lambda x: {"a": x[0], "b": (x[1],)}

    def solution(c):
        f = lambda t: {"a": t["a"] * 2 - t["b"][0] * c, "b": (t["b"][0] + t["a"] ** 2 - 3.0,)}
        solve = lambda f, t: unpack(steps(lambda x: pack(f(unpack(x))), pack(t)))
        tangent_solve = lambda g, y: unpack(dense(lambda x: pack(g(unpack(x))), pack(y)))
        return ft.custom_root(f, {"a": 1.0, "b": (1,)}, solve, tangent_solve)["a"]

    exact = lambda c: (np.sqrt(1 + 3 * c**2) - 1) / c  # the positive root of c a^2 + 2 a - 3 c
    for derivative in (lambda f: f, ft.grad, forward, lambda f: ft.grad(ft.grad(f))):
        np.testing.assert_allclose(derivative(solution)(1.3), derivative(exact)(1.3))


def test_other_libraries_solve_where_values_are_known():
    solve = lambda f, x: scipy.optimize.brentq(f, 0.0, 10.0, xtol=1e-14)
    f = lambda c: cube_root(c, solve)
    np.testing.assert_allclose([f(8.0), ft.grad(f)(8.0), ft.grad(ft.grad(f))(8.0)], [2.0, 1 / 12, -1 / 144])
    np.testing.assert_allclose(forward(f)(8.0), 1 / 12)
    with pytest.raises(ft.errors.ConcretizationError, match="jit: bool"):
        ft.jit(f)(8.0)


def test_auxiliary_data():
    def solve(f, x):
        return newton(f, x), {"calls": "many", "residual": f(x)}

    def solution(c):
        x, aux = ft.custom_root(lambda x: x**3 - c, 1.5, solve, divide, has_aux=True)
        assert aux["calls"] == "many"
        return x * aux["residual"]

    np.testing.assert_allclose(ft.grad(solution)(8.0), (1.5**3 - 8.0) / 12)


def test_neither_guess_nor_solver_has_a_derivative():
    f = lambda guess: ft.custom_root(lambda x: x**3 - 8.0, guess, lambda f, x: newton(f, x * 1.0), divide)
    assert ft.grad(f)(1.5) == 0.0
    np.testing.assert_allclose(ft.jvp(f, (1.5,), (1.0,)), (2.0, 0.0), atol=1e-14)


def test_iterative_tangent_solver_through_custom_linear_solve():
    def richardson(matvec, b):
        x = b
        for _ in range(80):
            x = x + 0.3 * (b - matvec(x))
        return x

    a = np.array([[2.0, 0.5], [-0.3, 1.5]])
    tangent_solve = lambda g, y: ft.custom_linear_solve(g, y, richardson, transpose_solve=richardson)
    f = lambda c: ft.custom_root(lambda x: a @ x + 0.1 * np.sin(x) - c, np.zeros(2), steps, tangent_solve)
    check_grads(f, (np.array([1.0, -1.0]),), order=2)


def test_wrong_structures():
    with pytest.raises(ft.errors.StructureError, match=r"custom_root of lambda: the root has structure .* initial guess"):
        ft.custom_root(lambda x: x, 1.0, lambda f, x: (x, x), divide)
    with pytest.raises(ft.errors.StructureError, match=r"the root is float64\[2\], and the initial guess is float64\[\]"):
        ft.grad(lambda c: ft.custom_root(lambda x: x - c, 1.0, lambda f, x: np.ones(2), divide))(1.0)
    with pytest.raises(ft.errors.StructureError, match=r"what f returns is float64\[2\], and the root is float64\[\]"):
        ft.grad(lambda c: ft.custom_root(lambda x: np.stack([x, c]), 1.0, lambda f, x: x, divide))(1.0)
    with pytest.raises(ft.errors.StructureError, match="the solution of tangent_solve has structure"):
        ft.grad(lambda c: ft.custom_root(lambda x: x - c, 1.0, lambda f, x: x, lambda g, y: (y, y)))(1.0)
    with pytest.raises(ft.errors.StructureError, match="has_aux=True needs a function that returns a pair .solution, auxiliary"):
        ft.custom_root(lambda x: x, 1.0, lambda f, x: x, divide, has_aux=True)


def test_reverse_mode_of_a_tangent_solver_that_cannot_be_transposed():
    opaque = lambda g, y: ft.pure_callback(lambda y: y / 12.0, y, y)
    f = lambda c: ft.custom_root(lambda x: x**3 - c, 1.5, newton, opaque)
    np.testing.assert_allclose(forward(f)(8.0), 1 / 12)
    with pytest.raises(
        ft.errors.DifferentiationError, match=r"(?s)custom_root of lambda: .*write tangent_solve with ft.custom_lin"
    ):
        ft.grad(f)(8.0)


def test_singular_system():
    f = lambda c: ft.custom_root(lambda x: x**2 - c, np.zeros(2), lambda f, x: x, dense)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        ft.jvp(f, (0.0,), (1.0,))
