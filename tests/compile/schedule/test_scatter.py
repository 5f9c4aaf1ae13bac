"""Index arrays in compiled code: gathers and scatters in kernels, as NumPy's, and indices out of bounds."""

import numpy as np
import pytest

import functrans as ft
from functrans.compile.emit import resources
from functrans.compile.schedule import scatter
from functrans.ops.indexing import ARRAY, Slice, getitem, index_add, index_set

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(7, 5, 130))
ROWS, COLUMNS = GENERATOR.integers(-5, 5, size=(3, 2)), GENERATOR.integers(-5, 5, size=2)
ALL = Slice(None, None, None)

GATHERS = [
    lambda x, i, j: x[i],
    lambda x, i, j: x[:, i],
    lambda x, i, j: x[i, :, j],
    lambda x, i, j: x[1, :, j],
    lambda x, i, j: x[:, 1, j],
    lambda x, i, j: x[:, i, None, j],
    lambda x, i, j: x[None, i, j],
    lambda x, i, j: x[..., i],
    lambda x, i, j: x[i, j, j],
    lambda x, i, j: x[i, 1:3, None, None, j],
    lambda x, i, j: x[i.astype(np.int8), j.astype(np.int16)],
    lambda x, i, j: np.sum(x[i] * 2, axis=0),
    lambda x, i, j: np.exp(x)[j, 1:, 0],
    lambda x, i, j: np.max(x, axis=2)[j, j],
    lambda x, i, j: np.take_along_axis(x, np.argsort(x, axis=2), axis=2),
]
SCATTERS = [
    ((ARRAY,), (ROWS,)),
    ((ALL, ARRAY), (ROWS,)),
    ((ARRAY, Slice(1, 4, 2), ARRAY), (ROWS, COLUMNS)),
    ((1, ALL, ARRAY), (COLUMNS,)),
    ((ARRAY, ARRAY, ARRAY), (ROWS, COLUMNS, COLUMNS)),
    ((Slice(None, None, -1), ARRAY, None, ARRAY), (ROWS, COLUMNS)),
    ((ARRAY, ARRAY, Slice(0, 127, None)), (ROWS, COLUMNS)),
]


def checked(function, *arguments):
    """Compiled and interpreted results equal NumPy's; gives the kernels' text."""
    lowered = ft.jit(function).lower(*arguments)
    expected = ft.tree.leaves(function(*arguments))
    for results in (lowered.compile()(*arguments), lowered.interpret(*arguments)):
        for actual, one in zip(ft.tree.leaves(results), expected, strict=True):
            assert (actual.shape, actual.dtype) == (one.shape, one.dtype)
            np.testing.assert_allclose(actual, one, rtol=1e-14)
    return lowered.kernels()


def test_gathers():
    text = checked(lambda x, i, j: [gather(x, i, j) for gather in GATHERS], X, ROWS, COLUMNS)
    assert "NumPy: getitem" not in text


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_scatters(dtype):
    x = (10 * X).astype(dtype)

    def every(x, values):
        results = []
        for (index, arrays), value in zip(SCATTERS, values):
            results.append(index_add(x * 2, value * 3, *arrays, index=index))
            results.append(index_set(np.zeros_like(x), value, *arrays, index=index))
        return results

    values = [GENERATOR.normal(size=getitem(X, *arrays, index=index).shape) for index, arrays in SCATTERS]
    assert "NumPy" not in checked(every, x, [(10 * value).astype(dtype) for value in values])


@pytest.mark.parametrize("dtype", [np.complex64, np.float64, np.float32])
@pytest.mark.parametrize("rows_granule", [1, 3])
def test_parts_of_rows(monkeypatch, dtype, rows_granule):
    """What starts as zeros, or another number, is filled and written into part by part, by several threads."""
    monkeypatch.setattr(ft.config, "threads", 3)
    monkeypatch.setattr(resources, "WORTH_DIVIDING", 0)
    for name, limit in {"ROWS_BYTES": 64, "ROWS_GRANULE": rows_granule, "LOOK_BYTES": 1}.items():
        monkeypatch.setattr(scatter, name, limit)
    x, spread = np.zeros((7, 5, 13)), np.arange(20) % 7

    gathers = [
        lambda x: x[ROWS],
        lambda x: x[ROWS, 1:4:2],
        lambda x: x[ROWS, None, COLUMNS],
        lambda x: x[spread, 3] ** 2,
        lambda x: x[spread, ..., ::-1],
    ]

    def every(x):
        def total(gather, x):
            selected = gather(x)
            return np.sum(selected**2 * np.arange(selected.size).reshape(selected.shape)).real

        return [ft.grad(total, 1)(gather, x) for gather in gathers]

    text = checked(every, (x + 1).astype(dtype))
    assert text.count("in range(0, min(") == 5
    gradient = ft.jit(ft.grad(lambda x, rows: np.sum(x[rows] ** 2)))
    with pytest.raises(IndexError, match="index 7 is out of bounds"):
        gradient(x, np.array([0, 7]))


def test_memory_is_cleared_by_the_system():
    spread = np.arange(0, 100_000, 7)
    gradient = ft.jit(ft.grad(lambda x: np.sum(x[spread] ** 2))).lower(np.ones(100_000)).compile()
    assert "@llvm.memset" in gradient.llvm()
    np.testing.assert_array_equal(np.flatnonzero(gradient(np.ones(100_000))), spread)


