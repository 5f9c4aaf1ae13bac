"""Effects: operations that do something beside giving a result, of which these have none: to print, to check, to stop.

A `Message` says what is to be shown of the operands. Under `vmap` an operation takes the whole batch at once, and
its message knows the batches' axes. Invariant: it is performed once, with the values of the function itself. It has
no derivative, so no tangent or cotangent is shown in its place; and it asks `happens` first, since a program is
evaluated once more where an operation in it fails.
"""

from __future__ import annotations

import builtins
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.primitive import General
from functrans.errors import CheckError, Origin, at_user_line, describe_origin

__all__ = ["Message", "check_format", "debug_breakpoint", "debug_check", "debug_print", "recorded"]


class Record:
    """How many effects code had, of which the first `before` do not happen, since the same code has run so far before."""

    __slots__ = ("before", "count")

    def __init__(self, before: float) -> None:
        self.before = before
        self.count = 0


current_record: ContextVar[Record | None] = ContextVar("functrans_effects", default=None)


@contextmanager
def recorded(before: float = 0) -> Iterator[Record]:
    """Count the effects of what runs within, all but the first `before` of which happen; they are some of those around."""
    around = current_record.get()
    own = Record(before if around is None else max(before, around.before - around.count))
    token = current_record.set(own)
    try:
        yield own
    finally:
        current_record.reset(token)
        if around is not None:
            around.count += own.count - (before if isinstance(before, int) else 0)


def happens() -> bool:
    """Count one more effect; whether it is to happen."""
    record = current_record.get()
    if record is None:
        return True
    record.count += 1
    return record.count > record.before


@dataclass(frozen=True, eq=False)
class Message:
    """What is to be shown of values, and the user's line.

    Attributes:
        text: with places for the values, as `str.format` takes them.
        structure: of the values: a pair of the positional and the named ones.
        weak: for each leaf that is an operand, whether it is a Python number.
        fixed: the leaves that are none, by place.
        origin: the user's line, or its description.
        batches: for each `vmap` around, the outermost first, its size and which operands have its axis in front.
    """

    text: str
    structure: Any
    weak: tuple[bool, ...]
    fixed: tuple[tuple[int, Any], ...]
    origin: Origin | str | None
    batches: tuple[tuple[int, tuple[bool, ...]], ...] = ()

    def __repr__(self) -> str:
        return repr(self.text)

    @property
    def line(self) -> str:
        """The user's line, for people."""
        return self.origin if isinstance(self.origin, str) else describe_origin(self.origin)

    def inside(self, size: int, batched: Sequence[bool]) -> Message:
        """The message under one more `vmap`."""
        return replace(self, batches=((size, tuple(batched)), *self.batches))

    def items(self, operands: Sequence[Any]) -> Iterator[tuple[tuple[int, ...], list[Any]]]:
        """For each item of the batches, in order, its index and its operands."""
        for index in np.ndindex(*(size for size, _ in self.batches)):
            places = [[i for i, (_, batched) in zip(index, self.batches) if batched[n]] for n in range(len(operands))]
            yield index, [value[tuple(place)] if place else value for value, place in zip(operands, places)]

    def values(self, leaves: Sequence[Any]) -> Any:
        """The positional values and the named ones, of leaves that are operands."""
        complete = [value.item() if weak and isinstance(value, np.generic) else value for value, weak in zip(leaves, self.weak)]
        for place, value in self.fixed:
            complete.insert(place, value)
        return tree.unflatten(self.structure, complete)

    def filled(self, leaves: Sequence[Any]) -> str:
        """The text with the values of one item in it."""
        try:
            return ArrayFormatter().vformat(self.text, *self.values(leaves))
        except Exception as error:
            error.add_note(f"in the message {self.text!r}\n  at {self.line}")
            raise


