"""`while_loop` and `fori_loop` against Python loops and finite differences."""

import itertools
import signal
import threading
import time
import tracemalloc
from functools import reduce

import numpy as np
import pytest

import functrans as ft
from functrans.control import loops
from functrans.testing import check_grads

rng = np.random.default_rng(0)
W = 0.5 * rng.standard_normal((3, 3))
H = rng.standard_normal(3)
Z = rng.standard_normal(3) + 1j * rng.standard_normal(3)
BATCH = rng.standard_normal((4, 3))


def python_while(cond, body, carry, **_):
    """What `ft.while_loop` gives, by Python's."""
    while cond(carry):
        carry = body(carry)
    return carry


def python_fori(lower, upper, body, carry, **_):
    """What `ft.fori_loop` gives, by Python's."""
    for i in range(lower, upper):
        carry = body(i, carry)
    return carry


def counted(n):
    return lambda carry: carry[-1] < n


# Loops over `while_loop`, and arguments that are differentiated; the number of steps is the same nearby.
LOOPS = {
    "counter": (lambda loop, a: loop(counted(4), lambda c: (np.sin(c[0]) * a + c[0], c[1] + 1), (a * a, 0))[0], (0.7,)),
    "recurrent": (lambda loop, w, h: loop(counted(5), lambda c: (np.tanh(w @ c[0]) + h, c[1] + 1), (h, 0))[0], (W, H)),
    "until": (lambda loop, a, h: loop(lambda x: np.sum(x**2) > 1e-2, lambda x: x * a, h), (0.5, H)),
    "condition closes over": (lambda loop, a, b: loop(lambda x: x < 10 * b, lambda x: x * a + b, a), (1.5, 0.9)),
    "no steps": (lambda loop, a, h: loop(lambda x: False, lambda x: x * a, h * a), (0.5, H)),
    "trees": (
        lambda loop, a, h: loop(
            lambda c: c["n"] < 3,
            lambda c: {"n": c["n"] + 1, "x": (c["x"][1], c["x"][0] * a + h * c["n"])},
            {"n": 0, "x": (h, h * a)},
        )["x"],
        (0.8, H),
    ),
    "some active": (
        lambda loop, a: loop(lambda c: c[2] > 0.1, lambda c: (c[0] * a, c[1] + c[0], c[2] * 0.5), (a, 0.0, 1.0))[:2],
        (0.9,),
    ),
    "complex": (lambda loop, a, z: loop(counted(3), lambda c: (c[0] * z + np.conj(c[0]) * a, c[1] + 1), (z, 0))[0], (0.4, Z)),
    "selections": (lambda loop, h: loop(counted(3), lambda c: (np.where(c[0] > 0, c[0] ** 2, -c[0]), c[1] + 1), (h, 0))[0], (H,)),
    "gathers": (lambda loop, h: loop(counted(3), lambda c: (c[0] * ft.numpy.asarray(h)[c[1]], c[1] + 1), (h, 0))[0], (H,)),
    "reads a carry late": (
        lambda loop, a: loop(counted(4), lambda c: (c[1] * np.exp(c[0]), c[0] * a, c[2] + 1), (a, 0.3, 0))[0], (0.5,),
    ),
    "nested": (
        lambda loop, a, h: loop(
            counted(3),
            lambda c: (loop(lambda s: s[1] < c[1], lambda s: (np.sin(s[0]) * a + c[0], s[1] + 1), (c[0], 0))[0], c[1] + 1),
            (h, 0),
        )[0],
        (0.8, H),
    ),
    "branch in loop": (
        lambda loop, a, h: loop(
            counted(4),
            lambda c: (ft.cond(c[1] % 2 == 0, lambda x: np.sin(x) * a, lambda x: x * x + a, c[0]), c[1] + 1),
            (h, 0),
        )[0],
        (0.8, H),
    ),
    "loop in branch in loop": (
        lambda loop, a: loop(
            counted(3),
            lambda c: (
                ft.cond(
                    c[1] > 0,
                    lambda x: ft.while_loop(lambda s: s < 5.0, lambda s: s * a + x, x),
                    lambda x: ft.scan(lambda s, _: (s * a, None), x, length=2)[0],
                    c[0],
                ),
                c[1] + 1,
            ),
            (a, 0),
        )[0],
        (1.3,),
    ),
}  # fmt: skip


def over(name, loop):
    function, args = LOOPS[name]
    return lambda *args: function(loop, *args)


