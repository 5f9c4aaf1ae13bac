"""Values and derivatives of every op against JAX, in float64 and complex128."""

import numpy as np
import pytest
import scipy.special

import functrans as ft
import functrans.ops.special as ops_special  # declared when SciPy's ufuncs are first met
from functrans.core.primitive import PRIMITIVES, Control

pytestmark = pytest.mark.peers

jax = pytest.importorskip("jax", reason="needs the peers extra")
jnp = pytest.importorskip("jax.numpy", reason="needs the peers extra")
jsp = pytest.importorskip("jax.scipy.special", reason="needs the peers extra")

jax.config.update("jax_enable_x64", True)

A = np.array([[0.3, 1.2, 0.7], [1.9, 0.4, 0.8]])
B = np.array([0.9, 0.5, 1.4])
UNIT = A / 2.0
M = np.array([[3.0, 0.5, -0.2], [0.3, 2.0, 0.1], [-0.4, 0.2, 2.5]])
V = np.arange(12.0).reshape(3, 4) / 7
Z = A + 1j * A[::-1]
ROWS = np.array([[0, 1], [1, 0]])


def scipy_linalg(m):
    """What has ``lu`` and ``expm``."""
    return jax.scipy.linalg if m is jnp else ft.scipy.linalg


def eig(m, a):
    """JAX asks for consent to derivatives of vectors."""
    if m is jnp:
        return jax.lax.linalg.eig(a, compute_left_eigenvectors=False, enable_eigvec_derivs=True)
    return m.linalg.eig(a)


def from_factors(m, w, v):
    """A function of a matrix, which does not depend on the signs of its vectors."""
    return (v * m.sin(w)) @ m.linalg.inv(v)


# Primitive -> (function of the namespace and of arrays, arrays to differentiate with respect to).
ELEMENTWISE_1 = "negative positive absolute fabs sign sqrt cbrt square reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsinh arctan deg2rad rad2deg floor ceil trunc rint signbit isfinite isinf isnan logical_not"
ELEMENTWISE_2 = "add subtract multiply divide power floor_divide remainder fmod logaddexp logaddexp2 arctan2 hypot maximum minimum fmax fmin copysign heaviside nextafter equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor"
INTEGERS = "bitwise_and bitwise_or bitwise_xor left_shift right_shift gcd lcm"

SPECIAL = "erf erfc expit logit ndtr log_ndtr digamma gammaln entr erfinv ndtri i0 i0e i1 i1e"


def special(module):
    """The special functions that go with a namespace."""
    return jsp if module is jnp else scipy.special


