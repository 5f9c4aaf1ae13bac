"""Calls of SciPy: functions as it takes them, of plain arrays, and trees as the vectors it solves for.

Invariant: what a function closes over reaches SciPy through operands, so that transforms see it there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.compile.jit import jit
from functrans.control.bodies import staged_body
from functrans.control.pure_callback import pure_callback
from functrans.core.program import Program
from functrans.core.trace import Evaluation, Trace, current
from functrans.core.tracer import operand
from functrans.core.types import PYTHON_SCALARS, ArrayType, describe, dtype_of, result_dtype, shape_of, type_of
from functrans.errors import StructureError, at_user_line

__all__ = ["HostFunction", "Vectors", "call_scipy"]


class HostFunction:
    """A function as SciPy is to call it.

    Outside of transforms it is the function itself. Within, it is a program of it, compiled if `jit` is under way.

    Attributes:
        constants: what it closes over, as far as that is traced.
        bound: gives the function for plain values of the constants.
    """

    def __init__(self, function: Callable[..., Any], *types: ArrayType) -> None:
        self.constants: tuple[Any, ...] = ()
        self.bound: Callable[[Sequence[Any]], Callable[..., Any]] = lambda constants: function
        if not isinstance(current.get(), Evaluation):
            program, self.constants = staged_body(function, types, transform="scipy")
            self.bound = bound_program(program, is_compiled(current.get()))


def bound_program(program: Program, is_compiled: bool) -> Callable[[Sequence[Any]], Callable[..., Any]]:
    """A function of constants that gives the function of the other operands."""
    evaluate = lambda *leaves: tuple(program.evaluate(leaves))
    run = jit(evaluate) if is_compiled else evaluate
    return lambda constants: lambda *args: tree.unflatten(program.output_structure, run(*constants, *args))


def is_compiled(trace: Trace | None) -> bool:
    """Whether what happens now is staged by `jit`."""
    while trace is not None:
        if trace.transform == "jit":
            return True
        trace = getattr(trace, "parent", None)
    return False


def call_scipy(call: Callable[..., Any], functions: Sequence[HostFunction | None], result_types: Any, *args: Any) -> Any:
    """The result of ``call(functions, *args)`` for plain functions and arrays."""
    constants = [() if function is None else function.constants for function in functions]
    # What is called keeps no traced value.
    bound = [(None if function is None else function.bound, len(own)) for function, own in zip(functions, constants)]

    def run(*leaves: Any) -> Any:
        plain: list[Any] = []
        for bind, count in bound:
            plain.append(None if bind is None else bind(leaves[:count]))
            leaves = leaves[count:]
        return call(plain, *leaves)

    flat = (value for own in constants for value in own)
    return pure_callback(run, result_types, *flat, *args, vmap_method="sequential")


def joined(value: Any) -> Any:
    """`value`, but a list or tuple of numbers as the array that SciPy takes it for."""
    is_number = lambda item: type(item) in PYTHON_SCALARS or getattr(item, "shape", None) == ()
    return operand(value) if type(value) in (list, tuple) and value and all(map(is_number, value)) else value


class Vectors:
    """Trees like one of arrays, as vectors. A list or tuple of numbers is an array, as it is to SciPy.

    Attributes:
        type: of the vectors.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        leaves, self.structure = tree.flatten(joined(model))
        leaves = [operand(leaf, name) for leaf in leaves]
        self.shapes = [shape_of(leaf) for leaf in leaves]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        dtype = result_dtype(*(type_of(leaf).promoting for leaf in leaves)) if leaves else np.dtype(float)
        self.type = ArrayType((sum(self.sizes),), dtype if dtype.kind in "fc" else float)
        self.is_vector = self.structure == tree.LEAF and len(self.shapes[0]) == 1

    def vector(self, tree_: Any, what: str) -> Any:
        """A tree, which is `what` in messages, as a vector."""
        leaves, structure = tree.flatten(joined(tree_))
        leaves = [operand(leaf, self.name) for leaf in leaves]
        if structure != self.structure or [shape_of(leaf) for leaf in leaves] != self.shapes:
            got = ", ".join(map(describe, leaves))
            raise StructureError(
                f"{self.name}: {what} is {got} in a tree of structure {structure}, where one of structure {self.structure} and "
                f"shapes {', '.join(map(str, self.shapes))} was expected\n  Remedy: make the two alike.{at_user_line()}"
            )
        if self.is_vector:
            (vector,) = leaves
        else:
            flat = [np.reshape(leaf, (size,)) for leaf, size in zip(leaves, self.sizes)]
            vector = np.concatenate(flat) if flat else np.zeros(0)
        return vector if dtype_of(vector) == self.type.dtype else vector.astype(self.type.dtype)

    def tree(self, vector: Any) -> Any:
        """The tree of a vector."""
        if self.is_vector:
            return vector
        parts, start = [], 0
        for size, shape in zip(self.sizes, self.shapes):
            parts.append(np.reshape(vector[start : start + size], shape)[()])
            start += size
        return tree.unflatten(self.structure, parts)
