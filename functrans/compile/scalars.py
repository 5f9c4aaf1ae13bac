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

from functrans.compile.registers import Register, call_intrinsic
from functrans.compile.vector_math import FUNCTIONS, call_function

__all__ = ["OPERATIONS", "can_convert", "convert", "supports"]

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
    zero, one, minus = register(0), register(1), register(-1)
    if register.kind != "f":
        return b.select(b.icmp_signed(">", x, zero), one, b.select(b.icmp_signed("<", x, zero), minus, zero))
    positive, below = b.fcmp_ordered(">", x, zero), b.fcmp_ordered("<", x, zero)
    return b.select(positive, one, b.select(below, minus, b.select(is_nan(b, x), x, zero)))


def absolute(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """|x|."""
    if register.kind == "f":
        return intrinsic("llvm.fabs")(b, register, x)
    return b.select(b.icmp_signed("<", x, register(0)), b.sub(register(0), x), x)


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


# Operations on operands of one type; `where` and the integer powers are emitted apart.
OPERATIONS: dict[str, tuple[str, Emitter]] = {
    # name            dtypes   emission
    "add":            ("fiu",  by_kind("fadd", "add")),
    "subtract":       ("fiu",  by_kind("fsub", "sub")),
    "multiply":       ("fiub", by_kind("fmul", "mul", "and_")),
    "divide":         ("f",    by_kind("fdiv", "sdiv")),
    "negative":       ("fi",   lambda b, register, x: b.fneg(x) if register.kind == "f" else b.sub(register(0), x)),
    "multiply_add":   ("f",    intrinsic("llvm.fmuladd")),
    "positive":       ("fiu",  lambda b, register, x: x),
    "absolute":       ("fi",   absolute),
    "fabs":           ("f",    absolute),
    "sign":           ("fi",   sign),
    "square":         ("f",    lambda b, register, x: b.fmul(x, x)),
    "reciprocal":     ("f",    lambda b, register, x: b.fdiv(register(1), x)),
    "masked_multiply": ("f",   masked_multiply),
    "sqrt":           ("f",    intrinsic("llvm.sqrt")),
    "floor":          ("f",    intrinsic("llvm.floor")),
    "ceil":           ("f",    intrinsic("llvm.ceil")),
    "trunc":          ("f",    intrinsic("llvm.trunc")),
    "rint":           ("f",    intrinsic("llvm.rint")),
    "copysign":       ("f",    intrinsic("llvm.copysign")),
    "maximum":        ("fiu",  extremum(">=")),
    "minimum":        ("fiu",  extremum("<=")),
    "fmax":           ("fiu",  number_extremum(">=")),
    "fmin":           ("fiu",  number_extremum("<=")),
    "less":           ("fiub", compare("<")),
    "less_equal":     ("fiub", compare("<=")),
    "greater":        ("fiub", compare(">")),
    "greater_equal":  ("fiub", compare(">=")),
    "equal":          ("fiub", compare("==")),
    "not_equal":      ("fiub", compare("!=", ordered=False)),
    "isnan":          ("f",    lambda b, register, x: is_nan(b, x)),
    "isinf":          ("f",    is_infinite),
    "isfinite":       ("f",    is_finite),
    "logical_and":    ("fiub", logical("and_")),
    "logical_or":     ("fiub", logical("or_")),
    "logical_xor":    ("fiub", logical("xor")),
    "logical_not":    ("fiub", lambda b, register, x: b.xor(truth(b, register, x), Register(BOOLEAN, register.lanes)(1))),
    "bitwise_and":    ("iub",  lambda b, register, x, y: b.and_(x, y)),
    "bitwise_or":     ("iub",  lambda b, register, x, y: b.or_(x, y)),
    "bitwise_xor":    ("iub",  lambda b, register, x, y: b.xor(x, y)),
    "invert":         ("iub",  lambda b, register, x: b.xor(x, register(1 if register.kind == "b" else -1))),
    "deg2rad":        ("f",    lambda b, register, x: b.fmul(x, register(np.pi / 180))),
    "rad2deg":        ("f",    lambda b, register, x: b.fmul(x, register(180 / np.pi))),
}  # fmt: skip

for _name in FUNCTIONS:
    OPERATIONS[_name] = ("f", partial(call_by_name, _name))


def supports(operation: str, dtype: np.dtype[Any]) -> bool:
    """Whether `operation` on operands of `dtype` is in the table."""
    entry = OPERATIONS.get(operation)
    return entry is not None and dtype.kind in entry[0] and (dtype.kind != "f" or dtype.itemsize in (4, 8))


def can_convert(old: np.dtype[Any], new: np.dtype[Any]) -> bool:
    """Whether `convert` is defined: all but from floats to integers, where values may not fit."""
    known = all(dtype.kind in "iub" or dtype.kind == "f" and dtype.itemsize in (4, 8) for dtype in (old, new))
    return known and not (old.kind == "f" and new.kind in "iu")


def convert(b: ir.IRBuilder, x: ir.Value, old: Register, new: Register) -> ir.Value:
    """x as another dtype, as ``astype`` does."""
    if new.kind == "b":
        return truth(b, old, x)
    if new.kind == "f":
        if old.kind == "f":
            return x if old == new else b.fpext(x, new.type) if new.itemsize > old.itemsize else b.fptrunc(x, new.type)
        return b.sitofp(x, new.type) if old.kind == "i" else b.uitofp(x, new.type)
    if new.itemsize < old.itemsize:
        return b.trunc(x, new.type)
    if new.itemsize == old.itemsize and old.kind != "b":
        return x
    return b.sext(x, new.type) if old.kind == "i" else b.zext(x, new.type)
