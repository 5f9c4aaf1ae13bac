"""Native loops and branches: values, memory, failures, threads; compiled, interpreted and eager results are the same."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import functrans as ft

GENERATOR = np.random.default_rng(0)


def checked(function, *arguments):
    """Compiled, interpreted and eager results are those of plain evaluation; gives what was lowered."""
    lowered = ft.jit(function).lower(*arguments)
    ft.config.jit = False
    try:
        expected = ft.tree.leaves(function(*arguments))
    finally:
        ft.config.jit = True
    for results in (lowered.compile()(*arguments), lowered.interpret(*arguments), function(*arguments)):
        for actual, one in zip(ft.tree.leaves(results), expected, strict=True):
            assert (np.shape(actual), np.asarray(actual).dtype) == (np.shape(one), np.asarray(one).dtype)
            np.testing.assert_allclose(actual, one, rtol=1e-12, atol=1e-12)
    return lowered


def fibonacci(a, b, xs):
    return ft.scan(lambda c, x: ((c[1], c[0] + c[1] * x), c[0]), (a, b), xs)


SCANS = {
    "in place": lambda xs, n: ft.scan(lambda c, x: (np.tanh(c + x), None), np.zeros(5), xs),
    "kept before it is written over": lambda xs, n: ft.scan(lambda c, x: (c * 0.5 + x, c), np.zeros(5), xs),
    "read at other places": lambda xs, n: ft.scan(lambda c, x: (c[::-1] + x, np.sum(c)), np.zeros(5), xs),
    "a product": lambda xs, n: ft.scan(lambda c, x: (xs.T @ xs @ c / 50 + x, c), np.zeros(5), xs),
    "exchanged": lambda xs, n: ft.scan(lambda c, x: ((c[1], c[2] + x, c[0]), c[0]), (xs[0], xs[1], xs[2]), xs),
    "an even number of rounds": lambda xs, n: ft.scan(lambda c, x: (c[::-1] + x, None), np.zeros(5), xs[:6]),
    "left as it is": lambda xs, n: ft.scan(lambda c, x: ((c[0], c[1] + c[0]), c), (xs[0], xs[1]), xs),
    "the same in each round": lambda xs, n: ft.scan(lambda c, x: (np.cos(xs[0]), (np.cos(xs[0]), c)), xs[1], n),
    "results that are inputs": lambda xs, n: ft.scan(lambda c, x: (x, (c, x, c, 2.0)), np.zeros(5), xs),
    "scalars": lambda xs, n: fibonacci(1.0, 2.0, xs[:, 0]),
    "from the end": lambda xs, n: ft.scan(lambda c, x: (c + x, c * x), np.zeros(5), xs, reverse=True),
    "integers": lambda xs, n: ft.scan(lambda c, x: ((c[0] + 1, c[1] ^ x), c[0] % 3 == 0), (np.int8(0), np.int32(5)), n),
    "complex numbers": lambda xs, n: ft.scan(lambda c, x: (c * 1j + x, np.abs(c)), np.zeros(5, np.complex128), xs),
    "halves": lambda xs, n: ft.scan(lambda c, x: (c + x, c), np.zeros(5, np.float16), xs.astype(np.float16)),
    "no rounds": lambda xs, n: ft.scan(lambda c, x: (c + x, c), np.ones(5), xs[:0]),
    "one round": lambda xs, n: ft.scan(lambda c, x: (c + x, c), np.ones(5), xs[:1]),
    "no xs": lambda xs, n: ft.scan(lambda c, _: (c * 2, c), xs[0], length=4),
    "no carry": lambda xs, n: ft.scan(lambda _, x: (None, np.exp(x) @ xs.T), None, xs),
    "empty": lambda xs, n: ft.scan(lambda c, x: (c, x), xs[:, :0], xs[:, :0]),
    "inside another": lambda xs, n: ft.scan(lambda c, x: ft.scan(lambda d, y: (d + y * c, d), x, xs), np.zeros(5), xs)[0],
    "numbers that are taken": lambda xs, n: ft.scan(lambda c, x: (c + x * np.zeros_like(x), c), np.full(5, 3.0), xs),
    "a function with rules": lambda xs, n: ft.scan(lambda c, x: (doubled(c) + x, None), np.zeros(5), xs),
    "sorted by NumPy": lambda xs, n: ft.scan(lambda c, x: (np.sort(c + x), c), np.zeros(5), xs),
}
BRANCHES = {
    "the second": lambda x, n: ft.cond(n[0] > 0, lambda x: np.sin(x), lambda x: x * 2 + 1, x),
    "the first": lambda x, n: ft.cond(n[1] > 0, lambda x: (np.sin(x), x), lambda x: (x, x * x), x),
    "numbers": lambda x, n: ft.cond(n[1] > 0, lambda x: (1.0, 2), lambda x: (3.0, 4), x),
    "one of several": lambda x, n: [ft.switch(k, [np.sin, lambda x: x @ x.T @ x, np.tanh], x) for k in n],
    "inside a loop": lambda x, n: ft.scan(lambda c, k: (ft.switch(k, [lambda c: c + x, np.sin, lambda c: np.sqrt(np.abs(c))], c), k), np.abs(x), n),
    "sorted by NumPy": lambda x, n: ft.cond(n[1] > 0, lambda x: np.sort(x), lambda x: x, x),
    "one that fails": lambda x, n: ft.cond(n[0] > 0, lambda x, k: x[k], lambda x, k: x[k - 10], x, n[4] * 2),
}
def count_while(condition, step, x):
    """The number of steps taken, and what they make of x."""
    return ft.while_loop(lambda c: condition(c[1]) & (c[0] < 50), lambda c: (c[0] + 1, step(c[1])), (0, x))


def gradients(function, *arguments):
    return ft.vjp(function, *arguments)[1](tuple(np.cos(np.arange(np.size(v))).reshape(np.shape(v)) for v in function(*arguments)))


WHILES = {
    "in place": lambda x, y: count_while(lambda c: np.sum(c * c) > 1, lambda c: c * 0.7, x),
    "read at other places": lambda x, y: count_while(lambda c: np.sum(c * c) > 1, lambda c: c[::-1] * 0.7 + c[0] * 0.01, x),
    "a product": lambda x, y: count_while(lambda c: np.max(c) < 90, lambda c: y.T @ y @ c / 9 + c, x),
    "no steps": lambda x, y: count_while(lambda c: np.sum(c * c) < -1, lambda c: c * 0.7, x),
    "numbers": lambda x, y: ft.while_loop(lambda c: c < 100, lambda c: c * 3, 1),
    "exchanged": lambda x, y: ft.while_loop(lambda c: c[2] < 7, lambda c: (c[1], c[0] + c[1], c[2] + 1), (x, 2 * x, 0)),
    "left as it is": lambda x, y: ft.while_loop(lambda c: c[1] < 9, lambda c: (c[0], c[1] + np.abs(c[0][0]) + 1), (x, 0.0)),
    "the same in each step": lambda x, y: ft.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, np.cos(x), c[1]), (0, x, x)),
    "inside another": lambda x, y: ft.while_loop(
        lambda c: np.sum(c) < 500, lambda c: count_while(lambda d: np.max(d) < 8, lambda d: d * 1.5 + 0.1, c / 5)[1] + c, np.abs(x)
    ),
    "sorted by NumPy": lambda x, y: count_while(lambda c: np.sum(c * c) > 1, lambda c: np.sort(c * 0.7), x),
    "the way back": lambda x, y: gradients(
        lambda x, y: ft.while_loop(lambda c: c[1] < 3, lambda c: (np.tanh(y.T @ y @ c[0] / 9 + x), c[1] + c[0][0] ** 2 / 9 + 0.3), (x, 0.0)),
        x, y,
    ),
    "the way back of what is exchanged": lambda x, y: gradients(
        lambda x, y: ft.while_loop(lambda c: c[2] < 7, lambda c: (c[1], np.sin(c[0]) * c[1] + y[0], c[2] + 1), (x, 2 * x, 0))[:2], x, y
    ),
    "the way back of no steps": lambda x, y: gradients(lambda x: (ft.while_loop(lambda c: c[0] > 1e9, np.sin, x),), x),
    "the way back through a function with rules": lambda x, y: gradients(
        lambda x: (ft.while_loop(lambda c: np.max(np.abs(c)) < 90, lambda c: doubled(c) + 1, x),), x
    ),
    "the way back, twice": lambda x, y: (lambda pull: (pull(x), np.sort(pull(y[0])[0])))(
        ft.vjp(lambda x: count_while(lambda c: np.sum(c * c) > 1, lambda c: moved(c * 0.7), x)[1], x)[1]
    ),
    "items that end apart": lambda x, y: ft.vmap(ft.value_and_grad(lambda x: ft.while_loop(lambda c: c < 9, lambda c: c * x, 1.5 + x)))(
        np.abs(x) + 1.1
    ),
}  # fmt: skip
TABLE = GENERATOR.normal(size=5)


def moved(x):
    """With one element where another tells."""
    result = np.zeros_like(x)
    result[np.floor(np.abs(x[1]) * 5).astype(np.int64) % 5] = x[1]
    return result + x / 2


@ft.custom_vjp
def doubled(x):
    return 2 * x * TABLE


doubled.defvjp(lambda x: (doubled(x), None), lambda _, ct: (2 * ct * TABLE,))


@pytest.mark.parametrize("name", SCANS)
def test_scans(name):
    checked(SCANS[name], GENERATOR.normal(size=(7, 5)), np.arange(7, dtype=np.int32))


@pytest.mark.parametrize("name", WHILES)
def test_whiles(name):
    checked(WHILES[name], GENERATOR.normal(size=5), GENERATOR.normal(size=(7, 5)))


def test_a_tape_grows():
    """Over more steps than it has room for at first, with large carries, and in several calls."""
    function = ft.jit(lambda x, n: ft.grad(lambda x: np.sum(ft.while_loop(lambda c: c[1] < n, lambda c: (np.sin(c[0]), c[1] + 1), (x, 0))[0]))(x))
    x = GENERATOR.normal(size=5000)
    for steps in (300, 3, 1000, 0):
        y, slope = x, np.ones(5000)
        for _ in range(steps):
            slope, y = slope * np.cos(y), np.sin(y)
        np.testing.assert_allclose(function(x, steps), slope, rtol=1e-10)


@pytest.mark.parametrize("transform", [lambda f: f, ft.grad])
def test_too_many_steps(transform):
    endless = transform(lambda x: ft.while_loop(lambda x: x > 0, lambda x: x + 1, x, max_steps=20))
    for call in (ft.jit(endless), endless, ft.jit(endless).lower(1.0).interpret):
        with pytest.raises(ft.errors.StepLimitError, match="max_steps=20"):
            call(1.0)


@pytest.mark.parametrize("index", [np.uint8(250), np.int8(127), np.int8(-128)])
def test_more_branches_than_an_index_can_choose(index):
    checked(lambda n: ft.switch(n, [lambda x, k=k: x * k for k in range(260)], 2.0), index)


@pytest.mark.parametrize("name", BRANCHES)
def test_branches(name):
    checked(BRANCHES[name], GENERATOR.normal(size=(7, 5)), np.array([-3, 1, 0, 2, 5, 1, 2], np.int32))


def test_only_the_branch_taken_runs(capfd):
    choose = ft.jit(lambda p, x: ft.cond(p, lambda x: ft.debug.print("one") or x, lambda x: ft.debug.print("other") or x, x))
    choose(True, 1.0), choose(False, 1.0)
    assert capfd.readouterr().out == "one\nother\n"
    solve = ft.jit(lambda p, a: ft.cond(p, lambda a: np.linalg.inv(a), lambda a: a, a))
    np.testing.assert_array_equal(solve(False, np.zeros((3, 3))), np.zeros((3, 3)))
    with pytest.raises(np.linalg.LinAlgError):
        solve(True, np.zeros((3, 3)))


def test_what_a_loop_carries_is_written_over_itself():
    step = lambda c, x: ((np.tanh(c[0] + x), c[1][::-1] * x), None)
    lowered = ft.jit(lambda *c, xs: ft.scan(step, c, xs)).lower(np.ones(10_000), np.ones(10_000), xs=np.ones((9, 10_000)))
    text = lowered.kernels()
    assert "for i in range(9):" in text and "x0[i] = v" in text
    # The second cannot be: it has one more place, which is all the memory that is needed.
    assert 10_000 * 8 <= lowered.compile().memory_analysis().workspace < 10_100 * 8


def test_invariants_are_computed_once():
    def function(w, c, xs):
        return ft.scan(lambda c, x: (c @ w + x, None), c, xs)

    w, c, xs = GENERATOR.normal(size=(50, 50)).astype(np.float32), np.ones(50), GENERATOR.normal(size=(4, 50))
    before, inside = checked(function, w, c, xs).kernels().split("for i in range(4):")
    assert "convert" in before and "convert" not in inside


def test_arguments_of_any_layout_stay_as_they_are():
    xs, first = GENERATOR.normal(size=(300, 200, 4)), np.zeros((200, 4))
    for given in (np.asfortranarray(xs), xs[::-1], np.moveaxis(np.moveaxis(xs, 0, 1).copy(), 1, 0)):
        before, start = given.copy(), first.copy()
        total, _ = ft.jit(lambda c, xs: ft.scan(lambda c, x: (c + x, None), c, xs))(first, given)
        np.testing.assert_allclose(total, given.sum(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(given, before)
        np.testing.assert_array_equal(first, start)


@pytest.mark.parametrize("carried", [True, False])
def test_indices_out_of_bounds(carried):
    """Raise NumPy's error with the line, eagerly and compiled, in loops that threads share as well."""
    table, rows = np.ones(50), np.arange(200_000) % 50

    def function(table, rows):
        if carried:
            return ft.scan(lambda c, i: (c + ft.numpy.asarray(table)[i], None), 0.0, rows)[0]
        return ft.scan(lambda _, i: (None, np.tanh(ft.numpy.asarray(table)[i])), None, rows)[1]

    compiled = ft.jit(function)
    assert np.all(np.isfinite(compiled(table, rows)))
    rows[150_000] = 50
    for call in (compiled, function):
        with pytest.raises(IndexError, match="index 50 is out of bounds for axis 0 with size 50") as caught:
            call(table, rows)
        assert "asarray(table)[i]" in str(caught.value)


