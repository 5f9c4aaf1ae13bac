"""The ufuncs of ``scipy.special`` that have elementary derivatives, or ones in each other.

Loaded at the first call of a SciPy ufunc on a traced value, so that `import functrans` does not import
SciPy. Formulas are those of the NIST Digital Library of Mathematical Functions, chapters 5, 7, 8 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as special

from functrans.core.primitive import Elementwise
from functrans.core.tracer import UFUNCS
from functrans.core.types import dtype_of, type_of
from functrans.errors import UnsupportedError, at_user_line
from functrans.ops.arithmetic import ONE, POSITIVE, TWO_POSITIVE, LikeUfunc, common_dtype, reals

TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
ROOT_TWO_PI = math.sqrt(2 * math.pi)

erf = Elementwise("erf", special.erf, [lambda x: TWO_OVER_ROOT_PI * np.exp(-x * x)], samples=ONE)
erfc = Elementwise("erfc", special.erfc, [lambda x: -TWO_OVER_ROOT_PI * np.exp(-x * x)], samples=ONE)
expit = Elementwise("expit", special.expit, [lambda x, out: out * expit(-x)], samples=ONE)
logit = Elementwise("logit", special.logit, [lambda x: 1 / (x * (1 - x))], samples=reals((2, 3), low=0.1, high=0.9))
ndtr = Elementwise("ndtr", special.ndtr, [lambda x: np.exp(-x * x / 2) / ROOT_TWO_PI], samples=ONE)
log_ndtr = Elementwise("log_ndtr", special.log_ndtr, [lambda x, out: np.exp(-x * x / 2 - out) / ROOT_TWO_PI], samples=ONE)
xlogy = Elementwise(
    "xlogy",
    special.xlogy,
    [lambda x, y: np.log(np.where(x == 0, 1.0, y).astype(common_dtype(x, y))), lambda x, y: x / y],
    samples=TWO_POSITIVE,
)
# zeta(s, x) with s >= 2: the derivatives of digamma. With respect to s there is no closed form.
zeta = Elementwise(
    "zeta",
    LikeUfunc(special.zeta, slice(0, 2)),
    [None, lambda x, y: -(x * zeta(x + 1.0, y))],
    samples=lambda: [((np.full((2, 3), 2.0), POSITIVE()[0][0][0]), {})],
)


def trigamma(x: Any) -> Any:
    """The derivative of digamma, for real arguments."""
    if dtype_of(x).kind == "c":
        raise UnsupportedError(
            f"digamma: no derivative for a complex argument, got {type_of(x)}"
            f"\n  Remedy: give it a rule with ft.custom_jvp.{at_user_line()}"
        )
    return zeta(2.0, x)


digamma = Elementwise("digamma", special.digamma, [trigamma], samples=POSITIVE)
gammaln = Elementwise("gammaln", special.gammaln, [lambda x: digamma(x)], samples=POSITIVE)

UFUNCS[special.digamma] = digamma  # SciPy calls it psi


def beside_zero(x: Any, elsewhere: Callable[[Any], Any], there: float) -> Any:
    """`elsewhere` of `x`, which divides by it, and its limit at 0."""
    divisor = np.where(x == 0, 1.0, x).astype(dtype_of(x))
    return np.where(x == 0, there, elsewhere(divisor)).astype(dtype_of(x))


ROOT_PI = math.sqrt(math.pi)
UNIT = reals((2, 3), low=0.1, high=0.9)

erfinv = Elementwise("erfinv", special.erfinv, [lambda out: ROOT_PI / 2 * np.exp(out * out)], samples=UNIT)
erfcinv = Elementwise("erfcinv", special.erfcinv, [lambda out: -ROOT_PI / 2 * np.exp(out * out)], samples=UNIT)
erfcx = Elementwise("erfcx", special.erfcx, [lambda x, out: 2 * x * out - TWO_OVER_ROOT_PI], samples=ONE)
ndtri = Elementwise("ndtri", special.ndtri, [lambda out: ROOT_TWO_PI * np.exp(out * out / 2)], samples=UNIT)
entr = Elementwise("entr", special.entr, [lambda x: -np.log(x) - 1], samples=POSITIVE)
xlog1py = Elementwise(
    "xlog1py",
    special.xlog1py,
    [lambda x, y: np.log1p(np.where(x == 0, 0.0, y).astype(common_dtype(x, y))), lambda x, y: x / (1 + y)],
    samples=TWO_POSITIVE,
)

# Bessel functions, of the first and the second kind and modified, those with an e scaled by an exponential.
i0 = Elementwise("i0", special.i0, [lambda x: i1(x)], samples=ONE)
i1 = Elementwise("i1", special.i1, [lambda x, out: beside_zero(x, lambda z: i0(z) - out / z, 0.5)], samples=ONE)
i0e = Elementwise("i0e", special.i0e, [lambda x, out: i1e(x) - np.sign(x) * out], samples=ONE)
i1e = Elementwise(
    "i1e", special.i1e, [lambda x, out: beside_zero(x, lambda z: i0e(z) - out * (np.sign(z) + 1 / z), 0.5)], samples=ONE
)
j0 = Elementwise("j0", special.j0, [lambda x: -j1(x)], samples=ONE)
j1 = Elementwise("j1", special.j1, [lambda x, out: beside_zero(x, lambda z: j0(z) - out / z, 0.5)], samples=ONE)
y0 = Elementwise("y0", special.y0, [lambda x: -y1(x)], samples=POSITIVE)
y1 = Elementwise("y1", special.y1, [lambda x, out: y0(x) - out / x], samples=POSITIVE)
k0 = Elementwise("k0", special.k0, [lambda x: -k1(x)], samples=POSITIVE)
k1 = Elementwise("k1", special.k1, [lambda x, out: -k0(x) - out / x], samples=POSITIVE)
k0e = Elementwise("k0e", special.k0e, [lambda x, out: out - k1e(x)], samples=POSITIVE)
k1e = Elementwise("k1e", special.k1e, [lambda x, out: out - out / x - k0e(x)], samples=POSITIVE)


def gamma_density(x: Any, y: Any) -> Any:
    """The density of the gamma distribution of shape `x` at `y`."""
    return np.exp((x - 1) * np.log(y) - y - gammaln(x))


# The incomplete gamma functions; with respect to the first operand there is no closed form, so SciPy's ufuncs do not find them.
gammainc = Elementwise(
    "gammainc",
    LikeUfunc(special.gammainc, slice(0, 2)),  # type: ignore[arg-type]
    [None, gamma_density],
    samples=lambda: [((np.full((2, 3), 2.5), POSITIVE()[0][0][0]), {})],
)
gammaincc = Elementwise(
    "gammaincc",
    LikeUfunc(special.gammaincc, slice(0, 2)),  # type: ignore[arg-type]
    [None, lambda x, y: -gamma_density(x, y)],
    samples=lambda: [((np.full((2, 3), 2.5), POSITIVE()[0][0][0]), {})],
)
