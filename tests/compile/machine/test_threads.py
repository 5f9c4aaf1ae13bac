"""Threads: the same results for any number of them, from several callers at once, after a fork, under each layer."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import functrans as ft
from functrans.config import settings


def function(x):
    y = np.tanh(x * 1.5) + np.sin(x)
    return y, np.max(np.exp(-y), axis=1), np.sum(y, axis=0)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    x = np.random.default_rng(0).normal(size=(301, 401))
    compiled = ft.jit(function)
    results = []
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(settings, "threads", threads)
        results.append(compiled(x))
    for other in results[1:]:
        for one, first in zip(other, results[0]):
            np.testing.assert_array_equal(one, first)


SCRIPT = """
import multiprocessing, os, sys, threading
import numpy as np
import functrans as ft
from functrans.compile.machine.threads import layer

def function(x):
    return np.sum(np.tanh(x) ** 2, axis=1)

compiled = ft.jit(function)
x = np.random.default_rng(0).normal(size=(400, 500))
expected = function(x)

def right(_=None):
    return bool(np.allclose(compiled(x), expected, rtol=1e-12))

if __name__ == "__main__":
    assert right() and layer() == sys.argv[1]
    answers = []
    def work():
        answers.extend(right() for _ in range(20))
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == [True] * 80
    child = os.fork()
    if child == 0:
        os._exit(0 if right() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert all(pool.map(right, range(4))), method
    print("right")
"""


LIBRARIES = os.path.join(sys.prefix, "lib")
WITHOUT_TBB = pytest.mark.skipif(not os.path.exists(os.path.join(LIBRARIES, "libtbb.so.12")), reason="TBB is not installed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue", pytest.param("tbb", marks=WITHOUT_TBB)])
def test_callers_at_once_and_forks(layer, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "NUMBA_THREADING_LAYER": layer, "FUNCTRANS_THREADS": "2", "LD_LIBRARY_PATH": LIBRARIES}
    done = subprocess.run(
        [sys.executable, str(path), layer], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    # Before a fork TBB may print that it could not join its threads, which the child does not use.
    assert done.returncode == 0 and done.stdout.endswith("right\n"), done.stderr


SHARED_POOL = """
import os, sys
import numpy as np
import functrans as ft

before = dict(os.environ)
x = np.random.default_rng(0).normal(size=(400, 500))
compiled = ft.jit(lambda x: np.sum(np.tanh(x) ** 2, axis=1))
expected = np.sum(np.tanh(x) ** 2, axis=1)
assert np.allclose(compiled(x), expected, rtol=1e-12)
assert "numba" not in sys.modules and dict(os.environ) == before

import numba

@numba.njit(parallel=True)
def rows(x):
    out = np.empty(len(x))
    for i in numba.prange(len(x)):
        out[i] = np.sum(np.tanh(x[i]) ** 2)
    return out

for _ in range(3):
    assert np.allclose(rows(x), expected, rtol=1e-12) and np.allclose(compiled(x), expected, rtol=1e-12)
print(numba.threading_layer())
"""


def test_pool_is_started_without_numba_and_shared_with_it():
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "omp", "FUNCTRANS_THREADS": "2"}
    command = [sys.executable, "-c", SHARED_POOL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "omp\n", done.stderr


def test_products_do_not_depend_on_the_number_of_threads(monkeypatch):
    generator = np.random.default_rng(0)
    shapes = [(130, 90, 70), (70, 90, 130), (33, 500, 257), (600, 64, 9)]
    pairs = [(generator.normal(size=(m, k)), generator.normal(size=(k, n))) for m, k, n in shapes]
    batches = generator.normal(size=(11, 60, 50)), generator.normal(size=(11, 50, 70))

    def products(pairs, batches):
        return [x @ y for x, y in pairs], [y.T @ x.T for x, y in pairs], [x.T.copy().T @ y for x, y in pairs], batches[0] @ batches[1]

    compiled, results = ft.jit(products), [ft.tree.leaves(products(pairs, batches))]
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(settings, "threads", threads)
        results.append(ft.tree.leaves(compiled(pairs, batches)))
    for expected, one, *others in zip(*results, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-11, atol=1e-11)
        for other in others:
            np.testing.assert_array_equal(other, one)


def test_numbers_of_threads_are_positive_integers():
    for number in (0, -1, 2.0, True, "2"):
        with pytest.raises(ValueError, match="ft.config.threads: must be a positive int"):
            ft.config.threads = number


def test_threads_may_be_changed_while_functions_run(monkeypatch):
    matrices = np.random.default_rng(0).normal(size=(300, 40, 40)) + 40 * np.eye(40)
    inverse, expected = ft.jit(np.linalg.inv), np.linalg.inv(matrices)
    answers = []

    def work():
        answers.extend(np.allclose(inverse(matrices), expected) for _ in range(20))

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        for number in (1, 16):
            monkeypatch.setattr(settings, "threads", number)
    worker.join()
    assert answers == [True] * 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_while_another_thread_is_in_the_compiler():
    """The child finds no lock held by a thread that it does not have, LLVM's binding's own included."""
    script = """
import os, signal, threading
import numpy as np, functrans as ft
from llvmlite import binding
ft.config.disk_cache = False
ft.jit(np.sin)(1.0)
is_over = threading.Event()

def look_up():
    while not is_over.is_set():
        binding.address_of_symbol("free")

def child():
    return float(ft.jit(lambda x: x + 1.0)(1.0)) == 2.0

thread = threading.Thread(target=look_up)
thread.start()
codes = []
for _ in range(12):
    process = os.fork()
    if process == 0:
        signal.alarm(30)
        os._exit(0 if child() else 1)
    codes.append(os.waitpid(process, 0)[1])
is_over.set()
thread.join()
assert codes == [0] * 12
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)
