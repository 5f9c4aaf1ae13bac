"""`ft.scipy.sparse.linalg`: solutions and derivatives against `np.linalg.solve`."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import functrans as ft
from functrans.scipy.sparse import linalg

A = np.array([[4.0, 1.0, -0.5, 0.0], [0.3, 3.0, 0.8, 0.1], [-0.7, 0.2, 5.0, 0.6], [0.0, 0.4, -0.1, 3.5]])
B = np.array([1.0, -2.0, 0.5, 3.0])


def half(a):
    return (a + a.T) / 2


SOLVERS = {
    "cg": (lambda a, b, **options: linalg.cg(half(a), b, rtol=1e-12, **options)[0], lambda a, b: np.linalg.solve(half(a), b)),
    "gmres": (lambda a, b, **options: linalg.gmres(a, b, rtol=1e-12, **options)[0], np.linalg.solve),
    "bicgstab": (lambda a, b, **options: linalg.bicgstab(a, b, rtol=1e-12, **options)[0], np.linalg.solve),
}


@pytest.fixture(params=SOLVERS.values(), ids=SOLVERS.keys())
def case(request):
    return request.param


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-9)


def test_derivatives(case):
    f, exact = case
    close(f(A, B), exact(A, B))
    close(ft.jit(f)(A, B), exact(A, B))
    for place in (0, 1):
        wanted = ft.jacfwd(exact, place)(A, B)
        for derivative in (ft.jacfwd, ft.jacrev):
            close(derivative(f, place)(A, B), wanted)
            close(ft.jit(derivative(f, place))(A, B), wanted)


@pytest.mark.parametrize("outer", [ft.jacfwd, ft.jacrev])
@pytest.mark.parametrize("inner", [ft.jacfwd, ft.jacrev])
def test_second_order(case, outer, inner):
    f, exact = case
    close(outer(inner(f, 0), 1)(A, B), ft.jacfwd(ft.jacfwd(exact, 0), 1)(A, B))


def test_batched(case):
    f, exact = case
    a, b = np.stack([A, A + np.eye(4)]), np.stack([B, B + 1])
    for axes, args in {(0, 0): (a, b), (None, 0): (A, b), (0, None): (a, B)}.items():
        close(ft.vmap(f, axes)(*args), ft.vmap(exact, axes)(*args))
        close(ft.vmap(ft.jacrev(f), axes)(*args), ft.vmap(ft.jacrev(exact), axes)(*args))


def test_is_linear_in_the_right_side(case):
    f, exact = case
    close(ft.linear_transpose(lambda b: f(A, b), B)(B[::-1])[0], ft.linear_transpose(lambda b: exact(A, b), B)(B[::-1])[0])


def test_is_scipys():
    for name in SOLVERS:
        ours, info = getattr(linalg, name)(half(A), B, rtol=1e-3)
        theirs, _ = getattr(scipy.sparse.linalg, name)(half(A), B, rtol=1e-3)
        np.testing.assert_array_equal(ours, theirs)
        assert info == 0


def test_products_in_place_of_matrices():
    f = lambda c, b: linalg.gmres(lambda t: {"u": 2 * t["u"] + c * t["v"], "v": 3 * t["v"] - t["u"][::-1]}, b, rtol=1e-12)[0][
        "u"
    ]
    matrix = lambda c: np.block([[2 * np.eye(2), c * np.eye(2)], [-np.eye(2)[::-1], 3 * np.eye(2)]])
    b = {"u": np.array([1.0, 2.0]), "v": np.array([0.0, -1.0])}
    right = np.array([1.0, 2.0, 0.0, -1.0])
    close(f(0.7, b), np.linalg.solve(matrix(0.7), right)[:2])
    slope = -np.linalg.solve(matrix(0.7), np.kron([[0, 1], [0, 0]], np.eye(2)) @ np.linalg.solve(matrix(0.7), right))[:2]
    close(ft.jacfwd(f)(0.7, b), slope)
    close(ft.jacrev(f)(0.7, b), slope)
    close(ft.jit(ft.jacrev(f))(0.7, b), slope)


@pytest.mark.parametrize("kind", ["sparse", "operator"])
def test_scipys_matrices_are_constants(kind):
    matrix = scipy.sparse.csr_array(A) if kind == "sparse" else scipy.sparse.linalg.aslinearoperator(A)
    f = lambda b: linalg.gmres(matrix, b, rtol=1e-12)[0]
    close(f(B), np.linalg.solve(A, B))
    for derivative in (ft.jacfwd, ft.jacrev, lambda f: ft.jit(ft.jacrev(f))):
        close(derivative(f)(B), np.linalg.inv(A))
    close(ft.vmap(f)(np.eye(4)), np.linalg.inv(A).T)


def test_preconditioned():
    calls = []

    def counted(x):
        calls.append(1)
        return A @ x

    inverse = np.linalg.inv(A)
    for name in ("gmres", "bicgstab"):
        f = lambda a, b: getattr(linalg, name)(a, b, rtol=1e-12, M=inverse + 0.01 * np.ones((4, 4)))[0]
        close(ft.jacrev(f)(A, B), ft.jacrev(np.linalg.solve)(A, B))
    linalg.gmres(counted, B, rtol=1e-10)
    without = len(calls)
    calls.clear()
    linalg.gmres(counted, B, rtol=1e-10, M=lambda x: inverse @ x)
    assert len(calls) < without


def test_first_guess():
    exact = np.linalg.solve(A, B)
    x, info = linalg.gmres(A, B, exact, rtol=1e-10, maxiter=1)
    close(x, exact)
    close(ft.jacrev(lambda x0: linalg.gmres(A, B, x0, rtol=1e-12)[0])(B), np.zeros((4, 4)))


def test_hermitian_matrices():
    z = A + 1j * A[::-1]
    f = lambda z, b: linalg.cg(z @ np.conj(z.T) + np.eye(4), b, rtol=1e-13)[0]
    exact = lambda z, b: np.linalg.solve(z @ np.conj(z.T) + np.eye(4), b)
    b = B + 0.5j
    close(f(z, b), exact(z, b))
    norm = lambda f: lambda z, b: np.sum(np.abs(f(z, b)) ** 2)
    for got, wanted in zip(ft.grad(norm(f), (0, 1))(z, b), ft.grad(norm(exact), (0, 1))(z, b)):
        close(got, wanted)


def test_dtypes():
    assert linalg.cg(half(A).astype(np.float32), B.astype(np.float32))[0].dtype == np.float32
    assert linalg.cg(half(A), np.array([1, 2, 3, 4]))[0].dtype == np.float64
    f = ft.jit(lambda a, b: linalg.gmres(a, b)[0])
    assert f(A, B.astype(np.float32)).dtype == np.float64
    assert f(A.astype(np.float32), B.astype(np.float32)).dtype == np.float32


def test_no_convergence():
    f = lambda a, **options: linalg.cg(half(a), B, rtol=1e-14, maxiter=1, **options)
    assert f(A)[1] == 1
    message = r"(?s)scipy.sparse.linalg.cg: SciPy found no solution \(info is 1\).*test_sparse_linalg.py"
    for run in (f, ft.jit(f, static_argnames="check")):
        with pytest.raises(ft.errors.ConvergenceError, match=message):
            run(A, check=True)
    for derivative in (ft.jacfwd, ft.jacrev):
        with pytest.raises(ft.errors.ConvergenceError, match=message):
            derivative(lambda a: f(a)[0])(A)
        derivative(lambda a: f(a, check=False)[0])(A)


def test_wrong_arguments():
    with pytest.raises(ft.errors.StructureError, match=r"A is float64\[4,4\], and b has 3 numbers"):
        linalg.cg(A, B[:3])
    with pytest.raises(ft.errors.StructureError, match=r"what A returns is float64\[2\]"):
        linalg.cg(lambda x: x[:2], B)
    with pytest.raises(ft.errors.StructureError, match=r"x0 is float64\[2\]"):
        linalg.cg(A, B, B[:2])