CASES = {
    **{name: (lambda m, x, name=name: getattr(m, name)(x), (A,)) for name in ELEMENTWISE_1.split()},
    **{name: (lambda m, x, y, name=name: getattr(m, name)(x, y), (A, B)) for name in ELEMENTWISE_2.split()},
    **{
        name: (lambda m, x, name=name: getattr(m, name)(np.array([5, 2, 9]), np.array([3, 1, 2])) * x, (B,))
        for name in INTEGERS.split()
    },
    **{name: (lambda m, x, name=name: getattr(m, name)(x), (UNIT,)) for name in ("arcsin", "arccos", "arctanh")},
    **{name: (lambda m, x, name=name: getattr(special(m), name)(x), (UNIT,)) for name in SPECIAL.split()},
    "xlogy": (lambda m, x, y: special(m).xlogy(x, y), (A, B)),
    "xlog1py": (lambda m, x, y: special(m).xlog1py(x, y), (A, B)),
    "gammainc": (lambda m, x: (jsp if m is jnp else ops_special).gammainc(np.float64(1.7), x), (A,)),
    "gammaincc": (lambda m, x: (jsp if m is jnp else ops_special).gammaincc(np.float64(1.7), x), (A,)),
    "fft": (lambda m, x: m.abs(m.fft.fft(x, axis=1)) + m.fft.irfft(m.fft.rfft(x**2, axis=0), n=2, axis=0), (A,)),
    "zeta": (lambda m, x: special(m).digamma(special(m).expit(x)), (A,)),
    "arccosh": (lambda m, x: m.arccosh(x), (A + 1.0,)),
    "invert": (lambda m, x: m.invert(np.array([5, 2, 9])) * x, (B,)),
    "masked_multiply": (lambda m, x: m.sqrt(m.sum(x * x)), (A,)),
    "integer_power": (lambda m, x: x**3 + x**-2, (A,)),
    "where": (lambda m, x, y: m.where(x > y, x * 2, y), (A, B)),
    "copy": (lambda m, x: m.copy(x), (A,)),
    "convert": (lambda m, x: x.astype(np.float32) * 2.0, (A,)),
    "real": (lambda m, z: m.real(z * z), (Z,)),
    "imag": (lambda m, z: m.imag(z * z), (Z,)),
    "conjugate": (lambda m, z: m.conj(z) * z * z, (Z,)),
    "reshape": (lambda m, x: m.reshape(x, (3, 2)) ** 2, (A,)),
    "transpose": (lambda m, x: m.transpose(x) ** 2, (A,)),
    "broadcast_to": (lambda m, x: m.broadcast_to(x, (4, 3)) ** 2, (B,)),
    "concatenate": (lambda m, x, y: m.concatenate([x, y[None]], 0) ** 2, (A, B)),
    "pad": (lambda m, x: m.pad(x, ((1, 0), (2, 1)), constant_values=2.0) ** 2, (A,)),
    "flip": (lambda m, x: m.flip(x, 1) * A, (A,)),
    "cumsum": (lambda m, x: m.cumsum(x, 1) ** 2, (A,)),
    "triangle": (lambda m, x: m.tril(x, -1) + m.triu(x, 1) ** 2, (M,)),
    "diagonal": (lambda m, x: m.diagonal(x, 1) ** 2, (M,)),
    "diagonal_embed": (lambda m, x: m.diag(x, -1) @ m.ones((4, 2)), (B,)),
    "sum": (lambda m, x: m.sum(x, 0) ** 2, (A,)),
    "max": (lambda m, x: m.max(x, 0) ** 2, (A,)),
    "min": (lambda m, x: m.min(x, 1) ** 2, (A,)),
    "prod": (lambda m, x: m.prod(x, 1), (A,)),
    "cumprod": (lambda m, x: m.cumprod(x, 1), (A,)),
    "all": (lambda m, x: m.all(x > 0.5, 0) * x, (A,)),
    "any": (lambda m, x: m.any(x > 1.0, 0) * x, (A,)),
    "argmax": (lambda m, x: m.argmax(x, 1)[:, None] * x, (A,)),
    "argmin": (lambda m, x: m.argmin(x, 1)[:, None] * x, (A,)),
    "argsort": (lambda m, x: x * m.argsort(x, 1), (A,)),
    "sort": (lambda m, x: m.sort(x, 1) ** 2 * m.arange(x.shape[1]), (A,)),
    "contract": (lambda m, x, y: m.einsum("ij,jk->ki", x, y) ** 2, (A, V)),
    "getitem": (lambda m, x: x[ROWS, :2] ** 2 + x[0, ::2][::-1], (A,)),
    "solve": (lambda m, a, b: m.linalg.solve(a, b), (M, V)),
    "inv": (lambda m, a: m.linalg.inv(a), (M,)),
    "det": (lambda m, a: m.linalg.det(a), (M,)),
    "det_sign": (lambda m, a: m.linalg.slogdet(a + 0.1j * a.T)[0], (M,)),
    "logabsdet": (lambda m, a: m.linalg.slogdet(a)[1], (M,)),
    "cholesky": (lambda m, a: m.linalg.cholesky(a @ a.T), (M,)),
    "eigh": (lambda m, a: from_factors(m, *m.linalg.eigh(a @ a.T)), (M,)),
    "eigvalsh": (lambda m, a: m.linalg.eigvalsh(a @ a.T), (M,)),
    "eig": (lambda m, a: from_factors(m, *eig(m, a)), (M,)),
    "eigvals": (lambda m, a: m.linalg.eigvals(a) if m is np else eig(m, a)[0], (M,)),
    "svd": (lambda m, a: m.matmul(*m.linalg.svd(a, full_matrices=False)[::2]), (A,)),
    "svdvals": (lambda m, a: m.linalg.svdvals(a), (A,)),
    "qr": (lambda m, a: m.linalg.qr(a)[0] @ m.sin(m.linalg.qr(a)[1]), (M,)),
    "pinv": (lambda m, a: m.linalg.pinv(a), (A,)),
    "lstsq": (lambda m, a, b: m.linalg.lstsq(a, b)[0], (A.T, M)),
    "lu": (lambda m, a: m.matmul(*scipy_linalg(m).lu(a)[1:]) @ scipy_linalg(m).lu(a)[2], (M,)),
    "expm": (lambda m, a: scipy_linalg(m).expm(a / 3), (M,)),
    "index_add": (lambda m, x, y: x.at[ROWS].add(y) ** 2, (A, np.ones((2, 2, 3)))),
    "index_set": (lambda m, x, y: x.at[0, ::2].set(y[:2]) ** 2, (A, B)),
}
# Rules of calls and of views, and positions, which have no operands; tested in their own files.
ELSEWHERE = {
    "axis_sum", "barrier", "checkpoint_name", "custom_call", "debug_breakpoint", "debug_check", "debug_print", "fold", "offload",
    "positions", "pure_callback", "stop_gradient", "windows",
} | {name for name, primitive in PRIMITIVES.items() if isinstance(primitive, Control)}  # fmt: skip
# JAX has none of these; the samples of their declarations compare them with finite differences.
ELSEWHERE |= {"erfcinv", "erfcx", "j0", "j1", "k0", "k0e", "k1", "k1e", "y0", "y1"}
# JAX has no derivative of these.
VALUES_ONLY = {"nextafter"}


