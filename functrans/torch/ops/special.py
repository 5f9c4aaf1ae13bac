"""``torch.special``: special functions, on those of SciPy.

Functions of one file of `ops/` under their names there come first; then those torch has here only, with derivatives wherever
functrans has them, which is for more than torch: Bessel functions and orthogonal polynomials among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from functrans.core.tracer import Tracer
from functrans.core.types import dtype_of, shape_of
from functrans.errors import at_user_line
from functrans.ops import special
from functrans.torch.autograd.graph import PrimitiveNode, named
from functrans.torch.ops.apply import binary
from functrans.torch.ops.reductions import as_floating
from functrans.torch.ops.table import FUNCTIONS, checked_kind, define, function, install, node_name
from functrans.torch.tensor import Tensor, current_edge, made

__all__ = [
    "digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc", "gammaln", "i0", "log1p", "log_softmax",
    "logit", "logsumexp", "multigammaln", "polygamma", "psi", "round", "sinc", "softmax", "xlogy", "zeta",
]  # fmt: skip

digamma = psi = FUNCTIONS["digamma"]
erf, erfc, exp2, expit, expm1 = (FUNCTIONS[name] for name in ("erf", "erfc", "exp2", "expit", "expm1"))
gammaln, log1p, log_softmax, logit = (FUNCTIONS[name] for name in ("lgamma", "log1p", "log_softmax", "logit"))
logsumexp, round, sinc, softmax, xlogy = (FUNCTIONS[name] for name in ("logsumexp", "round", "sinc", "softmax", "xlogy"))
i0 = define("i0", special.i0, floating=True, kinds="bif")
erfinv = define("erfinv", special.erfinv, floating=True, kinds="bif")


def entered(name: str, operation: Any) -> Any:
    """Enter a function that only this namespace has."""
    __all__.append(name)
    return define(name, operation, node=node_name(f"special_{name}"), floating=True, method=False, public=False, kinds="bif")


entr = entered("entr", special.entr)
erfcx = entered("erfcx", special.erfcx)
ndtr = entered("ndtr", special.ndtr)
ndtri = entered("ndtri", special.ndtri)
log_ndtr = entered("log_ndtr", special.log_ndtr)
xlog1py = entered("xlog1py", special.xlog1py)
i0e, i1, i1e = entered("i0e", special.i0e), entered("i1", special.i1), entered("i1e", special.i1e)
bessel_j0, bessel_j1 = entered("bessel_j0", special.j0), entered("bessel_j1", special.j1)
bessel_y0, bessel_y1 = entered("bessel_y0", special.y0), entered("bessel_y1", special.y1)
modified_bessel_i0, modified_bessel_i1 = entered("modified_bessel_i0", special.i0), entered("modified_bessel_i1", special.i1)
modified_bessel_k0, modified_bessel_k1 = entered("modified_bessel_k0", special.k0), entered("modified_bessel_k1", special.k1)
scaled_modified_bessel_k0 = entered("scaled_modified_bessel_k0", special.k0e)
scaled_modified_bessel_k1 = entered("scaled_modified_bessel_k1", special.k1e)
spherical_bessel_j0 = entered("spherical_bessel_j0", lambda x: np.sinc(as_floating(x) / math.pi))


def of_second(name: str, primitive: Any, node: str) -> Callable[[Any, Any], Tensor]:
    """A function of two tensors that has no derivative with respect to the first."""
    call = binary(name, primitive, named(node, PrimitiveNode), True)

    def checked(input: Any, other: Any) -> Tensor:
        if isinstance(input, Tensor) and current_edge(input) is not None:
            raise NotImplementedError(
                f"{name}: the derivative with respect to the first argument is not supported"
                f"\n  Remedy: detach() it, or give it a rule of your own as a torch.autograd.Function.{at_user_line()}"
            )
        for each in (input, other):
            if isinstance(each, Tensor):
                checked_kind(each._array.dtype, name, "bif" if name == "zeta" else "if")
        return call(input, other)

    checked.__name__ = checked.__qualname__ = name
    checked.__doc__ = f"``{name}`` as torch has it."
    return checked


gammainc = of_second("igamma", special.gammainc, "IgammaBackward0")
gammaincc = of_second("igammac", special.gammaincc, "IgammacBackward0")
zeta = of_second("zeta", special.zeta, "SpecialZetaBackward0")
install("igamma", gammainc, in_place=True)
install("igammac", gammaincc, in_place=True)


def derivative_of_digamma(n: int, x: Any) -> Any:
    """The `n`-th one: ``(-1)^(n+1) n! zeta(n + 1, x)``."""
    x = as_floating(x)
    if n == 0:
        return special.digamma(x)
    return special.zeta(dtype_of(x).type(n + 1), x) * dtype_of(x).type((-1) ** (n + 1) * math.factorial(n))


_polygamma = define("_polygamma", derivative_of_digamma, node="PolygammaBackward0", method=False, public=False, kinds="bif")


@function(method=False)
def polygamma(n: int, input: Tensor) -> Tensor:
    """The `n`-th derivative of the digamma function."""
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n.{at_user_line()}")
    return _polygamma(n, input)


install("polygamma", lambda input, n: polygamma(n, input), public=False, in_place=True)


def log_of_multivariate_gamma(x: Any, p: int) -> Any:
    """The logarithm of the gamma function of dimension `p`."""
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1{at_user_line()}")
    x = as_floating(x)
    terms = [special.gammaln(x - dtype_of(x).type(j / 2)) for j in range(p)]
    return sum(terms[1:], terms[0]) + dtype_of(x).type(p * (p - 1) / 4 * math.log(math.pi))


multigammaln = define("mvlgamma", log_of_multivariate_gamma, in_place=True, kinds="if")


def polynomial(name: str, argument: Callable[[Any], Any], first: Callable[[Any], Any], following: Callable[..., Any]) -> Any:
    """Orthogonal polynomials of degrees `n`: 1, `first`, and by recurrence ``following(k, x, p_k, p_(k-1))``."""

    def values(x: Any, n: Any) -> Any:
        x = argument(as_floating(x))
        degrees = np.asarray(n.peek(name) if isinstance(n, Tracer) else n).astype(np.int64)
        one = dtype_of(x).type(1)
        before, current = np.ones(shape_of(x), dtype_of(x)), first(x)
        result = np.where(degrees == 0, before, np.zeros(np.broadcast_shapes(shape_of(x), degrees.shape), dtype_of(x)))
        for k in range(1, int(degrees.max(initial=0)) + 1):
            result = np.where(degrees == k, current, result)
            before, current = current, following(k * one, x, current, before)
        return result

    return entered(name, values)


def twice(k: Any, x: Any, p: Any, before: Any) -> Any:
    """The recurrence of Chebyshev's polynomials."""
    return 2 * x * p - before


