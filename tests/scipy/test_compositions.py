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
