"""The logarithm and those made of it: log, log2, log10, log1p, logaddexp, logaddexp2, arcsinh, arccosh, arctanh, logit, xlogy.

All take x apart as 2**k (1 + f), and the logarithm of 1 + f as fdlibm does (Sun Microsystems, 1993). What the
others take the logarithm of is a sum of two numbers, so that the result is exact where it is near 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from functrans.compile.machine.elementary.exponential import LN2, exp, exp2
from functrans.compile.machine.elementary.lane import (
    Pair,
    Table,
    Value,
    copysign,
    fma,
    format_of,
    polynomial,
    power_of_two,
    sqrt,
    sum_of_ordered,
    two_product,
    two_sum,
    where,
)

__all__ = [
    "arccosh",
    "arcsinh",
    "arctanh",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logaddexp2",
    "logit",
    "taken_apart",
    "xlogy",
]

# (log(1 + f) - 2 s) / s as a function of z = s**2, without the first power, where s = f / (2 + f); by fdlibm.
LOGARITHM: Table = {
    8: (6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
        1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01),
    4: (6.6666662693e-01, 4.0000972152e-01, 2.8498786688e-01, 2.4279078841e-01),
}  # fmt: skip
ROOT_HALF: Table = {8: 0x3FE6A09E667F3BCD, 4: 0x3F3504F3}
# 1 / ln 2 and 1 / ln 10 to twice the precision, and the logarithm to base 10 of 2 as a number with few bits and a rest.
LOG2_E: Table = {8: (1.4426950408889634, 2.0355273740931033e-17), 4: (1.44269502162933349609375, 1.92596299112661746887e-8)}
LOG10_E: Table = {8: (0.4342944819032518, 1.098319650216765e-17), 4: (0.4342944920063018798828125, -1.010305009e-08)}
LOG10_2: Table = {8: (3.01029995663611771306e-01, 3.69423907715893078616e-13), 4: (3.0102920532e-01, 7.9034151668e-07)}
# Beyond it the square root of x**2 + 1, or - 1, is x to the last place.
SQUARE_ROOTS_END: Table = {8: 2.0**28, 4: 2.0**13}


@dataclass(frozen=True)
class Parts:
    """log(x) = k ln 2 + (f - (square - tail)), where x = 2**k (1 + f) and `square` is f**2 / 2."""

    k: Value
    f: Value
    square: Value
    tail: Value

    def natural(self) -> Value:
        """The natural logarithm."""
        high, low = LN2[self.f.register.itemsize]
        return fma(self.k, high, self.f - (self.square - fma(self.k, low, self.tail)))

    def based(self, unit: tuple[float, float], factor: tuple[float, float]) -> Value:
        """The logarithm to another base, from that of 2 and the factor by which it differs from the natural one."""
        high = self.f - self.square
        low = (self.f - high) - self.square + self.tail
        product, rest = two_product(high, high.like(factor[0]))
        rest = fma(low, factor[0], fma(high, factor[1], fma(self.k, unit[1], rest)))
        total, left = sum_of_ordered(self.k * unit[0], product)
        return total + (left + rest)

    def doubled_where(self, condition: Value) -> Parts:
        """The parts of 2 x where the condition holds."""
        return Parts(where(condition, self.k + 1, self.k), self.f, self.square, self.tail)


def taken_apart(x: Value) -> tuple[Value, Value, Value]:
    """k and m with x = 2**k m and m between the roots of 1/2 and 2, of positive and finite x; and k + bias, if x is normal."""
    form, root_half = format_of(x), ROOT_HALF[x.register.itemsize]
    small = x < form.tiny
    bits = where(small, x * 2.0 ** (form.mantissa + 2), x).bits + ((form.bias << form.mantissa) - root_half)
    biased = bits >> form.mantissa
    k = (biased + x.like(form.magic).bits).number - (form.magic + form.bias)
    m = ((bits & ((1 << form.mantissa) - 1)) + root_half).number
    return where(small, k - (form.mantissa + 2), k), m, biased


def parts_of(x: Value, rest: Value | None = None) -> Parts:
    """The parts of log(x), or log(x + rest) with a rest that is at most what rounding left out; x is positive and finite."""
    k, m, biased = taken_apart(x)
    f = m - 1
    s = f / (f + 2)
    z = s * s
    square = f * (f * 0.5)
    tail = s * fma(z, polynomial(z, LOGARITHM), square)
    if rest is not None:
        # rest / x: of 1 / (1 + f) three terms of its series in s do, since `rest` is below the last place of f.
        inverse = fma(s, s - 1, 0.5)
        tail = fma(rest * power_of_two(2 * format_of(x).bias + 1 - biased), inverse, tail)
    return Parts(k, f, square, tail)


def with_limits(x: Value, value: Value) -> Value:
    """The logarithm `value` of x, and what it is for 0, negative numbers, inf and nan."""
    value = where(x > 0, value, where(x == 0, x.like(-math.inf), math.nan))
    return where(x == math.inf, x, value)


def log(x: Value) -> Value:
    """The natural logarithm."""
    return with_limits(x, parts_of(x).natural())


def log2(x: Value) -> Value:
    """The logarithm to base 2."""
    return with_limits(x, parts_of(x).based((1.0, 0.0), LOG2_E[x.register.itemsize]))


def log10(x: Value) -> Value:
    """The logarithm to base 10."""
    size = x.register.itemsize
    return with_limits(x, parts_of(x).based(LOG10_2[size], LOG10_E[size]))


def log1p(x: Value) -> Value:
    """log(1 + x)."""
    y, rest = two_sum(x, 1.0)
    return copysign(with_limits(y, parts_of(y, rest).natural()), x)


def larger_and_distance(x: Value, y: Value) -> tuple[Value, Value]:
    """The larger of two numbers, and what the other is below it: 0 also for two infinities."""
    return where(x > y, x, y), where(x == y, 0.0, -abs(x - y))


def logaddexp(x: Value, y: Value) -> Value:
    """log(exp(x) + exp(y))."""
    larger, distance = larger_and_distance(x, y)
    return larger + parts_of(*sum_of_ordered(1.0, exp(distance))).natural()


def logaddexp2(x: Value, y: Value) -> Value:
    """log2(2**x + 2**y)."""
    larger, distance = larger_and_distance(x, y)
    return larger + parts_of(*sum_of_ordered(1.0, exp2(distance))).based((1.0, 0.0), LOG2_E[x.register.itemsize])


def root_of_square(x: Value, more: float) -> Pair:
    """The square root of x**2 + more."""
    square, left = two_product(x, x)
    total, lost = two_sum(square, more)
    root = sqrt(total)
    return root, (fma(-root, root, total) + (left + lost)) / where(root > 0, root + root, 1.0)


def log_of_sum(x: Value, y: Value, rest: Value) -> Value:
    """log(x + y + rest), where `rest` is below the last place of y; twice x if it is large."""
    is_large = x > SQUARE_ROOTS_END[x.register.itemsize]
    total, left = two_sum(x, y)
    parts = parts_of(where(is_large, x, total), where(is_large, 0.0, left + rest)).doubled_where(is_large)
    return where(x == math.inf, x, parts.natural())


def arcsinh(x: Value) -> Value:
    """log(x + sqrt(x**2 + 1))."""
    size = abs(x)
    return copysign(log_of_sum(size, *root_of_square(size, 1.0)), x)


def arccosh(x: Value) -> Value:
    """log(x + sqrt(x**2 - 1))."""
    return where(x >= 1, log_of_sum(x, *root_of_square(x, -1.0)), math.nan)


def log_of_ratio(x: Pair, y: Pair) -> Value:
    """log(x / y)."""
    ratio = x[0] / y[0]
    rest = (fma(-ratio, y[0], x[0]) + (x[1] - ratio * y[1])) / y[0]
    return with_limits(ratio, parts_of(ratio, rest).natural())


def arctanh(x: Value) -> Value:
    """log((1 + x) / (1 - x)) / 2."""
    size = abs(x)
    return copysign(log_of_ratio(sum_of_ordered(1.0, size), sum_of_ordered(1.0, -size)) * 0.5, x)


def logit(x: Value) -> Value:
    """log(x / (1 - x))."""
    return log_of_ratio((x, x.like(0.0)), sum_of_ordered(1.0, -x))


def xlogy(x: Value, y: Value) -> Value:
    """x log(y), and 0 where x is 0."""
    return where((x == 0) & (y == y), 0.0, x * log(y))
