"""SciPy's ufuncs on traced values."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import special

import functrans as ft
from functrans.errors import UnsupportedError
from functrans.testing import check_grads

X = np.array([0.2, 0.45, 0.8])


@pytest.mark.parametrize("name", "erf erfc expit logit gammaln digamma ndtr log_ndtr".split())
def test_one_operand(name):
    function = getattr(special, name)
    np.testing.assert_array_equal(ft.vjp(function, X)[0], function(X))
    check_grads(lambda x: function(x), (X,), order=3, rtol=1e-4, atol=1e-4)


def test_xlogy():
    check_grads(lambda x, y: special.xlogy(x, y), (X, X + 1), order=2)
    check_grads(lambda x, y: special.xlog1py(x, y), (X, X + 1), order=2)


@pytest.mark.parametrize("name", "erfinv erfcinv erfcx ndtri entr i0 i1 i0e i1e j0 j1 y0 y1 k0 k1 k0e k1e".split())
def test_further_functions_of_one_operand(name):
    check_grads(lambda x: getattr(special, name)(x), (X,), order=2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name, slope", [("i1", 0.5), ("i1e", 0.5), ("j1", 0.5), ("i0e", 0.0), ("i0", 0.0), ("j0", 0.0)])
def test_slopes_at_zero(name, slope):
    assert ft.grad(getattr(special, name))(0.0) == slope


def test_far_tails():
    assert ft.grad(special.log_ndtr)(-30.0) == pytest.approx(30.033, rel=1e-3)
    assert ft.grad(special.expit)(-800.0) == 0.0


def test_an_unknown_ufunc_raises_by_name():
    with pytest.raises(ft.errors.UnsupportedError, match="struve"):
        ft.grad(lambda x: special.struve(0, x))(1.0)


def test_importing_functrans_imports_neither_scipy_nor_numba():
    code = "import sys, functrans; sys.exit(any(name in sys.modules for name in ('scipy', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_digamma_has_no_complex_derivative():
    with pytest.raises(UnsupportedError, match=r"digamma.*complex128\[\](.|\n)*test_special.py"):
        ft.jvp(special.digamma, (1.0 + 1.0j,), (1.0,))
