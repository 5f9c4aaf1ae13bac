"""Reductions: one partial each, of the result with respect to every element.

Axes are sorted, not negative, and complete. In a partial ``out`` keeps the reduced axes with length 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from functrans.core.primitive import Composite, Reduction
from functrans.core.types import dtype_of
from functrans.ops.arithmetic import multiply, reals
from functrans.ops.structure import concatenate, shifted


@lru_cache
def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What NumPy sums and multiplies up elements of `dtype` in."""
    return np.sum(np.ones(1, dtype)).dtype


def over(*axes: int) -> Any:
    """Samples: one array, reduced along `axes`."""
    return lambda: [(reals((2, 3, 4))()[0][0], {"axes": axes})]


def share_of_ties(x: Any, out: Any) -> Any:
    """1 divided by the number of elements equal to the extremum, at those elements; 0 elsewhere."""
    axes = tuple(axis for axis, length in enumerate(out.shape) if length == 1)
    chosen = (x == out) | (x != x) & (out != out)
    one, zero = dtype_of(x).type(1), dtype_of(x).type(0)
    return np.where(chosen, one / np.sum(chosen, axis=axes, keepdims=True, dtype=one.dtype), zero)


sum = Reduction("sum", lambda x, axes: np.add.reduce(x, axis=axes), 1, dtype=sum_dtype, samples=over(0, 2))
max = Reduction("max", lambda x, axes: np.maximum.reduce(x, axis=axes), share_of_ties, selects=True, samples=over(1))
min = Reduction("min", lambda x, axes: np.minimum.reduce(x, axis=axes), share_of_ties, selects=True, samples=over(1))
all = Reduction("all", lambda x, axes: np.all(x, axis=axes), dtype=lambda dtype: np.bool_, samples=over(1))
any = Reduction("any", lambda x, axes: np.any(x, axis=axes), dtype=lambda dtype: np.bool_, samples=over(1))
argmax = Reduction("argmax", lambda x, axes: np.argmax(x, axis=axes[0]), dtype=lambda dtype: np.intp, samples=over(1))
argmin = Reduction("argmin", lambda x, axes: np.argmin(x, axis=axes[0]), dtype=lambda dtype: np.intp, samples=over(1))


def along(axis: int, *parts: Any) -> Any:
    """An index of slices along `axis`."""
    return (slice(None),) * axis + parts


def cumprod_decomposition(x: Any, axis: int) -> Any:
    """All prefix products in log2(n) rounds of multiplications (Hillis and Steele 1986): exact at zeros."""
    step = 1
    while step < x.shape[axis]:
        products = multiply(x[along(axis, slice(step, None))], x[along(axis, slice(None, -step))])
        x = concatenate(x[along(axis, slice(None, step))], products, axis=axis)
        step *= 2
    return x


def prod_decomposition(x: Any, axes: tuple[int, ...]) -> Any:
    """The product by halves, as a tree of multiplications: exact at zeros, to any order."""
    for axis in reversed(axes):
        if x.shape[axis] == 0:
            x = np.ones_like(x, shape=(*x.shape[:axis], *x.shape[axis + 1 :]))
            continue
        while x.shape[axis] > 1:
            half = x.shape[axis] // 2
            products = multiply(x[along(axis, slice(0, half))], x[along(axis, slice(half, 2 * half))])
            rest = x[along(axis, slice(2 * half, None))]
            x = concatenate(products, rest, axis=axis) if rest.shape[axis] else products
        x = x[along(axis, 0)]
    return x


prod = Composite(
    "prod",
    lambda x, axes: np.prod(x, axis=axes),
    prod_decomposition,
    shape=lambda shape, axes: tuple(n for axis, n in enumerate(shape) if axis not in axes),
    dtype=lambda dtype, axes: sum_dtype(dtype),
    batch=lambda params, ranks, size: {"axes": shifted(params["axes"])},
    samples=over(0, 2),
)
cumprod = Composite(
    "cumprod",
    lambda x, axis: np.cumprod(x, axis=axis),
    cumprod_decomposition,
    shape=lambda shape, axis: shape,
    dtype=lambda dtype, axis: sum_dtype(dtype),
    batch=lambda params, ranks, size: {"axis": params["axis"] + 1},
    samples=lambda: [(reals((2, 5))()[0][0], {"axis": 1})],
)
