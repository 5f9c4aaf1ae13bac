"""Contractions that are matrix products once their axes lie as one's do."""

import re

import numpy as np
import pytest

import functrans as ft
from functrans.ops.contraction import contract

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("subscripts", "left", "right"),
    [
        ("bij,kjb->ikb", (3, 40, 35), (45, 35, 3)),
        ("bij,bkj->kbi", (3, 40, 35), (3, 45, 35)),
        ("ijk,lkj->il", (40, 9, 8), (45, 8, 9)),
        ("ibjk,kjlb->bil", (40, 3, 8, 9), (9, 8, 45, 3)),
        ("jik,kl->jil", (8, 9, 40), (40, 45)),
        ("ij,jk->ki", (60, 40), (40, 45)),
    ],
)
@pytest.mark.parametrize("dtypes", [(np.float64, np.float64), (np.float32, np.float64), (np.int16, np.float32)])
def test_large_contractions_are_matrix_products(subscripts, left, right, dtypes):
    x, y = (GENERATOR.integers(-9, 9, size=shape).astype(dtype) for shape, dtype in zip((left, right), dtypes))
    lowered = ft.jit(lambda x, y: contract(x, y, subscripts=subscripts)).lower(x, y)
    assert re.search("# (BLAS|tiles): contract", lowered.kernels()) and "# NumPy" not in lowered.kernels()
    expected = np.einsum(subscripts, x, y)
    for result in (lowered.compile()(x, y), lowered.interpret(x, y)):
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


def test_integers_are_multiplied_by_loops():
    x = GENERATOR.integers(-9, 9, size=(120, 120))
    lowered = ft.jit(lambda x: x @ x).lower(x)
    assert "# NumPy" not in lowered.kernels()
    np.testing.assert_array_equal(lowered.compile()(x), x @ x)
