"""Powers and roots: power, cbrt, hypot."""

from __future__ import annotations

import math

from functrans.compile.machine.elementary.exponential import exp_of_reduced, held, scaled
from functrans.compile.machine.elementary.lane import (
    Pair,
    Table,
    Value,
    copysign,
    fma,
    format_of,
    nearest,
    polynomial,
    power_of_two,
    quotient,
    rint,
    sqrt,
    sum_of_ordered,
    two_product,
    where,
)
from functrans.compile.machine.elementary.logarithm import LOG2_E, taken_apart

__all__ = ["cbrt", "hypot", "power"]

# (arctanh(s) / s - 1 - s**2 / 3) / s**4 as a function of s**2.
ARCTANH: Table = {
    8: (0.2000000000000113, 0.14285714285048398, 0.11111111260221207, 0.09090892159864644, 0.07693379800222276,
        0.06628381475604646, 0.0659842752966),
    4: (0.200000763, 0.142735437, 0.11709886),
}  # fmt: skip
THIRD: Table = {8: (0.3333333333333333, 1.850371707708594e-17), 4: (0.3333333432674407958984375, -9.93410746e-09)}
# The inverse of the cube root between the roots of 1 / 2 and 2, to 3e-4.
INVERSE_CBRT = (1.73070514, -1.28571606, 0.713322997, -0.158532992)
# Beyond which, or below whose inverse, numbers are multiplied by what, to be squared.
SCALE: Table = {8: (2.0**500, 2.0**800), 4: (2.0**60, 2.0**100)}


def log2_of(x: Value) -> Pair:
    """The logarithm to base 2 of a positive number, to 2**-66 of it, or 2**-36 in float32."""
    k, m, _ = taken_apart(x)
    f = m - 1
    y, lost = sum_of_ordered(2.0, f)
    s = quotient(f, y, lost)
    rest = (fma(-s, y, f) - s * lost) / y
    z, z_rest = two_product(s, s)
    z_rest = fma(s, rest + rest, z_rest)
    third, third_rest = THIRD[x.register.itemsize]
    # arctanh(s) = s (1 + a), with a = z / 3 + z**2 (1/5 + ...)
    a, a_rest = two_product(z, z.like(third))
    a_rest = fma(z, third_rest, fma(z_rest, third, a_rest)) + z * z * polynomial(z, ARCTANH)
    product, lost = two_product(s, a)
    high, low = sum_of_ordered(s, product)
    low = low + (fma(s, a_rest, lost) + fma(rest, a, rest))
    factor, factor_rest = (2 * number for number in LOG2_E[x.register.itemsize])
    product, lost = two_product(high, high.like(factor))
    total, left = sum_of_ordered(k, product)
    return sum_of_ordered(total, left + fma(low, factor, fma(high, factor_rest, lost)))


def power(x: Value, y: Value) -> Value:
    """x**y, with the special values of C99."""
    form, size = format_of(x), abs(x)
    high, low = log2_of(size)
    high = where(size == 0, -math.inf, where(size < math.inf, high, size))
    # Held, so that an infinite power of 1 is 1.
    held_y = held(y, -(2.0 ** (form.bias - 24)), 2.0 ** (form.bias - 24))
    exponent = high * held_y
    rest = fma(high, held_y, -exponent) + low * held_y
    largest = form.bias + form.mantissa + 2.0
    rest = where(abs(exponent) < largest, rest, 0.0)
    exponent = held(exponent, -largest, largest)
    n, integer = nearest(exponent, offset=2 * form.bias)
    value = scaled(exp_of_reduced(((exponent - n) + rest) * math.log(2)), integer)
    is_integer = rint(y) == y
    is_odd = is_integer & (rint(y * 0.5) != y * 0.5)
    value = where(is_odd, copysign(value, x), value)
    value = where((x < 0) & ~is_integer & (size < math.inf), math.nan, value)
    return where((y == 0) | (x == 1), 1.0, value)


def cbrt(x: Value) -> Value:
    """The cube root: its inverse by a step of fourth order from a polynomial, and a step of Newton's method for the root."""
    size = abs(x)
    k, m, _ = taken_apart(size)
    third, integer = nearest(k, 1 / 3, format_of(x).bias)
    left = fma(third, -3.0, k)
    is_above, is_below = left > 0, left < 0
    y = polynomial(m, INVERSE_CBRT) * where(is_above, 0.5 ** (1 / 3), where(is_below, x.like(2.0 ** (1 / 3)), 1.0))
    m = m * where(is_above, 2.0, where(is_below, x.like(0.5), 1.0))
    # With e = 1 - m y**3 the inverse root is y (1 - e)**(-1/3).
    e = fma(m * y, -(y * y), 1.0)
    y = fma(y * e, polynomial(e, (1 / 3, 2 / 9, 14 / 81)), y)
    root = m * (y * y)
    square, lost = two_product(root, root)
    error = fma(-lost, root, fma(-square, root, m))
    value = fma(error * y, y * (1 / 3), root) * power_of_two(integer)
    return where((size > 0) & (size < math.inf), copysign(value, x), x)


def hypot(x: Value, y: Value) -> Value:
    """The square root of x**2 + y**2, scaled where a square would overflow or be lost."""
    width, height = abs(x), abs(y)
    larger, smaller = where(width > height, width, height), where(width > height, height, width)
    bound, factor = SCALE[x.register.itemsize]
    is_large, is_small = larger > bound, larger < 1 / bound
    scale = where(is_large, 1 / factor, where(is_small, x.like(factor), 1.0))
    larger, smaller = larger * scale, smaller * scale
    value = sqrt(fma(larger, larger, smaller * smaller)) * where(is_large, factor, where(is_small, x.like(1 / factor), 1.0))
    return where((width == math.inf) | (height == math.inf), math.inf, value)
