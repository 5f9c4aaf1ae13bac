"""`scan(..., checkpoint=...)`: loops that keep few states have the same derivatives, in less memory."""

from functools import partial

import numpy as np
import pytest

import functrans as ft
from functrans.testing import assert_close, check_grads

pytestmark = pytest.mark.usefixtures("interpreted")
close = partial(assert_close, rtol=1e-11, atol=1e-12)
H = np.random.default_rng(0).standard_normal(3)


def first_derivatives(function, args):
    """The value, a tangent and a cotangent."""
    tangents = ft.tree.map(np.cos, args)
    out, pullback = ft.vjp(function, *args)
    return out, ft.jvp(function, args, tangents)[1], pullback(ft.tree.map(lambda y: np.sin(y) + 1, out))


def oscillator(checkpoint, steps=10, reverse=False):
    """A loop with consts, integer carries, xs and ys, as a function of three arrays."""

    def function(a, h, x):
        def step(c, s):
            position, speed, count = c
            speed = speed - a * np.sin(position) * s[0] + s[1]
            return (position + 0.1 * speed, speed, count + 1), (position * count, s[0])

        xs = (np.cos(np.arange(steps)), np.arange(steps)[:, None] * x)
        (position, speed, _), ys = ft.scan(step, (h, 0 * h, 0), xs, reverse=reverse, checkpoint=checkpoint)
        return position * speed, ys

    return function, (0.7, H, np.array([0.1, -0.2, 0.3]))


MODES = ["sqrt", "recursive", 1, 2, 4]


@pytest.mark.parametrize("checkpoint", MODES)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 11, 36])
@pytest.mark.parametrize("reverse", [False, True])
def test_checkpointed_loops_have_the_same_derivatives(checkpoint, steps, reverse):
    plain, args = oscillator(None, steps, reverse)
    function, _ = oscillator(checkpoint, steps, reverse)
    close(function(*args), plain(*args))
    out, pullback = ft.vjp(function, *args)
    cts = ft.tree.map(np.cos, out)
    close(pullback(cts), ft.vjp(plain, *args)[1](cts))
    close(ft.jvp(function, args, args), ft.jvp(plain, args, args))
    axes = (None, 0, None)
    batch = args[0], np.stack([H, 2 * H]), args[2]
    gradient = lambda f: ft.grad(lambda *args: np.sum(f(*args)[0] ** 2) + np.sum(f(*args)[1][0]), (0, 1, 2))
    close(ft.vmap(gradient(function), axes)(*batch), ft.vmap(gradient(plain), axes)(*batch))


@pytest.mark.parametrize("checkpoint", MODES)
def test_compiled_checkpointed_loops(checkpoint, compiled):
    plain, args = oscillator(None, 23)
    function, _ = oscillator(checkpoint, 23)
    expected = first_derivatives(plain, args)
    close(ft.jit(lambda args: first_derivatives(function, args))(args), expected)


@pytest.mark.parametrize("checkpoint", MODES)
def test_checkpointed_loops_to_third_order(checkpoint):
    function, args = oscillator(checkpoint)
    check_grads(function, args, order=3, rtol=1e-5, atol=1e-5)


def test_checkpointed_loops_need_less_memory(peak):
    def loss(checkpoint):
        step = lambda c, x: (np.sin(c) * 1.01 + x, np.sum(c * c))
        return lambda c: np.sum(ft.scan(step, c, np.arange(144.0), checkpoint=checkpoint)[1])

    state = np.ones(2000)
    gradients = {mode: ft.grad(loss(mode)) for mode in (None, *MODES)}
    second = {mode: lambda c, f=gradient: ft.grad(lambda c: np.sum(f(c) ** 2))(c) for mode, gradient in gradients.items()}
    assert peak(gradients[None], state) > 144 * state.nbytes
    assert peak(gradients["sqrt"], state) < 50 * state.nbytes
    assert peak(second[None], state) > 2 * 144 * state.nbytes
    assert peak(second["sqrt"], state) < 200 * state.nbytes


@pytest.mark.parametrize("checkpoint", MODES)
def test_steps_that_run_again_have_no_effects_again(checkpoint, capsys):
    def function(a):
        return ft.scan(lambda c, _: (np.sin(c * a), ft.debug.print("{:.2f}", c)), 1.0, length=4, checkpoint=checkpoint)[0]

    function(2.0)
    expected = capsys.readouterr().out
    assert len(expected.split()) == 4
    for transformed in (ft.grad(function), ft.hessian(function)):
        transformed(2.0)
        assert capsys.readouterr().out == expected


def test_steps_that_cannot_run_again():
    def function(a, checkpoint):
        noise = lambda n: ft.pure_callback(lambda n: np.asarray(0.5 * n), ft.ArrayType((), float), n)
        return ft.scan(lambda c, n: (c * a + noise(n), None), 1.0, np.arange(4), checkpoint=checkpoint)[0]

    expected = ft.grad(function)(2.0, None)
    assert ft.grad(function)(2.0, "sqrt") == expected
    with pytest.raises(
        ft.errors.UnsupportedError, match=r"checkpoint= runs steps again(.|\n)*made at test_scan_checkpoint.py(.|\n)*Remedy"
    ):
        ft.grad(function)(2.0, "recursive")


@pytest.mark.parametrize("checkpoint, states", [("sqrt", 2 * 45), ("recursive", 11), (30, 30)])
def test_compiled_checkpointed_loops_plan_for_few_states(checkpoint, states, compiled):
    steps, size = 2000, 1000

    def final(x, weights):
        step = lambda c, _: (c + 0.1 * np.sin(c), None)
        return np.sum(weights * ft.scan(step, x, None, length=steps, checkpoint=checkpoint)[0])

    analysis = ft.jit(ft.grad(final)).lower(np.ones(size), np.ones(size)).compile().memory_analysis()
    assert analysis.arguments == 2 * 8 * size  # no more than these are captured
    assert analysis.workspace + analysis.between < (states + 10) * 8 * size


def test_checkpoints_that_are_none():
    for checkpoint in ("all", 0, True, 2.0):
        with pytest.raises(ValueError, match="scan of lambda: checkpoint is(.|\n)*Remedy"):
            ft.scan(lambda c, x: (c, x), 0.0, np.ones(3), checkpoint=checkpoint)
