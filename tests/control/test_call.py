"""Compiled functions under transforms: one operation, whose derivatives and batches are machine code too."""

import gc
import tracemalloc

import numpy as np
import pytest

import functrans as ft
from functrans.control import bodies
from functrans.testing import check_grads
from functrans.transforms.batch import traced_batch

X = np.linspace(0.2, 1.4, 6)
MATRIX = np.linspace(-1.0, 1.0, 12).reshape(6, 2)


def several(x, scale, index):
    """Results of several kinds, of which one depends on no float, for operands of which one is an integer."""
    y = np.tanh(x @ MATRIX) * scale
    return {"y": y, "index": index + 1, "sum": np.sum(x[index] ** 3) + np.where(x > 0.5, np.sqrt(x), 0.0).sum()}


def total(function, x, scale, index):
    result = function(x, scale, index)
    return np.sum(result["y"] ** 2) * result["sum"] + result["index"].sum()


INDEX = np.array([0, 2, 2])
TRANSFORMS = {
    "grad": lambda f: ft.grad(f, argnums=(0, 1)),
    "of a number": lambda f: ft.grad(f, argnums=1),
    "hessian": ft.hessian,
    "third order": lambda f: ft.grad(lambda *a: np.sum(ft.hessian(f)(*a))),
    "forward mode": lambda f: lambda *a: ft.jvp(lambda x: f(x, *a[1:]), (a[0],), (np.cos(a[0]),)),
    "forward over reverse": lambda f: lambda *a: ft.jvp(lambda x: ft.grad(f)(x, *a[1:]), (a[0],), (np.cos(a[0]),)),
    "vjp": lambda f: lambda *a: ft.vjp(lambda x: f(x, *a[1:]), a[0])[1](np.float64(2.0)),
    "linearize": lambda f: lambda *a: ft.linearize(lambda x: f(x, *a[1:]), a[0])[1](np.cos(a[0])),
    "checkpoint": lambda f: ft.grad(ft.checkpoint(f)),
    "vmap": lambda f: lambda *a: ft.vmap(ft.grad(f), in_axes=(0, None, None))(np.stack([a[0], a[0] ** 2]), *a[1:]),
    "vmap inside": lambda f: lambda *a: ft.grad(lambda x: np.sum(ft.vmap(lambda row: f(row, *a[1:]))(np.stack([x, x**2]))))(a[0]),
    "jit around": lambda f: ft.jit(ft.grad(f)),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_equals_the_function_itself(transform):
    compiled = ft.jit(several)
    got = transform(lambda *a: total(compiled, *a))(X, 1.5, INDEX)
    ft.testing.assert_close(got, transform(lambda *a: total(several, *a))(X, 1.5, INDEX), rtol=1e-12, atol=1e-12)


def test_against_finite_differences():
    check_grads(lambda x: ft.jit(several)(x, 0.7, INDEX)["sum"], (X,), order=2)


def compilations(caplog, call):
    """How many programs a call compiles."""
    caplog.clear()
    call()
    return sum("compiling" in record.message for record in caplog.records)


def test_both_directions_are_machine_code_and_compiled_once(monkeypatch, caplog):
    monkeypatch.setattr(ft.config, "log_compiles", True)
    monkeypatch.setattr(ft.config, "disk_cache", False)
    compiled = ft.jit(lambda x: np.sum(np.sin(x * 3.25) ** 2))
    gradient = ft.grad(compiled)
    assert compilations(caplog, lambda: gradient(X)) == 2  # forward and backward
    assert compilations(caplog, lambda: gradient(X + 1)) == 0
    assert compilations(caplog, lambda: ft.vmap(compiled)(np.ones((3, 6)))) == 1


def test_captured_arrays_are_differentiated():
    compiled = ft.jit(lambda x: np.sum(x * MATRIX[:, 0]))

    def outer(y):
        inner = ft.jit(lambda x: np.sum(x * y * MATRIX[:, 1]))  # closes over what is differentiated
        return inner(X) + compiled(y)

    np.testing.assert_allclose(ft.grad(outer)(X), X * MATRIX[:, 1] + MATRIX[:, 0])


def test_what_was_not_chosen_contributes_nothing():
    """Although the compiled function's slope is infinite there, and its cotangent 0."""
    root = ft.jit(lambda x: np.sqrt(x))
    x = np.array([0.0, 4.0])
    gradient = ft.grad(lambda x: np.sum(np.where(x > 0, root(x), 0.0)))
    np.testing.assert_array_equal(gradient(x), [0.0, 0.25])
    np.testing.assert_array_equal(ft.jvp(lambda x: np.where(x > 0, root(x), 0.0), (x,), (np.ones(2),))[1], [0.0, 0.25])


def test_only_what_is_read_is_computed():
    program = ft.make_program(ft.grad(lambda x: total(ft.jit(several), x, 1.5, INDEX)))(X)
    assert "call" not in {equation.primitive.name for equation in program.equations}  # staged, it is part of the program


def test_operations_that_fail_raise_numpys_error_with_the_users_line():
    solve = ft.jit(lambda a: np.sum(np.linalg.inv(a)))
    with pytest.raises(np.linalg.LinAlgError, match=r"(?s)Singular.*test_call\.py"):
        ft.grad(solve)(np.zeros((2, 2)))


def test_nan_is_found_inside():
    log = ft.jit(lambda x: np.sum(np.log(x)))
    with pytest.raises(FloatingPointError, match="log"):
        with ft.debug.nans():
            ft.grad(log)(np.array([-1.0]))


def test_what_the_pullback_needs_of_the_results_is_kept_once():
    x = np.full((300, 300), 0.01)
    layer = ft.jit(lambda x: np.tanh(x @ x))
    ft.vjp(layer, x)
    gc.collect()
    tracemalloc.start()
    try:
        value, pullback = ft.vjp(layer, x)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 1.5 * x.nbytes
    np.testing.assert_allclose(pullback(value)[0], ft.vjp(lambda x: np.tanh(x @ x), x)[1](value)[0], rtol=1e-12)


def test_programs_for_batches_of_ever_other_sizes_are_not_all_kept(monkeypatch):
    monkeypatch.setattr(bodies, "MOST_DERIVED", 3)
    made = []
    monkeypatch.setattr(bodies, "traced_batch", lambda *a: made.append(a[2]) or traced_batch(*a))
    function = ft.jit(lambda x: np.sum(x * 2.0))
    for size in (1, 2, 3, 4, 4, 3, 2, 1, 1):
        np.testing.assert_array_equal(ft.vmap(function)(np.ones((size, 3))), np.full(size, 6.0))
    assert made == [1, 2, 3, 4, 1]


@pytest.mark.parametrize(
    "total",
    [
        ft.jit(lambda y: ft.psum(y, "item")),
        lambda y: ft.scan(lambda c, _: (c + ft.psum(c, "item"), None), y, None, length=1)[0] - y,
        lambda y: ft.cond(True, lambda y: ft.psum(y, "item"), lambda y: y, y),
        lambda y: ft.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, ft.psum(c[1], "item")), (0, y))[1],
        lambda y: ft.checkpoint(lambda y: ft.psum(y, "item"))(y),
    ],
    ids=["jit", "scan", "cond", "while_loop", "checkpoint"],
)
def test_sums_over_a_batch_of_what_all_items_share(total):
    batched = ft.vmap(lambda x, y: x * total(y), (0, None), axis_name="item")
    x = np.arange(3.0)
    for function in (batched, ft.jit(batched), lambda x, y: ft.vmap(lambda x: x * total(y), axis_name="item")(x)):
        np.testing.assert_array_equal(function(x, 2.0), 6.0 * x)
    with pytest.raises(NameError, match="psum"):
        total(2.0)
