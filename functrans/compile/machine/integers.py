"""Integer arithmetic as NumPy defines it where the machine or LLVM does not.

Dividing by 0, or the least integer by -1, stops the process on x86, and shifts by the width or more are undefined in
LLVM: the operands of such instructions are replaced here, where they are emitted. Division by 0 gives 0, the least
integer divided by -1 itself; shifts by too many bits, or by a negative number, give 0, or -1 to the right of a
negative number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from functrans.compile.machine.registers import Register

__all__ = ["INTEGERS", "absolute", "sign"]


def is_negative(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """Whether a signed integer is below 0."""
    return b.icmp_signed("<", x, register(0))


def divisible(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
    """y, or 1 where x cannot be divided by it."""
    wrong = b.icmp_signed("==", y, register(0))
    if register.kind == "i":
        least = b.icmp_signed("==", x, register(int(np.iinfo(register.dtype).min)))
        wrong = b.or_(wrong, b.and_(least, b.icmp_signed("==", y, register(-1))))
    return b.select(wrong, register(1), y)


def nonzero(b: ir.IRBuilder, register: Register, y: ir.Value, value: ir.Value) -> ir.Value:
    """`value`, or 0 where y is 0."""
    return b.select(b.icmp_signed("==", y, register(0)), register(0), value)


def divided(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The quotient of signed integers without its fraction, and the rest, which has the sign of x."""
    safe = divisible(b, register, x, y)
    quotient = b.sdiv(x, safe)
    return quotient, b.sub(x, b.mul(quotient, safe))


def crosses_zero(b: ir.IRBuilder, register: Register, rest: ir.Value, y: ir.Value) -> ir.Value:
    """Whether a rest is not 0 and has another sign than the divisor, so that the quotient is to be one less."""
    return b.and_(b.icmp_signed("!=", rest, register(0)), is_negative(b, register, b.xor(rest, y)))


def floor_divide(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
    """The greatest integer not above x / y."""
    if register.kind == "u":
        return nonzero(b, register, y, b.udiv(x, divisible(b, register, x, y)))
    quotient, rest = divided(b, register, x, y)
    below = b.select(crosses_zero(b, register, rest, y), b.sub(quotient, register(1)), quotient)
    return nonzero(b, register, y, below)


def remainder(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
    """What is left of x by `floor_divide`: of the sign of y."""
    if register.kind == "u":
        return fmod(b, register, x, y)
    _, rest = divided(b, register, x, y)
    return b.select(crosses_zero(b, register, rest, y), b.add(rest, y), rest)


def fmod(b: ir.IRBuilder, register: Register, x: ir.Value, y: ir.Value) -> ir.Value:
    """What is left of x by division without fraction: of the sign of x."""
    if register.kind == "u":
        return b.urem(x, divisible(b, register, x, y))
    return divided(b, register, x, y)[1]


def left_shift(b: ir.IRBuilder, register: Register, x: ir.Value, count: ir.Value) -> ir.Value:
    """x * 2**count."""
    width = register(8 * register.itemsize)
    fits = b.icmp_unsigned("<", count, width)
    return b.select(fits, b.shl(x, b.select(fits, count, register(0))), register(0))


def right_shift(b: ir.IRBuilder, register: Register, x: ir.Value, count: ir.Value) -> ir.Value:
    """The greatest integer not above x / 2**count."""
    fits = b.icmp_unsigned("<", count, register(8 * register.itemsize))
    if register.kind == "i":
        return b.ashr(x, b.select(fits, count, register(8 * register.itemsize - 1)))
    return b.select(fits, b.lshr(x, b.select(fits, count, register(0))), register(0))


def power(b: ir.IRBuilder, register: Register, x: ir.Value, exponent: ir.Value) -> ir.Value:
    """x to an exponent that is not negative, by repeated squaring; the loop ends with the last bit of any lane."""
    before, head = b.block, b.append_basic_block("power")
    body, after = b.append_basic_block("bit"), b.append_basic_block("done")
    b.branch(head)
    b.position_at_end(head)
    total, factor, rest = (b.phi(register.type) for _ in range(3))
    for phi, first in ((total, register(1)), (factor, x), (rest, exponent)):
        phi.add_incoming(first, before)
    b.cbranch(any_nonzero(b, register, rest), body, after)
    b.position_at_end(body)
    is_odd = b.icmp_signed("!=", b.and_(rest, register(1)), register(0))
    total.add_incoming(b.select(is_odd, b.mul(total, factor), total), body)
    factor.add_incoming(b.mul(factor, factor), body)
    rest.add_incoming(b.lshr(rest, register(1)), body)
    b.branch(head)
    b.position_at_end(after)
    return total


def any_nonzero(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """Whether an integer of any lane is not 0."""
    bits = b.icmp_signed("!=", x, register(0))
    if register.lanes is None:
        return bits
    mask = ir.IntType(register.lanes)
    return b.icmp_signed("!=", b.bitcast(bits, mask), mask(0))


def sign(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """-1, 0 or 1."""
    positive = b.select(b.icmp_signed("!=", x, register(0)), register(1), register(0))
    return positive if register.kind == "u" else b.select(is_negative(b, register, x), register(-1), positive)


def absolute(b: ir.IRBuilder, register: Register, x: ir.Value) -> ir.Value:
    """|x|; the least integer stays as it is."""
    return b.select(is_negative(b, register, x), b.sub(register(0), x), x) if register.kind == "i" else x


# By NumPy's name; operations that differ from those on floats in more than the instruction.
INTEGERS: dict[str, Callable[..., ir.Value]] = {
    "floor_divide": floor_divide, "remainder": remainder, "fmod": fmod, "power": power,
    "left_shift": left_shift, "right_shift": right_shift,
}  # fmt: skip
