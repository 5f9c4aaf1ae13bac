"""`ft.nn`: values against plain loops and closed forms, derivatives, batching and staging."""

import itertools

import numpy as np
import pytest
from scipy import special

import functrans as ft
from functrans.testing import check_grads

X = np.array([[-1.5, 0.3, 2.0], [0.7, -0.2, 1.1]])

ACTIVATIONS = {
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    "sigmoid": special.expit,
    "log_sigmoid": special.log_expit,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "softmax": lambda x: special.softmax(x, axis=-1),
    "log_softmax": lambda x: special.log_softmax(x, axis=-1),
    "logsumexp": special.logsumexp,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    function = getattr(ft.nn, name)
    np.testing.assert_allclose(function(X), ACTIVATIONS[name](X), rtol=1e-12)
    np.testing.assert_allclose(ft.vmap(function)(X), [ACTIVATIONS[name](x) for x in X], rtol=1e-12)
    np.testing.assert_allclose(ft.make_program(function)(X)(X), function(X))
    check_grads(function, (X,), order=2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "softplus", "softmax", "log_softmax", "logsumexp", "elu"])
def test_no_nan_at_the_extremes(name):
    x = np.array([-1e4, 0.0, 1e4])
    value, pullback = ft.vjp(getattr(ft.nn, name), x)
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(pullback(np.ones_like(value))[0]))


def test_logsumexp_of_nothing():
    x = np.array([[-np.inf, -np.inf], [0.0, -np.inf]])
    value, pullback = ft.vjp(lambda x: ft.nn.logsumexp(x, axis=1), x)
    np.testing.assert_array_equal(value, [-np.inf, 0.0])
    np.testing.assert_array_equal(pullback(np.ones(2))[0], [[0, 0], [1, 0]])


def test_one_hot():
    np.testing.assert_array_equal(ft.nn.one_hot([2, 0, 5], 3), [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(ft.vmap(lambda k: ft.nn.one_hot(k, 3))(np.array([1, 2])), np.eye(3)[[1, 2]])


def convolve(x, kernel, strides, padding, dilation, groups):
    """The definition, in loops."""
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    window = kernel.shape[2:]
    places = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], window, strides, dilation)]
    out = np.zeros((len(x), len(kernel), *places))
    width = kernel.shape[1]
    for o, place in itertools.product(range(len(kernel)), itertools.product(*map(range, places))):
        start = o // (len(kernel) // groups) * width
        for offset in itertools.product(*map(range, window)):
            index = tuple(p * s + w * d for p, s, w, d in zip(place, strides, offset, dilation))
            out[(slice(None), o, *place)] += (
                x[(slice(None), slice(start, start + width), *index)] @ kernel[(o, slice(None), *offset)]
            )
    return out


@pytest.mark.parametrize(
    "lengths, window, strides, padding, dilation, groups",
    [
        ((6,), (3,), (1,), [(0, 0)], (1,), 1),
        ((7,), (2,), (2,), [(1, 2)], (2,), 2),
        ((5, 6), (3, 2), (1, 2), [(1, 1), (0, 1)], (1, 1), 1),
        ((5, 6), (2, 3), (2, 1), [(0, 0), (2, 2)], (2, 1), 4),
        ((3, 4, 3), (2, 2, 2), (1, 1, 1), [(0, 0)] * 3, (1, 1, 1), 2),
    ],
)
def test_conv(lengths, window, strides, padding, dilation, groups):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 4, *lengths))
    kernel = generator.standard_normal((4, 4 // groups, *window))

    def function(x, kernel):
        return ft.nn.conv(x, kernel, strides, padding, dilation, groups)

    np.testing.assert_allclose(function(x, kernel), convolve(x, kernel, strides, padding, dilation, groups), atol=1e-12)
    check_grads(function, (x, kernel), order=2, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        ft.vmap(function)(np.stack([x, -x]), np.stack([kernel] * 2)), [function(x, kernel), function(-x, kernel)]
    )


def test_same_padding_keeps_the_lengths():
    assert ft.nn.conv(np.ones((1, 1, 7, 6)), np.ones((1, 1, 3, 2)), padding="same").shape == (1, 1, 7, 6)


def test_conv_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"kernel of shape \(1, 2, 3\)(.|\n)*\[batch, channels"):
        ft.nn.conv(np.ones((1, 1, 7)), np.ones((1, 2, 3)))


def test_pooling():
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 4))
    blocks = x.reshape(2, 3, 3, 2, 2, 2)
    np.testing.assert_allclose(ft.nn.max_pool(x, 2), blocks.max((3, 5)))
    np.testing.assert_allclose(ft.nn.avg_pool(x, 2), blocks.mean((3, 5)))
    assert ft.nn.max_pool(x, 3, 1, "same").shape == x.shape
    check_grads(lambda x: ft.nn.max_pool(x, (3, 2), (1, 2), 1), (x,), order=2)
    check_grads(lambda x: ft.nn.avg_pool(x, (3, 2), (1, 2), 1), (x,), order=2)
