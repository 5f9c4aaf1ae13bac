"""The trigonometric functions and their inverses: sin, cos, tan, arcsin, arccos, arctan, arctan2.

Arguments are reduced by multiples of pi / 2 in three parts (Cody and Waite, Software Manual for the Elementary
Functions, 1980), which is right for those up to `WIDE`; for larger ones the C library takes over.
"""

from __future__ import annotations

import math
from fractions import Fraction

from functrans.compile.machine.elementary.lane import (
    Table,
    Value,
    copysign,
    fma,
    format_of,
    nearest,
    polynomial,
    quotient,
    sqrt,
    sum_of_ordered,
    two_product,
    unless,
    where,
)

__all__ = ["arccos", "arcsin", "arctan", "arctan2", "cos", "sin", "tan"]

# The largest arguments of sin, cos and tan.
WIDE: Table = {8: 2.0**30, 4: 2.0**13}
PI_HALF = Fraction("1.57079632679489661923132169163975144209858469968755291048747229615390820314310449931401741267")
# Of r up to pi / 4: (sin(r) - r) / r**3 and (cos(r) - 1 + r**2 / 2) / r**4; up to pi / 8: (tan(r) - r) / r**3; all of r**2.
SIN: Table = {
    8: (-0.16666666666666632, 0.008333333333322484, -0.00019841269829851414, 2.7557313704270785e-06, -2.5050759749448286e-08,
        1.589687748150925e-10),
    4: (-0.166666552, 0.00833219104, -0.000195185843),
}  # fmt: skip
COS: Table = {
    8: (0.0416666666666666, -0.001388888888887447, 2.480158728966682e-05, -2.7557314399206224e-07, 2.087572898148712e-09,
        -1.1359916448480545e-11),
    4: (0.0416666456, -0.00138873013, 2.44307175e-05),
}  # fmt: skip
TAN: Table = {
    8: (0.3333333333333351, 0.1333333333328796, 0.05396825400855735, 0.02186948678297386, 0.00886327858725536,
        0.0035914914650028414, 0.0014615982122476096, 0.0005589511518653467, 0.00032898249130368633),
    4: (0.333332926, 0.13335894, 0.053473521, 0.0255661942),
}  # fmt: skip
# (arcsin(x) - x) / x**3 for x up to 1 / 2 and (arctan(x) - x) / x**3 for x up to 1, of x**2.
ARCSIN: Table = {
    8: (0.16666666666666763, 0.07499999999970129, 0.0446428571752545, 0.030381942676892048, 0.0223722158580161,
        0.01735159640043314, 0.013981007300172366, 0.011397388322045395, 0.010788769730712897, 0.00367432944244259,
        0.0217852887465869, -0.021108947003431452, 0.03269718833172223),
    4: (0.166666597, 0.0750052109, 0.0445136391, 0.0318359993, 0.0143294986, 0.0376725495),
}  # fmt: skip
ARCTAN: Table = {
    8: (-0.3333333333333307, 0.19999999999951745, -0.14285714282584097, 0.11111111007111953, -0.09090907001955492,
        0.07692279802585081, -0.06666403587081512, 0.05880524131990578, -0.05253498651496663, 0.04722243814449873,
        -0.04218947076130801, 0.03663667727893029, -0.029894775206232467, 0.021972730396825995, -0.013888214272171922,
        0.007187076896586229, -0.0028796924375997244, 0.0008293348804668978, -0.00015169746678990605, 1.3175092356987785e-05),
    4: (-0.333332986, 0.199985296, -0.142640144, 0.109508604, -0.0839920267, 0.0578787364, -0.031093372, 0.0108661791,
        -0.00178212463),
}  # fmt: skip


def parts_of_half_pi(x: Value, count: int) -> list[float]:
    """pi / 2 as a sum of numbers of the format of x, each the nearest to what is left.

    Subtracting n times the first is exact, since the difference is below 1 and a multiple of its last bit.
    """
    left, parts = PI_HALF, []
    for _ in range(count):
        parts.append(float(x.register.dtype.type(float(left))))
        left -= Fraction(parts[-1])
    return parts


def reduced(x: Value, quarters: int) -> tuple[Value, Value]:
    """r with x = n pi / 2 + r and abs(r) <= pi / 4, and n + quarters as an integer."""
    n, integer = nearest(x, 2 / math.pi, quarters)
    r = x
    for part in parts_of_half_pi(x, 3):
        r = fma(n, -part, r)
    return r, integer


