"""`scan` against unrolled Python loops and finite differences."""

import itertools
from functools import partial

import numpy as np
import pytest

import functrans as ft
from functrans.core.program import without_dead_code
from functrans.core.types import ArrayType
from functrans.testing import assert_close, check_grads

pytestmark = pytest.mark.usefixtures("interpreted")
close = partial(assert_close, rtol=1e-11, atol=1e-12)
rng = np.random.default_rng(0)
W = 0.5 * rng.standard_normal((3, 3))
H = rng.standard_normal(3)
X = rng.standard_normal((5, 3))
Z = rng.standard_normal((4, 3)) + 1j * rng.standard_normal((4, 3))
N = np.array([3, 1, 4, 1, 5])


def unrolled(f, init, xs=None, length=None, reverse=False, **_):
    """What `ft.scan` gives, by a Python loop."""
    leaves, structure = ft.tree.flatten(xs)
    count = length if length is not None else len(leaves[0])
    ys = []
    for step in reversed(range(count)) if reverse else range(count):
        init, y = f(init, ft.tree.unflatten(structure, [leaf[step] for leaf in leaves]))
        ys.append(y)
    return init, ft.tree.map(lambda *parts: np.stack(parts), *(ys[::-1] if reverse else ys))


# Loops over `scan`, and arguments that are differentiated.
LOOPS = {
    "recurrent": (lambda scan, w, h, x: scan(lambda c, x: (np.tanh(w @ c + x),) * 2, h, x), (W, H, X)),
    "carried only": (lambda scan, w, h, x: scan(lambda c, x: (np.sin(w @ c) * x, None), h, x)[0], (W, H, X)),
    "collected only": (lambda scan, w, x: scan(lambda c, x: (c, np.exp(w @ x) * np.sum(w)), 0, x)[1], (W, X)),
    "reverse": (lambda scan, w, h, x: scan(lambda c, x: (np.tanh(w @ c + x), c * x), h, x, reverse=True), (W, H, X)),
    "reverse, carry collected": (
        lambda scan, w, h, x: scan(lambda c, x: (np.tanh(w @ c * x),) * 2, h, x, reverse=True)[1], (W, H, X),
    ),
    "trees": (
        lambda scan, a, x, h: scan(
            lambda c, s: ({"p": c["p"] * s["x"], "q": (c["q"][0] + np.sum(c["p"]) * a,)}, [c["q"][0], (s["x"] * a,)]),
            {"p": h, "q": (a,)}, {"x": x, "n": N},
        ),
        (0.7, X, H),
    ),
    "integers": (lambda scan, a: scan(lambda c, n: ((c[0] + n, c[1] * a + c[0] * n), c[0] * a), (0, 1.0), N), (1.2,)),
    "no xs": (lambda scan, a: scan(lambda c, _: (np.cos(c * a) + c, c**2), 0.3, length=4), (0.8,)),
    "no carry": (lambda scan, w, x: scan(lambda c, x: (None, np.sin(w @ x)), None, x)[1], (W, X)),
    "complex": (lambda scan, w, z: scan(lambda c, z: (c * z + w @ c, np.abs(c) ** 2 + z.real), 1j * H, z), (W, Z)),
    "real to complex": (lambda scan, a, z: scan(lambda c, z: (c * a, c * np.conj(z)), a, z), (0.8, Z)),
    "some active": (
        lambda scan, a, x: scan(lambda c, s: ((c[0] * 0.5 + s, c[1] * a + c[0][0], c[1]), c[1]), (H, a, 0.0), x)[0][1:],
        (0.8, X),
    ),
    "shift register": (lambda scan, x: scan(lambda c, x: ((c[1], x * c[0]), c[0] * c[1]), (H, H), x), (X,)),
    "unchanged carry": (lambda scan, w, h, x: scan(lambda c, x: ((c[0], c[0] @ c[1] * x), None), (w, h), x)[0], (W, H, X)),
    "invariants": (lambda scan, w, x: scan(lambda c, x: (np.linalg.solve(w + 3 * np.eye(3), c) * x, None), H, x)[0], (W, X)),
    "nested": (
        lambda scan, w, x: scan(
            lambda c, x: scan(lambda d, y: (np.sin(d * y) @ w + c, d), c * x, X[:2] * x)[::1], H, x,
        ),
        (W, X[:3]),
    ),
    "indexing": (
        lambda scan, h, x: scan(lambda c, n: (c * ft.numpy.asarray(x)[n] + h, ft.numpy.asarray(x)[n, 0]), h, N % 5), (H, X),
    ),
    "selection": (lambda scan, h, x: scan(lambda c, x: (np.where(x > 0, c * x, c + np.exp(x)), np.max(c)), h, x), (H, X)),
    "one step": (lambda scan, w, x: scan(lambda c, x: (np.sin(w @ c) * x, c), H, x), (W, X[:1])),
}  # fmt: skip


