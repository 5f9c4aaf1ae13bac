"""Compiled code against NumPy: every case of `tests/numpy/cases.py`, and every declared op, many in one program."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import functrans as ft
import functrans.ops.special  # noqa: F401  (declared when SciPy's ufuncs are first met)
from functrans.core.primitive import PRIMITIVES

table = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "numpy" / "cases.py")))
CASES = [case for case in table.CASES if not case.concrete]
BATCH = 48


def same(actual, expected, name):
    """A compiled function gives scalars for 0-d results."""
    expected = expected[()] if isinstance(expected, np.ndarray) else expected
    assert type(actual) is type(expected), name
    assert (np.shape(actual), np.asarray(actual).dtype) == (np.shape(expected), np.asarray(expected).dtype), name
    precision = 1000 * np.finfo(np.asarray(expected).dtype).eps if np.asarray(expected).dtype.kind in "fc" else 0
    np.testing.assert_allclose(actual, expected, rtol=precision, atol=precision, err_msg=name)


@pytest.mark.parametrize("start", range(0, len(CASES), BATCH))
def test_cases(start):
    cases = CASES[start : start + BATCH]

    @ft.jit
    def every(operands):
        return [table.arrays_among(case(*values)) for case, values in zip(cases, operands)]

    with np.errstate(all="ignore"):
        results = every([case.operands() for case in cases])
    for case, result in zip(cases, results):
        for actual, expected in zip(result, table.arrays_among(case.expected()), strict=True):
            same(actual, expected, case.name)


SAMPLED = [
    (primitive, operands, params)
    for _, primitive in sorted(PRIMITIVES.items())
    if primitive.samples is not None
    for operands, params in primitive.samples()
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("start", range(0, len(SAMPLED), BATCH))
def test_declared_ops(start, dtype):
    samples = [
        (primitive, [value.astype(dtype) if value.dtype == np.float64 else value for value in operands], params)
        for primitive, operands, params in SAMPLED[start : start + BATCH]
    ]

    @ft.jit
    def every(operands):
        return [primitive(*values, **params) for (primitive, _, params), values in zip(samples, operands)]

    arguments = [operands for _, operands, _ in samples]
    text = every.lower(arguments).interpret(arguments)
    for (primitive, operands, params), result, interpreted in zip(samples, every(arguments), text):
        expected = primitive(*operands, **params)
        for leaf, compiled, read in zip(*map(ft.tree.leaves, (expected, result, interpreted)), strict=True):
            same(compiled, leaf, primitive.name)
            same(read, leaf, f"text of {primitive.name}")
