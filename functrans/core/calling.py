"""Calls of users' functions: what is no function, and arguments that do not fit one, are named."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.tracer import operand
from functrans.core.types import describe
from functrans.errors import UnsupportedError, at_user_line

__all__ = ["argument_name", "called", "check_function", "function_title", "operands_of", "returned"]

NONE: Mapping[str, Any] = MappingProxyType({})


def function_title(function: Callable[..., Any]) -> str:
    """A function's name as a program's: ``loss``, ``lambda``."""
    name = getattr(function, "__name__", type(function).__name__)
    return name.strip("<>")


def check_function(transform: str, function: Any) -> None:
    """Raise unless `function` can be called."""
    if not callable(function):
        raise TypeError(
            f"{transform}: expected a function, got {describe(function)}"
            f"\n  Remedy: pass the function itself, f in place of f(x), or for a value a function that returns it.{at_user_line()}"
        )


def called(transform: str, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any] = NONE) -> Any:
    """``function(*args, **keywords)``, with the transform and the signature in the error if these arguments do not fit it."""
    try:
        return function(*args, **keywords)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # the call itself, nothing inside
            check_function(transform, function)
            explain_signature(error, transform, function, args, keywords)
        raise


def explain_signature(
    error: TypeError, transform: str, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]
) -> None:
    """Add to Python's error what was called with which arguments, if that is what is wrong."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of built-in functions Python knows none
        return
    try:
        signature.bind(*args, **keywords)
    except TypeError:
        title = function_title(function)
        given = ", ".join([f"{len(args)} by position", *(f"{name}=" for name in keywords)])
        error.args = (
            f"{transform} of {title}: {error}\n  Remedy: let the arguments, {given}, fit the signature, {title}{signature}."
            f"{at_user_line()}",
        )


def argument_name(function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any], leaf: Any) -> str:
    """Where among a function's arguments a leaf stands: ``x``, ``parameters['w']``."""
    named: dict[str, Any]
    try:
        named = inspect.signature(function).bind(*args, **keywords).arguments
    except (TypeError, ValueError):
        named = {**{str(place): value for place, value in enumerate(args)}, **keywords}
    for name, value in named.items():
        for part, path in zip(tree.leaves(value), tree.paths(value)):
            if part is leaf:
                return name + path
    return ""


def operands_of(
    transform: str,
    function: Callable[..., Any],
    args: Sequence[Any],
    keywords: Mapping[str, Any],
    leaves: Sequence[Any],
    remedy: str,
) -> list[Any]:
    """Leaves of arguments as operands; names the argument that is no array, number or tree of them."""
    name = lambda leaf: f"the argument {argument_name(function, args, keywords, leaf)}"
    return checked(transform, function, leaves, name, remedy)


def returned(transform: str, function: Callable[..., Any], leaves: Sequence[Any]) -> list[Any]:
    """The leaves of what a function returned as operands."""
    remedy = "return arrays, numbers, or lists, tuples and dicts of them"
    return checked(transform, function, leaves, lambda leaf: "what it returned", remedy)


def checked(
    transform: str, function: Callable[..., Any], leaves: Sequence[Any], what: Callable[[Any], str], remedy: str
) -> list[Any]:
    """Leaves as operands; says `what` is none."""
    leaf: Any = None
    values = []
    try:
        for leaf in leaves:
            values.append(operand(leaf, transform))
    except UnsupportedError as error:
        if isinstance(leaf, np.ndarray):  # whose dtype the error names
            raise
        raise UnsupportedError(
            f"{transform} of {function_title(function)}: {what(leaf)} is of type {type(leaf).__name__}, and no array, number or "
            f"registered pytree\n  Remedy: {remedy}.{at_user_line()}"
        ) from error
    return values
