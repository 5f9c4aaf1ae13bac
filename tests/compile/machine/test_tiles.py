"""Matrix products by tiles: every size, layout and width of vectors, against sums of extended precision."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import functrans as ft
from functrans.compile.machine import tiles

NUMBER = {np.dtype(np.float32): ctypes.c_float, np.dtype(np.float64): ctypes.c_double}


def matrices(rows, summed, columns, x_transposed, y_transposed, dtype, batch=()):
    """Two random operands of ``x @ y``, each perhaps the transpose of what lies in memory."""
    generator = np.random.default_rng(rows + 7 * summed + 31 * columns)

    def matrix(rows, columns, transposed):
        if transposed:
            return np.swapaxes(generator.normal(size=(*batch, columns, rows)).astype(dtype), -1, -2)
        return generator.normal(size=(*batch, rows, columns)).astype(dtype)

    return matrix(rows, summed, x_transposed), matrix(summed, columns, y_transposed)


def assert_as_accurate(got, x, y):
    """Errors are at most four times NumPy's and 4 ulp of the sum of the terms' sizes, as a whole program's may be."""
    exact = x.astype(np.longdouble) @ y.astype(np.longdouble)
    scale = np.abs(x).astype(np.longdouble) @ np.abs(y).astype(np.longdouble)
    eager = np.max(np.abs(x @ y - exact) / scale)
    assert np.max(np.abs(got - exact) / scale) <= 4 * eager + 4 * np.finfo(x.dtype).eps


@given(
    st.tuples(st.integers(1, 70), st.integers(1, 700), st.integers(1, 90)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([(), (2,), (9,)]),
)
@settings(max_examples=25, deadline=None)
def test_products(sizes, x_transposed, y_transposed, dtype, batch):
    x, y = matrices(*sizes, x_transposed, y_transposed, dtype, batch)
    assert_as_accurate(ft.jit(np.matmul)(x, y), x, y)


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_large_product_does_not_depend_on_the_number_of_threads(transposed):
    x, y = matrices(150, 700, 130, *transposed, np.float32)
    product = ft.jit(np.matmul)
    assert "tiles" in product.lower(x, y).kernels()
    together = product(x, y)
    before, ft.config.threads = ft.config.threads, 1
    try:
        np.testing.assert_array_equal(product(x, y), together)
    finally:
        ft.config.threads = before
    assert_as_accurate(together, x, y)


def test_thin_and_huge_products_are_left_to_a_library():
    thin = ft.jit(np.matmul).lower(np.ones((3, 3000), np.float32), np.ones((3000, 400), np.float32))
    huge = ft.jit(np.matmul).lower(np.ones((1024, 1024), np.float32), np.ones((1024, 1024), np.float32))
    assert "BLAS" in thin.kernels() and "BLAS" in huge.kernels()


@pytest.mark.parametrize("registers", [(64, 32), (32, 16), (16, 32), (16, 16)], ids=lambda pair: "x".join(map(str, pair)))
@pytest.mark.parametrize("name", tiles.ROUTINES)
def test_any_vector_registers(monkeypatch, registers, name):
    monkeypatch.setattr(tiles, "vector_registers", lambda: registers)
    dtype, height = tiles.ROUTINES[name], tiles.height()
    code = tiles.routine_code(name)
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * len(tiles.Sizes._fields))(code.address(name))
    rows, summed, columns, depth = 3 * height - 1, 37, 45, 16
    for x_transposed, y_transposed in np.ndindex(2, 2):
        x, y = matrices(rows, summed, columns, x_transposed, y_transposed, dtype)
        out, room = np.full((rows, columns), np.nan, dtype), np.full(100_000, np.nan, dtype)
        steps = [step // dtype.itemsize for step in (*x.strides, *y.strides)]
        panels = -(-columns // (tiles.VECTORS * tiles.lanes_of(dtype)))
        sizes = tiles.Sizes(rows, summed, columns, *steps, depth, 2, 0, 3, 0, panels)
        function(x.ctypes.data, y.ctypes.data, out.ctypes.data, room.ctypes.data, *sizes)
        assert_as_accurate(out, x, y)


def test_routine_is_kept_on_disk(tmp_path):
    script = f"""
import sys
import numpy as np, functrans as ft
from functrans.compile.machine import tiles
from functrans.compile.run import routines
ft.config.cache_dir = {str(tmp_path)!r}
compiled = []
routines.routine_code = lambda name: compiled.append(name) or tiles.routine_code(name)
x = np.ones((90, int(sys.argv[1])))
assert float(ft.jit(np.matmul)(x, x.T)[0, 0]) == x.shape[1]
print(compiled)
"""
    runs = [subprocess.run([sys.executable, "-c", script, size], capture_output=True, text=True, check=True) for size in ("90", "95")]
    assert [run.stdout for run in runs] == ["['tiled_float64']\n", "[]\n"]


def test_routine_that_two_threads_ask_for_at_once():
    script = """
import threading, time
import numpy as np, functrans as ft
from functrans.compile.machine import tiles
from functrans.compile.run import routines
ft.config.disk_cache = False
compiled = []
routines.routine_code = lambda name: (tiles.routine_code(name), compiled.append(name), time.sleep(0.3))[0]

def multiply(size):
    x, product = np.ones((90, size)), ft.jit(np.matmul)
    assert all(float(product(x, x.T)[0, 0]) == size for _ in range(10))

threads = [threading.Thread(target=multiply, args=(size,)) for size in (90, 95)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
multiply(100)
assert compiled == ["tiled_float64"]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