class ArrayFormatter(string.Formatter):
    """Formats as NumPy prints, and element by element where a format is given: ``{x:.2f}``."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        if isinstance(value, np.generic) and not format_spec:
            return str(value)  # what `format` gives of a float32 has the digits of a float64
        if isinstance(value, np.ndarray) and format_spec:
            return np.array2string(value, formatter={"all": lambda element: format(element, format_spec)})
        return super().format_field(value, format_spec)


class Checker(string.Formatter):
    """Formats nothing, and raises if the values and the places for them are not the same."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        first = re.split(r"[.\[]", field_name, maxsplit=1)[0]
        key = int(first) if first.isdigit() else first
        if key not in (range(len(args)) if isinstance(key, int) else kwargs):
            raise ValueError(f"no value is given for {{{field_name}}}")
        return "", key

    def format_field(self, value: Any, format_spec: str) -> Any:
        return ""

    def check_unused_args(self, used_args: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        unused = [key for key in (*range(len(args)), *kwargs) if key not in used_args]
        if unused:
            raise ValueError(f"it has no place for the value {', '.join(map(str, unused))}")


# What a traced value is in an f-string.
TRACED = re.compile(r"<\w+\[[\d,]*\] traced by ")


@lru_cache
def mistake(text: str, count: int, names: tuple[str, ...]) -> str | None:
    """What is wrong with a format for that many positional values and these named ones."""
    if TRACED.search(text):
        return "it holds a traced value, as an f-string puts it there, not the number the value will have"
    try:
        Checker().vformat(text, (None,) * count, dict.fromkeys(names))
    except ValueError as error:
        return str(error)
    return None


def check_format(name: str, text: Any, values: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Raise unless `text` is a format for these values."""
    if not isinstance(text, str):
        raise TypeError(
            f'{name}: the format must be a str, got {type(text).__name__}\n  Remedy: write {name}("{{}}", x).{at_user_line()}'
        )
    wrong = mistake(text, len(values), tuple(named))
    if wrong is not None:
        raise ValueError(
            f"{name}: the format {text!r} does not fit: {wrong}"
            f'\n  Remedy: write {name}("x is {{x}}", x=x), with {{{{ and }}}} for braces.{at_user_line()}'
        )


def effect(name: str, evaluate: Callable[..., Any], batch: Callable[..., Any]) -> General:
    """A primitive that has an effect, no result and no derivative."""
    return General(
        name,
        evaluate,
        types=lambda *types, message: (),
        jvp=None,
        pullback=None,
        batch=batch,
        multiple=True,
        has_effect=True,
        runs_user_code=True,
    )


def print_items(*leaves: Any, message: Message) -> tuple[()]:
    """Print the message, a line for each item of a batch."""
    if happens():
        lines = [message.filled(item) for _, item in message.items(leaves)]
        if lines:
            builtins.print("\n".join(lines), flush=True)
    return ()


def check_items(holds: Any, *leaves: Any, message: Message) -> tuple[()]:
    """Raise with the message of the first item that the condition does not hold for."""
    if not happens() or (np.all(holds) if isinstance(holds, np.ndarray) else holds):
        return ()
    for index, (held, *item) in message.items((holds, *leaves)):
        if not held:
            which = f" (item {', '.join(map(str, index))} of the batch)" if index else ""
            raise CheckError(f"{message.filled(item)}{which}\n  at {message.line}")
    return ()


def stop(*leaves: Any, message: Message) -> tuple[()]:
    """Start the debugger; what it was given is in `values` and `named`, with all items of a batch."""
    values, named = message.values(leaves)
    if happens():
        builtins.print(f"ft.debug.breakpoint at {message.line}; values: {len(values)}, named: {', '.join(named)}", flush=True)
        builtins.breakpoint()
    return ()


debug_print = effect(
    "debug_print",
    print_items,
    lambda operands, batched, size, message: debug_print(*operands, message=message.inside(size, batched)),
)
debug_check = effect(
    "debug_check",
    check_items,
    lambda operands, batched, size, message: debug_check(*operands, message=message.inside(size, batched)),
)
debug_breakpoint = effect(
    "debug_breakpoint", stop, lambda operands, batched, size, message: debug_breakpoint(*operands, message=message)
)
