"""Arguments in any memory layout: what NumPy gives, and no copies of large ones."""

import tracemalloc

import numpy as np
import pytest

import functrans as ft

BASE = np.random.default_rng(0).normal(size=(150, 360))
CUBE = np.random.default_rng(1).normal(size=(24, 40, 30))
VIEWS = {
    "transposed": BASE.T,
    "every other row": BASE[::2],
    "every other column": BASE[:, 1::2],
    "some columns": BASE[:, 20:160],
    "backwards": BASE[::-1],
    "both backwards": BASE[::-1, ::-1],
    "one row for all": np.broadcast_to(BASE[0], BASE.shape),
    "one column for all": np.broadcast_to(BASE[:, :1], BASE.shape),
    "windows": np.lib.stride_tricks.sliding_window_view(BASE[0], 120),
    "axes turned": CUBE.transpose(2, 0, 1),
    "axes turned and backwards": CUBE.transpose(1, 0, 2)[:, ::-1],
    "an axis of length one": BASE[:, None, :].T,
    "float32": BASE.astype(np.float32).T,
    "integers": (BASE * 100).astype(np.int64).T,
    "booleans": (BASE > 0)[:, ::2],
}


def many(x, w):
    """Elementwise operations, reductions, structure, products, and a call of NumPy."""
    last = x.shape[-1]
    return (
        np.sin(x), np.sum(np.tanh(x)), np.sum(x, axis=0), np.max(x * 2, axis=-1), np.ravel(x)[10:] + 1,
        x.reshape((*x.shape[:-1], last // 2, 2)) if last % 2 == 0 else x + x, x.T[::2], np.where(x > 0, x, 1)[..., ::-1],
        np.swapaxes(x, -1, -2) @ w[: x.shape[-2]], x @ w[:last], w.T[:, : x.shape[-2]] @ x[..., :5], np.sort(x, axis=0)[:2],
    )  # fmt: skip


def same(actual, expected, name):
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype and np.shape(one) == np.shape(other), name
        tolerance = 1e-4 if other.dtype == np.float32 else 1e-11
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", VIEWS)
def test_layouts_give_what_numpy_gives(name):
    x = VIEWS[name]
    w = np.random.default_rng(2).normal(size=(8, 400)).T.astype(x.dtype if x.dtype.kind == "f" else np.float64)
    f = ft.jit(many)
    same(f(x, w), many(x, w), name)
    same(f(x, w), many(x, w), name)
    assert f.compilations == 1


def test_captured_arrays_and_the_text_of_kernels():
    for name in ("transposed", "both backwards", "one column for all", "windows"):
        captured = VIEWS[name]

        def function(x):
            return np.sum(np.exp(captured) * x, axis=0), captured[::3] - x, np.ravel(captured)[:7], captured @ captured.T

        expected = function(1.5)
        same(ft.jit(function)(1.5), expected, name)
        same(ft.jit(function).lower(1.5).interpret(1.5), expected, name)


def test_captured_arrays_are_read_where_they_lie():
    w = BASE.copy().T
    f = ft.jit(lambda x: np.sum(w * x))
    before = f(2.0)
    w *= 3
    np.testing.assert_allclose(f(2.0), 3 * before)
    small = np.ones((2, 3))
    g = ft.jit(lambda x: small + x)
    g(1.0)
    small.shape = (3, 2)
    with pytest.raises(ft.errors.StructureError, match=r"for float64\[2,3\] got float64\[3,2\](.|\n)*arrays it closes over"):
        g(1.0)


def peak(call):
    call()
    tracemalloc.start()
    call()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_large_arrays_are_not_copied():
    x = np.random.default_rng(0).normal(size=(1024, 1024))
    views = x.T, x[::2], x[:, :1000], x[::-1], np.broadcast_to(x[0], x.shape), np.lib.stride_tricks.sliding_window_view(x[0], 100)
    reduced = ft.jit(lambda x: np.sum(np.tanh(x), axis=1))
    for view in views:
        assert peak(lambda: reduced(view)) < 100_000
    product = ft.jit(lambda x, v: x @ v)
    for view in views[:3]:
        v = np.ones((view.shape[1], 4))
        assert peak(lambda: product(view, v)) < 100_000
        assert product.lower(view, v).compile().memory_analysis().workspace == 0


def test_copies_are_shown():
    backwards = BASE[:, ::-1]
    lowered = ft.jit(lambda x, v: x @ v).lower(backwards, np.ones((360, 80)))
    assert "copy: float64[150,360]" in lowered.kernels() and "tiles" in lowered.kernels()
    assert lowered.compile().memory_analysis().workspace == backwards.nbytes
    flat = ft.jit(lambda x: np.reshape(x, (150, -1)) * 2)
    assert "copy" in flat.lower(BASE.T).kernels() and "copy" not in flat.lower(BASE[:, :180].reshape(150, 2, 90)).kernels()


def test_products_of_matrices_in_any_order():
    x = np.random.default_rng(0).normal(size=(40, 30, 30))
    product = ft.jit(lambda x: (np.einsum("ijk,ikl->ijl", x, x), np.einsum("ijk,ilk->jl", x, x)))
    spread = np.repeat(x, 2, axis=2)[::-1, :, ::2]
    for view in (x[::-1], x[::-2], x[:, ::-1], x[::-1, :, ::-1], x[::-1, 2:29, 3:], x[::-1].swapaxes(1, 2), spread):
        for actual, expected in zip(product(view), product(view.copy())):
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_a_transpose_is_no_copy_before_a_product():
    compiled = ft.jit(lambda x, w: (x @ w.T, x.T @ x)).lower(BASE, np.ones((80, 360))).compile()
    assert compiled.memory_analysis().workspace == 0


def test_small_arrays_of_any_layout_share_a_program():
    f = ft.jit(lambda x: np.sin(x) + 1)
    x = np.linspace(0, 1, 64).reshape(8, 8)
    for view in (x, x.T, x[::-1], np.broadcast_to(x[0], (8, 8))):
        np.testing.assert_array_equal(f(view), f(view.copy()))
    assert f.compilations == 1
    for view in (BASE.T, BASE.T, BASE.T[:, ::-1], BASE.reshape(360, 150)):
        f(view)
    assert f.compilations == 4


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    result = memory.view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def test_unaligned_and_read_only_arrays(tmp_path):
    f = ft.jit(lambda x: np.tanh(x) * 2)
    for x in (BASE, BASE[:3, :4], BASE.T, np.float32(BASE)):
        shifted, frozen = unaligned(x), x.copy()
        frozen.flags.writeable = False
        assert not shifted.flags.aligned
        for argument in (shifted, shifted.T, frozen, frozen.T, frozen[::2]):
            np.testing.assert_allclose(f(argument), np.tanh(argument) * 2, rtol=1e-6)
    fields = np.zeros(20_000, [("flag", np.int32), ("value", np.float64)])
    fields["value"] = np.arange(20_000)
    np.testing.assert_allclose(f(fields["value"]), np.tanh(fields["value"]) * 2, rtol=1e-15)
    mapped = np.memmap(tmp_path / "values", np.float64, "w+", shape=BASE.T.shape, order="F")
    mapped[...] = BASE.T
    result = f(mapped)
    assert type(result) is np.ndarray
    np.testing.assert_allclose(result, np.tanh(BASE.T) * 2, rtol=1e-15)


def test_numbers_and_arrays_without_axes():
    f = ft.jit(lambda x: np.sin(x) + 1)
    for argument in (np.array(0.5), np.float64(0.5), 0.5, np.array(0.5)[..., None][0]):
        assert f(argument) == np.sin(0.5) + 1
    assert type(f(np.array(0.5))) is np.float64


def test_what_is_no_plain_array_is_refused_by_name():
    f = ft.jit(lambda x: x + 1)
    f(BASE), f(BASE)
    with pytest.raises(TypeError, match=r"byte-swapped(.|\n)*newbyteorder"):
        f(BASE.astype(BASE.dtype.newbyteorder()))
    for wrong in (BASE.view(np.matrix), np.ma.masked_array(BASE, BASE > 0)):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            f(wrong)


def test_lowered_programs_know_their_layout():
    compiled = ft.jit(lambda x: np.sum(x, axis=0)).lower(BASE.T).compile()
    np.testing.assert_allclose(compiled(BASE.T), BASE.sum(axis=1))
    with pytest.raises(ft.errors.StructureError, match=r"of strides \(1, 360\) got float64\[360,150\]"):
        compiled(BASE.T.copy(order="C"))


def test_loops_follow_memory():
    x = np.ones((300, 300))
    for function in (lambda x: np.sum(np.tanh(x)), lambda x: np.sum(np.exp(x) * x) + np.max(x)):
        for view in (x, x.T):
            text = ft.jit(function).lower(view).kernels()
            places = ["300 * i + j", "j + 300 * i", "300 * j + k", "k + 300 * j"]  # the last two of rows in blocks
            assert any(f"[{place}]" in text for place in places)
    columns = ft.jit(lambda x: np.sum(np.tanh(x), axis=0)).lower(x).kernels()
    assert "[300 * j + k]" in columns


@pytest.mark.parametrize(
    ("function", "arguments", "donated", "error"),
    [
        (lambda n, e: n**e, (np.array([2, 2]), np.array([3, -1])), 1, ValueError),
        (lambda a: np.abs(np.linalg.cholesky(a)) + 100 * np.eye(2), (np.array([[1.0, 2.0], [2.0, 1.0]]),), 0, np.linalg.LinAlgError),
    ],
)
def test_what_may_fail_is_not_written_over(function, arguments, donated, error):
    with pytest.raises(error):
        ft.jit(function, donate_argnums=donated)(*arguments)
