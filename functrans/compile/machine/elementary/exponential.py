"""The exponential function and those made of it: exp, exp2, expm1, sinh, cosh, tanh, expit.

Arguments are reduced to within ln(2) / 2 as by Cody and Waite (Software Manual for the Elementary Functions, 1980).
"""

from __future__ import annotations

import math

from functrans.compile.machine.elementary.lane import (
    Table,
    Value,
    copysign,
    fma,
    format_of,
    nearest,
    polynomial,
    power_of_two,
    quotient,
    sum_of_ordered,
    where,
)

__all__ = ["cosh", "exp", "exp2", "exp_of_reduced", "expit", "expm1", "held", "reduced", "scaled", "series", "sinh", "tanh"]

LOG2_E = 1.4426950408889634
# The logarithm of 2 as a number with few bits and a rest; and half of it to the last place, with a rest.
LN2: Table = {8: (6.93147180369123816490e-01, 1.90821492927058770002e-10), 4: (6.9314575195e-01, 1.4286067653e-06)}
HALF_LN2: Table = {8: (0.34657359027997264, 1.1595234070172455e-17), 4: (0.3465735912322998, -9.523272638757e-10)}
# (sinh(r) - r) / r**3 and (cosh(r) - 1 - r**2 / 2) / r**4 as functions of r**2, for r up to ln(2) / 2.
SINH: Table = {
    8: (0.16666666666666677, 0.008333333333321386, 0.0001984126988681597, 2.7557243451436223e-06, 2.5109321292070794e-08),
    4: (0.166666672, 0.00833317544, 0.000199741015),
}
COSH: Table = {
    8: (0.04166666666660269, 0.0013888888927317742, 2.4801508022003404e-05, 2.762545039280159e-07),
    4: (0.0416664593, 0.00139354286),
}
# (tanh(r) - r) / r**3 as a function of r**2, for r up to ln(2) / 4.
TANH: Table = {
    8: (-0.3333333333333248, 0.1333333333278196, -0.05396825277866205, 0.021869370450195397, -0.008857299509899367,
        0.003444719192478702),
    4: (-0.333333224, 0.133311406, -0.0527145229),
}  # fmt: skip
# Beyond these exp is inf or 0, and tanh is 1.
OVERFLOW: Table = {8: 710.0, 4: 89.0}
UNDERFLOW: Table = {8: -746.0, 4: -104.0}
SATURATION: Table = {8: 20.0, 4: 10.0}


def held(x: Value, low: float, high: float) -> Value:
    """x brought between two bounds; a nan stays."""
    x = where(x > high, high, x)
    return where(x < low, low, x)


def reduced(x: Value, offset: int) -> tuple[Value, Value]:
    """n, plus an offset as an integer, and r with x = n ln 2 + r and abs(r) <= ln(2) / 2."""
    n, integer = nearest(x, LOG2_E, offset)
    high, low = LN2[x.register.itemsize]
    return integer, fma(n, -low, fma(n, -high, x))


def series(r: Value) -> tuple[Value, Value]:
    """z and w with exp(r) = 1 + r + z w, where z is r**2 and w about 1/2."""
    z = r * r
    return z, fma(r, polynomial(z, SINH), fma(z, polynomial(z, COSH), 0.5))


def exp_of_reduced(r: Value) -> Value:
    """exp(r)."""
    z, w = series(r)
    return fma(z, w, r) + 1


def scaled(x: Value, n: Value) -> Value:
    """x * 2**n from n + 2 bias: in two steps, so that what is below the normal numbers is rounded once, and above is inf."""
    half = n >> 1
    return x * power_of_two(half) * power_of_two(n - half)


def exp(x: Value) -> Value:
    """exp(x)."""
    size = x.register.itemsize
    n, r = reduced(held(x, UNDERFLOW[size], OVERFLOW[size]), 2 * format_of(x).bias)
    return scaled(exp_of_reduced(r), n)


