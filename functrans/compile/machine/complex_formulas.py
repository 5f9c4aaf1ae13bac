"""Formulas of complex numbers in their parts, as NumPy has them.

Products are taken as written, quotients by Smith's method (Algorithm 116: Complex division, 1962); numbers are
ordered by their real parts, those with equal ones by their imaginary parts; special values come out as in C99.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from functrans.compile.loops import Compute, Constant, Operand, Scalar, Statement

__all__ = ["FORMULAS", "Complex", "Real", "converted", "part_dtype"]

BOOLEAN, FLOAT32, FLOAT64 = np.dtype(np.bool_), np.dtype(np.float32), np.dtype(np.float64)


def part_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the parts of a complex dtype."""
    return FLOAT32 if dtype.itemsize == 8 else FLOAT64


@dataclass(frozen=True)
class Real:
    """A real scalar, arithmetic on which adds statements to `body`."""

    operand: Operand
    body: list[Statement]

    def compute(self, operation: str, *others: Real | float, dtype: np.dtype[Any] | None = None) -> Real:
        """An operation on it and others."""
        own = self.operand.dtype
        operands = [other.operand if isinstance(other, Real) else Constant(other, own) for other in (self, *others)]
        target = Scalar(dtype or own)
        self.body.append(Compute(target, operation, tuple(operands)))
        return Real(target, self.body)

    def converted(self, dtype: np.dtype[Any]) -> Real:
        """It as another dtype."""
        return self if self.operand.dtype == dtype else self.compute("convert", dtype=dtype)

    def number(self, value: float, dtype: np.dtype[Any] | None = None) -> Real:
        """A number of its dtype, or of another."""
        return Real(Constant(value, dtype or self.operand.dtype), self.body)

    def __add__(self, other: Real | float) -> Real:
        return self.compute("add", other)

    def __sub__(self, other: Real | float) -> Real:
        return self.compute("subtract", other)

    def __mul__(self, other: Real | float) -> Real:
        return self.compute("multiply", other)

    def __truediv__(self, other: Real | float) -> Real:
        return self.compute("divide", other)

    def __neg__(self) -> Real:
        return self.compute("negative")

    def __abs__(self) -> Real:
        return self.compute("absolute")

    def __lt__(self, other: Real | float) -> Real:
        return self.compute("less", other, dtype=BOOLEAN)

    def __gt__(self, other: Real | float) -> Real:
        return self.compute("greater", other, dtype=BOOLEAN)

    def __ge__(self, other: Real | float) -> Real:
        return self.compute("greater_equal", other, dtype=BOOLEAN)

    def __and__(self, other: Real) -> Real:
        return self.compute("logical_and", other)

    def __or__(self, other: Real) -> Real:
        return self.compute("logical_or", other)

    def __invert__(self) -> Real:
        return self.compute("logical_not")


class Complex(NamedTuple):
    """The parts of a complex scalar."""

    real: Real
    imag: Real


def same(x: Real, y: Real | float) -> Real:
    """Whether two numbers are equal."""
    return x.compute("equal", y, dtype=BOOLEAN)


def test(name: str, x: Real) -> Real:
    """``isnan``, ``isinf`` or ``isfinite``."""
    return x.compute(name, dtype=BOOLEAN)


def choose(condition: Real, x: Real, y: Real | float) -> Real:
    """x where a condition holds, else y."""
    return condition.compute("where", x, x.number(y) if not isinstance(y, Real) else y, dtype=x.operand.dtype)


def multiply(x: Complex, y: Complex) -> Complex:
    return Complex(x.real * y.real - x.imag * y.imag, x.real * y.imag + x.imag * y.real)


def multiply_add(x: Complex, y: Complex, z: Complex) -> Complex:
    """x * y + z, the terms of which may be taken in any order."""
    real = x.real.compute("multiply_add", y.real, (-x.imag).compute("multiply_add", y.imag, z.real))
    return Complex(real, x.real.compute("multiply_add", y.imag, x.imag.compute("multiply_add", y.real, z.imag)))


def divide(x: Complex, y: Complex) -> Complex:
    is_wide = abs(y.real) >= abs(y.imag)
    large, small = choose(is_wide, y.real, y.imag), choose(is_wide, y.imag, y.real)
    ratio = small / large
    scale = ratio.number(1) / (large + small * ratio)
    real = (choose(is_wide, x.real, x.imag) + choose(is_wide, x.imag, x.real) * ratio) * scale
    imag = choose(is_wide, x.imag - x.real * ratio, x.imag * ratio - x.real) * scale
    is_zero = same(y.real, 0) & same(y.imag, 0)
    return Complex(choose(is_zero, x.real * math.inf, real), choose(is_zero, x.imag * math.inf, imag))


def reciprocal(x: Complex) -> Complex:
    is_wide = abs(x.real) >= abs(x.imag)
    large, small = choose(is_wide, x.real, x.imag), choose(is_wide, x.imag, x.real)
    ratio = small / large
    size = large + small * ratio
    one, part = size.number(1) / size, ratio / size
    return Complex(choose(is_wide, one, part), -choose(is_wide, part, one))


