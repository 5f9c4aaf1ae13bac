"""Memory for large results: what callers drop is used again.

The system clears each page that it hands out anew, which takes as long as filling it does; JAX and others that
keep what is freed do not pay for it at each call. NumPy takes an array's memory from a handler, which may be
ours while a result is made; the array then gives its memory back to us. (NEP 49, Data allocation strategies in NumPy.)
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.machine.blas import repeated
from functrans.compile.machine.codegen import Library, build
from functrans.compile.machine.words import BYTES, WORD

__all__ = ["KEPT_LEAST", "handler", "numpy_function", "release"]

# Bytes of the smallest allocation that is kept; how many are at most, and their bytes together.
KEPT_LEAST = 1 << 20
PLACES, KEPT_MOST = 16, 128 << 20
# Where NumPy's C-API has the function that gives the handler.
GET_HANDLER = 305
HANDLER_NAME = b"mem_handler"

FLAG = ir.IntType(1)
VOID = ir.VoidType()


class Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    ]


def numpy_function(place: int) -> int:
    """The address of a function of NumPy's C-API."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = np._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
    return (ctypes.c_void_p * (place + 1)).from_address(get(capsule, None))[place] or 0


def release() -> None:
    """Give what is kept back to the system."""
    ctypes.PYFUNCTYPE(None)(code().address("release"))()


@cache
def numpy_handler() -> Any:
    """NumPy's own handler, in a capsule, as it is when this is first asked for."""
    return ctypes.PYFUNCTYPE(ctypes.py_object)(numpy_function(GET_HANDLER))()


@cache
def code() -> Library:
    """The functions of the handler."""
    return build(emitted(content_of(numpy_handler())))


def content_of(capsule: Any) -> Handler:
    """The handler in a capsule."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return Handler.from_address(get(capsule, HANDLER_NAME))


@cache
def handler() -> Any:
    """The handler for large results, as NumPy takes it: NumPy's own, but for what is kept. It lives as long as the process."""
    own, library = content_of(numpy_handler()), code()
    made = Handler(b"functrans", 1, own.context, library.address("take"), own.calloc, own.realloc, library.address("give"))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = new(ctypes.addressof(made), HANDLER_NAME, None)
    for lasting in (numpy_handler(), library, made, capsule):
        # Arrays may be dropped when everything else is gone.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(lasting))
    return capsule


def emitted(own: Handler) -> ir.Module:
    """``take``, a malloc, and ``give``, a free, over NumPy's own; and ``release``, which frees what is kept.

    What is kept is a ring of sizes and addresses. Who finds another thread at it, or after a fork never leaving it, does without.
    """
    module = ir.Module("allocation")
    table = ir.ArrayType(WORD, PLACES)
    sizes, addresses = (variable(module, name, table) for name in ("sizes", "addresses"))
    taken, total, following = (variable(module, name, WORD) for name in ("taken", "total", "following"))

    def start(name: str, kind: ir.FunctionType) -> tuple[ir.Function, ir.IRBuilder]:
        function = ir.Function(module, kind, name)
        return function, ir.IRBuilder(function.append_basic_block())

    def place(array: ir.Value, index: ir.Value) -> ir.Value:
        return b.gep(array, [WORD(0), index])

    def native(address: int, kind: ir.FunctionType) -> ir.Value:
        return b.inttoptr(WORD(address), kind.as_pointer())

    def is_entered(size: ir.Value) -> ir.Value:
        """Whether something of a size may be kept, and this thread is now the only one to look."""
        fits = b.and_(b.icmp_unsigned(">=", size, WORD(KEPT_LEAST)), b.icmp_unsigned("<=", size, WORD(KEPT_MOST)))
        before, look, found = b.block, b.append_basic_block("look"), b.append_basic_block("found")
        b.cbranch(fits, look, found)
        b.position_at_end(look)
        is_first = b.extract_value(b.cmpxchg(taken, WORD(0), WORD(1), "acquire", "monotonic"), 1)
        b.branch(found)
        b.position_at_end(found)
        entered = b.phi(FLAG)
        entered.add_incoming(FLAG(0), before)
        entered.add_incoming(is_first, look)
        return entered

    def leave() -> None:
        b.store_atomic(WORD(0), taken, "release", 8)

    function, b = start("take", ir.FunctionType(BYTES, [BYTES, WORD]))
    context, size = function.args
    with b.if_then(is_entered(size)):
        with repeated(b, WORD(0), WORD(PLACES)) as index:
            with b.if_then(b.icmp_unsigned("==", b.load(place(sizes, index)), size)):
                b.store(WORD(0), place(sizes, index))
                b.store(b.sub(b.load(total), size), total)
                found = b.inttoptr(b.load(place(addresses, index)), BYTES)
                leave()
                b.ret(found)
        leave()
    b.ret(b.call(native(own.malloc, function.ftype), [context, size]))

    function, b = start("give", ir.FunctionType(VOID, [BYTES, BYTES, WORD]))
    context, address, size = function.args
    with b.if_then(is_entered(size)):
        again, done = b.append_basic_block("again"), b.append_basic_block("done")
        b.store(b.add(b.load(total), size), total)
        # The oldest go: the one whose place this takes, and those over the limit.
        b.branch(again)
        b.position_at_end(again)
        index = b.load(following)
        oldest, held = b.load(place(addresses, index)), b.load(place(sizes, index))
        with b.if_then(b.icmp_unsigned("!=", held, WORD(0))):
            b.call(native(own.free, function.ftype), [context, b.inttoptr(oldest, BYTES), held])
        b.store(b.sub(b.load(total), held), total)
        b.store(WORD(0), place(sizes, index))
        next_index = b.urem(b.add(index, WORD(1)), WORD(PLACES))
        is_over = b.icmp_unsigned(">", b.load(total), WORD(KEPT_MOST))
        b.store(next_index, following)
        b.cbranch(is_over, again, done)
        b.position_at_end(done)
        b.store(size, place(sizes, index))
        b.store(b.ptrtoint(address, WORD), place(addresses, index))
        leave()
        b.ret_void()
    b.call(native(own.free, function.ftype), [context, address, size])
    b.ret_void()

    free = function.ftype
    function, b = start("release", ir.FunctionType(VOID, []))
    with b.if_then(is_entered(WORD(KEPT_LEAST))):
        with repeated(b, WORD(0), WORD(PLACES)) as index:
            held = b.load(place(sizes, index))
            with b.if_then(b.icmp_unsigned("!=", held, WORD(0))):
                context = b.inttoptr(WORD(own.context or 0), BYTES)
                b.call(native(own.free, free), [context, b.inttoptr(b.load(place(addresses, index)), BYTES), held])
            b.store(WORD(0), place(sizes, index))
        b.store(WORD(0), total)
        leave()
    b.ret_void()
    return module


def variable(module: ir.Module, name: str, type_: ir.Type) -> ir.GlobalVariable:
    """A variable of the module, zero at first."""
    made = ir.GlobalVariable(module, type_, name)
    made.initializer, made.linkage = ir.Constant(type_, None), "internal"
    return made
