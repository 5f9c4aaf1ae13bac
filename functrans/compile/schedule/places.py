"""Index templates: which axes of what an index selects belong to index arrays, and which to slices.

NumPy's rule of advanced indexing: if the index arrays, and the integers among them, stand side by side, their
axes are where the first of them stands, else in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from functrans.core.program import Equation
from functrans.core.types import Shape
from functrans.ops.indexing import ARRAY, Slice, Template

__all__ = ["Selection", "selection", "slice_range"]

Item = TypeVar("Item")


class Selection:
    """What an equation of `getitem`, `index_set` or `index_add` selects of its first operand.

    Attributes:
        template: the index.
        shape: of the operand.
        array_shape: what the index arrays are broadcast to.
        first: the axis of what is selected at which the axes of the index arrays begin.
    """

    def __init__(self, template: Template, shape: Shape, array_shapes: Sequence[Shape]) -> None:
        self.template, self.shape = template, shape
        self.array_shape = np.broadcast_shapes(*array_shapes)
        self.first = first_axis(template) if array_shapes else 0

    def split(self, items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
        """Of one item for each axis of what is selected, those of the index arrays, and the others."""
        last = self.first + len(self.array_shape)
        return list(items[self.first : last]), [*items[: self.first], *items[last:]]

    @property
    def selected_shape(self) -> Shape:
        """The shape of what is selected."""
        lengths, axis = [], 0
        for entry in self.template:
            if entry is None:
                lengths.append(1)
                continue
            if isinstance(entry, Slice):
                lengths.append(len(slice_range(entry, self.shape[axis])))
            axis += 1
        lengths += self.shape[axis:]
        return (*lengths[: self.first], *self.array_shape, *lengths[self.first :])


def selection(equation: Equation, arrays: int) -> Selection:
    """The selection of an equation whose index arrays are the operands from number `arrays` on."""
    shapes = [atom.array_type.shape for atom in equation.inputs]
    return Selection(equation.params["index"], shapes[0], shapes[arrays:])


def first_axis(template: Template) -> int:
    """The axis of what is selected at which those of index arrays begin."""
    advanced = [place for place, entry in enumerate(template) if entry == ARRAY or isinstance(entry, int)]
    if advanced[-1] - advanced[0] + 1 != len(advanced):
        return 0
    return advanced[0]


def slice_range(entry: Slice, length: int) -> range:
    """The places along an axis that a slice selects."""
    return range(*slice(*entry).indices(length))
