"""`while_loop` and `fori_loop` against Python loops and finite differences."""

import itertools
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest

import functrans as ft
from functrans.testing import assert_close, check_grads

rng = np.random.default_rng(0)
close = partial(assert_close, rtol=1e-10, atol=1e-10)
W = 0.5 * rng.standard_normal((3, 3))
H = rng.standard_normal(3)
Z = rng.standard_normal(3) + 1j * rng.standard_normal(3)
BATCH = rng.standard_normal((4, 3))


def python_while(cond, body, carry, **_):
    """What `ft.while_loop` gives, by Python's."""
    while cond(carry):
        carry = body(carry)
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


def scalar(function):
    """The sum of the squares of all results."""
    return lambda *args: sum(np.sum(np.abs(leaf) ** 2) for leaf in ft.tree.leaves(function(*args)))


@pytest.mark.parametrize("name", LOOPS)
def test_values_and_gradients(name):
    _, args = LOOPS[name]
    loop, python = over(name, ft.while_loop), over(name, python_while)
    close(loop(*args), python(*args))
    places = tuple(range(len(args)))
    close(ft.grad(scalar(loop), places)(*args), ft.grad(scalar(python), places)(*args))
    tangents = tuple(np.cos(x) for x in args)
    close(ft.jvp(loop, args, tangents), ft.jvp(python, args, tangents))


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