def test_rounds_that_carry_nothing_are_shared_by_threads(monkeypatch):
    xs = GENERATOR.normal(size=(501, 40, 40))
    function = ft.jit(lambda xs: ft.scan(lambda _, x: (None, np.linalg.solve(x @ x.T + 50 * np.eye(40), np.tanh(x))), None, xs)[1])
    assert function.lower(xs).compile().memory_analysis().per_thread > 0
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(ft.config, "threads", threads)
        results.append(function(xs))
    for one in results[1:]:
        np.testing.assert_array_equal(one, results[0])
    np.testing.assert_allclose(results[0], np.linalg.solve(xs @ xs.transpose(0, 2, 1) + 50 * np.eye(40), np.tanh(xs)), 1e-9, 1e-15)


def test_several_threads_call_one_loop():
    function = ft.jit(lambda c, xs: ft.scan(lambda c, x: (np.tanh(c[::-1] + x), np.sum(c)), c, xs))
    arguments = [GENERATOR.normal(size=(100,)) for _ in range(4)]
    xs = GENERATOR.normal(size=(500, 100))
    expected = [function(c, xs) for c in arguments]
    wrong = []

    def work(place):
        for _ in range(20):
            got = function(arguments[place], xs)
            if not all(np.array_equal(a, b) for a, b in zip(got, expected[place])):
                wrong.append(place)

    workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_effects_happen_in_each_round_and_in_order(capfd):
    def step(c, x):
        ft.debug.print("{} {}", c, x)
        return c + x, None

    ft.jit(lambda xs: ft.scan(step, 0, xs)[0])(np.arange(3))
    assert capfd.readouterr().out == "0 0\n0 1\n1 2\n"


