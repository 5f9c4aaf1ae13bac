"""NumPy's elementwise functions that are no ufuncs, and ufuncs that are compositions."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.tracer import HOOKS, UFUNCS, Tracer, install_method, operand, strengthen
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.numpy.reduction import all, floating
from functrans.numpy.registry import NO_VALUE, delivered, implements
from functrans.numpy.structure import (
    astype,
    conjugate,
)
from functrans.ops import arithmetic


@implements(np.where)
def where(condition: Any, /, x: Any = NO_VALUE, y: Any = NO_VALUE) -> Any:
    condition = operand(condition)
    if x is NO_VALUE:
        if isinstance(condition, Tracer):
            condition = condition.peek("np.where with one argument, whose result's shape depends on values")
        return np.nonzero(condition)
    if dtype_of(condition).kind != "b":
        condition = arithmetic.not_equal(condition, 0)
    x, y = operand(x), operand(y)
    return arithmetic.where(condition, x, y)


HOOKS["where"] = where


@implements(np.clip)
def clip(
    a: Any, a_min: Any = NO_VALUE, a_max: Any = NO_VALUE, out: Any = None, *, min: Any = NO_VALUE, max: Any = NO_VALUE
) -> Any:
    low = min if a_min is NO_VALUE else a_min
    high = max if a_max is NO_VALUE else a_max
    result = operand(a)
    if low is not None and low is not NO_VALUE:
        result = arithmetic.maximum(result, operand(low))
    if high is not None and high is not NO_VALUE:
        result = arithmetic.minimum(result, operand(high))
    return delivered(result, out, "clip")


install_method("clip", lambda self, min=None, max=None, out=None: clip(self, min, max, out))


UFUNCS[np._core.umath.clip] = clip  # type: ignore[attr-defined]


UFUNCS[np.conjugate] = conjugate


@implements(np.round, np.around, methods=("round",))
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    a = operand(a)
    power = 10.0 ** abs(decimals)
    if dtype_of(a).kind in "iu":
        result = a if decimals >= 0 else astype(rounded(a / power) * power, dtype_of(a))
    elif decimals:
        result = rounded(a * power) / power if decimals > 0 else rounded(a / power) * power
    else:
        result = rounded(a)
    return delivered(result, out, "round")


def rounded(a: Any) -> Any:
    """The nearest integer, of ties the even one."""
    return arithmetic.rint(a)


@implements(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    return delivered(arithmetic.trunc(operand(x)), out, "fix")


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = operand(default)
    for condition, choice in reversed(list(zip(condlist, choicelist))):
        result = where(condition, choice, result)
    return result


@implements(np.choose, methods=("choose",))
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    a = operand(a)
    number = len(choices)
    if mode == "wrap":
        a = a % number
    elif mode == "clip":
        a = clip(a, 0, number - 1)
    elif not isinstance(a, Tracer) and (np.any(np.asarray(a) < 0) or np.any(np.asarray(a) >= number)):
        raise ValueError(f"np.choose: invalid entry in choice array{at_user_line()}")
    result = operand(choices[0])
    for position in range(1, number):
        result = where(arithmetic.equal(a, position), choices[position], result)
    return delivered(result, out, "choose")


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    x = strengthen(operand(x))
    kind = dtype_of(x).kind
    if kind == "c":
        return nan_to_num(x.real, copy, nan, posinf, neginf) + 1j * nan_to_num(x.imag, copy, nan, posinf, neginf)
    if kind != "f":
        return x
    info = np.finfo(dtype_of(x))
    high = float(info.max) if posinf is None else posinf
    low = float(info.min) if neginf is None else neginf
    x = where(arithmetic.isnan(x), nan, x)
    return where(arithmetic.equal(x, np.inf), high, where(arithmetic.equal(x, -np.inf), low, x))


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    z = operand(z)
    result = np.arctan2(z.imag, z.real)
    return np.rad2deg(result) if deg else result


@implements(np.sinc)
def sinc(x: Any) -> Any:
    z = np.pi * floating(x)
    near = np.abs(z) < 1e-4
    safe = np.where(near, 1.0, z)
    squared = z * z
    return np.where(near, 1 - squared / 6 * (1 - squared / 20), np.sin(safe) / safe)


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    a, b = operand(a), operand(b)
    close = np.abs(a - b) <= atol + rtol * np.abs(b)
    close = close & np.isfinite(b) | arithmetic.equal(a, b)
    return close | np.isnan(a) & np.isnan(b) if equal_nan else close


@implements(np.allclose)
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    return bool(all(isclose(a, b, rtol, atol, equal_nan)))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    a1, a2 = operand(a1), operand(a2)
    if shape_of(a1) != shape_of(a2):
        return False
    same = arithmetic.equal(a1, a2)
    return bool(all(same | np.isnan(a1) & np.isnan(a2) if equal_nan else same))


@implements(np.array_equiv)
def array_equiv(a1: Any, a2: Any) -> bool:
    a1, a2 = operand(a1), operand(a2)
    try:
        np.broadcast_shapes(shape_of(a1), shape_of(a2))
    except ValueError:
        return False
    return bool(all(arithmetic.equal(a1, a2)))


@implements(np.isposinf)
def isposinf(x: Any, out: Any = None) -> Any:
    return delivered(arithmetic.equal(operand(x), np.inf), out, "isposinf")


@implements(np.isneginf)
def isneginf(x: Any, out: Any = None) -> Any:
    return delivered(arithmetic.equal(operand(x), -np.inf), out, "isneginf")


@implements(np.isreal)
def isreal(x: Any) -> Any:
    return arithmetic.equal(np.imag(operand(x)), 0)


@implements(np.iscomplex)
def iscomplex(x: Any) -> Any:
    return arithmetic.not_equal(np.imag(operand(x)), 0)


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Each function is of all elements; what it is where its condition does not hold has no effect."""
    x = operand(x)
    if not isinstance(condlist, (list, tuple)) and np.ndim(condlist) == np.ndim(x):
        condlist = [condlist]
    conditions = [operand(condition) for condition in condlist]
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise ValueError(f"np.piecewise: {len(funclist)} functions for {len(conditions)} conditions{at_user_line()}")
    result = np.zeros_like(x)
    if len(funclist) > len(conditions):
        result = astype(applied(funclist[-1], x, args, kw), dtype_of(x))
    for condition, function in zip(conditions, funclist):
        result = where(condition, astype(applied(function, x, args, kw), dtype_of(x)), result)
    return result


