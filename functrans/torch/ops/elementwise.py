"""Elementwise functions: arithmetic, elementary and special functions, comparisons, logic."""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of
from functrans.errors import at_user_line
from functrans.ops import arithmetic, contraction, indexing, special, structure
from functrans.torch.autograd.graph import PRIMITIVE_NODES, PrimitiveNode, named
from functrans.torch.dtypes import result_dtype
from functrans.torch.ops.apply import binary, perform, prepared, unary
from functrans.torch.ops.table import FUNCTIONS, QUICK, checked_kind, define, function, returned
from functrans.torch.storage.writes import UFUNCS, written
from functrans.torch.tensor import Tensor, install_members

PRIMITIVE_NODES.update({
    arithmetic.masked_multiply: "MulBackward0", arithmetic.integer_power: "PowBackward0", arithmetic.square: "PowBackward0",
    arithmetic.where: "WhereBackward0", structure.reshape: "ViewBackward0", structure.transpose: "PermuteBackward0",
    structure.broadcast_to: "ExpandBackward0", structure.convert: "ToCopyBackward0", indexing.getitem: "SliceBackward0",
    indexing.index_add: "IndexPutBackward0", indexing.index_set: "IndexPutBackward0", contraction.contract: "MmBackward0",
    structure.concatenate: "CatBackward0",
})  # fmt: skip

# name                primitive                    integers are floats
define("mul", arithmetic.multiply, aliases=("multiply",))
define("div", arithmetic.divide, floating=True, public=False, method=False)
define("neg", arithmetic.negative, aliases=("negative",))
define("abs", arithmetic.absolute, aliases=("absolute",), kinds="ifc")
define("sqrt", arithmetic.sqrt, floating=True)
define("exp", arithmetic.exp, floating=True)
define("exp2", arithmetic.exp2, floating=True, aliases=("special_exp2",))
define("expm1", arithmetic.expm1, floating=True)
define("log", arithmetic.log, floating=True)
define("log2", arithmetic.log2, floating=True)
define("log10", arithmetic.log10, floating=True)
define("log1p", arithmetic.log1p, node="Log1PBackward0", floating=True)
define("sin", arithmetic.sin, floating=True)
define("cos", arithmetic.cos, floating=True)
define("tan", arithmetic.tan, floating=True)
define("asin", arithmetic.arcsin, floating=True, aliases=("arcsin",))
define("acos", arithmetic.arccos, floating=True, aliases=("arccos",))
define("atan", arithmetic.arctan, floating=True, aliases=("arctan",))
define("sinh", arithmetic.sinh, floating=True)
define("cosh", arithmetic.cosh, floating=True)
define("tanh", arithmetic.tanh, floating=True)
define("asinh", arithmetic.arcsinh, floating=True, aliases=("arcsinh",))
define("acosh", arithmetic.arccosh, floating=True, aliases=("arccosh",))
define("atanh", arithmetic.arctanh, floating=True, aliases=("arctanh",))
define("reciprocal", arithmetic.reciprocal, floating=True)
define("deg2rad", arithmetic.deg2rad, floating=True, node="MulBackward0")
define("rad2deg", arithmetic.rad2deg, floating=True, node="MulBackward0")
define("erf", special.erf, floating=True, kinds="bif")
define("erfc", special.erfc, floating=True, kinds="bif")
_sigmoid = define("sigmoid", special.expit, floating=True, public=False, method=False)
_plain_sigmoid = unary("sigmoid", special.expit, named("SigmoidBackward0", PrimitiveNode), True)
_complex_sigmoid = define("sigmoid", lambda x: 1 / (1 + np.exp(-x)), public=False, method=False)
define("lgamma", special.gammaln, floating=True, kinds="bif")
define("digamma", special.digamma, floating=True, kinds="bif")
define("atan2", arithmetic.arctan2, floating=True, aliases=("arctan2",))
define("hypot", arithmetic.hypot, kinds="f")
define("maximum", arithmetic.maximum, in_place=False, kinds="bif")
define("minimum", arithmetic.minimum, in_place=False, kinds="bif")
define("fmax", arithmetic.fmax, in_place=False, kinds="bif")
define("fmin", arithmetic.fmin, in_place=False, kinds="bif")
define("logaddexp", arithmetic.logaddexp, in_place=False, kinds="f")
define("logaddexp2", arithmetic.logaddexp2, in_place=False, kinds="f")
_remainder = define("remainder", arithmetic.remainder, public=False, method=False)
_fmod = define("fmod", arithmetic.fmod, public=False, method=False)
define("copysign", arithmetic.copysign, floating=True)
define("xlogy", special.xlogy, floating=True, kinds="bif")

