"""The table of cases: for every NumPy callable, ufunc method, ndarray method and property, some calls.

Arrays and NumPy scalars among the arguments are traced; numbers, lists and tuples are passed as they are.
`tests/numpy/test_functions.py` runs every case under every transform; `docs/coverage.py` reports on them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special as special

import functrans as ft
from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, is_differentiable
from functrans.testing import check_grads

ARRAYS = (np.ndarray, np.generic)
NUMBERS = (bool, int, float, complex)


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        name: of the callable: ``np.sum``, ``np.add.reduce``, ``ndarray.sum``, ``scipy.special.erf``.
        function: what is called: of `args` and `keywords`.
        smooth: whether derivatives are to be compared with finite differences.
        concrete: whether the result, or its shape, depends on values, so that staging and vmap raise.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    smooth: bool = True
    concrete: bool = False

    def operands(self) -> list[Any]:
        """The arrays among the arguments."""
        return [leaf for leaf in ft.tree.leaves((self.args, self.keywords)) if isinstance(leaf, ARRAYS)]

    def __call__(self, *operands: Any) -> list[Any]:
        """The leaves of the result for other arrays in the places of the operands."""
        leaves, structure = ft.tree.flatten((self.args, self.keywords))
        remaining = iter(operands)
        args, keywords = ft.tree.unflatten(
            structure, [next(remaining) if isinstance(leaf, ARRAYS) else leaf for leaf in leaves]
        )
        return ft.tree.leaves(self.function(*args, **keywords))

    def of_floating(self, *floating: Any) -> list[Any]:
        """As the call, of the floating operands alone; integers and booleans become traced inside."""
        remaining = iter(floating)
        return self(*(next(remaining) if is_differentiable(x.dtype) else ft.numpy.asarray(x) for x in self.operands()))

    def floating(self) -> list[Any]:
        """The operands with derivatives."""
        return [x for x in self.operands() if is_differentiable(x.dtype)]

    def expected(self, *operands: Any) -> list[Any]:
        """NumPy's own answer."""
        with quiet():
            return self(*operands) if operands else self(*self.operands())

    def has_derivative(self) -> bool:
        """Whether some operand and some result are floating, and differences of them are exact enough."""
        results = [x for x in arrays_among(self.expected()) if is_differentiable(dtype_of(x))]
        precise = all(np.finfo(dtype_of(x)).eps < 1e-12 for x in (*self.floating(), *results))
        return self.smooth and precise and bool(self.floating()) and bool(results)


@contextmanager
def quiet() -> Iterator[None]:
    """Without NumPy's warnings about the values of a case."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def arrays_among(results: list[Any]) -> list[Any]:
    """What a transform can return: dtypes and the like are left out."""
    return [x for x in results if isinstance(x, (*ARRAYS, *NUMBERS, Tracer))]


def assert_same(actual: Any, expected: Any) -> None:
    """Value, dtype, shape, and whether it is an array, a NumPy scalar or what else."""
    assert type(actual) is type(expected), f"{type(actual)} instead of {type(expected)}"
    if not isinstance(expected, ARRAYS):
        assert actual == expected or actual != actual and expected != expected
        return
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    precision = 200 * np.finfo(expected.dtype).eps if is_differentiable(expected.dtype) else 0
    np.testing.assert_allclose(actual, expected, rtol=precision, atol=precision)


def assert_all_same(actual: list[Any], expected: list[Any]) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected):
        assert_same(one, other)


def run_reverse(case: Case) -> list[Any]:
    """The results under reverse mode; `1.0` is there so that there is something to differentiate."""
    with np.errstate(all="ignore"):
        return ft.vjp(lambda _, *floating: arrays_among(case.of_floating(*floating)), 1.0, *case.floating())[0]


def run_forward(case: Case) -> list[Any]:
    """The results under forward mode."""
    primals = (1.0, *case.floating())
    with np.errstate(all="ignore"):
        return ft.jvp(lambda _, *floating: arrays_among(case.of_floating(*floating)), primals, primals)[0]


def run_staged(case: Case) -> list[Any]:
    """The results of the program of the call."""
    with np.errstate(all="ignore"):
        return ft.make_program(lambda *operands: arrays_among(case(*operands)))(*case.operands())(*case.operands())


def batches(case: Case) -> tuple[list[Any], list[Any]]:
    """Two sets of operands, and both stacked."""
    both = [(x, (x * x.dtype.type(1.0625) if is_differentiable(x.dtype) else x)) for x in case.operands()]
    return [list(operands) for operands in zip(*both)], [np.stack(pair) for pair in both]


def run_batched(case: Case) -> list[Any]:
    """The results of a batch of calls."""
    with np.errstate(all="ignore"):
        return ft.vmap(lambda *operands: arrays_among(case(*operands)))(*batches(case)[1])


def expected_batched(case: Case) -> list[Any]:
    """What a loop over the batch gives."""
    return [np.stack(parts) for parts in zip(*(arrays_among(case.expected(*operands)) for operands in batches(case)[0]))]


def check_derivatives(case: Case, mode: str) -> None:
    """Second order, in one mode, with respect to every floating operand."""

    def function(*floating: Any) -> list[Any]:
        return [x for x in arrays_among(case.of_floating(*floating)) if is_differentiable(dtype_of(x))]

    check_grads(function, case.floating(), order=2, modes=(mode,), rtol=2e-5, atol=2e-6)


CASES: list[Case] = []

# The ufunc that the method, and np.clip of arrays alone, end up in.
CLIP = np._core.umath.clip


def name_of(function: Any) -> str:
    """The public name of a NumPy or SciPy callable."""
    for module, prefix in ((np, "np"), (np.linalg, "np.linalg"), (np.fft, "np.fft"), (special, "scipy.special")):
        names = (function.__name__, *dir(module))
        for name in names:
            if getattr(module, name, None) is function:
                return f"{prefix}.{name}"
    if function is CLIP:
        return "np.clip"
    raise LookupError(function)


def add(functions: Any, *args: Any, smooth: bool = True, concrete: bool = False, run: Any = None, **keywords: Any) -> None:
    """A case for each of `functions`, called as ``run(function, ...)`` where that is given."""
    for function in functions if isinstance(functions, (list, tuple)) else [functions]:
        call = function if run is None else (lambda *a, function=function, **k: run(function, *a, **k))
        CASES.append(Case(name_of(function), call, args, keywords, smooth, concrete))


def method(names: str, *args: Any, smooth: bool = True, concrete: bool = False, **keywords: Any) -> None:
    """A case for each of the methods `names` of the first argument."""
    for name in names.split():
        call = lambda x, *a, name=name, **k: getattr(x, name)(*a, **k)
        CASES.append(Case(f"ndarray.{name}", call, args, keywords, smooth, concrete))


def attribute(names: str, *args: Any, concrete: bool = False) -> None:
    """A case for each of the properties `names`."""
    for name in names.split():
        CASES.append(Case(f"ndarray.{name}", lambda x, name=name: getattr(x, name), args, {}, True, concrete))


def in_place(function: Any, x: Any, *args: Any, **keywords: Any) -> Any:
    """A copy of `x` that `function` has written into."""
    x = x.copy()
    function(x, *args, **keywords)
    return x


def method_in_place(name: str, *args: Any, smooth: bool = True, **keywords: Any) -> None:
    """A case of a method that writes into its array."""
    call = lambda x, *a, **k: in_place(lambda x, *a, **k: getattr(x, name)(*a, **k), x, *a, **k)
    CASES.append(Case(f"ndarray.{name}", call, args, keywords, smooth))


def ufunc_method(ufunc: np.ufunc, name: str, *args: Any, smooth: bool = True, **keywords: Any) -> None:
    """A case of ``reduce`` and its like."""
    CASES.append(Case(f"np.{ufunc.__name__}.{name}", getattr(ufunc, name), args, keywords, smooth))


def spread(*shape: int, low: float = -2.0, high: float = 2.0, start: float = 0.11) -> Any:
    """Numbers between `low` and `high`, all different and none near an integer or each other's."""
    steps = (np.arange(np.prod(shape, dtype=int)) * 0.6180339887498949 + start) % 1.0
    return (low + (high - low) * steps).reshape(shape)


