"""Scalar operations as LLVM IR: one table from an operation's name to how it is emitted.

An emitter takes a builder, the dtype of the operands and their values, and returns the result. Booleans
are ``i1`` in registers. Floating arithmetic carries no flags: nan, inf, signed zeros and the order of
operations are NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.vector_math import VECTOR_MATH

__all__ = ["FROM_LIBRARY", "LIBRARY", "OPERATIONS", "can_convert", "convert", "llvm_type", "number", "supports"]

Emitter = Callable[..., ir.Value]
BIT = ir.IntType(1)
FLOATS = {4: ir.FloatType(), 8: ir.DoubleType()}


def llvm_type(dtype: np.dtype[Any]) -> ir.Type:
    """The type of a register that holds a `dtype`."""
    if dtype.kind == "f":
        return FLOATS[dtype.itemsize]
    return BIT if dtype.kind == "b" else ir.IntType(8 * dtype.itemsize)


def number(value: Any, dtype: np.dtype[Any]) -> ir.Constant:
    """A constant."""
    return ir.Constant(llvm_type(dtype), float(value) if dtype.kind == "f" else int(value))


def intrinsic(name: str) -> Emitter:
    """An LLVM intrinsic on values of one type."""

    def emit(b: ir.IRBuilder, dtype: np.dtype[Any], *values: ir.Value) -> ir.Value:
        type_ = llvm_type(dtype)
        kind = ir.FunctionType(type_, [type_] * len(values))
        return b.call(b.module.declare_intrinsic(name, [type_], kind), values)

    return emit


def from_library(name: str) -> Emitter:
    """A function of the C library."""

    def emit(b: ir.IRBuilder, dtype: np.dtype[Any], *values: ir.Value) -> ir.Value:
        type_ = llvm_type(dtype)
        full = name if dtype.itemsize == 8 else f"{name}f"
        function = b.module.globals.get(full)
        if function is None:
            function = ir.Function(b.module, ir.FunctionType(type_, [type_] * len(values)), full)
            function.attributes.add("nounwind")
        return b.call(function, values)

    return emit


def compare(sign: str, ordered: bool = True) -> Emitter:
    """A comparison; of floats an ordered one, but ``!=`` is true of nan."""

    def emit(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value, y: ir.Value) -> ir.Value:
        if dtype.kind == "f":
            return b.fcmp_ordered(sign, x, y) if ordered else b.fcmp_unordered(sign, x, y)
        return b.icmp_signed(sign, x, y) if dtype.kind == "i" else b.icmp_unsigned(sign, x, y)

    return emit


def by_kind(floating: str, integer: str, boolean: str = "") -> Emitter:
    """A builder's method for floats, another for integers, and one for booleans."""

    def emit(b: ir.IRBuilder, dtype: np.dtype[Any], *values: ir.Value) -> ir.Value:
        name = {"f": floating, "b": boolean}.get(dtype.kind, integer)
        return getattr(b, name)(*values)

    return emit


