"""Kernels of reductions: over any axes, of arrays large enough to be divided into parts, blocks and lanes."""

import itertools

import numpy as np
import pytest

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


def available_memory():
    """Bytes that may be used; 0 where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except OSError:
        return 0


@pytest.mark.skipif(available_memory() < 8 * 2**30, reason="needs 6 GiB of memory")
def test_more_elements_than_32_bits_count():
    size = 2**31 + 5
    x = np.zeros(size, np.int8)
    x[-1], x[7] = 3, 2
    total, last, shifted, picked = ft.jit(lambda x, i: (np.sum(x), x[-2:], x + np.int8(1), x[i]))(x, np.array([size - 1, 7, -1]))
    assert total == 5 and last.tolist() == [0, 3] and picked.tolist() == [3, 2, 3]
    assert shifted.shape == (size,) and shifted[-1] == 4 and shifted[2**31] == 1


def test_parts_of_one_element_in_lanes():
    """The parts of a concatenation have no loops of their own, so that the loop around them is in lanes."""

    def program(x):
        joined = np.concatenate([x[:, :1] * x[:, 1:2], x[:, 2:]], axis=1)
        return np.sin(joined[:, 0]) * joined[:, 1] + np.cos(joined[:, 0])

    for rows in (1, 4, 9, 70):
        x = np.random.default_rng(rows).normal(size=(rows, 3))
        np.testing.assert_allclose(ft.jit(program)(x), program(x), rtol=1e-12, atol=1e-14)