A, B, C = spread(2, 3), spread(2, 3, start=0.53), spread(2, 3, 4)
V, W, LONG = spread(3), spread(3, start=0.47), spread(7)
S = np.float64(0.7)
ZERO_D = np.array(0.7)
P, Q = spread(2, 3, low=0.2, high=2.5), spread(3, low=0.3, high=2.2, start=0.4)
UNIT, ABOVE_ONE = spread(2, 3, low=-0.9, high=0.9), spread(2, 3, low=1.1, high=3.0)
SQUARE = spread(3, 3) + 3 * np.eye(3)
SQUARES = spread(2, 3, 3) + 3 * np.eye(3)
DEFINITE = SQUARES @ np.swapaxes(SQUARES, -1, -2)
Z, ZV = A + 1j * B, V + 1j * W
F = A.astype(np.float32)
N, NV = np.array([[5, 2, 9], [1, 7, 4]]), np.array([3, 1, 2])
SMALL, UNSIGNED = N.astype(np.int8), N.astype(np.uint8)
T = np.array([[True, False, True], [False, True, True]])
TV = np.array([True, False, True])
TIES = np.array([[1.0, 3.0, 1.0], [2.0, 2.0, 0.5]])
NAN = np.where(T, A, np.nan)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 1.5, 0.0])
EMPTY = np.zeros((0, 3))
KINDS = (A, S, F, Z, N, SMALL, T)
REAL_KINDS = (A, S, F, N, UNSIGNED, T)

# Ufuncs of one operand.
for x in KINDS:
    add([np.absolute, np.exp, np.isfinite, np.isnan, np.isinf, np.logical_not], x)
for x in KINDS[:-1]:
    add([np.positive, np.negative, np.conjugate, np.square, np.sin, np.cos, np.tanh], x)
add([np.exp2, np.expm1, np.sinh, np.cosh, np.arcsinh, np.arctan, np.tan], A)
add([np.exp2, np.expm1, np.sinh, np.cosh, np.arcsinh, np.arctan, np.tan], Z)
add([np.sign, np.fabs, np.floor, np.ceil, np.trunc, np.rint, np.signbit, np.deg2rad, np.rad2deg, np.radians, np.degrees], A)
add([np.sign, np.floor, np.ceil, np.trunc, np.rint], N)
add([np.sqrt, np.log, np.log2, np.log10, np.log1p, np.reciprocal], P)
add([np.sqrt, np.log, np.log2, np.log10, np.log1p, np.reciprocal], Z)
add([np.sqrt, np.log, np.cbrt], N)
add(np.cbrt, P)
add([np.arcsin, np.arccos, np.arctanh], UNIT)
add(np.arccosh, ABOVE_ONE)
add([np.invert], N)
add([np.invert], T)
add([special.erf, special.erfc, special.expit, special.ndtr, special.log_ndtr], A)
add([special.psi, special.gammaln], P)
add(special.logit, spread(2, 3, low=0.1, high=0.9))
add([special.xlogy, special.xlog1py], P, Q)
add([special.erfcx, special.i0, special.i1, special.i0e, special.i1e, special.j0, special.j1], A)
add([special.entr, special.y0, special.y1, special.k0, special.k1, special.k0e, special.k1e], P)
add([special.erfinv, special.erfcinv, special.ndtri], spread(2, 3, low=0.1, high=0.9))

# Ufuncs of two operands.
for x, y in ((A, V), (A, 2.5), (2.5, A), (S, S), (F, 2.0), (F, V), (Z, V), (N, V), (N, 3), (SMALL, NV), (EMPTY, V)):
    add([np.add, np.subtract, np.multiply, np.divide], x, y)
for x, y in ((P, Q), (P, 0.7), (2.5, P), (N, Q), (N, NV), (F, 2), (UNSIGNED, 3)):
    positive = x if x is not F else P.astype(np.float32)
    add(
        [np.floor_divide, np.remainder, np.fmod, np.maximum, np.minimum, np.fmax, np.fmin, np.power, np.float_power],
        positive,
        y,
    )
    add([np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal], positive, y)
    add([np.logical_and, np.logical_or, np.logical_xor], positive, y)
for x, y in ((A, V), (F, 0.5)):
    add([np.arctan2, np.hypot, np.logaddexp, np.logaddexp2, np.copysign, np.heaviside], x, y)
add(np.nextafter, A, V, smooth=False)
add([np.power], A, 2)
add([np.power], A, 3.0)
add([np.power], Z, 2)
add([np.power], Z, V)
add([np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.left_shift, np.right_shift, np.gcd, np.lcm], N, NV)
add([np.bitwise_and, np.bitwise_or, np.bitwise_xor], T, TV)
add([np.add, np.multiply], T, TV)
add([np.add], A, V, dtype=np.float32)
add([np.sqrt], P, dtype=np.complex128)

# Ufunc methods.
for ufunc in (np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum):
    write_at = lambda x, *args, ufunc=ufunc: in_place(ufunc.at, x, *args)
    for args in [
        (spread(4, 3), [1, 0, 1], spread(3, 3, start=0.47)),
        (LONG, [4, 0, 2], W),
        (N, ([0, 1, 0], [2, 2, 2]), NV),
        (P, (slice(None), 1), 0.5),
    ]:
        if ufunc is not np.divide or args[0] is not N:
            CASES.append(Case(f"np.{ufunc.__name__}.at", write_at, args, {}))
