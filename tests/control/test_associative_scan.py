"""`associative_scan` against a Python loop."""

import itertools

import numpy as np
import pytest

import functrans as ft
from functrans.testing import check_grads

rng = np.random.default_rng(0)


def by_hand(fn, elems, reverse=False, axis=0):
    """The prefixes one after the other."""
    leaves, structure = ft.tree.flatten(elems)
    slices = [
        ft.tree.unflatten(structure, [np.take(leaf, [i], axis) for leaf in leaves]) for i in range(leaves[0].shape[axis])
    ]
    found = list(itertools.accumulate(slices[::-1] if reverse else slices, fn))
    return ft.tree.map(lambda *parts: np.concatenate(parts, axis), *(found[::-1] if reverse else found))


def affine(a, b):
    """First x -> a0 x + a1, then b: not commutative."""
    return {"slope": a["slope"] * b["slope"], "shift": (b["slope"] * a["shift"][0] + b["shift"][0],)}


def lines(n):
    return {"slope": rng.standard_normal((n, 2)), "shift": (rng.standard_normal((n, 2)),)}


@pytest.mark.parametrize("length", range(1, 18))
@pytest.mark.parametrize("reverse", [False, True])
def test_every_length(length, reverse):
    elems = lines(length)
    actual, expected = ft.associative_scan(affine, elems, reverse), by_hand(affine, elems, reverse)
    for one, other in zip(ft.tree.leaves(actual), ft.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_axes(axis):
    x = rng.standard_normal((4, 5, 3))
    np.testing.assert_allclose(ft.associative_scan(np.add, x, axis=axis), np.cumsum(x, axis), rtol=1e-12)
    np.testing.assert_array_equal(ft.associative_scan(np.maximum, x, axis=axis), np.maximum.accumulate(x, axis))


def test_matrices_and_integers():
    matrices = rng.standard_normal((6, 2, 2))
    np.testing.assert_allclose(ft.associative_scan(np.matmul, matrices), by_hand(np.matmul, matrices))
    backward = by_hand(np.matmul, matrices, reverse=True)
    np.testing.assert_allclose(ft.associative_scan(np.matmul, matrices, reverse=True), backward)
    counts = ft.associative_scan(np.add, np.arange(9))
    assert counts.dtype == np.int64 and counts.tolist() == np.cumsum(np.arange(9)).tolist()


def test_nothing_to_combine():
    assert ft.associative_scan(np.add, np.zeros((0, 3))).shape == (0, 3)
    assert ft.associative_scan(np.add, np.ones((2, 0)), axis=1).shape == (2, 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_derivatives_and_batches(reverse):
    function = lambda elems: ft.associative_scan(affine, elems, reverse)
    check_grads(function, (lines(7),), order=3, rtol=1e-5)
    batch = ft.tree.map(lambda *parts: np.stack(parts), lines(5), lines(5), lines(5))
    batched = ft.vmap(function)(batch)
    for item in range(3):
        one = function(ft.tree.map(lambda leaf: leaf[item], batch))
        for got, expected in zip(ft.tree.leaves(batched), ft.tree.leaves(one)):
            np.testing.assert_allclose(got[item], expected, rtol=1e-12)


def test_few_calls_on_few_elements():
    sizes = []

    def counted(a, b):
        sizes.append(len(a))
        return a + b

    ft.associative_scan(counted, np.ones(1024))
    assert len(sizes) <= 2 * 10 and sum(sizes) < 2 * 1024


@pytest.mark.parametrize(
    "fn, elems, axis, message",
    [
        (lambda a, b: (a, b), np.ones(4), 0, r"what the function returns has structure(.|\n)*Remedy"),
        (lambda a, b: np.sum(a + b), np.ones(4), 0, r"returns is float64\[\], and each of its arguments is float64\[2\]\n  Remedy: combine"),
        (
            lambda a, b: {"x": a["x"] * b["x"] * 1.0}, {"x": np.arange(4)}, 0,
            r"returns at \['x'\] is float64\[2\], and each of its arguments is int64\[2\] there",
        ),
        (np.add, [np.ones(4), np.ones(3)], 0, r"one length along axis 0, got elems\[0\] is float64\[4\]"),
        (np.add, np.ones(4), 1, r"elems is float64\[4\], and has no axis 1"),
        (np.add, [], 0, "no arrays"),
    ],
)
def test_errors(fn, elems, axis, message):
    with pytest.raises(ft.errors.StructureError, match=rf"associative_scan of (.|\n)*{message}(.|\n)*test_associative_scan.py"):
        ft.associative_scan(fn, elems, axis=axis)