# Without a derivative, or with a derivative of 0.
define("nextafter", lambda x, other: flat(arithmetic.nextafter(x, other), x), in_place=True, kinds="f", together=2)
define("signbit", arithmetic.signbit)
define("isfinite", arithmetic.isfinite)
define("isinf", arithmetic.isinf)
define("isnan", arithmetic.isnan)
define("logical_and", arithmetic.logical_and, in_place=True)
define("logical_or", arithmetic.logical_or, in_place=True)
define("logical_xor", arithmetic.logical_xor, in_place=True)
define("logical_not", arithmetic.logical_not, in_place=True)
define("bitwise_and", arithmetic.bitwise_and, in_place=True)
define("bitwise_or", arithmetic.bitwise_or, in_place=True)
define("bitwise_xor", arithmetic.bitwise_xor, in_place=True)
define("bitwise_not", arithmetic.invert, in_place=True)
define("bitwise_left_shift", arithmetic.left_shift, in_place=True)
define("bitwise_right_shift", arithmetic.right_shift, in_place=True)
define("gcd", arithmetic.gcd, in_place=True)
define("lcm", arithmetic.lcm, in_place=True)
define("eq", arithmetic.equal, in_place=True)
define("ne", arithmetic.not_equal, in_place=True, aliases=("not_equal",))
define("lt", arithmetic.less, in_place=True, aliases=("less",), kinds="bif")
define("le", arithmetic.less_equal, in_place=True, aliases=("less_equal",), kinds="bif")
define("gt", arithmetic.greater, in_place=True, aliases=("greater",), kinds="bif")
define("ge", arithmetic.greater_equal, in_place=True, aliases=("greater_equal",), kinds="bif")


def flat(value: Any, x: Any) -> Any:
    """`value`, as a function of `x` whose derivative is 0."""
    return arithmetic.where(np.True_, value, x)


define("sign", lambda x: signs(x), in_place=True, kinds="bif")
define("sgn", lambda x: signs(x), in_place=True)
define("floor", lambda x: flat(arithmetic.floor(x), x), in_place=True, kinds="if")
define("ceil", lambda x: flat(arithmetic.ceil(x), x), in_place=True, kinds="if")
define("trunc", lambda x: flat(arithmetic.trunc(x), x), in_place=True, aliases=("fix",), kinds="if")
define("frac", lambda x: x - arithmetic.trunc(x), in_place=True, kinds="f")
define("heaviside", lambda x, values: step(x, values), in_place=True, kinds="bif", together=2, same=True)
define("square", lambda x: arithmetic.square(x if dtype_of(x).kind != "b" else x.astype(np.int64)), node="PowBackward0", in_place=True)
define("rsqrt", lambda x: 1 / np.sqrt(x), in_place=True, floating=True)
define("logit", lambda x, eps=None: log_odds(x, eps), in_place=True, kinds="bif", floating=True)
define("sinc", lambda x: np.sinc(x), in_place=True, floating=True)
define("positive", lambda x: +x, kinds="ifc")
define("nan_to_num", lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf), in_place=True)
define("lerp", lambda x, end, weight: x + weight * (end - x), in_place=True, kinds="fc", together=2, same=True)
define("addcmul", lambda x, tensor1, tensor2, value=1: x + value * tensor1 * tensor2, in_place=True, together=3)
define("addcdiv", lambda x, tensor1, tensor2, value=1: x + value * tensor1 / tensor2, in_place=True, kinds="fc", together=3)
define("frexp", lambda x: halved(x), kinds="f")
define("isposinf", lambda x: np.isposinf(x), kinds="bif")
define("isneginf", lambda x: np.isneginf(x), kinds="bif")
define("isreal", lambda x: np.isreal(x))


