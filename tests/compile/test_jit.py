"""`jit`: the same numbers as without it, in any composition, and programs kept by types."""

import gc
import pickle
import weakref
from functools import partial

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


def test_static_numbers_that_are_equal_but_differ():
    signed = ft.jit(lambda x, n: np.copysign(x, n), static_argnums=1)
    assert [signed(2.0, zero) for zero in (0.0, -0.0, 0.0)] == [2.0, -2.0, 2.0]
    signed(2.0, float("nan")), signed(2.0, float("nan"))
    assert len(signed.specializations) == 3


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


def powers(x, n=2, *, scale=1.0):
    for _ in range(n - 1):
        x = x * x
    return x * scale


def test_static_arguments_with_defaults_by_position_and_by_name():
    for staged in (ft.jit(powers, static_argnums=1), ft.jit(powers, static_argnames="n"), ft.jit(powers, 1, "n")):
        np.testing.assert_array_equal(staged(X), X**2)
        np.testing.assert_array_equal(staged(X, 1), X)
        np.testing.assert_array_equal(staged(X, n=3), X**4)
        np.testing.assert_array_equal(staged(n=3, x=X), X**4)
        np.testing.assert_array_equal(staged(X, 3, scale=2.0), 2 * X**4)
    with pytest.raises(TypeError, match="static argument is not hashable(.|\n)*make the argument dynamic"):
        ft.jit(powers, static_argnums=1)(X, n=X)


def test_default_and_keyword_only_arguments_are_dynamic():
    staged = ft.jit(lambda x, y=2.0, *rest, scale=1.0, **more: (x * y + sum(rest)) * scale + sum(more.values()))
    for args, keywords in [((X,), {}), ((X, X), {}), ((X, X, X, 1.0), {"scale": X}), ((X,), {"y": X, "a": 1.0, "b": X})]:
        np.testing.assert_array_equal(staged(*args, **keywords), staged.function(*args, **keywords))
    assert staged.compilations == 4


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x, *, shift=0.0):
        return self.factor * x + shift

    @ft.jit
    def method(self, x):
        return self.factor * x

    @partial(ft.jit, static_argnums=2)
    def repeated(self, x, times=1):
        for _ in range(times):
            x = self.factor * x
        return x


def test_what_is_called_may_be_any_callable():
    scaled = Scaled(3.0)
    for callable_ in (scaled, scaled.__call__, partial(scaled, shift=0.0), lambda x: 3.0 * x, partial(np.multiply, 3.0)):
        np.testing.assert_array_equal(ft.jit(callable_)(X), 3 * X)
    np.testing.assert_array_equal(ft.jit(scaled)(X, shift=X), 4 * X)
    np.testing.assert_array_equal(scaled.method(X), 3 * X)
    np.testing.assert_array_equal(Scaled.method(scaled, X), 3 * X)
    np.testing.assert_array_equal(scaled.repeated(X, times=2), 9 * X)
    scaled.factor = 2.0
    np.testing.assert_array_equal(scaled.method(X), 2 * X)
    np.testing.assert_array_equal(scaled.repeated(X, 2), 4 * X)
    np.testing.assert_array_equal(ft.grad(lambda x: np.sum(scaled.method(x)))(X), [2.0] * 3)


squared = ft.jit(np.square, donate_argnums=0)


def test_jitted_functions_pickle():
    for function in (squared, ft.jit(np.square, donate_argnums=0), ft.jit(powers, static_argnames="n", donate_argnums=0)):
        x = X.copy()
        loaded = pickle.loads(pickle.dumps(function))
        np.testing.assert_array_equal(loaded(x), X**2)
        assert loaded(x) is x
    assert pickle.loads(pickle.dumps(Scaled(3.0).method))(X).tolist() == (3 * X).tolist()


def test_options_name_arguments_that_there_are():
    for options, message in [
        ({"static_argnums": 3}, "static_argnums=3(.|\n)*no argument of it: 3"),
        ({"donate_argnums": (0, -4)}, "no argument of it: -4"),
        ({"static_argnames": ["n", "m"]}, "no argument of it: m(.|\n)*its signature"),
        ({"static_argnums": 1, "donate_argnames": "n"}, "both static and donated(.|\n)*donate arrays only"),
    ]:
        with pytest.raises(ValueError, match=message):
            ft.jit(powers, **options)
    for options in ({"static_argnums": "n"}, {"static_argnames": 1}, {"donate_argnums": [0.5]}, {"donate_argnames": None}):
        with pytest.raises(TypeError, match="must be of type(.|\n)*test_jit.py"):
            ft.jit(powers, **options)
    np.testing.assert_array_equal(ft.jit(lambda *x, **y: x[1] * y["s"], static_argnums=5, donate_argnames="z")(X, X, s=2.0), 2 * X)


def test_layouts_are_named_where_compilations_are_logged(monkeypatch, caplog):
    monkeypatch.setattr(ft.config, "log_compiles", True)
    total, large = ft.jit(np.sum), np.ones((150, 200))
    total(large), total(large.T.copy().T)
    first, second = (record.getMessage() for record in caplog.records)
    assert "float64[150,200] of strides (1, 150) was float64[150,200]" in second and "strides" not in first


def test_attributes_in_slots_stage_again():
    class Scaled:
        __slots__ = ("factor",)

        @ft.jit
        def times(self, x):
            return x * self.factor

    scaled = Scaled()
    for factor in (2.0, 3.0):
        scaled.factor = factor
        assert scaled.times(np.ones(2)).tolist() == [factor] * 2


def test_programs_of_methods_do_not_keep_objects_or_old_attributes():
    class Scaled:
        def __init__(self):
            self.factor = np.ones(1000)

        @ft.jit
        def times(self, x):
            return x * self.factor

    scaled, kept = Scaled(), []
    for _ in range(5):
        scaled.times(2.0)
        kept.append(weakref.ref(scaled.factor))
        scaled.factor = scaled.factor + 1
    assert scaled.times(1.0)[0] == 6.0
    gc.collect()
    assert sum(reference() is not None for reference in kept) <= 1  # the types of the last compilation may be remembered
    last = weakref.ref(scaled)
    del scaled
    gc.collect()
    assert last() is None
