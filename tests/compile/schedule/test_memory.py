"""Donated arguments, values written over others, and what a program holds."""

import tracemalloc
from functools import partial

import numpy as np
import pytest

import functrans as ft

GENERATOR = np.random.default_rng(0)


def loss(parameters, x, y):
    (w1, b1), (w2, b2) = parameters["layers"]
    return np.mean((np.maximum(x @ w1 + b1, 0) @ w2 + b2 - y) ** 2)


def step(parameters, x, y, rate=0.1):
    value, gradient = ft.value_and_grad(loss)(parameters, x, y)
    return value, ft.tree.map(lambda p, g: p - rate * g, parameters, gradient)


def training_data(batch=64):
    layers = [(GENERATOR.normal(size=(65, 301)) / 8, np.zeros(301)), (GENERATOR.normal(size=(301, 7)) / 17, np.zeros(7))]
    return {"layers": layers}, GENERATOR.normal(size=(batch, 65)), GENERATOR.normal(size=(batch, 7))


def copied(arrays):
    return ft.tree.map(np.array, arrays)


def test_a_training_step_updates_donated_parameters_in_place():
    parameters, x, y = training_data()
    plain, donating = ft.jit(step), ft.jit(step, donate_argnums=0)
    expected, own = copied(parameters), copied(parameters)
    for _ in range(3):
        expected_value, expected = plain(expected, x, y)
        before = ft.tree.leaves(own)
        value, own = donating(own, x, y)
        assert all(one is other for one, other in zip(before, ft.tree.leaves(own), strict=True))
        np.testing.assert_allclose(value, expected_value, rtol=1e-12)
        for one, other in zip(ft.tree.leaves(own), ft.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    memory = donating.lower(own, x, y).compile().memory_analysis()
    assert memory.donated == sum(leaf.nbytes for leaf in ft.tree.leaves(own)) == memory.results - 8
    tracemalloc.start()
    donating(own, x, y)
    assert tracemalloc.get_traced_memory()[1] < 3000
    tracemalloc.stop()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_elements_are_written_over_in_any_number(threads, monkeypatch):
    monkeypatch.setattr(ft.config, "threads", threads)
    shapes = [(1,), (2,), (3,), (9,), (31,), (33,), (64,), (65,), (127,), (1000,), (3, 5), (70, 33), (200_003,), (401, 333)]
    dtypes = [np.float64, np.float32, np.int32, np.bool_]
    arrays = [(GENERATOR.normal(size=shape) * 5).astype(dtype) for shape in shapes for dtype in dtypes]

    def function(arrays):
        return [~x if x.dtype == bool else x * 3 + x * x for x in arrays]

    given = copied(arrays)
    results = ft.jit(function, donate_argnums=0)(given)
    for result, own, expected in zip(results, given, function(arrays), strict=True):
        assert result is own
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


SQUARE = GENERATOR.normal(size=(77, 77))
# Functions of one array, and whether the result may be written over it.
OVER = {
    "elementwise": (lambda x: np.tanh(x) + 1, True),
    "another shape, the same places": (lambda x: (x.reshape(7, 11, 77) * 2).reshape(77, 77), True),
    "another shape": (lambda x: np.ravel(x) * 2, False),
    "another shape and NumPy": (lambda x: np.sort(np.ravel(x) * 2) + 1, False),
    "rows": (softmax, True),
    "after a mean": (lambda x: x - np.mean(x), True),
    "after columns": (lambda x: x - np.mean(x, axis=0), True),
    "a set slice": (lambda x: ft.numpy.asarray(x).at[2:5].set(1.0), True),
    "backwards": (lambda x: x[::-1] + x, False),
    "transposed": (lambda x: x.T * 2, False),
    "transposed and added": (lambda x: x.T + x, False),
    "rolled": (lambda x: np.roll(x, 1, axis=0), False),
    "shifted": (lambda x: np.concatenate([x[1:], x[:1]]), False),
    "one element for all": (lambda x: x * x[0, 0], True),
    "one row for all": (lambda x: x + x[3], False),
    "a product": (lambda x: x @ x, False),
    "sorted": (lambda x: np.sort(x, axis=0), False),
    "added up": (lambda x: np.cumsum(x, axis=1), None),
    "as integers": (lambda x: (x * 10).astype(np.int64), False),
}


@pytest.mark.parametrize("name", OVER)
def test_results_are_right_whatever_is_read(name):
    function, is_over = OVER[name]
    given, traced = SQUARE.copy(), ft.jit(function, donate_argnums=0)
    expected = ft.jit(function)(SQUARE)
    np.testing.assert_allclose(traced.lower(given).interpret(given), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(given, SQUARE)
    result = traced(given)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-15)
    assert is_over is None or (result is given) == is_over


def test_a_result_takes_the_memory_of_what_was_read_before():
    x, w = GENERATOR.normal(size=(50, 50)), GENERATOR.normal(size=(50, 50))
    f = ft.jit(lambda x, w: (np.tanh(x @ w) @ w).T + 0.5, donate_argnums=0)
    expected = (np.tanh(x @ w) @ w).T + 0.5
    result = f(x, w)
    assert result is x
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-9)


