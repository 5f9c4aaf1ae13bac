"""`make_program`, `linearize` and `linear_transpose`."""

import numpy as np
import pytest

import functrans as ft
from functrans.core.types import ArrayType

M = np.arange(6.0).reshape(2, 3)
V = np.array([1.0, -2.0, 0.5])


def test_linearize_evaluates_the_function_once():
    calls = []

    def function(x, y):
        calls.append(1)
        return {"a": np.sin(x) * y, "b": M @ x}

    value, derivative = ft.linearize(function, V, 3.0)
    for direction in ((V, 1.0), (np.cos(V), 0.0)):
        expected = ft.jvp(function, (V, 3.0), direction)
        calls.clear()
        actual = derivative(*direction)
        assert not calls
        for key in ("a", "b"):
            np.testing.assert_array_equal(value[key], expected[0][key])
            np.testing.assert_allclose(actual[key], expected[1][key], rtol=1e-14)


def test_linearize_refuses_other_tangents():
    _, derivative = ft.linearize(np.sin, V)
    with pytest.raises(ft.errors.StructureError, match=r"linearize of sin: the tuple of tangents at \[0\] is float64\[4\], and that of the arguments is float64\[3\] there"):
        derivative(np.ones(4))
    with pytest.raises(ft.errors.StructureError, match="linearize of sin: the tuple of tangents has structure(.|\n)*Remedy: pass a tangent for each argument"):
        derivative(V, V)


def test_linearize_keeps_derivatives_of_what_it_closes_over():
    slope = ft.grad(lambda w: ft.linearize(lambda x: np.sum(w * x**2), V)[1](V))(2.0)
    np.testing.assert_allclose(slope, 2 * V @ V)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: M @ x,
        lambda x: np.cumsum(x)[::-1] * 2.0,
        lambda x: np.concatenate([x[1:], np.pad(x, 1)]) - np.sum(x),
        lambda x: np.outer(x, V)[:, [0, 0, 2]].T,
        lambda x: np.where(V > 0, x, 3 * x),
    ],
)
def test_linear_transpose_by_inner_products(function):
    """<y, f(x)> = <f^T(y), x>, and transposing twice gives the function back."""
    out = function(V)
    y = np.cos(np.arange(out.size)).reshape(out.shape)
    transposed = ft.linear_transpose(function, ArrayType(V.shape, V.dtype))
    (x,) = transposed(y)
    np.testing.assert_allclose(np.sum(y * out), np.sum(x * V))
    again = ft.linear_transpose(lambda ct: transposed(ct)[0], y)
    np.testing.assert_allclose(again(V)[0], out)


def test_linear_transpose_of_several_arguments_and_other_types():
    transposed = ft.linear_transpose(lambda x, y: x + 2 * np.sum(y), 1.0, V)
    x, y = transposed(3.0)
    assert x == 3.0
    np.testing.assert_array_equal(y, np.full(3, 6.0))
    with pytest.raises(ft.errors.StructureError, match="linear_transpose"):
        transposed(V)


def test_a_program_is_a_function_like_any_other():
    program = ft.make_program(lambda x, scale: {"y": np.tanh(x) * scale})(V, scale=2.0)
    np.testing.assert_array_equal(program(V, scale=3.0)["y"], np.tanh(V) * 3.0)
    np.testing.assert_allclose(ft.grad(lambda s: np.sum(program(V, scale=s)["y"]))(1.0), np.sum(np.tanh(V)))
    with pytest.raises(ft.errors.StructureError, match="was staged for arguments"):
        program(V)


def test_arrays_made_inside_are_values():
    """Not staged, although they may be written into, and what is written may have a tangent."""

    def function(x):
        y = np.zeros_like(x)
        y[0] = 2.0 * x[1]
        return y + ft.numpy.ones(3), np.zeros_like(x)

    output, tangent_function = ft.linearize(function, V)
    expected, tangents = ft.jvp(function, (V,), (V,))
    ft.testing.assert_close(output, expected)
    ft.testing.assert_close(tangent_function(V), tangents)