for ufunc in (np.add, np.multiply, np.maximum, np.minimum):
    ufunc_method(ufunc, "reduce", A)
    ufunc_method(ufunc, "reduce", C, axis=(0, 2))
    ufunc_method(ufunc, "reduce", C, axis=None, keepdims=True)
    ufunc_method(ufunc, "reduce", N, axis=1)
    ufunc_method(ufunc, "accumulate", C, axis=1)
    ufunc_method(ufunc, "accumulate", N)
    if ufunc is np.add:
        ufunc_method(ufunc, "reduceat", LONG, [0, 2, 5])
for ufunc in (
    np.add,
    np.subtract,
    np.multiply,
    np.divide,
    np.power,
    np.maximum,
    np.minimum,
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
):
    ufunc_method(ufunc, "outer", P, Q)
    ufunc_method(ufunc, "outer", P, 0.5)
for ufunc in (np.logical_and, np.logical_or):
    ufunc_method(ufunc, "reduce", T)
    ufunc_method(ufunc, "reduce", A, axis=1)
for ufunc in (np.logaddexp, np.fmax, np.fmin):
    ufunc_method(ufunc, "reduce", A, axis=1)
    ufunc_method(ufunc, "accumulate", A, axis=1)
add(np.unique_values, TIES, concrete=True, smooth=False)
add([np.median, np.quantile], NAN, smooth=False, run=lambda f, x: f(x, axis=1) if f is np.median else f(x, [0.2, 0.9], axis=1))

# Reductions.
for x in KINDS:
    add([np.sum, np.prod, np.mean, np.var, np.std, np.max, np.min, np.all, np.any, np.cumsum, np.cumprod], x)
for keywords in (
    {"axis": 0},
    {"axis": -1},
    {"axis": (0, 2)},
    {"axis": None, "keepdims": True},
    {"axis": (-1,), "keepdims": True},
    {"axis": ()},
):
    add([np.sum, np.prod, np.mean, np.max, np.min, np.all, np.any, np.amax, np.amin], C, **keywords)
    if keywords["axis"] != ():
        add([np.var, np.std], C, **keywords)
    method("sum prod mean max min all any", C, **keywords)
    if keywords["axis"] != ():
        add([np.ptp, np.median], C, **keywords)
    add(np.count_nonzero, C, **keywords)
for mask in (T, TV):
    add([np.sum, np.prod, np.mean, np.var, np.std, np.all, np.any], A, axis=1, where=mask)
    add([np.max, np.min], A, axis=1, where=mask, initial=-0.5)
    add([np.max, np.min], N, axis=1, where=mask, initial=3)
add([np.sum, np.prod, np.max, np.min], A, axis=0, initial=0.3)
add([np.sum, np.prod, np.max, np.min], N, initial=2)
add([np.sum, np.prod, np.max, np.min], F, initial=2.0)
add([np.sum, np.prod, np.mean, np.var, np.std], A, dtype=np.float32)
add([np.sum, np.prod, np.mean], N, dtype=np.float64, axis=0)
add([np.sum, np.prod, np.all, np.any], EMPTY, axis=0)
add([np.max, np.min], EMPTY, axis=0, initial=0.0)
add([np.mean, np.max], EMPTY, axis=1)
add([np.var, np.std], A, axis=1, ddof=1)
add([np.var, np.std], Z, axis=0, ddof=0.5)
add([np.var, np.std], A, axis=(0, 1), correction=1, keepdims=True)
add([np.var, np.std], A, axis=1, ddof=1, where=T, mean=np.array([[0.1], [0.2]]))
method("var std", A, axis=0, ddof=1, keepdims=True)
method("var std", Z)
add([np.max, np.min, np.argmax, np.argmin], TIES, axis=1, smooth=False)
add([np.max, np.min, np.argmax, np.argmin], TIES, smooth=False)
for keywords in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}):
    add([np.argmax, np.argmin], C, **keywords)
    method("argmax argmin", C, **keywords)
    add([np.argmax, np.argmin], N, **keywords)
    add([np.count_nonzero], N, **keywords)
for keywords in ({}, {"axis": 1}, {"axis": -3}, {"dtype": np.float32}):
    add([np.cumsum, np.cumprod], C, **keywords)
    method("cumsum cumprod", C, **keywords)
    add([np.cumsum, np.cumprod], SMALL if keywords != {"axis": -3} else C, **({} if keywords == {"axis": -3} else keywords))
add([np.cumulative_sum, np.cumulative_prod], V)
add([np.cumulative_sum, np.cumulative_prod], C, axis=1, include_initial=True)
for x in (NAN, A, N, np.array([np.nan, 1.0])):
    add(
        [
            np.nansum,
            np.nanprod,
            np.nanmean,
            np.nanvar,
            np.nanstd,
            np.nanmax,
            np.nanmin,
            np.nancumsum,
            np.nancumprod,
            np.nanargmax,
            np.nanargmin,
            np.nanmedian,
        ],
        x,
    )
for keywords in ({"axis": 0}, {"axis": -1, "keepdims": True}):
    add([np.nansum, np.nanprod, np.nanmean, np.nanvar, np.nanstd, np.nanmax, np.nanmin, np.nanargmax], NAN, **keywords)
add([np.nancumsum, np.nancumprod], NAN, axis=1)
add([np.nanvar, np.nanstd], NAN, axis=1, ddof=0.5)

# Statistics.
add(np.average, A)
add(np.average, A, weights=P)
add(np.average, A, axis=1, weights=Q)
add(np.average, A, axis=0, weights=P, returned=True)
add(np.average, C, axis=-1, keepdims=True)
add(np.average, N, returned=True)
add(np.ptp, N, axis=1)
add(np.ptp, TIES, smooth=False)
add(np.median, LONG)
add(np.median, N, axis=1)
add(np.median, spread(6))
add(np.median, F, axis=0)
for q in (0.3, [0.1, 0.5, 1.0], 0, 1):
    add([np.quantile], C, q, axis=1)
    add([np.quantile], C, q, axis=(0, 2), keepdims=True)
    add([np.quantile], LONG, q)
    add([np.nanquantile], NAN, q)
    add([np.percentile, np.nanpercentile], C, np.multiply(q, 100).tolist(), axis=-1)
for style in ("lower", "higher", "nearest", "midpoint", "linear", "hazen", "weibull", "median_unbiased", "normal_unbiased"):
    add(np.quantile, LONG, [0.2, 0.55], method=style)
    add([np.quantile, np.nanquantile], F, [0.2, 0.55], method=style)
    add(np.quantile, N, 0.25, method=style)
