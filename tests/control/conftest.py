"""Fixtures of the tests of loops and branches."""

import pytest

import functrans as ft


@pytest.fixture
def interpreted():
    """Loops and branches run in Python: what is tested is what derivatives and batches are made of."""
    ft.config.jit = False
    yield
    ft.config.jit = True
