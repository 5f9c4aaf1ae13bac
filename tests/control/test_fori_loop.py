"""`fori_loop`: bounds of all kinds, the counter, and what it keeps."""

from functools import partial, reduce

import numpy as np
import pytest

import functrans as ft
from functrans.control import loops
from functrans.testing import assert_close, check_grads

rng = np.random.default_rng(0)
close = partial(assert_close, rtol=1e-10, atol=1e-10)
H = rng.standard_normal(3)
BATCH = rng.standard_normal((4, 3))


def python_fori(lower, upper, body, carry, **_):
    """What `ft.fori_loop` gives, by Python's."""
    for i in range(lower, upper):
        carry = body(i, carry)
    return carry


def scalar(function):
    """The sum of the squares of all results."""
    return lambda *args: sum(np.sum(np.abs(leaf) ** 2) for leaf in ft.tree.leaves(function(*args)))


BOUNDS = {"Python": int, "NumPy": np.int64, "narrow": np.int32, "array": np.array}


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize("bounds", [(0, 4), (2, 5), (3, 3), (5, 2), (-2, 1)])
def test_fori_loop(kind, bounds):
    step = lambda i, c: {"x": np.sin(c["x"]) * i + c["y"], "y": c["y"] * (i + 0.5)}
    function = lambda loop, bounds: lambda x: loop(*bounds, step, {"x": x, "y": x[0]})
    looped, unrolled = function(ft.fori_loop, tuple(map(BOUNDS[kind], bounds))), function(python_fori, bounds)
    close(looped(H), unrolled(H))
    close(ft.grad(scalar(looped))(H), ft.grad(scalar(unrolled))(H))
    close(ft.hessian(scalar(looped))(H), ft.hessian(scalar(unrolled))(H))
    close(ft.vmap(looped)(BATCH), ft.vmap(unrolled)(BATCH))


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
    with pytest.raises(
        OverflowError, match=r"fori_loop: (upper is 300|lower is -1), which the other bound's uint8(.|\n)*astype"
    ):
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
