"""Indexing of tracers: ``x[...]``, ``x[...] = y``, in-place operators and ``x.at[...]``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from functrans.core.mutation import assign, cast_into, view
from functrans.core.tracer import HOOKS, Tracer, install_method, operand
from functrans.core.types import describe, dtype_of, shape_of
from functrans.errors import ConcretizationError, UnsupportedError, at_user_line
from functrans.numpy.structure import astype, broadcast_values
from functrans.ops import arithmetic
from functrans.ops import indexing as ops
from functrans.ops.indexing import ARRAY, Slice, Template


def normalize(x: Any, key: Any) -> tuple[Template, tuple[Any, ...]]:
    """The template and index arrays of what stands between the brackets."""
    entries = list(key) if isinstance(key, tuple) else [key]
    template: list[Any] = []
    arrays: list[Any] = []
    for entry in entries:
        if entry is None or entry is Ellipsis:
            template.append(entry)
        elif isinstance(entry, slice):
            template.append(
                Slice(*(None if part is None else part.__index__() for part in (entry.start, entry.stop, entry.step)))
            )
        elif type(entry) is int:
            template.append(entry)
        else:
            for array in index_arrays(entry):
                if isinstance(array, int):
                    template.append(array)
                else:
                    template.append(ARRAY)
                    arrays.append(array)
    if Ellipsis in [entry for entry in template if not isinstance(entry, tuple)]:
        template = expand_ellipsis(template, len(shape_of(x)))
    return tuple(template), tuple(arrays)


def expand_ellipsis(template: list[Any], ndim: int) -> list[Any]:
    """Full slices in place of the ellipsis."""
    places = [i for i, entry in enumerate(template) if entry is Ellipsis]
    if len(places) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    used = sum(entry is not None and entry is not Ellipsis for entry in template)
    full = [Slice(None, None, None)] * (ndim - used)
    return [*template[: places[0]], *full, *template[places[0] + 1 :]]


def index_arrays(entry: Any) -> tuple[Any, ...]:
    """An index that is no slice as integer arrays, or as one int."""
    array = operand(entry)
    kind = dtype_of(array).kind
    if kind == "b":
        if isinstance(array, Tracer):
            array = array.peek("indexing with a boolean array, whose result's shape depends on values,")
            if isinstance(array, Tracer):
                raise ConcretizationError(f"cannot index with a batched boolean mask; use np.where{at_user_line()}")
        if np.ndim(array) == 0:
            raise UnsupportedError(
                f"indexing: a boolean scalar index is not supported on traced values; use np.where{at_user_line()}"
            )
        return np.nonzero(array)
    if kind not in "iu":
        if isinstance(entry, (list, tuple)) and not len(entry):
            return (np.zeros(0, np.intp),)
        raise IndexError(
            f"only integers, slices, ellipsis, None and integer or boolean arrays are valid indices, got {describe(array)}"
            f"\n  Remedy: convert it with int() or .astype(int).{at_user_line()}"
        )
    if isinstance(array, np.generic):
        return (int(array),)
    return (array,)


def read(x: Any, template: Template, arrays: tuple[Any, ...]) -> Any:
    """``x[index]``, with the user's line in the message of an index error."""
    return ops.getitem(x, *arrays, index=template)


def getitem(x: Any, key: Any) -> Any:
    template, arrays = normalize(x, key)
    result = read(x, template, arrays)
    if (
        arrays
        or not isinstance(x, Tracer)
        or (shape_of(result) == () and Ellipsis not in (key if isinstance(key, tuple) else (key,)))
    ):
        return result
    return view(
        result,
        x,
        lambda base: read(base, template, ()),
        lambda base, value: ops.index_set(base, value, index=template),
    )


HOOKS["getitem"] = getitem
install_method("__getitem__", getitem)


