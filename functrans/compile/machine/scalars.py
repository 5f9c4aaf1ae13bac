"""Scalar operations as LLVM IR: one table from an operation's name to how it is emitted.

An emitter takes a builder, the `Register` type of the operands and their values, and returns the result.
Booleans are ``i1`` in registers. Floating arithmetic carries no flags: nan, inf, signed zeros and the order
of operations are NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.machine import integers
from functrans.compile.machine.complex_formulas import FORMULAS
from functrans.compile.machine.registers import FLOAT16, Register, call_intrinsic, in_registers
from functrans.compile.machine.vector_math import FUNCTIONS, call_function

__all__ = ["OPERATIONS", "emitter", "supports", "truth"]

Emitter = Callable[..., ir.Value]
BOOLEAN = np.dtype(np.bool_)


def intrinsic(name: str) -> Emitter:
    """An LLVM intrinsic on values of one type."""
    return lambda b, register, *values: call_intrinsic(b, name, register, *values)


def call_by_name(name: str, b: ir.IRBuilder, register: Register, *values: ir.Value) -> ir.Value:
    """An elementary function."""
    return call_function(b, name, register, *values)


def compare(sign: str, ordered: bool = True) -> Emitter:
    """A comparison; of floats an ordered one, but ``!=`` is true of nan."""

    def emit(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
        if register.kind == "f":
            return b.fcmp_ordered(sign, x, y) if ordered else b.fcmp_unordered(sign, x, y)
        return b.icmp_signed(sign, x, y) if register.kind == "i" else b.icmp_unsigned(sign, x, y)

    return emit


def by_kind(floating: str, integer: str, boolean: str = "") -> Emitter:
    """A builder's method for floats, another for integers, and one for booleans."""

    def emit(b: ir.IRBuilder, register: Register, *values: ir.Value) -> ir.Value:
        name = {"f": floating, "b": boolean}.get(register.kind, integer)
        return getattr(b, name)(*values)

    return emit