def applied(function: Any, x: Any, args: Any, keywords: Any) -> Any:
    """``function(x)``, or the constant that stands for one."""
    return operand(function(x, *args, **keywords) if callable(function) else function)


def divmod(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Quotient and remainder."""
    x1, x2 = operand(x1), operand(x2)
    return arithmetic.floor_divide(x1, x2), arithmetic.remainder(x1, x2)


def modf(x: Any) -> tuple[Any, Any]:
    """The fractional part and the integral part; the fraction of an infinity is 0."""
    x = floating(x)
    whole = arithmetic.trunc(x)
    return arithmetic.copysign(where(arithmetic.isinf(x), 0.0, x - whole), x), whole


def float_power(x1: Any, x2: Any) -> Any:
    """A power in double precision at least."""
    return arithmetic.power(*(x if dtype_of(x).kind == "c" else astype(x, np.float64) for x in (operand(x1), operand(x2))))


UFUNCS[np.divmod], UFUNCS[np.modf], UFUNCS[np.float_power] = divmod, modf, float_power
install_method("__divmod__", divmod)
install_method("__rdivmod__", lambda self, other: divmod(other, self))


def ldexp(x1: Any, x2: Any) -> Any:
    """``x1 * 2**x2``."""
    x1 = floating(x1)
    return x1 * np.exp2(astype(operand(x2), dtype_of(x1)))


UFUNCS[np.ldexp] = ldexp