for q in (30, 30.0, [30], np.float32(30), np.float64(30), np.array([20, 70], np.float32)):
    add([np.percentile, np.nanpercentile], F, q, axis=1)
    add([np.percentile, np.nanpercentile], N.astype(np.int16), q)
add(np.quantile, A, np.float64(0.37))
add(np.cov, A)
add(np.cov, A, B)
add(np.cov, A.T, rowvar=False)
add(np.cov, A, ddof=0)
add(np.cov, V)
add(np.cov, A, bias=True)
add(np.cov, Z)
add(np.cov, A, aweights=Q)
add(np.cov, A, fweights=NV)
add(np.corrcoef, A)
add(np.corrcoef, np.sin(3 * C[0]), np.cos(3 * C[1] * C[0]))
add(np.corrcoef, C[0].T, rowvar=False)
add(np.histogram, LONG, run=lambda f, *a, **k: f(*a, **k)[0], bins=[-2.0, -0.5, 0.6, 2.0])
add(np.histogram, LONG, bins=4, range=(-2.0, 2.0))
add(np.histogram, LONG, bins=4)
add(np.histogram, LONG, bins=[-2.0, -0.5, 0.6, 2.0], weights=spread(7, low=0.2))
add(np.histogram, LONG, bins=[-2.0, 0.6, 2.0], density=True)
add(np.bincount, np.array([0, 2, 2, 1]), minlength=5, concrete=True)
add(np.bincount, [0, 2, 2, 1], weights=spread(4))
add(np.bincount, [0, 2, 2], weights=V, minlength=5)
for right in (False, True):
    add(np.digitize, A, [-1.0, 0.2, 1.0], right=right)
    add(np.digitize, A, [1.0, 0.2, -1.0], right=right)

# Elementwise functions.
add(np.where, T, A, B)
add(np.where, TV, A, 0.0)
add(np.where, N, 1.0, A)
add(np.where, T, F, 1.0)
add(np.where, T, N, SMALL)
add(np.where, T, Z, A)
add(np.where, T, 1, 2)
for x in (T, A, V):
    add(np.where, x, concrete=True)
add(np.clip, A, -0.5, 0.5)
add(np.clip, A, None, W)
add(np.clip, A, W, W + 0.5)
add(np.clip, N, 2, 5)
add(np.clip, F, -0.5, 0.5)
add(np.clip, A, min=0.1)
add(np.clip, A, max=0.1)
method("clip", A, -0.5, 0.5)
method("clip", A, max=0.3)
method("clip", N, 2)
for decimals in (0, 1, -1):
    add([np.round, np.around], 10 * A, decimals=decimals)
    method("round", 10 * A, decimals)
    add(np.round, 10 * Z, decimals)
    add(np.round, 10 * F, decimals)
add(np.round, 15 * N, -1)
add(np.round, N)
add(np.round, N, 2)
add(np.fix, A)
add(np.fix, N)
add(np.select, [T, TV], [A, 2 * B], 0.5)
add(np.select, [A > 0, B > 0], [A, B])
add(np.select, [T], [N], 7)
add(np.choose, np.array([[0, 1, 1], [1, 0, 0]]), [A, B])
add(np.choose, [0, 1, 1], [V, W])
add(np.choose, np.array([5, -1, 1]), [V, W], mode="wrap")
add(np.choose, np.array([5, -1, 1]), [V, W], mode="clip")
method("choose", np.array([0, 1, 1]), [V, W])
add(np.nan_to_num, SPECIAL, smooth=False)
add(np.nan_to_num, SPECIAL, nan=1.0, posinf=9.0, neginf=-9.0, smooth=False)
add(np.nan_to_num, A)
add(np.nan_to_num, N)
add(np.nan_to_num, NAN.astype(np.float32))
add(np.nan_to_num, np.array([np.nan + 1j, 2.0]), smooth=False)
add(np.angle, Z)
add(np.angle, Z, deg=True)
add(np.angle, A)
add(np.angle, F)
add(np.sinc, A)
add(np.sinc, np.array([0.0, 1e-3, 0.5]))
add(np.sinc, F)
add(np.sinc, N)
for y in (A + 1e-9, B):
    add(np.isclose, A, y)
    add(np.allclose, A, y, concrete=True)
    add([np.array_equal, np.array_equiv], A, y, concrete=True)
add(np.isclose, SPECIAL, SPECIAL, equal_nan=True)
add(np.isclose, SPECIAL, SPECIAL[::-1].copy())
add(np.isclose, N, N)
add(np.isclose, A, V, rtol=0.5, atol=0.1)
add(np.isclose, S, S)
add(np.array_equal, SPECIAL, SPECIAL, equal_nan=True, concrete=True)
add(np.array_equal, A, V)
add(np.allclose, SPECIAL, SPECIAL, equal_nan=True, concrete=True)
add([np.isposinf, np.isneginf], SPECIAL)
add([np.isreal, np.iscomplex], Z)
add([np.isreal, np.iscomplex], A)
add(np.divmod, P, Q)
add(np.divmod, N, 3)
add(np.modf, A)
add(np.piecewise, A, [A < 0, A >= 0], [lambda x: -x, lambda x: x * x])
add(np.piecewise, A, [T], [1.5, np.sin])
add(np.unwrap, 4 * LONG)
add(np.unwrap, 4 * C, axis=1)
add(np.unwrap, 4 * V, period=4.0)
add(np.real, Z)
add(np.imag, Z)
add(np.real, A)
add(np.imag, A)
add(np.imag, N)

