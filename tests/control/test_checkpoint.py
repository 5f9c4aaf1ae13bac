"""Checkpointed functions: the derivatives of the functions, from what policies and budgets keep."""

import pickle
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import functrans as ft
from functrans import errors
from functrans.testing import assert_close

P = ft.checkpoint_policies
X = np.linspace(-0.8, 0.9, 6).reshape(2, 3)
W = np.linspace(-1.0, 1.1, 9).reshape(3, 3)


def shown(options):
    """Options as the name of a test, the same in each process."""
    return ",".join(f"{name}={getattr(value, '__name__', value)}" for name, value in options.items()) or "none"


# What is kept and what is computed again must not matter.
OPTIONS = [{}, {"policy": P.everything}, {"policy": P.dots}, {"policy": P.save_names("hidden")}, {"budget": 100}, {"prevent_cse": False},
           {"policy": P.save_and_offload("hidden")}]  # fmt: skip


def network(x, w):
    for _ in range(3):
        x = ft.checkpoint_name(np.tanh(x @ w), "hidden") * 0.9
    return x


def loss(x, w):
    return np.sum(np.sin(network(x, w)))


def derivative(function, order):
    """A scalar function of the derivatives of this order."""
    for _ in range(order):
        before = function
        function = lambda x, w, before=before: sum(np.sum(np.cos(part)) for part in ft.grad(before, (0, 1))(x, w))
    return function


@pytest.mark.parametrize("options", OPTIONS, ids=shown)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_are_those_of_the_function(options, order):
    checkpointed = derivative(ft.checkpoint(loss, **options), order)
    expected = derivative(loss, order)(X, W)
    assert_close(checkpointed(X, W), expected)
    if order < 3 or options in ({}, {"policy": P.dots}):
        assert_close(ft.jit(checkpointed)(X, W), expected)


def test_derivatives_are_finite_differences():
    ft.testing.check_grads(ft.checkpoint(loss), (X, W), order=3)
    ft.testing.check_grads(ft.checkpoint(loss, budget=60), (X, W), order=2)


TRANSFORMS = {
    "grad": lambda f: lambda x: ft.grad(lambda x: np.sum(np.cos(f(x))))(x),
    "jvp": lambda f: lambda x: ft.jvp(f, (x,), (np.cos(x),))[1],
    "vjp": lambda f: lambda x: (lambda value, pull: pull(np.cos(value))[0])(*ft.vjp(f, x)),
    "vmap": lambda f: lambda x: ft.vmap(f)(np.stack([x, 2.0 * x]))[1],
    "jit": lambda f: ft.jit(f),
    "linearize": lambda f: lambda x: ft.linearize(f, x)[1](np.sin(x)),
    "jacfwd": lambda f: lambda x: np.sum(ft.jacfwd(f)(x), axis=(0, 1)),
    "jacrev": lambda f: lambda x: np.sum(ft.jacrev(f)(x), axis=(0, 1)),
    "hvp": lambda f: lambda x: ft.hvp(lambda x: np.sum(np.sin(f(x))), (x,), (np.cos(x),)),
    "checkpoint": ft.checkpoint,
}


@pytest.mark.parametrize("names", list(product(TRANSFORMS, repeat=2)), ids="-".join)
def test_pairs_of_transforms(names):
    function = lambda x: np.tanh(np.sin(x) @ W)
    plain, checkpointed = function, ft.checkpoint(function)
    for name in names:
        plain, checkpointed = TRANSFORMS[name](plain), TRANSFORMS[name](checkpointed)
    assert_close(checkpointed(X), plain(X), rtol=1e-11)


def test_transforms_inside():
    inside = lambda x: ft.vmap(ft.grad(lambda row: np.sum(np.tanh(row @ W))))(x) + ft.jit(np.sin)(x)
    total = lambda f: lambda x: np.sum(f(x) ** 2)
    for transform in (ft.grad, ft.hessian):
        assert_close(transform(total(ft.checkpoint(inside)))(X), transform(total(inside))(X))


def test_closures_over_traced_values():
    def outer(call):
        def function(x, w):
            y = np.exp(x)
            return np.sum(call(lambda z: np.tanh(z @ w) * y)(x) * y)

        return function

    for transform in (lambda f: ft.grad(f, (0, 1)), lambda f: ft.jit(ft.grad(f, (0, 1))), ft.jacfwd, ft.hessian):
        assert_close(transform(outer(ft.checkpoint))(X, W), transform(outer(lambda f: f))(X, W))
    batched = lambda call: ft.vmap(ft.grad(outer(call)), (0, None))(X[:, None], W)
    assert_close(batched(ft.checkpoint), batched(lambda f: f))


def test_arrays_from_outside_are_read_at_each_call():
    w = W.copy()
    gradient = ft.grad(ft.checkpoint(lambda x: np.sum(np.tanh(x @ w))))
    first = gradient(X)
    w *= 2.0
    assert_close(gradient(X), ft.grad(lambda x: np.sum(np.tanh(x @ (2.0 * W))))(X))
    assert not np.allclose(first, gradient(X))


