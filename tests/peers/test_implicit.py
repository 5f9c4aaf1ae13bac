"""`custom_root` and `custom_linear_solve` against JAX's, in value and derivatives."""

import numpy as np
import pytest

import functrans as ft

pytestmark = pytest.mark.peers

jax = pytest.importorskip("jax", reason="needs the peers extra")
jnp = pytest.importorskip("jax.numpy", reason="needs the peers extra")

jax.config.update("jax_enable_x64", True)

A = np.array([[4.0, 1.0, -0.5], [0.3, 3.0, 0.8], [-0.7, 0.2, 5.0]])
B = np.array([1.0, -2.0, 0.5])
MODULES = (np, ft), (jnp, jax)


def dense(np, ad):
    return lambda g, y: np.linalg.solve(ad.jacobian(g)(y), y)


def cube_root(np, ad):
    def newton(f, x):
        for _ in range(40):
            x = x - f(x) / ad.grad(f)(x)
        return x

    root = ft.custom_root if ad is ft else jax.lax.custom_root
    return lambda c: root(lambda x: x**3 - np.sin(c) * x - c, 1.5, newton, lambda g, y: y / g(1.0))


def system(np, ad):
    def newton(f, x):
        for _ in range(30):
            x = x - np.linalg.solve(ad.jacobian(f)(x), f(x))
        return x

    root = ft.custom_root if ad is ft else jax.lax.custom_root
    return lambda a: root(lambda x: a @ x + 0.1 * np.sin(x) - B, B, newton, dense(np, ad))


def linear(options):
    def make(np, ad):
        solve = ft.custom_linear_solve if ad is ft else jax.lax.custom_linear_solve
        solver = dense(np, ad)
        named = {"transpose_solve": solver} if options == "transposed" else {"symmetric": True}
        if options == "transposed":
            return lambda a, b: solve(lambda x: a @ x, b, solver, **named)
        return lambda a, b: solve(lambda x: a @ x + x @ a, b, solver, **named)

    return make


CASES = {
    "scalar root": (cube_root, (2.0,)),
    "root of a system": (system, (A,)),
    "linear, transposed": (linear("transposed"), (A, B)),
    "linear, symmetric": (linear("symmetric"), (A, B)),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_jax(name):
    make, args = CASES[name]
    ours, theirs = (make(*modules) for modules in MODULES)
    near = lambda got, wanted: np.testing.assert_allclose(got, np.asarray(wanted), rtol=1e-9, atol=1e-12)
    near(ours(*args), theirs(*args))
    for place in range(len(args)):
        near(ft.jacrev(ours, place)(*args), jax.jacrev(theirs, place)(*args))
        near(ft.jacfwd(ours, place)(*args), jax.jacfwd(theirs, place)(*args))
        near(ft.jacfwd(ft.jacrev(ours, place), 0)(*args), jax.jacfwd(jax.jacrev(theirs, place), 0)(*args))
        near(ft.jit(ft.jacrev(ours, place))(*args), jax.jit(jax.jacrev(theirs, place))(*args))


def test_auxiliary_data():
    def run(np, ad):
        solve = ft.custom_linear_solve if ad is ft else jax.lax.custom_linear_solve
        solver = lambda matvec, b: (dense(np, ad)(matvec, b), b * 2)
        return lambda b: solve(lambda x: A @ x, b, solver, transpose_solve=solver, has_aux=True)

    ours, theirs = (run(*modules) for modules in MODULES)
    for got, wanted in zip(ft.jvp(ours, (B,), (B + 1,)), jax.jvp(theirs, (B,), (B + 1,))):
        for part, other in zip(got, wanted):
            np.testing.assert_allclose(part, np.asarray(other))
