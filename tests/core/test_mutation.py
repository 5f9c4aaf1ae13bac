"""In-place code inside a transformed function does what NumPy does to plain arrays."""

import numpy as np
import pytest

import functrans as ft
from functrans.testing import check_grads

X = np.array([0.5, -1.0, 2.0, 1.5])


def slices(x):
    y = np.zeros_like(x)
    y[1:] = x[:-1] * 2
    y[0] = x[0] ** 2
    y[::2] += x[::2]
    return y


def view_of_view(x):
    y = x * 1.0
    v = y[1:]
    w = v[::2]
    w *= 3.0
    y[1] -= 1.0
    return y + np.sum(v) + np.sum(w)


def reshaped_and_transposed(x):
    y = x.copy()
    z = y.reshape(2, 2)
    z.T[0] = np.sin(x[2:])
    y[3] = 2 * y[0]
    return y * z.ravel()


def out_arguments(x):
    y = np.empty_like(x)
    np.multiply(x, x, out=y)
    np.add(y[:2], 1.0, out=y[:2])
    return y


def operators(x):
    y = x + 0.0
    y += x
    y -= 1.0
    y *= x
    y /= 2.0
    y **= 2
    return y


def repeated_indices(x):
    y = x * 1.0
    y[[0, 0, 2]] += 1.0
    y[np.array([1, 1])] = x[:2]
    y[x > 1.0] = 7.0
    return y


def fill_and_loop(x):
    y = np.ones_like(x, shape=(4, 4))
    for i in range(4):
        for j in range(i):
            y[i, j] = x[i] * x[j]
    y[0].fill(3.0)
    return y @ x


FUNCTIONS = [slices, view_of_view, reshaped_and_transposed, out_arguments, operators, repeated_indices, fill_and_loop]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_as_numpy(function):
    expected = function(X.copy())
    np.testing.assert_allclose(ft.vjp(function, X)[0], expected)
    np.testing.assert_allclose(ft.jvp(function, (X,), (X,))[0], expected)
    if function is not repeated_indices:  # a mask of staged or batched values has no known shape
        np.testing.assert_allclose(ft.make_program(function)(X)(X), expected)
        np.testing.assert_allclose(ft.vmap(function)(np.stack([X, X])), [expected] * 2)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients(function):
    check_grads(function, (X,), order=2, rtol=1e-5, atol=1e-5)


def test_the_argument_is_untouched():
    x = X.copy()
    for function in FUNCTIONS:
        ft.vjp(function, x)
    np.testing.assert_array_equal(x, X)


def test_at():
    updates = {
        "set": lambda x: x.at[1:3].set(5.0),
        "add": lambda x: x.at[np.array([0, 0, 1])].add(x[:3]),
        "multiply": lambda x: x.at[0].multiply(3.0),
        "divide": lambda x: x.at[0].divide(2.0),
        "min": lambda x: x.at[:2].min(0.0),
        "max": lambda x: x.at[:2].max(0.0),
        "apply": lambda x: x.at[::2].apply(np.sin),
        "multiply repeatedly": lambda x: x.at[np.array([0, 0, 1])].multiply(x[1:]),
        "divide repeatedly": lambda x: x.at[[2, 2]].divide(np.array([2.0, 4.0])),
        "max repeatedly": lambda x: x.at[[1, 1, 1]].max(np.array([0.0, 7.0, 3.0])),
        "min repeatedly": lambda x: x.at[[1, 1, 1]].min(np.array([0.0, -7.0, 3.0])),
    }
    expected = {
        "set": [0.5, 5, 5, 1.5],
        "add": [0.5 + 0.5 - 1.0, -1.0 + 2.0, 2.0, 1.5],
        "multiply": [1.5, -1, 2, 1.5],
        "divide": [0.25, -1, 2, 1.5],
        "min": [0, -1, 2, 1.5],
        "max": [0.5, 0, 2, 1.5],
        "apply": [np.sin(0.5), -1, np.sin(2.0), 1.5],
        "multiply repeatedly": [0.5 * -1 * 2, -1 * 1.5, 2, 1.5],
        "divide repeatedly": [0.5, -1, 0.25, 1.5],
        "max repeatedly": [0.5, 7, 2, 1.5],
        "min repeatedly": [0.5, -7, 2, 1.5],
    }
    for name, update in updates.items():
        np.testing.assert_allclose(ft.vjp(update, X)[0], expected[name])
        check_grads(lambda x, update=update: ft.vjp(update, x)[0], (X,), order=1)


def test_created_arrays_take_traced_values():
    def function(x):
        y = ft.numpy.zeros((2, 2))
        y[0] = x[:2]
        y[1, 1] = x[3] ** 2
        return y

    check_grads(function, (X,))
    np.testing.assert_array_equal(ft.numpy.zeros(3), np.zeros(3))


def test_an_array_of_an_enclosing_transform_is_not_written_into():
    def outer(x):
        y = np.zeros_like(x)

        def inner(t):
            y[0] = t
            return t

        ft.grad(inner)(1.0)
        return np.sum(y)

    with pytest.raises(ft.errors.MutationError, match=r"grad: cannot write(.|\n)*made outside, by grad(.|\n)*y\[0\] = t"):
        ft.grad(outer)(X)


def test_an_ambiguous_view_is_refused_after_a_write():
    def function(x):
        y = np.outer(x, x)[:, ::2]
        z = y.reshape(-1)
        y[0, 0] = 0.0
        return np.sum(z)

    with pytest.raises(ft.errors.MutationError, match="may share with another array"):
        ft.grad(function)(X)


def test_numbers_are_written_where_a_traced_mask_holds():
    def function(x, number):
        y = x.copy()
        y[y > 0] = 0.5
        y[x < -1] = number * 2
        rows = np.zeros_like(x, shape=(3, 4))
        rows[x > 0] = 1.0
        return y, rows

    x = np.array([1.0, -2.0, -0.5])
    for transformed in (ft.jit(function), ft.make_program(function)(x, 3.0)):
        for actual, expected in zip(transformed(x, 3.0), function(x, 3.0)):
            np.testing.assert_array_equal(actual, expected)
    batched = ft.vmap(function, in_axes=(0, None))(np.stack([x, -x]), 3.0)
    for actual, *expected in zip(batched, function(x, 3.0), function(-x, 3.0)):
        np.testing.assert_array_equal(actual, np.stack(expected))
    for gradient in (ft.grad, lambda f, **keywords: ft.jit(ft.grad(f, **keywords))):
        total = gradient(lambda x, number: np.sum(function(x, number)[0] ** 2), argnums=(0, 1))
        np.testing.assert_array_equal(total(x, 3.0)[0], [0.0, 0.0, -1.0])
        assert total(x, 3.0)[1] == 24.0


def test_cotangents_of_one_written_element_need_no_scatter():
    def written(x, i):
        y = x * 1.5
        y[i, :2] = x[1, 1:] ** 2
        return np.sum(np.sin(y))

    x = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
    for i in (0, -1):
        check_grads(lambda x, i=i: written(x, i), (x,), order=2)
        np.testing.assert_allclose(ft.jit(ft.grad(written))(x, i), ft.grad(written)(x, i), 1e-12)
    np.testing.assert_allclose(
        ft.vmap(ft.grad(written), in_axes=(None, 0))(x, np.array([0, 1])), [ft.grad(written)(x, i) for i in (0, 1)]
    )
    program = ft.make_program(ft.grad(written))(x, np.int64(0))
    updates = [equation for equation in program.equations if str(equation.primitive) == "index_set"]
    assert [equation.outputs[0].array_type.dtype for equation in updates] == [x.dtype, x.dtype]
