"""How exact compiled code is, against extended precision: reductions as NumPy's, whole programs not far from it."""

import math

import numpy as np
import pytest

import functrans as ft


def extended(x):
    """An array in extended precision."""
    return x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)


def root_mean_square(error):
    return float(np.sqrt(np.mean(np.square(np.abs(error)))))


def errors(function, arguments):
    """Those of compiled code and of NumPy, over several sets of arguments."""
    compiled = ft.jit(function)
    exact = [function(*map(extended, own)) for own in arguments]
    own = np.concatenate([np.ravel(compiled(*values) - right) for values, right in zip(arguments, exact)])
    eager = np.concatenate([np.ravel(function(*values) - right) for values, right in zip(arguments, exact)])
    return root_mean_square(own), root_mean_square(eager), max(float(np.max(np.abs(right))) for right in exact)


def check_as_exact(function, arguments, dtype):
    """Errors at most as large as NumPy's, as far as so few samples tell."""
    own, eager, size = errors(function, arguments)
    assert own <= 1.5 * eager + 0.5 * float(np.finfo(dtype).eps) * size, (own, eager)


def samples(*shapes, dtype, count=8):
    """Arguments of a function: half of the sets positive, so that nothing cancels."""
    generator = np.random.default_rng(0)
    draws = [generator.normal, generator.uniform]
    factor = 1j if np.dtype(dtype).kind == "c" else 0

    def sample(draw, shape):
        return (draw(size=shape) + factor * draw(size=shape)).astype(dtype)

    return [[sample(draws[number % 2], shape) for shape in shapes] for number in range(count)]


def test_sums_of_ten_million_float32():
    x = np.random.default_rng(0).normal(1, 1, 10**7).astype(np.float32)
    exact = math.fsum(x.tolist())
    total, mean, variance = ft.jit(lambda x: (np.sum(x), np.mean(x), np.var(x)))(x)
    unit = float(np.finfo(np.float32).eps)
    assert abs(float(total) - exact) <= 0.51 * unit * abs(exact)
    assert abs(float(mean) - exact / x.size) <= 1.1 * unit * abs(exact / x.size)
    wide = x.astype(np.float64)
    assert abs(float(variance) - np.var(wide)) <= abs(float(np.var(x)) - np.var(wide)) + 2 * unit * np.var(wide)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1000,), (10**6,), (1000, 300), (20000, 100), (50, 3000), (30, 40, 50)], ids=str)
def test_reductions(shape, dtype):
    arguments = samples(shape, dtype=dtype)
    check_as_exact(np.sum, arguments, dtype)
    check_as_exact(lambda x: np.sum(x, axis=-1), arguments, dtype)
    check_as_exact(lambda x: np.sum(x, axis=0), arguments, dtype)
    check_as_exact(lambda x: np.mean(x * x), arguments, dtype)
    check_as_exact(np.var, arguments, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_contractions(dtype):
    for n in (3, 8, 16, 30, 100):
        check_as_exact(lambda x, y: x @ y, samples((n, n), (n, n), dtype=dtype), dtype)
    for subscripts in ("ij,ik->jk", "ij,kj->ik", "ij,ij->j", "ij,ij->i", "ij,ij->", "ij,j->i", "ij,i->j"):
        x, y = subscripts.split("->")[0].split(",")
        shapes = [tuple({"i": 600, "j": 40, "k": 5}[letter] for letter in side) for side in (x, y)]
        check_as_exact(lambda x, y: np.einsum(subscripts, x, y), samples(*shapes, dtype=dtype), dtype)


def test_sums_of_float16_are_rounded_once():
    x = np.random.default_rng(0).uniform(-1, 1, (300, 200)).astype(np.float16)
    functions = [np.sum, lambda x: np.sum(x, axis=0), lambda x: np.sum(x, axis=1), np.mean, lambda x: x @ x.T]
    for function, result in zip(functions, ft.jit(lambda x: [own(x) for own in functions])(x)):
        assert np.asarray(result).dtype == np.float16
        # Beside half a unit, what float32 loses of 200 products.
        np.testing.assert_allclose(result.astype(np.float64), function(x.astype(np.float64)), rtol=2**-11, atol=1e-5)
    large = np.full(100_000, 7.0, np.float16)
    assert ft.jit(np.mean)(large) == np.mean(large) == ft.numpy.mean(large) == 7.0


def softmax(x, w, y):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def layernorm(x, w, y):
    return (x - np.mean(x, axis=-1, keepdims=True)) / np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-5)


def logsumexp(x, w, y):
    largest = np.max(x, axis=-1)
    return largest + np.log(np.sum(np.exp(x - largest[:, None]), axis=-1))


def loss(x, w, y):
    return np.mean((np.tanh(np.tanh(x @ w) @ w) - y) ** 2)


def polynomial(x, w, y):
    for coefficient in (0.5, -1.25, 2.0, 0.125, -3.0):
        y = y * x + coefficient
    return y


PROGRAMS = [softmax, layernorm, logsumexp, loss, ft.grad(loss, argnums=1), polynomial, ft.grad(lambda *a: np.sum(polynomial(*a)))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_programs(dtype):
    """At most four times the error of eager NumPy, and 4 units in the last place."""
    generator = np.random.default_rng(1)
    arguments = [generator.normal(size=shape).astype(dtype) for shape in [(60, 50), (50, 50), (60, 50)]]
    results = ft.jit(lambda *arguments: [program(*arguments) for program in PROGRAMS])(*arguments)
    for program, result in zip(PROGRAMS, results):
        exact = program(*map(extended, arguments))
        eager = np.max(np.abs(program(*arguments) - exact))
        unit = np.spacing(np.abs(exact).astype(dtype))
        assert np.all(np.abs(result - exact) <= 4 * eager + 4 * unit), program
