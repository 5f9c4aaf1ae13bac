"""Identities that say where values are kept."""

import gc
import mmap
import os

import numpy as np
import pytest

import functrans as ft
from functrans.ops.recomputation import barrier, offload

X, Y, Z = np.arange(6.0).reshape(2, 3), np.arange(3.0), np.ones(2)


def passed(x, y, z):
    first, second = barrier(np.sin(x), y, z, count=2)
    return first * second


def test_a_barrier_gives_its_first_operands():
    results = barrier(X, Y, Z, count=2)
    assert results[0] is X and results[1] is Y and len(results) == 2
    assert barrier(X, Y, count=0) == ()


def test_a_barrier_is_an_identity_to_all_transforms():
    plain = lambda x, y, z: np.sin(x) * y
    ft.testing.check_grads(lambda x, y: passed(x, y, Z), (X, Y), order=3)
    total = lambda f: ft.grad(lambda *args: np.sum(f(*args)), (0, 1, 2))
    for one, other in zip(total(passed)(X, Y, Z), total(plain)(X, Y, Z)):
        np.testing.assert_array_equal(one, other)
    batch = lambda f: ft.vmap(f, (0, None, 0))(X, Y[:1], Z)
    np.testing.assert_array_equal(batch(passed), batch(plain))
    np.testing.assert_array_equal(ft.jit(passed)(X, Y, Z), plain(X, Y, Z))
    assert ft.make_program(passed)(X, Y, Z).has_effect is False


@pytest.mark.parametrize(
    "x", [X, X.T, X[:, ::2], np.arange(4, dtype=np.int8), np.zeros((0, 3)), np.float64(2.0), 3.0], ids=repr
)
def test_offloading_copies_values(x, tmp_path):
    copy = offload(x, folder=str(tmp_path))
    np.testing.assert_array_equal(copy, x)
    assert type(copy) is type(x) and os.listdir(tmp_path) == []
    if np.ndim(x) and np.size(x):
        assert isinstance(copy.base, mmap.mmap) and not np.shares_memory(copy, x)
        copy += 1
        np.testing.assert_array_equal(copy, x + 1)


def test_offloaded_arrays_take_their_files_with_them(tmp_path):
    held = offload(np.ones(2**17), folder=str(tmp_path))
    view = held[1:]
    del held
    gc.collect()
    assert view.sum() == 2**17 - 1
    del view
    gc.collect()
    assert not [item for item in gc.get_objects() if type(item) is mmap.mmap]
