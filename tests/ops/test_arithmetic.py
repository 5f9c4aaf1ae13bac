"""Derivatives where a Python number is divided by 0: NumPy's inf and nan, compiled or not."""

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
