"""Arrays without elements: the same as without `jit`, and so are their derivatives."""

import numpy as np
import pytest

import functrans as ft

NONE, ROWS = np.zeros((0, 3)), np.arange(6.0).reshape(2, 3) / 4


def updated(x, none):
    y = x * 2
    y[:0], y[np.zeros(0, int)], y[:, :0], y[np.zeros((0, 2), int), [0, 1]] = none, none, 5, 3
    z = none * 2
    z[:, 1] += 2
    return y, z


FUNCTIONS = [
    lambda x, none: (none.reshape(0, 1).reshape(0), np.roll(none[:, :1], 1), np.exp(none).sum(0), none.T.sum(1)),
    lambda x, none: (np.concatenate([none, x]), np.concatenate([x, none, x * 2]), np.hstack([x, x[:, :0]]), np.pad(none, 1)),
    lambda x, none: (x[np.zeros(0, int)], x[:, :0][[[0], [1]], np.zeros((1, 0), int)], np.take_along_axis(none, np.zeros((0, 3), int), 0), np.sort(none)),
    lambda x, none: (none.T @ none, x @ none.T, np.einsum("ij,kj->", none, x), np.diag(none[:, 0], 1), np.repeat(none, 2, 1)),
    lambda x, none: (np.prod(none, 0), np.any(none), np.all(none, 0), np.max(none, 1), np.argmax(none, 1), np.sum(none > 0)),
    lambda x, none: ft.nn.conv(none.reshape(0, 1, 3), x[None, :1, :2]),
    updated,
]


def loss(function):
    return lambda x, none: sum(np.sum(np.cos(y)) for y in ft.tree.leaves(function(x, none)) if y.dtype.kind == "f") + np.sum(x)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_elements(function):
    gradient = ft.grad(loss(function), argnums=(0, 1))
    for transformed in (function, gradient, lambda x, none: ft.hvp(loss(function), (x, none), (x, none))):
        compiled = ft.jit(transformed)
        actual, expected = ft.tree.leaves(compiled(ROWS, NONE)), ft.tree.leaves(transformed(ROWS, NONE))
        for one, other in zip(actual, expected, strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            np.testing.assert_allclose(one, other, rtol=1e-14)


@pytest.mark.parametrize("function", [np.max, np.argmax, lambda x, axis: x[[5]]])
def test_what_fails_without_elements(function):
    for shape in ((0, 0), (0, 3)):
        with pytest.raises((ValueError, IndexError)) as raised:
            function(np.zeros(shape), axis=0)
        with pytest.raises(raised.type):
            ft.jit(lambda x: function(x, axis=0))(np.zeros(shape))
