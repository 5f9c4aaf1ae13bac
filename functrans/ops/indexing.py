"""Reading and writing elements: `getitem`, `index_set` and `index_add`, each other's adjoints.

An index is a template, a tuple with one entry per axis of NumPy's: ``None`` (a new axis), an int, a
`Slice`, or `ARRAY`, which stands for the next index array among the operands. Meaning and errors are
NumPy's own: an index out of bounds raises.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from functrans.core.primitive import Indexing
from functrans.ops.arithmetic import reals


class Slice(NamedTuple):
    """A slice that can be compared and hashed."""

    start: int | None
    stop: int | None
    step: int | None


ARRAY = "array"
Template = tuple[Any, ...]


def numpy_index(template: Template, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The index NumPy takes."""
    remaining = iter(arrays)
    return tuple(
        slice(*entry) if isinstance(entry, Slice) else next(remaining) if entry == ARRAY else entry for entry in template
    )


def getitem_evaluate(x: Any, *arrays: Any, index: Template) -> Any:
    """``x[index]``."""
    return x[numpy_index(index, arrays)]


def index_set_evaluate(x: Any, value: Any, *arrays: Any, index: Template) -> Any:
    """A copy of `x` with ``copy[index] = value``; of equal indices the last wins."""
    out = np.array(x, order="C")
    out[numpy_index(index, arrays)] = value
    return out


def index_add_evaluate(x: Any, value: Any, *arrays: Any, index: Template) -> Any:
    """A copy of `x` with `value` added at `index`, once for each time an index occurs."""
    out = np.array(x, order="C")
    where = numpy_index(index, arrays)
    if arrays:
        np.add.at(out, where, value)
    else:
        out[where] += value
    return out


_ROWS = np.array([[0, 2], [2, 1]])

getitem = Indexing(
    "getitem",
    getitem_evaluate,
    differentiated=1,
    samples=lambda: [
        (reals((3, 4))()[0][0], {"index": (1, Slice(None, None, -2))}),
        ((*reals((3, 4))()[0][0], _ROWS), {"index": (ARRAY,)}),
        ((*reals((3, 4, 3))()[0][0], _ROWS, _ROWS), {"index": (ARRAY, Slice(1, 3, None), ARRAY)}),
        ((*reals((4, 3))()[0][0], _ROWS), {"index": (None, Slice(None, None, None), ARRAY)}),
    ],
)
index_set = Indexing(
    "index_set",
    index_set_evaluate,
    differentiated=2,
    samples=lambda: [
        (reals((3, 4), (2,))()[0][0], {"index": (1, Slice(None, None, -2))}),
        ((*reals((3, 4), (2, 2, 4))()[0][0], _ROWS), {"index": (ARRAY,)}),
    ],
)
index_add = Indexing(
    "index_add",
    index_add_evaluate,
    differentiated=2,
    samples=lambda: [
        (reals((3, 4), (2,))()[0][0], {"index": (1, Slice(None, None, -2))}),
        ((*reals((3, 4), (2, 2, 4))()[0][0], _ROWS), {"index": (ARRAY,)}),
        ((*reals((3, 4, 3), (2, 2, 2))()[0][0], _ROWS, _ROWS), {"index": (ARRAY, Slice(1, 3, None), ARRAY)}),
    ],
)


def winners(x_shape: tuple[int, ...], value_shape: tuple[int, ...], arrays: tuple[Any, ...], index: Template) -> Any:
    """Which elements of the value of an `index_set` were not overwritten by later ones."""
    count = int(np.prod(value_shape))
    numbers = np.reshape(np.arange(1, count + 1), value_shape)
    written = index_set(np.zeros(x_shape, np.int64), numbers, *arrays, index=index)
    return getitem(written, *arrays, index=index) == numbers
