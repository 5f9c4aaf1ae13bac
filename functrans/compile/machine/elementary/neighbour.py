"""The numbers next to a number: nextafter."""

from __future__ import annotations

from functrans.compile.machine.elementary.lane import Value, copysign, format_of, where

__all__ = ["nextafter"]


def nextafter(x: Value, y: Value) -> Value:
    """The number after x on the way to y."""
    smallest = copysign(x.like(2.0 ** (1 - format_of(x).bias - format_of(x).mantissa)), y)
    # Numbers are in the order of their bits, those below 0 in the reverse order.
    moved = where((y > x) ^ (x > 0), x.bits - 1, x.bits + 1).number
    return where((x == y) | (y != y), y, where(x == 0, smallest, where(x != x, x, moved)))
