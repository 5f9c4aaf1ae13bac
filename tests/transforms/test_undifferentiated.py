"""Code that nothing is differentiated through."""

import numpy as np
import pytest

import functrans as ft
from functrans.transforms.undifferentiated import undifferentiated

X = np.array([0.5, 1.5])


def halved(x, y):
    """A loop on values, of an argument and of something closed over."""
    while np.sum(x) > 1.0:
        x = x / 2.0 * np.cos(y) ** 0
    return {"x": x, "name": "halved"}


def f(x):
    return np.sum(undifferentiated(halved, x, x)["x"] * x)


def test_no_derivative_in_either_mode():
    np.testing.assert_allclose(ft.grad(f)(X), X / 2)
    np.testing.assert_allclose(ft.jvp(f, (X,), (X,)), (X @ X / 2, X @ X / 2))
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(ft.grad(f)(x)))(X), 0.0)


def test_nothing_is_recorded(monkeypatch):
    from functrans.transforms.tape import ReverseTrace

    recorded = []
    original = ReverseTrace._record
    monkeypatch.setattr(
        ReverseTrace,
        "_record",
        lambda self, primitive, *rest: recorded.append(primitive.name) or original(self, primitive, *rest),
    )
    ft.grad(lambda x: np.sum(undifferentiated(lambda: np.exp(np.sin(x) * x)) * x))(X)
    assert "sin" not in recorded and "exp" not in recorded and "multiply" in recorded


def test_derivatives_inside_work():
    slope = lambda x: undifferentiated(ft.vmap(ft.grad(lambda y: y**3 * x[0])), x)
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(slope(x) * x))(X), 3 * X**2 * X[0])


def test_batched_and_staged():
    double = lambda x: undifferentiated(lambda y: y * 2 + x, x) * x
    np.testing.assert_allclose(ft.vmap(ft.grad(double))(X), 3 * X)
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(ft.vmap(double)(x)))(X), 3 * X)
    np.testing.assert_allclose(ft.jit(ft.vmap(ft.grad(double)))(X), 3 * X)
    np.testing.assert_allclose(ft.vmap(ft.grad(ft.jit(double)))(X), 3 * X)


def test_values_that_leaked_are_found():
    kept = []
    ft.grad(lambda x: kept.append(x) or x)(1.0)
    with pytest.raises(ft.errors.TracerLeakError):
        ft.grad(lambda x: undifferentiated(lambda: kept[0] + x))(1.0)
