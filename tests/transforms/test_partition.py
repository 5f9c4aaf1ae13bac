"""Joint programs divided into a forward and a backward one: both together compute the same, at the least cost."""

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import functrans as ft
from functrans import errors
from functrans.control.bodies import closed
from functrans.core.primitive import PRIMITIVES, General
from functrans.core.staging import stage
from functrans.transforms.budget import within_budget
from functrans.transforms.partition import Pool, partition, with_names

P = ft.checkpoint_policies


def joint_of(function, args):
    """The joint program of a function of arrays that returns one array, and its known inputs."""
    out = stage(function, args, transform="test").outputs[0].array_type

    def both(args, ct):
        value, pullback = ft.vjp(function, *args)
        return value, pullback(ct)

    joint, values = closed(stage(both, (args, out), transform="test"))
    return joint, [*values, *args]


def check_parts(joint, args, ct, **options):
    """The parts, after a check that they give what the joint program gives, to the last bit."""
    parts = partition(joint, len(args), 1, **options)
    with np.errstate(all="ignore"):  # random programs divide by what may be 0 or infinite
        expected = joint.evaluate([*args, ct])
        value, *residuals = parts.forward.evaluate(args)
        cotangents = parts.backward.evaluate([*(args[place] for place in parts.inputs), *residuals, ct])
    for one, other in zip(expected, [value, *cotangents], strict=True):
        np.testing.assert_array_equal(one, other)
    assert [atom.array_type for atom in parts.residuals] == [variable.array_type for variable in parts.forward.outputs[1:]]
    return parts


def parts_of(function, *args, **options):
    """The parts of a function and its pullback."""
    joint, args = joint_of(function, args)
    value = joint.outputs[0].array_type
    return check_parts(joint, args, np.ones(value.shape, value.dtype)[()], **options)


def kept(parts):
    """The operations whose results are kept."""
    definitions = parts.forward.definitions()
    return [definitions[variable].primitive.name for variable in parts.residuals]


def names(program):
    """The operations of a program, in order."""
    return [equation.primitive.name for equation in program.equations]


def nbytes(parts):
    """The bytes that are kept."""
    return sum(variable.array_type.nbytes for variable in parts.residuals)


X = np.linspace(0.1, 1.0, 12).reshape(3, 4)
W = np.linspace(-1.0, 1.0, 16).reshape(4, 4)


def network(x, *weights):
    for w in weights:
        x = np.tanh(x @ w)
    return np.sum(x)


def test_dear_values_are_kept_and_cheap_ones_computed_again():
    parts = parts_of(lambda x, w: np.sum(np.exp(2.0 * np.tanh(x @ w) + 1.0)), X, W)
    assert kept(parts) == ["tanh", "exp"]
    parts = parts_of(lambda x, y: np.sum((x + y) * (x - y) * (x * y)), X, X)
    assert kept(parts) == []
    assert parts.inputs == (0, 1)


def test_views_are_kept_as_what_they_are_of():
    parts = parts_of(lambda x, w: np.sum(np.sin(np.reshape((x @ w).T, (2, 6)))), X, W)
    assert kept(parts) == ["contract"]


def test_masks_are_kept_rather_than_what_they_are_of():
    parts = parts_of(lambda x, w: np.sum(np.where(np.exp(x @ w) > 1.0, x, 2.0 * x)), X, W)
    assert [str(variable.array_type) for variable in parts.residuals] == ["bool[3,4]"]


def test_numbers_repeated_are_not_kept():
    parts = parts_of(lambda x: np.sum(np.full_like(x, 3.0) * x * np.broadcast_to(x[0, 0], x.shape)), X, policy=P.everything)
    assert "broadcast_to" not in kept(parts) and "getitem" not in kept(parts)


def test_policies_say_what_is_kept():
    weights = W, 2 * W, 3 * W
    assert kept(parts_of(network, X, *weights, policy=P.nothing)) == []
    assert kept(parts_of(network, X, *weights, policy=P.everything)) == ["tanh"] * 3
    assert kept(parts_of(network, X, *weights, policy=P.dots)) == ["contract"] * 3
    big = lambda primitive, *types, **params: primitive.name == "tanh" and types[0].shape == (3, 4)
    assert kept(parts_of(network, X, *weights, policy=big)) == ["tanh"] * 3


def test_named_values_stand_for_what_was_named():
    def function(x, w):
        y = ft.checkpoint_name(np.tanh(x @ w), "first")
        return np.sum(np.tanh(y @ w) * ft.checkpoint_name(y, "second"))

    parts = parts_of(function, X, W, policy=P.save_names("first"))
    assert kept(parts) == ["checkpoint_name"]
    assert names(parts.backward).count("tanh") == 1  # the second, from the first
    assert kept(parts_of(function, X, W, policy=P.save_names("other"))) == []


