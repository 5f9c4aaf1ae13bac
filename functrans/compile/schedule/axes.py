"""Axes of operands: which loops run along them, from those along the axes of a result; None where the index is another."""

from __future__ import annotations

from collections.abc import Sequence

from functrans.compile.schedule.indices import is_view
from functrans.compile.schedule.places import selection, slice_range
from functrans.core.program import Equation
from functrans.ops import indexing

__all__ = [
    "Axes",
    "aligned_axes",
    "axes_of_broadcast",
    "axes_of_diagonal",
    "axes_of_flip",
    "axes_of_getitem",
    "axes_of_pad",
    "axes_of_reshape",
    "axes_of_transpose",
    "axes_of_update",
    "axes_of_windows",
    "same_axes",
]

# For each axis of a value, the loop that runs along it; None where the index is another than the loop's.
Axes = tuple[int | None, ...]


def same_axes(equation: Equation, operand: int, axes: Axes) -> Axes:
    return axes


def axes_of_transpose(equation: Equation, operand: int, axes: Axes) -> Axes:
    order = equation.params["axes"]
    return tuple(axes[order.index(axis)] for axis in range(len(order)))


def axes_of_broadcast(equation: Equation, operand: int, axes: Axes) -> Axes:
    return aligned_axes(equation.inputs[0].array_type.shape, equation.outputs[0].array_type.shape, axes)


def aligned_axes(shape: Sequence[int], out: Sequence[int], axes: Axes) -> Axes:
    """The loops along the axes of an operand that is broadcast to `out`."""
    skipped = len(out) - len(shape)
    return tuple(axis if n == m else None for axis, n, m in zip(axes[skipped:], shape, out[skipped:]))


def axes_of_reshape(equation: Equation, operand: int, axes: Axes) -> Axes:
    old, new = equation.inputs[0].array_type.shape, equation.params["shape"]
    found: list[int | None] = []
    before = passed = 1
    place = 0
    for length in old:
        # An axis is kept where as many elements come before it in the old shape as in the new one.
        while place < len(new) and (passed < before or new[place] == 1 != length):
            passed *= new[place]
            place += 1
        is_kept = place < len(new) and passed == before and new[place] == length
        if not is_kept and is_view(equation):
            break
        found.append(axes[place] if is_kept else None)
        before *= length
    return (*found, *[None] * (len(old) - len(found)))


def axes_of_flip(equation: Equation, operand: int, axes: Axes) -> Axes:
    return tuple(None if place in equation.params["axes"] else axis for place, axis in enumerate(axes))


def axes_of_pad(equation: Equation, operand: int, axes: Axes) -> Axes:
    return aligned_axes(equation.inputs[0].array_type.shape, equation.outputs[0].array_type.shape, axes)


def axes_of_windows(equation: Equation, operand: int, axes: Axes) -> Axes:
    rank = len(equation.params["window"])
    return (*axes[: len(axes) - 2 * rank], *[None] * rank)


def axes_of_diagonal(equation: Equation, operand: int, axes: Axes) -> Axes:
    return (*axes[:-1], None, None)


def axes_of_getitem(equation: Equation, operand: int, axes: Axes) -> Axes:
    selected = selection(equation, 1)
    own, remaining = selected.split(axes)
    if operand:
        return aligned_axes(equation.inputs[operand].array_type.shape, selected.array_shape, tuple(own))
    found: list[int | None] = []
    for entry in selected.template:
        if entry is None:
            remaining.pop(0)
        elif isinstance(entry, int) or entry == indexing.ARRAY:
            found.append(None)
        else:
            axis, length = remaining.pop(0), selected.shape[len(found)]
            found.append(axis if slice_range(entry, length) == range(length) else None)
    return (*found, *remaining)


def axes_of_update(equation: Equation, operand: int, axes: Axes) -> Axes:
    if operand == 0:
        return axes
    x, value = (atom.array_type.shape for atom in equation.inputs)
    found: list[int | None] = []
    axis = 0
    for entry in equation.params["index"]:
        if entry is None:
            found.append(None)
            continue
        if not isinstance(entry, int):
            length = x[axis]
            found.append(axes[axis] if slice(*entry).indices(length) == (0, length, 1) else None)
        axis += 1
    found += axes[axis:]
    return tuple(place if n != 1 else None for place, n in zip(found[len(found) - len(value) :], value))