def test_functions_may_change_between_calls():
    factor = 2.0
    gradient = ft.grad(ft.checkpoint(lambda x: np.sum(np.sin(factor * x))))
    assert_close(gradient(X), 2.0 * np.cos(2.0 * X))
    factor = 3.0
    assert_close(gradient(X), 3.0 * np.cos(3.0 * X))


def test_arguments_and_results_are_trees():
    def function(tree, *, scale, flag):
        x, label = tree["x"], tree["y"]
        assert flag is None
        return {"sum": (np.sum(x) * scale, label + 1), "none": None, "constant": 2.0}

    call = ft.checkpoint(function)
    tree = {"x": X, "y": np.arange(3)}
    assert_close(call(tree, scale=2.0, flag=None), function(tree, scale=2.0, flag=None))
    gradient = ft.grad(lambda x: call({"x": x, "y": np.arange(3)}, scale=x[0, 0], flag=None)["sum"][0])
    assert_close(gradient(X), ft.grad(lambda x: np.sum(x) * x[0, 0])(X))


@pytest.mark.parametrize(
    "x", [np.float32(0.5), 0.5, 2, np.linspace(0, 1, 3, dtype=np.float32), np.array([1 + 2j, 0.5j])], ids=repr
)
def test_types_are_kept(x):
    function = lambda x: np.sin(x) * 2 + x
    assert type(ft.checkpoint(function)(x)) is type(function(x))
    assert_close(ft.checkpoint(function)(x), function(x))
    if not isinstance(x, int):
        total = lambda f: lambda x: np.sum(np.real(f(x) * (1 + 1j)))
        assert_close(ft.grad(total(ft.checkpoint(function)))(x), ft.grad(total(function))(x))


def test_static_arguments():
    def function(mode, x, count):
        for _ in range(count):
            x = np.sin(x) if mode == "sin" else np.cos(x)
        return np.sum(x)

    call = ft.checkpoint(function, static_argnums=(0, -1))
    for mode, count in [("sin", 2), ("cos", 3)]:
        assert_close(ft.grad(call, 1)(mode, X, count), ft.grad(function, 1)(mode, X, count))


class Model:
    def __init__(self, w):
        self.w = w

    @ft.checkpoint
    def __call__(self, x):
        return np.sum(np.tanh(x @ self.w))


ft.tree.register(Model, lambda model: ((model.w,), None), lambda _, children: Model(*children))


@ft.checkpoint
def decorated(x):
    """A docstring."""
    return np.sum(np.sin(x))


def test_methods_and_names():
    assert_close(ft.grad(lambda model, x: model(x))(Model(W), X).w, ft.grad(lambda w: np.sum(np.tanh(X @ w)))(W))
    assert (decorated.__name__, decorated.__doc__) == ("decorated", "A docstring.")
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    other = pickle.loads(pickle.dumps(ft.checkpoint(np.sin, policy=P.save_names("a"), budget=3)))
    assert other(0.5) == np.sin(0.5)


def test_barriers_keep_recomputation_apart():
    kernels = lambda **options: ft.jit(ft.value_and_grad(ft.checkpoint(loss, **options))).lower(X, W).kernels()
    assert kernels(prevent_cse=False).count("= tanh(") == kernels(policy=P.everything).count("= tanh(") == 3
    assert kernels().count("= tanh(") == 6
    two = lambda call: lambda x, w: np.sum(call(call(x, w), w))
    for options in OPTIONS:
        gradient = ft.grad(two(ft.checkpoint(network, **options)), (0, 1))
        assert_close(ft.jit(gradient)(X, W), ft.grad(two(network), (0, 1))(X, W))


def test_results_of_compiled_code_are_arrays_of_their_own():
    function = ft.checkpoint(lambda x, y: (x, x * y, x))
    results = ft.jit(lambda x: ft.vjp(function, x, x)[1]((x, x, x)) + function(x, 2.0 * x))(X)
    for place, result in enumerate(results):
        assert not np.shares_memory(result, X)
        assert all(not np.shares_memory(result, other) for other in results[:place])


@pytest.mark.parametrize("transform", [lambda f: f, ft.jit], ids=["eager", "jit"])
def test_effects_happen_once(transform, capsys):
    def inner(x):
        ft.debug.print("inner")
        return np.sin(x) * x

    def outer(x):
        ft.debug.print("outer")
        return np.sum(ft.checkpoint(inner)(inner(x)))

    for function, args in [(ft.checkpoint(outer), (X,)), (ft.checkpoint(ft.checkpoint(outer)), (X,))]:
        for derivative in (lambda f: f, ft.grad, ft.value_and_grad, ft.hessian):
            transform(derivative(function))(*args)
            assert capsys.readouterr().out.split() == ["outer", "inner", "inner"]


