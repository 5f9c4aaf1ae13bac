"""Linear algebra: `solve`, `inv`, `cholesky`, `logabsdet`, `det` and its sign, over any leading axes.

Rules are those of Giles, Collected matrix derivative results for forward and reverse mode (2008);
Cholesky's is Murray, Differentiation of the Cholesky decomposition (2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from functrans.core.primitive import General
from functrans.core.types import ArrayType, dtype_of

WELL_CONDITIONED = np.array(
    [[[3.0, 0.5, -0.2], [0.3, 2.0, 0.1], [-0.4, 0.2, 2.5]], [[2.0, -0.3, 0.1], [0.2, 1.5, 0.4], [0.1, 0.3, 3.0]]]
)
POSITIVE_DEFINITE = WELL_CONDITIONED @ np.swapaxes(WELL_CONDITIONED, -1, -2)


def swap(x: Any) -> Any:
    """The transpose of each matrix."""
    return np.swapaxes(x, -1, -2)


def square_type(a: ArrayType) -> ArrayType:
    """The type of a matrix function's result; raises as NumPy does."""
    if len(a.shape) < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError("the last two axes must be of one length")
    return ArrayType(a.shape, inexact(a.dtype))


def inexact(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype NumPy's linear algebra computes in."""
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


def aligned(operands: Any, batched: Any, size: int) -> list[Any]:
    """Every operand with the batch axis in front."""
    return [operand if own else np.broadcast_to(operand, (size, *operand.shape)) for operand, own in zip(operands, batched)]


# a: [..., n, n], b: [..., n, k], with the same leading axes.
solve = General(
    "solve",
    np.linalg.solve,
    types=lambda a, b: ArrayType(b.shape, np.result_type(square_type(a).dtype, b.dtype)),
    jvp=lambda primals, tangents, out, active: solve(
        primals[0],
        (0 if tangents[1] is None else tangents[1]) - (0 if tangents[0] is None else tangents[0] @ out),
    ),
    pullback=lambda ct, operands, out, active: solve_pullback(ct, operands[0], out, active),
    batch=lambda operands, batched, size: solve(*aligned(operands, batched, size)),
    samples=lambda: [((WELL_CONDITIONED, np.arange(12.0).reshape(2, 3, 2) / 5), {})],
)


def solve_pullback(ct: Any, a: Any, out: Any, active: int) -> tuple[Any, Any]:
    """The cotangents of a and b: -w x^T and w, where a^T w = ct."""
    w = solve(swap(a), ct)
    return (-(w @ swap(out)) if active & 1 else None), w


inv = General(
    "inv",
    np.linalg.inv,
    types=square_type,
    jvp=lambda primals, tangents, out, active: -(out @ tangents[0] @ out),
    pullback=lambda ct, operands, out, active: (-(swap(out) @ ct @ swap(out)),),
    batch=lambda operands, batched, size: inv(*operands),
    samples=lambda: [((WELL_CONDITIONED,), {})],
)


def half_lower(x: Any) -> Any:
    """The lower triangle, with the diagonal halved."""
    size = x.shape[-1]
    return x * (np.tri(size) - 0.5 * np.eye(size)).astype(np.zeros((), dtype_of(x)).real.dtype)


def adjoint(x: Any) -> Any:
    """The conjugate transpose of each matrix."""
    return np.conjugate(swap(x))


def cholesky_jvp(primals: Any, tangents: Any, out: Any, active: int) -> Any:
    """L Phi(L^-1 S L^-H), where S is what NumPy reads of the tangent: the lower triangle, and a real diagonal."""
    lower = half_lower(tangents[0])
    left = solve(out, lower + adjoint(lower))
    inner = adjoint(solve(out, adjoint(left)))
    return out @ half_lower(inner)


def cholesky_pullback(ct: Any, operands: Any, out: Any, active: int) -> tuple[Any]:
    """The transpose of `cholesky_jvp`, for the pairing Re(sum(ct * tangent))."""
    ct = np.conjugate(ct)
    inner = half_lower(adjoint(out) @ ct)
    left = solve(adjoint(out), inner)
    full = adjoint(solve(adjoint(out), adjoint(left)))
    hermitian = np.conjugate(full + adjoint(full)) / 2
    return (np.tril(hermitian) + np.tril(hermitian, -1),)


cholesky = General(
    "cholesky",
    np.linalg.cholesky,
    types=square_type,
    jvp=cholesky_jvp,
    pullback=cholesky_pullback,
    batch=lambda operands, batched, size: cholesky(*operands),
    samples=lambda: [((POSITIVE_DEFINITE,), {})],
)

# log |det a|, of real or complex a; the sign has no derivative for real a.
logabsdet = General(
    "logabsdet",
    lambda a: np.linalg.slogdet(a)[1],
    types=lambda a: ArrayType(a.shape[:-2], np.zeros((), square_type(a).dtype).real.dtype),
    jvp=lambda primals, tangents, out, active: np.real(np.trace(solve(primals[0], tangents[0]), axis1=-2, axis2=-1)),
    pullback=lambda ct, operands, out, active: (ct[..., None, None] * swap(inv(operands[0])),),
    batch=lambda operands, batched, size: logabsdet(*operands),
    samples=lambda: [((WELL_CONDITIONED,), {})],
)


def det_sign_pullback(ct: Any, operands: Any, out: Any, active: int) -> tuple[Any]:
    """The transpose of ``out * i Im tr(a^-1 da)``."""
    imaginary = np.real(1j * ct * out)
    return (-1j * imaginary[..., None, None] * swap(inv(operands[0])),)


# det a / |det a|, without overflow: flat for real a, and of modulus 1 for complex a.
det_sign = General(
    "det_sign",
    lambda a: np.linalg.slogdet(a)[0],
    types=lambda a: ArrayType(a.shape[:-2], square_type(a).dtype),
    jvp=lambda primals, tangents, out, active: (
        out * (1j * np.imag(np.trace(solve(primals[0], tangents[0]), axis1=-2, axis2=-1)) if dtype_of(out).kind == "c" else 0)
    ),
    pullback=lambda ct, operands, out, active: (
        det_sign_pullback(ct, operands, out, active) if dtype_of(out).kind == "c" else (np.zeros_like(operands[0]),)
    ),
    batch=lambda operands, batched, size: det_sign(*operands),
    samples=lambda: [((WELL_CONDITIONED,), {})],
)

# d det(a) = det(a) tr(a^-1 da): for invertible a, as IEEE gives it for singular ones.
det = General(
    "det",
    np.linalg.det,
    types=lambda a: ArrayType(a.shape[:-2], square_type(a).dtype),
    jvp=lambda primals, tangents, out, active: out * np.trace(solve(primals[0], tangents[0]), axis1=-2, axis2=-1),
    pullback=lambda ct, operands, out, active: ((ct * out)[..., None, None] * swap(inv(operands[0])),),
    batch=lambda operands, batched, size: det(*operands),
    samples=lambda: [((WELL_CONDITIONED,), {})],
)
