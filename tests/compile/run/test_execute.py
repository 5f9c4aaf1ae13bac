"""Programs with calls of NumPy in them: the same results, errors, layouts and lifetimes as without compilation."""

import threading
import tracemalloc

import numpy as np
import pytest

import functrans as ft

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(4, 3))


def same(actual, expected):
    actual, structure = ft.tree.flatten(actual)
    expected, wanted = ft.tree.flatten(expected)
    assert structure == wanted
    for one, other in zip(actual, expected, strict=True):
        assert type(one) is type(other) and np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_allclose(one, other, rtol=1e-12)


def mixed(x, n, scale):
    """Calls first, last, one after the other and between loops; scalars between; results of both and of neither."""
    order = np.argsort(x, axis=0)
    totals = np.cumsum(np.sin(x) * scale, axis=1)
    size = np.prod(totals[0]) * n
    wave = np.abs(np.conjugate(x * (1 + 2j))[::-1])
    return {"order": order, "size": size, "more": [np.cumprod(wave * size, axis=0) + totals, x, n, 3, 2.5, 1j, True, None]}


def test_calls_among_loops():
    compiled = ft.jit(mixed)
    arguments = (X, 2, np.float64(0.3)), (X.T[::-1, :3][:, ::-1].T.copy()[:, :3], 2, np.float64(0.3))
    for x, n, scale in (*arguments, (np.asfortranarray(X), 2, np.float64(0.3))):
        for _ in range(2):
            expected = mixed(x, n, scale)
            expected["more"][6] = True
            same(compiled(x, n, scale), expected)
    text = compiled.lower(*arguments[0]).kernels()
    assert "# NumPy: argsort of float64[4,3]" in text and "# NumPy: cumsum of float64[4,3]" in text


def test_numbers_of_every_kind_go_in_and_come_out():
    for function in (lambda x: x * 2, lambda x: (x + x, x), lambda x: np.cumsum(np.stack([x, x]))[1] * 2):
        compiled = ft.jit(function)
        for value in (3, 2.5, 1.5 - 2j, np.float32(2.5), np.int8(3), np.complex64(1j), np.float16(0.5), np.longdouble(0.1)):
            same(compiled(value), function(value))
            same(compiled(value), function(value))
    assert ft.jit(lambda n: -n)(-(2**63) + 1) == 2**63 - 1
    with pytest.raises(OverflowError, match="1000000000000000000000 does not fit int64(.|\n)*Remedy: pass a float"):
        ft.jit(lambda n: n + 1)(10**21)


def test_arrays_that_are_equal_in_type_but_not_the_same():
    doubled = ft.jit(lambda x: x * 2)
    unaligned = np.frombuffer(b"\0" + np.ones(3).tobytes(), np.uint8)[1:].view(np.float64)
    noted = np.ones(3, np.dtype(np.float64, metadata={"unit": "m"}))
    for x in (np.arange(3, dtype=np.longlong), np.arange(3, dtype=np.int64), unaligned, noted, np.ones((3, 2))[:, 0]):
        for _ in range(2):
            np.testing.assert_array_equal(doubled(x), x * 2)


def test_results_are_the_callers_own():
    w = np.ones(3)
    x = np.arange(3.0)
    functions = [
        lambda x: (x, x.copy(), x * 1, w),
        lambda x: (x + 1, x + 1),
        lambda x: (np.cumsum(x), np.cumsum(x), np.reshape(np.cumsum(x * 1j), (3, 1)).T),
    ]
    for function in functions:
        for _ in range(2):
            results = ft.jit(function)(x)
            for place, result in enumerate(results):
                others = [x, w, *results[:place], *results[place + 1 :]]
                assert result.flags.owndata and not any(np.may_share_memory(result, other) for other in others)
                np.testing.assert_array_equal(result, function(x)[place])


def test_a_concatenation_is_stored_before_and_after_a_call():
    def function(x):
        return np.concatenate([x * 2, np.cumsum(x), np.sin(x), np.cumsum(x * 3)])

    np.testing.assert_allclose(ft.jit(function)(X[0]), function(X[0]), rtol=1e-15)


def test_captured_arrays_in_any_layout_are_read_at_each_call():
    w = np.ones((3, 4)).T
    compiled = ft.jit(lambda x: np.cumsum(x * w))
    for factor in (1.0, 2.0):
        w[:] = factor
        for _ in range(2):
            np.testing.assert_allclose(compiled(X), np.cumsum(X * w))


def test_errors_of_calls_name_the_line_and_leave_the_function_usable():
    compiled = ft.jit(lambda a: np.linalg.inv(np.cumsum(a, axis=0) * 1j).imag)  # the line
    good, bad = np.eye(2), np.zeros((2, 2))
    for _ in range(2):
        np.testing.assert_allclose(compiled(good), [[-1, 0], [1, -1]])
        with pytest.raises(np.linalg.LinAlgError, match=r"jit: inv of complex128\[2,2\]: Singular matrix") as caught:
            compiled(bad)
        assert "# the line" in str(caught.value)


def test_no_warnings(recwarn):
    """Of NumPy's calls, and where NumPy is to say why an operation failed."""
    np.testing.assert_array_equal(ft.jit(lambda x: np.cumprod(x * 1e300))(np.full(3, 1e300)), np.inf)
    with pytest.raises(IndexError, match="index 7 is out of bounds"):
        ft.jit(lambda x, i: np.log(x)[i])(-np.ones(3), np.array([7]))
    assert not recwarn.list


def test_values_are_dropped_after_their_last_use():
    size = 2**20

    def chain(x):
        for _ in range(6):
            x = np.cumsum(np.sin(x))
        return x

    compiled, x = ft.jit(chain), np.ones(size)
    compiled(x)
    tracemalloc.start()
    try:
        compiled(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * 8 * size
    assert ft.jit(chain).lower(x).compile().memory_analysis().between == 2 * 8 * size


def test_callers_at_once():
    compiled = ft.jit(mixed)
    arguments = [(GENERATOR.normal(size=(4, 3)), n, np.float64(0.3)) for n in range(8)]
    expected = [mixed(*own) for own in arguments]
    right = []

    def work(own, wanted):
        for _ in range(50):
            same(compiled(*own), wanted)
        right.append(True)

    workers = [threading.Thread(target=work, args=pair) for pair in zip(arguments, expected)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(right) == 8 and compiled.compilations == 1


def test_a_dropped_program_may_still_be_called(monkeypatch):
    monkeypatch.setattr("functrans.compile.jit.CACHE_SIZE", 1)
    compiled = ft.jit(lambda x: x + 1)
    compiled(X)
    compiled(x=X)  # the program of the positional argument is dropped
    compiled(x=X[0])
    np.testing.assert_array_equal(compiled(X), X + 1)