def reduced_with_rest(x: Value) -> tuple[Value, Value, Value]:
    """r, what rounding left out of it, and n as an integer."""
    n, integer = nearest(x, 2 / math.pi)
    first, second, third = parts_of_half_pi(x, 3)
    product, lost = two_product(n, n.like(-second))
    # The difference, if not larger than the product, is a multiple of its last place, which does as well.
    r, left = sum_of_ordered(fma(n, -first, x), product)
    return *sum_of_ordered(r, left + fma(n, -third, lost)), integer


def sine(x: Value, quarters: int) -> Value:
    """sin(x + quarters * pi / 2), for x up to `WIDE`."""
    r, n = reduced(x, quarters)
    z = r * r
    odd = fma(z * r, polynomial(z, SIN), r)
    even = fma(z * z, polynomial(z, COS), fma(z, -0.5, 1.0))
    value = where((n & 1) != 0, even, odd)
    return where((n & 2) != 0, -value, value)


def unless_wide(name: str, x: Value, value: Value) -> Value:
    """`value`, or that of the C library if an argument is beyond the reduction's bound."""
    return unless(abs(x) > WIDE[x.register.itemsize], name, [x], value)


def sin(x: Value) -> Value:
    """The sine."""
    # sin(-0.0) is -0.0, which the polynomial gives up.
    return unless_wide("sin", x, where(x == 0, x, sine(x, 0)))


def cos(x: Value) -> Value:
    """The cosine."""
    return unless_wide("cos", x, sine(x, 1))


def tan(x: Value) -> Value:
    """By tan(2 h) = 2 t / (1 - t**2) where t = tan(h), and the negative inverse of it in every other quadrant."""
    r, rest, n = reduced_with_rest(x)
    h = r * 0.5
    z = h * h
    t, lost = sum_of_ordered(h, z * h * polynomial(z, TAN))
    lost = fma(rest, 0.5, lost)
    sine, cosine = t + t, fma(-t, t, 1.0)
    sine_rest, cosine_rest = lost + lost, fma(t, -2.0 * lost, fma(-t, t, 1 - cosine))
    is_odd = (n & 1) != 0
    above, above_rest = where(is_odd, -cosine, sine), where(is_odd, -cosine_rest, sine_rest)
    value = quotient(above, where(is_odd, sine, cosine), where(is_odd, sine_rest, cosine_rest), above_rest)
    return unless_wide("tan", x, where(abs(x) < 2.0 ** -format_of(x).mantissa, x, value))


def arcsin(x: Value) -> Value:
    """The inverse of the sine: by arcsin(x) = pi / 2 - 2 arcsin(sqrt((1 - x) / 2)) where x is above 1 / 2."""
    size = abs(x)
    is_large = size > 0.5
    z = where(is_large, fma(size, -0.5, 0.5), x * x)
    s = where(is_large, sqrt(z), size)
    rest = s * z * polynomial(z, ARCSIN)
    high, low = parts_of_half_pi(x, 2)
    first, left = sum_of_ordered(high, -2 * s)
    return copysign(where(is_large, first, s) + where(is_large, left + (low - 2 * rest), rest), x)


def arccos(x: Value) -> Value:
    """The inverse of the cosine."""
    size = abs(x)
    is_large = size > 0.5
    z = where(is_large, fma(size, -0.5, 0.5), x * x)
    s = where(is_large, sqrt(z), x)
    value = fma(s * z, polynomial(z, ARCSIN), s)
    high, low = parts_of_half_pi(x, 2)
    near_one = where(x < 0, 2 * high - (2 * value - 2 * low), 2 * value)
    return where(is_large, near_one, high - (value - low))


def arctan_of_unit(t: Value, is_inverse: Value) -> Value:
    """arctan(t) of t between 0 and 1, or of 1 / t."""
    z = t * t
    value = fma(t * z, polynomial(z, ARCTAN), t)
    high, low = parts_of_half_pi(t, 2)
    return where(is_inverse, high - (value - low), value)


def arctan(x: Value) -> Value:
    """The inverse of the tangent."""
    size = abs(x)
    is_steep = size > 1
    t = where(is_steep, 1.0, size) / where(is_steep, size, 1.0)
    return copysign(arctan_of_unit(t, is_steep), x)


def arctan2(y: Value, x: Value) -> Value:
    """The angle of the point (x, y)."""
    height, width = abs(y), abs(x)
    is_steep = height > width
    smaller, larger = where(is_steep, width, height), where(is_steep, height, width)
    is_zero = larger == 0
    t = where((smaller == larger) & ~is_zero, 1.0, smaller / where(is_zero, 1.0, larger))
    value = arctan_of_unit(t, is_steep)
    high, low = parts_of_half_pi(x, 2)
    return copysign(where(x.bits < 0, 2 * high - (value - 2 * low), value), y)
