"""`pure_callback` in every transform, and its errors."""

import numpy as np
import pytest
import scipy.special

import functrans as ft
from functrans.testing import check_grads

X = np.array([0.3, 1.2, -0.7])


def opaque(function):
    """A function that fails on anything but plain arrays and numbers."""

    def call(*args):
        assert all(type(arg) in (np.ndarray, np.float64, np.float32, float) for arg in args)
        return function(*args)

    return call


def sine(x, method=None):
    return ft.pure_callback(opaque(np.sin), x, x, vmap_method=method)


def sine_with_rule(x, method="sequential"):
    """With derivatives of any order."""
    rule = lambda args, tangents: sine_with_rule(args[0] + np.pi / 2) * tangents[0]
    return ft.pure_callback(opaque(np.sin), x, x, vmap_method=method, derivative=rule)


def test_value_everywhere():
    for run in (sine, ft.jit(sine), ft.make_program(sine)(X)):
        result = run(X)
        np.testing.assert_array_equal(result, np.sin(X))
        assert result.dtype == X.dtype and result.flags.writeable
    assert isinstance(ft.jit(sine)(0.5), float)


def test_between_compiled_operations():
    f = lambda x, y: np.sum(sine(x * 2.0) * y) + sine(np.sum(x)) ** 2
    exact = lambda x, y: np.sum(np.sin(x * 2.0) * y) + np.sin(np.sum(x)) ** 2
    compiled = ft.jit(f)
    for scale in (1.0, 2.0):
        np.testing.assert_allclose(compiled(X * scale, X), exact(X * scale, X))


def test_is_called_when_the_compiled_function_is():
    calls = []
    f = ft.jit(lambda x: ft.pure_callback(lambda x: calls.append(x) or x, x, x) + 1.0)
    assert (float(f(1.0)), float(f(2.0)), float(f(3.0))) == (2.0, 3.0, 4.0)
    assert calls == [1.0, 2.0, 3.0]


def test_is_not_called_for_a_result_nobody_reads():
    calls = []

    def f(x):
        ft.pure_callback(lambda x: calls.append(x) or x, x, x)
        return x

    ft.jit(f)(X)
    assert calls == []


def test_trees_types_and_keywords():
    def split(tree, *, scale):
        return {"count": 3, "parts": (tree["a"] * scale, np.float32(2.0))}

    types = {"count": ft.ArrayType((), int), "parts": (X, ft.ArrayType((), np.float32))}
    f = lambda x, scale: ft.pure_callback(split, types, {"a": x}, scale=scale)
    for run in (f, ft.jit(f)):
        result = run(X, 2.0)
        np.testing.assert_array_equal(result["parts"][0], X * 2)
        assert result["count"] == 3 and result["count"].dtype == np.dtype(int)
        assert result["parts"][1] == 2 and result["parts"][1].dtype == np.float32


def test_arrays_are_the_callbacks_own():
    table = np.array([1.0, 2.0, 3.0])
    kept = []

    def careless(x):
        kept.append(x)
        x *= 0.0
        return table

    x = X.copy()
    for run in (lambda x: ft.pure_callback(careless, x, x), ft.jit(lambda x: ft.pure_callback(careless, x, x * 1.0))):
        result = run(x)
        np.testing.assert_array_equal(x, X)
        result += 1.0
        np.testing.assert_array_equal(table, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(kept, np.zeros((2, 3)))


@pytest.mark.parametrize("method", ["sequential", "expand_dims", "broadcast_all"])
def test_batched(method):
    shapes = []

    def scaled(x, y):
        shapes.append((np.shape(x), np.shape(y)))
        return np.asarray(x * np.expand_dims(y, -1) if np.ndim(y) else x * y)

    def f(x, y):
        return ft.pure_callback(scaled, ft.ArrayType((3,), float), x, y, vmap_method=method)

    xs, ys = np.stack([X, X + 1.0]), np.array([2.0, 3.0])
    for run in (ft.vmap(f), ft.jit(ft.vmap(f))):
        np.testing.assert_array_equal(run(xs, ys), xs * ys[:, None])
    np.testing.assert_array_equal(ft.vmap(f, in_axes=(0, None))(xs, 2.0), xs * 2)
    assert shapes[-1] == {"sequential": ((3,), ()), "expand_dims": ((2, 3), (1,)), "broadcast_all": ((2, 3), (2,))}[method]
    nested = ft.vmap(ft.vmap(f, in_axes=(None, 0)), in_axes=(0, None))
    np.testing.assert_array_equal(nested(xs, ys), xs[:, None] * ys[None, :, None])
    assert ft.vmap(f)(xs[:0], ys[:0]).shape == (0, 3)


def test_declared_derivative():
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(sine_with_rule(x)))(X), np.cos(X))
    np.testing.assert_allclose(ft.jit(ft.grad(lambda x: np.sum(sine_with_rule(x))))(X), np.cos(X))
    np.testing.assert_allclose(ft.vmap(ft.grad(sine_with_rule))(X), np.cos(X))
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(ft.vmap(sine_with_rule)(x)))(X), np.cos(X))
    check_grads(sine_with_rule, (X,), order=3, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "f", [sine, sine_with_rule, lambda x: ft.custom_linear_solve(lambda y: 2 * y, x, lambda _, b: sine(b))]
)
def test_is_not_repeated(f):
    (equation,) = ft.make_program(f)(X).equations
    assert not equation.repeatable