def assert_trees_close(actual, expected, tolerance=1e-10):
    assert ft.tree.structure(actual) == ft.tree.structure(expected)
    for one, other in zip(ft.tree.leaves(actual), ft.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, tolerance, tolerance)
        assert np.shape(one) == np.shape(other)


def scalar(function):
    """The sum of the squares of all results."""
    return lambda *args: sum(np.sum(np.abs(leaf) ** 2) for leaf in ft.tree.leaves(function(*args)))


@pytest.mark.parametrize("name", LOOPS)
def test_values_and_gradients(name):
    _, args = LOOPS[name]
    loop, python = over(name, ft.while_loop), over(name, python_while)
    assert_trees_close(loop(*args), python(*args))
    places = tuple(range(len(args)))
    assert_trees_close(ft.grad(scalar(loop), places)(*args), ft.grad(scalar(python), places)(*args))
    tangents = tuple(np.cos(x) for x in args)
    assert_trees_close(ft.jvp(loop, args, tangents), ft.jvp(python, args, tangents))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", LOOPS)
def test_finite_differences(name):
    _, args = LOOPS[name]
    check_grads(over(name, ft.while_loop), args, order=2)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", ["counter", "condition closes over", "some active", "nested", "branch in loop"])
def test_finite_differences_of_third_order(name):
    _, args = LOOPS[name]
    check_grads(over(name, ft.while_loop), args, order=3, rtol=1e-5, atol=1e-5)


# Each transform takes a function float64[3] -> float64[3] to another of that kind.
TRANSFORMS = {
    "grad": lambda f: ft.grad(lambda x: np.sum(f(x) ** 2)),
    "jvp": lambda f: lambda x: ft.jvp(f, (x,), (np.cos(x),))[1],
    "vjp": lambda f: lambda x: ft.vjp(f, x)[1](np.sin(x))[0],
    "vmap": lambda f: lambda x: np.sum(ft.vmap(f)(np.stack([x, 0.5 * x])), axis=0),
    "linearize": lambda f: lambda x: ft.linearize(f, x)[1](np.ones(3)),
    "transpose": lambda f: lambda x: ft.linear_transpose(ft.linearize(f, x)[1], x)(np.ones(3))[0],
    "program": lambda f: lambda x: ft.make_program(f)(x)(x),
    "hessian": lambda f: lambda x: ft.hessian(lambda y: np.sum(np.sin(f(y))))(x) @ np.ones(3),
}


def recurrence(loop, x):
    """A loop whose number of steps depends on the values, with consts, and carries that are not differentiated."""
    state = loop(lambda c: c[1] < 3, lambda c: (np.tanh(W @ c[0]) * x + c[0], c[1] + 1), (np.sin(x), 0))
    return state[0] * x


def per_item(loop, x):
    """Items of a batch take different numbers of steps."""
    return loop(lambda y: np.sum(y**2) > 0.1, lambda y: 0.6 * y * np.cos(x), x)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("function", [recurrence, per_item])
@pytest.mark.parametrize("names", list(itertools.product(TRANSFORMS, TRANSFORMS)), ids="-".join)
def test_pairs_of_transforms(function, names):
    looped, unrolled = (lambda x: function(ft.while_loop, x)), (lambda x: function(python_while, x))
    for name in names:
        if name in {"vmap", "hessian", "program"} and function is per_item:
            return  # Python's loop cannot be batched or staged: see test_batched_condition
        looped, unrolled = TRANSFORMS[name](looped), TRANSFORMS[name](unrolled)
    if function is recurrence or "transpose" not in names:
        np.testing.assert_allclose(looped(H), unrolled(H), 1e-9, 1e-9)


def test_batched_condition():
    batched = [ft.grad, lambda f: ft.grad(lambda x: np.sum(ft.grad(f)(x) ** 2)), ft.hessian]
    for transform in [lambda f: f, *batched]:
        one = transform(scalar(lambda x: per_item(ft.while_loop, x)))
        np.testing.assert_allclose(ft.vmap(one)(BATCH), np.stack([one(x) for x in BATCH]), 1e-10)
    total = lambda batch: np.sum(ft.vmap(lambda x: per_item(ft.while_loop, x))(batch) ** 2)
    each = np.stack([ft.grad(scalar(lambda x: per_item(ft.while_loop, x)))(x) for x in BATCH])
    np.testing.assert_allclose(ft.grad(total)(BATCH), each)
    ahead = ft.jvp(lambda batch: ft.vmap(lambda x: per_item(ft.while_loop, x))(batch), (BATCH,), (np.ones_like(BATCH),))[1]
    np.testing.assert_allclose(ahead[1], ft.jvp(lambda x: per_item(ft.while_loop, x), (BATCH[1],), (np.ones(3),))[1])


