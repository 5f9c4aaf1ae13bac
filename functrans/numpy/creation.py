"""NumPy's functions that make arrays like others, and grids and matrices of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.trace import current
from functrans.core.tracer import Tracer, operand
from functrans.core.types import dtype_of, shape_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.numpy.registry import implements
from functrans.numpy.structure import (
    astype,
    broadcast_arrays,
    broadcast_values,
    diagonal,
    moveaxis,
    ravel,
    reshape,
    swapaxes,
)
from functrans.ops import structure as ops


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    v = operand(v)
    if v.ndim == 2:
        return diagonal(v, k)
    length = v.shape[0] + abs(k)
    return ops.diagonal_embed(v, offset=k, shape=(length, length))


implements(np.diagflat)(lambda v, k=0: diag(ravel(v), k))


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    arrays = [ravel(x) for x in xi]
    count = len(arrays)
    spread = [reshape(x, (1,) * i + (-1,) + (1,) * (count - 1 - i)) for i, x in enumerate(arrays)]
    if indexing == "xy" and count > 1:
        spread = [swapaxes(x, 0, 1) for x in spread]
    return tuple(spread) if sparse else broadcast_arrays(*spread)


@implements(np.zeros_like)
def zeros_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Any:
    return full_like(a, 0, dtype, order, subok, shape)


@implements(np.ones_like)
def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None) -> Any:
    return full_like(a, 1, dtype, order, subok, shape)


@implements(np.empty_like)
def empty_like(
    prototype: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Any:
    return full_like(prototype, 0, dtype, order, subok, shape)


@implements(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Any:
    a = operand(a)
    shape = shape_of(a) if shape is None else tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    return filled(shape, fill_value, dtype_of(a) if dtype is None else np.dtype(dtype))


def filled(shape: tuple[int, ...], value: Any, dtype: np.dtype[Any]) -> Any:
    """An array of the current trace that holds `value` everywhere and may be written into."""
    value = operand(value)
    if isinstance(value, Tracer):
        return current.get().as_tracer(broadcast_values(astype(value, dtype), shape))
    full = current.get().as_tracer(np.broadcast_to(np.asarray(value).astype(dtype), shape))
    return full if isinstance(full, Tracer) else np.array(full)


@implements(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    start, stop = np.broadcast_arrays(1.0 * operand(start), 1.0 * operand(stop))
    sections = num - 1 if endpoint else num
    step = (stop - start) / sections if sections else np.nan * (stop - start)
    fraction = np.linspace(0.0, 1.0, num, endpoint).reshape((-1,) + (1,) * len(shape_of(start)))
    result = moveaxis(start + fraction * (stop - start), 0, axis)
    result = result if dtype is None else astype(result, dtype)
    return (result, step) if retstep else result


@implements(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    result = np.power(base, linspace(start, stop, num, endpoint, axis=axis))
    return result if dtype is None else astype(result, dtype)


@implements(np.tril_indices_from)
def tril_indices_from(arr: Any, k: int = 0) -> Any:
    return np.tril_indices(shape_of(arr)[-2], k, shape_of(arr)[-1])


@implements(np.triu_indices_from)
def triu_indices_from(arr: Any, k: int = 0) -> Any:
    return np.triu_indices(shape_of(arr)[-2], k, shape_of(arr)[-1])


@implements(np.diag_indices_from)
def diag_indices_from(arr: Any) -> Any:
    return np.diag_indices_from(np.broadcast_to(0, shape_of(arr)))


@implements(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    start, stop = operand(start), operand(stop)
    if "c" in (dtype_of(start).kind, dtype_of(stop).kind):
        raise UnsupportedError(
            f"np.geomspace: complex start= or stop= is not supported on traced values"
            f"\n  Remedy: use np.exp(np.linspace(np.log(start), np.log(stop), num)).{at_user_line()}"
        )
    sign = np.sign(start)
    exponents = linspace(np.log10(sign * start), np.log10(sign * stop), num, endpoint, axis=axis)
    result = (np.expand_dims(sign, axis) if np.ndim(sign) else sign) * np.power(10.0, exponents)
    return result if dtype is None else astype(result, dtype)
