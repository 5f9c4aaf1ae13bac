"""The ufuncs of ``scipy.special`` that have elementary derivatives, or ones in each other.

Loaded at the first call of a SciPy ufunc on a traced value, so that `import functrans` does not import
SciPy. Formulas are those of the NIST Digital Library of Mathematical Functions, chapters 5 and 7.
"""

from __future__ import annotations

import math
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
