"""Numba's thread pool: how many threads a call may use, and the emitted call that uses them.

A program takes the number of threads as an argument, and 1 runs everything in the calling thread. A forked
child runs with 1, since OpenMP's pool does not survive a fork; on the workqueue layer, which two threads
must not enter at once, whoever comes second runs with 1.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from llvmlite import binding, ir

from functrans.compile.machine.extensions import extension_module
from functrans.compile.machine.words import BYTES, WORD
from functrans.config import processors, settings
from functrans.errors import CompilationError, at_user_line

__all__ = ["emit_parallel", "layer", "threads"]

# How often a thread that waits looks again before it goes to sleep: about a quarter of a millisecond.
SPINS = "5000"
_forked = False
_workqueue = Lock()


def _mark_forked() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_mark_forked)


@cache
def layer() -> str:
    """Starts the pool; the name of the threading layer Numba chose, or would choose."""
    chosen = os.environ.get("NUMBA_THREADING_LAYER", "default").lower()
    if "numba" not in sys.modules and chosen in ("default", "omp") and not has_tbb():
        try:
            with short_spins():
                return launch(extension_module("numba.np.ufunc.omppool"))
        except ImportError:
            pass  # no OpenMP: Numba knows what to take
    from numba.np.ufunc import parallel

    try:
        with short_spins():
            parallel._launch_threads()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise CompilationError(
            f"jit: Numba's thread pool did not start, with NUMBA_THREADING_LAYER={chosen}: {str(error).splitlines()[0]}"
            f"\n  Remedy: set that variable to omp or workqueue, or leave it unset.{at_user_line()}"
        ) from error
    return str(parallel.threading_layer())  # type: ignore[no-untyped-call]


@cache
def launched() -> int:
    """How many threads Numba has started: more than these never come to the end on the workqueue layer."""
    from numba import config

    return int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def has_tbb() -> bool:
    """Whether there is the library that Numba prefers to OpenMP."""
    try:
        ctypes.CDLL("libtbb.so.12")
    except OSError:
        return False
    return True


@contextmanager
def short_spins() -> Iterator[None]:
    """Within it, GNU's OpenMP is loaded such that threads that wait go to sleep soon, unless the user said how long.

    By itself it spins for milliseconds. Where other processes want the processors too, a thread that waits then keeps
    those from running that it waits for. (Measured so, beside another process on two processors: a training step of
    3.5 ms takes 50 ms and more, and 12 with short spins.)
    """
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def launch(pool: Any) -> str:
    """Starts OpenMP's pool as Numba does, which finds it started when it is imported later."""
    binding.add_symbol("numba_parallel_for", pool.parallel_for)
    count = int(os.environ.get("NUMBA_NUM_THREADS", "0")) or processors()
    ctypes.CFUNCTYPE(None, ctypes.c_int)(pool.launch_threads)(count)
    return "omp"


@contextmanager
def threads() -> Iterator[int]:
    """The number of threads the calls within may use."""
    if settings.threads == 1 or _forked:
        yield 1
    elif layer() != "workqueue":
        yield settings.threads
    elif _workqueue.acquire(blocking=False):
        try:
            yield min(settings.threads, launched())
        finally:
            _workqueue.release()
    else:
        yield 1


def emit_parallel(
    b: ir.IRBuilder, count: int, number: ir.Value, kernel: ir.Function, pointers: list[ir.Value], *, scratch: int, granule: int
) -> None:
    """Calls of ``kernel(*pointers, start, stop)`` that cover `count` rounds, by `number` threads.

    Args:
        scratch: the bytes by which the last pointer is moved on for each thread.
        granule: what the first round of each thread is a multiple of.
    """
    layer()  # makes the pool's function known to the linker
    several = b.icmp_signed(">", number, WORD(1))
    with b.if_else(several) as (together, alone):
        with alone:
            b.call(kernel, [*pointers, WORD(0), WORD(count)])
        with together:
            _emit_pool_call(b, number, _chunk_function(b.module, count, kernel, scratch, granule), pointers)


def _emit_pool_call(b: ir.IRBuilder, number: ir.Value, chunk: ir.Function, pointers: list[ir.Value]) -> None:
    """Hand a chunk for each thread to Numba's pool, with the pointers and the number of threads as its data."""
    kind = ir.FunctionType(ir.VoidType(), [BYTES] * 5 + [WORD] * 3)
    pool = b.module.globals.get("numba_parallel_for") or ir.Function(b.module, kind, "numba_parallel_for")
    with b.goto_entry_block():
        data = b.alloca(BYTES, len(pointers) + 1)
        first, dimension, step = b.alloca(BYTES), b.alloca(WORD), b.alloca(WORD)
    for place, pointer in enumerate(pointers):
        b.store(b.bitcast(pointer, BYTES), b.gep(data, [WORD(place)]))
    b.store(b.inttoptr(number, BYTES), b.gep(data, [WORD(len(pointers))]))
    b.store(ir.Constant(BYTES, None), first)
    b.store(number, dimension)
    b.store(WORD(1), step)
    arguments = [b.bitcast(value, BYTES) for value in (chunk, first, dimension, step, data)]
    b.call(pool, [*arguments, WORD(0), WORD(1), number])


def _chunk_function(module: ir.Module, count: int, kernel: ir.Function, scratch: int, granule: int) -> ir.Function:
    """What the pool calls: its arguments are those of a NumPy gufunc, whose one operand counts the chunks."""
    word_pointer = WORD.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), word_pointer, word_pointer, BYTES])
    known = module.globals.get(f"{kernel.name}_chunk")
    if known is not None:
        return known
    function = ir.Function(module, kind, f"{kernel.name}_chunk")
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block())
    operands, dimensions, _, data = function.args
    table = b.bitcast(data, BYTES.as_pointer())
    *types, _, _ = (argument.type for argument in kernel.args)
    pointers = [b.bitcast(b.load(b.gep(table, [WORD(place)])), type_) for place, type_ in enumerate(types)]
    number = b.ptrtoint(b.load(b.gep(table, [WORD(len(types))])), WORD)
    each = b.udiv(b.add(WORD(count - 1), number), number)
    size = b.mul(b.udiv(b.add(each, WORD(granule - 1)), WORD(granule)), WORD(granule))
    bound: Callable[[ir.Value], ir.Value] = lambda chunk: b.select(
        b.icmp_signed("<", b.mul(chunk, size), WORD(count)), b.mul(chunk, size), WORD(count)
    )
    chunk = b.ptrtoint(b.load(operands), WORD)
    if scratch:
        pointers[-1] = b.gep(pointers[-1], [b.mul(chunk, WORD(scratch))])
    b.call(kernel, [*pointers, bound(chunk), bound(b.add(chunk, b.load(dimensions)))])
    b.ret_void()
    return function
