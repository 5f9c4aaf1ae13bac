"""Loops and branches against JAX, where it has the derivative."""

import numpy as np
import pytest

import functrans as ft

pytestmark = pytest.mark.peers

jax = pytest.importorskip("jax", reason="needs the peers extra")
jnp = pytest.importorskip("jax.numpy", reason="needs the peers extra")
lax = pytest.importorskip("jax.lax", reason="needs the peers extra")

jax.config.update("jax_enable_x64", True)

rng = np.random.default_rng(0)
W = 0.5 * rng.standard_normal((3, 3))
H = rng.standard_normal(3)
BATCH = rng.standard_normal((5, 3))


def spiral(m, lax, x):
    """A while_loop whose number of steps depends on `x`."""
    return lax.while_loop(lambda c: m.sum(c[0] ** 2) > 0.05, lambda c: (0.7 * m.sin(W @ c[0]) * m.cos(x[0]), c[1] + 1), (x, 0))[0]


def sides(m, lax, x):
    return lax.cond(m.sum(x) > 0, lambda x: m.exp(W @ x), lambda x: x**2 / (1 + x**2), x)


def powers(m, lax, x):
    index = (m.sum(x) * 2).astype(int)
    return lax.switch(index, [lambda x: x, lambda x: W @ m.tanh(x), lambda x: m.log1p(x**2)], x)


def counted(m, lax, x):
    return lax.fori_loop(1, 5, lambda i, c: m.tanh(W @ c) * i + x, x)


FUNCTIONS = {function.__name__: function for function in (spiral, sides, powers, counted)}


def ours(function):
    return lambda x: function(np, ft, x)


def theirs(function):
    return lambda x: function(jnp, lax, x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_forward_mode(name):
    mine, peer = ours(FUNCTIONS[name]), theirs(FUNCTIONS[name])
    for x in BATCH:
        for one, other in zip(ft.jvp(mine, (x,), (H,)), jax.jvp(peer, (x,), (H,))):
            np.testing.assert_allclose(one, other, 1e-10, 1e-12)
        np.testing.assert_allclose(ft.jacfwd(ft.jacfwd(mine))(x), jax.jacfwd(jax.jacfwd(peer))(x), 1e-9, 1e-11)


@pytest.mark.parametrize("name", ["sides", "powers", "counted"])
def test_reverse_mode(name):
    mine, peer = ours(FUNCTIONS[name]), theirs(FUNCTIONS[name])
    for x in BATCH:
        np.testing.assert_allclose(ft.jacrev(mine)(x), jax.jacrev(peer)(x), 1e-10, 1e-12)
        loss, peer_loss = (lambda x: np.sum(mine(x) ** 2)), (lambda x: jnp.sum(peer(x) ** 2))
        np.testing.assert_allclose(ft.hessian(loss)(x), jax.hessian(peer_loss)(x), 1e-9, 1e-11)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_batches(name):
    mine, peer = ours(FUNCTIONS[name]), theirs(FUNCTIONS[name])
    np.testing.assert_allclose(ft.vmap(mine)(BATCH), jax.vmap(peer)(BATCH), 1e-10, 1e-12)
    np.testing.assert_allclose(ft.vmap(ft.jacfwd(mine))(BATCH), jax.vmap(jax.jacfwd(peer))(BATCH), 1e-9, 1e-11)
