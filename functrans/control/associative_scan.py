"""`associative_scan`: all prefixes of a sequence under an associative operation, in few operations on whole arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.calling import called, function_title
from functrans.core.matching import leaves_like
from functrans.core.tracer import operand
from functrans.core.types import describe, shape_of
from functrans.errors import StructureError, at_user_line

__all__ = ["associative_scan"]

REMEDY = "combine the elements at each place of the axis, and keep structure, shape and dtype, since results are combined again"


def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefixes of `elems` under `fn`: the first element, `fn` of the first two, and so on.

    The elements are combined in pairs, the prefixes of the pairs found in the same way, and these combined with the
    elements between: less than twice as many combinations as elements, in calls of `fn` on whole arrays of which each
    has half the length of the one before, so that about ``2 log2(n)`` follow one another.

    Args:
        fn: ``(a, b) -> c``, associative, of pytrees like `elems` whose arrays have any length along the axis; it
            combines the elements at each place.
        elems: a pytree of arrays with a common length along the axis.
        reverse: whether to begin with the last element: the result at a place combines those from it to the end.
        axis: along which the elements are lined up.

    Returns:
        A tree of arrays like `elems`.

    Raises:
        StructureError: `fn` returns another structure, shape or dtype than it is given, or lengths differ.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.associative_scan(np.maximum, np.array([1.0, 3.0, 2.0, 5.0])).tolist()
        [1.0, 3.0, 3.0, 5.0]
        >>> matrices = np.array([[[1.0, 1.0], [0.0, 1.0]]] * 4)
        >>> ft.associative_scan(np.matmul, matrices)[:, 0, 1].tolist()
        [1.0, 2.0, 3.0, 4.0]

    Sources: Ladner and Fischer, Parallel prefix computation, Journal of the ACM 27 (1980); Blelloch, Prefix sums and
    their applications (1990). The signature is that of ``jax.lax.associative_scan``.
    """
    title = f"associative_scan of {function_title(fn)}"
    leaves, structure = tree.flatten(elems)
    leaves = [operand(leaf, "associative_scan") for leaf in leaves]
    length = checked_length(title, leaves, tree.paths(elems), axis)
    if length < 2:
        return elems
    lined_up = [np.moveaxis(leaf, axis, 0) for leaf in leaves]
    lined_up = [leaf[::-1] for leaf in lined_up] if reverse else lined_up

    def combine(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        back = [[np.moveaxis(leaf, 0, axis) for leaf in side] for side in (a, b)]
        result = called("associative_scan", fn, [tree.unflatten(structure, side) for side in back])
        found = leaves_like(title, "what the function returns", result, "each of its arguments", structure, back[0], REMEDY, exactly=True)
        return [np.moveaxis(leaf, axis, 0) for leaf in found]

    found = prefixes(combine, lined_up, length)
    found = [leaf[::-1] for leaf in found] if reverse else found
    return tree.unflatten(structure, [np.moveaxis(leaf, 0, axis) for leaf in found])


def prefixes(combine: Callable[..., list[Any]], elements: list[Any], length: int) -> list[Any]:
    """The prefixes of elements along the first axis."""
    if length == 1:
        return elements
    half = length // 2
    pairs = combine([leaf[: 2 * half : 2] for leaf in elements], [leaf[1::2] for leaf in elements])
    odd = prefixes(combine, pairs, half)
    between = (length - 1) // 2
    first = [leaf[:1] for leaf in elements]
    if not between:
        return [np.concatenate(parts) for parts in zip(first, odd)]
    later = combine([leaf[:between] for leaf in odd], [leaf[2::2] for leaf in elements])
    even = [np.concatenate(parts) for parts in zip(first, later)]
    return [interleaved(*parts, length) for parts in zip(even, odd)]


def interleaved(even: Any, odd: Any, length: int) -> Any:
    """The items at even places and those at odd ones, in turn."""
    half = length // 2
    both = np.reshape(np.stack([even[:half], odd], axis=1), (2 * half, *shape_of(odd)[1:]))
    return np.concatenate([both, even[half:]]) if length % 2 else both


def checked_length(title: str, leaves: Sequence[Any], paths: Sequence[str], axis: int) -> int:
    """The number of elements, if all arrays agree on it."""
    for leaf, path in zip(leaves, paths):
        if not -len(shape_of(leaf)) <= axis < len(shape_of(leaf)):
            raise StructureError(
                f"{title}: elems{path} is {describe(leaf)}, and has no axis {axis}"
                f"\n  Remedy: pass arrays whose elements are along that axis.{at_user_line()}"
            )
    lengths = {shape_of(leaf)[axis] for leaf in leaves}
    if len(lengths) != 1:
        found = ", ".join(f"elems{path} is {describe(leaf)}" for leaf, path in zip(leaves, paths))
        raise StructureError(
            f"{title}: the arrays must be of one length along axis {axis}, got {found or 'no arrays'}"
            f"\n  Remedy: make the lengths equal.{at_user_line()}"
        )
    return lengths.pop()
