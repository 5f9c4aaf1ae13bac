"""Loops against JAX: values and gradients in float64."""

import numpy as np
import pytest

import functrans as ft

pytestmark = pytest.mark.peers

jax = pytest.importorskip("jax", reason="needs the peers extra")
jnp = pytest.importorskip("jax.numpy", reason="needs the peers extra")

jax.config.update("jax_enable_x64", True)

rng = np.random.default_rng(0)
X = rng.standard_normal((7, 3))
W = 0.5 * rng.standard_normal((3, 3))


def gru(m, scan, params, xs):
    """Two layers of gated recurrent units over a sequence of batches: the outputs, and the last states."""

    def cell(p, h, x):
        reset = 1 / (1 + m.exp(-(x @ p["wr"] + h @ p["ur"] + p["br"])))
        update = 1 / (1 + m.exp(-(x @ p["wz"] + h @ p["uz"] + p["bz"])))
        new = m.tanh(x @ p["wn"] + reset * (h @ p["un"]) + p["bn"])
        return (1 - update) * new + update * h

    def step(states, x):
        first = cell(params[0], states[0], x)
        second = cell(params[1], states[1], first)
        return (first, second), second

    zero = np.zeros((xs.shape[1], params[0]["br"].shape[0]))
    return scan(step, (zero, zero), xs)


def gru_params(inputs, hidden):
    layers = []
    for size in (inputs, hidden):
        layer = {f"w{gate}": rng.standard_normal((size, hidden)) / np.sqrt(size) for gate in "rzn"}
        layer |= {f"u{gate}": rng.standard_normal((hidden, hidden)) / np.sqrt(hidden) for gate in "rzn"}
        layers.append(layer | {f"b{gate}": 0.1 * rng.standard_normal(hidden) for gate in "rzn"})
    return layers


# Functions of the namespace, of its loops, and of arrays.
CASES = {
    "recurrent": (lambda m, lax, w, x: lax.scan(lambda c, x: (m.tanh(w @ c + x),) * 2, m.ones(3), x), (W, X)),
    "reverse": (lambda m, lax, w, x: lax.scan(lambda c, x: (m.sin(w @ c) * x, c), m.ones(3), x, reverse=True), (W, X)),
    "no xs": (lambda m, lax, w: lax.scan(lambda c, _: (m.cos(w @ c), m.sum(c)), m.ones(3), None, length=5), (W,)),
    "unrolled": (lambda m, lax, x: lax.scan(lambda c, x: (c * x, c + x), m.ones(3), x, unroll=3), (X,)),
    "nested": (
        lambda m, lax, w, x: lax.scan(
            lambda c, x: (lax.scan(lambda d, y: (m.sin(w @ d) + y, None), c, X[:3] * x)[0], m.max(c)), m.ones(3), x
        ),
        (W, X),
    ),
    "gru": (lambda m, lax, params, xs: gru(m, lax.scan, params, xs), (gru_params(4, 5), rng.standard_normal((6, 2, 4)))),
    "map": (lambda m, lax, w, x: lax.map(lambda x: {"y": m.sin(w @ x), "z": (m.sum(x),)}, x), (W, X)),
    "map in batches": (lambda m, lax, w, x: lax.map(lambda x: m.exp(w @ x), x, batch_size=3), (W, X)),
    "associative": (lambda m, lax, x: lax.associative_scan(m.multiply, x), (X,)),
    "associative, reverse": (lambda m, lax, x: lax.associative_scan(m.logaddexp, x, reverse=True, axis=1), (X,)),
    "matrices": (lambda m, lax, x: lax.associative_scan(m.matmul, m.exp(x)), (rng.standard_normal((5, 2, 2)),)),
}


def scalar(m, out):
    """A number that depends on all leaves of a result."""
    leaves = ft.tree.leaves(out) if m is np else jax.tree.leaves(out)
    return sum(m.sum(m.sin(leaf + place)) for place, leaf in enumerate(leaves))


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    function, args = CASES[name]
    tangents = ft.tree.map(np.cos, args)
    many = ft.tree.map(lambda x: np.stack([x, x * 0.5]), args)

    def everything(m, module, loops):
        """Value, gradient, tangent, Hessian-vector product and batched gradient."""
        own = lambda *args: function(m, loops, *args)
        gradient = module.grad(lambda *args: scalar(m, own(*args)), tuple(range(len(args))))
        first = gradient(*args), module.jvp(own, args, tangents)
        return *first, module.jvp(gradient, args, tangents), module.vmap(gradient)(*many)

    compare(everything(np, ft, ft), jax.jit(lambda: everything(jnp, jax, jax.lax))())


def compare(ours, theirs):
    ours, theirs = ft.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("checkpoint", ["sqrt", "recursive", 3])
def test_checkpointed_gru(checkpoint):
    params, xs = gru_params(4, 5), rng.standard_normal((9, 2, 4))
    ours = ft.grad(lambda params: scalar(np, gru(np, lambda *args: ft.scan(*args, checkpoint=checkpoint), params, xs)))
    theirs = jax.jit(jax.grad(lambda params: scalar(jnp, gru(jnp, jax.lax.scan, params, xs))))
    compare(ours(params), theirs(params))