def exp2(x: Value) -> Value:
    """2**x."""
    form = format_of(x)
    x = held(x, -form.bias - form.mantissa - 1.0, form.bias + 1.0)
    n, integer = nearest(x, offset=2 * form.bias)
    return scaled(exp_of_reduced((x - n) * math.log(2)), integer)


def expm1(x: Value) -> Value:
    """exp(x) - 1."""
    form = format_of(x)
    n, r = reduced(held(x, -50.0, OVERFLOW[x.register.itemsize]), form.bias - 1)
    # 2 (s exp(r) - 1/2) with s = 2**(n-1), which is finite where 2**n is not; what z w is added to is nearly exact.
    s = power_of_two(n)
    z, w = series(r)
    half = fma(s * z, w, fma(s, r, s - 0.5))
    # Where the square of x is lost, x is the result: also a signed zero, and the smallest numbers.
    return where(abs(x) < 2.0 ** -(form.mantissa + 8), x, half + half)


def tanh(x: Value) -> Value:
    """By tanh(a + r) = (tanh a + tanh r) / (1 + tanh a tanh r), where a = n ln(2) / 2 and tanh a = (s - 1) / (s + 1)."""
    size, saturation = abs(x), SATURATION[x.register.itemsize]
    size = where(size > saturation, saturation, size)
    n, integer = nearest(size, 2 * LOG2_E, format_of(x).bias)
    high, low = HALF_LN2[x.register.itemsize]
    r = fma(n, -high, size)
    z = r * r
    t = r + fma(r * z, polynomial(z, TANH), n * -low)
    s = power_of_two(integer)
    below, above = s - 1, s + 1
    y = fma(below, t, above)
    # What rounding left out of y, also where it left out 1.
    rest = fma(below, t, (s - y) + 1)
    return copysign(quotient(fma(above, t, below), y, rest), x)


def halves(x: Value) -> tuple[Value, Value, Value]:
    """sinh(a) / 2, cosh(a) / 2 and r with x = a + r and a = n ln 2, for x at least 0: halves, since they do not overflow."""
    form, largest = format_of(x), OVERFLOW[x.register.itemsize] + 0.6
    n, r = reduced(where(x > largest, largest, x), form.bias - 2)
    # The exponent of exp(-a) / 4, which is held at that of the smallest normal number.
    falling = 2 * form.bias - 4 - (n & (2 * form.bias + 1))
    rising, falling = power_of_two(n), power_of_two(where(falling < 1, 1, falling))
    return rising - falling, rising + falling, r


def turned(x: Value, y: Value, r: Value) -> Value:
    """x cosh(r) + y sinh(r), for r up to ln(2) / 2 and abs(x) above abs(y r), or 0."""
    z = r * r
    first = fma(y, r, x)
    left = fma(y, r, x - first)
    return first + fma(y, r * z * polynomial(z, SINH), fma(x, z * fma(z, polynomial(z, COSH), 0.5), left))


def sinh(x: Value) -> Value:
    """By sinh(a + r) = sinh a cosh r + cosh a sinh r, where a = n ln 2, so that sinh a and cosh a are exact or nearly so."""
    sinh_a, cosh_a, r = halves(abs(x))
    half = turned(sinh_a, cosh_a, r)
    return where(abs(x) < 2.0 ** -format_of(x).mantissa, x, copysign(half + half, x))


def cosh(x: Value) -> Value:
    """By cosh(a + r) = cosh a cosh r + sinh a sinh r, where a = n ln 2."""
    sinh_a, cosh_a, r = halves(abs(x))
    half = turned(cosh_a, sinh_a, r)
    return half + half


def expit(x: Value) -> Value:
    """1 / (1 + exp(-x)), as exp(x) / (1 + exp(x)) where x is negative."""
    e = exp(-abs(x))
    y, rest = sum_of_ordered(1.0, e)
    return quotient(where(x < 0, e, x.like(1.0)), y, rest)