def test_items_take_their_own_steps(capsys):
    def halved(x):
        def body(x):
            ft.debug.print("{}", x)
            return x / 2

        return ft.while_loop(lambda x: x > 1.0, body, x)

    assert ft.vmap(halved)(np.array([4.0, 0.5, 2.0])).tolist() == [1.0, 0.5, 1.0]
    assert capsys.readouterr().out.split() == ["4.0", "2.0", "2.0"]


def final(w, x):
    """A loop with weights that the items of a batch share."""
    return ft.while_loop(lambda c: c[1] < 3, lambda c: (np.tanh(w @ c[0]) + c[0], c[1] + 1), (x, 0))[0]


def final_unrolled(w, x):
    return python_while(lambda c: c[1] < 3, lambda c: (np.tanh(w @ c[0]) + c[0], c[1] + 1), (x, 0))[0]


def each(f):
    return lambda w: ft.vmap(f, (None, 0))(w, BATCH)


# Scalar functions of shared weights, whose derivatives differ from item to item.
SHARED = {
    "sum": lambda f: lambda w: np.sum(each(f)(w) ** 3),
    "gradients": lambda f: lambda w: np.sum(each(ft.grad(scalar(f)))(w) ** 2),
    "gradients to x": lambda f: lambda w: np.sum(each(ft.grad(scalar(f), 1))(w) ** 2),
    "hessians": lambda f: lambda w: np.sum(each(ft.hessian(scalar(f), 1))(w) ** 2),
    "directions": lambda f: (
        lambda w: np.sum(ft.vmap(lambda t: ft.jvp(ft.grad(scalar(f)), (w, H), (t, H))[1])(np.stack([W, W @ W])))
    ),
    "twice": lambda f: lambda w: np.sum(ft.vmap(lambda a: each(ft.grad(scalar(f)))(a * w))(np.array([0.5, 1.0]))),
}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", SHARED)
def test_batches_that_share_weights(name):
    looped, unrolled = SHARED[name](final), SHARED[name](final_unrolled)
    np.testing.assert_allclose(looped(W), unrolled(W), 1e-10)
    np.testing.assert_allclose(ft.grad(looped)(W), ft.grad(unrolled)(W), 1e-9, 1e-9)
    tangent = np.cos(W)
    np.testing.assert_allclose(ft.jvp(looped, (W,), (tangent,))[1], ft.jvp(unrolled, (W,), (tangent,))[1], 1e-9)
    np.testing.assert_allclose(
        ft.jvp(ft.grad(looped), (W,), (tangent,))[1], ft.jvp(ft.grad(unrolled), (W,), (tangent,))[1], 1e-8, 1e-8
    )


def test_psum_in_a_loop_that_all_items_run():
    def centred(x):
        step = lambda x: 0.5 * x - ft.psum(x, "i") / 4
        return ft.while_loop(lambda x: ft.psum(np.sum(x**2), "i") > 1e-3, step, x)

    def unrolled(batch):
        while np.sum(batch**2) > 1e-3:
            batch = 0.5 * batch - np.sum(batch, axis=0) / 4
        return batch

    batched = ft.vmap(centred, axis_name="i")
    np.testing.assert_allclose(batched(BATCH), unrolled(BATCH), 1e-12)
    check_grads(batched, (BATCH,), order=2)


def test_psum_in_a_loop_of_each_item_raises():
    function = lambda x: ft.while_loop(lambda x: x < 3.0, lambda x: x + ft.psum(x, "i"), x)
    with pytest.raises(
        ft.errors.UnsupportedError, match=r"(?s)psum over the axis 'i' in a while_loop.*test_while_loop.*Remedy"
    ):
        ft.vmap(function, axis_name="i")(np.ones(2))


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


