"""What `checkpoint` keeps and what it computes again: policies, budgets, levels, files."""

import gc
import mmap
import os

import numpy as np
import pytest

import functrans as ft
from functrans import errors
from functrans.core.primitive import PRIMITIVES, General
from functrans.ops import arithmetic
from functrans.testing import assert_close

P = ft.checkpoint_policies
X = np.linspace(-0.8, 0.9, 6).reshape(2, 3)
W = np.linspace(-1.0, 1.1, 9).reshape(3, 3)


def network(x, w):
    for _ in range(3):
        x = ft.checkpoint_name(np.tanh(x @ w), "hidden") * 0.9
    return x


def loss(x, w):
    return np.sum(np.sin(network(x, w)))


def kept(function, *args):
    """The operations whose results a reverse pass keeps beyond arguments."""
    return [item.what for item in ft.inspect.residuals(function, *args).computed]


def test_policies_say_what_is_kept():
    assert kept(ft.checkpoint(loss), X, W) == []
    assert kept(ft.checkpoint(loss, policy=P.nothing), X, W) == []
    assert kept(ft.checkpoint(loss, policy=P.dots), X, W) == ["contract"] * 3
    assert kept(ft.checkpoint(loss, policy=P.save_names("hidden", "other")), X, W) == ["hidden"] * 3
    assert kept(ft.checkpoint(loss, policy=P.save_names("other")), X, W) == []
    only = lambda primitive, *types, **params: primitive.name == "multiply" and types[0].shape == (2, 3)
    assert kept(ft.checkpoint(loss, policy=only), X, W) == ["multiply"] * 3


def count(monkeypatch, primitive, function, *args):
    """How often an operation is performed."""
    calls = []
    evaluate = primitive.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(primitive, "evaluate", lambda *operands, **params: calls.append(1) or evaluate(*operands, **params))
        function(*args)
    return len(calls)


def test_what_is_not_kept_is_computed_twice(monkeypatch):
    tanhs = lambda function: count(monkeypatch, arithmetic.tanh, ft.grad(function), X, W)
    assert tanhs(loss) == 3
    assert tanhs(ft.checkpoint(loss)) == 6
    assert tanhs(ft.checkpoint(loss, policy=P.dots)) == 6
    assert tanhs(ft.checkpoint(loss, policy=P.save_names("hidden"))) == 3
    assert tanhs(ft.checkpoint(loss, policy=P.everything)) == 3
    assert count(monkeypatch, arithmetic.tanh, lambda x, w: ft.jvp(ft.checkpoint(loss), (x, w), (x, w)), X, W) == 3
    assert count(monkeypatch, arithmetic.tanh, ft.checkpoint(loss), X, W) == 3


def layers(x, weights):
    for w in weights:
        x = np.tanh(x @ w)
    return x


def deep(count, size=8, rows=16):
    """A deep network's weights and argument."""
    generator = np.random.default_rng(0)
    return [generator.normal(size=(size, size)) / np.sqrt(size) for _ in range(count)], generator.normal(size=(rows, size))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.99, 1.0, 2.0])
def test_budgets_are_kept_and_used(share):
    weights, x = deep(40)
    everything = 40 * x.nbytes
    budget = int(share * everything)
    function = ft.checkpoint(lambda weights, x: np.sum(layers(x, weights)), budget=budget)
    found = ft.inspect.residuals(function, weights, x)
    assert min(0.9 * budget - x.nbytes, everything) <= found.nbytes <= budget
    assert_close(ft.grad(function)(weights, x), ft.grad(lambda weights, x: np.sum(layers(x, weights)))(weights, x))


def test_budget_that_is_too_small():
    function = lambda x: np.sum(np.sin(ft.checkpoint_name(np.exp(x), "power")))
    function = ft.checkpoint(function, policy=P.save_names("power"), budget=8)
    assert function(X) == np.sum(np.sin(np.exp(X)))
    with pytest.raises(
        errors.BudgetError, match="checkpoint of lambda: a budget of 8 bytes.*48(.|\n)*Remedy(.|\n)*test_checkpoint"
    ):
        ft.grad(function)(X)


def blocks(weights, x, block):
    """64 layers, in 8 blocks of 8."""
    for start in range(0, 64, 8):
        x = block(x, weights[start : start + 8])
    return np.sum(x)


def test_two_levels_take_memory_of_the_square_root(peak):
    weights, x = deep(64, 16, 512)
    nested = lambda weights, x: blocks(weights, x, ft.checkpoint(layers))
    plain = lambda weights, x: blocks(weights, x, layers)
    assert_close(ft.grad(nested)(weights, x), ft.grad(plain)(weights, x))
    # The arguments of 7 blocks, and of the layers of one.
    assert ft.inspect.residuals(nested, weights, x).nbytes == 7 * x.nbytes
    assert ft.inspect.residuals(plain, weights, x).nbytes == 64 * x.nbytes
    both = peak(ft.grad(nested), weights, x), peak(ft.grad(plain), weights, x)
    assert both[0] < 1.3 * 16 * x.nbytes < 64 * x.nbytes < both[1]


def test_levels_may_be_nested(peak):
    weights, x = deep(64, 16, 512)
    layer = ft.checkpoint(lambda x, w: np.tanh(x @ w))
    inner = ft.checkpoint(lambda x, weights: [x := layer(x, w) for w in weights][-1])
    nested = ft.checkpoint(lambda weights, x: blocks(weights, x, inner))
    assert_close(ft.grad(nested)(weights, x), ft.grad(lambda weights, x: blocks(weights, x, layers))(weights, x))
    assert ft.inspect.residuals(nested, weights, x).nbytes == 0
    assert peak(ft.grad(nested), weights, x) < 1.5 * 16 * x.nbytes


