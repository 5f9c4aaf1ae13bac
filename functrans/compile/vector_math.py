"""Transcendental functions of vectors, in float32 and float64.

None of them branches, or converts between integers and floats by instructions that vectors lack: LLVM
splits a vector of any length into what the machine has. Errors are below 2 units in the last
place; nan, infinities, signed zeros and subnormal numbers come out as in the C library. Reductions of the
argument follow Cody and Waite, Software Manual for the Elementary Functions (1980); the polynomial of the
logarithm is fdlibm's (Sun Microsystems, 1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.registers import Register, call_intrinsic
from functrans.compile.scalars import OPERATIONS

__all__ = ["vector_function"]

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Format:
    """What the functions must know of a floating format.

    Attributes:
        mantissa: stored bits of the mantissa.
        bias: of the exponent.
        ln2: the logarithm of 2 as a number with few bits and a rest.
        terms: of the exponential's series for arguments up to ln(2) / 2.
        log_terms: coefficients of the logarithm's polynomial.
        root_half: the bits of the square root of 1/2.
        overflow, underflow: beyond these exp is inf or 0.
        saturation: beyond this tanh is 1.
        sine_terms: of the series of sine and cosine for arguments up to pi / 4.
    """

    dtype: np.dtype[Any]
    mantissa: int
    bias: int
    ln2: tuple[float, float]
    terms: int
    log_terms: tuple[float, ...]
    root_half: int
    overflow: float
    underflow: float
    saturation: float
    sine_terms: int


DOUBLE = Format(
    np.dtype(np.float64), 52, 1023, (6.93147180369123816490e-01, 1.90821492927058770002e-10), 13,
    (6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
     1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01),
    0x3FE6A09E667F3BCD, 710.0, -746.0, 22.0, 9,
)  # fmt: skip
SINGLE = Format(
    np.dtype(np.float32), 23, 127, (6.9314575195e-01, 1.4286067653e-06), 7,
    (6.6666662693e-01, 4.0000972152e-01, 2.8498786688e-01, 2.4279078841e-01),
    0x3F3504F3, 89.0, -104.0, 10.0, 5,
)  # fmt: skip
FORMATS = {4: SINGLE, 8: DOUBLE}


class Lane:
    """Arithmetic on one format, in all lanes of a register, as the functions below write it."""

    def __init__(self, builder: ir.IRBuilder, register: Register) -> None:
        self.b = builder
        self.register = register
        self.format = FORMATS[register.itemsize]
        self.type = register.type
        self.bits = Register(np.dtype(f"i{register.itemsize}"), register.lanes)
        # Adding it to a number of up to 2**(mantissa - 1) leaves the nearest integer in the lowest bits.
        self.magic = 1.5 * 2.0**self.format.mantissa

    def number(self, value: float) -> ir.Constant:
        return self.register(value)

    def call(self, name: str, *values: ir.Value) -> ir.Value:
        return call_intrinsic(self.b, name, self.register, *values)

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """x * y + z, rounded once."""
        return self.call("llvm.fma", x, y, z)

    def select(self, sign: str, x: ir.Value, bound: float, chosen: ir.Value, other: ir.Value) -> ir.Value:
        """`chosen` where x compares with the bound, else `other`; a nan takes the other."""
        return self.b.select(self.b.fcmp_ordered(sign, x, self.number(bound)), chosen, other)

    def polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """The sum of coefficients[k] * x**k, by Horner's rule."""
        total: ir.Value = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.fma(total, x, self.number(coefficient))
        return total

    def nearest(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The nearest integer to x, as a float and as bits."""
        shifted = self.b.fadd(x, self.number(self.magic))
        integer = self.b.sub(self.b.bitcast(shifted, self.bits.type), self.b.bitcast(self.number(self.magic), self.bits.type))
        return self.b.fsub(shifted, self.number(self.magic)), integer

    def as_float(self, integer: ir.Value) -> ir.Value:
        """A small integer as a float."""
        magic = self.b.bitcast(self.number(self.magic), self.bits.type)
        return self.b.fsub(self.b.bitcast(self.b.add(integer, magic), self.type), self.number(self.magic))

    def power_of_two(self, integer: ir.Value) -> ir.Value:
        """2 ** integer, for exponents of normal numbers."""
        biased = self.b.add(integer, self.bits(self.format.bias))
        return self.b.bitcast(self.b.shl(biased, self.bits(self.format.mantissa)), self.type)

    def reduced(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """n and r with x = n ln 2 + r and abs(r) <= ln(2) / 2."""
        n, integer = self.nearest(self.b.fmul(x, self.number(LOG2_E)))
        high, low = self.format.ln2
        r = self.fma(n, self.number(-low), self.fma(n, self.number(-high), x))
        return integer, r

    def expm1_of_reduced(self, r: ir.Value) -> ir.Value:
        """exp(r) - 1 = r + r**2 / 2 + ..., its first term added last."""
        series = [1 / math.factorial(k) for k in range(2, self.format.terms + 1)]
        return self.fma(self.b.fmul(r, r), self.polynomial(r, series), r)

    def exp(self, x: ir.Value) -> ir.Value:
        high, low = self.format.overflow, self.format.underflow
        held = self.select(">", x, high, self.number(high), self.select("<", x, low, self.number(low), x))
        integer, r = self.reduced(held)
        value = self.b.fadd(self.expm1_of_reduced(r), self.number(1))
        # In two steps, so that results below the normal numbers are rounded once and those above overflow.
        half = self.b.ashr(integer, self.bits(1))
        scaled = self.b.fmul(value, self.power_of_two(half))
        return self.b.fmul(scaled, self.power_of_two(self.b.sub(integer, half)))

    def expm1(self, x: ir.Value) -> ir.Value:
        high, low = self.format.overflow, -50.0
        held = self.select(">", x, high, self.number(high), self.select("<", x, low, self.number(low), x))
        integer, r = self.reduced(held)
        # 2 (s q + (s - 1/2)) with s = 2**(n-1): exact where n is 0, and finite where 2**n alone is not.
        s = self.power_of_two(self.b.sub(integer, self.bits(1)))
        half = self.fma(s, self.expm1_of_reduced(r), self.b.fsub(s, self.number(0.5)))
        # Where the square of x is lost, x is the result: also a signed zero, and the smallest numbers.
        return self.select("<", self.call("llvm.fabs", x), 2.0 ** -(self.format.mantissa + 8), x, self.b.fadd(half, half))

    def tanh(self, x: ir.Value) -> ir.Value:
        b = self.b
        size = self.call("llvm.fabs", x)
        held = self.select(">", size, self.format.saturation, self.number(self.format.saturation), size)
        e = self.expm1(b.fadd(held, held))
        below = b.fadd(e, self.number(2))
        # What rounding left out of e + 2 (Knuth's two-sum), times d/d(below) of e / below, with 1 / below = (1 - t) / 2.
        second = b.fsub(below, e)
        lost = b.fadd(b.fsub(e, b.fsub(below, second)), b.fsub(self.number(2), second))
        t = b.fdiv(e, below)
        slope = b.fmul(self.number(0.5), b.fsub(self.number(1), t))
        return self.call("llvm.copysign", self.fma(b.fneg(b.fmul(t, lost)), slope, t), x)

    def log_of_positive(self, x: ir.Value, rest: ir.Value | None = None) -> ir.Value:
        """log(x), and of x + rest where `rest` / x is far below 1; x is positive, finite and may be subnormal."""
        b, form = self.b, self.format
        smallest = 2.0 ** (1 - form.bias)
        scale = 2.0 ** (form.mantissa + 2)
        small = b.fcmp_ordered("<", x, self.number(smallest))
        bits = b.bitcast(b.select(small, b.fmul(x, self.number(scale)), x), self.bits.type)
        one = form.bias << form.mantissa
        moved = b.add(bits, self.bits(one - form.root_half))
        exponent = b.sub(b.ashr(moved, self.bits(form.mantissa)), self.bits(form.bias))
        exponent = b.sub(exponent, b.select(small, self.bits(form.mantissa + 2), self.bits(0)))
        mantissa = b.add(b.and_(moved, self.bits((1 << form.mantissa) - 1)), self.bits(form.root_half))
        k = self.as_float(exponent)
        f = b.fsub(b.bitcast(mantissa, self.type), self.number(1))
        s = b.fdiv(f, b.fadd(f, self.number(2)))
        z = b.fmul(s, s)
        r = b.fmul(z, self.polynomial(z, form.log_terms))
        half_square = b.fmul(b.fmul(f, f), self.number(0.5))
        high, low = form.ln2
        correction = b.fmul(k, self.number(low))
        if rest is not None:
            correction = b.fadd(correction, b.fdiv(rest, x))
        inner = self.fma(s, b.fadd(half_square, r), correction)
        return self.fma(k, self.number(high), b.fsub(f, b.fsub(half_square, inner)))

    def log(self, x: ir.Value) -> ir.Value:
        return self.with_limits(x, self.log_of_positive(x))

    def with_limits(self, x: ir.Value, value: ir.Value) -> ir.Value:
        """The logarithm `value` of x, and what it is for 0, negative numbers, inf and nan."""
        nan, inf = self.number(math.nan), self.number(math.inf)
        value = self.select("==", x, math.inf, inf, value)
        value = self.select("==", x, 0.0, self.number(-math.inf), value)
        value = self.select("<", x, 0.0, nan, value)
        return self.b.select(self.b.fcmp_unordered("uno", x, x), x, value)

    def log1p(self, x: ir.Value) -> ir.Value:
        b = self.b
        u = b.fadd(x, self.number(1))
        # What rounding left out of u, whichever of x and 1 is larger.
        lost = self.select("<", self.call("llvm.fabs", x), 1.0, b.fsub(x, b.fsub(u, self.number(1))),
                           b.fsub(self.number(1), b.fsub(u, x)))  # fmt: skip
        value = self.with_limits(u, self.log_of_positive(u, lost))
        return self.select("==", x, 0.0, x, value)

    def sine(self, x: ir.Value, quarters: int) -> ir.Value:
        """sin(x + quarters * pi / 2), for x within `WIDE`."""
        b, form = self.b, self.format
        n, integer = self.nearest(b.fmul(x, self.number(2 / math.pi)))
        r = x
        for part in parts_of_half_pi(form.dtype):
            r = self.fma(n, self.number(-part), r)
        z = b.fmul(r, r)
        odd = [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, form.sine_terms)]
        even = [(-1) ** k / math.factorial(2 * k) for k in range(2, form.sine_terms + 1)]
        sine = self.fma(b.fmul(b.fmul(z, r), self.polynomial(z, odd)), self.number(1), r)
        cosine = self.fma(b.fmul(z, z), self.polynomial(z, even), self.fma(z, self.number(-0.5), self.number(1)))
        quadrant = b.add(integer, self.bits(quarters))
        truth = Register(np.dtype(np.bool_), self.register.lanes).type
        is_odd = b.trunc(quadrant, truth)
        value = b.select(is_odd, cosine, sine)
        turned = b.trunc(b.lshr(quadrant, self.bits(1)), truth)
        value = b.select(turned, b.fneg(value), value)
        # sin(-0.0) is -0.0, which the polynomial gives up.
        return self.select("==", x, 0.0, x, value) if quarters == 0 else value

    def sin(self, x: ir.Value) -> ir.Value:
        return self.sine(x, 0)

    def cos(self, x: ir.Value) -> ir.Value:
        return self.sine(x, 1)


def parts_of_half_pi(dtype: np.dtype[Any]) -> list[float]:
    """pi / 2 as a sum of three numbers of the format, each the nearest to what is left.

    Subtracting n times the first is exact, since the difference is below 1 and a multiple of its last bit.
    """
    left = Fraction("1.57079632679489661923132169163975144209858469968755291048747229615390820314310449931401741267")
    parts = []
    for _ in range(3):
        parts.append(float(dtype.type(float(left))))
        left -= Fraction(parts[-1])
    return parts


BINARY = {"arctan2", "hypot", "power", "fmod"}
# Functions whose reduction holds up to an argument of this size; the C library's take over for larger ones.
WIDE = {name: {4: 2.0**13, 8: 2.0**30} for name in ("sin", "cos")}

POLYNOMIALS = {name: getattr(Lane, name) for name in ("exp", "expm1", "tanh", "log", "log1p", "sin", "cos")}


def vector_function(module: ir.Module, name: str, register: Register) -> ir.Function:
    """The function of vectors for an elementary function, by NumPy's name; made once in a module.

    It is a function and not inlined, so that a program's size, and the time to compile it, do not grow with the
    polynomials; the registers saved around a call cost less than a tenth of it.
    """
    full = f"{name}.{register.name}"
    known = module.globals.get(full)
    if known is not None:
        return known
    count = 2 if name in BINARY else 1
    function = ir.Function(module, ir.FunctionType(register.type, [register.type] * count), full)
    function.linkage = "internal"
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block())
    if name in POLYNOMIALS:
        value = POLYNOMIALS[name](Lane(b, register), *function.args)
    else:
        value = OPERATIONS[name][1](b, register, *function.args)
    if name in WIDE:
        value = with_large_arguments(b, name, register, function.args[0], value)
    b.ret(value)
    return function


def with_large_arguments(b: ir.IRBuilder, name: str, register: Register, x: ir.Value, value: ir.Value) -> ir.Value:
    """`value`, or that of the C library if an argument is beyond the reduction's bound."""
    size = call_intrinsic(b, "llvm.fabs", register, x)
    beyond = b.fcmp_ordered(">", size, register(WIDE[name][register.itemsize]))
    bit = ir.IntType(1)
    if register.lanes is not None:
        reduce_name = f"llvm.vector.reduce.or.v{register.lanes}i1"
        reduce = b.module.globals.get(reduce_name) or ir.Function(b.module, ir.FunctionType(bit, [beyond.type]), reduce_name)
        beyond = b.call(reduce, [beyond])
    fast = b.block
    with b.if_then(beyond, likely=False):
        exact = OPERATIONS[name][1](b, register, x)
        slow = b.block
    result = b.phi(register.type)
    result.add_incoming(value, fast)
    result.add_incoming(exact, slow)
    return result