def test_rules_around_it():
    @ft.custom_vjp
    def airy(x):
        return ft.pure_callback(lambda x: scipy.special.airy(x)[0], x, x)

    slope = lambda x: ft.pure_callback(lambda x: scipy.special.airy(x)[1], x, x)
    airy.defvjp(lambda x: (airy(x), x), lambda x, ct: (ct * slope(x),))
    np.testing.assert_allclose(ft.grad(lambda x: np.sum(airy(x)))(X), scipy.special.airy(X)[1])


@pytest.mark.parametrize(
    "derivative", [ft.grad, lambda f: ft.jit(ft.grad(f)), lambda f: ft.jacfwd(f)], ids=["grad", "jit", "jacfwd"]
)
def test_no_derivative(derivative):
    with pytest.raises(ft.errors.DifferentiationError, match=r"(?s)pure_callback of call: .*test_pure_callback.*derivative="):
        derivative(lambda x: np.sum(sine(x)))(X)
    stopped = derivative(lambda x: np.sum(sine(ft.stop_gradient(x)) * x))(X)
    np.testing.assert_allclose(stopped, np.sin(X))


def test_no_derivative_is_needed_of_integers():
    count = lambda x: ft.pure_callback(lambda x: np.sum(x > 0), ft.ArrayType((), int), x)
    np.testing.assert_array_equal(ft.grad(lambda x: np.sum(x) * count(x))(X), [2.0, 2.0, 2.0])
    assert ft.jvp(lambda x: np.sum(x) * count(x), (X,), (X,))[1] == 2 * np.sum(X)


def test_results_unlike_the_declaration():
    declared = ft.ArrayType((3,), np.float32)
    for run in (lambda x: ft.pure_callback(np.sin, declared, x), ft.jit(lambda x: ft.pure_callback(np.sin, declared, x))):
        with pytest.raises(
            ft.errors.StructureError, match=r"(?s)pure_callback of sin: .*float64\[3\] where .*float32\[3\].*test_pure"
        ):
            run(X)
    with pytest.raises(ft.errors.StructureError, match=r"returned float64\[\] at \['b'\] where result_types has float64\[3\]"):
        ft.pure_callback(lambda x: {"a": x, "b": x[0]}, {"a": X, "b": X}, X)
    with pytest.raises(ft.errors.StructureError, match=r"returned a tree of structure .*, and result_types has"):
        ft.pure_callback(lambda x: (x, x), X, X)
    with pytest.raises(ft.errors.StructureError, match=r"returned float64\[\] where result_types has int64\[\]"):
        ft.pure_callback(lambda: 2.5, 0)
    assert ft.pure_callback(lambda: 2, ft.ArrayType((), np.float32)).dtype == np.float32


def test_errors_of_the_callback_pass():
    def fails(x):
        raise ValueError("no such thing")

    for run in (lambda x: ft.pure_callback(fails, x, x), ft.jit(lambda x: ft.pure_callback(fails, x, x))):
        with pytest.raises(ValueError, match="^no such thing$"):
            run(X)


def test_wrong_arguments():
    with pytest.raises(ft.errors.UnsupportedError, match="does not say how the function takes a batch of 3"):
        ft.vmap(sine)(X)
    with pytest.raises(ValueError, match="vmap_method='loop'"):
        sine(X, "loop")
    with pytest.raises(TypeError, match="result_types holds 'float'"):
        ft.pure_callback(np.sin, "float", X)
    with pytest.raises(TypeError, match="pass them by position"):
        ft.pure_callback(np.clip, X, X, a_min=0.0, derivative=lambda args, tangents: tangents[0])


def test_types_print_and_compare():
    assert str(ft.ArrayType([2, 3], "float32")) == "float32[2,3]"
    assert ft.ArrayType((2,), float) == ft.ArrayType((2,), np.dtype(np.float64))
    program = ft.make_program(lambda x: sine(x) * 2.0)(ft.ArrayType((3,), float))
    assert "pure_callback(a; callback=call)" in str(program)
