"""Every elementwise operation, cast and reduction in every dtype: compiled and as text, against NumPy."""

import itertools
import warnings

import numpy as np
import pytest

import functrans as ft
import functrans.ops.special  # noqa: F401  (declared when SciPy's ufuncs are first met)
from functrans.core.primitive import PRIMITIVES, Elementwise
from functrans.ops import arithmetic, reduction

DTYPES = [np.dtype(character) for character in "?bBhHiIlLefdFD"]
INTEGERS = [0, 1, -1, 2, 3, -3, 5, 7, -8, 10, 31, 32, 63, 64, 100]
FLOATS = [0.0, 1.0, 0.5, 1.5, 2.0, 2.5, 3.0, 7.25, 0.1, 100.5, 1e-3, np.inf]
# Operations whose float results are exact or correctly rounded, in NumPy and here.
ROUNDED_ONCE = {
    "add", "subtract", "multiply", "divide", "negative", "positive", "absolute", "fabs", "sign", "square", "reciprocal", "sqrt",
    "floor", "ceil", "trunc", "rint", "copysign", "heaviside", "nextafter", "deg2rad", "rad2deg", "maximum", "minimum", "fmax",
    "fmin", "where", "conjugate", "masked_multiply",
}  # fmt: skip
# Operations whose zero has a sign that NumPy's own loops for arrays and for numbers do not agree on.
ANY_ZERO = {"maximum", "minimum", "fmax", "fmin", "masked_multiply", "power", "exp"}
# Complex operations that NumPy computes in steps of its own, which overflow earlier.
FORMULAS = {"multiply", "square", "masked_multiply", "integer_power"}
# Functions that NumPy and SciPy compute less exactly than kernels do; `test_vector_math.py` has their exact values.
INEXACT = {"ndtr", "log_ndtr", "expit", "logaddexp", "logaddexp2"}


def edges(dtype):
    """The values at which something may go wrong."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = {*INTEGERS, limits.min, limits.min + 1, limits.max, limits.max - 1, limits.max // 2}
        return np.array(sorted(value for value in values if limits.min <= value <= limits.max), dtype)
    limits = np.finfo(dtype)
    positive = [*FLOATS, limits.max, limits.tiny, limits.smallest_subnormal, limits.eps, 1 + limits.eps]
    real = np.array([*positive, *np.negative(positive), np.nan], limits.dtype)
    if dtype.kind == "f":
        return real
    parts = real[[0, 1, 2, 6, 8, 11, 12, 13, 14, 17, 18, 19, 28, 29, 34]]
    result = np.empty((len(parts), len(parts)), dtype)
    result.real, result.imag = parts[:, None], parts
    return result.ravel()


def operands(primitive, count, dtype):
    """All pairs of edges, or all edges."""
    values = edges(dtype)
    if primitive is arithmetic.where:
        return [values[:, None] != values, values[:, None], values]
    if primitive is arithmetic.power and dtype.kind in "iu":
        return [values[:, None], values[values >= 0]]
    if primitive is arithmetic.power and dtype.kind == "f":
        values = values[values != -np.inf]  # whose power of 0.5 is inf, but NumPy takes the root if the exponent is a number
    return [values] if count == 1 else [values[:, None], values]


def elementwise_cases(dtype):
    """Every operation NumPy has for a dtype, with operands."""
    for _, primitive in sorted(PRIMITIVES.items()):
        if not isinstance(primitive, Elementwise) or primitive.samples is None:
            continue
        if primitive is arithmetic.integer_power and dtype.kind not in "fc":
            continue
        for sample, params in primitive.samples():
            arguments = operands(primitive, len(sample), dtype)
            try:
                with np.errstate(all="ignore"):
                    primitive.evaluate(*arguments, **params)
            except TypeError:
                continue
            yield primitive, arguments, params


def expected_of(primitive, arguments, params):
    """NumPy's result; of complex products, that of the formula, with every operation rounded."""
    if np.result_type(*arguments).kind != "c" or primitive.name not in FORMULAS:
        return primitive.evaluate(*arguments, **params)
    if primitive is arithmetic.integer_power:
        return integer_power(arguments[0], params["exponent"])
    x, y = np.broadcast_arrays(arguments[0], arguments[-1])
    out = product(x, y)
    return np.where((x == 0) | (y == 0), np.where(np.isnan(out), 0, out), out) if primitive.name == "masked_multiply" else out