# Differences, integrals, interpolation, polynomials.
add(np.diff, LONG)
add(np.diff, C, n=2, axis=1)
add(np.diff, T)
add(np.diff, N, axis=0)
add(np.diff, V, prepend=0.0, append=W)
add(np.diff, A, n=0)
add(np.diff, A, axis=0, append=A[:1])
add(np.ediff1d, LONG)
add(np.ediff1d, A, to_begin=[0.5], to_end=V)
add(np.ediff1d, N)
add(np.gradient, LONG)
add(np.gradient, LONG, 0.5)
add(np.gradient, LONG, np.cumsum(spread(7, low=0.5)))
add(np.gradient, spread(4, 5))
add(np.gradient, spread(4, 5), 0.5, 2.0)
add(np.gradient, spread(4, 5), axis=1, edge_order=2)
add(np.gradient, LONG, np.cumsum(spread(7, low=0.5)), edge_order=2)
add(np.gradient, spread(3, 4, 5), 2.0, axis=(0, 2))
add(np.gradient, N, axis=1)
add(np.trapezoid, LONG)
add(np.trapezoid, C, dx=0.5, axis=1)
add(np.trapezoid, A, V)
add(np.trapezoid, A, P, axis=0)
add(np.interp, A, [-1.5, 0.1, 1.2], V)
add(np.interp, A, np.array([-1.5, 0.1, 1.2]), V, left=0.5, right=W[0])
add(np.interp, S, [0.0, 1.0], [1.0, 3.0])
add(np.interp, A, [-0.5, 0.1, 0.6], V, period=2.0)
add(np.interp, 0.3, [0.0, 1.0, 2.0], ZV)
add(np.polyval, V, A)
add(np.polyval, [2, 0, 1], A)
add(np.polyval, V, 0.5)
add(np.vander, V)
add(np.vander, V, 4)
add(np.vander, V, 2, increasing=True)
add(np.vander, NV)
add([np.polyadd, np.polysub, np.polymul], V, spread(2))
add(np.polyder, LONG)
add(np.polyder, LONG, 2)
add(np.polyint, V)
add(np.polyint, V, 2)
for mode in ("full", "same", "valid"):
    add([np.convolve, np.correlate], LONG, V, mode)
    add([np.convolve, np.correlate], spread(2), LONG, mode)
    add([np.convolve, np.correlate], ZV, spread(2) + 1j, mode)
    add([np.convolve, np.correlate], N[0], NV[:2], mode)

# Products.
for x, y in (
    (SQUARE, V),
    (V, SQUARE),
    (SQUARES, SQUARE),
    (V, W),
    (SQUARES, SQUARES),
    (SQUARES[:1], SQUARES),
    (N, NV),
    (Z, ZV),
    (F, V),
    (SQUARES, V),
    (V, SQUARES),
):
    add(np.matmul, x, y)
    add([np.dot], x, y)
    add(np.linalg.matmul, x, y)
    if np.shape(x)[-1] == np.shape(y)[-1]:
        add(np.inner, x, y)
method("dot", SQUARE, V)
method("dot", V, W)
add([np.dot, np.inner], 2.0, A)
add([np.dot, np.inner], S, A)
add([np.tensordot, np.linalg.tensordot], C, spread(4, 3, 2), axes=([1, 2], [1, 0]))
add([np.tensordot, np.linalg.tensordot], C, spread(3, 4))
add(np.tensordot, C, A, axes=0)
add(np.tensordot, C, spread(4, 2), 1)
add(np.tensordot, C, C, axes=(-1, -1))
add(np.tensordot, N, NV, axes=1)
add([np.outer], A, V)
add([np.outer, np.linalg.outer], V, Q)
add(np.outer, Z, V)
add(np.outer, 2.0, V)
add(np.outer, N, NV)
add(np.vdot, A, B)
add(np.vdot, Z, B)
add(np.vdot, N, N)
add(np.vdot, S, 2.0)
add([np.vecdot, np.linalg.vecdot], A, V)
add([np.vecdot, np.linalg.vecdot], Z, ZV)
add(np.vecdot, A, B, axis=0)
for axis in (0, -1):
    add([np.sum, np.max, np.any, np.argmax], ZERO_D, axis=axis)
    add([np.sum, np.min, np.all], S, axis=axis)
add(np.take, S, [0, 0], axis=0)
add(np.linalg.vecdot, C, C, axis=1)
if hasattr(np, "matvec"):  # since NumPy 2.2
    add(np.matvec, SQUARES, V)
    add(np.vecmat, V, SQUARES)
    add(np.vecmat, ZV, SQUARES)
    add(np.matvec, Z, ZV)
add(np.kron, A, V)
add(np.kron, V, W)
add(np.kron, N, A)
add(np.kron, 2.0, A)
add(np.kron, Z, A)
add(np.cross, A, V)
add(np.linalg.cross, A, B)
add(np.cross, A.T, B.T, axis=0)
add(np.cross, A.T, B, axisa=0, axisc=0)
add(np.cross, N, NV)
add(np.cross, Z, V)
for subscripts, operands in {
    "ij->ji": (A,), "ii": (SQUARE,), "ii->i": (SQUARE,), "ij->": (A,), "ijk->j": (C,), "ij,j": (A, V), "ij,jk->ik": (A, SQUARE),
    "...j,j->...": (C[..., :3], V), "i,j,k->ijk": (V, W, Q), "ij,kj,k->i": (A, SQUARE, V), "ab,ab->": (A, B), "i,i,i": (V, W, Q), "...ii->...i": (SQUARES,), "ij,i->": (SQUARE, V), "iij,j->i": (spread(3, 3, 2), spread(2)), "ij, jk": (N, NV[:, None]), "i...,i...->...": (A, B), "ij->i": (Z,),
}.items():  # fmt: skip
    add(np.einsum, subscripts, *operands)
add(np.einsum, A, [0, 1], V, [1], [0])
add(np.einsum, A, [0, 1])
add(np.einsum, "ij,jk,kl->il", A, SQUARE, SQUARE, optimize=False)
add(np.linalg.multi_dot, [A, SQUARE, V])
add(np.linalg.multi_dot, [A, SQUARE])

# Linear algebra.
for x in (SQUARE, SQUARES, SQUARE.astype(np.float32), SQUARE + 0.5j * spread(3, 3), np.array([[2, 1], [1, 3]])):
    add([np.linalg.inv, np.linalg.det, np.linalg.slogdet], x)
    add(np.linalg.solve, x, x[..., :2] * 0.5)
    add(np.linalg.matrix_power, x, 3)
add(np.linalg.solve, SQUARES, V)
add(np.linalg.solve, SQUARE, N.T)
add(np.linalg.tensorsolve, SQUARE, V)
add(np.linalg.tensorinv, SQUARE, ind=1)
for power in (0, 1, 2, -1, -2):
    add(np.linalg.matrix_power, SQUARE, power)
add(np.linalg.cholesky, DEFINITE)
add(np.linalg.cholesky, DEFINITE, upper=True)
add(np.linalg.cholesky, np.array([[4, 1], [1, 3]]))
for x in (A, Z, F, N):
    add(np.linalg.norm, x)
    add(np.linalg.norm, x, keepdims=True)
    for order in ("fro", 1, -1, np.inf, -np.inf):
        add(np.linalg.norm, x, order)
        add(np.linalg.matrix_norm, x, ord=order, keepdims=True)
    for order in (2, 1, 3, 0.5, -1, 0, np.inf, -np.inf):
        add(np.linalg.norm, x, order, axis=1)
        add(np.linalg.vector_norm, x, axis=0, ord=order, keepdims=True)
        add(np.linalg.vector_norm, x, ord=order)