def test_selections_keep_nan_out():
    x = np.array([0.0, 1.0])
    for call in (ft.checkpoint, lambda f: ft.checkpoint(ft.checkpoint(f))):
        outside = lambda x: np.sum(np.where(x > 0, call(np.log)(x), 0.0))
        inside = lambda x: np.sum(call(lambda y: np.where(x > 0, y, 0.0))(1 / x))
        with np.errstate(all="ignore"):
            assert_close(ft.grad(outside)(x), np.array([0.0, 1.0]))
            assert_close(ft.grad(inside)(x), np.array([0.0, -1.0]))
            assert_close(ft.jvp(lambda x: call(np.sqrt)(np.where(x > 0, x, 0.0 * x)), (x,), (x,))[1], np.array([0.0, 0.5]))


def test_sums_over_batches():
    function = lambda x: np.tanh(ft.psum(x, "batch") * x)
    total = lambda f: ft.grad(lambda x: np.sum(ft.vmap(f, axis_name="batch")(x)))
    assert_close(total(ft.checkpoint(function))(X), total(function)(X))


def test_errors_say_what_to_do():
    with pytest.raises(errors.ConcretizationError, match="checkpoint(.|\n)*static argument"):
        ft.checkpoint(lambda x: x if x > 0 else -x)(1.0)
    with pytest.raises(TypeError, match="policy must be a function(.|\n)*checkpoint_policies(.|\n)*test_checkpoint"):
        ft.checkpoint(loss, policy="dots")
    with pytest.raises(ValueError, match="budget must be a number of bytes(.|\n)*Remedy"):
        ft.checkpoint(loss, budget=-1)
    with pytest.raises(TypeError, match="static_argnums must be an int"):
        ft.checkpoint(loss, static_argnums="x")
    with pytest.raises(TypeError, match="expected a function, got int"):
        ft.checkpoint(3)
    with pytest.raises(TypeError, match="name must be a str"):
        ft.checkpoint_name(X, 3)
    with pytest.raises(TypeError, match="names are str"):
        P.save_names(3)
    with pytest.raises(errors.UnsupportedError, match="checkpoint(.|\n)*str"):
        ft.checkpoint(lambda x, mode: x)(X, "mode")
    with pytest.raises(errors.MutationError):
        ft.checkpoint(lambda x: x.__setitem__(0, 1.0))(X)
    with pytest.raises(ValueError, match="matmul|contract"):
        ft.grad(ft.checkpoint(lambda x: np.sum(x @ x)))(X)


def test_a_traced_value_that_leaks_is_named():
    left = []
    ft.grad(ft.checkpoint(lambda x: left.append(x) or np.sum(x)))(X)
    with pytest.raises(errors.TracerLeakError, match="checkpoint"):
        left[0] + 1.0


def recurrent(call, xs, h, w):
    """A loop with a checkpointed step."""

    def step(h, x):
        h = np.tanh(h @ w + x) * np.exp(-np.square(x))
        return h, np.sum(h)

    h, sums = ft.scan(call(step), h, xs)
    return np.sum(np.sin(sums)) + np.sum(h)


@pytest.mark.parametrize("options", [{}, {"budget": 100}, {"policy": P.everything}], ids=shown)
@pytest.mark.parametrize("derivative", [ft.grad, ft.hessian, lambda f: ft.vmap(ft.grad(f))], ids=["grad", "hessian", "vmap"])
def test_loops_inside_and_around(options, derivative):
    xs = np.linspace(-1.0, 1.0, 12).reshape(2, 2, 3)
    call = lambda f: ft.checkpoint(f, **options)
    args = (xs, W) if derivative in (ft.grad, ft.hessian) else (np.stack([xs, 2.0 * xs]), np.stack([W, W]))
    expected = derivative(lambda xs, w: recurrent(lambda f: f, xs, X, w))(*args)
    for function in (
        lambda xs, w: recurrent(call, xs, X, w),
        call(lambda xs, w: recurrent(lambda f: f, xs, X, w)),
        call(lambda xs, w: recurrent(call, xs, X, w)),
    ):
        assert_close(derivative(function)(*args), expected, rtol=1e-9)
        assert_close(ft.jit(derivative(function))(*args), expected, rtol=1e-9)


UNARY = [np.sin, np.tanh, lambda x: np.exp(-x * x), np.transpose, lambda x: x[::-1] * 2.0, lambda x: x @ np.tanh(x)]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, len(UNARY) - 1), min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=4), st.integers(0, 6)
)
def test_random_nests(operations, cuts, choice):
    options = OPTIONS[choice]

    def run(call):
        def function(x):
            pieces = [operations]
            for cut in cuts:
                pieces = [part for piece in pieces for part in (piece[:cut], piece[cut:])]
            for piece in pieces:
                x = call(lambda x, piece=piece: [x, *(x := UNARY[place](x) for place in piece)][-1])(x)
            return np.sum(np.sin(x))

        return call(function)

    square = np.array([[0.2, -0.5], [0.7, 0.4]])
    plain, checkpointed = run(lambda f: f), run(lambda f: ft.checkpoint(f, **options))
    assert_close(ft.grad(checkpointed)(square), ft.grad(plain)(square))
    assert_close(ft.hvp(checkpointed, (square,), (square,)), ft.hvp(plain, (square,), (square,)), rtol=1e-10)
