"""Arithmetic in all lanes of a register, written with Python's operators.

What the elementary functions are made of: values, selections, polynomials, and the sums, products and quotients whose
rounding errors are known. Nothing branches but to the C library, for the rare arguments that are beyond a function, and
nothing converts between integers and floats by instructions that vectors lack: LLVM splits a vector of any
length into what the machine has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.machine.library import call_library
from functrans.compile.machine.registers import Register, call_intrinsic

__all__ = [
    "Format",
    "Pair",
    "Table",
    "Value",
    "copysign",
    "floor",
    "fma",
    "format_of",
    "nearest",
    "polynomial",
    "power_of_two",
    "quotient",
    "rint",
    "sqrt",
    "sum_of_ordered",
    "trunc",
    "two_product",
    "two_sum",
    "unless",
    "where",
]

BOOLEAN = np.dtype(np.bool_)
# Numbers for each format, by its bytes.
Table = Mapping[int, Any]


@dataclass(frozen=True)
class Format:
    """A floating format.

    Attributes:
        mantissa: stored bits of the mantissa.
        bias: of the exponent.
        reciprocal: the bits from which those of a number are subtracted for its reciprocal, to within a twentieth.
    """

    mantissa: int
    bias: int
    reciprocal: int

    @property
    def magic(self) -> float:
        """Adding it to a number of up to 2**(mantissa - 1) leaves the nearest integer in the lowest bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)


FORMATS = {4: Format(23, 127, 0x7EF311C3), 8: Format(52, 1023, 0x7FDE623822FC16E6)}


