"""`custom_linear_solve`: against `np.linalg.solve` in every mode, and its errors."""

import numpy as np
import pytest

import functrans as ft
from functrans.testing import check_grads

A = np.array([[4.0, 1.0, -0.5], [0.3, 3.0, 0.8], [-0.7, 0.2, 5.0]])
B = np.array([1.0, -2.0, 0.5])
AS, BS = np.stack([A, A + 0.5, A.T]), np.stack([B, B + 1.0, -B])


def dense(matvec, b):
    return np.linalg.solve(ft.jacobian(matvec)(b), b)


def richardson(matvec, b):
    """It depends on b in another way than linearly, so it cannot be transposed."""
    x = b
    for _ in range(60):
        x = x + 0.22 * (b - matvec(x)) + 0.0 * b**2
    return x


def direct(a, b):
    return ft.custom_linear_solve(lambda x: a @ x, b, dense)


def both(a, b):
    return ft.custom_linear_solve(lambda x: a @ x, b, richardson, transpose_solve=richardson)


def symmetric(a, b):
    return ft.custom_linear_solve(lambda x: (a @ x + x @ a) / 2, b, richardson, symmetric=True)


CASES = {
    "direct": (direct, np.linalg.solve),
    "both": (both, np.linalg.solve),
    "symmetric": (symmetric, lambda a, b: np.linalg.solve((a + a.T) / 2, b)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("place", [0, 1])
def test_derivatives(case, place):
    f, exact = case
    close(f(A, B), exact(A, B))
    wanted = ft.jacfwd(exact, place)(A, B)
    close(ft.jacfwd(f, place)(A, B), wanted)
    close(ft.jacrev(f, place)(A, B), wanted)
    close(ft.jit(ft.jacrev(f, place))(A, B), wanted)
    close(ft.jacrev(ft.jit(f), place)(A, B), wanted)


@pytest.mark.parametrize("outer", [ft.jacfwd, ft.jacrev])
@pytest.mark.parametrize("inner", [ft.jacfwd, ft.jacrev])
def test_second_order(case, outer, inner):
    f, exact = case
    wanted = ft.jacfwd(ft.jacfwd(exact, 1), 0)(A, B)
    close(outer(inner(f, 1), 0)(A, B), wanted)
    close(ft.jit(outer(inner(f, 1), 0))(A, B), wanted)


def test_third_order():
    check_grads(both, (A, B), order=3, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_batched(case, axes):
    f, exact = case
    args = AS if axes[0] == 0 else A, BS if axes[1] == 0 else B
    close(ft.vmap(f, axes)(*args), ft.vmap(exact, axes)(*args))
    for place in (0, 1):
        wanted = ft.vmap(ft.jacfwd(exact, place), axes)(*args)
        close(ft.vmap(ft.jacrev(f, place), axes)(*args), wanted)
        close(ft.jit(ft.vmap(ft.jacfwd(f, place), axes))(*args), wanted)
        close(ft.jacrev(ft.vmap(f, axes), place)(*args), ft.jacrev(ft.vmap(exact, axes), place)(*args))


def test_transposed_solver_gets_the_transposed_matrix():
    seen = []

    def transpose_solve(vecmat, b):
        seen.append(ft.jacobian(vecmat)(b))
        return np.linalg.solve(seen[-1], b)

    f = lambda b: ft.custom_linear_solve(lambda x: A @ x, b, dense, transpose_solve)
    _, pullback = ft.vjp(f, B)
    close(pullback(BS[1])[0], np.linalg.solve(A.T, BS[1]))
    assert len(seen) == 1


def test_is_linear_in_the_right_side():
    f = lambda b: ft.custom_linear_solve(lambda x: A @ x, b, richardson, transpose_solve=richardson)
    close(ft.linear_transpose(f, B)(BS[1])[0], np.linalg.solve(A.T, BS[1]))


def test_complex_matrices_are_not_conjugated():
    a, b = A + 1j * A.T[::-1], B + 0.5j
    f = lambda a, b: np.sum(np.abs(direct(a, b)) ** 2)
    exact = lambda a, b: np.sum(np.abs(np.linalg.solve(a, b)) ** 2)
    for got, wanted in zip(ft.grad(f, (0, 1))(a, b), ft.grad(exact, (0, 1))(a, b)):
        close(got, wanted)


def test_trees_and_auxiliary_data():
    def solve(matvec, b):
        x = {"u": b["u"], "v": b["v"]}
        for _ in range(100):
            r = matvec(x)
            x = {name: x[name] + 0.3 * (b[name] - r[name]) for name in x}
        return x, {"steps": 100, "last": b["u"]}

    def solution(c):
        matvec = lambda x: {"u": 2 * x["u"] + c * x["v"], "v": 3 * x["v"] - x["u"]}
        x, aux = ft.custom_linear_solve(matvec, {"u": 1, "v": 2.0}, solve, solve, has_aux=True)
        return x["u"] + 0 * aux["last"], aux["steps"]

    exact = lambda c: (3 - 2 * c) / (6 + c)
    close(solution(0.7)[0], exact(0.7))
    gradient, steps = ft.grad(solution, has_aux=True)(0.7)
    close(gradient, ft.grad(exact)(0.7))
    assert steps == 100
    close(ft.grad(ft.grad(lambda c: solution(c)[0]))(0.7), ft.grad(ft.grad(exact))(0.7))
    cs = np.array([0.7, 0.1])
    close(ft.vmap(ft.grad(lambda c: solution(c)[0]))(cs), [ft.grad(exact)(c) for c in cs])


def test_dtypes():
    assert direct(A.astype(np.float32), B.astype(np.float32)).dtype == np.float32
    gradient = ft.jacrev(direct, 1)(A, B.astype(np.float32))
    assert gradient.dtype == np.float32
    close(ft.jit(direct)(A, np.array([1, 2, 3])), np.linalg.solve(A, [1.0, 2.0, 3.0]))
    close(ft.jvp(lambda a: direct(a, np.array([1, 2, 3])), (A,), (A,))[1], -np.linalg.solve(A, [1.0, 2.0, 3.0]))


def test_what_only_a_solver_closes_over_has_no_derivative():
    def f(scale):
        return ft.custom_linear_solve(lambda x: A @ x, B, lambda matvec, b: np.linalg.solve(A, b) * scale / 2.0)

    close(ft.jvp(f, (2.0,), (1.0,))[1], np.zeros(3))


def test_a_solver_that_cannot_be_transposed():
    f = lambda b: ft.custom_linear_solve(lambda x: A @ x, b, richardson)
    close(ft.jacfwd(f)(B), np.linalg.inv(A))
    with pytest.raises(ft.errors.DifferentiationError, match=r"(?s)custom_linear_solve of lambda: .*pass transpose_solve"):
        ft.jacrev(f)(B)


def test_branches_on_values_work_outside_of_transforms_only():
    def solve(matvec, b):
        x = b
        while np.max(np.abs(matvec(x) - b)) > 1e-12:
            x = x + 0.2 * (b - matvec(x))
        return x

    f = lambda b: ft.custom_linear_solve(lambda x: A @ x, b, solve)
    close(f(B), np.linalg.solve(A, B))
    with pytest.raises(ft.errors.ConcretizationError, match=r"custom_linear_solve: bool\(\)"):
        ft.jacfwd(f)(B)


def test_wrong_structures():
    with pytest.raises(ft.errors.StructureError, match="the solution has structure .*, and b has"):
        ft.custom_linear_solve(lambda x: x, B, lambda matvec, b: (b, b))
    with pytest.raises(ft.errors.StructureError, match=r"the solution is float64\[\], and b is float64\[3\]"):
        ft.custom_linear_solve(lambda x: x, B, lambda matvec, b: b[0])
    with pytest.raises(ft.errors.StructureError, match=r"the solution of solve is float64\[\], and b is float64\[3\]"):
        ft.jacfwd(lambda b: ft.custom_linear_solve(lambda x: x, b, lambda matvec, b: b[0]))(B)
    with pytest.raises(ft.errors.StructureError, match=r"what matvec returns is float64\[2\], and b is float64\[3\]"):
        ft.jacfwd(lambda b: ft.custom_linear_solve(lambda x: x[:2], b, dense))(B)
    with pytest.raises(ft.errors.StructureError, match="has_aux=True needs a function that returns a pair .solution, auxiliary"):
        ft.custom_linear_solve(lambda x: x, B, lambda matvec, b: b, has_aux=True)


def test_singular_matrix():
    f = lambda a: direct(a, B)
    for run in (f, ft.jit(f), ft.jacrev(f)):
        with pytest.raises(np.linalg.LinAlgError, match="Singular"):
            run(np.ones((3, 3)))


def test_printed_program_names_the_programs():
    text = str(ft.make_program(direct)(A, B))
    assert "linear_solve(" in text and "\n    matvec: lambda(" in text
