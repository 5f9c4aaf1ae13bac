"""Transforms of transforms: every pair and triple that has a meaning, against another way to the same numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import functrans as ft
from functrans.testing import check_grads

POINT = np.array([0.3, -0.7, 1.1])


def body(x):
    """Uses each class of primitive, and in-place code."""
    y = np.zeros_like(x)
    y[1:] = np.tanh(x[:-1]) * x[1:]
    y += x**2
    y[[0, 0, 2]] += 1.0
    z = np.where(y > 0, y, np.exp(y)) @ np.outer(x, np.sin(x))
    return np.sum(np.concatenate([z, np.cumsum(x)]).reshape(2, -1), axis=0) * np.max(x)


def scalar(x):
    return np.sum(body(x) ** 2)


def with_rules(f):
    """`f` with the rules it has anyway, given by hand."""
    function = ft.custom_vjp(f)
    function.defvjp(lambda x: (f(x), x), lambda x, ct: (ft.vjp(f, x)[1](ct)[0],))
    function.defjvp(lambda primals, tangents: ft.jvp(f, primals, tangents))
    return function


# Each transform takes a function float64[3] -> float64[3] to another of that kind.
TRANSFORMS = {
    "grad": lambda f: ft.grad(lambda x: np.sum(f(x) ** 2)),
    "jvp": lambda f: lambda x: ft.jvp(f, (x,), (np.cos(x),))[1],
    "vjp": lambda f: lambda x: ft.vjp(f, x)[1](np.sin(x))[0],
    "vmap": lambda f: lambda x: np.sum(ft.vmap(f)(np.stack([x, 2.0 * x])), axis=0),
    "linearize": lambda f: lambda x: ft.linearize(f, x)[1](np.ones(3)),
    "program": lambda f: lambda x: ft.make_program(f)(x)(x),
    "jit": ft.jit,
    "custom": lambda f: with_rules(f),
    "jacfwd": lambda f: lambda x: ft.jacfwd(f)(x) @ np.ones(3),
    "jacrev": lambda f: lambda x: np.ones(3) @ ft.jacrev(f)(x),
}

# The same by finite differences and loops.
STEP = 1e-6


def numeric_jacobian(f, x):
    return np.stack([(f(x + STEP * e) - f(x - STEP * e)) / (2 * STEP) for e in np.eye(3)], axis=-1)


NUMERIC = {
    "grad": lambda f: lambda x: 2 * f(x) @ numeric_jacobian(f, x),
    "jvp": lambda f: lambda x: numeric_jacobian(f, x) @ np.cos(x),
    "vjp": lambda f: lambda x: np.sin(x) @ numeric_jacobian(f, x),
    "vmap": lambda f: lambda x: f(x) + f(2.0 * x),
    "linearize": lambda f: lambda x: numeric_jacobian(f, x) @ np.ones(3),
    "program": lambda f: f,
    "jit": lambda f: f,
    "custom": lambda f: f,
    "jacfwd": lambda f: lambda x: numeric_jacobian(f, x) @ np.ones(3),
    "jacrev": lambda f: lambda x: np.ones(3) @ numeric_jacobian(f, x),
}


@pytest.mark.parametrize("outer, inner", list(itertools.product(TRANSFORMS, repeat=2)))
def test_pairs(outer, inner):
    actual = TRANSFORMS[outer](TRANSFORMS[inner](body))(POINT)
    expected = NUMERIC[outer](TRANSFORMS[inner](body))(POINT)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "names", list(itertools.product(["grad", "jvp", "vmap", "linearize", "jit", "custom"], repeat=3)), ids="-".join
)
def test_triples(names):
    outer, middle, inner = names
    nested = TRANSFORMS[middle](TRANSFORMS[inner](body))
    actual = TRANSFORMS[outer](nested)(POINT)
    expected = NUMERIC[outer](nested)(POINT)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-4 * max(1.0, np.abs(expected).max() / 1e3))


def test_check_grads_to_third_order():
    check_grads(body, (POINT,), order=3, rtol=1e-4, atol=1e-4)


def test_check_grads_finds_a_wrong_rule():
    wrong = ft.custom_vjp(np.sin)
    wrong.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * np.sin(x),))
    with pytest.raises(AssertionError, match="reverse mode"):
        check_grads(wrong, (POINT,), order=1, modes=("rev",))


@settings(max_examples=40, deadline=None)
@given(
    hnp.array_shapes(max_dims=3, max_side=4).flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float64, shape, elements=st.floats(-2, 2)), st.integers(-len(shape), len(shape) - 1)
        )
    )
)
def test_reductions_and_broadcasting_of_any_shape(case):
    x, axis = case

    def function(x):
        return np.sum(np.sin(x) * np.mean(x, axis=axis, keepdims=True), axis=axis) + np.cumsum(x, axis=axis).sum(axis)

    np.testing.assert_allclose(ft.vjp(function, x)[0], function(x), rtol=1e-12)
    check_grads(function, (x,), order=2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_gradients_keep_the_dtype(dtype):
    x = np.array([1.0, 2.0], dtype)
    gradient = ft.grad(lambda x: np.sum(np.abs(x * 3.0) ** 2))(x)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, 18 * np.conj(x), rtol=1e-6)


def test_selections_never_poison():
    with np.errstate(divide="ignore"):  # the forward pass is NumPy's own, warning included
        gradient = ft.grad(lambda x: np.sum(np.where(x > 0, np.log(np.abs(x)), 0.0)))(np.array([-0.0, 1.0]))
    np.testing.assert_array_equal(gradient, [0, 1])
    np.testing.assert_array_equal(ft.grad(np.linalg.norm)(np.zeros(3)), np.zeros(3))
    np.testing.assert_array_equal(ft.grad(lambda x: np.sqrt(np.sum(x * x)))(np.zeros(2)), np.zeros(2))
    np.testing.assert_array_equal(ft.grad(lambda x: np.max(np.stack([x, x])))(1.0), 1.0)


def test_second_derivative_through_masked_products():
    """The Hessian of a norm of residuals at an exact fit, which `where(ct == 0, 0, ct * p)` gets wrong."""
    a = np.array([[1.0, 2.0], [3.0, 1.0], [0.5, -1.0]])
    w = np.array([0.4, -0.3])
    y = a @ w
    hessian = ft.hessian(lambda w: np.sum((a @ w - y) ** 2.0))(w)
    np.testing.assert_allclose(hessian, 2 * a.T @ a, rtol=1e-12)


def test_hvp_of_trees():
    def loss(p):
        return np.sum(np.tanh(p["a"]) * p["b"])

    p = {"a": np.array([0.1, 0.2]), "b": np.array([1.0, 2.0])}
    v = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])}
    product = ft.hvp(loss, (p,), (v,))
    difference = ft.tree.map(
        lambda a, b: (a - b) / 2e-6,
        ft.grad(loss)(ft.tree.map(lambda x, t: x + 1e-6 * t, p, v)),
        ft.grad(loss)(ft.tree.map(lambda x, t: x - 1e-6 * t, p, v)),
    )
    for key in p:
        np.testing.assert_allclose(product[key], difference[key], atol=1e-8)


def test_nested_gradient_keeps_levels_apart():
    """d/dx x * d/dy (x + y) = 1, not 2: the classic perturbation confusion."""
    assert ft.grad(lambda x: x * ft.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert ft.jvp(lambda x: x * ft.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))[1] == 1.0


def test_linear_transpose_refuses_what_is_not_linear():
    with pytest.raises(ft.errors.DifferentiationError, match="not linear in its arguments of type float64"):
        ft.linear_transpose(lambda x: x * x, 1.0)


def test_collectives_nest():
    x = np.arange(6.0).reshape(2, 3)
    inner = ft.vmap(lambda e: (ft.psum(e, "i"), ft.pmean(e, "j")), axis_name="i")
    rows, columns = ft.vmap(inner, axis_name="j")(x)
    np.testing.assert_allclose(rows, np.broadcast_to(x.sum(1, keepdims=True), (2, 3)))
    np.testing.assert_allclose(columns, np.broadcast_to(x.mean(0), (2, 3)))


def test_pullback_may_be_called_often():
    value, pullback = ft.vjp(np.sin, POINT)
    np.testing.assert_array_equal(pullback(np.ones(3))[0], pullback(np.ones(3))[0])


@pytest.mark.parametrize(
    "function, slope",
    [
        (lambda x: abs(x) * pow(x, 2) + divmod(x, 2.0)[1], 3 * 2.4**2 + 1),
        (lambda x: divmod(5.0, x)[1], -2.0),
        (lambda x: round(x) * x, 2.0),
        (lambda x: round(x, 1) * x, 2.4),
        (lambda x: max(x, 1.0) + min(x, 1.0), 1.0),
        (lambda x: sum([x, x, 2.0]), 2.0),
        (lambda x: +x // 1.0 + -x % 5.0, -1.0),
        (lambda x: 2**x / (1 - x), 2**2.4 * (np.log(2) / (1 - 2.4) + 1 / (1 - 2.4) ** 2)),
    ],
)
def test_python_operators_and_built_ins(function, slope):
    value, gradient = ft.value_and_grad(function)(2.4)
    assert value == function(2.4)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12)


def test_gradients_are_the_callers_own():
    """Writable, and no two of them the same array."""
    for function in (lambda x, y: np.sum(x + y), lambda x, y: np.sum((x + y) ** 2), lambda x, y: np.sum(x)):
        first, second = ft.grad(function, argnums=(0, 1))(POINT, 2 * POINT)
        first *= 0.0
        second += 1.0
        assert not np.any(first)
    ct = np.ones(3)
    (gradient,) = ft.vjp(lambda x: x, POINT)[1](ct)
    gradient *= 5.0
    np.testing.assert_array_equal(ct, 1.0)


def test_auxiliary_results_may_be_of_any_kind():
    def function(x):
        return x**2, {"twice": 2 * x, "name": "square", "nothing": None}

    for aux in (
        ft.grad(function, has_aux=True)(3.0)[1],
        ft.vjp(function, 3.0, has_aux=True)[2],
        ft.jvp(function, (3.0,), (1.0,), has_aux=True)[2],
    ):
        assert aux == {"twice": 6.0, "name": "square", "nothing": None}