def place(template: Template, arrays: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what an index selects from an array of `shape`."""
    stand_in = np.broadcast_to(np.int8(0), shape)
    indices = tuple(np.zeros(shape_of(array), np.intp) if isinstance(array, Tracer) else array for array in arrays)
    return ops.getitem_evaluate(stand_in, *indices, index=template).shape  # type: ignore[no-any-return]


def fitted(target: Any, value: Any, template: Template, arrays: tuple[Any, ...]) -> Any:
    """`value` cast to the dtype of `target` and broadcast to the place the index selects."""
    value = operand(value)
    shape = place(template, arrays, shape_of(target))
    old = shape_of(value)
    while len(old) > len(shape) and old[0] == 1:
        old = old[1:]
    if np.broadcast_shapes(shape, old) != shape:
        raise ValueError(f"could not broadcast a value of shape {shape_of(value)} into {shape}{at_user_line()}")
    if old != shape_of(value):
        value = np.reshape(value, old)
    return broadcast_values(as_written(value, target), shape)


def as_written(value: Any, target: Any) -> Any:
    """`value` in the dtype of what it is written into."""
    if dtype_of(value) == dtype_of(target) and type(value) not in (bool, int, float, complex):
        return value
    if dtype_of(value).kind == "c" and dtype_of(target).kind != "c":
        raise TypeError(f"cannot write complex values into a {dtype_of(target)} array; use .real{at_user_line()}")
    return astype(value, dtype_of(target))


def written(target: Any, key: Any, value: Any) -> Any:
    """`target` with `value` at an index; where a traced mask holds, by a selection, if the value is a number."""
    if isinstance(key, Tracer) and dtype_of(key).kind == "b" and shape_of(key) and shape_of(operand(value)) == ():
        mask, shape = shape_of(key), shape_of(target)
        if mask == shape[: len(mask)]:
            beside = np.reshape(key, mask + (1,) * (len(shape) - len(mask)))
            return arithmetic.where(beside, as_written(operand(value), target), target)
    template, arrays = normalize(target, key)
    return ops.index_set(target, fitted(target, value, template, arrays), *arrays, index=template)


install_method("__setitem__", lambda self, key, value: assign(self, lambda target: written(target, key, value)))


def install_in_place(name: str, function: Callable[[Any, Any], Any]) -> None:
    """``x += y`` and its like: a write into an array, a new value for a scalar."""

    def in_place(self: Any, other: Any) -> Any:
        if not shape_of(self):
            return function(self, other)
        assign(self, lambda target: cast_into(target, function(target, other), name))
        return self

    install_method(f"__i{name}__", in_place)


for _name, _function in {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "truediv": lambda x, y: x / y,
    "floordiv": lambda x, y: x // y, "mod": lambda x, y: x % y, "pow": lambda x, y: x**y, "matmul": lambda x, y: x @ y,
    "and": lambda x, y: x & y, "or": lambda x, y: x | y, "xor": lambda x, y: x ^ y,
}.items():  # fmt: skip
    install_in_place(_name, _function)


def extremes(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The least and the greatest number of a dtype."""
    if dtype.kind == "b":
        return False, True
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    return (-np.inf, np.inf) if limits is None else (limits.min, limits.max)


class At:
    """``x.at[index]``: updates that return a new array, ``set add multiply divide min max get apply``."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getitem__(self, key: Any) -> AtIndex:
        return AtIndex(self.array, key)


class AtIndex:
    """The places an update of ``x.at[index]`` is about."""

    def __init__(self, array: Any, key: Any) -> None:
        self.array = array
        self.template, self.arrays = normalize(array, key)

    def get(self) -> Any:
        """The elements, as ``x[index]``, but never a view."""
        return read(self.array, self.template, self.arrays)

    def set(self, value: Any) -> Any:
        """The array with `value` at the places."""
        value = fitted(self.array, value, self.template, self.arrays)
        return ops.index_set(self.array, value, *self.arrays, index=self.template)

    def add(self, value: Any) -> Any:
        """The array with `value` added, once for each time an index occurs."""
        value = fitted(self.array, value, self.template, self.arrays)
        return ops.index_add(self.array, value, *self.arrays, index=self.template)

    def multiply(self, value: Any) -> Any:
        """The array with the elements multiplied by `value`, once for each time an index occurs."""
        value = self.combined(value, np.multiply, 1)
        return self.apply(lambda old: old * value)

    def divide(self, value: Any) -> Any:
        """The array with the elements divided by `value`, once for each time an index occurs."""
        value = self.combined(value, np.multiply, 1)
        return self.apply(lambda old: old / value)

    def min(self, value: Any) -> Any:
        """The array with the least of the elements and every `value` for them."""
        value = self.combined(value, np.minimum, extremes(dtype_of(self.array))[1])
        return self.apply(lambda old: arithmetic.minimum(old, value))

    def max(self, value: Any) -> Any:
        """The array with the greatest of the elements and every `value` for them."""
        value = self.combined(value, np.maximum, extremes(dtype_of(self.array))[0])
        return self.apply(lambda old: arithmetic.maximum(old, value))

    def combined(self, value: Any, ufunc: np.ufunc, neutral: Any) -> Any:
        """`value` for each place, those of one element reduced by `ufunc`: pairs are compared where indices may repeat."""
        value = fitted(self.array, value, self.template, self.arrays)
        shape = shape_of(self.array)
        elements = read(np.arange(math.prod(shape)).reshape(shape), self.template, self.arrays)
        if not isinstance(elements, Tracer) and np.unique(elements).size == np.size(elements):
            return value
        elements, flat = np.reshape(elements, -1), np.reshape(value, -1)
        same = elements[:, None] == elements[None, :]
        neutral = dtype_of(self.array).type(neutral)
        return np.reshape(ufunc.reduce(arithmetic.where(same, flat[None, :], neutral), axis=1), shape_of(value))

    def apply(self, function: Callable[[Any], Any]) -> Any:
        """The array with `function` of the elements at the places."""
        return self.set(function(self.get()))


install_method("at", property(At))  # type: ignore[arg-type]