def loop(name):
    """The loop as a function of its arguments, by `scan` and unrolled."""
    function, args = LOOPS[name]
    return (lambda *args: function(ft.scan, *args)), (lambda *args: function(unrolled, *args)), args


@pytest.mark.parametrize("name", LOOPS)
def test_values(name):
    by_scan, by_hand, args = loop(name)
    close(by_scan(*args), by_hand(*args))
    close(ft.make_program(by_scan)(*args)(*args), by_hand(*args))


def first_derivatives(function, args):
    """The value, a tangent and a cotangent."""
    tangents = ft.tree.map(np.cos, args)
    out, pullback = ft.vjp(function, *args)
    return out, ft.jvp(function, args, tangents)[1], pullback(ft.tree.map(lambda y: np.sin(y) + 1, out))


@pytest.mark.parametrize("name", LOOPS)
def test_derivatives_are_those_of_the_unrolled_loop(name):
    by_scan, by_hand, args = loop(name)
    close(first_derivatives(by_scan, args), first_derivatives(by_hand, args))


@pytest.mark.parametrize("name", LOOPS)
def test_compiled_loops(name, compiled):
    by_scan, by_hand, args = loop(name)
    expected = first_derivatives(by_hand, args)
    close(by_scan(*args), expected[0])
    close(ft.jit(lambda args: first_derivatives(by_scan, args))(args), expected)


@pytest.mark.parametrize("name", LOOPS)
def test_derivatives_to_third_order(name):
    by_scan, _, args = loop(name)

    def floating(*args):
        return [leaf for leaf in ft.tree.leaves(by_scan(*args)) if leaf.dtype.kind in "fc"]

    check_grads(floating, args, order=3, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LOOPS)
def test_batches(name):
    by_scan, by_hand, args = loop(name)
    stacked = [np.stack([value, np.cos(value), 0.5 * value]) for value in args]
    for mask in itertools.product([True, False], repeat=len(args)):
        if any(mask):
            axes = tuple(0 if own else None for own in mask)
            operands = [many if own else one for many, one, own in zip(stacked, args, mask)]
            close(ft.vmap(by_scan, axes)(*operands), ft.vmap(by_hand, axes)(*operands))


def body(x):
    """A loop from float64[3] to float64[3], with all there is to a loop."""
    inner = lambda d, y: (d * y + x[0], np.sin(d) * x)
    step = lambda c, s: ((np.tanh(c[0] * s[0] + x), c[1] + 1), ft.scan(inner, np.sum(c[0]) * s[0], x)[1])
    (last, count), ys = ft.scan(step, (x, 0), (x, np.stack([x, x**2, np.cos(x)])), reverse=True)
    return last * count + np.sum(ys, axis=(0, 1))


