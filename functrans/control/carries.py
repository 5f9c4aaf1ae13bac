"""What a loop carries along: of one structure, and of types that stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from functrans import tree
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, result_dtype, type_of
from functrans.errors import StructureError, at_user_line
from functrans.numpy.structure import astype

__all__ = ["checked_carry", "converted"]


def converted(value: Any, type_: ArrayType) -> Any:
    """`value` as one of `type_`, if it is a Python number that takes on the dtype as it would meeting an array of it."""
    own = type_of(value)
    takes_on = own.weak and not type_.weak and own.shape == type_.shape
    if takes_on and result_dtype(own.promoting, type_.dtype) == type_.dtype:
        return astype(value, type_.dtype)
    return value


def checked_carry(loop: str, body: str, new: Any, init: Any, types: Sequence[ArrayType]) -> list[Any]:
    """The leaves of the new carry, if they are of the types of the first one; Python numbers take on its dtype.

    Args:
        loop: for messages, ``while_loop``.
        body: for messages, ``the body step``.
        new: the tree that the body returned.
        init: the tree that the loop began with.
        types: of the leaves of `init`.
    """
    leaves, structure = tree.flatten(new)
    if structure != tree.structure(init):
        raise StructureError(
            f"{loop}: the carry begins with structure {tree.structure(init)}, and {body} returns {structure}"
            f"\n  Remedy: return a carry like the first one.{at_user_line()}"
        )
    fitted = [converted(operand(leaf), type_) for leaf, type_ in zip(leaves, types)]
    for value, path, type_ in zip(fitted, tree.paths(init), types):
        own = type_of(value)
        if own != type_:
            raise StructureError(
                f"{loop}: the carry{path} begins as {kind(type_)}, and {body} returns {kind(own)} for it"
                "\n  Remedy: begin with a value of the shape and dtype it comes to have, or convert what the body returns with "
                f".astype.{at_user_line()}"
            )
    return fitted


def kind(type_: ArrayType) -> str:
    """A type for a message."""
    return f"a Python number, {type_}" if type_.weak else str(type_)
