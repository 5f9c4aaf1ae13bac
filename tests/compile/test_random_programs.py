"""Random programs: eager, compiled, and the kernels' text run as Python give the same, and so do their gradients.

Half of them are compiled with small limits, so that their small loops are divided into blocks, parts, lanes
and threads as large ones are.
"""

import os
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import functrans as ft
from functrans.compile import arguments as layouts
from functrans.compile.emit import resources, stretch
from functrans.compile.machine import blas
from functrans.compile.schedule import kernels, memory, nodes, scatter

# Smooth operations, on any values.
UNARY = [
    np.sin, np.cos, np.tanh, np.negative, np.square, np.arctan, np.arcsinh, lambda x: np.exp(np.sin(x)),
    lambda x: np.log(2 + np.cos(x)), lambda x: np.sqrt(1 + x * x), lambda x: np.tanh(x) ** 3, lambda x: 1 / (2 + x * x),
    lambda x: np.log1p(np.square(np.sin(x))), lambda x: np.expm1(-x * x), special.expit,
    lambda x: np.cbrt(2 + np.sin(x)), lambda x: np.sinh(np.tanh(x)), lambda x: np.tan(np.sin(x)), lambda x: np.arcsin(np.sin(x) / 2),
]  # fmt: skip
BINARY = [
    np.add, np.subtract, np.multiply, lambda x, y: x / (1 + y * y), lambda x, y: np.logaddexp(np.sin(x), y),
    lambda x, y: np.hypot(x, 1 + y * y), lambda x, y: np.arctan2(x, 2 + np.cos(y)), lambda x, y: (1.5 + np.sin(x)) ** np.tanh(y),
]  # fmt: skip
STRUCTURE = [
    np.transpose, lambda x: x[::-1], lambda x: x[..., :1], lambda x: x[..., ::2], lambda x: np.sum(x, axis=0), np.sum,
    lambda x: np.mean(x, axis=-1, keepdims=True), np.mean, lambda x: np.pad(x, 1), np.tril, np.cumsum,
    lambda x: np.concatenate([x, x]), lambda x: np.expand_dims(x, 1), np.ravel, lambda x: np.roll(x, 1),
    lambda x: x @ np.swapaxes(x, -1, -2), lambda x: np.take(x, [0, 0], axis=0), lambda x: np.repeat(x, 2, axis=0),
]  # fmt: skip
# Operations with jumps, or whose derivatives have them: only on the arguments, which are the same to the last bit.
ROUGH = [
    np.abs, np.sign, np.floor, np.isnan, np.rint, lambda x: x > 0, lambda x: np.where(x > 0.1, x, np.exp(x)),
    lambda x: np.max(x, axis=-1, keepdims=True), lambda x: np.minimum(x, 0.3), lambda x: np.sort(x, axis=-1),
    lambda x: np.any(x > 0, axis=0), lambda x: np.argmax(x, axis=0), lambda x: np.clip(x, -0.5, 0.5),
    lambda x: np.logical_or(x > 0.5, x < 0), lambda x: (x > 0).astype(np.int64) * 3 - 1,
]  # fmt: skip


def random_program(seed, arguments):
    """A function of two arrays made of up to 40 random operations that NumPy can carry out on `arguments`."""
    generator = np.random.default_rng(seed)
    values, chosen = list(arguments), []
    for _ in range(generator.integers(3, 41)):
        table = (UNARY, BINARY, STRUCTURE, ROUGH)[generator.integers(4)]
        operation = table[generator.integers(len(table))]
        count = 2 if table is ROUGH else len(values)
        places = [int(generator.integers(count)) for _ in range(2 if table is BINARY else 1)]
        if table in (STRUCTURE, ROUGH) and np.ndim(values[places[0]]) == 0:
            continue
        try:
            result = operation(*(values[place] for place in places))
        except (ValueError, TypeError, IndexError):
            continue
        if 0 < np.size(result) < 500 and np.asarray(result).dtype != np.float16:
            values.append(result)
            chosen.append((operation, places))

    def function(x, y):
        values = [x, y]
        for operation, places in chosen:
            values.append(operation(*(values[place] for place in places)))
        return values[-4:]

    return function


