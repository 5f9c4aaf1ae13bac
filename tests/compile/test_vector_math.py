"""The compiled transcendental functions against mpmath: at most 2 units in the last place, and special values."""

import mpmath
import numpy as np
import pytest

import functrans as ft

GENERATOR = np.random.default_rng(0)
TINY = np.exp2(GENERATOR.uniform(-40, 0, 500)) * GENERATOR.choice([-1.0, 1.0], 500)
WIDE = np.exp2(GENERATOR.uniform(-120, 120, 500))


def spread(low, high):
    return GENERATOR.uniform(low, high, 500)


POINTS = {
    "exp": lambda limit: [spread(-1, 1), spread(-limit, limit), TINY],
    "expm1": lambda limit: [spread(-1, 1), spread(-limit, limit), TINY],
    "tanh": lambda limit: [spread(-1, 1), spread(-25, 25), TINY],
    "log": lambda limit: [spread(0.5, 2), WIDE, 1 + TINY],
    "sin": lambda limit: [spread(-4, 4), spread(-1000, 1000), TINY, np.pi / 2 * np.arange(500)],
    "cos": lambda limit: [spread(-4, 4), spread(-1000, 1000), TINY, np.pi / 2 * np.arange(500)],
    "log1p": lambda limit: [spread(-1, 2), WIDE, 0.99 * TINY],
}
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, -1.5, 710.0, -745.5, 89.5, -103.9]


def compiled(name, x):
    return ft.jit(lambda x: getattr(np, name)(x))(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", POINTS)
def test_at_most_two_ulp(name, dtype):
    x = np.concatenate(POINTS[name](700 if dtype == np.float64 else 85)).astype(dtype)
    x = x[np.isfinite(x)]
    with mpmath.workprec(120):
        for argument, result in zip(x.tolist(), compiled(name, x)):
            exact = getattr(mpmath, name)(mpmath.mpf(argument))
            unit = float(np.spacing(np.abs(dtype(float(exact)))))
            assert abs(mpmath.mpf(float(result)) - exact) <= 2 * unit, argument


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_arguments(name, dtype):
    """One of them in a loop sends the whole loop to the C library's function."""
    x = spread(-4, 4).astype(dtype)
    x[123], x[321] = 1e20, np.finfo(dtype).max
    np.testing.assert_allclose(compiled(name, x), getattr(np, name)(x.astype(np.float64)), rtol=4 * np.finfo(dtype).eps)
    rows = ft.jit(lambda x: np.sum(getattr(np, name)(x), axis=1))(x.reshape(50, 10))
    expected = np.sum(getattr(np, name)(x.astype(np.float64)).reshape(50, 10), axis=1)
    np.testing.assert_allclose(rows, expected, rtol=100 * np.finfo(dtype).eps, atol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", POINTS)
def test_special_values(name, dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.array([*SPECIAL, smallest, -smallest, np.finfo(dtype).tiny, np.finfo(dtype).max], dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    actual = compiled(name, x)
    np.testing.assert_allclose(actual, expected, rtol=4 * np.finfo(dtype).eps, atol=0)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(actual[number]), np.signbit(expected[number]))


def test_loops_are_vectorised():
    """In whatever vectors the machine has."""
    assembly = ft.jit(lambda x: np.tanh(np.exp(x) + np.log(x))).lower(np.ones(4096)).compile().asm()
    assert any(register in assembly for register in ("zmm", "ymm", "v0.2d"))