def test_every_op_is_covered(record_property):
    covered = set(CASES) | ELSEWHERE
    record_property("ops_covered", len(CASES))
    print(f"{len(CASES)} ops against JAX")
    assert set(PRIMITIVES) - covered == set()


def same(actual, expected, name):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-7 if name == "convert" else 1e-9, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_second_derivatives(name):
    function, arguments = CASES[name]
    if name in VALUES_ONLY:
        same(ft.vjp(lambda *xs: function(np, *xs), *arguments)[0], function(jnp, *map(jnp.asarray, arguments)), name)
        return
    value, pullback = ft.vjp(lambda *xs: function(np, *xs), *arguments)
    expected, jax_pullback = jax.vjp(lambda *xs: function(jnp, *xs), *map(jnp.asarray, arguments))
    same(value, expected, name)
    assert np.asarray(value).dtype.kind == np.asarray(expected).dtype.kind
    if np.asarray(value).dtype.kind not in "fc":
        return
    ct = np.cos(np.arange(np.size(value))).reshape(np.shape(value)).astype(np.asarray(value).dtype)
    for ours, theirs in zip(pullback(ct), jax_pullback(jnp.asarray(ct))):
        same(ours, theirs, name)

    def slope(module, grad, *xs):
        return grad(lambda *ys: module.sum(module.sin(module.real(function(module, *ys)))), argnums=tuple(range(len(xs))))(*xs)

    tangents = tuple(np.cos(x.real) + (0.5j if np.iscomplexobj(x) else 0.0) for x in arguments)
    ours = ft.jvp(lambda *xs: slope(np, ft.grad, *xs), arguments, tangents)[1]
    theirs = jax.jvp(
        lambda *xs: slope(jnp, jax.grad, *xs), tuple(map(jnp.asarray, arguments)), tuple(map(jnp.asarray, tangents))
    )[1]
    for one, other in zip(ours, theirs):
        same(one, other, name)