add(np.linalg.norm, V)
add(np.linalg.norm, V, -2)
add(np.linalg.norm, C, axis=(0, 2))
add(np.linalg.norm, C, 1, axis=(2, 0), keepdims=True)
add(np.linalg.norm, np.sin(3 * C), np.inf, (-1, 0))
add(np.linalg.vector_norm, C, axis=(0, 2), ord=3)
add(np.linalg.norm, C)
for order in (1, -1, np.inf, -np.inf, "fro", None, 2, -2):
    add(np.linalg.cond, SQUARES, order)
for order in (2, -2, "nuc"):
    for x in (A, Z, F):
        add(np.linalg.norm, x, order)
        add(np.linalg.matrix_norm, x, ord=order, keepdims=True)
    add(np.linalg.norm, C, order, axis=(2, 0))
TALL, DEFICIENT = spread(4, 3) + np.eye(4, 3), np.outer(V, V)
for x in (SQUARE, SQUARES, TALL, TALL.T, SQUARE.astype(np.float32), np.array([[2, 1], [1, 3]])):
    add(np.linalg.svd, x, full_matrices=False)
    add(np.linalg.svd, x, compute_uv=False)
    add([np.linalg.svdvals, np.linalg.qr, np.linalg.pinv], x)
    add(np.linalg.qr, x, "r")
add(np.linalg.svd, TALL)
add(np.linalg.svd, TALL.T)
add(np.linalg.qr, TALL, "complete")
add(np.linalg.qr, Z.T @ Z + np.eye(3))
for x in (DEFINITE, DEFINITE.astype(np.float32), np.array([[4, 1], [1, 3]])):
    for triangle in "LU":
        add([np.linalg.eigh, np.linalg.eigvalsh], x, triangle)
add(np.linalg.svd, DEFINITE - 1.5 * np.eye(3), hermitian=True)
add(np.linalg.svd, DEFINITE - 1.5 * np.eye(3), compute_uv=False, hermitian=True)
COMPLEX_SQUARE = SQUARE + 0.2j * spread(3, 3) + np.diag([0, 4, 8])
add([np.linalg.eig, np.linalg.eigh, np.linalg.svd], COMPLEX_SQUARE, smooth=False)
add(np.linalg.eig, COMPLEX_SQUARE, run=lambda function, a: np.abs(function(a)[1]))
add([np.linalg.eigvals, np.linalg.eigvalsh, np.linalg.svdvals, np.linalg.pinv], COMPLEX_SQUARE)
add(np.linalg.pinv, TALL, hermitian=False, rtol=1e-10)
add(np.linalg.pinv, TALL, rtol=None)
add(np.linalg.pinv, DEFINITE, hermitian=True)
for x in (SQUARE, SQUARES, TALL, DEFICIENT):
    add(np.linalg.matrix_rank, x)
add(np.linalg.matrix_rank, DEFICIENT, 0.5)
add(np.linalg.matrix_rank, SQUARES, rtol=0.3)
add(np.linalg.matrix_rank, DEFINITE, hermitian=True)
for x in (SQUARE, TALL, TALL.T, TALL.astype(np.float32)):
    add(np.linalg.lstsq, x, np.sin(x[:, 0]))
    add(np.linalg.lstsq, x, np.cos(x), rcond=1e-10)
add(np.linalg.lstsq, Z, Z.T[:2] * 1j)
add(np.linalg.lstsq, TALL, TALL[:, 0], rcond=-1)
add([np.trace, np.linalg.trace], SQUARES)
add(np.trace, SQUARE, offset=1, dtype=np.float32)
add(np.trace, C, axis1=2, axis2=0)
method("trace", SQUARE, 1)
add(np.trace, N)

# Shape and order.
for x in (C, N.reshape(1, 2, 3), Z[None]):
    add(
        [
            np.ravel,
            np.transpose,
            np.permute_dims,
            np.flip,
            np.copy,
            np.atleast_1d,
            np.atleast_2d,
            np.atleast_3d,
            np.matrix_transpose,
            np.linalg.matrix_transpose,
            np.flipud,
            np.fliplr,
            np.squeeze,
        ],
        x,
    )
    method("ravel flatten transpose copy squeeze conj conjugate", x)
    attribute("mT real imag shape size ndim dtype itemsize nbytes", x)
attribute("T real imag", A)
method("swapaxes", C, 0, 2)
attribute("shape dtype", F)
add(np.reshape, C, (4, -1))
add(np.reshape, C, -1)
add(np.reshape, C, (6, 4), order="F")
add(np.reshape, C, (3, 8), copy=True)
method("reshape", C, 4, 6)
method("reshape", C, (4, -1), order="F")
add(np.reshape, S, ())
add(np.ravel, C, order="F")
method("flatten", C, "F")
add(np.ravel, S)
add([np.transpose, np.permute_dims], C, (1, 2, 0))
method("transpose", C, 1, 2, 0)
method("transpose", C, (-1, 0, 1))
method("transpose", C, None)
add(np.swapaxes, C, 0, -1)
add(np.moveaxis, C, [0, 1], [-1, 0])
add(np.moveaxis, C, 0, -1)
add(np.rollaxis, C, 2)
add(np.rollaxis, C, 0, 3)
add(np.broadcast_to, V, (2, 3))
add(np.broadcast_to, S, (2,))
add(np.broadcast_arrays, A, V, S)
add(np.expand_dims, A, 1)
add(np.expand_dims, A, (0, -1))
add(np.squeeze, A[:, None], 1)
method("squeeze", A[None, :, None], axis=(0, 2))
add([np.atleast_1d, np.atleast_2d, np.atleast_3d], S, V, A)
add([np.atleast_1d, np.atleast_2d, np.atleast_3d], S)
add(np.flip, C, 1)
add(np.flip, C, (0, -1))
add(np.flipud, A)
add(np.fliplr, A)
for k in range(-1, 4):
    add(np.rot90, C, k)
    add(np.rot90, C, k, axes=(2, 0))
add(np.roll, A, 4)
add(np.roll, C, 1, axis=1)
add(np.roll, C, (1, -2), axis=(0, 2))
add(np.roll, C, 1, axis=(0, 1))
add([np.astype], A, np.float32, smooth=False)
method("astype", A, np.float32, smooth=False)
method("astype", A, int)
method("astype", N, np.float64)
method("astype", Z, np.complex64)
method("astype", N, bool)
method("astype", A, float, copy=False)
for k in (-1, 0, 1, 5):
    add([np.tril, np.triu], C, k)
    add(np.diag, V, k)
    add(np.diagflat, A, k)
