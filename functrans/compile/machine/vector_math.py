"""Elementary functions of vectors of any number of lanes: which there are, and how kernels call them.

Errors are at most 2 units in the last place; nan, infinities, signed zeros and subnormal numbers come out as
in the C library. Numbers that are in no vector go to the C library itself, where it has the function: it
is made for one at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from functrans.compile.machine.elementary import error, exponential, logarithm, neighbour, power, remainder, trigonometric
from functrans.compile.machine.elementary.lane import Value
from functrans.compile.machine.library import LIBRARY, call_library
from functrans.compile.machine.registers import Register

__all__ = ["FUNCTIONS", "call_function"]

# By NumPy's or SciPy's name.
FUNCTIONS: dict[str, Callable[..., Value]] = {
    name: getattr(module, name)
    for module, names in {
        exponential: "exp exp2 expm1 sinh cosh tanh expit",
        logarithm: "log log2 log10 log1p logaddexp logaddexp2 arcsinh arccosh arctanh logit xlogy",
        trigonometric: "sin cos tan arcsin arccos arctan arctan2",
        power: "power cbrt hypot",
        error: "erf erfc ndtr log_ndtr",
        remainder: "fmod remainder floor_divide",
        neighbour: "nextafter",
    }.items()
    for name in names.split()
}


def call_function(b: ir.IRBuilder, name: str, register: Register, *values: ir.Value) -> ir.Value:
    """A function's results."""
    if register.lanes is None and name in LIBRARY:
        return call_library(b, name, register, *values)
    return b.call(vector_function(b.module, name, register, len(values)), values)


def vector_function(module: ir.Module, name: str, register: Register, count: int) -> ir.Function:
    """The function of `count` vectors; made once in a module.

    It is a function and not inlined, so that a program's size, and the time to compile it, do not grow with the
    polynomials; the registers saved around a call cost less than a tenth of it.
    """
    full = f"{name}.{register.name}"
    known = module.globals.get(full)
    if known is not None:
        return known
    function = ir.Function(module, ir.FunctionType(register.type, [register.type] * count), full)
    function.linkage = "internal"
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block())
    b.ret(FUNCTIONS[name](*(Value(b, register, argument) for argument in function.args)).value)
    return function
