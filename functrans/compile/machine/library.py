"""Functions of the C library, called for each lane of a register."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from functrans.compile.machine.registers import Register
from functrans.compile.machine.words import WORD

__all__ = ["LIBRARY", "call_library"]

# By NumPy's name.
LIBRARY = {
    "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log", "log2": "log2", "log10": "log10", "log1p": "log1p",
    "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "cbrt": "cbrt", "hypot": "hypot", "power": "pow", "fmod": "fmod", "erf": "erf", "erfc": "erfc",
}  # fmt: skip


def call_library(b: ir.IRBuilder, name: str, register: Register, *values: ir.Value) -> ir.Value:
    """A function's results, by NumPy's name."""
    type_ = register.element
    full = LIBRARY[name] if register.itemsize == 8 else f"{LIBRARY[name]}f"
    function = b.module.globals.get(full)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(type_, [type_] * len(values)), full)
        function.attributes.add("nounwind")
    return b.call(function, values) if register.lanes is None else call_in_each_lane(b, function, register, values)


def call_in_each_lane(b: ir.IRBuilder, function: ir.Function, register: Register, values: Sequence[ir.Value]) -> ir.Value:
    """The vector of a function's results for each lane, by a loop."""
    assert register.lanes is not None
    before, head = b.block, b.append_basic_block("lane")
    after = b.append_basic_block("done")
    b.branch(head)
    b.position_at_end(head)
    lane, so_far = b.phi(WORD), b.phi(register.type)
    lane.add_incoming(WORD(0), before)
    so_far.add_incoming(ir.Constant(register.type, ir.Undefined), before)
    result = b.call(function, [b.extract_element(value, lane) for value in values])
    total = b.insert_element(so_far, result, lane)
    following = b.add(lane, WORD(1))
    lane.add_incoming(following, b.block)
    so_far.add_incoming(total, b.block)
    b.cbranch(b.icmp_unsigned("<", following, WORD(register.lanes)), head, after)
    b.position_at_end(after)
    return total
