"""`jit`: the same numbers as without it, in any composition, and programs kept by types."""

import numpy as np
import pytest

import functrans as ft

X = np.array([0.5, -1.0, 2.0])


def f(x):
    return np.sum(np.tanh(x) * x[::-1])


def test_values_and_derivatives():
    staged = ft.jit(f)
    np.testing.assert_allclose(staged(X), f(X))
    np.testing.assert_allclose(ft.grad(staged)(X), ft.grad(f)(X))
    np.testing.assert_allclose(ft.jit(ft.grad(f))(X), ft.grad(f)(X))
    np.testing.assert_allclose(ft.hessian(staged)(X), ft.hessian(f)(X))
    np.testing.assert_allclose(ft.vmap(staged)(np.stack([X, X])), [f(X)] * 2)


def test_stages_once_for_each_type():
    calls = []

    @ft.jit
    def counted(x):
        calls.append(x.shape)
        return x * 2.0

    for argument in (X, X + 1, np.ones((2, 2)), X):
        np.testing.assert_array_equal(counted(argument), argument * 2)
    assert calls == [(3,), (2, 2)]


def test_captured_arrays_are_read_at_each_call():
    w = np.ones(3)
    staged = ft.jit(lambda x: np.sum(w * x))
    assert staged(X) == 1.5
    w *= 2
    assert staged(X) == 3.0


def test_captured_views_of_one_element_are_read_at_each_call():
    w = np.ones(())
    staged = ft.jit(lambda x: np.sum(np.broadcast_to(w, (3,)) * x))
    assert staged(X) == 1.5
    w[()] = 2.0
    assert staged(X) == 3.0


def test_closing_over_a_differentiated_value_keeps_its_gradient():
    assert ft.grad(lambda y: ft.jit(lambda x: x * y)(3.0))(2.0) == 3.0


def test_static_arguments():
    calls = []

    def power(x, n, *, flip):
        calls.append(n)
        return -(x**n) if flip else x**n

    staged = ft.jit(power, static_argnums=1, static_argnames="flip")
    assert [staged(2.0, 3, flip=True), staged(2.0, 3, flip=True), staged(2.0, 2, flip=False)] == [-8.0, -8.0, 4.0]
    assert calls == [3, 2]
    with pytest.raises(TypeError, match="static argument is not hashable(.|\n)*make the argument dynamic"):
        staged(2.0, np.ones(2), flip=True)


def test_branching_on_a_staged_value_teaches():
    with pytest.raises(
        ft.errors.ConcretizationError, match=r"jit: bool\(\) was asked of a traced bool\[\](.|\n)*np.where(.|\n)*x if x > 0"
    ):
        ft.jit(lambda x: x if x > 0 else -x)(1.0)


def test_random_numbers_are_not_frozen():
    with pytest.raises(ft.errors.GlobalRandomError, match="random.normal(.|\n)*draw the numbers outside"):
        ft.jit(lambda x: x + np.random.normal())(1.0)
