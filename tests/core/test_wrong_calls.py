"""What a call that is wrong says: the transform and the function, what it got, the user's line and a remedy."""

import numpy as np
import pytest

import functrans as ft
from functrans.errors import ConcretizationError, DifferentiationError, StructureError, UnsupportedError

V, X = np.arange(3.0), np.arange(6.0).reshape(2, 3)


def loss(w, x):
    return np.sum((x @ w) ** 2)


def forward_alone(x):
    function = ft.custom_vjp(lambda x: x * 2)
    function.defvjp(lambda x: x * 2, lambda _, ct: (ct,))
    return function(x)


def tangent_alone(x):
    function = ft.custom_jvp(lambda x: x * 2)
    function.defjvp(lambda primals, tangents: tangents[0])
    return function(x)


def elsewhere(x):
    function = ft.custom_vjp(lambda x: x, nondiff_argnums=(1,))
    function.defvjp(lambda x: (x, None), lambda _, ct: (ct,))
    return function(x)


SIGNATURE = ["loss() missing 1 required positional argument: 'x'", "1 by position", "loss(w, x)"]
CALLS = {
    # What does not fit the signature: Python's own error, and the signature.
    "jit": (lambda: ft.jit(loss)(V), TypeError, ["jit of loss", *SIGNATURE]),
    "jit, static": (lambda: ft.jit(loss, static_argnums=1)(V), TypeError, ["jit of loss", *SIGNATURE]),
    "jit, too many": (lambda: ft.jit(loss)(V, X, X), TypeError, ["takes 2 positional arguments but 3", "3 by position"]),
    "jit, by name": (lambda: ft.jit(loss)(V, X, rate=1.0), TypeError, ["jit of loss", "'rate'", "2 by position, rate="]),
    "grad": (lambda: ft.grad(loss)(V), TypeError, ["grad of loss", *SIGNATURE]),
    "vjp": (lambda: ft.vjp(loss, V), TypeError, ["vjp of loss", *SIGNATURE]),
    "jvp": (lambda: ft.jvp(loss, (V,), (V,)), TypeError, ["jvp of loss", *SIGNATURE]),
    "vmap": (lambda: ft.vmap(loss)(X), TypeError, ["vmap of loss", *SIGNATURE]),
    "checkpoint": (lambda: ft.checkpoint(loss)(V), TypeError, ["checkpoint of loss", *SIGNATURE]),
    "jit of grad": (lambda: ft.jit(ft.grad(loss))(V), TypeError, ["grad of loss", *SIGNATURE]),
    "scan": (lambda: ft.scan(lambda c: (c, c), 1.0, V), TypeError, ["scan of lambda", "lambda(c)", "2 by position"]),
    "while_loop": (lambda: ft.while_loop(lambda a, b: a < 3, lambda a, b: (a, b), (0, 0)), TypeError, ["while_loop of", "(a, b)"]),
    "fori_loop": (lambda: ft.fori_loop(0, 3, lambda c: c, 0.0), TypeError, ["fori_loop of lambda", "lambda(c)"]),
    "cond": (lambda: ft.cond(True, lambda x: x, lambda x: -x), TypeError, ["cond of lambda", "0 by position"]),
    "pullback": (lambda: ft.vjp(np.sin, V)[1](V, V), TypeError, ["vjp of sin", "one cotangent", "got 2"]),
    # What is no function.
    "grad of a value": (lambda: ft.grad(loss(V, X)), TypeError, ["grad: expected a function, got float64[]", "f in place of f(x)"]),
    "jit of an array": (lambda: ft.jit(V), TypeError, ["jit: expected a function, got float64[3]"]),
    "vjp of a value": (lambda: ft.vjp(1.0, V), TypeError, ["vjp: expected a function"]),
    "branch that is a value": (lambda: ft.cond(True, 1.0, 2.0), TypeError, ["cond: expected a function, got float64[]"]),
    "custom_vjp of a value": (lambda: ft.custom_vjp(1.0), TypeError, ["custom_vjp: expected a function"]),
    # What is no array.
    "string to jit": (lambda: ft.jit(lambda x, mode: x)(1.0, "fast"), UnsupportedError, ["jit of", "argument mode", "str", "static_argnames"]),
    "string in a tree": (lambda: ft.jit(lambda p: p)({"a": [1.0, "b"]}), UnsupportedError, ["argument p['a'][1]", "str"]),
    "string to vmap": (lambda: ft.vmap(lambda x, mode: x)(V, "fast"), UnsupportedError, ["vmap of", "argument mode", "partial"]),
    "string from jit": (lambda: ft.jit(lambda x: "done")(V), UnsupportedError, ["jit of lambda: what it returned is of type str"]),
    "objects to jit": (lambda: ft.jit(lambda x: x)(np.array([1, None])), UnsupportedError, ["jit", "object[2]"]),
    "nothing from grad": (lambda: ft.grad(lambda x: None)(V), DifferentiationError, ["grad of", "NoneType", "end the function with return"]),
    # Derivatives.
    "hessian of a vector": (lambda: ft.hessian(lambda x: x**2)(V), DifferentiationError, ["hessian of lambda", "scalar", "float64[3]"]),
    "jacobian of integers": (lambda: ft.jacobian(np.sin)(np.arange(3)), DifferentiationError, ["jacobian of sin", "int64[3]"]),
    "hvp of arrays": (lambda: ft.hvp(np.sum, V, V), StructureError, ["hvp of sum", "primals and tangents must be tuples", "(x,)"]),
    "hvp along another shape": (lambda: ft.hvp(np.sum, (V,), (X,)), StructureError, ["hvp of sum", "float64[2,3]", "float64[3]"]),
    "jvp of integers": (lambda: ft.jvp(loss, (V, np.arange(3)), (V, V)), DifferentiationError, ["jvp of loss", "[1]", "int64[3]"]),
    "forward rule": (lambda: ft.grad(forward_alone)(1.0), StructureError, ["custom_vjp of", "pair (output, residuals)", "float64[]"]),
    "jvp rule": (lambda: ft.grad(tangent_alone)(1.0), StructureError, ["custom_jvp of", "pair (output, tangent)"]),
    "nondiff_argnums": (lambda: elsewhere(1.0), ValueError, ["custom_vjp of", "nondiff_argnums=(1,)", "the call has 1"]),
    # Axes.
    "in_axes": (lambda: ft.vmap(np.sin, in_axes=0.5)(X), TypeError, ["vmap of sin", "in_axes", "0.5"]),
    "in_axes of a tree": (lambda: ft.vmap(lambda p: p, ({"b": 0},))({"a": X}), StructureError, ["in_axes=({'b': 0},)", "'a'"]),
    "out_axes": (lambda: ft.vmap(np.sin, out_axes=2)(X), StructureError, ["vmap of sin", "out_axes=2", "float64[2,3]", "from -2 to 1"]),
    "axis": (lambda: ft.grad(lambda x: np.sum(x, axis=3))(X), np.exceptions.AxisError, ["grad: np.sum", "axis 3", "from -2 to 1"]),
    # NumPy's own errors.
    "matmul": (lambda: ft.jit(lambda x: x @ x)(X), ValueError, ["np.matmul", "float64[2,3]", "transpose"]),
    "einsum": (lambda: ft.jit(lambda x: np.einsum("ij,jk->ik", x, x))(X), ValueError, ["jit: np.einsum", "label 'j'"]),
    "concatenate": (lambda: ft.jit(lambda x: np.concatenate([x, X]))(V), ValueError, ["float64[3], float64[2,3]", "x[None]"]),
    "solve": (lambda: ft.jit(np.linalg.solve)(np.eye(3), np.ones(4)), ValueError, ["float64[3,3]", "float64[4]"]),
    "inv": (lambda: ft.jit(np.linalg.inv)(X), np.linalg.LinAlgError, ["jit: inv of float64[2,3]", "square"]),
    "unknown length": (lambda: ft.jit(lambda n: np.arange(3).reshape(n, -1))(3), ConcretizationError, ["jit", "int64[]"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls(name):
    call, error, words = CALLS[name]
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    for word in [*words, "test_wrong_calls.py"]:
        assert word in text


def test_other_errors_of_user_code_pass_as_they_are():
    def wrong(x):
        return len(3)

    for transformed in (ft.jit(wrong), ft.grad(wrong), ft.vmap(wrong)):
        with pytest.raises(TypeError, match=r"^object of type 'int' has no len\(\)$"):
            transformed(V)
    with pytest.raises(ValueError, match="^mine$"):
        ft.jit(lambda x: np.apply_along_axis(raising, 0, x))(X)


def raising(x):
    raise ValueError("mine")


def test_arguments_of_custom_rules_by_name():
    function = ft.custom_vjp(lambda x, y: x * y)
    function.defvjp(lambda x, y: (x * y, (x, y)), lambda saved, ct: (10.0 * ct * saved[1], ct * saved[0]))
    assert ft.grad(lambda x: function(y=3.0, x=x))(2.0) == 30.0
    with pytest.raises(TypeError, match="custom_vjp of lambda: missing a required argument: 'y'(.|\n)*test_wrong_calls"):
        function(x=2.0)
    only = ft.custom_vjp(lambda x, *, y: x * y)
    only.defvjp(lambda x, y: (x * y, None), lambda _, ct: (ct, ct))
    with pytest.raises(TypeError, match="y can be passed by name only(.|\n)*Remedy"):
        only(2.0, y=1.0)


def test_unknown_attributes():
    with pytest.raises(AttributeError, match=r"jit: a traced float64\[3\] has no attribute 'unsqueeze'"):
        ft.jit(lambda x: x.unsqueeze(0))(V)
    with pytest.raises(AttributeError, match=r"grad: ndarray.strides is not supported on a traced float64\[3\](.|\n)*Remedy"):
        ft.grad(lambda x: x.strides)(V)
    with pytest.raises(UnsupportedError, match=r"grad: ndarray.tobytes is not supported on a traced float64\[3\](.|\n)*Remedy"):
        ft.grad(lambda x: x.tobytes())(V)
    assert ft.jit(lambda x: x if hasattr(x, "anything") else 2 * x)(V).tolist() == [0.0, 2.0, 4.0]