def product(x, y):
    """A complex product without fused multiplication and addition."""
    out = np.empty_like(x)
    out.real, out.imag = x.real * y.real - x.imag * y.imag, x.real * y.imag + x.imag * y.real
    return out


def integer_power(x, exponent):
    """A power of at most three by multiplications."""
    out = {0: np.ones_like(x), 1: x, 2: product(x, x), 3: product(x, product(x, x))}[abs(exponent)]
    return np.reciprocal(out) if exponent < 0 else out


def check(actual, expected, name, ulps):
    """Same type and shape, and values at most `ulps` units in the last place apart; equal to the bit if that is 0."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), name
    if actual.dtype.kind == "c":
        check(actual.real.copy(), expected.real.copy(), f"{name}, real part", ulps)
        check(actual.imag.copy(), expected.imag.copy(), f"{name}, imaginary part", ulps)
    elif actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, name)
    else:
        number = np.isfinite(expected)
        np.testing.assert_array_equal(np.where(number, 0, actual), np.where(number, 0, expected), name)
        unit = np.spacing(np.nextafter(np.abs(expected[number]), 0, dtype=expected.dtype))
        error = np.abs(actual[number].astype(np.longdouble) - expected[number]) / unit
        assert error.size == 0 or np.max(error) <= ulps, f"{name}: {np.max(error)} ulp"
        if name.split(",")[0] not in ANY_ZERO:
            signed = ~np.isnan(expected)
            np.testing.assert_array_equal(np.signbit(actual)[signed], np.signbit(expected)[signed], f"{name}: signs")


def run_both(function, arguments):
    """The results of compiled code, and of the text of its kernels."""
    compiled = ft.jit(function)
    return compiled(arguments), compiled.lower(arguments).interpret(arguments)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_elementwise(dtype):
    cases = list(elementwise_cases(dtype))
    results = run_both(
        lambda every: [primitive(*own, **params) for (primitive, _, params), own in zip(cases, every)],
        [arguments for _, arguments, _ in cases],
    )
    with np.errstate(all="ignore"):
        for place, (primitive, arguments, params) in enumerate(cases):
            expected = expected_of(primitive, arguments, params)
            ulps = 0 if primitive.name in (FORMULAS if dtype.kind == "c" else ROUNDED_ONCE) else 4
            for result in results:
                if primitive.name in INEXACT:
                    unit = np.finfo(expected.dtype).eps
                    assert result[place].dtype == expected.dtype
                    np.testing.assert_allclose(result[place], expected, rtol=1000 * unit, atol=unit, err_msg=primitive.name)
                else:
                    check(result[place], expected, primitive.name, ulps)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_casts(dtype):
    """Of floats that do not fit in uint32, NumPy's own loops for arrays and for numbers make different things."""
    values = edges(dtype)
    targets = [target for target in DTYPES if dtype.kind != "c" or target.kind in "cb"]
    results = run_both(lambda x: [x.astype(target) for target in targets], values)
    with np.errstate(all="ignore"):
        for result, (place, target) in itertools.product(results, enumerate(targets)):
            expected = values.astype(target)
            if dtype.kind == "f" and target == np.uint32:
                fits = (values > -(2.0**31)) & (values < 2.0**32)
                assert result[place].dtype == target
                check(result[place][fits], expected[fits], f"cast, to {target}", 0)
            else:
                check(result[place], expected, f"cast, to {target}", 0)


def test_casts_to_float16_are_rounded_once():
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16)
    ties = (halves[:-1].astype(np.float64) + halves[1:].astype(np.float64)) / 2
    ties[-1] = 65520.0
    values = np.concatenate([np.nextafter(ties, 0), ties, np.nextafter(ties, np.inf), -ties, 1e30 * ties])
    compiled, text = run_both(lambda x: x.astype(np.float16), values)
    with np.errstate(all="ignore"):
        check(compiled, values.astype(np.float16), "cast", 0)


