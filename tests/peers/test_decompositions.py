"""Decompositions of real and complex matrices against JAX and autograd: functions that do not depend on the choice of vectors."""

import numpy as np
import pytest

import functrans as ft

pytestmark = pytest.mark.peers

jax = pytest.importorskip("jax", reason="needs the peers extra")
jnp = pytest.importorskip("jax.numpy", reason="needs the peers extra")
autograd = pytest.importorskip("autograd", reason="needs the peers extra")
anp = pytest.importorskip("autograd.numpy", reason="needs the peers extra")

jax.config.update("jax_enable_x64", True)

GENERATOR = np.random.default_rng(5)
SQUARE, TALL, PART = GENERATOR.normal(size=(4, 4)), GENERATOR.normal(size=(5, 3)), GENERATOR.normal(size=(5, 4))
MATRICES = {
    "square": SQUARE, "tall": TALL, "wide": TALL.T, "complex square": SQUARE + 1j * PART[:4],
    "complex tall": TALL + 1j * PART[:, :3], "complex wide": (TALL + 1j * PART[:, :3]).T,
}  # fmt: skip
SQUARES = ("square", "complex square")
NOT_WIDE = ("square", "tall", "complex square", "complex tall")


def gram(n, a):
    return n.matmul(a, n.conj(a.T)) + np.diag(np.arange(1.0, len(a) + 1))


def of_eigh(n, a):
    w, v = n.linalg.eigh(gram(n, a))
    return n.sum(n.sin(w)) + n.sum(n.abs(n.matmul(v * n.exp(-w), n.conj(v.T))) ** 2)


def of_svd(n, a):
    u, s, vh = n.linalg.svd(a, full_matrices=False)
    return n.sum(n.sin(s)) + n.sum(n.abs(n.matmul(u * s**2, vh)) ** 2) + n.real(n.matmul(u, vh)[0, 1])


def of_qr(n, a):
    q, r = n.linalg.qr(a)
    return n.sum(n.sin(n.abs(q))) + n.sum(n.real(r) ** 3)


def eig(n, a):
    """JAX asks for consent to derivatives of vectors."""
    if n is jnp:
        return jax.lax.linalg.eig(a, compute_left_eigenvectors=False, enable_eigvec_derivs=True)
    return n.linalg.eig(a)


def of_eig(n, a):
    w, v = eig(n, a)
    return n.real(n.sum(n.exp(w / 3))) + n.sum(n.abs(v) ** 4)


CASES = {
    "eigh": (of_eigh, MATRICES), "eig": (of_eig, SQUARES), "svd": (of_svd, MATRICES), "qr": (of_qr, NOT_WIDE),
    "singular values": (lambda n, a: n.sum(n.sin(n.linalg.svd(a, compute_uv=False))), MATRICES),
    "pinv": (lambda n, a: n.sum(n.abs(n.linalg.pinv(a)) ** 2), MATRICES),
    "lstsq": (lambda n, a: n.sum(n.abs(n.linalg.lstsq(a, PART[: len(a)])[0]) ** 2), MATRICES),
    "nuclear norm": (lambda n, a: n.linalg.norm(a, "nuc"), MATRICES), "spectral norm": (lambda n, a: n.linalg.norm(a, 2), MATRICES),
    "condition": (lambda n, a: n.log(n.linalg.cond(a)), MATRICES),
}  # fmt: skip


@pytest.mark.parametrize("name, kind", [(name, kind) for name, (_, kinds) in CASES.items() for kind in kinds if "complex" in kind])
def test_against_jax(name, kind):
    """Of complex matrices; of real ones they are in `test_against_jax.py`."""
    function, a = CASES[name][0], MATRICES[kind]
    value, gradient = ft.value_and_grad(lambda a: function(np, a))(a)
    expected, slope = jax.value_and_grad(lambda a: function(jnp, a))(jnp.asarray(a))
    np.testing.assert_allclose(value, expected, 1e-9)
    np.testing.assert_allclose(gradient, slope, 1e-8, 1e-9)
    direction = np.cos(np.arange(a.size)).reshape(a.shape).astype(a.dtype)
    ours = ft.jvp(ft.grad(lambda a: function(np, a)), (a,), (direction,))[1]
    theirs = jax.jvp(jax.grad(lambda a: function(jnp, a)), (jnp.asarray(a),), (jnp.asarray(direction),))[1]
    np.testing.assert_allclose(ours, theirs, 1e-7, 1e-8)


@pytest.mark.parametrize("kind", ["square", "tall", "complex square"])
@pytest.mark.parametrize("name", ["eigh", "svd", "pinv", "nuclear norm", "eig"])
def test_against_autograd(name, kind):
    if kind not in CASES[name][1]:
        return
    function, a = CASES[name][0], MATRICES[kind]
    gradient = ft.grad(lambda a: function(np, a))(a)
    np.testing.assert_allclose(gradient, autograd.grad(lambda a: function(anp, a))(a), 1e-7, 1e-8)
