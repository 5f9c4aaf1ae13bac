"""Every case of the table `cases.py` under every transform: value, dtype, shape and class as NumPy's, and derivatives."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

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
