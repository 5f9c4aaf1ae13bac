"""Memory for large results: used again when dropped, never while somebody has it, and bounded."""

import subprocess
import sys
import threading

import numpy as np

import functrans as ft
from functrans.compile.machine.allocation import KEPT_LEAST, KEPT_MOST, PLACES

LARGE = np.arange(KEPT_LEAST // 8, dtype=np.float64)
double = ft.jit(lambda x: x * 2)


def test_dropped_memory_is_used_again():
    first = double(LARGE)
    address, view = first.ctypes.data, first[5:]
    del first
    second = double(LARGE)
    assert second.ctypes.data != address, "a view has it"
    del view
    assert double(LARGE).ctypes.data == address
    np.testing.assert_array_equal(double(LARGE), 2 * LARGE)


def test_results_own_their_memory():
    result = double(LARGE)
    assert result.flags.owndata and result.flags.writeable
    result.resize(2 * LARGE.size)
    np.testing.assert_array_equal(result[: LARGE.size], 2 * LARGE)
    assert not result[LARGE.size :].any()
    assert (np.zeros(LARGE.size) == 0).all(), "what NumPy makes is not ours"


def test_results_that_live_are_apart():
    results = [double(LARGE + n) for n in range(3 * PLACES)]
    for n, result in enumerate(results):
        np.testing.assert_array_equal(result, 2 * (LARGE + n))
    del results[::2], result
    results += [double(LARGE - n) for n in range(2 * PLACES)]
    assert len({result.ctypes.data for result in results}) == len(results)


def test_what_is_kept_is_bounded():
    """Memory of a process after it dropped far more than is kept."""
    script = f"""
import numpy as np, functrans as ft
from functrans.compile.machine.allocation import release
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
double = ft.jit(lambda x: x * 2)
x = np.ones({KEPT_LEAST // 2})
double(x)
before = resident()
results = [double(x) for _ in range({2 * KEPT_MOST // KEPT_LEAST // 4})]
assert resident() - before > {KEPT_MOST}
del results
assert {PLACES * KEPT_LEAST} < resident() - before < {KEPT_MOST} + {8 * KEPT_LEAST}, resident() - before
release()
assert resident() - before < {8 * KEPT_LEAST}, resident() - before
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_threads_share_what_is_kept():
    failures = []

    def work(seed):
        x = LARGE + seed
        for _ in range(200):
            if not np.array_equal(double(x), 2 * x):
                failures.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_results_outlive_the_module():
    """Arrays that are dropped at the very end of a process give their memory back."""
    script = "import numpy as np, functrans as ft, builtins; builtins.kept = ft.jit(lambda x: x * 2)(np.ones(1 << 20))"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_handlers_of_others_stay():
    before = np._core.multiarray.get_handler_name()
    double(LARGE)
    assert np._core.multiarray.get_handler_name() == before
    assert np._core.multiarray.get_handler_name(double(LARGE)) == "functrans"
    assert np._core.multiarray.get_handler_name(np.ones(3)) == before
