"""The error function and the normal distribution: erf, erfc, ndtr, log_ndtr.

Near 0 they are polynomials. Elsewhere erf is 1 - 2**p(x), with another; the others are made of exp(x**2) erfc(x),
which varies little where it is multiplied by 1 + 2 x, as a function of (x - k) / (x + k). (Shepherd and
Laframboise, Chebyshev approximation of (1 + 2x) exp(x**2) erfc x, Mathematics of Computation 36, 1981.)
"""

from __future__ import annotations

import math

from functrans.compile.machine.elementary.exponential import LN2, LOG2_E, UNDERFLOW, exp_of_reduced, held, scaled, series
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
    sum_of_ordered,
    two_product,
    two_sum,
    where,
)
from functrans.compile.machine.elementary.logarithm import parts_of

__all__ = ["erf", "erfc", "log_ndtr", "ndtr"]

# Up to it erf(x) / x - 1 is this polynomial of x**2; from it to where erf is 1, log2(1 - erf(x)) / x is that of x.
NEAR: Table = {8: 1.0, 4: 0.9}
FAR: Table = {8: 5.95, 4: 3.95}
ERF: Table = {
    8: (0.12837916709551256, -0.37612638903183354, 0.11283791670937446, -0.02686617064203449, 0.005223977597288913,
        -0.0008548325507771342, 0.00012055281064461533, -1.4924474497926005e-05, 1.6444236681549966e-06,
        -1.6184489205194587e-07, 1.3618215269369537e-08, -7.609539500653269e-10),
    4: (0.128379151, -0.376125067, 0.112819701, -0.0267726481, 0.00500255264, -0.000604089757),
}  # fmt: skip
LOG2_ERFC: Table = {
    8: (-1.627906947462007, -0.9184488816151303, -0.14826696195037403, 0.027591490040442465, 0.00030590695314758147,
        -0.002441921206366351, 0.0008290615288709946, 1.403071653183892e-06, -0.00013775601192445903, 8.084563062673097e-05,
        -2.936051556003139e-05, 7.76918683382312e-06, -1.5553941135208337e-06, 2.3519087963194562e-07,
        -2.6156682697291225e-08, 2.0232158514956893e-09, -9.730265319455377e-11, 2.1911188134372576e-12),
    4: (-1.62811017, -0.917120218, -0.151896968, 0.0330465101, -0.00464546913, 0.000309597759),
}  # fmt: skip
# (1 + 2 x) exp(x**2) erfc(x) as a function of (x - k) / (x + k), for x from 1 / 2 on: k, the first term with a rest, and the
# others.
SCALED_ERFC: Table = {
    8: (4.0, (1.2329951186255526, -4.901183112070368e-17),
        (-0.13962111684056247, 0.015379652102621096, 0.06809705425468708, -0.1010390660363913, 0.09373283499857829,
         -0.06633036581003413, 0.037167515533122975, -0.016197734086005548, 0.005031970024449329, -0.0007577730752775341,
         -0.00019925699788974794, 0.00015062066771307606, -2.4397941552483634e-05, -1.121896747268401e-05,
         5.706225202460885e-06, 2.8783321440388036e-07, -8.19115924788201e-07, 8.188341981304282e-08, 1.029326628423943e-07,
         -2.2900929158879388e-08, -9.536906772295005e-09, 3.3232319430142613e-09)),
    4: (2.0, (1.27697837, 6.700696886241531e-09),
        (-0.0927638188, -0.166030228, 0.164050877, -0.0542234778, -0.00802794192, 0.00874734297, 0.00123093918,
         -0.00152792258, -0.000331091112, 0.000275997183)),
}  # fmt: skip
# Beyond it erfc is 0.
LARGEST: Table = {8: 27.3, 4: 10.1}
# 1 / sqrt(2) to twice the precision.
ROOT_HALF: Table = {8: (0.7071067811865476, -4.833646656726457e-17), 4: (0.7071067690849304, 1.210161710447897e-08)}


def erf(x: Value) -> Value:
    """The error function."""
    size, far = abs(x), FAR[x.register.itemsize]
    held_size = where(size > far, far, size)
    p = held_size * polynomial(held_size, LOG2_ERFC)
    n, integer = nearest(p, offset=format_of(x).bias)
    beyond = fma(exp_of_reduced((p - n) * math.log(2)), -power_of_two(integer), 1.0)
    return where(size < NEAR[x.register.itemsize], fma(x, polynomial(x * x, ERF), x), copysign(beyond, x))


