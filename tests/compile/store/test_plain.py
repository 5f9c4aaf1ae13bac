"""Plain data is read as it was written, to the last bit."""

import json

import numpy as np
import pytest

import functrans as ft
from functrans.compile.store.plain import NotPlain, decoded, encoded, program_data, program_of, structure_data, structure_of
from functrans.core.program import Literal
from functrans.core.types import ArrayType
from functrans.ops.indexing import Slice


def read_again(data):
    return json.loads(json.dumps(data))


VALUES = [
    None, True, 3, 10**30, "text\n\u00e9\ud800", 0.1, -0.0, np.inf, -np.inf, 5e-324, 1 / 3, complex(-0.0, np.inf), (),
    (1, (2.5, [None])), {"a": 1, 2: (3,)}, np.float32(0.1), np.float64(-0.0), np.longdouble(1) / 3, np.complex64(1 - 2j),
    np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.float16(0.1), np.dtype(np.float32), np.dtype(np.bool_),
    np.dtype(np.complex128), Slice(None, 3, -1), ArrayType((3, 0), np.dtype(np.int16)),
    ArrayType((), np.dtype(np.float64), True), Literal(np.float32(2)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values(value):
    result = decoded(read_again(encoded(value)))
    assert type(result) is type(value) and repr(result) == repr(value)
    if isinstance(value, np.generic):
        assert result.dtype == value.dtype and result.tobytes() == value.tobytes()


def test_nan_and_its_sign():
    for value in (np.float64(np.nan), -np.float32(np.nan)):
        assert decoded(read_again(encoded(value))).tobytes() == value.tobytes()
    assert np.isnan(decoded(read_again(encoded(float("nan")))))


class Number(float):
    pass


@pytest.mark.parametrize(
    "value", [Number(1.0), np.ones(3), len, np.str_("a"), np.dtype([("a", float)]), (1, {2: len})], ids=repr
)
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(NotPlain):
        encoded(value)


def test_programs():
    w = np.arange(6.0).reshape(3, 2)
    program = ft.make_program(lambda x, n: (np.pad(x @ w, 1)[1:, ::-1] * n, 2.5, x.sum() > -0.0))(np.ones((4, 3)), 2)
    text = program_data(program)
    again = program_of(read_again(text), program.name, program.values, (program.input_structure, program.output_structure))
    assert str(again) == str(program) and program_data(again) == text
    x = np.random.default_rng(0).normal(size=(4, 3))
    for actual, expected in zip(again(x, 3), program(x, 3)):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "tree", [None, 1.0, (), {"a": [1.0, None], 3: (2.0, {})}, (({"b": 1, "a": 2},), {"k": None})], ids=repr
)
def test_structures(tree):
    structure = ft.tree.structure(tree)
    assert structure_of(read_again(structure_data(structure))) == structure
