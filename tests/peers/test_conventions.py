"""The conventions shared with JAX: derivatives of complex functions, and collectives over named batch axes."""

import numpy as np
import pytest

import functrans as ft

pytestmark = pytest.mark.peers

jax = pytest.importorskip("jax", reason="needs the peers extra")
jnp = pytest.importorskip("jax.numpy", reason="needs the peers extra")

jax.config.update("jax_enable_x64", True)

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(4, 3))
Z = X + 1j * GENERATOR.normal(size=(4, 3))

# Real functions of complex arrays; n is the namespace.
COMPLEX = {
    "abs": lambda n, z: n.sum(n.abs(n.sin(z))),
    "abs squared": lambda n, z: n.sum(n.abs(z) ** 2),
    "real": lambda n, z: n.sum(n.real(z * z * z)),
    "imag": lambda n, z: n.sum(n.imag(n.exp(z))),
    "conjugate": lambda n, z: n.sum(n.real(n.conj(z) * n.sin(z))),
    "angle": lambda n, z: n.sum(n.angle(z)),
    "matmul": lambda n, z: n.sum(n.abs(z @ z.T)),
    "norm": lambda n, z: n.linalg.norm(z),
    "prod": lambda n, z: n.real(n.prod(z)),
    "cumprod": lambda n, z: n.sum(n.abs(n.cumprod(z, axis=0))),
    "det": lambda n, z: n.abs(n.linalg.det(z[:3])),
    "inv": lambda n, z: n.sum(n.abs(n.linalg.inv(z[:3]))),
    "solve": lambda n, z: n.sum(n.abs(n.linalg.solve(z[:3], z[3]))),
    "slogdet": lambda n, z: n.linalg.slogdet(z[:3])[1] + n.real(n.linalg.slogdet(z[:3])[0]),
    "var": lambda n, z: n.var(z),
    "std": lambda n, z: n.std(z),
    "constant power": lambda n, z: n.sum(n.real(z ** (1.5 + 0.3j))),
    "power": lambda n, z: n.sum(n.real(z**z)),
    "log": lambda n, z: n.sum(n.real(n.log(z))),
    "sqrt": lambda n, z: n.sum(n.imag(n.sqrt(z))),
    "divide": lambda n, z: n.sum(n.abs(z / (z + 1j))),
    "vdot": lambda n, z: n.real(n.vdot(z, z * z)),
    "einsum": lambda n, z: n.sum(n.abs(n.einsum("ij,ik->jk", z, n.conj(z)))),
    "where": lambda n, z: n.sum(n.abs(n.where(n.real(z) > 0, z, 2 * z))),
    "tanh": lambda n, z: n.sum(n.abs(n.tanh(z))),
    "arcsin": lambda n, z: n.sum(n.abs(n.arcsin(z))),
    "arctan": lambda n, z: n.sum(n.abs(n.arctan(z))),
    # Where the real part is negative, the derivative of JAX has the wrong sign.
    "arccosh": lambda n, z: n.sum(n.abs(n.arccosh(n.abs(z) + 1j * n.imag(z)))),
    "mean": lambda n, z: n.abs(n.mean(z)),
    "of a real part": lambda n, z: n.sum(n.abs(n.exp(1j * n.real(z)) + z)),
}


def same(actual, expected):
    ours, theirs = ft.tree.leaves(actual), jax.tree.leaves(expected)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("function", COMPLEX.values(), ids=COMPLEX)
def test_complex(function):
    """Gradient, batched and staged, and the gradient's derivative along a complex direction."""
    ours, theirs = ft.grad(lambda z: function(np, z)), jax.grad(lambda z: function(jnp, z))
    same(ours(Z), theirs(Z))
    same(ft.jit(ours)(Z), theirs(Z))
    same(ft.vmap(ours)(np.stack([Z, 2 * Z])), [np.stack([theirs(Z), theirs(2 * Z)])])
    same(ft.jvp(ours, (Z,), (1j * Z + 1,))[1], jax.jvp(theirs, (Z,), (1j * Z + 1,))[1])


def test_jacobians_between_real_and_complex():
    same(ft.jacfwd(lambda x: np.exp(1j * x))(X[0]), jax.jacfwd(lambda x: jnp.exp(1j * x))(X[0]))
    same(ft.jacrev(np.abs)(Z[0]), jax.jacrev(jnp.abs)(Z[0]))
    spiral = lambda n: lambda x: n.sum(n.abs(n.exp(1j * x) + x))
    same(ft.hessian(spiral(np))(X[0]), jax.hessian(spiral(jnp))(X[0]))


# m has grad, jvp, jit, hessian; total and mean are the collectives.
COLLECTIVES = {
    "gradient inside": lambda m, n, total, mean: m.vmap(m.grad(lambda x: n.sum(total(x**2, "b") * x)), axis_name="b")(X),
    "gradient of a mean inside": lambda m, n, total, mean: m.vmap(
        m.grad(lambda x: n.sum(mean(n.sin(x), "b") * x)), axis_name="b"
    )(X),
    "gradient outside": lambda m, n, total, mean: m.grad(
        lambda x: n.sum(m.vmap(lambda e: e * total(n.sin(e), "b"), axis_name="b")(x) ** 2)
    )(X),
    "tangents inside": lambda m, n, total, mean: m.vmap(
        lambda x, v: m.jvp(lambda x: total(x**2, "b") * x, (x,), (v,)), axis_name="b"
    )(X, X[::-1]),
    "tangents outside": lambda m, n, total, mean: m.jvp(
        m.vmap(lambda x: n.tanh(mean(x, "b")) * x, axis_name="b"), (X,), (X[::-1],)
    ),
    "nested": lambda m, n, total, mean: m.vmap(
        m.vmap(lambda x: x / total(x, "a") + total(x, "b"), axis_name="a"), axis_name="b"
    )(X),
    "of a constant": lambda m, n, total, mean: m.vmap(lambda x: x * total(1.0, "b"), axis_name="b")(X),
    "of what is not batched": lambda m, n, total, mean: m.vmap(
        lambda x, y: x * total(y, "b"), in_axes=(0, None), axis_name="b"
    )(X, 3.0),
    "hessian": lambda m, n, total, mean: m.hessian(
        lambda x: n.sum(m.vmap(lambda e: e * total(n.sin(e), "b"), axis_name="b")(x))
    )(X[0]),
    "staged": lambda m, n, total, mean: m.jit(m.vmap(lambda x: x * total(n.sin(x), "b"), axis_name="b"))(X),
    "staged inside": lambda m, n, total, mean: m.vmap(m.jit(lambda x: x * total(n.sin(x), "b")), axis_name="b")(X),
}


@pytest.mark.parametrize("function", COLLECTIVES.values(), ids=COLLECTIVES)
def test_collectives(function):
    same(function(ft, np, ft.psum, ft.pmean), function(jax, jnp, jax.lax.psum, jax.lax.pmean))
