"""NumPy's functions and methods that write into their first argument."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from functrans.core.mutation import assign
from functrans.core.tracer import HOOKS, Tracer, operand
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.numpy.indexing import written
from functrans.numpy.joining import resize
from functrans.numpy.registry import implements
from functrans.numpy.sorting import concrete, index_along, sort
from functrans.numpy.structure import (
    astype,
    ravel,
    reshape,
)


def write(a: Any, compute: Any, name: str) -> None:
    """Replace the contents of `a` by ``compute(a)``; a plain array cannot hold traced values."""
    if isinstance(a, Tracer):
        assign(a, lambda target: lifted(compute(target), target))
    else:
        HOOKS["out"](a, compute(a), name)


def lifted(value: Any, target: Any) -> Any:
    """`value` as what the memory of `target` can become."""
    return value if isinstance(value, Tracer) else HOOKS["fill"](target, value)


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    new = operand(src) if where is True else np.where(where, operand(src), dst)
    HOOKS["out"](dst, new, "copyto")


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    """The values are repeated until there is one for every element."""
    spread = reshape(resize(astype(values, dtype_of(a)), shape_of(a)), shape_of(a))
    write(a, lambda target: np.where(mask, spread, target), "putmask")


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """The values are repeated until there is one for every place where the mask holds."""
    put(arr, np.flatnonzero(concrete(mask, "place")), vals)


@implements(np.put, methods=("put",))
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    indices = ravel(np.asarray(ind) if not isinstance(ind, Tracer) else ind)
    size = math.prod(shape_of(a))
    if mode == "wrap":
        indices = indices % size
    elif mode == "clip":
        indices = np.clip(indices, 0, size - 1)
    values = resize(astype(v, dtype_of(a)), shape_of(indices))
    write(a, lambda target: reshape(written(reshape(target, (-1,), copy=True), indices, values), shape_of(a)), "put")


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    if axis is None:
        put(arr, indices, values)
    else:
        index = index_along(arr, operand(indices), axis)
        write(arr, lambda target: written(target, index, values), "put_along_axis")


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    shape = shape_of(a)
    if len(shape) < 2 or len(shape) > 2 and len(set(shape)) > 1:
        raise ValueError(f"np.fill_diagonal: shape {shape} is neither a matrix nor a cube{at_user_line()}")
    step = 1 + int(np.sum(np.cumprod(shape[1:][::-1])))
    end = shape[1] * shape[1] if len(shape) == 2 and not wrap else None
    put(a, np.arange(math.prod(shape))[:end:step], val)


@implements(methods=("sort",))
def sort_in_place(a: Any, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None:
    assign(a, lambda target: sort(target, axis))


@implements(methods=("partition",))
def partition_in_place(a: Any, kth: Any, axis: int = -1, kind: Any = None, order: Any = None) -> None:
    assign(a, lambda target: sort(target, axis))