def test_each_donated_array_serves_one_result():
    x, y = np.arange(6.0), np.arange(6.0) * 10
    first, second, third = ft.jit(lambda x, y: (x + y, x - y, x * y), donate_argnums=(0, 1))(x, y)
    np.testing.assert_array_equal([first, second, third], [np.arange(6) * 11, np.arange(6) * -9, np.arange(6) ** 2 * 10])
    assert len({id(first), id(second), id(third)}) == 3


def test_donation_by_name_by_method_and_beside_static_arguments():
    class Model:
        rate = 0.5

        @partial(ft.jit, static_argnames="times", donate_argnames="w")
        def step(self, w, dw, times=1):
            for _ in range(times):
                w = w - self.rate * dw
            return w

    def step(w, dw, times=1):
        return w - 0.5 * times * dw

    model, dw = Model(), np.ones(3)
    for call in (
        lambda w: model.step(w, dw),
        lambda w: model.step(w, dw, 1),
        lambda w: model.step(w=w, dw=dw, times=1),
        lambda w: ft.jit(step, static_argnums=2, donate_argnums=0)(w, dw, times=1),
        lambda w: ft.jit(step, static_argnums=2, donate_argnums=0)(dw=dw, w=w),
        lambda w: ft.jit(lambda *, w, dw: w - 0.5 * dw, donate_argnames=["w"])(w=w, dw=dw),
        lambda w: ft.jit(lambda pair, *rest: pair[0] - pair[1], donate_argnums=(0, -1))((w, 0.5 * dw), 1.0),
    ):
        w = np.full(3, 2.0)
        assert call(w) is w
        np.testing.assert_array_equal(w, 1.5)


def test_donated_arrays_of_other_kinds_are_taken_but_not_over():
    f = ft.jit(lambda x, s: (x + s, s + 1), donate_argnums=(0, 1))
    plain = np.arange(8.0).reshape(2, 4)
    for given in (plain.T, plain[:, ::2], np.arange(4), np.array(3.0), np.float32(2), 5, 2.5):
        before = np.array(given)
        result, number = f(given, 1.5)
        np.testing.assert_array_equal(result, before + 1.5)
        assert number == 2.5 and result is not given
    assert f(plain[:0], 1.5)[0].shape == (0, 4)
    large = GENERATOR.normal(size=(200, 150)).T
    expected = large * 2
    np.testing.assert_array_equal(ft.jit(lambda x: x * 2, donate_argnums=0)(large), expected)


def test_a_view_is_updated_where_it_lies():
    memory = np.zeros((4, 1000))
    result = ft.jit(lambda x: x + 1, donate_argnums=0)(memory[1])
    assert result.base is memory
    np.testing.assert_array_equal(memory.sum(axis=1), [0, 1000, 0, 0])


CAPTURED = np.ones(20)


def test_donated_arrays_that_share_memory_are_refused():
    x = np.arange(40.0).reshape(2, 20)
    f = ft.jit(lambda a, b: (a + b, b - a), donate_argnums=(0, 1))
    g = ft.jit(lambda a, b: a + b, donate_argnums=0)
    h = ft.jit(lambda a: a + CAPTURED, donate_argnums=0)
    f(x[0].copy(), x[1].copy()), g(x[0].copy(), x[1]), h(x[0].copy())
    wrong = [
        (lambda: f(x[0], x[0]), "donated twice"),
        (lambda: f(x[0], x[0, :]), "donated twice"),
        (lambda: g(x[0], x[0]), "shares memory with another"),
        (lambda: g(x[0], x[0, ::-1]), "shares memory with another"),
        (lambda: g(x[0, :10], x[0, 5:15]), "shares memory with another"),
        (lambda: g(x.T[:10], x.T[:10]), "shares memory with another"),
        (lambda: g(a=x[0], b=x[0]), "shares memory with another"),
        (lambda: h(CAPTURED), "a captured array"),
    ]
    before = x.copy()
    for call, message in wrong:
        with pytest.raises(ft.errors.MutationError, match=rf"a donated array, float64\[.*{message}(.|\n)*pass copies"):
            call()
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(CAPTURED, 1)
    f(x[0], x[1])  # side by side