for _prefix, _argument in {"": lambda x: x, "shifted_": lambda x: 2 * x - 1}.items():
    for _kind, _first in {"t": lambda x: x, "u": lambda x: 2 * x, "v": lambda x: 2 * x - 1, "w": lambda x: 2 * x + 1}.items():
        _name = f"{_prefix}chebyshev_polynomial_{_kind}"
        globals()[_name] = polynomial(_name, _argument, _first, twice)

hermite_polynomial_h = polynomial("hermite_polynomial_h", lambda x: x, lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - 2 * k * q)
hermite_polynomial_he = polynomial("hermite_polynomial_he", lambda x: x, lambda x: x, lambda k, x, p, q: x * p - k * q)
laguerre_polynomial_l = polynomial(
    "laguerre_polynomial_l", lambda x: x, lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)
)
legendre_polynomial_p = polynomial(
    "legendre_polynomial_p", lambda x: x, lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)
)


def airy_ai(input: Tensor) -> Tensor:
    """The Airy function, without a derivative."""
    if current_edge(input) is not None:
        raise NotImplementedError(
            f"the derivative of torch.special.airy_ai is not supported\n  Remedy: detach() its argument.{at_user_line()}"
        )
    array = as_floating(input._array)
    return made(scipy.special.airy(array)[0].astype(array.dtype))


__all__.append("airy_ai")