def is_nan(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Whether x is nan."""
    return b.fcmp_unordered("uno", x, x)


def extremum(sign: str) -> Emitter:
    """NumPy's maximum or minimum: a nan wins."""

    def emit(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value, y: ir.Value) -> ir.Value:
        wins = compare(sign)(b, dtype, x, y)
        return b.select(b.or_(wins, is_nan(b, x)) if dtype.kind == "f" else wins, x, y)

    return emit


def number_extremum(sign: str) -> Emitter:
    """NumPy's fmax or fmin: a number wins over nan."""

    def emit(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value, y: ir.Value) -> ir.Value:
        wins = compare(sign)(b, dtype, x, y)
        return b.select(b.or_(wins, is_nan(b, y)) if dtype.kind == "f" else wins, x, y)

    return emit


def masked_multiply(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value, y: ir.Value) -> ir.Value:
    """x * y, but 0 where that is nan and a factor is 0."""
    product = b.fmul(x, y)
    zero = number(0, dtype)
    vanishes = b.or_(b.fcmp_ordered("==", x, zero), b.fcmp_ordered("==", y, zero))
    return b.select(b.and_(is_nan(b, product), vanishes), zero, product)


def sign(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value) -> ir.Value:
    """-1, 0 or 1; nan of nan."""
    zero, one, minus = number(0, dtype), number(1, dtype), number(-1, dtype)
    if dtype.kind != "f":
        return b.select(b.icmp_signed(">", x, zero), one, b.select(b.icmp_signed("<", x, zero), minus, zero))
    positive, below = b.fcmp_ordered(">", x, zero), b.fcmp_ordered("<", x, zero)
    return b.select(positive, one, b.select(below, minus, b.select(is_nan(b, x), x, zero)))


def absolute(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value) -> ir.Value:
    """|x|."""
    if dtype.kind == "f":
        return intrinsic("llvm.fabs")(b, dtype, x)
    return b.select(b.icmp_signed("<", x, number(0, dtype)), b.neg(x), x)


def truth(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value) -> ir.Value:
    """Whether x is not 0."""
    if dtype.kind == "b":
        return x
    return b.fcmp_unordered("!=", x, number(0, dtype)) if dtype.kind == "f" else b.icmp_signed("!=", x, number(0, dtype))


def logical(method: str) -> Emitter:
    """A connective of truth values."""
    return lambda b, dtype, x, y: getattr(b, method)(truth(b, dtype, x), truth(b, dtype, y))


def is_infinite(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value) -> ir.Value:
    """Whether x is inf or -inf."""
    return b.fcmp_ordered("==", intrinsic("llvm.fabs")(b, dtype, x), number(np.inf, dtype))


def is_finite(b: ir.IRBuilder, dtype: np.dtype[Any], x: ir.Value) -> ir.Value:
    """Whether x is neither inf nor nan."""
    return b.fcmp_ordered("<", intrinsic("llvm.fabs")(b, dtype, x), number(np.inf, dtype))


# Operations on operands of one dtype; `where` and the integer powers are emitted apart.
OPERATIONS: dict[str, tuple[str, Emitter]] = {
    # name            dtypes   emission
    "add":            ("fiu",  by_kind("fadd", "add")),
    "subtract":       ("fiu",  by_kind("fsub", "sub")),
    "multiply":       ("fiub", by_kind("fmul", "mul", "and_")),
    "divide":         ("f",    by_kind("fdiv", "sdiv")),
    "negative":       ("fi",   by_kind("fneg", "neg")),
    "positive":       ("fiu",  lambda b, dtype, x: x),
    "absolute":       ("fi",   absolute),
    "fabs":           ("f",    absolute),
    "sign":           ("fi",   sign),
    "square":         ("f",    lambda b, dtype, x: b.fmul(x, x)),
    "reciprocal":     ("f",    lambda b, dtype, x: b.fdiv(number(1, dtype), x)),
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
    "isnan":          ("f",    lambda b, dtype, x: is_nan(b, x)),
    "isinf":          ("f",    is_infinite),
    "isfinite":       ("f",    is_finite),
    "logical_and":    ("fiub", logical("and_")),
    "logical_or":     ("fiub", logical("or_")),
    "logical_xor":    ("fiub", logical("xor")),
    "logical_not":    ("fiub", lambda b, dtype, x: b.not_(truth(b, dtype, x))),
    "bitwise_and":    ("iub",  lambda b, dtype, x, y: b.and_(x, y)),
    "bitwise_or":     ("iub",  lambda b, dtype, x, y: b.or_(x, y)),
    "bitwise_xor":    ("iub",  lambda b, dtype, x, y: b.xor(x, y)),
    "invert":         ("iub",  lambda b, dtype, x: b.not_(x)),
    "deg2rad":        ("f",    lambda b, dtype, x: b.fmul(x, number(np.pi / 180, dtype))),
    "rad2deg":        ("f",    lambda b, dtype, x: b.fmul(x, number(180 / np.pi, dtype))),
}  # fmt: skip

# Functions of the C library, by NumPy's name.
LIBRARY = {
    "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log", "log2": "log2", "log10": "log10", "log1p": "log1p",
    "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "cbrt": "cbrt", "hypot": "hypot", "power": "pow", "fmod": "fmod", "erf": "erf", "erfc": "erfc",
}  # fmt: skip
FROM_LIBRARY = {name: from_library(function) for name, function in LIBRARY.items()}
for _name, _emitter in FROM_LIBRARY.items():
    OPERATIONS[_name] = ("f", VECTOR_MATH.get(_name, _emitter))


def supports(operation: str, dtype: np.dtype[Any]) -> bool:
    """Whether `operation` on operands of `dtype` is in the table."""
    entry = OPERATIONS.get(operation)
    return entry is not None and dtype.kind in entry[0] and (dtype.kind != "f" or dtype.itemsize in FLOATS)


def can_convert(old: np.dtype[Any], new: np.dtype[Any]) -> bool:
    """Whether `convert` is defined: all but from floats to integers, where values may not fit."""
    known = all(dtype.kind in "iub" or dtype.kind == "f" and dtype.itemsize in FLOATS for dtype in (old, new))
    return known and not (old.kind == "f" and new.kind in "iu")


def convert(b: ir.IRBuilder, x: ir.Value, old: np.dtype[Any], new: np.dtype[Any]) -> ir.Value:
    """x as another dtype, as ``astype`` does."""
    type_ = llvm_type(new)
    if new.kind == "b":
        return truth(b, old, x)
    if new.kind == "f":
        if old.kind == "f":
            return x if old == new else b.fpext(x, type_) if new.itemsize > old.itemsize else b.fptrunc(x, type_)
        return b.sitofp(x, type_) if old.kind == "i" else b.uitofp(x, type_)
    if new.itemsize < old.itemsize:
        return b.trunc(x, type_)
    if new.itemsize == old.itemsize and old.kind != "b":
        return x
    return b.sext(x, type_) if old.kind == "i" else b.zext(x, type_)
