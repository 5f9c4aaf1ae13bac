"""Operations that the items of a batch perform each for itself, one after the other.

A loop whose condition differs across a batch, or a branch whose choice does, becomes a loop over the items: effects,
errors and nan come from the steps and branches that an item takes, and from no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from functrans.control.bodies import Body, Flags, chosen, derived, restaged, strong
from functrans.control.scan_loop import scan_loop
from functrans.core.primitive import Control
from functrans.core.program import Program, programs_in
from functrans.core.types import ArrayType, type_of
from functrans.errors import UnsupportedError, at_user_line, describe_origin
from functrans.transforms.batch import axis_sum

__all__ = ["item_by_item"]


def item_by_item(
    primitive: Control, operands: Sequence[Any], batched: Sequence[bool], size: int, axis_name: Any, params: dict[str, Any]
) -> tuple[list[Any], Flags]:
    """The results of `primitive` for each item of a batch, as its rule `batch` returns them."""
    programs = programs_in(params)
    for program in programs:
        check_no_collective(primitive, program, axis_name)
    types = tuple(
        ArrayType(type_.shape[1:], type_.dtype) if own else type_ for type_, own in zip(map(type_of, operands), batched)
    )
    own = tuple(batched)
    body = item_body(programs[0], primitive, own, types, tuple(sorted(params.items())))
    shared = [*body.values, *(value for value, flag in zip(operands, own) if not flag)]
    results = scan_loop(
        *shared, *chosen(operands, own),
        body=body.program, consts=len(shared), carry=0, length=size, reverse=False, unroll=1,
    )  # fmt: skip
    return list(results), (True,) * len(results)


@derived
def item_body(
    program: Program, primitive: Control, batched: Flags, types: tuple[ArrayType, ...], params: tuple[Any, ...]
) -> Body:
    """(operands all items share, operands of one item) -> its results, of which none is a Python number."""
    shared = [not flag for flag in batched]

    def function(common: list[Any], items: list[Any]) -> Any:
        sources = {True: iter(items), False: iter(common)}
        return [strong(result) for result in primitive(*(next(sources[flag]) for flag in batched), **dict(params))]

    return restaged(program.name, function, [], chosen(types, shared), chosen(types, batched))


def check_no_collective(primitive: Control, program: Program, axis_name: Any) -> None:
    """Raise if the program adds up over the axis, whose items do not all come to that operation."""
    for equation in program.equations:
        if equation.primitive is axis_sum and equation.params["axis_name"] == axis_name:
            raise UnsupportedError(
                f"vmap: psum over the axis {axis_name!r} in a {primitive.name} that differs from item to item of that axis, so "
                f"that not all of them come to it\n  made at {describe_origin(equation.origin)}"
                f"\n  Remedy: take the sum before or after, or let the condition be the same for all items.{at_user_line()}"
            )
        for nested in equation.programs:
            check_no_collective(primitive, nested, axis_name)
