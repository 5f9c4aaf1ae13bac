"""Kernels of reductions: over any axes, of arrays large enough to be divided into parts, blocks and lanes."""

import itertools

import numpy as np

import functrans as ft


def test_reductions_over_any_axes():
    x = np.random.default_rng(0).normal(size=(130, 9, 40, 21))
    sets = [axes for count in range(1, 5) for axes in itertools.combinations(range(4), count)]

    def every(x):
        y = np.sin(x)
        return [(np.sum(y, axis=axes), np.max(x, axis=axes), np.any(x > 4, axis=axes)) for axes in sets]

    for axes, results, expected in zip(sets, ft.jit(every)(x), every(x)):
        for actual, one in zip(results, expected):
            np.testing.assert_allclose(actual, one, rtol=1e-12, atol=1e-11, err_msg=str(axes))
