"""Transformed functions as Python objects: names, signatures, methods and pickles."""

import dataclasses
import inspect
import pickle

import numpy as np
import pytest

import functrans as ft


def loss(w, x, *, scale=1.0):
    """A documented loss."""
    return np.sum(np.tanh(w * x)) * scale


@ft.grad
def decorated(x):
    return x**3


@ft.jit
def staged(x):
    return x * 2.0


@ft.custom_vjp
def doubled(x):
    return x


def doubled_forward(x):
    return x, None


def doubled_backward(residuals, ct):
    return (2.0 * ct,)


doubled.defvjp(doubled_forward, doubled_backward)

W, X = np.array([0.5, -1.0]), np.array([2.0, 3.0])
TRANSFORMS = {
    "grad": lambda f: ft.grad(f, argnums=1),
    "value_and_grad": lambda f: ft.value_and_grad(f, argnums=(0, 1)),
    "jit": ft.jit,
    "vmap": lambda f: ft.vmap(f, in_axes=(0, None)),
    "jacfwd": ft.jacfwd,
    "jacrev": ft.jacrev,
    "jacobian": ft.jacobian,
    "hessian": ft.hessian,
    "jit of grad": lambda f: ft.jit(ft.grad(f)),
    "vmap of jit": lambda f: ft.vmap(ft.jit(f), in_axes=(None, 0)),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_name_docstring_and_signature_are_kept(transform):
    transformed = transform(loss)
    assert transformed.__name__ == "loss"
    assert transformed.__doc__ == "A documented loss."
    assert inspect.signature(transformed) == inspect.signature(loss)
    assert "loss" in repr(transformed)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_pickles_where_the_function_does(transform):
    transformed = transform(loss)
    again = pickle.loads(pickle.dumps(transformed))
    for ours, theirs in zip(ft.tree.leaves(transformed(W, X)), ft.tree.leaves(again(W, X))):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(transform(lambda w, x: w))


@pytest.mark.parametrize("function, expected", [(decorated, 12.0), (staged, 4.0), (ft.grad(doubled), 2.0)])
def test_decorated_functions_pickle_by_name(function, expected):
    assert pickle.loads(pickle.dumps(function))(2.0) == expected


def test_make_program_pickles():
    assert "sum" in str(pickle.loads(pickle.dumps(ft.make_program(loss)))(W, X))


class Model:
    """An ordinary class: its instances are no pytrees."""

    def __init__(self, scale):
        self.scale = scale
        self.calls = 0

    @ft.jit
    def scaled(self, x):
        Model.staged = getattr(Model, "staged", 0) + 1
        return self.scale * x

    def loss(self, x):
        return np.sum(self.scaled(x) ** 2)

    slope = ft.grad(loss, argnums=1)


def test_methods():
    model = Model(3.0)
    np.testing.assert_array_equal(model.slope(X), 18 * X)
    np.testing.assert_array_equal(Model.slope(model, X), 18 * X)
    assert model.slope.__name__ == "loss"


def test_a_staged_method_sees_attributes_set_anew():
    model = Model(3.0)
    assert model.scaled(1.0) == 3.0
    before = Model.staged
    assert model.scaled(2.0) == 6.0 and Model.staged == before
    model.scale = np.array([1.0, 2.0])
    np.testing.assert_array_equal(model.scaled(1.0), [1.0, 2.0])
    model.scale *= 2
    np.testing.assert_array_equal(model.scaled(1.0), [2.0, 4.0])
    assert Model.staged == before + 1
    assert Model(5.0).scaled(1.0) == 5.0


@ft.tree.register_dataclass
@dataclasses.dataclass
class Layer:
    w: np.ndarray

    @ft.jit
    def __call__(self, x):
        return np.sum(self.w * x)

    @ft.grad
    def gradient(self, x):
        return np.sum(self.w * x)


def test_methods_of_pytrees_take_self_as_an_argument():
    layer = Layer(W)
    assert layer(X) == -2.0
    np.testing.assert_array_equal(layer.gradient(X).w, X)
    np.testing.assert_array_equal(ft.grad(lambda layer: layer(X))(layer).w, X)


def test_static_arguments_are_told_apart_by_type():
    kind = ft.jit(lambda x, n: x * (10.0 if isinstance(n, bool) else n), static_argnums=-1)
    assert [kind(1.0, 1), kind(1.0, True), kind(1.0, 2)] == [1.0, 10.0, 2.0]
    nested = ft.jit(lambda x, n: x + (0.5 if isinstance(n[0], float) else n[0]), static_argnums=1)
    assert [nested(1.0, (2, 3)), nested(1.0, (2.0, 3)), nested(1.0, [2, 3])] == [3.0, 1.5, 3.0]
    with pytest.raises(TypeError, match="static_argnums must be of type int"):
        ft.jit(loss, static_argnums=["x"])
