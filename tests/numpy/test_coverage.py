"""The page on what of NumPy works is current, and what it calls unsupported raises by name."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import functrans as ft
from functrans.errors import UnsupportedError
from functrans.numpy.structure import REFUSED_METHODS

coverage = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "docs" / "coverage.py")))
CASES = runpy.run_path(str(coverage.TABLE))["CASES"]
SUPPORTED = {case.name for case in CASES}
UNSUPPORTED = {
    name: function
    for name, function in coverage.public_callables()
    if name not in SUPPORTED and (isinstance(function, np.ufunc) or hasattr(function, "_implementation"))
}
SQUARE = np.array([[3.0, 0.5], [0.5, 2.0]])


def call(function, x):
    """`function` with as many arguments as it asks for."""
    for count in (1, 2, 3):
        try:
            return function(*[x] * count)
        except UnsupportedError:
            raise
        except TypeError:
            continue
    raise AssertionError(f"{function} takes more arguments")


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_what_is_unsupported_raises_by_name(name):
    with pytest.raises(UnsupportedError, match=rf"{name} is not supported on traced values(.|\n)*Remedy"):
        ft.grad(lambda x: call(UNSUPPORTED[name], x))(SQUARE)


@pytest.mark.parametrize("name", sorted(REFUSED_METHODS))
def test_refused_methods_raise_by_name(name):
    with pytest.raises(UnsupportedError, match=rf"ndarray.{name} is not supported on a traced float64\[2,2\]\n  Remedy"):
        ft.grad(lambda x: getattr(x, name))(SQUARE)


def test_every_method_that_is_no_case_is_refused():
    listed = {name.removeprefix("ndarray.") for name, _ in coverage.public_callables() if name.startswith("ndarray.")}
    assert {name for name in listed if f"ndarray.{name}" not in SUPPORTED} <= set(REFUSED_METHODS)


def test_the_page_is_current():
    assert coverage.PAGE.read_text() == coverage.page()