def is_nan(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Whether x is nan."""
    return b.fcmp_unordered("uno", x, x)


def extremum(sign: str) -> Emitter:
    """NumPy's maximum or minimum: a nan wins."""

    def emit(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
        wins = compare(sign)(b, register, x, y)
        return b.select(b.or_(wins, is_nan(b, x)) if register.kind == "f" else wins, x, y)

    return emit


def number_extremum(sign: str) -> Emitter:
    """NumPy's fmax or fmin: a number wins over nan."""

    def emit(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
        wins = compare(sign)(b, register, x, y)
        return b.select(b.or_(wins, is_nan(b, y)) if register.kind == "f" else wins, x, y)

    return emit


def masked_multiply(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
    """x * y, but 0 where that is nan and a factor is 0."""
    product = b.fmul(x, y)
    zero = register(0)
    vanishes = b.or_(b.fcmp_ordered("==", x, zero), b.fcmp_ordered("==", y, zero))
    return b.select(b.and_(is_nan(b, product), vanishes), zero, product)


def sign(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """-1, 0 or 1; nan of nan."""
    if register.kind != "f":
        return integers.sign(b, register, x)
    zero, one, minus = register(0), register(1), register(-1)
    positive, below = b.fcmp_ordered(">", x, zero), b.fcmp_ordered("<", x, zero)
    return b.select(positive, one, b.select(below, minus, b.select(is_nan(b, x), x, zero)))


def absolute(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """|x|."""
    return intrinsic("llvm.fabs")(b, register, x) if register.kind == "f" else integers.absolute(b, register, x)


def truth(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """Whether x is not 0."""
    if register.kind == "b":
        return x
    return b.fcmp_unordered("!=", x, register(0)) if register.kind == "f" else b.icmp_signed("!=", x, register(0))


def logical(method: str) -> Emitter:
    """A connective of truth values."""
    return lambda b, register, x, y: getattr(b, method)(truth(b, register, x), truth(b, register, y))


def is_infinite(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """Whether x is inf or -inf."""
    return b.fcmp_ordered("==", intrinsic("llvm.fabs")(b, register, x), register(np.inf))


def is_finite(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """Whether x is neither inf nor nan."""
    return b.fcmp_ordered("<", intrinsic("llvm.fabs")(b, register, x), register(np.inf))


def of_numbers(value: bool) -> Emitter:
    """What is `value` of every integer."""
    return lambda b, register, x: Register(BOOLEAN, register.lanes)(value)


def by_emitter(floating: Emitter, others: Emitter) -> Emitter:
    """An emitter for floats, and another for integers and booleans."""
    return lambda b, register, *values: (floating if register.kind == "f" else others)(b, register, *values)


def unchanged(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """x."""
    return x


def sign_bit(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """Whether the sign of x is that of a negative number; zeros and nan have one."""
    bits = Register(np.dtype(f"i{register.itemsize}"), register.lanes)
    return b.icmp_signed("<", b.bitcast(x, bits.type), bits(0))


def heaviside(b: ir.IRBuilder, register: Register, x: ir.Value, at_zero: ir.Value) -> ir.Value:
    """0 below 0, 1 above it; nan of nan."""
    beside = b.select(b.fcmp_ordered("<", x, register(0)), register(0), register(1))
    return b.select(is_nan(b, x), x, b.select(b.fcmp_ordered("==", x, register(0)), at_zero, beside))


def left_out(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
    """What rounding leaves out of x + y, exactly (Knuth's two-sum)."""
    total = b.fadd(x, y)
    added = b.fsub(total, x)
    return b.fadd(b.fsub(x, b.fsub(total, added)), b.fsub(y, added))


def corrected(b: ir.IRBuilder, register: Register, total: ir.Value, lost: ir.Value) -> ir.Value:
    """A total with what rounding has left out of it; an infinite one, or nan, as it is."""
    return b.select(is_nan(b, lost), total, b.fadd(total, lost))


def scaled(above: float, below: float) -> Emitter:
    """x times a quotient that is rounded to x's type, as are the numbers it is of."""
    return lambda b, register, x: b.fmul(x, register(register.dtype.type(above) / register.dtype.type(below)))


# Operations on operands of one type; `where`, conversions and `integers.INTEGERS` are emitted apart.
OPERATIONS: dict[str, tuple[str, Emitter]] = {
    # name            dtypes   emission
    "add":            ("fiub", by_kind("fadd", "add", "or_")),
    "subtract":       ("fiu",  by_kind("fsub", "sub")),
    "multiply":       ("fiub", by_kind("fmul", "mul", "and_")),
    "divide":         ("f",    lambda b, register, x, y: b.fdiv(x, y)),
    "negative":       ("fiu",  lambda b, register, x: b.fneg(x) if register.kind == "f" else b.sub(register(0), x)),
    "multiply_add":   ("f",    intrinsic("llvm.fmuladd")),
    "positive":       ("fiu",  unchanged),
    "left_out":       ("f",    left_out),
    "corrected":      ("f",    corrected),
    "absolute":       ("fiub", absolute),
    "fabs":           ("f",    absolute),
    "sign":           ("fiu",  sign),
    "signbit":        ("f",    sign_bit),
    "square":         ("fiu",  lambda b, register, x: by_kind("fmul", "mul")(b, register, x, x)),
    "reciprocal":     ("f",    lambda b, register, x: b.fdiv(register(1), x)),
    "masked_multiply": ("fiu", by_emitter(masked_multiply, by_kind("", "mul"))),
    "sqrt":           ("f",    intrinsic("llvm.sqrt")),
    "floor":          ("fiub", by_emitter(intrinsic("llvm.floor"), unchanged)),
    "ceil":           ("fiub", by_emitter(intrinsic("llvm.ceil"), unchanged)),
    "trunc":          ("fiub", by_emitter(intrinsic("llvm.trunc"), unchanged)),
    "rint":           ("f",    intrinsic("llvm.rint")),
    "copysign":       ("f",    intrinsic("llvm.copysign")),
    "heaviside":      ("f",    heaviside),
    "maximum":        ("fiub", extremum(">=")),
    "minimum":        ("fiub", extremum("<=")),
    "fmax":           ("fiub", number_extremum(">=")),
    "fmin":           ("fiub", number_extremum("<=")),
    "less":           ("fiub", compare("<")),
    "less_equal":     ("fiub", compare("<=")),
    "greater":        ("fiub", compare(">")),
    "greater_equal":  ("fiub", compare(">=")),
    "equal":          ("fiub", compare("==")),
    "not_equal":      ("fiub", compare("!=", ordered=False)),
    "isnan":          ("fiub", by_emitter(lambda b, register, x: is_nan(b, x), of_numbers(False))),
    "isinf":          ("fiub", by_emitter(is_infinite, of_numbers(False))),
    "isfinite":       ("fiub", by_emitter(is_finite, of_numbers(True))),
    "logical_and":    ("fiub", logical("and_")),
    "logical_or":     ("fiub", logical("or_")),
    "logical_xor":    ("fiub", logical("xor")),
    "logical_not":    ("fiub", lambda b, register, x: b.xor(truth(b, register, x), Register(BOOLEAN, register.lanes)(1))),
    "bitwise_and":    ("iub",  lambda b, register, x, y: b.and_(x, y)),
    "bitwise_or":     ("iub",  lambda b, register, x, y: b.or_(x, y)),
    "bitwise_xor":    ("iub",  lambda b, register, x, y: b.xor(x, y)),
    "invert":         ("iub",  lambda b, register, x: b.xor(x, register(1 if register.kind == "b" else -1))),
    "deg2rad":        ("f",    scaled(np.pi, 180)),
    "rad2deg":        ("f",    scaled(180, np.pi)),
}  # fmt: skip

for _name in FUNCTIONS:
    OPERATIONS[_name] = ("f", partial(call_by_name, _name))


def supports(operation: str, dtype: np.dtype[Any]) -> bool:
    """Whether there is an emitter for `operation` on operands of `dtype`."""
    if dtype.kind == "c":
        return operation in FORMULAS and in_registers(dtype)
    if dtype.kind in "iu" and operation in integers.INTEGERS:
        return True
    if dtype == FLOAT16 and operation == "nextafter":
        return False  # the neighbour of the float32 that holds it is another
    entry = OPERATIONS.get(operation)
    return entry is not None and dtype.kind in entry[0] and in_registers(dtype)


def emitter(operation: str, register: Register) -> Emitter:
    """The emitter for `operation` on operands in `register`."""
    own = integers.INTEGERS.get(operation) if register.kind in "iu" else None
    return own or OPERATIONS[operation][1]