# Each transform takes a function float64[3] -> float64[3] to another of that kind.
TRANSFORMS = {
    "grad": lambda f: ft.grad(lambda x: np.sum(f(x) ** 2)),
    "jvp": lambda f: lambda x: ft.jvp(f, (x,), (np.cos(x),))[1],
    "vjp": lambda f: lambda x: ft.vjp(f, x)[1](np.sin(x))[0],
    "vmap": lambda f: lambda x: np.sum(ft.vmap(f)(np.stack([x, 2.0 * x])), axis=0),
    "linearize": lambda f: lambda x: ft.linearize(f, x)[1](np.ones(3)),
    "transpose": lambda f: lambda x: ft.linear_transpose(ft.linearize(f, x)[1], x)(np.sin(x))[0],
    "program": lambda f: lambda x: ft.make_program(f)(x)(x),
    "jacfwd": lambda f: lambda x: ft.jacfwd(f)(x) @ np.ones(3),
    "jacrev": lambda f: lambda x: np.ones(3) @ ft.jacrev(f)(x),
    "scan": lambda f: lambda x: ft.scan(lambda c, s: (c * s, f(c)), x, x[:2])[1][1],
}
UNROLLED = {**TRANSFORMS, "scan": lambda f: lambda x: unrolled(lambda c, s: (c * s, f(c)), x, x[:2])[1][1]}


@pytest.mark.parametrize("outer, inner", list(itertools.product(TRANSFORMS, repeat=2)))
def test_pairs_of_transforms(outer, inner, monkeypatch):
    point = np.array([0.3, -0.7, 1.1])
    actual = TRANSFORMS[outer](TRANSFORMS[inner](body))(point)
    monkeypatch.setattr(ft, "scan", unrolled)
    np.testing.assert_allclose(actual, UNROLLED[outer](UNROLLED[inner](body))(point), rtol=1e-10)


def test_zero_steps():
    step = lambda c, x: (np.sin(c) * x, (c, x))
    carry, ys = ft.scan(step, H, X[:0])
    np.testing.assert_array_equal(carry, H)
    assert [y.shape for y in ys] == [(0, 3), (0, 3)]
    assert ft.grad(lambda h: np.sum(ft.scan(step, h, X[:0])[0] ** 2))(H).tolist() == (2 * H).tolist()
    assert ft.jvp(lambda x: ft.scan(step, H, x)[1], (X[:0],), (X[:0],))[1][0].shape == (0, 3)
    assert ft.vmap(lambda h: ft.scan(step, h, X[:0]))(X)[1][0].shape == (5, 0, 3)
    assert ft.scan(lambda c, _: (c + 1, c), 0, length=0)[1].dtype == np.int64
    inverted = lambda w: ft.scan(lambda c, _: (c + np.linalg.inv(w), None), np.ones((2, 2)), length=0)[0]
    assert ft.jacobian(inverted)(np.zeros((2, 2))).tolist() == np.zeros((2, 2, 2, 2)).tolist()


def test_closures_keep_their_derivatives():
    def function(w, x):
        def outer(c, s):
            return ft.scan(lambda d, t: (np.tanh(w @ d) + s, None), c, x)[0], None

        return ft.scan(outer, H, x)[0]

    check_grads(function, (W, X), order=2)
    gradient = ft.grad(lambda a: ft.jvp(lambda b: ft.scan(lambda c, x: (c * a * b + x, None), b, X[0])[0], (2.0,), (1.0,))[1])
    check_grads(gradient, (0.5,), order=1)


def test_captured_arrays_are_read_at_each_call():
    w = np.ones(3)
    function = lambda h: ft.scan(lambda c, x: (c * w + x, None), h, X)[0]
    before = function(H)
    w *= 2
    assert not np.allclose(function(H), before)


def test_python_numbers_are_of_numpys_types():
    assert type(ft.scan(lambda c, x: (c + x, None), 0.0, X[0].astype(np.float32))[0]) is np.float64
    assert type(ft.scan(lambda c, x: (c * 2.0 + x, None), np.float32(0), X[0].astype(np.float32))[0]) is np.float32
    carry, y = ft.scan(lambda c, x: (0, 1.0), np.float32(2), length=2)
    assert type(carry) is np.float32 and y.dtype == np.float64
    assert ft.grad(lambda a: ft.scan(lambda c, x: (c * x, None), a, X[0].astype(np.float32))[0])(1.0) == np.prod(
        X[0].astype(np.float32), dtype=float
    )


