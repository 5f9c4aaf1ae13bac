"""Linear algebra by LAPACK from native code: NumPy's results and errors, for any batch of matrices."""

import numpy as np
import pytest

import functrans as ft
from functrans.compile.machine import lapack

GENERATOR = np.random.default_rng(0)
SINGULAR, INDEFINITE = np.array([[1.0, 2.0], [2.0, 4.0]]), -np.eye(2)


def every(a, b):
    spd = a @ np.swapaxes(a, -1, -2)
    sign, logarithm = np.linalg.slogdet(a)
    return np.linalg.solve(a, b), np.linalg.inv(a), np.linalg.cholesky(spd), np.linalg.det(a), sign, logarithm


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 2, 5, 5), (40, 20, 20)])
def test_values(shape, dtype, monkeypatch):
    monkeypatch.setattr(lapack, "WORTH_DIVIDING", 20_000)  # the last batch is divided among threads
    a = (GENERATOR.normal(size=shape) / shape[-1] + 2 * np.eye(shape[-1])).astype(dtype)
    b = GENERATOR.normal(size=(*shape[:-1], 3)).astype(dtype)
    lowered = ft.jit(every).lower(a, b)
    text = lowered.kernels()
    assert text.count("# LAPACK: ") == 6 and "# NumPy" not in text
    precision = 50 * np.finfo(dtype).eps
    for results in (lowered.compile()(a, b), lowered.interpret(a, b)):
        for actual, expected in zip(results, every(a, b), strict=True):
            assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(actual, expected, rtol=precision, atol=precision)


def test_gradients():
    a, b = GENERATOR.normal(size=(4, 4)) + 4 * np.eye(4), GENERATOR.normal(size=4)
    for place in range(6):
        gradient = ft.grad(lambda a, b: np.sum(every(a, b[:, None])[place]), argnums=(0, 1))
        for actual, expected in zip(ft.jit(gradient)(a, b), gradient(a, b)):
            np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("function", "bad", "message"),
    [
        (np.linalg.inv, SINGULAR, "inv of .*: Singular matrix"),
        (lambda a: np.linalg.solve(a, np.ones(2)), SINGULAR, "solve of .*: Singular matrix"),
        (np.linalg.cholesky, INDEFINITE, "cholesky of .*: Matrix is not positive definite"),
    ],
)
def test_errors(function, bad, message):
    """Of one matrix, and of one among many that are divided among threads; the next call works."""
    for good, wrong in ((np.eye(2), bad), (np.tile(np.eye(2), (2000, 50, 1, 1)), None)):
        if wrong is None:
            wrong = good.copy()
            wrong[1234, 5] = bad
        compiled = ft.jit(lambda a: 2 * function(a))
        for _ in range(2):
            np.testing.assert_allclose(compiled(good), 2 * function(good))
            with pytest.raises(np.linalg.LinAlgError, match=f"jit: {message}"):
                compiled(wrong)


def test_determinants_of_singular_matrices_are_zero():
    assert ft.jit(np.linalg.det)(np.zeros((3, 3))) == 0.0
    result = ft.jit(np.linalg.slogdet)(SINGULAR)
    assert result == (0.0, -np.inf) and type(result) is type(np.linalg.slogdet(SINGULAR))
    assert np.isnan(ft.jit(np.linalg.det)(np.full((2, 2), np.nan)))


def test_what_lapack_is_not_called_for():
    """Complex, empty and large matrices, which NumPy does as well or better."""
    for a in (np.eye(2) * 1j, np.ones((0, 3, 3)), np.ones((0, 0)), np.eye(300)):
        compiled = ft.jit(np.linalg.inv)
        np.testing.assert_allclose(compiled(a), np.linalg.inv(a))
        assert "# NumPy: inv" in compiled.lower(a).kernels()
