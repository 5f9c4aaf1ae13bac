"""Bad input gets an error that names the transform, the types, the user's line and the remedy."""

import math
import threading

import numpy as np
import pytest

import functrans as ft
from functrans import errors

X = np.array([1.0, 2.0, 3.0])
KEPT = []


def leak(x):
    KEPT.append(np.sin(x))  # the line that made it
    return np.sum(x)


def write_plain(x):
    plain = np.zeros(3)
    plain[0] = x[0]
    return np.sum(plain)


def write_argument(x):
    x[0] = 0.0
    return np.sum(x)


def add_in_place(x):
    x += 1.0
    return np.sum(x)


def branch(x):
    if x > 0:
        return x
    return -x


def assertion(x):
    assert np.all(x > 0)
    return x


def draw(x):
    return x + np.random.normal()


def record(dtype):
    return np.zeros(3, dtype)


CASES = {
    "output not scalar": (
        lambda: ft.grad(lambda x: x * 2)(X),
        errors.DifferentiationError,
        ["grad", "must be a scalar", "float64[3]", "np.sum", "ft.jacobian", "test_errors.py"],
    ),
    "output a tree": (
        lambda: ft.grad(lambda x: (x, x))(1.0),
        errors.DifferentiationError,
        ["grad", "tuple", "has_aux=True"],
    ),
    "output complex": (
        lambda: ft.grad(lambda x: x * 1j)(1.0),
        errors.DifferentiationError,
        ["grad", "complex128[]", "z.real"],
    ),
    "integer argument": (
        lambda: ft.grad(lambda n: n * 2.0)(3),
        errors.DifferentiationError,
        ["grad", "int64[]", "3.0 for 3", "argnums"],
    ),
    "integer leaf": (
        lambda: ft.grad(lambda p: p["a"] * p["n"])({"a": 1.0, "n": 2}),
        errors.DifferentiationError,
        ["['n']", "int64[]"],
    ),
    "argnums out of range": (
        lambda: ft.grad(lambda x: x, argnums=2)(1.0),
        ValueError,
        ["grad", "argnums=2", "1 positional"],
    ),
    "argnums not an int": (lambda: ft.grad(lambda x: x, argnums="x"), TypeError, ["grad", "argnums", "'x'"]),
    "argnums twice": (lambda: ft.grad(lambda x, y: x, argnums=(0, -2))(1.0, 2.0), ValueError, ["twice"]),
    "no auxiliary": (lambda: ft.grad(np.sum, has_aux=True)(X), errors.StructureError, ["has_aux", "pair"]),
    "leak": (
        lambda: (ft.grad(leak)(X), KEPT[-1] + 1.0),
        errors.TracerLeakError,
        ["traced by grad", "float64[3]", "KEPT.append(np.sin(x))", "has_aux=True"],
    ),
    "leak into another trace": (
        lambda: (ft.grad(leak)(X), ft.jvp(lambda x: x * KEPT[-1], (X,), (X,))),
        errors.TracerLeakError,
        ["traced by grad", "KEPT.append(np.sin(x))"],
    ),
    "unsupported function": (
        lambda: ft.grad(lambda x: np.sum(np.roots(x)))(X),
        errors.UnsupportedError,
        ["grad", "np.roots", "float64[3]", "Remedy", "ft.pure_callback"],
    ),
    "unsupported roots": (
        lambda: ft.grad(lambda x: np.sum(np.roots(x).real))(X),
        errors.UnsupportedError,
        ["grad", "np.roots", "float64[3]", "Remedy"],
    ),
    "branch on a staged value": (
        lambda: ft.jit(branch)(1.0),
        errors.ConcretizationError,
        ["jit", "bool()", "bool[]", "np.where", "if x > 0"],
    ),
    "branch on a batched value": (
        lambda: ft.vmap(branch)(X),
        errors.ConcretizationError,
        ["vmap", "bool()", "whole batch", "np.where"],
    ),
    "float of a traced value": (
        lambda: ft.grad(lambda x: float(x))(1.0),
        errors.ConcretizationError,
        ["grad", "float()", "float64[]", "drop its derivative", "x.item()"],
    ),
    "math of a traced value": (
        lambda: ft.grad(lambda x: math.sin(x))(1.0),
        errors.ConcretizationError,
        ["grad", "math.*", "math.sin(x)"],
    ),
    "array of traced values": (
        lambda: ft.grad(lambda x: np.sum(np.array([x, x])))(1.0),
        errors.ConcretizationError,
        ["grad", "plain array", "np.stack"],
    ),
    # NumPy raises a ValueError of its own here, with ours as its cause.
    "plain array written into": (
        lambda: ft.grad(write_plain)(X),
        ValueError,
        ["grad", "np.zeros_like(x, shape=...)", "plain[0] = x[0]"],
    ),
    "out= a plain array": (
        lambda: ft.grad(lambda x: np.sum(np.add(x, x, out=np.zeros(3))))(X),
        errors.MutationError,
        ["grad", "out=float64[3]", "ft.numpy.zeros"],
    ),
    "argument written into": (
        lambda: ft.grad(write_argument)(X),
        errors.MutationError,
        ["grad", "float64[3]", "argument", "x = x.copy()", "x[0] = 0.0"],
    ),
    "argument added to": (lambda: ft.grad(add_in_place)(X), errors.MutationError, ["grad", "x.copy()", "x += 1.0"]),
    "view of an argument written into": (
        lambda: ft.grad(lambda x: np.add(x, 1.0, out=x[:]).sum())(X),
        errors.MutationError,
        ["argument", "copy"],
    ),
    "random numbers while staging": (
        lambda: ft.make_program(draw)(1.0),
        errors.GlobalRandomError,
        ["make_program", "np.random.normal()", "pass them in"],
    ),
    "cotangent of another structure": (
        lambda: ft.vjp(lambda x: (x, x), 1.0)[1](1.0),
        errors.StructureError,
        ["vjp", "structure", "Remedy"],
    ),
    "cotangent of another shape": (
        lambda: ft.vjp(np.sin, X)[1](np.ones(4)),
        errors.StructureError,
        ["vjp", "float64[4]", "float64[3]"],
    ),
    "tangent of another shape": (
        lambda: ft.jvp(np.sin, (X,), (np.ones(4),)),
        errors.StructureError,
        ["jvp", "float64[4]", "float64[3]"],
    ),
    "tangent of another structure": (
        lambda: ft.jvp(np.sin, (X,), (X, X)),
        errors.StructureError,
        ["jvp", "structure"],
    ),
    "batch axes of two lengths": (
        lambda: ft.vmap(np.add)(X, np.ones(4)),
        errors.StructureError,
        ["vmap", "float64[3]", "float64[4]", "one length"],
    ),
    "no batch axis": (lambda: ft.vmap(np.sin)(1.0), errors.StructureError, ["vmap", "float64[]", "in_axes=None"]),
    "in_axes of another length": (
        lambda: ft.vmap(np.sin, in_axes=(0, 0))(X),
        errors.StructureError,
        ["vmap", "2 entries for 1"],
    ),
    "plain array indexed by a batched value": (
        lambda: ft.vmap(lambda i: X[i])(np.array([0, 2])),
        errors.ConcretizationError,
        ["vmap", "index", "int64[]", "ft.numpy.asarray(a)[i]"],
    ),
    "plain array indexed by a staged value": (
        lambda: ft.jit(lambda i: X[i])(1),
        errors.ConcretizationError,
        ["jit", "index", "int64[]", "ft.numpy.asarray(a)[i]"],
    ),
    "range of a staged value": (
        lambda: ft.jit(lambda n: [i for i in range(n)])(3),
        errors.ConcretizationError,
        ["jit", "range(n)", "int64[]", "ft.fori_loop", "test_errors.py"],
    ),
    "plain array written into in a loop": (
        lambda: ft.fori_loop(0, 3, lambda i, c: X.__setitem__(i, 0.0), None),
        errors.ConcretizationError,
        ["fori_loop", "let a loop carry the arrays"],
    ),
    "index out of bounds": (lambda: ft.grad(lambda x: x[7])(X), IndexError, ["grad", "float64[3]", "index 7"]),
    "staged index out of bounds": (lambda: ft.jit(lambda x: x[7])(X), IndexError, ["jit", "float64[3]", "index 7"]),
    "indices out of bounds": (
        lambda: ft.grad(lambda x: x[np.array([0, 5])].sum())(X),
        IndexError,
        ["grad", "float64[3], int64[2]", "index 5"],
    ),
    "object array": (
        lambda: ft.grad(lambda x: np.sum(x * np.array([1, None, 2])))(X),
        errors.UnsupportedError,
        ["grad", "object array", "astype"],
    ),
    "structured array": (
        lambda: ft.grad(np.sum)(record([("a", float)])),
        errors.UnsupportedError,
        ["grad", "structured array"],
    ),
    "big-endian array": (
        lambda: ft.grad(np.sum)(record(">f8")),
        errors.UnsupportedError,
        ["grad", "float64[3]", "big-endian", "newbyteorder"],
    ),
    "masked array": (
        lambda: ft.grad(lambda x: np.sum(x * np.ma.masked_array(X)))(X),
        errors.UnsupportedError,
        ["MaskedArray", ".filled()"],
    ),
    "matrix": (lambda: ft.grad(np.sum)(np.matrix(X)), errors.UnsupportedError, ["grad", "matrix, float64[1,3]", "np.asarray"]),
    "pickle of a traced value": (
        lambda: ft.grad(lambda x: __import__("pickle").dumps(x))(1.0),
        errors.ConcretizationError,
        ["pickle", "traced by grad"],
    ),
    "shapes that do not broadcast": (
        lambda: ft.grad(lambda x: np.sum(x + np.ones(4)))(X),
        ValueError,
        ["grad: add of float64[3], float64[4]"],
    ),
    "a matrix without an inverse": (
        lambda: ft.grad(lambda x: np.linalg.inv(np.zeros((2, 2)) * x)[0, 0])(1.0),
        np.linalg.LinAlgError,
        ["grad: inv of float64[2,2]: Singular matrix"],
    ),
    "assertion of a staged value": (
        lambda: ft.jit(assertion)(X),
        errors.ConcretizationError,
        ["jit", "bool() was asked of a traced bool[]", "ft.debug.check(condition, message)", "assert np.all(x > 0)"],
    ),
    "assertion of a batched value": (
        lambda: ft.vmap(assertion)(X),
        errors.ConcretizationError,
        ["vmap", "ft.debug.check(condition, message)"],
    ),
    "comparison of a staged value by numpy.testing": (
        lambda: ft.jit(lambda x: np.testing.assert_array_less(x, 0.0))(X),
        errors.ConcretizationError,
        ["jit", "float64[3]", "ft.debug.check(condition, message)"],
    ),
    "staged value formatted": (
        lambda: ft.jit(lambda x: f"{x:.2f}")(1.0),
        errors.ConcretizationError,
        ["jit", "format()", 'ft.debug.print("{}", x)'],
    ),
    "print of an f-string": (
        lambda: ft.jit(lambda x: ft.debug.print(f"x = {x}"))(X),
        ValueError,
        ["ft.debug.print", "f-string", 'ft.debug.print("x is {x}", x=x)'],
    ),
    "print without a format": (
        lambda: ft.jit(lambda x: ft.debug.print(x))(X),
        TypeError,
        ["ft.debug.print", "must be a str", 'ft.debug.print("{}", x)'],
    ),
    "print of a value that is not given": (
        lambda: ft.debug.print("{x} {y}", x=X),
        ValueError,
        ["ft.debug.print", "'{x} {y}'", "no value is given for {y}"],
    ),
    "print of a value without a place": (
        lambda: ft.debug.print("{}", X, 2.0, x=X),
        ValueError,
        ["ft.debug.print", "no place for the value 1, x"],
    ),
    "check of numbers": (
        lambda: ft.jit(lambda x: ft.debug.check(x, "positive"))(X),
        TypeError,
        ["ft.debug.check", "must be bool, got float64[3]", "compare"],
    ),
    "nans begun inside a transform": (
        lambda: ft.grad(ft.debug.nans()(np.sum))(X),
        errors.UnsupportedError,
        ["ft.debug.nans", "inside a function that grad is tracing", "around the call"],
    ),
    "effect of a value that a transpose does not compute": (
        lambda: ft.linear_transpose(lambda x: [ft.debug.print("{}", x), 2 * x][1], X),
        errors.DifferentiationError,
        ["linear_transpose", "debug_print needs a value", "made at test_errors.py"],
    ),
    "psum of an unknown axis": (lambda: ft.psum(1.0, "batch"), NameError, ["psum", "'batch'", "axis_name"]),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # np.matrix announces its own end
@pytest.mark.parametrize("name", CASES)
def test_message_and_clean_state(name):
    """The message says all it should, and the next call works, here and in another thread."""
    call, kind, phrases = CASES[name]
    with pytest.raises(kind) as caught:
        call()
    message = f"{caught.value}\n{caught.value.__cause__}"
    for phrase in [*phrases, "Remedy: ", "test_errors.py:"]:
        assert phrase in message
    results = [ft.grad(np.sin)(0.0)]
    thread = threading.Thread(target=lambda: results.append(ft.grad(np.sin)(0.0)))
    thread.start()
    thread.join()
    assert results == [1.0, 1.0]


def test_every_public_error_has_a_built_in_base_and_both_examples():
    for name in errors.__all__[1:]:
        kind = getattr(errors, name)
        assert issubclass(kind, errors.FunctransError)
        assert kind.__mro__[2] in (RuntimeError, TypeError, ValueError, AssertionError, FloatingPointError)


def test_explicit_ways_out():
    assert ft.grad(lambda x: x * x.item())(3.0) == 3.0
    assert ft.grad(lambda x: x * 2 if x > 0 else -x)(3.0) == 2.0
    assert ft.grad(lambda x: np.zeros(x.shape)[0] + x[0])(X).tolist() == [1.0, 0.0, 0.0]
