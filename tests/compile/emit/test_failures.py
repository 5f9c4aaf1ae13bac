"""When compilation fails or is interrupted: what the error says, and that everything works afterwards."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import functrans as ft
from functrans.compile.machine import scalars

X = np.array([0.5, -1.5, 2.5])


def function(x):
    total = np.sum(np.sort(x) * 3)
    return np.floor(x * 2) + total


def invalid(b, register, x):
    """An instruction there is not, which only LLVM finds out."""
    value = b.fadd(x, x)
    value.opname = "floor"
    return value


def defect(b, register, x):
    raise KeyError("a table has no such entry")


@pytest.mark.parametrize(("emitter", "cause"), [(invalid, RuntimeError), (defect, KeyError)])
def test_the_kernel_its_equations_and_the_line_are_named(emitter, cause, monkeypatch):
    compiled = ft.jit(function)
    with monkeypatch.context() as patch:
        patch.setitem(scalars.OPERATIONS, "floor", ("f", emitter))
        with pytest.raises(ft.errors.CompilationError) as caught:
            compiled(X)
    message = str(caught.value)
    assert isinstance(caught.value.__cause__, cause)
    for phrase in (
        "jit of function: kernel", "could not be compiled", "\n    floor: float64[3]  from test_failures.py:",
        "return np.floor(x * 2) + total", "please report it", "jit(f).lower(...).kernels()", "ft.config.jit = False",
    ):  # fmt: skip
        assert phrase in message
    assert len(message) < 2000
    np.testing.assert_array_equal(compiled(X), function(X))


def test_an_equation_that_cannot_be_lowered_is_named(monkeypatch):
    from functrans.compile.schedule import elements
    from functrans.ops import structure

    compiled = ft.jit(lambda x: np.flip(x) + 1)
    with monkeypatch.context() as patch:
        patch.setitem(elements.ELEMENTS, structure.flip, (None, elements.ELEMENTS[structure.flip][1]))
        with pytest.raises(
            ft.errors.CompilationError, match=r"flip could not be compiled(.|\n)*flip: float64\[3\]  from test_fail"
        ):
            compiled(X)
    np.testing.assert_array_equal(compiled(X), X[::-1] + 1)


POINTS = [
    "functrans.compile.jit.stage",
    "functrans.compile.jit.simplify",
    "functrans.core.staging.StagingTrace.record",
    "functrans.compile.emit.assemble.steps",
    "functrans.compile.schedule.kernels.hoisted",
    "functrans.compile.emit.stretch.emit_kernel",
    "functrans.compile.emit.assemble.emit_entry",
    "functrans.compile.machine.codegen.binding.create_mcjit_compiler",
    "functrans.compile.store.disk.read",
    "functrans.compile.store.sealed.os.replace",
    "functrans.compile.store.disk.evict",
    "functrans.compile.run.execute.bind",
]


@pytest.mark.parametrize("point", POINTS)
def test_an_interrupt_leaves_everything_usable(point, monkeypatch, tmp_path):
    monkeypatch.setattr(ft.config, "disk_cache", True)
    monkeypatch.setattr(ft.config, "cache_dir", str(tmp_path / "cache"))
    interrupted = []

    def interrupt(*args, **keywords):
        interrupted.append(point)
        raise KeyboardInterrupt

    gradient = ft.grad(lambda x: np.sum(function(x) ** 2))
    compiled = ft.jit(gradient)
    with monkeypatch.context() as patch:
        patch.setattr(point, interrupt)
        with pytest.raises(KeyboardInterrupt):
            compiled(X)
    assert interrupted
    for _ in range(2):
        np.testing.assert_allclose(compiled(X), gradient(X))
        np.testing.assert_allclose(ft.jit(gradient)(X), gradient(X))
    assert all(name.endswith(".functrans") for name in os.listdir(tmp_path / "cache"))


SCRIPT = """
import os, signal, threading, time
import numpy as np
import functrans as ft

ft.config.disk_cache = False
ready = threading.Event()

def function(x):
    for _ in range(120):
        x = np.sin(np.sort(x)) + np.tanh(x @ x.T) / 30
    return x

def interrupt():
    ready.wait()
    time.sleep(DELAY)
    os.kill(os.getpid(), signal.SIGINT)

x, y = np.ones((30, 30)) / 30, np.ones((20, 20))
compiled = ft.jit(function)
interrupter = threading.Thread(target=interrupt)
interrupter.start()
try:
    ready.set()
    compiled(x)
    interrupter.join()
    signal.raise_signal(signal.SIGINT)  # Python drops an interrupt that comes while an object is finalised
except KeyboardInterrupt:
    print("interrupted")
np.testing.assert_allclose(compiled(x), function(x), rtol=1e-9)
np.testing.assert_allclose(ft.grad(lambda x: np.sum(np.sin(x)))(x), np.cos(x))
print(compiled.compilations >= 1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="the system has no such signal")
@pytest.mark.parametrize("delay", [0.01, 0.15, 0.4])
def test_a_real_interrupt(delay):
    """While it is staged, lowered or compiled, whichever it is."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("DELAY", str(delay))], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "interrupted\nTrue\n", done.stderr
