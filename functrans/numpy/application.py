"""NumPy's functions that apply a function along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.tracer import operand
from functrans.core.types import shape_of
from functrans.errors import at_user_line
from functrans.numpy.registry import implements, normalize_axis
from functrans.numpy.structure import (
    expand_dims,
    moveaxis,
    reshape,
)


@implements(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    arr = operand(arr)
    axis = normalize_axis(axis, len(shape_of(arr)), "apply_along_axis")
    lines = moveaxis(arr, axis, -1)
    lead = shape_of(lines)[:-1]
    results = [operand(func1d(lines[place], *args, **kwargs)) for place in np.ndindex(*lead)]
    if not results:
        raise ValueError(f"np.apply_along_axis: cannot apply a function along an axis of an empty array{at_user_line()}")
    inner = shape_of(results[0])
    stacked = reshape(np.stack(results), lead + inner)
    return moveaxis(stacked, [len(lead) + i for i in range(len(inner))], [axis + i for i in range(len(inner))])


@implements(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    result = operand(a)
    for axis in axes if isinstance(axes, (tuple, list)) else (axes,):
        reduced = func(result, axis)
        result = reduced if len(shape_of(reduced)) == len(shape_of(result)) else expand_dims(reduced, axis)
    return result
