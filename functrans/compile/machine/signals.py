"""Interrupting native code: long loops ask Python, about every 10 ms, whether a signal such as Ctrl-C has come."""

from __future__ import annotations

import ctypes

from llvmlite import binding, ir

from functrans.compile.machine.words import INT, WORD

__all__ = ["INTERRUPTED", "POLL_NANOSECONDS", "emit_poll", "poll_mask", "register_signals"]

# What a function gives that was interrupted; Python knows why.
INTERRUPTED = 2
POLL_NANOSECONDS = 1e7
FUNCTIONS = ("PyGILState_Ensure", "PyGILState_Release", "PyErr_CheckSignals")


def register_signals() -> None:
    """Make Python's functions known to the linker."""
    for name in FUNCTIONS:
        binding.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)


def poll_mask(nanoseconds: float) -> int:
    """Of the number of a round, the bits that are 0 in rounds that ask, if a round takes about so long."""
    return (1 << max(0, int(POLL_NANOSECONDS / max(nanoseconds, 1)).bit_length() - 1)) - 1


def emit_poll(b: ir.IRBuilder, number: ir.Value, nanoseconds: float, stopped: ir.Value) -> ir.Value:
    """Whether a signal has come that makes Python raise; asked in some rounds only, by the number of the round.

    Python tells its main thread alone, which lets the others know by what `stopped` points to.
    """
    is_asked = b.icmp_unsigned("==", b.and_(number, WORD(poll_mask(nanoseconds))), WORD(0))
    before, ask, asked = b.block, b.append_basic_block("ask"), b.append_basic_block("asked")
    b.cbranch(is_asked, ask, asked)
    b.position_at_end(ask)
    has_come = b.call(poll_function(b.module), [stopped])
    b.branch(asked)
    b.position_at_end(asked)
    result = b.phi(ir.IntType(1))
    result.add_incoming(ir.IntType(1)(0), before)
    result.add_incoming(has_come, ask)
    return result


def poll_function(module: ir.Module) -> ir.Function:
    """The function that asks, with the interpreter's lock held meanwhile; only Python's main thread gets signals."""
    known = module.globals.get("signal_has_come")
    if known is not None:
        return known
    function = ir.Function(module, ir.FunctionType(ir.IntType(1), [INT.as_pointer()]), "signal_has_come")
    function.linkage = "internal"
    function.attributes.add("noinline")
    ensure = ir.Function(module, ir.FunctionType(INT, []), "PyGILState_Ensure")
    release = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT]), "PyGILState_Release")
    check = ir.Function(module, ir.FunctionType(INT, []), "PyErr_CheckSignals")
    b = ir.IRBuilder(function.append_basic_block())
    state = b.call(ensure, [])
    raised = b.call(check, [])
    b.call(release, [state])
    (stopped,) = function.args
    with b.if_then(b.icmp_signed("!=", raised, INT(0))):
        b.store_atomic(INT(1), stopped, "monotonic", 4)
    b.ret(b.icmp_signed("!=", b.load_atomic(stopped, "monotonic", 4), INT(0)))
    return function
