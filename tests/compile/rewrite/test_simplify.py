"""Simplified programs: fewer equations, the same results, no calls of user functions."""

import numpy as np

import functrans as ft
from functrans.compile.rewrite.simplify import simplify

X = np.array([0.5, -1.5, 2.5])
W = np.ones(3)


@ft.custom_vjp
def scaled(x, y):
    return {"a": x * y * W, "b": 2.0}


scaled.defvjp(lambda x, y: (scaled(x, y), (x, y)), lambda saved, ct: (ct["a"] * saved[1] * 5, ct["a"] * saved[0]))


@ft.custom_jvp
def outer(x):
    result = scaled(x, np.sin(x))
    return result["a"] + result["b"], x


@outer.defjvp
def outer_rule(primals, tangents):
    return outer(*primals), (3 * tangents[0], tangents[0])


def names(function, *arguments):
    return [equation.primitive.name for equation in simplify(ft.make_program(function)(*arguments)).equations]


def test_functions_with_rules_of_their_own_are_inlined():
    def function(x):
        return outer(x), outer(np.float64(2.0) * x[0]), ft.stop_gradient(x) * 2

    assert {"custom_call", "stop_gradient"}.isdisjoint(names(function, X))
    compiled = ft.jit(function)
    for factor in (1.0, 2.0):
        W[:] = factor
        for actual, expected in zip(ft.tree.leaves(compiled(X)), ft.tree.leaves(function(X)), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-15)
    for transform in (ft.grad, ft.hessian):
        derivative = transform(lambda x: np.sum(outer(x)[0] ** 2))
        np.testing.assert_allclose(ft.jit(derivative)(X), derivative(X), rtol=1e-13)


def test_what_leaves_values_as_they_are_is_left_out():
    assert names(lambda x: np.copy(x) * 1.0 + 0 * x, X) == ["multiply", "add"]
    assert names(lambda x: np.sin(x) + np.sin(x), X) == ["sin", "add"]


def test_only_results_that_are_not_new_are_copied():
    assert names(lambda x: (x, np.sin(x), np.sin(x), x[0], 3.0), X) == ["sin", "getitem", "copy", "copy"]


def test_one_is_not_neutral_for_complex_numbers():
    x = np.array([complex(np.inf, 0), complex(-0.0, 0), complex(1, np.inf), 1 + 2j])
    with np.errstate(all="ignore"):
        for function in (lambda x: x * 1.0, lambda x: x / 1.0):
            np.testing.assert_array_equal(ft.jit(function)(x), function(x))


def test_equal_loops_are_one():
    def both(x):
        loop = lambda c: ft.scan(lambda c, _: (np.tanh(c), None), c, length=5)[0]
        return loop(x), loop(x) * 2

    program = simplify(ft.make_program(both)(np.ones(3)))
    assert [equation.primitive.name for equation in program.equations].count("scan") == 1


def test_one_array_is_joined_to_nothing():
    """In kernels that go through values in another order as well."""
    x = np.arange(36.0).reshape(3, 12) - 7
    function = lambda x: (np.concatenate([x[:, ::-1].reshape(3, 1, 12), np.zeros((3, 0, 12))], axis=1).transpose(1, 0, 2), x != 0)
    assert "concatenate" not in names(function, x)
    for actual, expected in zip(ft.jit(function)(x), function(x), strict=True):
        np.testing.assert_array_equal(actual, expected)
