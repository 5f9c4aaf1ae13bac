"""What every transform does with the arguments and the name of the function it is given."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from functrans.core.staging import function_title
from functrans.errors import at_user_line

__all__ = ["Transformed", "check_argnums", "split_arguments", "wraps"]


class Transformed:
    """A transformed function: callable, usable as a method, with its original's name and signature."""

    def __init__(self, transform: str, function: Callable[..., Any], call: Callable[..., Any]) -> None:
        self.__dict__["_call"] = call
        functools.update_wrapper(self, function)
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.transform = transform

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.__dict__["_call"](*args, **keywords)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<{self.transform} of {self.__wrapped__!r}>"  # type: ignore[attr-defined]


def wraps(transform: str, function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a transformed function the name, docstring and signature of `function`."""

    def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return functools.wraps(function)(call)
        except (AttributeError, TypeError):
            return call

    return decorate


def check_argnums(transform: str, argnums: Any) -> None:
    """Raise unless `argnums` is an int or a sequence of ints."""
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    try:
        list(map(operator.index, numbers))
    except TypeError:
        raise TypeError(f"{transform}: argnums must be an int or a sequence of ints, got {argnums!r}{at_user_line()}") from None


def split_arguments(
    transform: str, function: Callable[..., Any], argnums: int | Sequence[int], args: tuple[Any, ...]
) -> tuple[Any, Callable[[Any], list[Any]]]:
    """The arguments chosen by `argnums`, and a function that puts others in their places."""
    single = not isinstance(argnums, (tuple, list))
    numbers: list[int] = [argnums] if single else list(argnums)  # type: ignore[list-item,arg-type]
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise ValueError(
                f"{transform} of {function_title(function)}: argnums={argnums} names argument {number}, but there are "
                f"{len(args)} positional arguments\n  Remedy: pass the argument by position, or change argnums.{at_user_line()}"
            )
    places = [number % len(args) for number in numbers]
    if len(set(places)) < len(places):
        raise ValueError(f"{transform}: argnums={argnums} names an argument twice{at_user_line()}")

    def rebuild(chosen: Any) -> list[Any]:
        complete = list(args)
        for place, value in zip(places, [chosen] if single else chosen):
            complete[place] = value
        return complete

    chosen = tuple(args[place] for place in places)
    return chosen[0] if single else chosen, rebuild
