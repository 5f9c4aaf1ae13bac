"""Solutions in nests of transforms, which keep no traced value behind."""

import numpy as np
import pytest

import functrans as ft

A, B, C = np.array([[4.0, 1.0], [0.5, 3.0]]), np.ones(2), np.array([2.0, 1.5])


def gmres(c):
    return np.sum(ft.scipy.sparse.linalg.gmres(lambda x: A @ x * c[0], B, M=lambda x: x / c[1], rtol=1e-12)[0])


def minimum(c):
    result = ft.scipy.optimize.minimize(
        lambda x: np.sum((x**2 - c) ** 2), np.ones(2), bounds=[(-c[0], 5.0 * c[1])] * 2, tol=1e-12
    )
    return np.sum(result.x) + result.fun


def bracketed(c):
    return ft.scipy.optimize.root_scalar(lambda x: x**3 - c[0] * c[1], bracket=(0.0 * c[0], 10 * c[1])).root


EXACT = {
    gmres: lambda c: np.sum(np.linalg.solve(A * c[0], B)), minimum: lambda c: np.sum(np.sqrt(c)), bracketed: lambda c: np.cbrt(c[0] * c[1]),
}  # fmt: skip


@pytest.mark.parametrize("f", EXACT)
def test_compositions(f):
    batch = np.stack([C, C + 0.5])
    near = lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
    exact = ft.grad(EXACT[f])
    with ft.debug.leaks():
        near(ft.grad(f)(C), exact(C))
        near(ft.jit(ft.grad(f))(C), exact(C))
        near(ft.grad(ft.jit(f))(C), exact(C))
        near(ft.vmap(ft.grad(f))(batch), [exact(c) for c in batch])
        near(ft.grad(lambda batch: np.sum(ft.vmap(f)(batch)))(batch), [exact(c) for c in batch])
        near(ft.jit(ft.vmap(ft.jit(ft.grad(f))))(batch), [exact(c) for c in batch])
        near(ft.linearize(f, C)[1](C), exact(C) @ C)
        near(ft.hessian(f)(C), ft.hessian(EXACT[f])(C))
        near(ft.hvp(f, (C,), (B,)), ft.hvp(EXACT[f], (C,), (B,)))


def test_a_program_is_saved_without_callbacks_only(tmp_path):
    with pytest.raises(ft.errors.UnsupportedError, match="a file cannot keep a Callback"):
        ft.jit(bracketed).lower(C).compile().save(tmp_path / "bracketed")


def root(c):
    return bracketed(np.stack([c, 1.5 * c]))


def solved(c):
    return gmres(np.stack([c, 1.5]))


def scanned(f):
    return lambda c: ft.scan(lambda s, x: (s * f(x * c), None), 1.0, np.array([1.0, 2.0]))[0]


NESTS = {
    "scan": (scanned, lambda f: lambda c: f(c) * f(2.0 * c)),
    "checkpoint": (lambda f: ft.checkpoint(lambda c: np.sin(f(c)) * c), lambda f: lambda c: np.sin(f(c)) * c),
    "cond": (lambda f: lambda c: ft.cond(c > 1.0, lambda c: f(c) * c**2, np.sin, c), lambda f: lambda c: f(c) * c**2),
}


@pytest.mark.parametrize("f", [root, solved])
@pytest.mark.parametrize("nest", NESTS)
def test_in_loops_branches_and_checkpoints(nest, f):
    inside, unrolled = NESTS[nest]
    for order in (lambda f: f, ft.grad, lambda f: ft.grad(ft.grad(f))):
        wanted = order(unrolled(f))(2.0)
        for run in (order(inside(f)), ft.jit(order(inside(f)))):
            np.testing.assert_allclose(run(2.0), wanted, rtol=1e-7)
    cs = np.array([2.0, 3.0])
    wanted = [ft.grad(unrolled(f))(c) for c in cs]
    np.testing.assert_allclose(ft.vmap(ft.grad(inside(f)))(cs), wanted, rtol=1e-7)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_checkpoint_does_not_call_back_again(compiled):
    calls = []

    def call(x):
        calls.append(x)
        return np.sin(x)

    rule = lambda args, tangents: np.cos(args[0]) * tangents[0]
    f = ft.checkpoint(lambda x: np.exp(np.sin(ft.pure_callback(call, x, 2.0 * x, derivative=rule) * x)))
    gradient = ft.jit(ft.grad(f)) if compiled else ft.grad(f)
    exact = ft.grad(lambda x: np.exp(np.sin(np.sin(2.0 * x) * x)))
    np.testing.assert_allclose(gradient(0.7), exact(0.7))
    assert len(calls) == 1
