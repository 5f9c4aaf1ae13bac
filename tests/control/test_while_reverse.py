"""What reverse mode of `while_loop` keeps and computes again, and its linear part."""

import tracemalloc

import numpy as np
import pytest

import functrans as ft

rng = np.random.default_rng(0)
W = 0.5 * rng.standard_normal((3, 3))
H = rng.standard_normal(3)
BATCH = rng.standard_normal((4, 3))


def python_while(cond, body, carry, **_):
    """What `ft.while_loop` gives, by Python's."""
    while cond(carry):
        carry = body(carry)
    return carry


def counted(n):
    return lambda carry: carry[-1] < n


@pytest.mark.parametrize("checkpoint", [1, 2, 3, 100, "sqrt", "recursive"])
def test_checkpoint(checkpoint):
    def function(x, steps=11, **options):
        return ft.while_loop(counted(steps), lambda c: (np.sin(c[0]) * x + c[0], c[1] + 1), (x * x, 0), **options)[0]

    bounded = lambda x: function(x, checkpoint=checkpoint)
    assert ft.grad(bounded)(0.3) == ft.grad(function)(0.3)
    assert ft.grad(ft.grad(bounded))(0.3) == ft.grad(ft.grad(function))(0.3)
    assert ft.grad(lambda x: function(x, steps=0, checkpoint=checkpoint))(0.3) == 0.6
    batch = np.array([0.1, 0.3])
    np.testing.assert_array_equal(ft.vmap(ft.grad(bounded))(batch), ft.vmap(ft.grad(function))(batch))


def test_checkpoint_bounds_how_often_the_body_runs():
    def steps_run(checkpoint):
        runs = 0

        def forward(x):
            nonlocal runs
            runs += 1
            return np.sin(x), x

        sine = ft.custom_vjp(np.sin)
        sine.defvjp(forward, lambda x, ct: (ct * np.cos(x),))

        def step(c):
            nonlocal runs
            return sine(c[0]), c[1] + 1

        with ft.debug.nans():  # runs every operation in Python
            ft.grad(lambda x: ft.while_loop(counted(50), step, (x, 0), checkpoint=checkpoint)[0])(0.3)
        return runs

    assert steps_run(None) <= steps_run("sqrt") <= steps_run("recursive") <= steps_run(2)


@pytest.mark.usefixtures("interpreted")
def test_checkpoint_bounds_memory():
    x = np.linspace(0.0, 1.0, 100_000)

    def peak(checkpoint):
        step = lambda c: (np.sin(c[0]) * x, c[1] + 1)
        function = lambda x: np.sum(ft.while_loop(counted(40), step, (x, 0), checkpoint=checkpoint)[0])
        tracemalloc.start()
        ft.grad(function)(x)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / x.nbytes

    assert peak(None) > 40
    assert peak(3) < peak("recursive") < peak("sqrt") < 20


def test_reverse_mode_does_not_repeat_what_must_not_be():
    drawn = lambda x: ft.pure_callback(np.sin, ft.ArrayType((), float), x)
    function = lambda x: ft.while_loop(counted(2), lambda c: (c[0] * ft.stop_gradient(drawn(c[0])), c[1] + 1), (x, 0))[0]
    assert function(0.5) == 0.5 * np.sin(0.5) * np.sin(0.5 * np.sin(0.5))
    with pytest.raises(ft.errors.UnsupportedError, match="(?s)reverse mode runs the loop again.*Remedy"):
        ft.grad(function)(0.5)


@pytest.mark.parametrize("wrong", [0, "often", 1.5])
def test_no_checkpoint(wrong):
    with pytest.raises(ValueError, match=r"(?s)while_loop: checkpoint is .*Remedy"):
        ft.while_loop(lambda x: x < 3, lambda x: x + 1, 0, checkpoint=wrong)


def newton(a, order=3):
    """The root of ``x**order - a`` by Newton's method."""
    far = lambda x: np.abs(x**order - a) > 1e-13 * a
    return ft.while_loop(far, lambda x: x - (x**order - a) / (order * x ** (order - 1)), a, max_steps=100)


def test_newtons_method_against_implicit_differentiation():
    a = 5.0
    root = newton(a)
    np.testing.assert_allclose(ft.grad(newton)(a), 1 / (3 * root**2), 1e-9)
    np.testing.assert_allclose(ft.grad(ft.grad(newton))(a), -2 / (9 * root**5), 1e-9)
    np.testing.assert_allclose(ft.grad(ft.grad(ft.grad(newton)))(a), 10 / (27 * root**8), 1e-8)
    values = np.array([0.5, 5.0, 2000.0])
    np.testing.assert_allclose(ft.vmap(ft.grad(newton))(values), 1 / (3 * np.cbrt(values) ** 2), 1e-9)


def test_a_linear_loop_is_transposed_without_its_input():
    power = lambda x: ft.while_loop(counted(3), lambda c: (W @ c[0], c[1] + 1), (x, 0))[0]
    transposed = ft.linear_transpose(power, H)(BATCH[0])[0]
    np.testing.assert_allclose(transposed, np.linalg.matrix_power(W, 3).T @ BATCH[0], 1e-12)
    with pytest.raises(ft.errors.DifferentiationError, match="not linear"):
        ft.linear_transpose(lambda x: ft.while_loop(counted(3), lambda c: (np.sin(c[0]), c[1] + 1), (x, 0))[0], H)


def test_linearize_runs_the_loop_once(capsys):
    def function(x):
        def body(c):
            ft.debug.print("{}", c[1])
            return np.sin(c[0]) * x, c[1] + 1

        return ft.while_loop(counted(2), body, (x, 0))[0]

    value, derivative = ft.linearize(function, 0.7)
    assert capsys.readouterr().out.split() == ["0", "1"]
    expected = python_while(counted(2), lambda c: (np.sin(c[0]) * 0.7, c[1] + 1), (0.7, 0))[0]
    np.testing.assert_allclose(value, expected, 1e-14)
    np.testing.assert_allclose(derivative(2.0), 2 * ft.grad(function)(0.7), 1e-12)
    capsys.readouterr()
    derivative(1.0)
    assert capsys.readouterr().out == ""