def erfc_near(x: Value, rest: Value | float) -> Pair:
    """erfc(x + rest), for x up to 1 / 2."""
    first, left = sum_of_ordered(1.0, -x)
    return sum_of_ordered(first, fma(x, -polynomial(x * x, ERF), left - rest))


def scaled_erfc(x: Value, rest: Value | float) -> Pair:
    """exp(x**2) erfc(x) of x + rest, for x from 1 / 2 on."""
    k, (first, first_rest), others = SCALED_ERFC[x.register.itemsize]
    q = 1 - quotient(x.like(2 * k), *two_sum(x, k))
    inner = polynomial(q, others)
    varying = fma(q, inner, first)
    varying_rest = fma(q, inner, first - varying) + first_rest
    y, lost = sum_of_ordered(x + x, x.like(1.0))
    lost = lost + 2.0 * rest
    factor = quotient(x.like(1.0), y, lost)
    factor_rest = fma(-factor, lost, fma(-factor, y, 1.0)) * factor
    product, left = two_product(factor, varying)
    return product, left + fma(factor, varying_rest, factor_rest * varying)


def times_exponential(x: Pair, exponent: Pair) -> Pair:
    """x exp(-exponent)."""
    lowest = UNDERFLOW[x[0].register.itemsize]
    is_beyond = exponent[0] > -lowest
    held_exponent = where(is_beyond, lowest, -exponent[0])
    n, integer = nearest(held_exponent, LOG2_E, 2 * format_of(x[0]).bias)
    high, low = LN2[x[0].register.itemsize]
    r, left = sum_of_ordered(fma(n, -high, held_exponent), -fma(n, low, where(is_beyond, 0.0, exponent[1])))
    z, w = series(r)
    growth, lost = sum_of_ordered(r, z * w)
    value, rest = sum_of_ordered(x[0], fma(x[0], growth, fma(x[0], fma(growth, left, left + lost), x[1])))
    return scaled(value, integer), scaled(rest, integer)


def complement(x: Value, rest: Value | float, square: Pair) -> Value:
    """erfc(x + rest), where `square` is its square."""
    size = abs(x)
    size_rest = where(x < 0, -rest, rest) if isinstance(rest, Value) else rest
    beyond, _ = times_exponential(scaled_erfc(size, size_rest), square)
    return where(size < 0.5, erfc_near(x, rest)[0], where(x < 0, 2 - beyond, beyond))


def erfc(x: Value) -> Value:
    """1 - erf(x)."""
    largest = LARGEST[x.register.itemsize]
    x = held(x, -largest, largest)
    return complement(x, 0.0, two_product(x, x))


def over_root_two(x: Value) -> Pair:
    """x / sqrt(2)."""
    high, low = ROOT_HALF[x.register.itemsize]
    result, left = two_product(x, x.like(high))
    return result, fma(x, low, left)


def half_square(x: Value) -> Pair:
    """x**2 / 2."""
    half, left = two_product(x, x * 0.5)
    return half, where(half < math.inf, left, 0.0)


def ndtr(x: Value) -> Value:
    """The normal distribution function: erfc(-x / sqrt(2)) / 2."""
    largest = 1.5 * LARGEST[x.register.itemsize]
    x = held(-x, -largest, largest)
    return complement(*over_root_two(x), half_square(x)) * 0.5


def log_ndtr(x: Value) -> Value:
    """The logarithm of `ndtr`: of what it is but for exp(-x**2 / 2) for negative x, and of 1 - ndtr(-x) for others."""
    size = abs(x)
    square = half_square(size)
    # Held where it no longer matters beside the square.
    place, rest = over_root_two(where(size > 2.0**30, 2.0**30, size))
    factor = scaled_erfc(place, rest)
    near, beyond = erfc_near(place, rest), times_exponential(factor, square)
    is_near, is_negative = place < 0.5, x < 0
    half, half_rest = (where(is_near, one, other) * 0.5 for one, other in zip(near, beyond))
    is_scaled = is_negative & ~is_near
    above, left = sum_of_ordered(1.0, -half)
    inside = where(is_scaled, factor[0] * 0.5, where(is_negative, half, above))
    inside_rest = where(is_scaled, factor[1] * 0.5, where(is_negative, half_rest, left - half_rest))
    value = parts_of(inside, inside_rest).natural()
    return -abs(where(is_scaled, (value - square[1]) - square[0], value))