def test_known_inputs_are_kept_for_nothing_unless_they_are_charged():
    function = lambda x, y: np.sum(np.sin(x * y) * x)
    assert parts_of(function, X, X).inputs == (0, 1)
    assert kept(parts_of(function, X, X)) == []
    charged = parts_of(function, X, X, charged=[0, 1])
    assert (charged.inputs, kept(charged)) == ((0, 1), [])
    # One value instead of two that it is made of.
    function = lambda x, y: np.sum(np.square(x + y))
    assert parts_of(function, X, X).inputs == (0, 1)
    charged = parts_of(function, X, X, charged=[0, 1])
    assert (charged.inputs, kept(charged)) == ((), ["add"])


def test_what_is_computed_again_is_computed_just_before_it_is_read():
    parts = parts_of(network, X, *[W] * 6, budget=3 * X.nbytes)
    order = names(parts.backward)
    first = order.index("tanh")
    assert "masked_multiply" in order[:first] or "multiply" in order[:first]
    readers = [place for place, name in enumerate(order) if name == "tanh"]
    assert max(readers) - min(readers) > 10  # here and there, not all of them at once


@pytest.mark.parametrize("count", range(9))
def test_budget_is_used_and_kept(count):
    parts = parts_of(network, X, *[W] * 8, budget=count * X.nbytes)
    assert nbytes(parts) == count * X.nbytes
    assert names(parts.backward).count("tanh") == 8 - count


def test_budget_takes_what_is_cheap_to_compute_again_first():
    def function(x, w):
        y = x @ w  # dear
        z = np.exp(y)  # cheap
        return np.sum(np.sin(y) * np.sin(z))

    assert kept(parts_of(function, X, W, budget=10**9)) == ["contract", "exp", "sin", "sin"]
    assert "contract" in kept(parts_of(function, X, W, budget=2 * X.nbytes))
    assert kept(parts_of(function, X, W, budget=X.nbytes)) == ["contract"]
    assert kept(parts_of(function, X, W, budget=0)) == []


def test_budget_that_is_too_small_says_what_is_needed():
    function = lambda x: np.sum(np.sin(ft.checkpoint_name(np.exp(x), "a")) * np.cos(ft.checkpoint_name(np.tanh(x), "b")))
    with pytest.raises(errors.BudgetError, match="192 bytes are kept at least(.|\n)*Remedy: give a budget of 192"):
        parts_of(function, X, policy=P.save_names("a", "b"), budget=191)
    assert nbytes(parts_of(function, X, policy=P.save_names("a", "b"), budget=192)) == 192


DRAWS = []
draw = General(
    "draw_in_test",
    lambda x: DRAWS.append(1) or x + np.random.default_rng().normal(size=x.shape),
    types=lambda x: x,
    jvp=lambda primals, tangents, out, active: tangents[0],
    pullback=lambda ct, operands, out, active: (ct,),
    batch=lambda operands, batched, size: draw(operands[0]),
    repeatable=False,
)
del PRIMITIVES["draw_in_test"]


def test_what_cannot_be_repeated_is_kept_whatever_a_policy_says():
    joint, known = joint_of(lambda x: np.sum(np.sin(draw(x))), (X,))
    for options in [{}, {"policy": P.nothing}]:
        parts = partition(joint, len(known), 1, **options)
        assert kept(parts) == ["draw_in_test"]
        assert "draw_in_test" not in names(parts.backward)
    with pytest.raises(errors.BudgetError):
        partition(joint, len(known), 1, budget=8)


def test_effects_are_in_the_forward_part_once_and_in_order(capsys):
    def function(x):
        ft.debug.print("first {}", x[0, 0])
        y = np.exp(x)
        ft.debug.print("second {}", y[0, 0])
        return np.sum(np.sin(y))

    joint, known = joint_of(function, (X,))
    parts = partition(joint, len(known), 1, policy=P.nothing)
    assert names(parts.forward).count("debug_print") == 2 and "debug_print" not in names(parts.backward)
    parts.forward.evaluate([X])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["first", "second"]


def test_a_loop_that_prints_is_computed_again_without_printing(capsys):
    def inner(x):
        ft.debug.print("inside")
        return np.exp(x)

    joint, known = joint_of(lambda x: np.sum(np.sin(ft.checkpoint(inner)(x))), (X,))
    parts = partition(joint, len(known), 1, policy=P.nothing)
    assert kept(parts) == []
    results = parts.backward.evaluate([X, 1.0])
    assert capsys.readouterr().out == ""
    np.testing.assert_allclose(results[0], np.cos(np.exp(X)) * np.exp(X), rtol=1e-14)


