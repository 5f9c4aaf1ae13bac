"""Fixtures of the tests of loops and branches."""

import gc
import tracemalloc

import pytest

import functrans as ft


@pytest.fixture
def interpreted():
    """Loops and branches run in Python: what is tested is what derivatives and batches are made of."""
    ft.config.jit = False
    yield
    ft.config.jit = True


@pytest.fixture
def compiled(interpreted):
    """Loops run in machine code, where other tests of the file interpret them."""
    ft.config.jit = True


@pytest.fixture
def peak():
    """The most memory a call takes, in bytes, but for that of its result."""

    def measured(function, *args):
        function(*args)
        gc.collect()
        tracemalloc.start()
        try:
            result = function(*args)
            return tracemalloc.get_traced_memory()[1] - sum(leaf.nbytes for leaf in ft.tree.leaves(result))
        finally:
            tracemalloc.stop()

    return measured