def exp(x: Complex) -> Complex:
    """e**x as C99 has it; where e**x.real alone may overflow, a part of it is multiplied in later."""
    most = 88.0 if x.real.operand.dtype == FLOAT32 else 709.0
    is_large = x.real > most
    size = choose(is_large, x.real - most, x.real).compute("exp")
    rest = choose(is_large, x.real.number(math.exp(most)), 1)
    real, imag = (size * (rest * x.imag.compute(name)) for name in ("cos", "sin"))
    is_limit = test("isinf", x.real) & ~test("isfinite", x.imag)
    imag = choose(is_limit & (x.real < 0), size, imag)
    return Complex(choose(is_limit, size, real), choose(same(x.imag, 0), x.imag, imag))


def masked_multiply(x: Complex, y: Complex) -> Complex:
    product = multiply(x, y)
    vanishes = (~truth(x) | ~truth(y)) & is_nan(product)
    return Complex(*(choose(vanishes, part.number(0), part) for part in product))


def truth(x: Complex | Real) -> Real:
    """Whether x is not 0."""
    parts = [part.compute("not_equal", 0, dtype=BOOLEAN) for part in (x if isinstance(x, Complex) else (x,))]
    return parts[0] | parts[1] if len(parts) == 2 else parts[0]


def is_nan(x: Complex) -> Real:
    return test("isnan", x.real) | test("isnan", x.imag)


def ordered(comparison: str) -> Callable[[Complex, Complex], Real]:
    """A comparison, ``less`` or ``greater``, with ``_equal`` or without."""

    def compare(x: Complex, y: Complex) -> Real:
        first = x.real.compute(comparison.removesuffix("_equal"), y.real, dtype=BOOLEAN)
        known = ~(test("isnan", x.imag) | test("isnan", y.imag))
        return first & known | same(x.real, y.real) & x.imag.compute(comparison, y.imag, dtype=BOOLEAN)

    return compare


def extremum(comparison: str, wins: Callable[[Complex, Complex], Real]) -> Callable[[Complex, Complex], Complex]:
    """x where it compares with y or `wins`, else y."""
    return lambda x, y: chosen(ordered(comparison)(x, y) | wins(x, y), x, y)


def chosen(condition: Real, x: Complex, y: Complex) -> Complex:
    """x where a condition holds, else y."""
    return Complex(choose(condition, x.real, y.real), choose(condition, x.imag, y.imag))


def equal(x: Complex, y: Complex) -> Real:
    return same(x.real, y.real) & same(x.imag, y.imag)


def by_parts(operation: str) -> Callable[[Complex, Complex], Complex]:
    """An operation on the real parts, and on the imaginary ones."""
    return lambda x, y: Complex(x.real.compute(operation, y.real), x.imag.compute(operation, y.imag))


# By NumPy's name, from the parts of the operands to those of the result; conversions are apart.
FORMULAS: dict[str, Callable[..., Complex | Real]] = {
    "add": by_parts("add"),
    "subtract": by_parts("subtract"),
    "left_out": by_parts("left_out"),
    "corrected": by_parts("corrected"),
    "multiply": multiply,
    "multiply_add": multiply_add,
    "masked_multiply": masked_multiply,
    "divide": divide,
    "reciprocal": reciprocal,
    "square": lambda x: multiply(x, x),
    "negative": lambda x: Complex(-x.real, -x.imag),
    "positive": lambda x: x,
    "conjugate": lambda x: Complex(x.real, -x.imag),
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "absolute": lambda x: x.real.compute("hypot", x.imag),
    "exp": exp,
    "where": chosen,
    "maximum": extremum("greater_equal", lambda x, y: is_nan(x)),
    "minimum": extremum("less_equal", lambda x, y: is_nan(x)),
    "fmax": extremum("greater_equal", lambda x, y: is_nan(y)),
    "fmin": extremum("less_equal", lambda x, y: is_nan(y)),
    "less": ordered("less"),
    "less_equal": ordered("less_equal"),
    "greater": ordered("greater"),
    "greater_equal": ordered("greater_equal"),
    "equal": equal,
    "not_equal": lambda x, y: ~equal(x, y),
    "isnan": is_nan,
    "isinf": lambda x: test("isinf", x.real) | test("isinf", x.imag),
    "isfinite": lambda x: test("isfinite", x.real) & test("isfinite", x.imag),
    "logical_and": lambda x, y: truth(x) & truth(y),
    "logical_or": lambda x, y: truth(x) | truth(y),
    "logical_xor": lambda x, y: truth(x).compute("logical_xor", truth(y)),
    "logical_not": lambda x: ~truth(x),
}


def converted(x: Complex | Real, dtype: np.dtype[Any]) -> Complex | Real:
    """x as another dtype; if that is complex and x is not, with an imaginary part of 0."""
    if dtype.kind == "b":
        return truth(x)
    part = part_dtype(dtype)
    if isinstance(x, Complex):
        return Complex(x.real.converted(part), x.imag.converted(part))
    return Complex(x.converted(part), x.number(0, part))