REDUCTIONS = [reduction.sum, reduction.max, reduction.min, reduction.all, reduction.any, reduction.prod]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reductions(dtype):
    values = edges(dtype)
    square = np.broadcast_to(values, (len(values), len(values)))[:, ::-1].copy()
    square[3:] = values[len(values) // 2]
    small = np.resize(values[np.isfinite(values) & (np.abs(values) < 100)], (9, 37))
    places = [reduction.argmax, reduction.argmin]
    arrays = [square, small, small[:, ::5], small[::2, :7]]

    def function(arrays):
        return [
            operation(x, axes=axes)
            for x, axes in itertools.product(arrays, [(0,), (1,), (0, 1)])
            for operation in (*REDUCTIONS, *places)
            if len(axes) == 1 or operation not in places
        ]

    with np.errstate(all="ignore"):
        expected = function(arrays)
        for result in run_both(function, arrays):
            for one, other in zip(result, expected, strict=True):
                assert np.asarray(one).dtype == np.asarray(other).dtype
                if np.asarray(other).dtype.kind in "fc":
                    precision = 40 * float(np.finfo(np.asarray(other).dtype).eps)
                    np.testing.assert_allclose(one, other, rtol=precision, atol=200 * precision)
                else:
                    np.testing.assert_array_equal(one, other)


def structures(x):
    """Operations that move elements, and a few that compute, on an array of two axes."""
    flat = x.ravel()
    return [
        x.T, x[::-1, ::2], np.concatenate([x, x[:1]]), np.stack([flat, flat[::-1]], axis=-1), np.pad(x, 1), np.tril(x, 1),
        np.where(x == x[0, 0], x, x[::-1]), np.take(x, [2, 0, 1], axis=0), np.roll(x, 2, axis=1), np.diagonal(x),
        x[:, None] + x[None], np.einsum("ij,kj->ik", x, x), x.T @ x, np.repeat(x, 2, axis=1), ft.numpy.zeros(70, x.dtype) + flat[:1],
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_structure(dtype):
    x = np.resize(edges(dtype)[np.isfinite(edges(dtype))], (5, 67))
    x = np.where(np.abs(x) < 50, x, x.dtype.type(1))
    expected = structures(x)
    for result in run_both(structures, x):
        for one, other in zip(result, expected, strict=True):
            assert one.dtype == other.dtype
            precision = 100 * float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0
            np.testing.assert_allclose(one, other, rtol=precision, atol=100 * precision)


def shapes(x, y):
    return [x + y, np.negative(x) if x.dtype.kind != "b" else ~x, x == y, np.sum(x), np.sum(x, axis=0) if x.ndim else x, x.T]


@pytest.mark.parametrize("dtype", [np.dtype(character) for character in "?Bhlefd"] + [np.dtype("D")], ids=str)
def test_shapes(dtype):
    """Empty arrays, no axes, axes of length 1, and many of them."""
    generator = np.random.default_rng(0)
    pairs = [((), ()), ((0,), (0,)), ((3, 0), (1, 0)), ((1, 1), (4, 1)), ((2, 1, 5), (1, 3, 1)), ((2, 1) * 4, (1, 3, 1, 1) * 2)]
    arguments = [
        tuple(np.asarray(generator.integers(0, 5, shape)).astype(dtype) for shape in pair) for pair in [*pairs, ((5,), ())]
    ]
    function = lambda every: [shapes(*pair) for pair in every]
    for result, expected in zip(ft.jit(function)(arguments), function(arguments), strict=True):
        for one, other in zip(result, expected, strict=True):
            assert (np.shape(one), one.dtype) == (np.shape(other), other.dtype)
            np.testing.assert_array_equal(one, other)


def test_python_integers_that_do_not_fit_raise_or_compare():
    x = np.arange(5, dtype=np.uint8)
    add, compare = ft.jit(lambda x, n: x + n), ft.jit(lambda x, n: (x < n, n >= x, x == n))
    for number in (3, 255):
        check(add(x, number), x + number, "add", 0)
    for number in (-1, 3, 256, 2**40):
        for one, other in zip(compare(x, number), (x < number, number >= x, x == number)):
            check(one, other, "compare", 0)
        for one, other in zip(compare(x.astype(np.uint64), number), (x < number, number >= x, x == number)):
            check(one, other, "compare", 0)
    for number in (-1, 256, 2**40):
        with pytest.raises(OverflowError, match="out of bounds for uint8"):
            add(x, number)
        with pytest.raises(OverflowError, match="out of bounds for uint8"):
            ft.jit(lambda x: x + number)(x)
    check(ft.jit(lambda x: (x > -1) & (x < 300))(x), np.ones(5, bool), "compare", 0)


def test_comparisons_of_signed_and_unsigned():
    x, y = edges(np.dtype(np.int64))[:, None], edges(np.dtype(np.uint64))
    operations = [np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal]
    for result in run_both(lambda pair: [f(*pair) for f in operations] + [f(*pair[::-1]) for f in operations], (x, y)):
        for one, other in zip(result, [f(x, y) for f in operations] + [f(y, x) for f in operations]):
            check(one, other, "compare", 0)


def test_negative_integer_powers_raise():
    x, exponents = np.arange(1, 6), np.array([0, 1, 2, 3, 4])
    power = ft.jit(lambda x, y: x**y)
    check(power(x, exponents), x**exponents, "power", 0)
    for wrong in (exponents - 1, np.int64(-2)):
        with pytest.raises(ValueError, match="negative integer powers"):
            power(x, wrong)


def test_numbers_of_mixed_kinds():
    """Python's numbers take on the dtype they meet, written in the program or as arguments."""
    arrays = [np.arange(1, 4).astype(dtype) for dtype in "Bhlefd"] + [np.arange(1, 4) * (1 + 2j)]
    numbers = [True, 2, 0.1, 2**53 + 1, 1.5 - 2j]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in numbers:
            fitting = [x for x in arrays if x.dtype.kind not in "iu" or x.dtype.itemsize == 8 or number != 2**53 + 1]
            function = lambda arrays, n: [(x + n, x * n, n - x, n / x, x == n) for x in arrays]
            expected = function(fitting, number)
            for result in (ft.jit(function)(fitting, number), ft.jit(lambda arrays: function(arrays, number))(fitting)):
                for one, other in zip(result, expected, strict=True):
                    for a, b in zip(one, other):
                        check(a, b, "mixed", 1)


def test_numbers_go_to_machine_code_at_once():
    for number in (True, 3, 2.5, 1 - 2j, *(dtype.type(1) for dtype in DTYPES)):
        compiled = ft.jit(lambda x: (x == x, np.where(x == x, x, x)))
        same, result = compiled(number)
        assert same and result == number and np.asarray(result).dtype == np.asarray(number).dtype
        assert compiled.quick(number) == (same, result)


def test_complex_elements_are_added_in_order(monkeypatch):
    """Many of them to one place, by several threads."""
    monkeypatch.setattr(ft.config, "threads", 2)
    generator = np.random.default_rng(0)
    places, values = generator.integers(0, 5, 300_000), generator.normal(size=300_000) + 1j
    expected = np.zeros(5, complex)
    np.add.at(expected, places, values)

    def scattered(places, values):
        total = np.zeros_like(values, shape=5)
        np.add.at(total, places, values)
        return total

    np.testing.assert_array_equal(ft.jit(scattered)(places, values), expected)


def test_complex_arguments_may_be_given_away():
    function = lambda x, y: (x * y + 1, x[::-1] - y)
    for dtype in (np.complex64, np.complex128, np.float16):
        x, y = ((np.arange(50_000) % n).astype(dtype) for n in (7, 5))
        for one, other in zip(ft.jit(function, donate_argnums=0)(x.copy(), y), function(x, y)):
            np.testing.assert_array_equal(one, other)


def test_complex_elements_are_moved_in_vectors():
    """Two wide loads and a shuffle each, where elements lie side by side."""
    x = np.ones(4096, np.complex64)
    llvm = ft.jit(lambda x: x * x + 1).lower(x).compile().llvm()
    assert "shufflevector" in llvm and "extractelement" not in llvm


def test_float16_where_no_instruction_converts_it(monkeypatch):
    """NumPy carries it out."""
    x, y = edges(np.dtype(np.float16)), edges(np.dtype(np.float64))
    function = lambda x, y: (x + x[::-1], x.astype(np.int64), y.astype(np.float16), np.sum(x[:5]), np.exp(y) * x[0])
    with np.errstate(all="ignore"):
        expected = function(x, y[: len(x)])
    monkeypatch.setattr("functrans.compile.machine.registers.converts_half", lambda: False)
    assert "NumPy: add of float16" in ft.jit(function).lower(x, y[: len(x)]).kernels()
    for one, other in zip(ft.jit(function)(x, y[: len(x)]), expected):
        check(one, other, "float16", 2)


def test_python_integers_beyond_int64():
    x = np.arange(3)
    for function in (lambda x: x < 2**70, lambda x: x == 2**70, lambda x: x > -(2**70), lambda x: np.sqrt(x) < 2**70):
        check(ft.jit(function)(x), function(x), "comparison", 0)
    with pytest.raises(OverflowError):
        ft.jit(lambda x: x + 2**70)(x)