@dataclass(frozen=True, eq=False)
class Value:
    """A number, an integer or a truth value in each lane; a Python number beside one is the same in all lanes."""

    b: ir.IRBuilder
    register: Register
    value: ir.Value

    def made(self, value: ir.Value, register: Register | None = None) -> Value:
        """What an instruction gives."""
        return Value(self.b, register or self.register, value)

    def like(self, other: Value | float) -> Value:
        """`other`, or the number it is in all lanes."""
        return other if isinstance(other, Value) else self.made(self.register(other))

    def method(self, floating: str, integer: str, other: Value | float) -> Value:
        """What a method of the builder gives, of floats or of integers."""
        name = floating if self.register.kind == "f" else integer
        return self.made(getattr(self.b, name)(self.value, self.like(other).value))

    def __add__(self, other: Value | float) -> Value:
        return self.method("fadd", "add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self.method("fsub", "sub", other)

    def __mul__(self, other: Value | float) -> Value:
        return self.method("fmul", "mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.method("fdiv", "", other)

    def __radd__(self, other: float) -> Value:
        return self.like(other) + self

    def __rsub__(self, other: float) -> Value:
        return self.like(other) - self

    def __rmul__(self, other: float) -> Value:
        return self.like(other) * self

    def __rtruediv__(self, other: float) -> Value:
        return self.like(other) / self

    def __and__(self, other: Value | float) -> Value:
        return self.method("", "and_", other)

    def __or__(self, other: Value | float) -> Value:
        return self.method("", "or_", other)

    def __xor__(self, other: Value | float) -> Value:
        return self.method("", "xor", other)

    def __lshift__(self, other: Value | float) -> Value:
        return self.method("", "shl", other)

    def __rshift__(self, other: Value | float) -> Value:
        return self.method("", "lshr", other)

    def __neg__(self) -> Value:
        return self.made(self.b.fneg(self.value)) if self.register.kind == "f" else 0 - self

    def __invert__(self) -> Value:
        return self ^ (1 if self.register.kind == "b" else -1)

    def __abs__(self) -> Value:
        return self.made(call_intrinsic(self.b, "llvm.fabs", self.register, self.value))

    def compared(self, sign: str, other: Value | float) -> Value:
        """Whether it compares so; no nan does but by ``!=``."""
        b, right = self.b, self.like(other).value
        if self.register.kind != "f":
            truth = b.icmp_signed(sign, self.value, right)
        else:
            truth = (b.fcmp_unordered if sign == "!=" else b.fcmp_ordered)(sign, self.value, right)
        return self.made(truth, Register(BOOLEAN, self.register.lanes))

    def __lt__(self, other: Value | float) -> Value:
        return self.compared("<", other)

    def __le__(self, other: Value | float) -> Value:
        return self.compared("<=", other)

    def __gt__(self, other: Value | float) -> Value:
        return self.compared(">", other)

    def __ge__(self, other: Value | float) -> Value:
        return self.compared(">=", other)

    def __eq__(self, other: Value | float) -> Value:  # type: ignore[override]
        return self.compared("==", other)

    def __ne__(self, other: Value | float) -> Value:  # type: ignore[override]
        return self.compared("!=", other)

    @property
    def bits(self) -> Value:
        """The bits of a number, as an integer."""
        register = Register(np.dtype(f"i{self.register.itemsize}"), self.register.lanes)
        return self.made(self.b.bitcast(self.value, register.type), register)

    @property
    def number(self) -> Value:
        """The number of which an integer is the bits."""
        register = Register(np.dtype(f"f{self.register.itemsize}"), self.register.lanes)
        return self.made(self.b.bitcast(self.value, register.type), register)


# A number as the sum of it rounded and of what rounding left out.
Pair = tuple[Value, Value]


def format_of(x: Value) -> Format:
    """The format of a number, or of one with as many bits."""
    return FORMATS[x.register.itemsize]


def where(condition: Value, x: Value | float, y: Value | float) -> Value:
    """x where the condition holds, else y."""
    one = x if isinstance(x, Value) else y
    assert isinstance(one, Value)
    return one.made(one.b.select(condition.value, one.like(x).value, one.like(y).value))


def fma(x: Value, y: Value | float, z: Value | float) -> Value:
    """x * y + z, rounded once."""
    return x.made(call_intrinsic(x.b, "llvm.fma", x.register, x.value, x.like(y).value, x.like(z).value))


def rint(x: Value) -> Value:
    """The nearest integer, of ties the even one."""
    return x.made(call_intrinsic(x.b, "llvm.rint", x.register, x.value))


def floor(x: Value) -> Value:
    """The largest integer that is not above x."""
    return x.made(call_intrinsic(x.b, "llvm.floor", x.register, x.value))


def trunc(x: Value) -> Value:
    """The integer part."""
    return x.made(call_intrinsic(x.b, "llvm.trunc", x.register, x.value))


def sqrt(x: Value) -> Value:
    """The square root."""
    return x.made(call_intrinsic(x.b, "llvm.sqrt", x.register, x.value))


def copysign(x: Value, y: Value | float) -> Value:
    """x with the sign of y."""
    return x.made(call_intrinsic(x.b, "llvm.copysign", x.register, x.value, x.like(y).value))


def any_lane(truth: Value) -> ir.Value:
    """Whether it is true in any lane."""
    lanes, b = truth.register.lanes, truth.b
    if lanes is None:
        return truth.value
    name = f"llvm.vector.reduce.or.v{lanes}i1"
    known = b.module.globals.get(name)
    reduce = known or ir.Function(b.module, ir.FunctionType(ir.IntType(1), [truth.value.type]), name)
    return b.call(reduce, [truth.value])


def unless(beyond: Value, name: str, arguments: Sequence[Value], value: Value) -> Value:
    """`value`; but the C library's function in all lanes, by NumPy's name, if `beyond` holds in any of them."""
    b, fast = value.b, value.b.block
    with b.if_then(any_lane(beyond), likely=False):
        exact = call_library(b, name, value.register, *(argument.value for argument in arguments))
        slow = b.block
    result = b.phi(value.register.type)
    result.add_incoming(value.value, fast)
    result.add_incoming(exact, slow)
    return value.made(result)


def polynomial(x: Value, terms: Sequence[float] | Table) -> Value:
    """The sum of terms[k] * x**k, by Horner's rule; the terms may differ by format."""
    numbers: Sequence[float] = terms[x.register.itemsize] if isinstance(terms, Mapping) else terms
    total = x.like(numbers[-1])
    for number in reversed(numbers[:-1]):
        total = fma(total, x, number)
    return total


def nearest(x: Value, factor: float = 1.0, offset: int = 0) -> tuple[Value, Value]:
    """The nearest integer to x * factor, as a number, and plus an offset as the low half of an integer's bits."""
    magic = format_of(x).magic + offset
    shifted = x + magic if factor == 1 else fma(x, factor, magic)
    return shifted - magic, shifted.bits


def power_of_two(biased: Value) -> Value:
    """2 ** n from n + bias, for exponents of normal numbers; of the integer's bits only the low half counts."""
    return (biased << format_of(biased).mantissa).number


def two_sum(x: Value, y: Value | float) -> Pair:
    """x + y rounded, and what rounding left out (Knuth, The Art of Computer Programming 2, 4.2.2)."""
    y = x.like(y)
    total = x + y
    second = total - x
    return total, (x - (total - second)) + (y - second)


def sum_of_ordered(x: Value | float, y: Value) -> Pair:
    """x + y rounded, and what rounding left out, where abs(x) >= abs(y) or x is 0 (Dekker 1971)."""
    total = y + x
    return total, y - (total - x)


def two_product(x: Value, y: Value) -> Pair:
    """x * y rounded, and what rounding left out."""
    product = x * y
    return product, fma(x, y, -product)


def quotient(x: Value, y: Value, rest: Value | float = 0.0, more: Value | float = 0.0) -> Value:
    """(x + more) / (y + rest), nearly as if it were rounded once, for normal y with a normal reciprocal and small rests.

    A division takes as long as 30 multiplications here. This one starts from the difference of bits, whose
    error, 0.05, two steps of third order bring to 2e-12; the last step takes what is left of x.
    """
    r = (format_of(y).reciprocal - y.bits).number
    for _ in range(2 if y.register.itemsize == 8 else 1):
        e = fma(-y, r, 1.0)
        r = fma(r, fma(e, e, e), r)
    result = x * r
    left = fma(-result, y, x)
    if isinstance(rest, Value):
        left = fma(-result, rest, left)
    if isinstance(more, Value):
        left = left + more
    return fma(left, r, result)
