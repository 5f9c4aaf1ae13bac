"""What a reverse pass keeps, listed."""

import tracemalloc

import numpy as np
import pytest

import functrans as ft
from functrans import errors
from functrans.core.types import ArrayType
from functrans.ops import arithmetic

X = np.linspace(0.0, 1.0, 6).reshape(2, 3)
W = np.ones((3, 3))


def loss(x, w):
    y = np.tanh(x @ w)  # the line of y
    return np.sum(np.sin(y) * x[:, ::-1])


def rows(found):
    return [(str(item.type), item.kind, item.what) for item in found]


def test_values_with_types_bytes_and_lines():
    found = ft.inspect.residuals(loss, X, W)
    assert rows(found) == [
        ("float64[2,3]", "argument", "args[0]"),
        ("float64[3,3]", "argument", "args[1]"),
        ("float64[2,3]", "computed", "tanh"),
        ("float64[2,3]", "computed", "sin"),
    ]
    tanh = found[2]
    assert tanh.nbytes == 48 and "test_inspect.py" in tanh.line and "# the line of y" in tanh.line
    assert (found.nbytes, found.total, len(found), found.computed) == (96, 216, 4, found[2:])


def test_prints_as_a_table():
    lines = str(ft.inspect.residuals(loss, X, W)).splitlines()
    assert lines[0] == "residuals of loss: 216 bytes, 96 computed, 120 of arguments"
    assert lines[1].split() == ["bytes", "type", "kind", "what", "line"]
    assert lines[2] == "   48  float64[2,3]  argument  args[0]"
    assert lines[4].startswith("   48  float64[2,3]  computed  tanh     test_inspect.py:")
    assert repr(ft.inspect.residuals(lambda x: x, X)) == "residuals of lambda: 0 bytes"


def test_what_the_tape_holds_is_what_is_listed():
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(64, 64)) for _ in range(4)]
    x = generator.normal(size=(256, 64))

    def network(x, weights):
        for w in weights:
            x = np.maximum(np.exp(-np.square(x @ w)), 0.1)
        return np.sum(x)

    ft.vjp(network, x, weights)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = ft.vjp(network, x, weights)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held is not None
    listed = ft.inspect.residuals(network, x, weights).nbytes
    assert listed <= grown <= 1.05 * listed + 10_000


def test_views_are_what_they_are_of():
    found = ft.inspect.residuals(lambda x: np.sum(np.sin(np.reshape(x.T, (6,))[::-1])), X)
    assert rows(found) == [("float64[2,3]", "argument", "args[0]")]


def test_arrays_from_outside():
    outside = np.ones((3, 3))
    found = ft.inspect.residuals(lambda x: np.sum(x @ outside), X)
    assert rows(found) == [("float64[3,3]", "captured", "")]
    assert (found.nbytes, found.total) == (0, 72)


def test_types_in_place_of_arrays_and_keywords():
    found = ft.inspect.residuals(
        lambda x, *, scale: np.sum(np.exp(x) * scale), ArrayType((4,), np.dtype(np.float32)), scale=X[0, :1]
    )
    assert rows(found) == [("float32[4]", "computed", "exp"), ("float64[1]", "argument", "keywords['scale']")]


def test_integers_are_not_differentiated():
    found = ft.inspect.residuals(lambda x, n: np.sum(np.sin(x) * n), X, np.arange(3))
    assert ("int64[3]", "argument", "args[1]") in rows(found)
    with pytest.raises(errors.DifferentiationError, match="residuals of lambda(.|\n)*int64\\[3\\](.|\n)*Remedy"):
        ft.inspect.residuals(lambda n: n, np.arange(3))


def test_nothing_is_computed(monkeypatch):
    monkeypatch.setattr(arithmetic.tanh, "evaluate", None)
    assert ft.inspect.residuals(loss, X, W).nbytes == 96


def test_checkpointed_parts_show_what_they_keep():
    inner = ft.checkpoint(
        lambda x: ft.checkpoint_name(np.exp(np.sin(x)), "power") * 2.0, policy=ft.checkpoint_policies.save_names("power")
    )
    found = ft.inspect.residuals(lambda x: np.sum(np.tanh(inner(x))), X)
    assert rows(found) == [
        ("float64[2,3]", "argument", "args[0]"),
        ("float64[2,3]", "computed", "power"),
        ("float64[2,3]", "computed", "tanh"),
    ]
    assert "np.exp(np.sin(x))" in found[1].line
    nested = ft.inspect.residuals(ft.checkpoint(lambda x: np.sum(inner(x))), X)
    assert rows(nested) == [("float64[2,3]", "argument", "args[0]")]


def test_values_are_listed_once():
    found = ft.inspect.residuals(lambda x: np.sum(np.exp(x) * np.exp(x)) + np.sum(x * x), X)
    assert len({item.what for item in found if item.kind == "argument"}) == 1
    same = ft.inspect.residuals(lambda x: (lambda y: np.sum(y * y * y))(np.exp(x)), X)
    assert [item.what for item in same] == ["exp", "multiply"]


@pytest.mark.parametrize("jit", [True, False])
def test_what_loops_and_branches_keep(jit, monkeypatch):
    monkeypatch.setattr(ft.config, "jit", jit)
    xs = np.linspace(0.0, 1.0, 5)

    def scanned(w, **options):
        return ft.scan(lambda c, x: (np.sin(c * w) + x, None), 0.5, xs, **options)[0]

    def chosen(w):
        return ft.cond(w < 1.0, lambda w: np.exp(np.sin(w)), np.square, w)

    found = ft.inspect.residuals(scanned, 0.3)
    assert ("float64[]", "argument", "args[0]") in rows(found)
    stacked = [item for item in found.computed if item.type.shape == (5,)]
    assert stacked and all("test_inspect.py" in item.line for item in stacked)
    assert ft.inspect.residuals(lambda w: scanned(w, checkpoint="sqrt"), 0.3).nbytes < found.nbytes
    assert ("bool[]", "computed", "less") in rows(ft.inspect.residuals(chosen, 0.3))
    assert ft.inspect.residuals(chosen, 0.3).nbytes > 1
