"""Elementwise arithmetic and the elementary functions, one declaration each.

A partial names what it needs: ``x``, ``y``, ``z`` are the operands, ``out`` the result. Complex
functions follow one convention (JAX's): pullbacks pair cotangent and tangent by ``Re(ct * tangent)``,
without conjugation, so a holomorphic function's partial is its complex derivative.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from functrans.core.primitive import Elementwise
from functrans.core.tracer import UFUNCS, install_method, install_operator, operand
from functrans.core.types import dtype_of, result_dtype, shape_of, type_of

LOG_2 = 0.6931471805599453
LOG_10 = 2.302585092994046


def reals(*shapes: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> Any:
    """Samples: one set of operands of these shapes, evenly spread between `low` and `high` and shuffled."""

    def make() -> list[Any]:
        operands = []
        for position, shape in enumerate(shapes):
            size = int(np.prod(shape))
            spread = low + (high - low) * (np.arange(size) * 0.6180339887 + 0.11 + 0.37 * position) % (high - low)
            operands.append(np.clip(spread, low, high).reshape(shape))
        return [(tuple(operands), {})]

    return make


ONE = reals((2, 3))
POSITIVE = reals((2, 3), low=0.2, high=3.0)
UNIT = reals((2, 3), low=-0.9, high=0.9)
ABOVE_ONE = reals((2, 3), low=1.1, high=3.0)
TWO = reals((2, 3), (3,))
TWO_POSITIVE = reals((2, 3), (3,), low=0.3, high=2.5)


def masked_multiply_evaluate(x: Any, y: Any) -> Any:
    """``x * y``, but 0 where either factor is 0."""
    out = x * y
    if np.ndim(out) == 0:
        return out if out == out or not (x == 0 or y == 0) else type(out)(0)
    if np.isnan(np.sum(out)):
        out = np.where((x == 0) | (y == 0), np.zeros((), out.dtype), out)
    return out


# The product that cotangents of selections are made with. Bilinear by declaration, with 0 winning
# over inf and nan, so that it is its own derivative to any order.
masked_multiply = Elementwise(
    "masked_multiply",
    np.multiply,
    [lambda y: y, lambda x: x],
    operator=masked_multiply_evaluate,
    selects=True,
    samples=TWO,
)

add = Elementwise("add", np.add, [1, 1], operator=operator.add, samples=TWO)
subtract = Elementwise("subtract", np.subtract, [1, -1], operator=operator.sub, samples=TWO)
multiply = Elementwise("multiply", np.multiply, [lambda y: y, lambda x: x], operator=operator.mul, samples=TWO)
def divide_evaluate(x: Any, y: Any) -> Any:
    """``x / y``; of Python's numbers by 0, which raises, what NumPy's give, since derivatives divide where the user did not."""
    try:
        return x / y
    except ZeroDivisionError:
        return np.divide(x, y).item()


divide = Elementwise(
    "divide",
    np.divide,
    [lambda y: 1 / y, lambda y, out: -out / y],
    operator=divide_evaluate,
    samples=TWO_POSITIVE,
)
negative = Elementwise("negative", np.negative, [-1], operator=operator.neg, samples=ONE)
positive = Elementwise("positive", np.positive, [1], operator=operator.pos, samples=ONE)


def common_dtype(x: Any, y: Any) -> np.dtype[Any]:
    """The dtype of ``x + y``: partials must not be wider."""
    return result_dtype(type_of(x).promoting, type_of(y).promoting)


def power_by_base(x: Any, y: Any) -> Any:
    """d/dx x**y: y * x**(y-1), and 0 where y is 0."""
    exponent = np.where(y == 0, 1, y - 1).astype(common_dtype(x, y))
    return masked_multiply(y, np.power(x, exponent))


def power_by_exponent(x: Any, y: Any, out: Any) -> Any:
    """d/dy x**y: out * log(x), and 0 where the base is 0 and the exponent is not negative."""
    dtype = common_dtype(x, y)
    if dtype.kind == "c":
        return out * np.log(x + dtype.type(0))
    zero = (x == 0) & (y >= 0)
    return np.where(zero, 0.0, out * np.log(np.where(zero, 1.0, x).astype(dtype)))


power = Elementwise(
    "power", np.power, [power_by_base, power_by_exponent], operator=operator.pow, selects=True, samples=TWO_POSITIVE
)


integer_power = Elementwise(
    "integer_power",
    np.positive,
    [lambda x, exponent: exponent * x ** (exponent - 1) if exponent else 0.0 * x],
    operator=lambda x, exponent: x**exponent,
    samples=lambda: [
        ((reals((2, 3), low=0.3, high=2.0)()[0][0][0],), {"exponent": exponent}) for exponent in (0, 1, 2, 3, -1, -2)
    ],
)


def python_power(self: Any, exponent: Any) -> Any:
    """``self ** exponent``, by `integer_power` where the exponent is a Python int; of scalars as Python has it."""
    if type(exponent) is int and dtype_of(self).kind in "fc":
        return integer_power(self, exponent=exponent)
    return numpy_power(self, exponent) if shape_of(self) else power(self, operand(exponent))


def numpy_power(x: Any, exponent: Any) -> Any:
    """``np.power``, which takes the root where the exponent is 0.5: of -0.0 and -inf that is another number."""
    if type(exponent) is float and exponent == 0.5 and dtype_of(x).kind == "f":
        return sqrt(x)
    return power(x, operand(exponent))


floor_divide = Elementwise("floor_divide", np.floor_divide, operator=operator.floordiv, samples=TWO_POSITIVE)
remainder = Elementwise(
    "remainder", np.remainder, [1, lambda x, y: -np.floor_divide(x, y)], operator=operator.mod, samples=TWO_POSITIVE
)
fmod = Elementwise("fmod", np.fmod, [1, lambda x, y: -np.trunc(x / y)], samples=TWO_POSITIVE)


def squared_length(x: Any, y: Any) -> Any:
    """x*x + y*y, and 1 instead of 0, so that what is divided by it is 0 there."""
    squared = x * x + y * y
    return np.where(squared == 0, 1, squared)


def absolute_partial(x: Any) -> Any:
    """sign(x), and for complex x conj(x)/|x|; 0 at 0."""
    if dtype_of(x).kind == "c":
        out = np.absolute(x)
        return np.conjugate(x) / np.where(out == 0, 1, out)
    return np.sign(x)


absolute = Elementwise("absolute", np.absolute, [absolute_partial], operator=operator.abs, samples=POSITIVE)
fabs = Elementwise("fabs", np.fabs, [lambda x: np.sign(x)], samples=POSITIVE)
sign = Elementwise("sign", np.sign, samples=ONE)

sqrt = Elementwise("sqrt", np.sqrt, [lambda out: 0.5 / out], selects=True, samples=POSITIVE)
cbrt = Elementwise("cbrt", np.cbrt, [lambda out: 1 / (3 * out * out)], selects=True, samples=POSITIVE)
square = Elementwise("square", np.square, [lambda x: 2 * x], samples=ONE)
reciprocal = Elementwise("reciprocal", np.reciprocal, [lambda out: -out * out], samples=POSITIVE)

exp = Elementwise("exp", np.exp, [lambda out: out], samples=ONE)
exp2 = Elementwise("exp2", np.exp2, [lambda out: out * LOG_2], samples=ONE)
expm1 = Elementwise("expm1", np.expm1, [lambda out: out + 1], samples=ONE)
log = Elementwise("log", np.log, [lambda x: 1 / x], samples=POSITIVE)
log2 = Elementwise("log2", np.log2, [lambda x: 1 / (x * LOG_2)], samples=POSITIVE)
log10 = Elementwise("log10", np.log10, [lambda x: 1 / (x * LOG_10)], samples=POSITIVE)
log1p = Elementwise("log1p", np.log1p, [lambda x: 1 / (1 + x)], samples=POSITIVE)
logaddexp = Elementwise(
    "logaddexp", np.logaddexp, [lambda x, out: np.exp(x - out), lambda y, out: np.exp(y - out)], samples=TWO
)
logaddexp2 = Elementwise(
    "logaddexp2", np.logaddexp2, [lambda x, out: np.exp2(x - out), lambda y, out: np.exp2(y - out)], samples=TWO
)

sin = Elementwise("sin", np.sin, [lambda x: np.cos(x)], samples=ONE)
cos = Elementwise("cos", np.cos, [lambda x: -np.sin(x)], samples=ONE)
tan = Elementwise("tan", np.tan, [lambda out: 1 + out * out], samples=UNIT)
arcsin = Elementwise("arcsin", np.arcsin, [lambda x: 1 / np.sqrt(1 - x * x)], samples=UNIT)
arccos = Elementwise("arccos", np.arccos, [lambda x: -1 / np.sqrt(1 - x * x)], samples=UNIT)
arctan = Elementwise("arctan", np.arctan, [lambda x: 1 / (1 + x * x)], samples=ONE)
arctan2 = Elementwise(
    "arctan2", np.arctan2, [lambda x, y: y / squared_length(x, y), lambda x, y: -(x / squared_length(x, y))], samples=TWO_POSITIVE
)
hypot = Elementwise(
    "hypot",
    np.hypot,
    [lambda x, out: x / np.where(out == 0, 1, out), lambda y, out: y / np.where(out == 0, 1, out)],
    samples=TWO_POSITIVE,
)
sinh = Elementwise("sinh", np.sinh, [lambda x: np.cosh(x)], samples=ONE)
cosh = Elementwise("cosh", np.cosh, [lambda x: np.sinh(x)], samples=ONE)
tanh = Elementwise("tanh", np.tanh, [lambda out: 1 - out * out], samples=ONE)
arcsinh = Elementwise("arcsinh", np.arcsinh, [lambda x: 1 / np.sqrt(x * x + 1)], samples=ONE)
arccosh = Elementwise(
    "arccosh",
    np.arccosh,
    # The root of the product has another sign where the real part is negative.
    [lambda x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1) if dtype_of(x).kind == "c" else np.sqrt((x - 1) * (x + 1)))],
    samples=ABOVE_ONE,
)
arctanh = Elementwise("arctanh", np.arctanh, [lambda x: 1 / (1 - x * x)], samples=UNIT)
deg2rad = Elementwise("deg2rad", np.deg2rad, [np.pi / 180], samples=ONE)
rad2deg = Elementwise("rad2deg", np.rad2deg, [180 / np.pi], samples=ONE)


def chosen(x: Any, y: Any, wins: Any) -> Any:
    """1 where `x` was chosen over `y`, 1/2 at a tie; a nan is always chosen."""
    return np.where(x == y, common_dtype(x, y).type(0.5), wins | (x != x))


def chosen_number(x: Any, y: Any, wins: Any) -> Any:
    """1 where `x` was chosen over `y`, 1/2 at a tie; a number is chosen over a nan."""
    return np.where(x == y, common_dtype(x, y).type(0.5), wins | (y != y))


maximum = Elementwise(
    "maximum",
    np.maximum,
    [lambda x, y: chosen(x, y, x > y), lambda x, y: chosen(y, x, y > x)],
    selects=True,
    samples=TWO,
)
minimum = Elementwise(
    "minimum",
    np.minimum,
    [lambda x, y: chosen(x, y, x < y), lambda x, y: chosen(y, x, y < x)],
    selects=True,
    samples=TWO,
)


fmax = Elementwise(
    "fmax",
    np.fmax,
    [lambda x, y: chosen_number(x, y, x > y), lambda x, y: chosen_number(y, x, y > x)],
    selects=True,
    samples=TWO,
)
fmin = Elementwise(
    "fmin",
    np.fmin,
    [lambda x, y: chosen_number(x, y, x < y), lambda x, y: chosen_number(y, x, y < x)],
    selects=True,
    samples=TWO,
)


floor = Elementwise("floor", np.floor, samples=ONE)
ceil = Elementwise("ceil", np.ceil, samples=ONE)
trunc = Elementwise("trunc", np.trunc, samples=ONE)
rint = Elementwise("rint", np.rint, samples=ONE)
copysign = Elementwise("copysign", np.copysign, [lambda x, out: np.copysign(1.0, out) * np.sign(x), None], samples=TWO)
heaviside = Elementwise("heaviside", np.heaviside, samples=TWO)
nextafter = Elementwise("nextafter", np.nextafter, samples=TWO)
signbit = Elementwise("signbit", np.signbit, samples=ONE)

isfinite = Elementwise("isfinite", np.isfinite, samples=ONE)
isinf = Elementwise("isinf", np.isinf, samples=ONE)
isnan = Elementwise("isnan", np.isnan, samples=ONE)
equal = Elementwise("equal", np.equal, operator=operator.eq, samples=TWO)
not_equal = Elementwise("not_equal", np.not_equal, operator=operator.ne, samples=TWO)
less = Elementwise("less", np.less, operator=operator.lt, samples=TWO)
less_equal = Elementwise("less_equal", np.less_equal, operator=operator.le, samples=TWO)
greater = Elementwise("greater", np.greater, operator=operator.gt, samples=TWO)
greater_equal = Elementwise("greater_equal", np.greater_equal, operator=operator.ge, samples=TWO)
logical_and = Elementwise("logical_and", np.logical_and, samples=TWO)
logical_or = Elementwise("logical_or", np.logical_or, samples=TWO)
logical_xor = Elementwise("logical_xor", np.logical_xor, samples=TWO)
logical_not = Elementwise("logical_not", np.logical_not, samples=ONE)


def integers() -> list[Any]:
    """Samples for bitwise operations."""
    return [((np.array([[5, 2, 9], [1, 7, 4]]), np.array([3, 1, 2])), {})]


def integer() -> list[Any]:
    """Samples for bitwise operations on one operand."""
    return [((np.array([[5, 2, 9], [1, 7, 4]]),), {})]


bitwise_and = Elementwise("bitwise_and", np.bitwise_and, operator=operator.and_, samples=integers)
bitwise_or = Elementwise("bitwise_or", np.bitwise_or, operator=operator.or_, samples=integers)
bitwise_xor = Elementwise("bitwise_xor", np.bitwise_xor, operator=operator.xor, samples=integers)
invert = Elementwise("invert", np.invert, operator=operator.invert, samples=integer)
left_shift = Elementwise("left_shift", np.left_shift, operator=operator.lshift, samples=integers)
right_shift = Elementwise("right_shift", np.right_shift, operator=operator.rshift, samples=integers)
gcd = Elementwise("gcd", np.gcd, samples=integers)
lcm = Elementwise("lcm", np.lcm, samples=integers)


class LikeUfunc:
    """A broadcasting function with the two things a ufunc is asked for: its call and its dtype."""

    def __init__(self, function: Any, typed: slice) -> None:
        self.function = function
        self.typed = typed  # the operands that give the dtype

    def __call__(self, *operands: Any) -> Any:
        out = self.function(*operands)
        return out[()] if isinstance(out, np.ndarray) and out.ndim == 0 else out

    def resolve_dtypes(self, dtypes: Any) -> Any:
        return (result_dtype(*dtypes[:-1][self.typed]),)


where = Elementwise(
    "where",
    LikeUfunc(np.where, slice(1, 3)),  # type: ignore[arg-type]
    [None, lambda x: x, lambda x: np.logical_not(x)],
    selects=True,
    samples=lambda: [((np.array([True, False, True]), *reals((2, 3), (3,))()[0][0]), {})],
)

UFUNCS[np.radians] = deg2rad
UFUNCS[np.degrees] = rad2deg

for _name, _primitive in {
    "add": add, "sub": subtract, "mul": multiply, "truediv": divide, "floordiv": floor_divide, "mod": remainder,
    "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor, "lshift": left_shift, "rshift": right_shift,
    "lt": less, "le": less_equal, "gt": greater, "ge": greater_equal, "eq": equal, "ne": not_equal,
}.items():  # fmt: skip
    install_operator(_name, _primitive)

UFUNCS[np.power] = lambda x, y: python_power(operand(x), y) if type(y) is int else numpy_power(operand(x), y)
install_method("__pow__", python_power)
install_method("__rpow__", lambda self, base: power(operand(base), self))
install_method("__neg__", lambda self: negative(self))
install_method("__pos__", lambda self: positive(self))
install_method("__abs__", lambda self: absolute(self))
install_method("__divmod__", lambda self, other: (self // other, self % other))
install_method("__rdivmod__", lambda self, other: (other // self, other % self))
install_method("__round__", lambda self, ndigits=0: np.round(self, ndigits))
install_method("__invert__", lambda self: invert(self))