@pytest.mark.parametrize(
    "f, init, message",
    [
        (lambda c, x: (c + x, None), 0, r"the carry begins as int64\[\], and the body returns float64\[\](.|\n)*Remedy"),
        (lambda c, x: ({"a": c["a"], "b": x * c["b"]}, 1), {"a": 1.0, "b": H}, None),
        (
            lambda c, x: ({"a": c["a"], "b": x}, 1),
            {"a": 1.0, "b": H},
            r"carry\['b'\] begins as float64\[3\], and the body returns float64\[\]",
        ),
        (lambda c, x: ((c, x), None), 0.0, r"the carry begins with structure(.|\n)*\(\*, \*\)"),
        (lambda c, x: c + x, 0.0, r"must return a pair \(carry, y\), got float64\[\](.|\n)*\(carry, None\)"),
        (lambda c, x: (c + 0j, None), 0.0, r"begins as float64\[\], and the body returns complex128\[\]"),
    ],
)
def test_carries_keep_their_type(f, init, message):
    if message is None:
        ft.scan(f, init, X[0])
        return
    with pytest.raises(ft.errors.StructureError, match=rf"scan of lambda: (.|\n)*{message}(.|\n)*test_scan.py"):
        ft.scan(f, init, X[0])


def test_lengths_must_agree():
    step = lambda c, x: (c, x)
    message = r"leading axes(.|\n)*xs\[0\] is float64\[5,3\], xs\[1\] is float64\[4\]"
    with pytest.raises(ft.errors.StructureError, match=message):
        ft.scan(step, 0.0, (X, X[:4, 0]))
    with pytest.raises(ft.errors.StructureError, match=r"xs is float64\[5,3\], length is 4"):
        ft.scan(step, 0.0, X, 4)
    with pytest.raises(ft.errors.StructureError, match="no xs(.|\n)*pass length"):
        ft.scan(step, 0.0)
    with pytest.raises(ft.errors.StructureError, match=r"xs\['a'\] is float64\[\], and has no leading axis(.|\n)*np.array"):
        ft.scan(step, 0.0, {"a": 1.0})
    assert ft.scan(lambda c, _: (c + 1, None), 0, length=np.int8(3))[0] == 3
    for length in (-1, 2.0):
        with pytest.raises(ValueError, match=f"length is {length}, and must be"):
            ft.scan(step, 0.0, length=length)
    with pytest.raises(ValueError, match="unroll is 0"):
        ft.scan(step, 0.0, X, unroll=0)


def test_unroll_is_a_hint():
    for unroll in (2, 7, True, False):
        assert_close(ft.scan(lambda c, x: (c * x, c), H, X, unroll=unroll), ft.scan(lambda c, x: (c * x, c), H, X), 0, 1e-12)


def test_effects_happen_in_order(capsys):
    def step(c, x):
        ft.debug.print("{} {}", c, x)
        return ft.scan(lambda d, y: (d + y, ft.debug.print("inner {}", d)), c, np.arange(2))[0], c * 1.5

    function = lambda a: ft.scan(lambda c, x: step(c, x * a), 0, np.array([10, 20]))[0] * 1.0
    expected = "0 10\ninner 0\ninner 0\n1 20\ninner 1\ninner 1\n"
    function(1)
    assert capsys.readouterr().out == expected
    ft.make_program(function)(1)(1)
    assert capsys.readouterr().out == expected

    def smooth(a):
        return ft.scan(lambda c, x: (c * a, ft.debug.print("{}", c)), 1.0, length=3)[0]

    pushed, linear = (lambda a: ft.jvp(smooth, (a,), (a,))), (lambda a: ft.linearize(smooth, a))
    for transformed in (ft.grad(smooth), pushed, ft.hessian(smooth), linear):
        transformed(2.0)
        assert capsys.readouterr().out == "1.0\n2.0\n4.0\n"
    ft.linearize(smooth, 2.0)[1](1.0)
    assert capsys.readouterr().out == "1.0\n2.0\n4.0\n"


def test_errors_in_the_body_name_their_line():
    def step(c, n):
        return c * ft.numpy.asarray(H)[n], None

    with pytest.raises(IndexError, match=r"(.|\n)*test_scan.py:\d+ \(step\): return c \* ft.numpy.asarray\(H\)\[n\]"):
        ft.scan(step, 1.0, np.array([0, 7]))


