"""Indices: where an element is in memory, and where it was before a reshape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from functrans.compile.arguments import Layouts, Strides, first_and_size, strides
from functrans.compile.loops import Affine
from functrans.core.program import Equation, Variable
from functrans.ops import structure

__all__ = ["Indices", "address", "is_view", "reshape_map", "reshaped"]

Indices = tuple[Affine, ...]


def address(indices: Indices, shape: Sequence[int], steps: Strides | None = None) -> Affine:
    """Where an element is, counted from the first in memory, of a C-contiguous array or of one with other strides."""
    total = Affine((), -first_and_size(shape, steps)[0] if steps is not None else 0)
    for index, length, step in zip(indices, shape, strides(shape) if steps is None else steps):
        total = total + (index * step if length != 1 else Affine())
    return total


def reshape_map(old: Sequence[int], new: Sequence[int]) -> Callable[[Indices], Indices] | None:
    """The old indices from the new ones, where each old axis is made of whole new ones; else None."""
    groups: list[list[int]] = []
    place = 0
    for length in old:
        group: list[int] = []
        size = 1
        while size < length and place < len(new):
            group.append(place)
            size *= new[place]
            place += 1
        if size != length:
            return None
        groups.append(group)
    if any(length != 1 for length in new[place:]):
        return None

    def indices_of(indices: Indices) -> Indices:
        result = []
        for group in groups:
            total = Affine()
            for axis, step in zip(group, strides([new[axis] for axis in group])):
                total = total + indices[axis] * step
            result.append(total)
        return tuple(result)

    return indices_of


def is_view(equation: Equation) -> bool:
    """Whether an equation's result lies in memory as its operand does, but its indices are no map of the operand's."""
    old = equation.inputs[0].array_type.shape
    return equation.primitive is structure.reshape and reshape_map(old, equation.params["shape"]) is None


def reshaped(equation: Equation, layouts: Layouts) -> Strides | None:
    """The strides of a reshaped operand that is not C-contiguous; None if it is, or if a copy would have to be made."""
    atom = equation.inputs[0]
    steps = layouts.get(atom) if isinstance(atom, Variable) else None
    if steps is None:
        return None
    # As NumPy does it: for an array of bytes with these strides, none of which is ever read.
    view = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), atom.array_type.shape, steps, writeable=False)
    try:
        return view.reshape(equation.params["shape"], copy=False).strides
    except ValueError:
        return None
