"""Bodies that are staged again are the same programs, so that what is made of them is made once."""

import numpy as np
import pytest

import functrans as ft


def power(x, factor=2.0, steps=3):
    return ft.fori_loop(0, steps, lambda i, y: y * x * factor, x)


def square_root(x, least=1e-9):
    return ft.while_loop(lambda y: np.abs(y * y - x) > least, lambda y: 0.5 * (y + x / y), x)


def cumulative(x, sign=1.0):
    return ft.scan(lambda c, _: (c + sign * np.sin(c * x), None), x, None, length=9)[0]


def in_segments(x, sign=1.0):
    return ft.scan(lambda c, _: (c + sign * np.sin(c * x), None), x, None, length=9, checkpoint="sqrt")[0]


def either(x, shift=1.0):
    return ft.cond(x > 0, lambda x: np.sin(x) + shift, lambda x: x * x, x)


def block(x, factor=2.0):
    return ft.checkpoint(lambda x: np.sin(x) * factor)(x)


def programs(function, *args):
    """The programs of the control primitives of a function."""
    return [program for equation in ft.make_program(function)(*args).equations for program in equation.programs]


@pytest.mark.parametrize("function", [power, square_root, cumulative, in_segments, either, block])
def test_equal_bodies_are_one_program(function):
    first, second = (programs(function, 0.5) for _ in range(2))
    assert first
    assert all(one is other for one, other in zip(first, second, strict=True))
    other_number = programs(lambda x: function(x, 0.25), 0.5)
    assert any(one is not other for one, other in zip(first, other_number))
    other_type = programs(function, np.float32(0.5))
    assert not set(map(id, first)) & set(map(id, other_type))


def test_calls_in_the_same_line_after_many_others():
    for _ in range(30):  # Python replaces instructions of code that runs often
        found = [programs(square_root, 2.0) for _ in range(2)]
    assert all(one is other for one, other in zip(*found, strict=True))


def test_results_are_those_of_each_call():
    for number in (1.0, 2.0, 3.0):
        assert power(2.0, number) == 2.0 * (2.0 * number) ** 3
        assert ft.grad(power)(2.0, number) == pytest.approx(4 * (2.0 * number) ** 3)
    for least in (10.0, 1e-9):
        assert abs(square_root(4.0, least) - 2.0) < (1e-8 if least < 1 else 3)