def test_linearize_runs_the_loop_once_and_then_the_linear_part_alone():
    def function(h):
        return ft.scan(lambda c, x: (np.exp(c) * x, ft.scan(lambda d, y: (np.tanh(d * y), None), c, x)[0]), h, X)

    value, derivative = ft.linearize(function, H)
    close(value, function(H))
    for direction in (H, np.cos(H)):
        close(derivative(direction), ft.jvp(function, (H,), (direction,))[1])
    program = ft.make_program(derivative)(H)
    assert {"exp", "tanh"}.isdisjoint(primitives(program))


def primitives(program):
    """The names of all primitives, in bodies as well."""
    names = {equation.primitive.name for equation in program.equations}
    return names.union(*(primitives(inner) for equation in program.equations for inner in equation.programs))


def test_linear_loops_are_transposed_without_their_operands():
    factors = np.array([2.0, -1.0, 3.0])
    function = lambda c, x: ft.scan(lambda c, s: (c * s[0] + s[1], c), c, (factors, x))
    out = function(0.5, H)
    cts = np.cos(out[0]), np.sin(out[1])
    types = ArrayType((), np.dtype(float)), ArrayType((3,), np.dtype(float))
    transposed = ft.linear_transpose(function, *types)(cts)
    close(transposed, ft.vjp(function, 0.5, H)[1](cts))
    with pytest.raises(ft.errors.DifferentiationError, match="not linear"):
        ft.linear_transpose(lambda x: ft.scan(lambda c, s: (c * s, None), 1.0, x)[0], H)


def scans(program):
    """The loops of a program, but for those in bodies."""
    return [equation for equation in program.equations if equation.primitive.name == "scan"]


def gradient_scans(function, *args):
    """The loop forward and the loop back of the gradient of the sum of squares of a function."""
    total = lambda *args: sum(np.sum(leaf**2) for leaf in ft.tree.leaves(function(*args)))
    program = without_dead_code(ft.make_program(ft.grad(total, tuple(range(len(args)))))(*args))
    return scans(program)


def stacked(equation):
    """The types of what a loop stacks."""
    return [str(variable.array_type) for variable in equation.outputs[equation.params["carry"] :]]


def test_residuals_are_chosen():
    # tanh is read from the ys; cos is computed again from the carry, which is dearer to keep twice.
    there, back = gradient_scans(lambda w, x: ft.scan(lambda c, x: (np.tanh(w @ c + x),) * 2, H, x)[1], W, X)
    assert stacked(there) == ["float64[5,3]"]
    # What is read of the carry after a step is carried along by the loop back.
    there, back = gradient_scans(lambda w, x: ft.scan(lambda c, x: (np.tanh(w @ c + x), None), H, x)[0], W, X)
    assert stacked(there) == ["float64[5,3]"]
    # What depends on invariants only is neither stacked nor computed in each step.
    there, back = gradient_scans(lambda a: ft.scan(lambda c, x: (c * np.exp(a), None), 1.0, X[0])[0], 0.3)
    assert stacked(there) == ["float64[3]"]
    assert "exp" not in primitives(there.params["body"]) | primitives(back.params["body"])


def test_a_linear_loop_keeps_nothing():
    there, back = gradient_scans(lambda x: ft.scan(lambda c, s: (c * s[0] + s[1], c), 0.0, (N, x))[0], X[:, 0])
    assert stacked(there) == [] and back.params["carry"] == 1


def test_cotangents_that_are_none_are_not_carried():
    # Only the second carry matters to the result, and the ys do not.
    function = lambda a: ft.scan(lambda c, x: ((c[0] * a, c[1] * a + x), np.sin(c[0] * a)), (1.0, 1.0), X[0])[0][1]
    back = gradient_scans(function, 0.7)[-1]
    assert back.params["carry"] == 2  # its cotangent, and the sum of those of a
    assert "cos" not in primitives(back.params["body"])


