"""`cond` and `switch` against Python's branches and finite differences."""

import itertools
import warnings

import numpy as np
import pytest

import functrans as ft
from functrans.testing import check_grads

rng = np.random.default_rng(0)
W = 0.5 * rng.standard_normal((3, 3))
H = np.array([0.3, 0.8, 1.1])
BATCH = np.abs(rng.standard_normal((4, 3))) * np.array([[1.0], [-1.0], [0.5], [-2.0]])


def python_cond(pred, true_fun, false_fun, *operands):
    """What `ft.cond` gives, by Python's branch."""
    return true_fun(*operands) if pred else false_fun(*operands)


def python_switch(index, branches, *operands):
    """What `ft.switch` gives."""
    return branches[min(max(index, 0), len(branches) - 1)](*operands)


# Functions of an x float64[3] by `cond`, with consts W; each side is taken by some x.
CONDS = {
    "operands": lambda cond, x: cond(np.sum(x) > 0, lambda x: np.exp(W @ x), lambda x: x**2 / (1 + x**2), x),
    "closures": lambda cond, x: cond(np.sum(x) > 0, lambda: np.log(np.abs(x)) @ W, lambda: np.sum(x) * x),
    "different closures": lambda cond, x: cond(np.sum(x) > 0, lambda y: y * np.sin(x), lambda y: W @ y, x[::-1]),
    "one side constant": lambda cond, x: x * cond(np.sum(x) > 0, lambda: np.cos(x), lambda: np.ones(3)),
    "trees": lambda cond, x: sum(
        cond(np.sum(x) > 0, lambda t: (t["b"] * 2.0, t["a"]), lambda t: (t["a"], np.sin(t["b"])), {"a": x, "b": x * x})
    ),
    "branch in branch": lambda cond, x: cond(
        np.sum(x) > 0, lambda x: cond(x[0] > 0.2, lambda: np.sin(x) * x[0], lambda: np.cos(x)), lambda x: W @ x, x
    ),
    "loop in branch": lambda cond, x: cond(
        np.sum(x) > 0,
        lambda x: ft.while_loop(lambda y: np.sum(y**2) > 1e-2, lambda y: 0.5 * y * np.cos(x), x),
        lambda x: ft.scan(lambda y, w: (np.sin(y * w), None), x, W)[0],
        x,
    ),
    "integers beside": lambda cond, x: cond(np.sum(x) > 0, lambda x, n: (x * n, n + 1), lambda x, n: (x, n), x, 3)[0],
}