@function(in_place=True, aliases=("expit",))
def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``."""
    if isinstance(input, Tensor) and input._array.dtype.num not in QUICK:
        return (_complex_sigmoid if input._array.dtype.kind == "c" else _sigmoid)(input)
    return _plain_sigmoid(input)


def log_odds(x: Any, eps: float | None) -> Any:
    """The inverse of the sigmoid, of what is clipped to be `eps` from 0 and 1."""
    if dtype_of(x) == np.float16:
        return log_odds(x.astype(np.float32), eps).astype(np.float16)
    return special.logit(x if eps is None else np.clip(x, eps, 1 - eps))


def signs(x: Any) -> Any:
    """The sign; of complex numbers the one of modulus 1."""
    if dtype_of(x).kind == "c":
        size = np.abs(x)
        return x / np.where(size == 0, dtype_of(size).type(1), size)
    return x if dtype_of(x).kind == "b" else flat(arithmetic.sign(x), x)


def step(x: Any, values: Any) -> Any:
    """0 below 0, 1 above, and `values` at 0; flat."""
    return np.where(x == 0, values, x > 0).astype(dtype_of(x))


Halved = returned("frexp", ["mantissa", "exponent"])


def halved(x: Any) -> Any:
    """A number from 0.5 to 1, and the power of 2 that it is to be multiplied by."""
    if dtype_of(x).kind != "f":
        raise RuntimeError(f"torch.frexp() only supports floating-point dtypes{at_user_line()}")
    exponent = np.frexp(np.asarray(x.peek("frexp") if isinstance(x, Tracer) else x))[1]
    return Halved(x * np.ldexp(dtype_of(x).type(0.5), 1 - exponent), exponent)


_add = binary("add", arithmetic.add, named("AddBackward0", PrimitiveNode), False)
_sub = binary("sub", arithmetic.subtract, named("SubBackward0", PrimitiveNode), False)
_rsub = binary("rsub", arithmetic.subtract, named("RsubBackward1", PrimitiveNode), False)
_divide = binary("div", arithmetic.divide, named("DivBackward0", PrimitiveNode), True)
_power = binary("pow", arithmetic.power, named("PowBackward1", PrimitiveNode), False)
_number_power = binary("pow", arithmetic.power, named("PowBackward0", PrimitiveNode), False)
_power_of_number = binary("pow", arithmetic.power, named("PowBackward2", PrimitiveNode), False)
PRIMITIVE_NODES.update({
    arithmetic.add: "AddBackward0", arithmetic.subtract: "SubBackward0", arithmetic.divide: "DivBackward0",
    arithmetic.power: "PowBackward1",
})  # fmt: skip
POWER = named("PowBackward0", PrimitiveNode)
_mul = FUNCTIONS["mul"]


@function(in_place=True)
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input + alpha * other``."""
    return _add(input, other if alpha == 1 else _mul(other, alpha))


def no_booleans(*operands: Any) -> None:
    """Raise torch's error for a difference of booleans."""
    if any(operand._array.dtype.kind == "b" if isinstance(operand, Tensor) else type(operand) is bool for operand in operands):
        prepared(operands, "sub", False)


@function(in_place=True, aliases=("subtract",))
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input - alpha * other``."""
    no_booleans(input, other)
    return _sub(input, other if alpha == 1 else _mul(other, alpha))


@function()
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``other - alpha * input``."""
    no_booleans(input, other)
    return _rsub(other, input if alpha == 1 else _mul(input, alpha))


@function(in_place=True, aliases=("divide",))
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``, rounded as `rounding_mode`, ``"floor"`` or ``"trunc"``, says."""
    if rounding_mode is None:
        return _divide(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return _truncated(input, other)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


function("true_divide", in_place=True)(_divide)


def truncated(x: Any, y: Any) -> Any:
    """The quotient without its fraction."""
    if dtype_of(x).kind in "iu":
        return np.trunc(np.asarray(x) / y).astype(dtype_of(x))
    quotient = x / y
    return flat(arithmetic.trunc(quotient), quotient)


def floored(x: Any, y: Any) -> Any:
    """The quotient rounded down."""
    quotient = arithmetic.floor_divide(x, y)
    return flat(quotient, x + y) if dtype_of(quotient).kind == "f" else quotient


_plain_floor = define("_floor_divide", floored, node="DivBackward1", public=False, method=False)
_plain_trunc = define("_trunc_divide", truncated, node="DivBackward1", public=False, method=False)


def _together(operation: Any, input: Any, other: Any, name: str) -> Tensor:
    """A composition of two operands in their common dtype."""
    from_values = prepared((input, other), name, False)[0]
    cast = [
        value if isinstance(value, Tensor) and value._array.dtype == dtype_of(array) else array
        for value, array in zip((input, other), from_values)
    ]
    return operation(*cast)


def no_zero_divisor(input: Any, other: Any) -> None:
    """Raise torch's error for a division of integers by 0; of booleans there is none."""
    x, y = (value._array if isinstance(value, Tensor) else value for value in (input, other))
    if type(x) is np.ndarray and x.dtype.kind == "f" and type(other) is not complex and not isinstance(other, Tensor):
        return
    of = result_dtype(x, y)
    checked_kind(of, "div", "if")
    if of.kind in "iu" and not isinstance(y, Tracer) and not np.all(y):
        raise RuntimeError(f"ZeroDivisionError{at_user_line()}")


@function(in_place=True)
def floor_divide(input: Any, other: Any) -> Tensor:
    """The quotient rounded down."""
    no_zero_divisor(input, other)
    return _together(_plain_floor, input, other, "floor_divide")


@function(in_place=True)
def remainder(input: Any, other: Any) -> Tensor:
    """What a division rounded down leaves over: of the divisor's sign."""
    no_zero_divisor(input, other)
    return _remainder(input, other)