def test_programs_that_are_no_joint_ones_are_refused():
    captured = stage(lambda x: np.sum(x * W), (W,), transform="test")
    with pytest.raises(errors.ProgramError, match="captures values"):
        partition(captured, 1, 1)
    joint, known = joint_of(lambda x: np.sum(np.sin(x)), (X,))
    with pytest.raises(errors.ProgramError, match="depends on cotangents"):
        partition(joint, len(known), 2)


def test_outputs_may_be_inputs_and_numbers():
    def both(args, ct):
        (x,) = args
        return 3.0, (x, 2.0, ct, np.exp(x))

    joint = stage(both, ((X,), X), transform="test")
    parts = partition(joint, 1, 1, policy=P.nothing)
    value, *residuals = parts.forward.evaluate([X])
    results = parts.backward.evaluate([*(X for _ in parts.inputs), *residuals, 2 * X])
    assert value == 3.0 and results[1] == 2.0
    for one, other in zip([results[0], results[2], results[3]], [X, 2 * X, np.exp(X)]):
        np.testing.assert_array_equal(one, other)


UNARY = [np.sin, np.exp, np.tanh, np.negative, np.transpose, lambda x: x[::-1], lambda x: np.sum(x, axis=0) + 0 * x,
         lambda x: ft.checkpoint_name(2.0 * x, "name"), lambda x: x @ np.transpose(x), lambda x: np.where(x > 0, x, 0.5 * x)]  # fmt: skip
BINARY = [np.add, np.multiply, np.subtract, lambda x, y: x @ y, np.maximum, np.arctan2]


@st.composite
def functions(draw, most):
    """A random function of two 2 by 2 arrays, that stays small."""
    steps = draw(
        st.lists(st.tuples(st.integers(0, len(UNARY) + len(BINARY) - 1), st.integers(0, 50), st.integers(0, 50)), max_size=most)
    )

    def function(x, y):
        values = [x, y]
        for operation, first, second in steps:
            a, b = values[first % len(values)], values[second % len(values)]
            result = UNARY[operation](a) if operation < len(UNARY) else BINARY[operation - len(UNARY)](a, b)
            values.append(np.sin(result))
        return np.sum(values[-1] * values[len(values) // 2])

    return function


A, B = np.array([[0.3, -1.2], [0.7, 0.9]]), np.array([[1.1, 0.2], [-0.4, 0.6]])


@settings(deadline=None, max_examples=80)
@given(functions(most=25), st.randoms(use_true_random=False))
def test_parts_of_random_programs_compute_what_these_do(function, random):
    joint, known = joint_of(function, (A, B))
    some = random.sample([equation.primitive for equation in joint.equations], len(joint.equations) // 2)
    policies = [None, P.nothing, P.everything, P.dots, P.save_names("name"), lambda p, *types, **params: p in some]
    for policy in policies:
        check_parts(joint, known, 1.0, policy=policy)
    check_parts(joint, known, 1.0, charged=random.choice([(0,), (1,), (0, 1)]))
    check_parts(joint, known, 1.0, policy=random.choice(policies), budget=10**6)


@settings(deadline=None, max_examples=80)
@given(functions(most=25), st.integers(0, 20))
def test_budgets_of_random_programs_are_kept(function, count):
    joint, known = joint_of(function, (A, B))
    budget = 32 * count
    assert nbytes(check_parts(joint, known, 1.0, budget=budget)) <= budget


@settings(deadline=None, max_examples=40)
@given(functions(most=5), st.integers(0, 4), st.booleans())
def test_cuts_are_the_best_of_all_choices(function, count, charged):
    joint, known = joint_of(function, (A, B))
    pool = Pool(with_names(joint), len(known), 1, None, (0, 1) if charged else ())
    if len(pool.free) > 10:
        return
    subsets = product([False, True], repeat=len(pool.free))
    choices = [pool.choice(place for place, own in enumerate(subset) if own) for subset in subsets]
    best = min(choice.price + choice.cost for choice in choices)
    found = pool.cheapest(1, 1)
    assert found.price + found.cost == best
    fitting = [choice.cost for choice in choices if choice.nbytes <= 32 * count]
    if fitting:  # the greedy answer to a knapsack problem: never worse than to keep as little as possible
        found = within_budget(pool, "function", 32 * count)
        assert found.nbytes <= 32 * count
        assert min(fitting) <= found.cost <= pool.cheapest(1, 10**9).cost


def test_large_programs_take_little_time():
    def function(x, *weights):
        for w in weights * 40:
            x = np.tanh(x @ w) * np.exp(-np.square(x)) + np.sin(x) / 2
        return np.sum(x)

    joint, known = joint_of(function, (X, W, 2 * W, 3 * W))
    assert len(joint.equations) > 2000
    start = time.process_time()
    partition(joint, len(known), 1)
    assert time.process_time() - start < 1.5  # 0.03 s on a quiet machine