def scalar(function):
    def total(x, y):
        parts = [np.sum(np.cos(value)) for value in function(x, y) if value.dtype.kind == "f"]
        return 1.0 * sum(parts, 0.0 * np.sum(x))

    return total


def operands(seed):
    generator = np.random.default_rng(seed)
    shape = [(), (3,), (4, 3), (2, 4, 3), (1, 3)][generator.integers(5)]
    dtype = [np.float64, np.float64, np.float32][generator.integers(3)]
    return np.asarray(generator.normal(size=shape)).astype(dtype), generator.normal(
        size=[(), (3,), (1,)][generator.integers(3)]
    )


# Of each module, what limits are when small.
SMALL_LIMITS = {
    kernels: {"BLOCK": 8, "ROUND_BLOCK": 2, "PART_OPERATIONS": 20, "MOST_LANES": 4, "MOST_PARTS": 3},
    resources: {"LANE_BYTES": 16, "WORTH_DIVIDING": 0, "ON_STACK": 64},
    stretch: {"GRANULE": 4},
    scatter: {"ROWS_BYTES": 16, "ROWS_GRANULE": 1, "LOOK_BYTES": 1},
    blas: {"WORTH_DIVIDING": 0, "SEVERAL": 2, "BLOCKS": 3, "GRANULE": 1},
    nodes: {"SMALL_MATRIX": 2, "LARGEST_INLINED": 50},
    memory: {"LARGE": 1},
    layouts: {"LARGE": 1},
}


@contextmanager
def small_limits():
    """Compile as if every loop were large."""
    with pytest.MonkeyPatch.context() as patch:
        for module, limits in SMALL_LIMITS.items():
            for name, limit in limits.items():
                patch.setattr(module, name, limit)
        patch.setattr(ft.config, "threads", 3)
        yield


# The same elements otherwise in memory.
LAYOUTS = [np.array, lambda x: np.array(x, order="F"), lambda x: np.flip(np.flip(x).copy()), lambda x: np.stack([x, x], -1)[..., 1]]


def laid_out(arguments, seed):
    """Copies of arrays, each in one of the layouts."""
    generator = np.random.default_rng(seed)
    return [LAYOUTS[generator.integers(len(LAYOUTS))](argument) if argument.ndim else argument for argument in arguments]


def same(actual, expected, exact, precision):
    """Results are equal but for rounding, by the rounding errors that NumPy makes, against more digits."""
    for one, other, more in zip(actual, expected, exact, strict=True):
        dtype = np.asarray(other).dtype
        assert np.asarray(one).dtype == dtype
        tolerance = 1e3 * precision if dtype.kind == "f" else 0
        slack = 100 * np.max(np.abs(other - more), initial=0) if dtype.kind == "f" else 0
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance + (slack if np.isfinite(slack) else 0))


def wider(array):
    """`array` in a dtype of more digits."""
    return array.astype(np.float64 if array.dtype == np.float32 else np.longdouble)


@settings(max_examples=int(os.environ.get("FUNCTRANS_FUZZ", "200")), deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_programs(seed, small):
    arguments = operands(seed)
    function = random_program(seed, arguments)
    gradient = ft.grad(scalar(function), argnums=(0, 1))
    more = [wider(argument) for argument in arguments]
    expected, exact = function(*arguments), function(*more)
    precision = np.finfo(arguments[0].dtype).eps
    with small_limits() if small else nullcontext():
        lowered = ft.jit(function, donate_argnums=(0, 1)).lower(*laid_out(arguments, seed))
        same(lowered.compile()(*laid_out(arguments, seed)), expected, exact, precision)
        same(lowered.interpret(*laid_out(arguments, seed)), expected, exact, precision)
        same(ft.jit(gradient)(*arguments), gradient(*arguments), gradient(*more), precision)