add([np.tril, np.triu], V)
add([np.tril, np.triu], N)
add(np.diag, A)
add(np.diag, A, 1)
add(np.diagonal, C)
add(np.diagonal, C, 1, 0, 2)
method("diagonal", A, -1)
add(np.linalg.diagonal, C, offset=1)
add(np.diag, NV)
add(np.ndim, C)
add(np.shape, C)
add(np.size, C)
add(np.size, C, 1)
add(np.iscomplexobj, Z)
add(np.isrealobj, A)
add(np.result_type, A, np.float32)
add(np.result_type, F, 2.0)
add(np.result_type, N, F)

# Arrays like others.
for x in (A, N, F, Z):
    for function in (np.zeros_like, np.ones_like):
        add(function, x)
        add(function, x, dtype=np.float32)
        add(function, x, shape=(2, 2))
        add(function, x, shape=4)
    add(np.full_like, x, 2)
    add(np.full_like, x, 0.5, dtype=float)
    add(np.empty_like, x, run=lambda f, *a, **k: np.zeros_like(f(*a, **k)))
add(np.full_like, A, S)
add(np.full_like, A, V)
add(np.empty_like, A, run=lambda f, *a, **k: np.zeros_like(f(*a, **k)), shape=(2,), dtype=int)
for indexing in ("xy", "ij"):
    for sparse in (False, True):
        add(np.meshgrid, V, spread(2), indexing=indexing, sparse=sparse)
add(np.meshgrid, V)
add(np.meshgrid, V, spread(2), spread(4))
add(np.meshgrid, V, NV, [1.0, 2.0])
add(np.linspace, S, 2.0, 5)
add(np.linspace, V, W, 4, endpoint=False)
add(np.linspace, V, W, 4, axis=-1)
add(np.linspace, S, 2.0, 5, retstep=True)
add([np.logspace], S, 2.0, 5)

# Joining and splitting.
for function in (np.concatenate, np.concat, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack):
    add(function, [A, B])
    add(function, (V, W, NV))
    add(function, [F, N.astype(np.float32)])
for axis in (0, 1, -1):
    add([np.concatenate, np.concat, np.stack], [A, B], axis=axis)
add(np.concatenate, [A, V], axis=None)
add(np.concatenate, [A, B], dtype=np.float32)
add([np.hstack, np.vstack], [S, 2.0, V[0]])
add(np.stack, [S, 1.0, 2])
add(np.hstack, [V, 1.0])
add([np.vstack, np.hstack], [A, B], dtype=np.float32)
add(np.stack, [A, B], axis=1, dtype=np.float32)
add(np.concatenate, [T, N])
add(np.column_stack, [V, A.T])
add(np.block, [[A, B], [V, W]])
add(np.block, [V, 1.0])
add(np.block, [[SQUARE, V[:, None]], [W, 1.0]])
add(np.unstack, A)
add(np.unstack, C, axis=-1)
add([np.split, np.array_split], C, 2, axis=2)
add([np.split, np.array_split], C, [1, 3], axis=-1)
add(np.array_split, LONG, 3)
add([np.split], LONG, [2, 5])
add(np.vsplit, C, 2)
add(np.hsplit, C, 3)
add(np.hsplit, LONG, [3])
add(np.dsplit, C, 2)
add(np.split, LONG, [5, 3, 20])
add(np.split, LONG, [-2])
for repeats in (2, [1, 0, 2]):
    add(np.repeat, A, repeats, axis=1)
    method("repeat", V, repeats)
    add(np.repeat, N, repeats, axis=-1)
add(np.repeat, A, 2)
add(np.repeat, S, 3)
add(np.repeat, A, [2], axis=0)
add(np.tile, A, 2)
add(np.tile, A, (2, 1))
add(np.tile, V, (2, 2, 1))
add(np.tile, S, 3)
add(np.tile, N, [1, 2])
add(np.tile, A, 0)
for mode in ("constant", "edge", "reflect", "symmetric", "wrap"):
    add(np.pad, C, 1, mode)
    add(np.pad, A, ((1, 0), (0, 2)), mode)
    add(np.pad, N, (1, 1), mode)
add(np.pad, A, 1, constant_values=3.5)
add(np.pad, A, 1, "constant", constant_values=((1.0, 2.0), (3.0, 4.0)))
add(np.pad, A, {1: (1, 2)})
add(np.pad, V, 2, constant_values=S)
add(np.pad, N, 1, constant_values=7)
add(np.append, A, B)
add(np.append, A, B, axis=0)
add(np.append, V, 1.0)
add(np.append, V, [1.0, 2.0])
add(np.delete, LONG, 2)
add(np.delete, A, [0, 2], axis=1)
add(np.delete, C, slice(1, 3), axis=2)
add(np.delete, A, 1)
add(np.delete, V, [True, False, False])
add(np.insert, LONG, 2, S)
add(np.insert, A, 1, V, axis=0)
add(np.insert, A, 1, 5.0, axis=1)
add(np.insert, LONG, [1, 3], [9.0, 8.0])
add(np.insert, LONG, 2, [9.0, 8.0])
add(np.insert, A, 1, 5.0)
add(np.insert, LONG, -1, S)
add(np.insert, A, [0, 2], A[:, :2], axis=1)
add(np.resize, A, (3, 4))
add(np.resize, V, 2)
add([np.array_split], V, 5)

# Indexing by functions.
ROWS = np.array([[0, 1], [1, 0]])
for indices in (ROWS, [1, 0], 1, -1):
    add(np.take, C, indices, axis=1)
    add(np.take, C, indices)
    method("take", A, indices, axis=0)
    add(np.take, N, indices, axis=0)
for mode in ("wrap", "clip"):
    add(np.take, V, [5, -4, 1], mode=mode)
    add(np.take, V, np.array([5, -4, 1]), mode=mode)
ORDER = np.argsort(A, axis=1)
add(np.take_along_axis, A, ORDER, axis=1)
add(np.take_along_axis, A, ORDER, axis=-1)
add(np.take_along_axis, C, np.array([[[1]], [[0]]]), 0)
add(np.take_along_axis, LONG, np.array([3, 1]), 0)
add(np.take_along_axis, A, np.array([3, 1]), None)
add([np.put_along_axis], A, ORDER[:, :2], B[:, :2], 1, run=in_place)
add(np.put_along_axis, A, ORDER[:, :1], 0.5, axis=1, run=in_place)
add([np.copyto], A, B, run=in_place)
add(np.copyto, A, V, where=T, run=in_place)
add(np.copyto, A, 2.0, run=in_place)
add(np.putmask, A, T, B, run=in_place)
add(np.putmask, A, T, V[:2], run=in_place)
add(np.place, A, [[True, False, True], [False, True, True]], V[:2], run=in_place)
add(np.put, A, [0, 4], V[:2], run=in_place)
add(np.put, A, [0, 7], 1.5, mode="wrap", run=in_place)
add(np.fill_diagonal, SQUARE, V, run=in_place)
add(np.fill_diagonal, A, 0.5, run=in_place)
add(np.fill_diagonal, spread(7, 3), 2.0, wrap=True, run=in_place)
method_in_place("fill", A, 1.5)
method_in_place("fill", A, S)
method_in_place("put", A, [0, 4], V[:2])
method_in_place("sort", A)
method_in_place("sort", A, axis=0)
method_in_place("partition", A, 1, smooth=True)
add([np.compress], [True, False, True], A, axis=1)
add(np.compress, [True, False, True, True], A)
add(np.extract, T, A, concrete=True)
add(np.extract, [[True, False, True], [False, True, True]], A)
CASES.append(Case("ndarray.compress", lambda x, c: x.compress(c, axis=0), (A, [False, True]), {}))
add([np.nonzero, np.argwhere, np.flatnonzero], A * T, concrete=True)
method("nonzero", N, concrete=True)
add([np.nonzero, np.argwhere, np.flatnonzero], T, concrete=True)
add([np.tril_indices_from, np.triu_indices_from], SQUARE, 1)
add(np.diag_indices_from, SQUARE)

