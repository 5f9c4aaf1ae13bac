"""`jit`: stages a function once for each types of arguments, and runs the program."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import RLock
from typing import Any

from functrans import tree
from functrans.core.program import Program, without_dead_code
from functrans.core.staging import function_title, stage
from functrans.core.trace import TracedValue
from functrans.core.tracer import operand
from functrans.core.types import type_of
from functrans.errors import at_user_line
from functrans.transforms.arguments import wraps

__all__ = ["jit"]

CACHE_SIZE = 256


def jit(
    function: Callable[..., Any], static_argnums: int | Sequence[int] = (), static_argnames: str | Sequence[str] = ()
) -> Callable[..., Any]:
    """`function` staged into a `Program`, once for each structure, shapes and dtypes of its arguments.

    Args:
        function: of pytrees of arrays; Python in it runs only while it is staged.
        static_argnums: positions of arguments that are part of the key: any hashable values.
        static_argnames: names of keyword arguments that are.

    Returns:
        A function of the same arguments. Arrays the function closes over are read at each call.

    Raises:
        ConcretizationError: a Python branch or conversion needs a value.
        TypeError: a static argument is not hashable.

    Example:
        >>> import numpy as np, functrans as ft
        >>> power = ft.jit(lambda x, n: x**n, static_argnums=1)
        >>> float(power(3.0, 2)), float(ft.grad(power)(3.0, 2))
        (9.0, 6.0)
    """
    numbers = frozenset((static_argnums,) if isinstance(static_argnums, int) else static_argnums)
    names = frozenset((static_argnames,) if isinstance(static_argnames, str) else static_argnames)
    programs: OrderedDict[Hashable, Program] = OrderedDict()
    lock = RLock()

    @wraps("jit", function)
    def staged_function(*args: Any, **keywords: Any) -> Any:
        static = tuple((place, args[place]) for place in sorted(numbers) if place < len(args))
        static_keywords = tuple(sorted((name, value) for name, value in keywords.items() if name in names))
        dynamic = tuple(value for place, value in enumerate(args) if place not in numbers)
        dynamic_keywords = {name: value for name, value in keywords.items() if name not in names}
        leaves, structure = tree.flatten((dynamic, dynamic_keywords))
        leaves = [operand(leaf) for leaf in leaves]

        def run(*values: Any, **more: Any) -> Any:
            complete = list(values)
            for place, value in static:
                complete.insert(place, value)
            return function(*complete, **more, **dict(static_keywords))

        try:
            key = hash_key(structure, leaves, static, static_keywords)
        except TypeError as error:
            raise TypeError(
                f"jit of {function_title(function)}: a static argument is not hashable: {error}"
                f"\n  Remedy: pass tuples in place of lists, or make the argument dynamic.{at_user_line()}"
            ) from error
        with lock:
            program = programs.get(key)
            if program is not None:
                programs.move_to_end(key)
        if program is None:
            program = without_dead_code(stage(run, dynamic, dynamic_keywords, transform="jit"))
            if not any(isinstance(value, TracedValue) for value in program.values):
                with lock:
                    programs[key] = program
                    if len(programs) > CACHE_SIZE:
                        programs.popitem(last=False)
        return tree.unflatten(program.output_structure, program.evaluate(leaves))

    return staged_function


def hash_key(structure: Any, leaves: Sequence[Any], static: Hashable, static_keywords: Hashable) -> Hashable:
    """What a program is kept under; raises TypeError if a static argument cannot be hashed."""
    key = structure, tuple(map(type_of, leaves)), static, static_keywords
    hash(key)
    return key