@function(in_place=True)
def fmod(input: Any, other: Any) -> Tensor:
    """What a division rounded towards 0 leaves over: of the dividend's sign."""
    no_zero_divisor(input, other)
    return _fmod(input, other)


def _truncated(input: Any, other: Any) -> Tensor:
    no_zero_divisor(input, other)
    return _together(_plain_trunc, input, other, "div")


@function(in_place=True)
def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``."""
    if type(exponent) is float and exponent.is_integer() and abs(exponent) < 2**31:
        whole = int(exponent)
    else:
        whole = exponent
    if type(whole) is int and isinstance(input, Tensor) and input._array.dtype.kind in "fc":
        return perform(arithmetic.integer_power, (input,), {"exponent": whole}, POWER, "pow")
    if type(exponent) is float and exponent == 0.5 and isinstance(input, Tensor) and input._array.dtype.kind == "f":
        return perform(arithmetic.sqrt, (input,), {}, POWER, "pow")
    if type(exponent) is int and exponent < 0 and isinstance(input, Tensor):
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if not isinstance(input, Tensor):
        return _power_of_number(input, exponent)
    return (_power if isinstance(exponent, Tensor) else _number_power)(input, exponent)




@function(in_place=True)
def float_power(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent`` in double precision."""
    return pow(doubled(input), doubled(exponent))


def doubled(value: Any) -> Any:
    """A tensor or number in double precision."""
    if isinstance(value, Tensor):
        return value.cdouble() if value._array.dtype.kind == "c" else value.double()
    return value if isinstance(value, complex) else float(value)


@function(in_place=True)
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """To the nearest integers, halves to even ones; or to as many decimals."""
    checked_kind(input._array.dtype, "round", "f" if decimals else "if")
    return _round(input, decimals)


_round = define("_round", lambda x, decimals: flat(np.round(x, decimals), x), node="RoundBackward0", method=False, public=False)


def inverted(self: Tensor) -> Any:
    """Every bit the other way round."""
    if self._array.dtype.kind in "fc":
        raise TypeError(f"~ (operator.invert) is only implemented on integer and Boolean-type tensors{at_user_line()}")
    return self.bitwise_not()


def _operator(name: str, forward: Any, reverse: Any = None) -> None:
    setattr(Tensor, f"__{name}__", forward)
    if reverse is not None:
        setattr(Tensor, f"__r{name}__", reverse)


_operator("add", _add, _add)
_operator("sub", _sub, lambda self, other: _rsub(other, self))
_operator("mul", _mul, _mul)
_operator("truediv", _divide, lambda self, other: _mul(self.reciprocal(), other))
_operator("floordiv", floor_divide, lambda self, other: floor_divide(other, self))
_operator("mod", FUNCTIONS["remainder"], lambda self, other: FUNCTIONS["remainder"](other, self))
_operator("pow", pow, lambda self, other: _power_of_number(other, self))
for _name in ("and", "or", "xor"):
    _operator(_name, FUNCTIONS[f"bitwise_{_name}"], FUNCTIONS[f"bitwise_{_name}"])
_operator("lshift", FUNCTIONS["bitwise_left_shift"])
_operator("rshift", FUNCTIONS["bitwise_right_shift"])
for _name in ("lt", "le", "gt", "ge"):
    _operator(_name, FUNCTIONS[_name])
install_members(__neg__=FUNCTIONS["neg"], __pos__=FUNCTIONS["positive"], __abs__=FUNCTIONS["abs"], __invert__=inverted)


def _equality(compare: Any) -> Any:
    def method(self: Tensor, other: Any) -> Any:
        if isinstance(other, (Tensor, bool, int, float, complex, np.generic, np.ndarray)):
            return compare(self, other)
        return NotImplemented

    return method


UFUNCS.update({
    add: np.add, _add: np.add, sub: np.subtract, _sub: np.subtract, _mul: np.multiply, div: np.true_divide, _divide: np.true_divide,
})  # fmt: skip
install_members(__eq__=_equality(FUNCTIONS["eq"]), __ne__=_equality(FUNCTIONS["ne"]))

for _name, _function in {
    "add": _add, "sub": _sub, "mul": _mul, "truediv": _divide, "floordiv": floor_divide, "pow": pow, "mod": FUNCTIONS["remainder"],
    "and": FUNCTIONS["bitwise_and"], "or": FUNCTIONS["bitwise_or"], "xor": FUNCTIONS["bitwise_xor"],
}.items():  # fmt: skip
    setattr(
        Tensor, f"__i{_name}__", (lambda function, name: lambda self, other: written(self, function, (other,), {}, name))(_function, _name)
    )

