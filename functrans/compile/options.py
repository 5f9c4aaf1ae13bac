"""Options of `jit` that name arguments: by position, by name, or, through the function's signature, by both."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from functrans.core.calling import function_title
from functrans.errors import at_user_line

__all__ = ["Chosen", "chosen"]


@dataclass(frozen=True)
class Chosen:
    """Arguments that are treated apart, by position and by name."""

    numbers: frozenset[int]
    names: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names)

    def __and__(self, other: Chosen) -> Chosen:
        return Chosen(self.numbers & other.numbers, self.names & other.names)

    def places(self, count: int) -> set[int]:
        """The positions among `count` positional arguments."""
        return {number % count for number in self.numbers if -count <= number < count}


def chosen(function: Callable[..., Any], kind: str, argnums: Any, argnames: Any) -> Chosen:
    """The arguments that two options name; if only one is given, those it names by the other's means as well."""
    given = Chosen(normalized(f"{kind}_argnums", argnums, int), normalized(f"{kind}_argnames", argnames, str))
    try:
        parameters = list(inspect.signature(function).parameters.values()) if given else []
    except (TypeError, ValueError):
        return given
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wrong = unknown(given, positional, parameters)
    if wrong:
        raise ValueError(
            f"jit of {function_title(function)}: {kind}_argnums={argnums!r} and {kind}_argnames={argnames!r} name what is no "
            f"argument of it: {', '.join(wrong)}\n  Remedy: name arguments of its signature.{at_user_line()}"
        )
    if given.numbers and given.names:
        return given
    either = {place: p.name for place, p in enumerate(positional) if p.kind is p.POSITIONAL_OR_KEYWORD}
    numbers = {place for place, name in either.items() if name in given.names}
    names = {name for place, name in either.items() if place in given.places(len(positional))}
    return Chosen(given.numbers | numbers, given.names | names)


def unknown(given: Chosen, positional: list[inspect.Parameter], parameters: list[inspect.Parameter]) -> list[str]:
    """The positions and names that are of no parameter."""
    kinds, count = {p.kind for p in parameters}, len(positional)
    wrong: list[str] = []
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        wrong += [str(number) for number in sorted(given.numbers) if not -count <= number < count]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        wrong += sorted(given.names - {p.name for p in parameters})
    return wrong


def normalized(name: str, given: Any, kind: type) -> frozenset[Any]:
    """The set of what one option names."""
    items = (given,) if isinstance(given, kind) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(item, kind) for item in items):
        raise TypeError(f"jit: {name} must be of type {kind.__name__} or a sequence of them, got {given!r}{at_user_line()}")
    return frozenset(items)