def test_max_steps():
    double = lambda x, most: ft.while_loop(lambda x: x < 100.0, lambda x: 2 * x, x, max_steps=most)
    assert double(1.0, 7) == 128.0
    with pytest.raises(ft.errors.StepLimitError, match=r"(?s)max_steps=6 steps.*Remedy.*test_while_loop"):
        double(1.0, 6)
    with pytest.raises(RuntimeError, match="max_steps"):
        ft.grad(double)(1.0, 6)
    assert ft.grad(double)(1.0, 7) == 128.0
    assert ft.vmap(lambda x: double(x, 7))(np.array([1.0, 50.0])).tolist() == [128.0, 100.0]
    with pytest.raises(ft.errors.StepLimitError):
        ft.vmap(lambda x: double(x, 6))(np.array([50.0, 1.0]))
    with pytest.raises(ValueError, match="max_steps is -1"):
        double(1.0, -1)


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


def test_effects_happen_once_and_in_order(capsys):
    def function(x):
        def cond(c):
            ft.debug.print("cond {}", c[1])
            return c[1] < 2

        def body(c):
            ft.debug.print("body {}", c[1])
            return c[0] * x, c[1] + 1

        return ft.while_loop(cond, body, (x, 0))[0]

    expected = ["cond 0", "body 0", "cond 1", "body 1", "cond 2"]
    once = [
        function,
        ft.grad(function),
        ft.grad(ft.grad(function)),
        lambda x: ft.jvp(function, (x,), (1.0,)),
        lambda x: ft.jvp(ft.grad(function), (x,), (1.0,)),
        lambda x: ft.make_program(ft.grad(function))(x)(x),
        ft.jit(ft.grad(function)),
    ]
    for call in once:
        call(3.0)
        assert capsys.readouterr().out.splitlines() == expected


def test_an_effect_keeps_its_loop(capsys):
    def function(x):
        def body(n):
            ft.debug.print("{}", n)
            return n + 1

        ft.while_loop(lambda n: n < 2, body, 0)
        return x

    ft.jit(function)(1.0)
    assert capsys.readouterr().out.split() == ["0", "1"]


def test_exceptions_in_bodies_pass_with_their_line():
    def body(x):
        return np.linalg.solve(x, x)  # this line

    loop = lambda x: ft.while_loop(lambda x: np.sum(x) < 1.0, body, x)
    for call in [loop, ft.grad(lambda x: np.sum(loop(x))), lambda x: ft.vmap(loop)(x[None])]:
        with pytest.raises(np.linalg.LinAlgError, match="this line"):
            call(np.zeros((2, 2)))
    assert loop(np.ones((2, 2))).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_what_never_runs_does_not_fail():
    singular = np.zeros((2, 2))
    loop = lambda a: ft.while_loop(lambda x: np.sum(x) < 0, lambda x: np.linalg.solve(a, x), np.ones(2) * a[0, 0])
    assert ft.grad(lambda a: np.sum(loop(a)))(singular).tolist() == [[2.0, 0.0], [0.0, 0.0]]


def test_pruned_loops_have_no_more_than_they_need():
    def function(x):
        state = (x, 1.0, 0, np.ones(1000))
        return ft.while_loop(lambda c: c[2] < 3, lambda c: (c[0] * x, c[1] + c[0], c[2] + 1, c[3] * c[0]), state)[0]

    for program in [ft.make_program(function)(2.0), ft.make_program(ft.grad(function))(2.0)]:
        text = str(ft.jit(lambda x, program=program: program(x)).lower(2.0).program)
        assert "while" in text and "1000" not in text


def step_to_float(x):
    return x + 0.5


