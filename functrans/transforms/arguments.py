"""What every transform does with the arguments and the name of the function it is given."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

from functrans.core.calling import check_function, function_title
from functrans.errors import at_user_line

__all__ = ["Transformed", "check_argnums", "is_global", "split_arguments", "wraps"]


class Transformed:
    """A callable that stands for a function, with its name, docstring and signature.

    It binds to instances as functions do, and pickles where the function does: by name if it replaced
    the function in its module, as decorators do, else as the call of the transform that made it.
    """

    __name__: str
    __qualname__: str
    is_method = False  # whether a class was made with it: its first argument may be an instance

    def __init__(self, function: Callable[..., Any], call: Callable[..., Any], recipe: tuple[Any, ...]) -> None:
        functools.update_wrapper(self, function)
        self.call = call
        self.recipe = recipe

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.call(*args, **keywords)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __set_name__(self, owner: type, name: str) -> None:
        self.is_method = True

    def __repr__(self) -> str:
        return f"<{self.recipe[0].__name__} of {function_title(self)}>"

    def __reduce__(self) -> Any:
        return self.__qualname__ if is_global(self) else (self.recipe[0], self.recipe[1:])


def is_global(value: Any) -> bool:
    """Whether `value` is what its module holds under its own name."""
    try:
        return operator.attrgetter(value.__qualname__)(sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def wraps(transform: Callable[..., Any], function: Callable[..., Any], *options: Any) -> Callable[..., Transformed]:
    """A decorator of what ``transform(function, *options)`` returns; raises unless `function` is one."""
    check_function(transform.__name__, function)
    return lambda call: Transformed(function, call, (transform, function, *options))


def check_argnums(transform: str, argnums: Any) -> None:
    """Raise unless `argnums` is an int or a sequence of ints."""
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    try:
        list(map(operator.index, numbers))
    except TypeError:
        raise TypeError(
            f"{transform}: argnums must be an int or a sequence of ints, got {argnums!r}"
            f"\n  Remedy: pass the positions of the arguments, counted from 0.{at_user_line()}"
        ) from None


def split_arguments(
    transform: str, function: Callable[..., Any], argnums: int | Sequence[int], args: tuple[Any, ...]
) -> tuple[Any, Callable[[Any], list[Any]]]:
    """The arguments chosen by `argnums`, and a function that puts others in their places."""
    single = not isinstance(argnums, (tuple, list))
    numbers: list[int] = [argnums] if single else list(argnums)  # type: ignore[list-item,arg-type]
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise ValueError(
                f"{transform} of {function_title(function)}: argnums={argnums} names argument {number}, but the call has "
                f"{len(args)} positional\n  Remedy: pass the argument by position, or change argnums.{at_user_line()}"
            )
    places = [number % len(args) for number in numbers]
    if len(set(places)) < len(places):
        raise ValueError(
            f"{transform} of {function_title(function)}: argnums={argnums} names an argument twice"
            f"\n  Remedy: name each argument once.{at_user_line()}"
        )

    def rebuild(chosen: Any) -> list[Any]:
        complete = list(args)
        for place, value in zip(places, [chosen] if single else chosen):
            complete[place] = value
        return complete

    chosen = tuple(args[place] for place in places)
    return chosen[0] if single else chosen, rebuild