# Sorting and searching.
for x in (A, N, C, T, F):
    add([np.sort, np.argsort], x)
    add([np.sort, np.argsort], x, axis=0)
    add([np.sort, np.argsort], x, axis=None, kind="stable")
    method("argsort", x, -1)
add([np.sort, np.argsort], TIES, stable=True, smooth=False)
add([np.sort, np.argsort], SPECIAL, smooth=False)
add(np.sort_complex, ZV)
# Which order the other elements of a partition have is NumPy's affair; every place of a whole partition is fixed.
for kth in (range(4), [0, 1, 2, 3]):
    add([np.partition, np.argpartition], C, list(kth))
    add([np.partition], C[:, :, 0], [0, 1, 2], axis=1)
    method("argpartition", C, list(kth))
add(np.lexsort, (V, W))
add(np.lexsort, (N, T), axis=0)
for side in ("left", "right"):
    add(np.searchsorted, np.sort(LONG), A, side=side)
    add(np.searchsorted, [-1.0, 0.2, 1.0], A, side)
    add(np.searchsorted, np.sort(LONG), 0.3, side=side)
    method("searchsorted", np.sort(LONG), V, side)
add(np.searchsorted, LONG, V, sorter=np.argsort(LONG))
add(np.searchsorted, np.sort(LONG), S)
for keywords in ({}, {"return_index": True}, {"return_inverse": True, "return_counts": True}, {"axis": 0}):
    add(np.unique, N % 3, concrete=True, **keywords)
    add(np.unique, TIES, concrete=True, smooth=False, **keywords)
add(np.isin, N, [2, 7])
add(np.isin, A, A[0])
add(np.isin, N, NV, invert=True)
add([np.setdiff1d, np.union1d], V, W, concrete=True)

# Functions of functions.
add(np.apply_along_axis, np.sum, 1, A)
add(np.apply_along_axis, lambda x: x[::-1] * x[0], 0, A)
add(np.apply_along_axis, lambda x: np.outer(x, x), 1, C[0])
add(np.apply_over_axes, np.sum, C, [0, 2])
method("item", S, concrete=True, smooth=False)
method("tolist", A, concrete=True, smooth=False)
add(CLIP, A, -0.5, 0.5)
add(CLIP, A, W, W + 0.5)

add(np.geomspace, S, 2.0, 5)
add(np.geomspace, P[0], 4.0, 3, endpoint=False)
add(np.geomspace, P[0], 4.0, 3, axis=-1)
add(np.ldexp, A, NV)
add(np.ldexp, F, 3)
add([np.intersect1d, np.setxor1d], np.append(V, 0.5), np.append(W, V[1]), concrete=True, smooth=False)
add([np.fft.fftshift, np.fft.ifftshift], C)
add([np.fft.fftshift, np.fft.ifftshift], LONG)
add([np.fft.fftshift, np.fft.ifftshift], C, axes=(0, -1))
add([np.fft.fftshift, np.fft.ifftshift], C, axes=1)
for x in (A, Z, F, N, C):
    add([np.fft.fft, np.fft.ifft, np.fft.irfft, np.fft.hfft], x)
for x in (A, F, N, C):
    add([np.fft.rfft, np.fft.ihfft], x)
for norm in ("ortho", "forward", "backward"):
    add([np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft], C, norm=norm)
    add([np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn], C, norm=norm)
for n in (1, 2, 4, 7):
    add([np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft], C, n=n, axis=1)
add([np.fft.fft2, np.fft.ifft2, np.fft.rfft2, np.fft.irfft2], C)
add([np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn], C, s=(3, 5), axes=(0, 2))
add([np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn], C, axes=(2, 0))


def with_out(shape: tuple[int, ...], dtype: Any = float) -> Callable[..., Any]:
    """A runner that lets the function write into an array of this shape, and returns that."""

    def run(function: Any, x: Any, *args: Any, **keywords: Any) -> Any:
        out = np.zeros_like(x, dtype, shape=shape)
        function(x, *args, out=out, **keywords)
        return out

    return run


add([np.sum, np.prod, np.max, np.min, np.mean, np.var, np.std, np.ptp, np.median], A, axis=1, run=with_out((2,)))
add(
    [np.nansum, np.nanprod, np.nanmean, np.nanvar, np.nanstd, np.nanmax, np.nanmin, np.nanmedian],
    NAN,
    axis=1,
    run=with_out((2,)),
)
add([np.argmax, np.argmin, np.nanargmax, np.nanargmin], A, axis=1, run=with_out((2,), int))
add([np.all, np.any], T, axis=1, run=with_out((2,), bool))
add([np.cumsum, np.cumprod, np.nancumsum, np.nancumprod], A, axis=1, run=with_out((2, 3)))
add([np.clip], A, -0.5, 0.5, run=with_out((2, 3)))
add([np.round, np.fix, np.sin, np.exp], 3 * A, run=with_out((2, 3)))
add([np.quantile, np.nanquantile], A, 0.3, axis=1, run=with_out((2,)))
add([np.percentile, np.nanpercentile], A, 30, axis=1, run=with_out((2,)))
add([np.isposinf, np.isneginf], SPECIAL, run=with_out((5,), bool))
add([np.dot, np.matmul], SQUARE, V, run=with_out((3,)))
add(np.outer, V, W, run=with_out((3, 3)))
add(np.take, A, [2, 0], axis=1, run=with_out((2, 2)))
add(np.trace, C, run=with_out((4,)))
add([np.add, np.multiply, np.maximum], A, B, run=with_out((2, 3)))
add([np.choose], np.array([0, 1, 1]), [V, W], run=with_out((3,)))
