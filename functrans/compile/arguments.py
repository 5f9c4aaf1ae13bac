"""Arguments: how the arrays a program takes lie in memory.

A small array that is not C-contiguous is copied before each call. Of a large one the strides are constants of
the program, as its shape is, so that it is read where it lies. Invariant: native code gets arrays that are
aligned, of the shape, dtype and strides the program was made for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from functrans.core.program import Program, Variable
from functrans.core.types import ArrayType, type_of
from functrans.errors import MutationError, StructureError, at_user_line

__all__ = [
    "Argument",
    "LARGE",
    "Layouts",
    "Strides",
    "arguments_of",
    "check_apart",
    "first_and_size",
    "first_byte",
    "in_layout",
    "layout_of",
    "layouts_of",
    "memory_of",
    "strides",
    "strides_of",
    "with_captured",
]

# Elements from which on an array is not copied: its strides are part of the key of its program.
LARGE = 2**14

# In elements; 0 along axes of length 1.
Strides = tuple[int, ...]
# Of the variables that are not C-contiguous.
Layouts = Mapping[Variable, Strides]


@dataclass(frozen=True)
class Argument:
    """What a program is told of an array it takes.

    Attributes:
        strides: None for a C-contiguous array.
        donated: whether its memory may be written into.
    """

    array_type: ArrayType
    strides: Strides | None = None
    donated: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """Where its first byte in memory is, counted from the element at index 0, and how many there are to the last."""
        shape, size = self.array_type.shape, self.array_type.dtype.itemsize
        first, count = first_and_size(shape, strides(shape) if self.strides is None else self.strides)
        return first * size, count * size

    def __str__(self) -> str:
        return str(self.array_type) if self.strides is None else f"{self.array_type} of strides {self.strides}"


def arguments_of(variables: Sequence[Variable], values: Sequence[Any], donations: Sequence[bool]) -> list[Argument]:
    """What is known of variables, by the values they have in a call, and by which are donated."""
    given = zip(variables, values, donations, strict=True)
    return [Argument(v.array_type, layout_of(value), donated and bool(v.array_type.shape)) for v, value, donated in given]


def with_captured(program: Program, inputs: Sequence[Argument] | None) -> list[Argument]:
    """All that a program takes: what it captured, and its inputs, C-contiguous ones if nothing is known of them."""
    plain = [Argument(variable.array_type) for variable in program.inputs]
    captured = arguments_of(program.captured, program.values, [False] * len(program.values))
    return [*captured, *(plain if inputs is None else inputs)]


def layouts_of(program: Program, arguments: Sequence[Argument]) -> dict[Variable, Strides]:
    """The strides of those of a program's captured arrays and inputs that are not C-contiguous."""
    taken = zip((*program.captured, *program.inputs), arguments)
    return {variable: argument.strides for variable, argument in taken if argument.strides is not None}


def layout_of(value: Any) -> Strides | None:
    """The strides of a large array that is not C-contiguous; None of what is, and of what is copied for a call."""
    if not isinstance(value, np.ndarray) or value.size < LARGE or value.flags.c_contiguous or not value.flags.aligned:
        return None
    size = value.itemsize
    if any(step % size for step in value.strides):
        return None
    return tuple(step // size if length != 1 else 0 for step, length in zip(value.strides, value.shape))


def strides(shape: Sequence[int]) -> list[int]:
    """Elements from one position to the next along each axis of a C-contiguous array."""
    steps, step = [], 1
    for length in reversed(shape):
        steps.append(step)
        step *= length
    return steps[::-1]


def strides_of(variable: Variable, layouts: Layouts) -> Sequence[int]:
    """The strides of a value, in elements."""
    steps = layouts.get(variable)
    return strides(variable.array_type.shape) if steps is None else steps


def first_and_size(shape: Sequence[int], steps: Sequence[int]) -> tuple[int, int]:
    """Where the first element in memory is, counted from that at index 0, and how many there are up to the last."""
    reaches = [step * (length - 1) for step, length in zip(steps, shape)]
    first = sum(min(reach, 0) for reach in reaches)
    return first, sum(max(reach, 0) for reach in reaches) - first + 1


def first_byte(variable: Variable, layouts: Layouts) -> int:
    """Where the first byte of a value is in memory, counted from its element at index 0."""
    type_, steps = variable.array_type, layouts.get(variable)
    return 0 if steps is None else first_and_size(type_.shape, steps)[0] * type_.dtype.itemsize


def memory_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """All elements of an array in the order of memory, from the first to the last, as one axis."""
    _, size = first_and_size(array.shape, [step // array.itemsize for step in array.strides])
    start = array[tuple(slice(-1, None) if step < 0 else slice(1) for step in array.strides)]
    return np.lib.stride_tricks.as_strided(start, (size,), (array.itemsize,))


def in_layout(value: Any, argument: Argument) -> np.ndarray[Any, Any]:
    """An array as native code takes it."""
    type_ = argument.array_type
    array = np.asarray(value)
    if array.shape != type_.shape or array.dtype != type_.dtype or argument.strides not in (None, layout_of(array)):
        raise StructureError(
            f"jit: a program for {argument} got {Argument(type_of(array), layout_of(array))}\n  Remedy: lower the function "
            f"again for this array; leave the shape, dtype and strides of arrays it closes over as they are.{at_user_line()}"
        )
    if argument.donated and not array.flags.writeable:
        raise MutationError(
            f"jit: a donated array, {argument}, is read-only\n  Remedy: donate a copy, or leave it out of "
            f"donate_argnums and donate_argnames.{at_user_line()}"
        )
    dtype = np.dtype(type_.dtype.name)  # of two that are equal, such as long and long long, the one entries know
    if array.dtype is not dtype:
        array = array.view(dtype)
    return array if argument.strides is not None else np.require(array, dtype, ["C", "A"])


def check_apart(values: Sequence[Any], arguments: Sequence[Argument]) -> None:
    """Raise if a donated array shares memory with another."""
    arrays = [(value, own) for value, own in zip(values, arguments) if own.array_type.shape]
    for place, (value, own) in enumerate(arrays):
        for other_place, (other, its) in enumerate(arrays) if own.donated else ():
            if place != other_place and np.may_share_memory(value, other):
                what = "is donated twice" if its.donated else f"shares memory with another argument or a captured array, {its}"
                raise MutationError(
                    f"jit: a donated array, {own}, {what}\n  Remedy: pass copies, or leave it out of donate_argnums and "
                    f"donate_argnames.{at_user_line()}"
                )
