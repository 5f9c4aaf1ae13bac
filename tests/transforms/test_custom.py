"""`custom_vjp`, `custom_jvp` and `stop_gradient` in every mode."""

import numpy as np
import pytest

import functrans as ft

X = np.array([0.2, 0.5, -0.3])


def doubled_sine_vjp():
    """sin with a marked derivative, 2 cos, as a reverse rule."""
    f = ft.custom_vjp(lambda x: np.sin(x))
    f.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * 2 * np.cos(x),))
    return f


def doubled_sine_jvp():
    f = ft.custom_jvp(lambda x: np.sin(x))

    @f.defjvp
    def rule(primals, tangents):
        return np.sin(primals[0]), 2 * np.cos(primals[0]) * tangents[0]

    return f


@pytest.fixture(params=[doubled_sine_vjp, doubled_sine_jvp])
def function(request):
    return request.param()


def test_reverse(function):
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(function(x)))(X), 2 * np.cos(X))


def test_forward(function):
    np.testing.assert_allclose(ft.jvp(function, (X,), (np.ones(3),))[1], 2 * np.cos(X))


def test_second_order(function):
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(ft.grad(lambda y: np.sum(function(y)))(x)))(X), -2 * np.sin(X))


def test_batched(function):
    batch = np.stack([X, X + 1])
    np.testing.assert_allclose(ft.vmap(function)(batch), np.sin(batch))
    np.testing.assert_allclose(ft.vmap(ft.grad(lambda x: np.sum(function(x))))(batch), 2 * np.cos(batch))
    np.testing.assert_allclose(ft.grad(lambda b: np.sum(ft.vmap(function)(b)))(batch), 2 * np.cos(batch))
    np.testing.assert_allclose(ft.jvp(ft.vmap(function), (batch,), (np.ones((2, 3)),))[1], 2 * np.cos(batch))


def test_staged(function):
    program = ft.make_program(function)(X)
    np.testing.assert_allclose(program(X), np.sin(X))
    np.testing.assert_allclose(ft.jvp(program, (X,), (np.ones(3),))[1], 2 * np.cos(X))


def test_both_rules_on_one_function():
    f = ft.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, None), lambda _, ct: (3 * ct,))
    f.defjvp(lambda primals, tangents: (primals[0], 5 * tangents[0]))
    assert ft.grad(f)(1.0) == 3.0
    assert ft.jvp(f, (1.0,), (1.0,))[1] == 5.0


def test_wrong_structure_is_named():
    f = ft.custom_vjp(lambda x, y: x * y)
    f.defvjp(lambda x, y: (x * y, None), lambda _, ct: (ct,))
    with pytest.raises(ft.errors.StructureError, match="what its vjp rule returned has structure .*, and the tuple of arguments has .*\n  Remedy: return one cotangent per"):
        ft.grad(f)(1.0, 2.0)
    g = ft.custom_vjp(lambda x: np.sum(x))
    g.defvjp(lambda x: (np.sum(x), None), lambda _, ct: (ct,))
    with pytest.raises(ft.errors.StructureError, match=r"what its vjp rule returned at \[0\] is float64\[\], and the tuple of arguments is float64\[3\] there"):
        ft.grad(g)(X)


def test_closing_over_a_traced_value_is_refused():
    def outer(y):
        f = ft.custom_vjp(lambda x: x * y)
        f.defvjp(lambda x: (x * y, None), lambda _, ct: (ct,))
        return f(2.0)

    with pytest.raises(ft.errors.TracerLeakError, match="closes over a traced value(.|\n)*pass it as an argument"):
        ft.grad(outer)(3.0)


def test_forward_mode_of_a_reverse_rule_that_is_not_linear():
    function = ft.custom_vjp(np.sin)
    function.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * ct * np.cos(x),))
    assert ft.grad(function)(0.0) == 1.0
    message = "custom_vjp of sin: it has no forward rule, and its reverse rule cannot be transposed(.|\n)*with defjvp(.|\n)*not linear"
    with pytest.raises(ft.errors.DifferentiationError, match=message):
        ft.jvp(function, (0.0,), (1.0,))


def test_missing_rule():
    with pytest.raises(ft.errors.UnsupportedError, match="call defvjp or defjvp first"):
        ft.custom_vjp(np.sin)(1.0)


def test_stop_gradient():
    assert ft.grad(lambda x: x * ft.stop_gradient(x))(3.0) == 3.0
    assert ft.jvp(lambda x: x * ft.stop_gradient(x), (3.0,), (1.0,))[1] == 3.0
    np.testing.assert_array_equal(ft.vmap(ft.grad(lambda x: x * ft.stop_gradient(x)))(X), X)


def test_errors_of_user_code_pass_as_they_are():
    def failing(x):
        raise ValueError("mine")

    function = ft.custom_vjp(failing)
    function.defvjp(lambda x: (x, None), lambda residuals, ct: (ct,))
    with pytest.raises(ValueError, match="^mine$"):
        ft.grad(function)(1.0)