# Compiled


def workspace(function, *args):
    """The bytes a compiled function works in."""
    return ft.jit(function).lower(*args).compile().memory_analysis().workspace


def test_compiled_code_takes_the_memory_of_two_levels():
    weights, x = deep(64, 64, 128)
    value_and_grad = lambda block: ft.value_and_grad(lambda weights, x: blocks(weights, x, block))
    plain = workspace(value_and_grad(layers), weights, x)
    nested = workspace(value_and_grad(ft.checkpoint(layers)), weights, x)
    assert plain >= 64 * x.nbytes
    assert nested <= 1.3 * 16 * x.nbytes
    merged = workspace(value_and_grad(ft.checkpoint(layers, prevent_cse=False)), weights, x)
    assert merged >= 64 * x.nbytes  # what was computed again is what was computed before, kept


def test_compiled_loops_compute_again_only_when_they_must():
    """What is computed again is not fused with what was computed before, from the same values."""

    def steps(x):
        for _ in range(8):
            x = np.sin(x) * np.exp(-x) + np.roll(x, 1)
        return x

    def function(x):
        for _ in range(6):
            x = ft.checkpoint(steps)(x)
        return np.sum(x * x)

    x = np.linspace(0.0, 1.0, 2**14)
    # The arguments of 5 blocks; and of one block, 3 values a step, and a few on their way.
    assert workspace(ft.value_and_grad(function), x) <= (5 + 3 * 8 + 3) * x.nbytes


def test_compiled_code_keeps_budgets():
    weights, x = deep(64, 64, 128)
    function = ft.checkpoint(lambda weights, x: np.sum(layers(x, weights)), budget=16 * x.nbytes)
    assert workspace(ft.value_and_grad(function), weights, x) <= 1.5 * 16 * x.nbytes
    assert_close(ft.jit(ft.grad(function))(weights, x), ft.grad(function)(weights, x), rtol=1e-9)


def test_values_inside_a_block_that_prints_are_computed_again(capsys):
    def inner(x):
        ft.debug.print("inner")
        return np.tanh(np.exp(x))

    function = ft.checkpoint(lambda x: np.sum(ft.checkpoint(inner)(ft.checkpoint(inner)(x))))
    assert kept(function, X) == []
    assert capsys.readouterr().out == ""
    assert_close(ft.grad(function)(X), ft.grad(lambda x: np.sum(np.tanh(np.exp(np.tanh(np.exp(x))))))(X))
    assert capsys.readouterr().out.split() == ["inner"] * 2


@pytest.mark.parametrize("transform", [lambda f: f, ft.jit], ids=["eager", "jit"])
def test_offloaded_values_are_in_files_that_are_gone_with_them(transform, tmp_path, peak):
    policy = P.save_and_offload("hidden", folder=str(tmp_path))
    function = ft.checkpoint(loss, policy=policy)
    found = ft.inspect.residuals(function, X, W)
    assert [item.kind for item in found if item.what == "hidden"] == ["file"] * 3 and found.nbytes == 0
    assert_close(transform(ft.grad(function, (0, 1)))(X, W), ft.grad(loss, (0, 1))(X, W))
    assert os.listdir(tmp_path) == []
    weights, x = deep(30, 4, 2048)
    function = ft.checkpoint(
        lambda weights, x: np.sum(layers(x, weights)), policy=P.save_and_offload(P.dots, folder=str(tmp_path))
    )
    assert_close(
        transform(ft.grad(function))(weights, x), ft.grad(lambda weights, x: np.sum(layers(x, weights)))(weights, x), rtol=1e-9
    )
    assert peak(transform(ft.grad(function)), weights, x) < 12 * x.nbytes


def test_offloaded_values_are_mapped_into_memory(tmp_path):
    function = ft.checkpoint(loss, policy=P.save_and_offload("hidden", folder=str(tmp_path)))
    _, pullback = ft.vjp(function, X, W)
    mapped = [item for item in gc.get_objects() if type(item) is mmap.mmap]
    assert len(mapped) == 3
    del mapped
    assert_close(pullback(1.0), pullback(1.0))
    del pullback
    gc.collect()
    assert not [item for item in gc.get_objects() if type(item) is mmap.mmap]


def test_offloading_into_a_folder_that_is_not_there():
    function = ft.checkpoint(loss, policy=P.save_and_offload("hidden", folder="/no/such/folder"))
    assert np.isfinite(function(X, W))
    with pytest.raises(FileNotFoundError, match="/no/such/folder"):
        ft.grad(function)(X, W)


DRAWN = []


def drawn(x):
    DRAWN.append(np.random.default_rng(len(DRAWN)).normal(size=x.shape))
    return DRAWN[-1] * 1.0


noise = General(
    "noise_in_test", drawn, types=lambda x: x, jvp=None, pullback=None,
    batch=lambda operands, batched, size: noise(operands[0]), repeatable=False,
)  # fmt: skip
del PRIMITIVES["noise_in_test"]


def test_random_numbers_are_drawn_once():
    DRAWN.clear()
    gradient = ft.grad(ft.checkpoint(lambda x: np.sum(np.sin(x * noise(x)))))(X)
    assert len(DRAWN) == 1
    assert_close(gradient, np.cos(X * DRAWN[0]) * DRAWN[0])
    assert kept(ft.checkpoint(lambda x: np.sum(np.sin(x * noise(x)))), X) == ["noise_in_test"]