def test_unread_results_are_not_computed():
    function = lambda x: ft.scan(lambda c, x: ((c[0] + x, np.exp(c[1]), c[2] * c[0]), (c[0], np.sin(x))), (0.0, 1.0, 1.0), x)
    program = without_dead_code(ft.make_program(lambda x: function(x)[1][0])(X[0]))
    (equation,) = scans(program)
    assert len(equation.outputs) == 2 and primitives(equation.params["body"]) == {"add"}
    np.testing.assert_array_equal(program(X[0]), np.cumsum([0.0, *X[0][:-1]]))
    program = without_dead_code(ft.make_program(lambda x: function(x)[0][2])(X[0]))
    assert primitives(program) == {"scan", "add", "multiply"}
    np.testing.assert_array_equal(program(X[0]), function(X[0])[0][2])


def test_sums_over_named_batches():
    function = lambda a: ft.scan(lambda c, x: (c * 0.5 + ft.psum(a * c, "batch"), ft.pmean(c, "batch")), a, X[0])
    carry, means = ft.vmap(function, axis_name="batch", out_axes=(0, 0))(H)
    c = H
    for step in range(3):
        np.testing.assert_allclose(means[:, step], np.mean(c))
        c = c * 0.5 + np.sum(H * c)
    np.testing.assert_allclose(carry, c)


def test_batches_spread_to_carries_as_they_must():
    # The first carry is the same for all, the second gets its batch from the third a step later.
    step = lambda c, x: ((c[0] + 1.0, c[2], c[2] * x), c[0])
    (one, two, three), ys = ft.vmap(lambda h: ft.scan(step, (0.0, 0.0, h), X[0]), out_axes=((None, 0, 0), None))(H)
    assert (one, ys.tolist()) == (3.0, [0.0, 1.0, 2.0])
    np.testing.assert_allclose(two, H * X[0, 0] * X[0, 1])
    np.testing.assert_allclose(three, H * np.prod(X[0]))


def test_map():
    function = lambda x: {"a": np.sum(x) ** 2, "b": (np.sin(x), 1)}
    expected = unrolled(lambda c, x: (c, function(x)), 0, X)[1]
    for size in (None, 1, 2, 5, 9):
        close(ft.map(function, X, batch_size=size), expected)
        close(ft.jacobian(lambda x: ft.map(function, x, size)["b"][0])(X), ft.jacobian(np.sin)(X))
    assert ft.map(function, X[:0])["a"].shape == ft.map(function, X[:0], 2)["a"].shape == (0,)
    tree_of_two = ft.map(lambda x: x[0] + x[1]["y"], (X, {"y": X[:, 0]}), batch_size=3)
    np.testing.assert_allclose(tree_of_two, X + X[:, :1])
    with pytest.raises(ValueError, match=r"map of lambda: batch_size is 0(.|\n)*Remedy"):
        ft.map(function, X, batch_size=0)
    with pytest.raises(ft.errors.StructureError, match="leading axes"):
        ft.map(lambda x: x[0], (X, X[:2]), batch_size=2)


def test_a_selection_never_poisons_a_gradient():
    x = np.array([0.0, 4.0])
    root = lambda x: ft.scan(lambda c, _: (np.sqrt(c), c), x, length=2)[0]
    outside = lambda x: np.sum(np.where(x > 0, root(x), x))
    inside = lambda x: np.sum(ft.scan(lambda c, _: (np.where(c > 0, np.sqrt(c), c), None), x, length=2)[0])
    before = lambda x: np.sum(root(np.maximum(x, 1.0) * x))
    expected = [1.0, 0.25 * 4**-0.75]
    for function in (outside, inside):
        np.testing.assert_allclose(ft.grad(function)(x), expected)
        np.testing.assert_allclose([ft.jvp(function, (x,), (e,))[1] for e in np.eye(2)], expected)
        np.testing.assert_allclose(ft.linearize(function, x)[1](np.array([0.0, 1.0])), expected[1])
        assert np.isfinite(ft.hessian(function)(x)).all()
    assert np.isinf(ft.grad(before)(x)[0])
