"""Every case of the table `cases.py` under every transform: value, dtype, shape and class as NumPy's, and derivatives."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import functrans as ft
import functrans.ops.special  # noqa: F401  (declared when SciPy's ufuncs are first met)
from functrans.core.tracer import ARRAY_FUNCTIONS, UFUNC_METHODS, UFUNCS, Tracer
from functrans.errors import ConcretizationError
from functrans.numpy.structure import REFUSED_METHODS

table = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("cases.py"))))


def parameters(keep=lambda case: True):
    return [pytest.param(case, id=f"{case.name}-{number}") for number, case in enumerate(table.CASES) if keep(case)]


FREE = parameters(lambda case: not case.concrete)
CONCRETE = parameters(lambda case: case.concrete)
METHODS = {name for name in dir(Tracer) if hasattr(np.ndarray, name) and not name.startswith("_")} - set(REFUSED_METHODS)


def test_every_registered_callable_has_a_case():
    registered = {table.name_of(function) for function in (*ARRAY_FUNCTIONS, *UFUNCS)}
    registered |= {f"np.{ufunc.__name__}.{method}" for ufunc, method in UFUNC_METHODS}
    registered |= {f"ndarray.{name}" for name in METHODS}
    assert sorted(registered - {case.name for case in table.CASES}) == []


@pytest.mark.parametrize("case", parameters())
def test_values_in_reverse_mode(case):
    table.assert_all_same(table.run_reverse(case), table.arrays_among(case.expected()))


@pytest.mark.parametrize("case", parameters())
def test_values_in_forward_mode(case):
    table.assert_all_same(table.run_forward(case), table.arrays_among(case.expected()))


@pytest.mark.parametrize("case", FREE)
def test_values_staged(case):
    table.assert_all_same(table.run_staged(case), table.arrays_among(case.expected()))


@pytest.mark.parametrize("case", FREE)
def test_values_batched(case):
    table.assert_all_same(table.run_batched(case), table.expected_batched(case))


@pytest.mark.parametrize("case", CONCRETE)
@pytest.mark.parametrize("run", [table.run_staged, table.run_batched])
def test_what_depends_on_values_raises(case, run):
    with pytest.raises(ConcretizationError, match="Remedy"):
        run(case)


@pytest.mark.parametrize("mode", ["fwd", "rev"])
@pytest.mark.parametrize("case", parameters(lambda case: case.has_derivative()))
def test_derivatives(case, mode):
    table.check_derivatives(case, mode)


def test_sums_in_narrow_integers_wrap_around():
    x = np.arange(50)
    for function in (
        lambda x: np.sum(x, dtype=np.int8), lambda x: np.prod(x + 1, dtype=np.uint8), lambda x: np.cumsum(x, dtype=np.int8),
        lambda x: np.cumprod(x + 1, dtype="i4"),
    ):  # fmt: skip
        actual, expected = ft.jit(function)(x), function(x)
        assert np.asarray(actual).dtype == np.asarray(expected).dtype
        np.testing.assert_array_equal(actual, expected)


def test_places_of_nan():
    q = np.array([np.nan, 1.0, -1.0, 5.0])
    for a in (np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, np.nan, np.nan])):
        for side in ("left", "right"):
            find = lambda q: np.searchsorted(a, q, side=side)
            np.testing.assert_array_equal(ft.jit(find)(q), find(q))


def test_what_is_deleted_may_not_be_traced():
    with pytest.raises(ft.errors.UnsupportedError, match="np.delete"):
        ft.jit(lambda x, i: np.delete(x, i))(np.arange(3.0), 1)