def test_donated_arguments_of_loops():
    step = ft.jit(lambda w, xs: ft.scan(lambda w, x: (w - 0.1 * np.tanh(w * x), None), w, xs)[0], donate_argnums=0)
    w, xs = np.ones(1000), GENERATOR.normal(size=(10, 1000))
    expected = np.ones(1000)
    for x in xs:
        expected = expected - 0.1 * np.tanh(expected * x)
    np.testing.assert_allclose(step(w, xs), expected, rtol=1e-12)


def test_eager_loops_that_say_the_same_share_their_code(caplog, monkeypatch):
    monkeypatch.setattr(ft.config, "log_compiles", True)
    monkeypatch.setattr(ft.config, "disk_cache", False)
    for scale in (1.0, 1.0, 1.0):
        ft.scan(lambda c, x: (c * scale + x + 0.12345, None), np.zeros(3), np.ones((2, 3)))
    assert caplog.text.count("called outside of jit") == 1


SAVED = """
import numpy as np, functrans as ft
function = ft.jit(lambda c, xs: ft.scan(lambda c, x: (np.tanh(c @ c.T + x), np.sum(c)), c, xs))
print(float(function(np.ones((40, 40)), np.ones((5, 40, 40)))[1][3]), function.compilations)
"""


def test_loops_are_kept_on_disk(tmp_path):
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SAVED], env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert outputs[0][0] == outputs[1][0] and [count for _, count in outputs] == ["1", "0"]


