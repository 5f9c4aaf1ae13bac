"""Programs: their text, their checker, and what staging records."""

import dataclasses

import numpy as np
import pytest

import functrans as ft
from functrans.core.program import Variable, check, without_dead_code
from functrans.core.types import ArrayType

X = np.ones((2, 3), np.float32)


def test_text():
    weights = np.ones(3)

    def model(x, scale):
        y = np.where(x > 0, x @ weights.astype(np.float32)[:, None], 0)
        return {"mean": np.mean(y) * scale, "top": np.max(y, axis=0)}

    assert (
        str(ft.make_program(model)(X, 2.0))
        == """\
program model(a: float32[2,3], b: float64[]*; c: float32[3,1]) -> (i, j)
  d: bool[2,3] = greater(a, 0)
  e: float32[2,1] = contract(a, c; subscripts='ij,jk->ik')
  f: float32[2,3] = where(d, e, 0)
  g: float32[] = sum(f; axes=(0, 1))
  h: float32[] = divide(g, 6)
  i: float32[] = multiply(h, b)
  j: float32[3] = max(f; axes=(0,))"""
    )


def test_the_checker_finds_what_is_wrong():
    program = ft.make_program(lambda x: np.sin(x) * 2.0)(1.0)
    sine, product = program.equations
    stranger = Variable(ArrayType((), np.dtype(np.float64)))
    wrong_type = dataclasses.replace(sine, outputs=(Variable(ArrayType((2,), np.dtype(np.float64))),))
    cases = {
        "used before it is defined": dataclasses.replace(program, equations=(product, sine)),
        "an output is not defined": dataclasses.replace(program, outputs=(stranger,)),
        "type rule gives": dataclasses.replace(program, equations=(wrong_type,), outputs=wrong_type.outputs),
        "defined twice": dataclasses.replace(program, equations=(sine, sine, product)),
    }
    assert check(program) is program
    for message, faulty in cases.items():
        with pytest.raises(ft.errors.ProgramError, match=message):
            check(faulty)


def test_dead_code_is_dropped():
    unused = np.ones(3)
    program = ft.make_program(lambda x: (np.sum(x * unused), np.sin(x))[1])(np.ones(3))
    assert len(program.equations) == 3
    live = without_dead_code(program)
    assert [equation.primitive.name for equation in live.equations] == ["sin"]
    assert live.values == ()


def test_captured_arrays_are_bound_once_and_by_reference():
    table = np.ones(3)
    program = ft.make_program(lambda x: x * table + table)(np.ones(3))
    assert program.values == (table,) and program.values[0] is table
    table[:] = 5.0
    np.testing.assert_array_equal(program(np.ones(3)), np.full(3, 10.0))


def test_values_are_freed_after_their_last_use():
    """Evaluating a long chain needs a few arrays, not all of them."""
    import tracemalloc

    def chain(x):
        for _ in range(50):
            x = np.sin(x)
        return x

    x = np.ones(100_000)
    program = ft.make_program(chain)(x)
    program(x)
    tracemalloc.start()
    program(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * x.nbytes
