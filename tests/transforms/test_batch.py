"""`vmap`: axes, trees, sizes, and what it refuses."""

import numpy as np
import pytest

import functrans as ft

X = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("out_axis", [0, 1, -1])
def test_axes(axis, out_axis):
    actual = ft.vmap(lambda m: np.sin(m).T, in_axes=axis, out_axes=out_axis)(X)
    expected = np.stack([np.sin(m).T for m in np.moveaxis(X, axis, 0)], axis=out_axis)
    np.testing.assert_array_equal(actual, expected)


def test_axes_of_trees_and_keywords():
    def function(p, y, *, z):
        return {"sum": p["a"] + p["b"] + y, "z": z}

    result = ft.vmap(function, in_axes=({"a": 0, "b": None}, None), out_axes={"sum": 0, "z": 1})(
        {"a": X[0, 0], "b": 2.0}, 3.0, z=X[0].T
    )
    np.testing.assert_array_equal(result["sum"], X[0, 0] + 5.0)
    np.testing.assert_array_equal(result["z"], X[0])


def test_results_all_elements_share():
    shared, each = ft.vmap(lambda x: (3.0, x), out_axes=(None, 0))(X[0, 0])
    assert shared == 3.0
    np.testing.assert_array_equal(each, X[0, 0])
    np.testing.assert_array_equal(ft.vmap(lambda x: 3.0)(X[0, 0]), np.full(4, 3.0))
    np.testing.assert_array_equal(ft.vmap(lambda: 2.0, axis_size=3)(), np.full(3, 2.0))
    with pytest.raises(ft.errors.StructureError, match="vmap of lambda(.|\n)*out_axes"):
        ft.vmap(lambda x: x, out_axes=None)(X)


def test_nothing_to_batch_over():
    with pytest.raises(ft.errors.StructureError, match="vmap of lambda(.|\n)*axis_size"):
        ft.vmap(lambda x: x, in_axes=None)(X)


def test_an_empty_batch():
    assert ft.vmap(lambda m: np.sum(np.tanh(m) @ m.T))(np.zeros((0, 3, 4))).shape == (0,)


def test_branches_on_what_is_not_batched():
    def function(x, flag):
        return x if flag else -x

    np.testing.assert_array_equal(ft.vmap(function, in_axes=(0, None))(X, 0.0), -X)


def test_indices_may_be_batched_or_not():
    table, rows = np.sin(X[0]), np.array([2, 0, 2, 1])
    np.testing.assert_array_equal(ft.vmap(lambda i: ft.numpy.asarray(table)[i])(rows), table[rows])
    np.testing.assert_array_equal(ft.vmap(lambda t: t[rows - 1])(table), table[:, rows - 1])
    np.testing.assert_array_equal(ft.vmap(lambda t, i: t[i])(table[[0, 1, 2, 0]], rows), table[[0, 1, 2, 0], rows])
    gradient = ft.grad(lambda t: np.sum(ft.vmap(lambda i: t[i, i] ** 2)(rows)))(table)
    expected = np.zeros_like(table)
    np.add.at(expected, (rows, rows), 2 * table[rows, rows])
    np.testing.assert_allclose(gradient, expected)


def test_writes_into_arrays_made_inside():
    def function(x, i):
        y = np.zeros_like(x, shape=(5,))
        y[i] = x[0]
        y[1:3] += x[1:]
        return y

    x, places = X[0], np.array([4, 0, 1])
    actual = ft.vmap(function)(x[:, :3], places)
    np.testing.assert_array_equal(actual, np.stack([function(row, i) for row, i in zip(x[:, :3], places)]))