def test_loops_are_saved_and_loaded(tmp_path):
    compiled = ft.jit(lambda xs: ft.scan(lambda c, x: (c + x, c), 0.0, xs)).lower(np.ones(4)).compile()
    compiled.save(tmp_path / "loop")
    total, sums = ft.load(tmp_path / "loop")(np.ones(4))
    assert total == 4 and sums.tolist() == [0, 1, 2, 3]
    assert float(ft.grad(lambda xs: ft.load(tmp_path / "loop")(xs)[0])(np.ones(4))[2]) == 1


INTERRUPTED = """
import os, signal, threading, time
import numpy as np, functrans as ft

function = {function}
run = {run}
def interrupt():
    time.sleep(0.7)
    global sent
    sent = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)

for _ in range(2):
    threading.Thread(target=interrupt).start()
    try:
        run()
    except KeyboardInterrupt:
        took = time.perf_counter() - sent
        assert took < {most}, took
    else:
        raise SystemExit("it ended")
print("interrupted")
"""


def interrupted(function, run, most=0.5):
    """Ctrl-C ends a call within some seconds."""
    script = textwrap.dedent(INTERRUPTED).format(function=function, run=run, most=most)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


def test_long_loops_can_be_interrupted():
    done = interrupted(
        "ft.jit(lambda c: ft.scan(lambda c, _: (np.tanh(c + 0.1), None), c, length=10**12)[0]); function.lower(np.ones(8)).compile()",
        "lambda: function(np.ones(8))",
        most=0.5,
    )
    assert done.stdout == "interrupted\n", done.stderr