def test_sums_at_equal_indices_do_not_depend_on_threads(monkeypatch):
    rows, values = GENERATOR.integers(0, 50, 4000), GENERATOR.normal(size=(4000, 256)).astype(np.float32)
    gradient = ft.jit(ft.grad(lambda table, values: np.sum(table[rows] * values)))
    expected = np.zeros((50, 256), np.float32)
    np.add.at(expected, rows, values)
    for threads in (1, 2, 5):
        monkeypatch.setattr(ft.config, "threads", threads)
        np.testing.assert_array_equal(gradient(np.zeros((50, 256), np.float32), values), expected)


@pytest.mark.parametrize("place", [5, -6, 2**40, -(2**63)])
def test_out_of_bounds(place):
    """Raises what NumPy raises, with the line; the next call works."""
    double = ft.jit(lambda x, i: 2 * x[i])
    x, good, bad = np.arange(5.0), np.array([0, -5, 4]), np.array([0, place, 4])
    np.testing.assert_array_equal(double(x, good), [0, 0, 8])
    for _ in range(2):
        with pytest.raises(IndexError, match=rf"jit: getitem of float64\[5\], int64\[3\]: index {place} is out of bounds") as caught:
            double(x, bad)
        assert "double = ft.jit(lambda x, i: 2 * x[i])" in str(caught.value)
    np.testing.assert_array_equal(double(x, good), [0, 0, 8])


def test_out_of_bounds_in_many_places():
    """In a gradient, beside calls of NumPy, in a large loop on several threads, and into an axis without elements."""
    x, indices = np.ones((100, 50)), np.arange(200_000) % 100
    total = ft.jit(ft.value_and_grad(lambda x, i: np.sum(np.tanh(x[i]))))
    sort = ft.jit(lambda x, i: np.sort(x)[i])
    assert total(x, indices)[1].shape == sort(x, indices[:100]).shape == (100, 50)
    indices[123_456] = 100
    with pytest.raises(IndexError, match="index 100 is out of bounds for axis 0 with size 100"):
        total(x, indices)
    with pytest.raises(IndexError, match="index 100 is out of bounds"):
        sort(x, np.array([1, 100]))
    with pytest.raises(IndexError, match="out of bounds"):
        ft.jit(lambda x, i: x[:0][i])(x, np.array([0]))
    assert ft.jit(lambda x, i: x[:0][i])(x, np.zeros(0, int)).shape == (0, 50)


def test_errors_of_programs_name_the_line_of_the_operation():
    program = ft.make_program(lambda x, i: np.sum(x[i]))(np.ones(3), np.array([1]))
    for call in (program, ft.grad(program)):
        with pytest.raises(IndexError, match=r"getitem of float64\[3\], int64\[1\]") as caught:
            call(np.ones(3), np.array([7]))
        assert "program = ft.make_program(lambda x, i: np.sum(x[i]))" in str(caught.value)


def test_scatters_into_narrow_rows_are_not_divided(monkeypatch):
    """Rounds that may write into the same element follow each other."""
    monkeypatch.setattr(ft.config, "threads", 4)
    rows, values = GENERATOR.integers(0, 3, 200_000), GENERATOR.normal(size=200_000)
    gradient = ft.jit(ft.grad(lambda x, values: np.sum(x[rows] * values)))
    expected = np.zeros(3)
    np.add.at(expected, rows, values)
    np.testing.assert_array_equal(gradient(np.zeros(3), values), expected)


def test_complex_numbers_are_added_in_order():
    generator = np.random.default_rng(0)
    numbers, values = generator.integers(0, 50, size=100_000), generator.normal(size=(100_000, 2)) @ [1, 1j]
    expected = np.zeros(50, np.complex128)
    np.add.at(expected, numbers, values)
    add = ft.jit(lambda x, numbers, values: ft.numpy.asarray(x).at[numbers].add(values))
    np.testing.assert_array_equal(add(np.zeros(50, np.complex128), numbers, values), expected)


def test_rows_of_any_length_and_dtype(monkeypatch):
    """Parts of rows are whole vectors, and last rounds write nothing that other threads do."""
    monkeypatch.setattr(ft.config, "threads", 3)
    rows = GENERATOR.integers(0, 10, 7)

    def every(tables, values):
        return [index_add(table, value, rows, index=(ARRAY,)) for table, value in zip(tables, values)]

    dtypes = [np.complex64, np.complex128, np.float64, np.float32, np.float16, np.int8]
    lengths = [32, 63, 65, 128, 200, 257]
    tables, values = (
        [(10 * GENERATOR.normal(size=(count, n))).astype(dtype) for dtype in dtypes for n in lengths] for count in (10, 7)
    )
    for actual, expected in zip(ft.jit(every)(tables, values), every(tables, values), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_last_rounds_of_a_part_leave_other_parts_alone(monkeypatch):
    monkeypatch.setattr(ft.config, "threads", 3)
    add = ft.jit(lambda x, rows, value: index_add(x, np.broadcast_to(value, (300_000, 65)), rows, index=(ARRAY,)))
    for _ in range(4):
        np.testing.assert_array_equal(add(np.zeros((1, 65)), np.zeros(300_000, int), np.ones(65)), np.full((1, 65), 3e5))


def test_sums_of_negative_zeros():
    x, value = np.full((4, 9), -0.0), np.full((2, 9), -0.0)
    assert np.signbit(ft.jit(lambda x, v: index_add(x, v, np.array([0, 1]), index=(ARRAY,)))(x, value)).all()
