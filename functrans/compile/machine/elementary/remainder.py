"""Remainders of floats: fmod, and NumPy's remainder and floor_divide made of it.

fmod is exact: where the quotient is beyond `LARGEST_QUOTIENT`, the C library takes over.
"""

from __future__ import annotations

import math

from functrans.compile.machine.elementary.lane import Table, Value, copysign, floor, fma, trunc, unless, where

__all__ = ["floor_divide", "fmod", "remainder"]

# Up to it every integer is a number of the format.
LARGEST_QUOTIENT: Table = {8: 2.0**53, 4: 2.0**24}


def fmod(x: Value, y: Value) -> Value:
    """What is left of x after a whole number of times y, with the sign of x."""
    size, unit = abs(x), abs(y)
    quotient = size / unit
    # Rounding may have brought the quotient to the next integer; then what is left is negative, and exact as well.
    left = fma(trunc(quotient), -unit, size)
    left = where(left < 0, left + unit, left)
    left = copysign(where((unit == math.inf) & (size < math.inf), size, left), x)
    return unless(quotient > LARGEST_QUOTIENT[x.register.itemsize], "fmod", [x, y], left)


def remainder(x: Value, y: Value) -> Value:
    """What is left of x after a whole number of times y, with the sign of y."""
    left = fmod(x, y)
    return where(left == 0, copysign(left, y), where((left < 0) ^ (y < 0), left + y, left))


def floor_divide(x: Value, y: Value) -> Value:
    """The largest integer not above x / y, as NumPy rounds it."""
    left = fmod(x, y)
    whole = (x - left) / y
    whole = where((left != 0) & ((left < 0) ^ (y < 0)), whole - 1, whole)
    result = floor(whole)
    result = where(whole - result > 0.5, result + 1, result)
    result = where(whole == 0, copysign(whole, x / y), result)
    return where(y == 0, x / y, result)