@pytest.mark.parametrize("jitted", ["ft.jit(function)", "function", "ft.jit(ft.vmap(function))"])
def test_endless_loops_can_be_interrupted(jitted):
    function = f"lambda c: ft.while_loop(lambda c: np.all(c > -2), lambda c: np.sin(c) + c / 2, c); function = {jitted}"
    done = interrupted(function, "lambda: function(np.ones((4, 8)))")
    assert done.stdout == "interrupted\n", done.stderr


def test_what_follows_an_interrupted_loop_may_fail():
    """The counter is no index of the table when the signal comes; the signal is what is heard of."""
    function = "ft.jit(lambda t: t[ft.while_loop(lambda c: c >= 0, lambda c: c + 1, t.astype(int)[0])])"
    done = interrupted(function, "lambda: function(np.ones(5))")
    assert done.stdout == "interrupted\n", done.stderr


def test_nothing_is_read_beyond_the_slices():
    """What a loop stacks takes eight times the memory of what it reads, after which there is none."""
    script = """
import ctypes, mmap
import numpy as np, functrans as ft

page = mmap.PAGESIZE
memory = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mprotect(ctypes.c_void_p(address + page), ctypes.c_size_t(page), 0) == 0
xs = np.frombuffer(memory, np.bool_, count=40, offset=page - 40)
total, stacked = ft.jit(lambda xs: ft.scan(lambda c, x: (c + 1.0, np.where(x, c, -c)), 0.0, xs))(xs)
np.testing.assert_array_equal(stacked, -np.arange(40.0))
libc.mprotect(ctypes.c_void_p(address + page), ctypes.c_size_t(page), 3)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