@pytest.mark.parametrize("name", CONDS)
def test_values_and_gradients(name):
    looped, python = (lambda x: CONDS[name](ft.cond, x)), (lambda x: CONDS[name](python_cond, x))
    for x in (H, -H):
        np.testing.assert_allclose(looped(x), python(x), 1e-12)
        np.testing.assert_allclose(ft.jacrev(looped)(x), ft.jacrev(python)(x), 1e-10, 1e-12)
        np.testing.assert_allclose(ft.jacfwd(looped)(x), ft.jacfwd(python)(x), 1e-10, 1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", CONDS)
def test_finite_differences(name):
    for x in (H, -H):
        check_grads(lambda x: CONDS[name](ft.cond, x), (x,), order=2)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", ["operands", "branch in branch"])
def test_finite_differences_of_third_order(name):
    check_grads(lambda x: np.sum(CONDS[name](ft.cond, x) ** 2), (H,), order=3, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", CONDS)
def test_batches(name):
    """Items take both sides; against one item after the other."""
    function = lambda x: CONDS[name](ft.cond, x)
    total = lambda x: np.sum(np.sin(function(x)))
    for one in (function, ft.grad(total), ft.hessian(total), lambda x: ft.jvp(ft.grad(total), (x,), (np.cos(x),))[1]):
        np.testing.assert_allclose(ft.vmap(one)(BATCH), np.stack([one(x) for x in BATCH]), 1e-10, 1e-12)
    gradients = np.stack([ft.grad(total)(x) for x in BATCH])
    np.testing.assert_allclose(ft.grad(lambda batch: np.sum(ft.vmap(total)(batch)))(BATCH), gradients, 1e-10, 1e-12)


# Each transform takes a function float64[3] -> float64[3] to another of that kind.
TRANSFORMS = {
    "grad": lambda f: ft.grad(lambda x: np.sum(f(x) ** 2)),
    "jvp": lambda f: lambda x: ft.jvp(f, (x,), (np.cos(x),))[1],
    "vjp": lambda f: lambda x: ft.vjp(f, x)[1](np.sin(x))[0],
    "vmap": lambda f: lambda x: np.sum(ft.vmap(f)(np.stack([x, -0.5 * x])), axis=0),
    "linearize": lambda f: lambda x: ft.linearize(f, x)[1](np.ones(3)),
    "transpose": lambda f: lambda x: ft.linear_transpose(ft.linearize(f, x)[1], x)(np.ones(3))[0],
    "program": lambda f: lambda x: ft.make_program(f)(x)(x),
    "hessian": lambda f: lambda x: ft.hessian(lambda y: np.sum(np.sin(f(y))))(x) @ np.ones(3),
}


def side(x, taken):
    """What both sides are, one by one: `taken` says which one a function stands for."""
    return np.sin(W @ x) * x if taken else x**3 / (1 + x**2)


def both(x):
    return ft.cond(np.sum(x) > 0, lambda x: side(x, True), lambda x: side(x, False), x)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("names", list(itertools.product(TRANSFORMS, TRANSFORMS)), ids="-".join)
def test_pairs_of_transforms(names):
    """Against the side that is taken, alone; a batch takes one each."""
    for x in (H, -H):
        functions = {True: lambda x: side(x, True), False: lambda x: side(x, False)}
        branching, taken = both, functions[bool(np.sum(x) > 0)]
        if "vmap" in names:
            taken = lambda x: np.where(np.sum(x) > 0, side(x, True), side(x, False))
        for name in names:
            branching, taken = TRANSFORMS[name](branching), TRANSFORMS[name](taken)
        np.testing.assert_allclose(branching(x), taken(x), 1e-10, 1e-12)


POWERS = [lambda x: x, lambda x: x**2, lambda x: np.sqrt(x)]


@pytest.mark.parametrize("index", [-3, 0, 1, 2, 5])
def test_switch(index):
    for kind in (int, np.int32, np.int64, np.array):
        assert ft.switch(kind(index), POWERS, 4.0) == python_switch(index, POWERS, 4.0)
        function = lambda x: ft.switch(kind(index), POWERS, x)
        assert ft.grad(function)(4.0) == ft.grad(lambda x: python_switch(index, POWERS, x))(4.0)


def test_switch_of_a_batch():
    index, x = np.array([2, 0, 1, 9, -1]), np.array([4.0, -1.0, 3.0, 9.0, -2.0])
    assert ft.vmap(lambda i, x: ft.switch(i, POWERS, x))(index, x).tolist() == [2.0, -1.0, 9.0, 3.0, -2.0]
    gradient = ft.vmap(ft.grad(lambda x, i: ft.switch(i, POWERS, x)))
    np.testing.assert_allclose(gradient(x, index), [0.25, 1.0, 6.0, 1 / 6, 1.0])
    assert ft.vmap(lambda x: ft.switch(1, POWERS, x))(x).tolist() == (x**2).tolist()
    assert ft.vmap(lambda i: ft.switch(i, POWERS, 4.0))(index).tolist() == [2.0, 4.0, 16.0, 2.0, 4.0]
    assert ft.switch(3, [np.sin], 0.0) == 0.0
    with pytest.raises(ValueError, match="there are no branches"):
        ft.switch(0, [], 1.0)


def test_only_the_side_that_is_taken_warns_and_fails():
    logarithm = lambda x: ft.cond(x > 0, np.log, lambda x: 0.0 * x, x)
    inverse = lambda m: ft.cond(m[0, 0] != 0, np.linalg.inv, lambda m: m, m)
    x, m = np.array([1.0, -1.0, 0.0]), np.stack([np.eye(2), np.zeros((2, 2))])
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert logarithm(-1.0) == 0.0
        assert ft.vmap(logarithm)(x).tolist() == [0.0, 0.0, 0.0]
        assert ft.vmap(ft.grad(logarithm))(x).tolist() == [1.0, 0.0, 0.0]
        assert ft.grad(lambda x: np.sum(ft.vmap(logarithm)(x)))(x).tolist() == [1.0, 0.0, 0.0]
        np.testing.assert_array_equal(ft.vmap(inverse)(m), m)
    assert np.isfinite(ft.hessian(lambda m: np.sum(ft.vmap(inverse)(m)))(m)).all()


def test_closures_belong_to_their_side():
    """What a branch computes of values it closes over is not computed if it is not taken."""
    function = lambda m: ft.cond(m[0, 0] > 0, lambda: np.linalg.inv(m), lambda: m)
    assert ft.grad(lambda m: np.sum(function(m)))(np.zeros((2, 2))).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    root = lambda x: ft.cond(x > 0, lambda: np.sqrt(x), lambda: 0.0)
    assert ft.vmap(ft.grad(root))(np.array([4.0, 0.0, -1.0])).tolist() == [0.25, 0.0, 0.0]


def test_a_choice_keeps_nan_out_of_gradients_upstream():
    """As np.where does: the cotangent of what was not chosen is 0, whatever its slope."""
    function = lambda x: ft.cond(x > 0, lambda a, b: a, lambda a, b: b, np.sqrt(x), x)
    assert ft.grad(function)(0.0) == 1.0
    assert ft.jvp(function, (0.0,), (1.0,))[1] == 1.0
    inside = lambda x: np.where(x > 0, ft.cond(True, lambda x: np.sqrt(x), lambda x: x, x), 0.0)
    assert ft.grad(inside)(0.0) == 0.0


# Batches of cheap branches that cannot fail compute both sides and select; others go item by item.
def select_and_items(function):
    text = str(ft.make_program(ft.vmap(function))(np.ones(3)))
    return "where" in text, "scan" in text


def test_what_a_batch_computes_for_all_items():
    assert select_and_items(lambda x: ft.cond(x > 0, lambda x: x + 1, lambda x: -x, x)) == (True, False)
    several = [np.log, np.sqrt, lambda x: 1 / x, lambda x: np.linalg.det(x * np.eye(2))]
    for risky in several:
        assert select_and_items(lambda x, risky=risky: ft.cond(x > 0, risky, lambda x: -x, x)) == (False, True)

    def dear(x):
        for _ in range(20):
            x = x * x + 1.0
        return x

    assert select_and_items(lambda x: ft.cond(x > 0, dear, lambda x: -x, x)) == (False, True)
    endless = lambda x: ft.while_loop(lambda y: y > 0, lambda y: y - 1, x)
    assert select_and_items(lambda x: ft.cond(x > 0, endless, lambda x: -x, x)) == (False, True)


def test_effects_of_a_batch(capsys):
    def taken(x):
        ft.debug.print("{}", x)
        return x

    function = lambda x: ft.cond(x > 0, taken, lambda x: -x, x)
    assert ft.vmap(function)(np.array([1.0, -2.0, 3.0])).tolist() == [1.0, 2.0, 3.0]
    assert capsys.readouterr().out.split() == ["1.0", "3.0"]
    ft.vmap(ft.grad(function))(np.array([1.0, -2.0, 3.0]))
    assert capsys.readouterr().out.split() == ["1.0", "3.0"]


def test_effects_happen_once_and_in_order(capsys):
    def function(x):
        def branch(name):
            def of(x):
                ft.debug.print("{} {}", name, x)
                return x * x

            return of

        ft.debug.print("before")
        y = ft.cond(x > 0, branch("true"), branch("false"), x)
        ft.debug.print("after")
        return y

    calls = [
        function,
        ft.grad(function),
        ft.grad(ft.grad(function)),
        lambda x: ft.jvp(function, (x,), (1.0,)),
        lambda x: ft.linearize(function, x)[1](1.0),
        lambda x: ft.make_program(ft.grad(function))(x)(x),
        ft.jit(ft.grad(function)),
    ]
    for call in calls:
        call(3.0)
        assert capsys.readouterr().out.splitlines() == ["before", "true 3.0", "after"]


def test_exceptions_pass_with_their_line():
    def singular(m):
        return np.linalg.inv(m)  # this line

    function = lambda m: ft.cond(np.sum(m) == 0, singular, lambda m: m, m)
    for call in [function, ft.grad(lambda m: np.sum(function(m))), lambda m: ft.vmap(function)(m[None])]:
        with pytest.raises(np.linalg.LinAlgError, match="this line"):
            call(np.zeros((2, 2)))


def test_psum_in_a_branch_of_each_item_raises():
    function = lambda x: ft.cond(x > 0, lambda x: ft.psum(x, "i"), lambda x: x, x)
    message = r"(?s)psum over the axis 'i' in a branch.*test_branch.*Remedy"
    with pytest.raises(ft.errors.UnsupportedError, match=message):
        ft.vmap(function, axis_name="i")(np.array([1.0, -1.0]))
    closed = lambda x: ft.cond(x > 0, lambda: ft.psum(x, "i"), lambda: x)
    with pytest.raises(ft.errors.UnsupportedError, match=message):
        ft.vmap(closed, axis_name="i")(np.array([1.0, -1.0]))
    with pytest.raises(ft.errors.UnsupportedError, match=message):
        ft.vmap(ft.grad(function), axis_name="i")(np.array([1.0, -1.0]))


def test_psum_in_a_branch_that_all_items_take():
    function = lambda flag: ft.vmap(lambda x: ft.cond(flag, lambda x: x - ft.psum(x, "i"), lambda x: x, x), axis_name="i")
    assert function(True)(np.array([1.0, 2.0])).tolist() == [-2.0, -1.0]
    assert function(False)(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    check_grads(lambda x: function(True)(x) ** 2, (H,), order=2)
    over_another = lambda x: ft.vmap(lambda y: ft.cond(x > 0, lambda: y - ft.psum(y, "j"), lambda: y), axis_name="j")(x * H)
    result = ft.vmap(over_another)(np.array([1.0, -1.0]))
    np.testing.assert_allclose(result, [H - np.sum(H), -H])


def test_a_linear_branch_is_transposed_without_its_input():
    function = lambda x: ft.cond(W[0, 0] < 5, lambda x: W @ x, lambda x: 2 * x, x)
    np.testing.assert_allclose(ft.linear_transpose(function, H)(BATCH[0])[0], W.T @ BATCH[0], 1e-12)
    with pytest.raises(ft.errors.DifferentiationError, match="not linear"):
        ft.linear_transpose(lambda x: ft.cond(W[0, 0] < 5, lambda x: x * x, lambda x: 2 * x, x), H)


def test_residuals_share_slots():
    """The two sides keep one array each, of the same type."""
    dear = lambda f: lambda w, x: np.sum(f(np.tanh(w @ x)) ** 2)
    function = lambda w, x: ft.cond(x[0] > 0, dear(np.sin), dear(np.cos), w, x)
    forward = ft.make_program(ft.grad(function))(W, H).equations[2]
    assert forward.primitive.name == "branch" and len(forward.outputs) <= 3


def test_unused_results_and_operands_are_pruned():
    function = lambda x: ft.cond(x > 0, lambda x, y: (x, y + 1.0), lambda x, y: (2 * x, y), x, np.ones(1000))[0]
    assert "1000" not in str(ft.jit(function).lower(2.0).program)


@pytest.mark.parametrize("pred", [True, 1, 2.5, np.bool_(True), np.array(True), np.int32(3)])
def test_predicates(pred):
    assert ft.cond(pred, lambda: 1.0, lambda: 2.0) == 1.0
    assert ft.cond(type(pred)(0) if not isinstance(pred, np.ndarray) else ~pred, lambda: 1.0, lambda: 2.0) == 2.0


def test_python_numbers():
    """They take on the dtype of the other side, and stay Python's where both are."""
    x = np.float32(2)
    assert ft.cond(True, lambda: x * x, lambda: 0.0).dtype == np.float32
    assert ft.cond(False, lambda: x * x, lambda: 0).dtype == np.float32
    scale = ft.make_program(lambda p: ft.cond(p, lambda: 0.5, lambda: 2.0))(True)
    assert scale.outputs[0].array_type.weak
    assert ft.cond(False, lambda: 1, lambda: 0.5) == 0.5 and ft.cond(True, lambda: 1, lambda: 0.5) == 1.0


def halves(x):
    return x[:1]


# What is wrong with a branch, and what the error says.
WRONG = {
    "shape": (lambda: ft.cond(True, halves, lambda x: x, H), r"cond: false_fun \(lambda\) returns float64\[3\], and true_fun \(halves\) returns float64\[1\]"),
    "dtype": (
        lambda: ft.switch(0, [lambda x: {"a": x}, lambda x: {"a": x.astype(np.float32)}], H),
        r"switch: branch 0 \(lambda\) returns float64\[3\] for the leaf \['a'\], and branch 1 \(lambda\) returns float32\[3\]",
    ),
    "number": (lambda: ft.cond(True, lambda x: 0.5, lambda x: x.astype(int)[0], H), r"returns int64\[\], and true_fun"),
    "structure": (lambda: ft.cond(True, lambda x: (x, x), lambda x: [x, x], H), r"cond: false_fun .*returns .*and true_fun .*returns"),
    "predicate": (lambda: ft.cond(H > 0, lambda: 1.0, lambda: 2.0), r"cond: the predicate is bool\[3\], and must be a scalar"),
    "index": (lambda: ft.switch(1.0, POWERS, 2.0), r"switch: the index is float64\[\], and must be an integer scalar"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    call, message = WRONG[name]
    with pytest.raises(ft.errors.StructureError, match=f"(?s){message}.*Remedy: .*at test_branch.py"):
        call()


def test_a_switch_without_branches_raises():
    with pytest.raises(ValueError, match=r"(?s)switch: there are no branches.*Remedy: .*at test_branch.py"):
        ft.switch(0, [], 1.0)


def test_writing_into_operands_raises():
    def write(x):
        x[0] = 1.0
        return x

    with pytest.raises(ft.errors.MutationError, match="it is an argument"):
        ft.cond(True, write, lambda x: x, H)
    assert ft.cond(True, lambda x: write(x.copy()), lambda x: x, H).tolist() == [1.0, 0.8, 1.1]


def test_nested_programs_are_printed():
    text = str(ft.make_program(lambda x: ft.cond(x > 0, np.sin, np.cos, x))(1.0))
    assert text.splitlines() == [
        "program lambda(a: float64[]*) -> c",
        "  b: bool[] = greater(a, 0)",
        "  c: float64[] = branch(b, a)",
        "    branches[0]: cos(a: float64[]*) -> b",
        "      b: float64[] = cos(a)",
        "    branches[1]: sin(a: float64[]*) -> b",
        "      b: float64[] = sin(a)",
    ]
