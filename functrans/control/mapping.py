"""`map`: a function of the slices of arrays, one after the other or in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from functrans import tree
from functrans.control.scan import scan
from functrans.core.calling import function_title
from functrans.core.tracer import operand
from functrans.core.types import shape_of
from functrans.errors import at_user_line
from functrans.transforms.batch import vmap

__all__ = ["map"]


def map(f: Callable[[Any], Any], xs: Any, batch_size: int | None = None) -> Any:
    """`f` of every slice of `xs` along its leading axis, with the results stacked.

    One slice at a time, a loop needs memory for one; `vmap` computes with all at once. `batch_size` is what is between.

    Args:
        f: of a pytree of slices.
        xs: a pytree of arrays with a common leading axis.
        batch_size: how many slices `vmap` is to take at a time, a positive int.

    Returns:
        The results, stacked along a new leading axis.

    Raises:
        StructureError: leading axes differ.
        ValueError: `batch_size` is not a positive int.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.map(lambda x: np.sum(x) ** 2, np.arange(6.0).reshape(3, 2)).tolist()
        [1.0, 25.0, 81.0]
        >>> ft.map(np.sin, np.zeros(5), batch_size=2).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]

    Source: the signature is that of ``jax.lax.map``.
    """
    title = function_title(f)

    def step(carry: None, x: Any) -> Any:
        return None, f(x)

    def batch(carry: None, x: Any) -> Any:
        return None, vmap(f)(x)

    step.__name__ = batch.__name__ = title
    if batch_size is None:
        return scan(step, None, xs)[1]
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(
            f"map of {title}: batch_size is {batch_size!r}, and must be a positive int"
            f"\n  Remedy: pass several arrays as one tree, ft.map(lambda ab: ..., (a, b)).{at_user_line()}"
        )
    leaves, structure = tree.flatten(xs)
    leaves = [operand(leaf, "map") for leaf in leaves]
    lengths = {shape_of(leaf)[:1] for leaf in leaves}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        return scan(step, None, xs)[1]  # which says what is wrong, or needs no batches
    ((length,),) = lengths
    if length < batch_size:
        return vmap(f)(xs)
    whole = length - length % batch_size
    blocks = [np.reshape(leaf[:whole], (whole // batch_size, batch_size, *shape_of(leaf)[1:])) for leaf in leaves]
    _, results = scan(batch, None, tree.unflatten(structure, blocks))
    results = tree.map(lambda y: np.reshape(y, (whole, *shape_of(y)[2:])), results)
    if whole == length:
        return results
    rest = vmap(f)(tree.unflatten(structure, [leaf[whole:] for leaf in leaves]))
    return tree.map(lambda *pair: np.concatenate(pair), results, rest)
