"""What functions return, held against what they must return: trees like another, and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from functrans import tree
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, describe, shape_of, type_of
from functrans.errors import StructureError, at_user_line

__all__ = ["auxiliary_pair", "leaves_like"]


def leaves_like(
    title: str,
    what: str,
    got: Any,
    model: str,
    structure: Any,
    likes: Sequence[Any],
    remedy: str | None = None,
    exactly: bool = False,
) -> list[Any]:
    """The leaves of `got`, if it is a tree of this structure whose leaves have these shapes.

    Args:
        title: the transform and the function, for messages: ``vjp of f``.
        what: was got, for messages: ``the cotangent``.
        model: what it is to be like, for messages: ``the output``.
        likes: for each leaf its type, or a value that has it.
        remedy: for messages; ``return a tree like`` the model if None.
        exactly: whether the leaves must have these dtypes, too.

    Raises:
        StructureError: it is no such tree.
    """
    leaves, own = tree.flatten(got)
    if own != structure:
        wrong = f"{what} has structure {own}, and {model} has {structure}"
    else:
        leaves = [operand(leaf) for leaf in leaves]
        for place, (leaf, like) in enumerate(zip(leaves, likes)):
            if shape_of(leaf) != shape_of(like) or exactly and type_of(leaf) != type_of(like):
                path = tree.paths(got)[place]
                at, there = (f" at {path}", " there") if path else ("", "")
                wrong = f"{what}{at} is {describe(leaf)}, and {model} is {like if isinstance(like, ArrayType) else describe(like)}{there}"
                break
        else:
            return leaves
    remedy = remedy or f"return a tree like {model}, of arrays of the same {'types' if exactly else 'shapes'}"
    raise StructureError(f"{title}: {wrong}\n  Remedy: {remedy}.{at_user_line()}")


def auxiliary_pair(title: str, result: Any, names: str = "output, auxiliary") -> tuple[Any, Any]:
    """What a function returned and its auxiliary data, which with ``has_aux=True`` are a pair."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise StructureError(
            f"{title}: has_aux=True needs a function that returns a pair ({names}), got {describe(result)}"
            f"\n  Remedy: return both, or drop has_aux.{at_user_line()}"
        )
    return result
