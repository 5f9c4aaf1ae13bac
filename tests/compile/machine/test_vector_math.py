"""The compiled elementary functions against mpmath: at most 2 units in the last place; special values and random bits."""

from functools import cache

import mpmath
import numpy as np
import pytest
from scipy import special

import functrans as ft

GENERATOR = np.random.default_rng(0)
FORMATS = [np.float64, np.float32]


def spread(low, high, count=150):
    return GENERATOR.uniform(low, high, count)


def powers(low, high, count=150):
    """Numbers of all sizes between 2**low and 2**high, half of them negative."""
    return np.exp2(GENERATOR.uniform(low, high, count)) * GENERATOR.choice([-1.0, 1.0], count)


def normal_distribution(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def log_normal_distribution(x):
    return mpmath.log(normal_distribution(x)) if x < 0 else mpmath.log1p(-normal_distribution(-x))


def cube_root(x):
    return mpmath.sign(x) * mpmath.cbrt(abs(x))


CIRCLE = lambda: [spread(-4, 4), spread(-1000, 1000), powers(-40, 0), np.pi / 4 * np.arange(300)]
EVERYWHERE = lambda: [spread(-3, 3), powers(-40, 0), powers(0, 120)]
UNIT = lambda: [spread(-1, 1), powers(-40, 0), 1 - np.abs(powers(-40, 0))]
# For each function of one argument: the exact one, and where to compare them.
ONE = {
    "exp": (mpmath.exp, lambda: [spread(-1, 1), spread(-700, 700), spread(-86, 86), powers(-40, 0)]),
    "exp2": (lambda x: mpmath.power(2, x), lambda: [spread(-1, 1), spread(-1020, 1020), spread(-125, 125), powers(-40, 0)]),
    "expm1": (mpmath.expm1, lambda: [spread(-1, 1), spread(-700, 700), spread(-86, 86), powers(-40, 0)]),
    "expit": (lambda x: 1 / (1 + mpmath.exp(-x)), lambda: [spread(-1, 1), spread(-700, 700), spread(-86, 86), powers(-40, 0)]),
    "sinh": (mpmath.sinh, lambda: [spread(-1, 1), spread(-25, 25), spread(-88, 88), powers(-40, 0)]),
    "cosh": (mpmath.cosh, lambda: [spread(-1, 1), spread(-25, 25), spread(-88, 88), powers(-40, 0)]),
    "tanh": (mpmath.tanh, lambda: [spread(-1, 1), spread(-25, 25), powers(-40, 0)]),
    "log": (mpmath.log, lambda: [spread(0.5, 2), powers(-120, 120), 1 + powers(-40, 0)]),
    "log2": (lambda x: mpmath.log(x, 2), lambda: [spread(0.5, 2), powers(-120, 120), 1 + powers(-40, 0)]),
    "log10": (mpmath.log10, lambda: [spread(0.5, 2), powers(-120, 120), 1 + powers(-40, 0)]),
    "log1p": (mpmath.log1p, lambda: [spread(-1, 2), powers(-120, 120), 0.99 * powers(-40, 0)]),
    "arcsinh": (mpmath.asinh, EVERYWHERE),
    "arccosh": (mpmath.acosh, lambda: [spread(1, 3), powers(0, 120), 1 + np.abs(powers(-40, 0))]),
    "arctanh": (mpmath.atanh, UNIT),
    "logit": (lambda x: mpmath.log(x / (1 - x)), lambda: [spread(0, 1), np.abs(powers(-40, 0)), 1 - np.abs(powers(-40, 0))]),
    "sin": (mpmath.sin, CIRCLE),
    "cos": (mpmath.cos, CIRCLE),
    "tan": (mpmath.tan, CIRCLE),
    "arcsin": (mpmath.asin, UNIT),
    "arccos": (mpmath.acos, UNIT),
    "arctan": (mpmath.atan, EVERYWHERE),
    "cbrt": (cube_root, EVERYWHERE),
    "erf": (mpmath.erf, lambda: [spread(-1.1, 1.1), spread(-6, 6), powers(-40, 0)]),
    "erfc": (mpmath.erfc, lambda: [spread(-1.1, 1.1), spread(-6, 6), spread(-9, 26), powers(-40, 0)]),
    "ndtr": (normal_distribution, lambda: [spread(-1.1, 1.1), spread(-6, 6), spread(-37, 9), powers(-40, 0)]),
    "log_ndtr": (log_normal_distribution, lambda: [spread(-2, 2), spread(-12, 6), -np.abs(powers(0, 40)), powers(-40, 0)]),
}
# For each function of two arguments likewise.
TWO = {
    "arctan2": (mpmath.atan2, lambda: [(spread(-3, 3), spread(-3, 3)), (powers(-60, 60), powers(-60, 60))]),
    "hypot": (mpmath.hypot, lambda: [(spread(-3, 3), spread(-3, 3)), (powers(-100, 100), powers(-100, 100))]),
    "power": (
        mpmath.power,
        lambda: [
            (np.abs(powers(-60, 60)), spread(-2, 2)), (1 + powers(-20, -1), powers(0, 6.5)),
            (spread(-4, 4), GENERATOR.integers(-40, 40, 150).astype(float)), (spread(0.9, 1.1), spread(-600, 600)),
        ],
    ),
    "logaddexp": (
        lambda x, y: max(x, y) + mpmath.log1p(mpmath.exp(-abs(x - y))),
        lambda: [(spread(0, 9), spread(-9, 9)), (0 * spread(0, 1), spread(-80, 80))],
    ),
    "logaddexp2": (
        lambda x, y: max(x, y) + mpmath.log1p(mpmath.power(2, -abs(x - y))) / mpmath.log(2),
        lambda: [(spread(0, 9), spread(-9, 9)), (0 * spread(0, 1), spread(-120, 120))],
    ),
    "xlogy": (lambda x, y: x * mpmath.log(y), lambda: [(spread(-3, 3), spread(0, 3)), (powers(-9, 9), np.abs(powers(-60, 60)))]),
}  # fmt: skip
# Those that are exactly as NumPy's.
EXACT = ["fmod", "remainder", "floor_divide", "nextafter"]
SPECIAL = [
    0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1.5, -1.5, 710.0, -745.5, 89.5, -103.9, 1e30, -1e30,
]  # fmt: skip


def function(name):
    return getattr(np, name, None) or getattr(special, name)


@cache
def compiled(names):
    """One program of all these functions: of their arguments, by name."""
    return ft.jit(lambda arguments: {name: function(name)(*arguments[name]) for name in names})


def extremes(dtype):
    info = np.finfo(dtype)
    numbers = [info.smallest_subnormal, info.tiny, info.max]
    return np.array([*SPECIAL, *numbers, *(-number for number in numbers)], dtype)


def random_bits(dtype, count):
    """Numbers of any sign, exponent and mantissa."""
    size = np.dtype(dtype).itemsize
    return GENERATOR.integers(0, 2 ** (8 * size) - 1, count, dtype=f"u{size}", endpoint=True).view(dtype)


def ulps(actual, exact, dtype):
    """The distance from an exact number in units of its last place."""
    info = np.finfo(dtype)
    exponent = mpmath.frexp(exact)[1] if exact else info.minexp
    return abs(mpmath.mpf(float(actual)) - exact) / mpmath.mpf(2) ** (max(exponent - 1, info.minexp) - info.nmant)


@pytest.mark.parametrize("dtype", FORMATS)
def test_one_argument_is_at_most_two_ulp_off(dtype):
    points = {name: np.concatenate(make()).astype(dtype) for name, (_, make) in ONE.items()}
    with np.errstate(all="ignore"):
        expected = {name: function(name)(x.astype(np.float64)) for name, x in points.items()}
        within = {name: np.isfinite(expected[name].astype(dtype)) & (expected[name].astype(dtype) != 0) for name in points}
    results = compiled(tuple(ONE))({name: (x,) for name, x in points.items()})
    with mpmath.workprec(140):
        for name, (exact, _) in ONE.items():
            for argument, result in zip(points[name][within[name]].tolist(), results[name][within[name]]):
                assert ulps(result, exact(mpmath.mpf(argument)), dtype) <= 2, (name, argument)


@pytest.mark.parametrize("dtype", FORMATS)
def test_two_arguments_are_at_most_two_ulp_off(dtype):
    points = {name: tuple(np.concatenate(side).astype(dtype) for side in zip(*make())) for name, (_, make) in TWO.items()}
    results = compiled(tuple(TWO))(points)
    with mpmath.workprec(140):
        for name, (exact, _) in TWO.items():
            for x, y, result in zip(*(side.tolist() for side in points[name]), results[name]):
                if np.isfinite(result) and result != 0:
                    assert ulps(result, exact(mpmath.mpf(x), mpmath.mpf(y)), dtype) <= 2, (name, x, y)


def assert_like_numpy(name, arguments, actual, dtype):
    """SciPy may be hundreds of units off; sums of logarithms are exact to the last place of the larger operand."""
    with np.errstate(all="ignore"):
        expected = function(name)(*(argument.astype(np.float64) for argument in arguments))
        absolute = np.spacing(dtype(0)) * 4.0
        if name.startswith("logaddexp"):
            absolute = absolute + 4 * np.finfo(dtype).eps * np.max(np.abs(arguments), axis=0)
        expected = function(name)(*arguments) if dtype == np.float64 else expected.astype(dtype)
        off = np.abs(actual.astype(np.float64) - expected)
        close = (actual == expected) | (off <= 1000 * np.finfo(dtype).eps * np.abs(expected) + absolute)
    both = np.isnan(actual) & np.isnan(expected)
    largest = np.finfo(dtype).max * (1 - 1e-6)
    at_the_end = (np.abs(actual) > largest) & (np.abs(expected) > largest) & (np.sign(actual) == np.sign(expected))
    signs = (np.signbit(actual) == np.signbit(expected)) | name.startswith("logaddexp")
    wrong = ~(both | (close | at_the_end) & signs)
    assert not wrong.any(), (name, *(argument[wrong][:4] for argument in arguments), actual[wrong][:4], expected[wrong][:4])


@pytest.mark.parametrize("dtype", FORMATS)
def test_special_values_and_random_bits_of_one_argument(dtype):
    points = {name: (np.concatenate([extremes(dtype), random_bits(dtype, 4000)]),) for name in ONE}
    for name, result in compiled(tuple(ONE))(points).items():
        assert_like_numpy(name, points[name], result, dtype)


@pytest.mark.parametrize("dtype", FORMATS)
def test_special_values_and_random_bits_of_two_arguments(dtype):
    special_values = extremes(dtype)
    first = np.concatenate([np.repeat(special_values, len(special_values)), random_bits(dtype, 4000)])
    second = np.concatenate([np.tile(special_values, len(special_values)), random_bits(dtype, 4000)])
    for name, result in compiled(tuple(TWO))({name: (first, second) for name in TWO}).items():
        assert_like_numpy(name, (first, second), result, dtype)


@pytest.mark.parametrize("dtype", FORMATS)
def test_remainders_and_neighbours_are_exactly_numpys(dtype):
    """Also where a quotient is next to an integer, and where it is so large that the C library takes over."""
    special_values = extremes(dtype)
    y = spread(-3, 3, 3000).astype(dtype)
    multiple = y * GENERATOR.integers(-1000, 1000, 3000).astype(dtype)
    near = np.nextafter(multiple, powers(90, 91, 3000).astype(dtype))
    groups = [
        (np.repeat(special_values, len(special_values)), np.tile(special_values, len(special_values))),
        (multiple, y), (near, y), (random_bits(dtype, 4000), random_bits(dtype, 4000)),
        (powers(0, 20, 3000).astype(dtype), powers(0, 10, 3000).astype(dtype)),
    ]  # fmt: skip
    for pair in groups:
        results = compiled(tuple(EXACT))(dict.fromkeys(EXACT, pair))
        for name in EXACT:
            with np.errstate(all="ignore"):
                expected = function(name)(*pair)
            number = ~np.isnan(expected)
            np.testing.assert_array_equal(results[name], expected, err_msg=name)
            np.testing.assert_array_equal(np.signbit(results[name][number]), np.signbit(expected[number]), err_msg=name)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_large_arguments(name, dtype):
    """One of them in a loop sends the whole loop to the C library's function."""
    x = spread(-4, 4, 500).astype(dtype)
    x[123], x[321] = 1e20, np.finfo(dtype).max
    results = ft.jit(lambda x: (function(name)(x), np.sum(np.tanh(function(name)(x.reshape(50, 10))), axis=1)))(x)
    expected = function(name)(x.astype(np.float64))
    np.testing.assert_allclose(results[0], expected, rtol=4 * np.finfo(dtype).eps)
    sums = np.sum(np.tanh(expected).reshape(50, 10), axis=1)
    np.testing.assert_allclose(results[1], sums, rtol=100 * np.finfo(dtype).eps, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FORMATS)
def test_scalars(dtype):
    """In no vector, where the C library has no function of the name, the same code is of one number."""
    one, two = dtype(0.3), dtype(0.7)
    arguments = {name: (one,) for name in ONE} | {name: (one, two) for name in (*TWO, *EXACT)}
    arguments["arccosh"] = (dtype(1.3),)
    for name, result in compiled(tuple(arguments))(arguments).items():
        np.testing.assert_allclose(result, function(name)(*arguments[name]), rtol=4 * np.finfo(dtype).eps, err_msg=name)


def test_loops_are_vectorised():
    """In whatever vectors the machine has."""
    assembly = ft.jit(lambda x: np.tanh(np.exp(x) + np.log(x))).lower(np.ones(4096)).compile().asm()
    assert any(register in assembly for register in ("zmm", "ymm", "v0.2d"))
