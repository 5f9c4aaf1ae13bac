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


def test_calls_of_other_types_and_layouts():
    f = ft.jit(lambda x: np.sin(x) + 1)
    x = np.linspace(0, 1, 12).reshape(3, 4)
    for argument in (x, x, x.T, x[:, ::2], x.astype(np.float32), x.astype(np.int64), x, 0.5, np.float64(0.5), np.array(0.5)):
        expected = np.sin(argument) + 1
        actual = f(argument)
        assert type(actual) is type(expected) or isinstance(argument, float)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
    assert f.compilations == 8  # the transposed array has a shape of its own


def test_results_belong_to_the_caller():
    f = ft.jit(lambda x: (x + 1, {"sum": np.sum(x), "half": x / 2}))
    first, second = f(np.arange(3.0)), f(np.ones(3))
    np.testing.assert_array_equal(first[0], [1, 2, 3])
    np.testing.assert_array_equal(second[1]["half"], [0.5, 0.5, 0.5])
    first[0][0] = 7
    assert f(np.arange(3.0))[0][0] == 1
    assert isinstance(first[1]["sum"], np.float64)


def test_a_wrong_argument_after_a_right_one_teaches():
    f = ft.jit(lambda x: np.sin(x))
    f(np.ones(3)), f(np.ones(3))
    with pytest.raises(TypeError, match="str"):
        f("text")
    with pytest.raises(TypeError):
        f(np.ones(3), np.ones(3))
    np.testing.assert_array_equal(f(np.ones(3)), np.sin(np.ones(3)))


def test_the_programs_called_last_are_kept(monkeypatch):
    monkeypatch.setattr("functrans.compile.jit.CACHE_SIZE", 2)
    staged = []

    @ft.jit
    def f(x):
        staged.append(x.shape)
        return x + 1

    for length in (1, 2, 1, 3, 1, 2):
        f(np.ones(length))
    assert staged == [(1,), (2,), (3,), (2,)]


def test_without_compilation(monkeypatch):
    monkeypatch.setattr(ft.config, "jit", False)
    seen = []
    f = ft.jit(lambda x: seen.append(x) or x * 2)
    assert f(3.0) == 6.0 and seen == [3.0]
    assert f.compilations == 0


def test_compilations_are_logged_with_their_reason(monkeypatch, caplog):
    monkeypatch.setattr(ft.config, "log_compiles", True)

    @ft.jit
    def loss(x):
        return np.sum(ft.tree.leaves(x)[0])

    loss(np.ones(3)), loss(np.ones(3)), loss(np.ones(4, np.float32)), loss([np.ones(2)])
    first, second, third = (record.getMessage() for record in caplog.records)
    assert "loss for (float64[3]): the first call" in first
    assert "float32[4] was float64[3]" in second
    assert "another structure" in third