def test_read_only_arrays_are_not_donated():
    x = np.ones(5)
    f = ft.jit(lambda x: x + 1, donate_argnums=0)
    f(x)
    x.flags.writeable = False
    for given in (x, np.broadcast_to(1.0, 5), np.broadcast_to(np.ones(300), (200, 300))):
        with pytest.raises(ft.errors.MutationError, match=r"a donated array, float64\[.*read-only(.|\n)*donate a copy"):
            f(given)


def test_what_indices_are_made_of_is_left_as_it_is():
    f = ft.jit(lambda i, x: (i - 10, x[i] * 2), donate_argnums=(0, 1))
    i, x = np.array([0, 12, 1]), np.arange(3.0)
    with pytest.raises(IndexError, match="12"):
        f(i, x)
    shifted, taken = f(np.array([0, 2, 1]), x)
    np.testing.assert_array_equal(shifted, [-10, -8, -9])
    assert taken.shape == (3,)


def test_a_table_is_updated_without_a_copy():
    table, numbers = np.zeros((5000, 64)), np.array([3, 4999, 3])
    f = ft.jit(lambda t, i, v: ft.numpy.asarray(t).at[i].add(v), donate_argnums=0)
    result = f(table, numbers, np.ones((3, 64)))
    assert result is table and table.sum() == 3 * 64 and table[3, 0] == 2
    assert f.lower(table, numbers, np.ones((3, 64))).kernels().count("def ") == 1


def test_donation_around_calls_of_numpy():
    def function(a, b, c):
        ordered = np.sort(c)
        return a * 2 + ordered, np.cumsum(b) + ordered[::-1], c + 1

    a, b, c = (GENERATOR.normal(size=30) for _ in range(3))
    expected = function(a, b, c)
    for actual, wanted in zip(ft.jit(function, donate_argnums=(0, 1, 2))(a, b, c), expected):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12)


def test_under_transforms_and_without_compilation_nothing_is_taken_over(monkeypatch):
    f = ft.jit(lambda x: np.sum(x * x), donate_argnums=0)
    x = np.ones(3)
    np.testing.assert_array_equal(ft.grad(f)(x), 2)
    np.testing.assert_array_equal(ft.jit(ft.grad(f))(x), 2)
    taken = ft.jit(lambda x: np.log(x - 1), donate_argnums=0)
    taken(np.full(3, 3.0))
    with pytest.raises(FloatingPointError, match="log"), ft.debug.nans():
        taken(x - 5)
    monkeypatch.setattr(ft.config, "jit", False)
    assert ft.jit(lambda x: x + 1, donate_argnums=0)(x) is not x


def workspace(function, *arguments):
    return ft.jit(function).lower(*arguments).compile().memory_analysis().workspace


def test_what_dies_is_written_over_and_results_hold_what_is_needed_before():
    x = GENERATOR.normal(size=(80, 80))
    assert workspace(lambda x: np.tanh(np.tanh(x @ x) @ x + 1) @ x, x) == x.nbytes
    assert workspace(lambda x: x - 0.1 * (x @ x), x) == 0
    assert workspace(lambda x: (np.exp(x @ x), x + 1), x) == 0
    assert workspace(lambda x: np.sum(np.tanh(x @ x) ** 2), x) == x.nbytes
    f = ft.jit(lambda x: (np.tanh(np.tanh(x @ x) @ x + 1) @ x, x - 0.1 * (softmax(x @ x) @ x)))
    for results in (f(x), f.lower(x).interpret(x)):
        for actual, expected in zip(results, f.function(x), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


def test_updates_come_as_soon_as_their_gradients():
    def function(weights, x):
        gradients = [w @ x for w in weights]
        return [w - 0.1 * g for w, g in zip(weights, gradients)]

    weights, x = [GENERATOR.normal(size=(80, 80)) for _ in range(6)], GENERATOR.normal(size=(80, 80))
    donating = ft.jit(function, donate_argnums=0)
    assert donating.lower(weights, x).compile().memory_analysis().workspace == x.nbytes
    for actual, expected in zip(donating(copied(weights), x), function(weights, x)):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
