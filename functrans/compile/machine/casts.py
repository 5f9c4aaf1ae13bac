"""Conversions between dtypes, as ``astype`` carries them out.

What LLVM leaves undefined is never emitted: a float that does not fit in an integer, nan included, becomes what
x86's instructions, and so NumPy, make of it there, on every processor: the least integer of 32 bits (of 64 for
wide and unsigned results), of which narrower results take the low bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.machine.registers import FLOAT16, FLOAT32, Register, call_intrinsic, in_registers, register_of
from functrans.compile.machine.scalars import truth

__all__ = ["can_convert", "convert", "rounded"]

HALF = ir.HalfType()
FLOAT64, WORD = np.dtype(np.float64), np.dtype(np.int32)


def can_convert(old: np.dtype[Any], new: np.dtype[Any]) -> bool:
    """Whether `convert` is defined: not where an imaginary part would be dropped, of which NumPy warns."""
    return in_registers(old) and in_registers(new) and not (old.kind == "c" and new.kind not in "cb")


def convert(b: ir.IRBuilder, x: ir.Value, old: np.dtype[Any], new: np.dtype[Any], lanes: int | None) -> ir.Value:
    """x as another dtype."""
    source, target = register_of(old, lanes), register_of(new, lanes)
    if new.kind == "b":
        return truth(b, source, x)
    if new == FLOAT16:
        return rounded(b, odd_float(b, x, lanes) if old.itemsize == 8 and old.kind == "f" else widened(b, x, source, target))
    if old.kind == "f" and new.kind in "iu":
        return integer_of(b, source, target, x)
    return widened(b, x, source, target)


def widened(b: ir.IRBuilder, x: ir.Value, old: Register, new: Register) -> ir.Value:
    """x in a register of another type, where LLVM's own conversions are defined for all values."""
    if new.kind == "f":
        if old.kind == "f":
            return x if old == new else b.fpext(x, new.type) if new.itemsize > old.itemsize else b.fptrunc(x, new.type)
        return b.sitofp(x, new.type) if old.kind == "i" else b.uitofp(x, new.type)
    if new.itemsize < old.itemsize:
        return b.trunc(x, new.type)
    if new.itemsize == old.itemsize and old.kind != "b":
        return x
    return b.sext(x, new.type) if old.kind == "i" else b.zext(x, new.type)


def integer_of(b: ir.IRBuilder, old: Register, new: Register, x: ir.Value) -> ir.Value:
    """A float without its fraction."""
    wide = Register(np.dtype(np.int64 if new.itemsize == 8 or new.dtype == np.uint32 else np.int32), new.lanes)
    value = signed_of(b, old, wide, x)
    if new.dtype == np.uint64:
        half = old(2.0**63)
        above = b.xor(signed_of(b, old, wide, b.fsub(x, half)), wide(-(2**63)))
        value = b.select(b.fcmp_ordered(">=", x, half), above, value)
    return widened(b, value, wide, new)


def signed_of(b: ir.IRBuilder, old: Register, new: Register, x: ir.Value) -> ir.Value:
    """A float without its fraction as a signed integer; the least one for what does not fit."""
    least = int(np.iinfo(new.dtype).min)
    whole = call_intrinsic(b, "llvm.trunc", old, x)
    fits = b.and_(b.fcmp_ordered(">=", whole, old(least)), b.fcmp_ordered("<", whole, old(-least)))
    return b.select(fits, b.fptosi(b.select(fits, whole, old(0)), new.type), new(least))


def rounded(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """A float32, or one in each lane, rounded to float16."""
    half = ir.VectorType(HALF, x.type.count) if isinstance(x.type, ir.VectorType) else HALF
    return b.fpext(b.fptrunc(x, half), x.type)


def odd_float(b: ir.IRBuilder, x: ir.Value, lanes: int | None) -> ir.Value:
    """A float64 as a float32 that rounds to the same float16: towards zero, and odd unless exact.

    Rounding to nearest twice would go wrong near ties. (Boldo and Melquiond, When double rounding is odd, 2005.)
    """
    wide, narrow, word = Register(FLOAT64, lanes), Register(FLOAT32, lanes), Register(WORD, lanes)
    nearest = b.fptrunc(x, narrow.type)
    back = b.fpext(nearest, wide.type)
    size, reached = (call_intrinsic(b, "llvm.fabs", wide, value) for value in (x, back))
    bits = b.bitcast(nearest, word.type)
    below = b.select(b.fcmp_ordered(">", reached, size), b.sub(bits, word(1)), bits)
    odd = b.select(b.fcmp_ordered("!=", reached, size), b.or_(below, word(1)), bits)
    return b.bitcast(odd, narrow.type)