# What is wrong with a loop, and what the error says.
WRONG = {
    "dtype": (lambda: ft.while_loop(lambda x: x < 3, step_to_float, 0), r"begins as int64\[\], and the body step_to_float returns float64\[\]"),
    "leaf": (
        lambda: ft.while_loop(lambda c: c["n"] < 3, lambda c: {"n": c["n"] + 1, "w": [c["w"][0][:2]]}, {"n": 0, "w": [H]}),
        r"the carry\['w'\]\[0\] begins as float64\[3\], and the body lambda returns float64\[2\]",
    ),
    "structure": (lambda: ft.while_loop(lambda c: c[0] < 3, lambda c: c[0], (1.0, 2.0)), r"begins with structure .*returns"),
    "single": (lambda: ft.while_loop(lambda x: x[0] < 3, lambda x: x * np.float64(2), np.ones(2, np.float32)), r"float32\[2\].*float64\[2\]"),
    "condition": (lambda: ft.while_loop(lambda x: x < 3, lambda x: x, np.ones(2)), r"must give a bool scalar, and gives bool\[2\]"),
    "number": (lambda: ft.while_loop(lambda x: x, lambda x: x, 1.0), r"must give a bool scalar, and gives float64\[\]"),
    "nothing": (lambda: ft.while_loop(lambda x: None, lambda x: x, 1.0), r"must give a bool scalar, and gives nothing"),
    "fori": (lambda: ft.fori_loop(0, 3, lambda i, x: (x, x), 1.0), r"fori_loop: the carry begins with structure"),
    "fori, traced": (lambda: ft.fori_loop(0, np.int64(3), lambda i, x: x.astype(np.float32), 1.0), r"fori_loop: the carry.*float32"),
    "bound": (lambda: ft.fori_loop(0, 3.0, lambda i, x: x, 1.0), r"fori_loop: upper is float64\[\], and must be an integer"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    call, message = WRONG[name]
    with pytest.raises(ft.errors.StructureError, match=f"(?s){message}.*Remedy: .*at test_while_loop.py"):
        call()


def test_nans_are_found_in_loops_and_branches():
    logarithm = lambda x: np.log(x - 1.0)  # this line
    repeated = lambda x: ft.while_loop(counted(3), lambda c: (logarithm(c[0]), c[1] + 1), (x, 0))[0]
    taken = lambda x: ft.cond(x > 0, lambda x: logarithm(logarithm(x)), np.sin, x)
    for function in (repeated, ft.grad(repeated), ft.jit(repeated), taken, ft.jit(taken)):
        with ft.debug.nans(), pytest.raises(ft.errors.NonFiniteError, match=r"(?s)log of float64\[\].*this line"):
            function(2.5)


def test_choices_keep_nan_out_of_gradients():
    """As where they are written out: in the loop, before it and after it."""
    root = lambda x: ft.while_loop(counted(2), lambda c: (np.cbrt(c[0]), c[1] + 1), (x, 0))[0]  # its slope at 0 is infinite
    after = lambda x: np.where(x > 1, root(x), x)
    within = lambda x: ft.while_loop(counted(3), lambda c: (np.where(c[0] > 0, np.cbrt(c[0]), c[0]), c[1] + 1), (x, 0))[0]
    before = lambda x: ft.while_loop(counted(2), lambda c: (np.where(x > 0, c[0] * x, x), c[1] + 1), (np.cbrt(x), 0))[0]
    for function, points in ((after, (0.0, 3.0)), (within, (0.0, 2.0)), (before, (0.0, 2.0))):
        for x in points:
            assert np.isfinite(ft.grad(function)(x)) and np.isfinite(ft.jvp(function, (x,), (1.0,))[1])
    assert ft.grad(after)(0.0) == 1.0


def test_writing_into_an_outer_array_raises():
    def function(x):
        outer = np.zeros_like(x)

        def body(c):
            outer[0] = c[0]
            return c[0] + 1, c[1] + 1

        return ft.while_loop(counted(2), body, (x[0], 0))[0] + outer[0]

    with pytest.raises(ft.errors.MutationError, match="Remedy"):
        ft.grad(function)(H)


def test_python_numbers():
    """They become NumPy's at the start, and take on the carry's dtype afterwards."""
    value, count = ft.while_loop(lambda c: c[1] < 2, lambda c: (0.0, c[1] + 1), (np.float32(2), 0))
    assert value.dtype == np.float32 and count.dtype == np.int64


def test_ctrl_c():
    """Python's own handler ends a loop that does not end."""
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ft.while_loop(lambda x: x < 1.0, lambda x: x * 0.5, 0.5)
    assert time.monotonic() - start < 5.0


BOUNDS = {"Python": int, "NumPy": np.int64, "narrow": np.int32, "array": np.array}


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize("bounds", [(0, 4), (2, 5), (3, 3), (5, 2), (-2, 1)])
def test_fori_loop(kind, bounds):
    step = lambda i, c: {"x": np.sin(c["x"]) * i + c["y"], "y": c["y"] * (i + 0.5)}
    function = lambda loop, bounds: lambda x: loop(*bounds, step, {"x": x, "y": x[0]})
    looped, unrolled = function(ft.fori_loop, tuple(map(BOUNDS[kind], bounds))), function(python_fori, bounds)
    assert_trees_close(looped(H), unrolled(H))
    assert_trees_close(ft.grad(scalar(looped))(H), ft.grad(scalar(unrolled))(H))
    assert_trees_close(ft.hessian(scalar(looped))(H), ft.hessian(scalar(unrolled))(H))
    assert_trees_close(ft.vmap(looped)(BATCH), ft.vmap(unrolled)(BATCH))


def test_bounds_of_a_batch():
    power = lambda x, n: ft.fori_loop(0, n, lambda i, y: y * x, 1.0)
    numbers = np.array([3, 0, 2])
    values = np.array([2.0, 5.0, 3.0])
    assert ft.vmap(power)(values, numbers).tolist() == [8.0, 1.0, 9.0]
    assert ft.vmap(ft.grad(power))(values, numbers).tolist() == [12.0, 0.0, 6.0]
    assert ft.vmap(power, (None, 0))(2.0, numbers).tolist() == [8.0, 1.0, 4.0]


def test_traced_bounds_are_not_frozen():
    power = ft.jit(lambda x, n: ft.fori_loop(0, n, lambda i, y: y * x, 1.0))
    assert [float(power(2.0, n)) for n in (0, 1, 5)] == [1.0, 2.0, 32.0]
    assert power.compilations <= 1
    gradient = ft.jit(ft.grad(lambda x, n: ft.fori_loop(0, n, lambda i, y: y * x, 1.0)))
    assert [float(gradient(2.0, n)) for n in (0, 1, 5)] == [0.0, 1.0, 80.0]


@pytest.mark.parametrize("upper", [3, np.int32(3), np.int64(3)])
def test_the_counter_is_a_python_number_where_the_bounds_are(upper):
    """So that float32 stays what it is, as in a loop over a range."""
    step = lambda i, x: x * i if isinstance(upper, int) else x + np.float32(1)
    function = lambda x: ft.fori_loop(1, upper, step, x)
    x = np.float32(2)
    assert function(x).dtype == np.float32
    assert ft.grad(function)(x).dtype == ft.vmap(function)(np.ones(2, np.float32)).dtype == np.float32
    assert function(x) == 4.0


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize("checkpoint", ["sqrt", "recursive", 1, 3])
def test_fori_loop_that_keeps_few_states(kind, checkpoint):
    def looped(w, **options):
        lower, upper = map(BOUNDS[kind], (2, 9))
        return ft.fori_loop(lower, upper, lambda i, c: np.sin(w * c) + 0.1 * i, H, **options)

    few = lambda w: np.sum(looped(w, checkpoint=checkpoint))
    all_of_them = lambda w: np.sum(looped(w))
    for derivative in (ft.grad, lambda f: ft.grad(ft.grad(f)), lambda f: ft.jit(ft.grad(f))):
        np.testing.assert_allclose(derivative(few)(1.1), derivative(all_of_them)(1.1), 1e-10)
    if kind == "Python":
        assert ft.inspect.residuals(few, 1.1).nbytes < ft.inspect.residuals(all_of_them, 1.1).nbytes
    with pytest.raises(ValueError, match=r"fori_loop: checkpoint is 'all'(.|\n)*Remedy"):
        looped(1.1, checkpoint="all")


def test_fori_loop_refuses_an_unroll_that_is_no_number_of_steps():
    with pytest.raises(ValueError, match=r"fori_loop: unroll is -2(.|\n)*Remedy"):
        ft.fori_loop(0, 3, lambda i, c: c, 1.0, unroll=-2)


@pytest.mark.parametrize("bounds", [(np.uint8(250), 300), (-1, np.uint8(3))])
def test_bounds_that_do_not_fit_each_other(bounds):
    with pytest.raises(OverflowError, match=r"fori_loop: (upper is 300|lower is -1), which the other bound's uint8(.|\n)*astype"):
        ft.fori_loop(*bounds, lambda i, c: c + 1, 0)
    assert ft.fori_loop(np.uint8(250), 255, lambda i, c: c + 1, 0) == 5


def test_long_counted_loops_keep_few_numbers(monkeypatch):
    monkeypatch.setattr(loops, "LONGEST", 4)
    for lower, upper in ((0, 4), (3, 8), (-5, 60)):
        looped = lambda x, a=lower, b=upper: ft.fori_loop(a, b, lambda i, c: np.sin(c) + i * x, x)
        plain = reduce(lambda c, i: np.sin(c) + i * H[0], range(lower, upper), H[0])
        np.testing.assert_allclose(looped(H[0]), plain, rtol=1e-12)
        check_grads(looped, (H[0],), order=2)
        assert ft.fori_loop(lower, upper, lambda i, c: c + i * np.float32(1), np.float32(0)).dtype == np.float32
