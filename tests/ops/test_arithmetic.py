"""Arithmetic at special values: NumPy's inf, nan and signs of 0, compiled or not."""

import numpy as np
import pytest

import functrans as ft


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: x / 0, np.array([1.0, 0.0])),
        (lambda x: x / -0.0, np.float32(0)),
        (np.log, 0.0),
        (np.arctanh, -1.0),
        (lambda x: np.arctan2(x, 0), 0.0),
        (lambda x: np.fmod(1.0, x), 0.0),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_division_by_zero(function, x):
    def scalar(x):
        return np.sum(function(x))

    expected = ft.grad(scalar)(np.asarray(x))
    for gradient in (ft.grad(scalar)(x), ft.jit(ft.grad(scalar))(x), ft.jvp(scalar, (x,), (x * 0 + 1,))[1] + 0 * x):
        np.testing.assert_array_equal(gradient, expected)
        assert np.asarray(gradient).dtype == expected.dtype


def test_power_of_one_half():
    for x in (np.array([-0.0, 0.0, -np.inf, np.inf, 4.0]), np.array([-np.inf, 4], np.float32), np.float64(-np.inf), np.array([4, 9])):
        for function in (lambda x: x**0.5, lambda x: np.power(x, 0.5)):
            with np.errstate(invalid="ignore"):
                expected = function(x)
            actual = ft.jit(function)(x)
            np.testing.assert_array_equal(actual, expected)
            np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))
            assert actual.dtype == expected.dtype


@pytest.mark.parametrize("zero", [0.0, np.float64(0.0)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_selections_of_python_numbers_poison_no_gradient(zero):
    for function in (lambda x: np.where(x > 0, np.log(x), 0.0), lambda x: np.where(x > 0, x * np.log(x), 0.0)):
        assert ft.grad(function)(zero) == ft.grad(ft.grad(function))(zero) == ft.hessian(function)(zero) == 0.0
