"""The function Python calls: a built-in that checks its arguments, makes the results and runs native code.

Checking types and shapes, allocating and calling cost some microseconds in Python, and a tenth of that in
machine code that reads the array objects itself. The function takes the flat arguments, and returns
`NotImplemented` for types it is not made for: then the caller finds, or makes, another program.

It reaches Python and NumPy through a table of addresses, the data of the array that it is bound to, so that
the code itself holds no address. (Python/C API Reference Manual; NumPy C-API.)
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.arguments import Argument
from functrans.compile.machine.allocation import KEPT_LEAST, handler, numpy_function
from functrans.compile.machine.blas import repeated
from functrans.compile.machine.codegen import Library
from functrans.compile.machine.words import BYTES, INT, WORD
from functrans.core.types import ArrayType

__all__ = ["DATA_OFFSET", "VALUE_OFFSET", "bind", "emit_entry", "stack_size"]

# PyObject_HEAD: a count of references and the type.
TYPE_OFFSET = object.__basicsize__ - 8
VALUE_OFFSET = object.__basicsize__
# Of the fields of an array object, counted from the address of its elements.
NDIM, DIMENSIONS, STRIDES, DESCRIPTION, FLAGS = 8, 16, 24, 40, 48
# Of NumPy's flags.
C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400
# Where NumPy's C-API has its functions.
ARRAY_EMPTY, ARRAY_SCALAR, SET_HANDLER = 184, 60, 304
FASTCALL = 0x80
# Bytes of workspace that are on the stack.
ON_STACK = 8192
PYTHON_FUNCTIONS = (
    "Py_IncRef", "Py_DecRef", "PyTuple_New", "PyTuple_SetItem", "PyFloat_FromDouble", "PyComplex_FromDoubles",
    "PyLong_FromLongLong", "PyLong_AsLong", "PyLong_AsLongLongAndOverflow", "PyObject_IsTrue",
    "PyEval_SaveThread", "PyEval_RestoreThread",
)  # fmt: skip
# The classes of Python's numbers, by the kind of their dtype.
NUMBERS = {"i": int, "f": float, "c": complex}


def _data_offset() -> int:
    """Where an array object holds the address of its elements; checks the fields after it."""
    array = np.empty((3, 5))
    words = (ctypes.c_size_t * 16).from_address(id(array))
    offset = 8 * list(words).index(array.ctypes.data)
    field: Callable[[int], Any] = lambda place: ctypes.c_size_t.from_address(id(array) + offset + place).value
    axes = [list((ctypes.c_ssize_t * 2).from_address(field(place))) for place in (DIMENSIONS, STRIDES)]
    flags = ctypes.c_int.from_address(id(array) + offset + FLAGS).value
    count = ctypes.c_int.from_address(id(array) + offset + NDIM).value
    is_right = count == 2 and axes == [[3, 5], [40, 8]] and field(DESCRIPTION) == id(array.dtype)
    if not is_right or not flags & C_CONTIGUOUS or not flags & ALIGNED:
        raise ImportError("functrans: the fields of this NumPy's arrays are not where they were in NumPy 1 and 2")
    return offset


DATA_OFFSET = _data_offset()


class MethodDefinition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


@cache
def functions() -> dict[str, int]:
    """The addresses of what an entry calls."""
    found = {name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in PYTHON_FUNCTIONS}
    own = {"empty": ARRAY_EMPTY, "scalar": ARRAY_SCALAR, "set_handler": SET_HANDLER}
    return found | {name: numpy_function(place) for name, place in own.items()}


def resolved(name: str) -> int:
    """The address of an object or a function by the name an entry knows it by."""
    kind, _, own = name.partition(":")
    if kind == "function":
        return functions()[own]
    if kind == "handler":
        return id(handler())
    if kind == "dtype":
        return id(np.dtype(own))
    return id(np.dtype(own).type if kind == "scalar" else OBJECTS[own])


OBJECTS = {kind.__name__: kind for kind in (np.ndarray, bool, *NUMBERS.values())} | {"NotImplemented": NotImplemented}


def bind(library: Library, entry: str, names: Sequence[str]) -> Callable[..., Any]:
    """An entry as a built-in function, bound to the table of what it refers to; the library lives as long as it does."""
    table = np.array([resolved(name) for name in names], np.uintp)
    definition = MethodDefinition(entry.encode(), library.address(entry), FASTCALL, None)
    _definitions.append(definition)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    # What Python takes for the function's module is held by it, and so is the code.
    made: Callable[..., Any] = make(ctypes.addressof(definition), table, library)
    return made


# Python reads a definition when it drops the function, after what that refers to; so they are never dropped.
_definitions: list[MethodDefinition] = []


class EntryEmitter:
    """Emits an entry at the end of its builder's function."""

    def __init__(self, module: ir.Module, name: str) -> None:
        self.function = ir.Function(module, ir.FunctionType(BYTES, [BYTES, BYTES.as_pointer(), WORD]), name)
        self.b = ir.IRBuilder(self.function.append_basic_block())
        self.names: list[str] = []
        table = self.field(self.function.args[0], DATA_OFFSET, BYTES)
        self.table = self.b.bitcast(table, BYTES.as_pointer())
        self.mismatch = self.function.append_basic_block("mismatch")
        with self.b.goto_block(self.mismatch):
            unsupported = self.load("object:NotImplemented")
            self.call("Py_IncRef", ir.VoidType(), unsupported)
            self.b.ret(unsupported)

    def field(self, base: ir.Value, offset: int, type_: ir.Type) -> ir.Value:
        """A field of an object."""
        return self.b.load(self.b.bitcast(self.b.gep(base, [WORD(offset)]), type_.as_pointer()))

    def load(self, name: str) -> ir.Value:
        """An address of the table."""
        if name not in self.names:
            self.names.append(name)
        return self.b.load(self.b.gep(self.table, [WORD(self.names.index(name))]))

    def call(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        """A call of Python or NumPy."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.b.call(self.b.bitcast(self.load(f"function:{name}"), kind.as_pointer()), arguments)

    def require(self, condition: ir.Value) -> None:
        """Go on if a condition holds, else return `NotImplemented`."""
        following = self.function.append_basic_block("right")
        self.b.cbranch(condition, following, self.mismatch)
        self.b.position_at_end(following)

    def words(self, numbers: Sequence[int]) -> ir.Value:
        """A pointer to constants: the lengths or the strides of axes."""
        name = f"words.{'x'.join(map(str, numbers))}"
        known = self.b.module.globals.get(name)
        if known is None:
            type_ = ir.ArrayType(WORD, len(numbers))
            known = ir.GlobalVariable(self.b.module, type_, name)
            known.initializer, known.global_constant, known.linkage = ir.Constant(type_, list(numbers)), True, "internal"
        return self.b.bitcast(known, WORD.as_pointer())

    def data_of(self, value: ir.Value, expected: Argument) -> ir.Value:
        """The address of an argument's elements, if it has the type and the layout."""
        b, type_, strides = self.b, expected.array_type, expected.strides
        if not type_.shape and type_.dtype.kind == "b":
            return self.truth(value)
        if not type_.shape:
            own = f"object:{NUMBERS[type_.dtype.kind].__name__}" if type_.weak else f"scalar:{type_.dtype.name}"
            self.require(b.icmp_unsigned("==", self.field(value, TYPE_OFFSET, BYTES), self.load(own)))
            if type_.weak and type_.dtype.kind == "i":
                return self.integer(value)
            return b.gep(value, [WORD(VALUE_OFFSET)])
        types = [self.load("object:ndarray"), self.load(f"dtype:{type_.dtype.name}")]
        axes = [INT(len(type_.shape)), self.words(type_.shape)]
        if strides is not None:
            axes.append(self.words([step * type_.dtype.itemsize for step in strides]))
        wanted = ALIGNED | (C_CONTIGUOUS if strides is None else 0) | (WRITEABLE if expected.donated else 0)
        data = b.call(self.checker(is_strided=strides is not None), [value, *types, INT(wanted), *axes])
        self.require(b.icmp_unsigned("!=", data, ir.Constant(BYTES, None)))
        return data

    def truth(self, value: ir.Value) -> ir.Value:
        """The address of a truth value, Python's or NumPy's, as a byte."""
        b, kind = self.b, self.field(value, TYPE_OFFSET, BYTES)
        known = [b.icmp_unsigned("==", kind, self.load(own)) for own in ("scalar:bool", "object:bool")]
        self.require(b.or_(*known))
        with b.goto_entry_block():
            room = b.alloca(ir.IntType(8))
        b.store(b.trunc(self.call("PyObject_IsTrue", INT, value), ir.IntType(8)), room)
        return b.bitcast(room, BYTES)

    def integer(self, value: ir.Value) -> ir.Value:
        """The address of a Python integer as a word, if it fits one."""
        b = self.b
        with b.goto_entry_block():
            room, overflow = b.alloca(WORD), b.alloca(INT)
        b.store(self.call("PyLong_AsLongLongAndOverflow", WORD, value, overflow), room)
        self.require(b.icmp_signed("==", b.load(overflow), INT(0)))
        return b.bitcast(room, BYTES)

    def checker(self, *, is_strided: bool) -> ir.Function:
        """The function that gives the address of an array's elements, or null if it is not of a type, dtype, flags and
        shape, or has other strides."""
        name = "data_of_strided_array" if is_strided else "data_of_array"
        known = self.b.module.globals.get(name)
        if known is not None:
            return known
        types = [BYTES, BYTES, BYTES, INT, INT, WORD.as_pointer(), *[WORD.as_pointer()] * is_strided]
        function = ir.Function(self.b.module, ir.FunctionType(BYTES, types), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        value, kind, description, wanted, ndim, lengths, *strides = function.args
        b, outside = ir.IRBuilder(function.append_basic_block()), self.b
        self.b = b
        wrong = function.append_basic_block("wrong")
        with b.goto_block(wrong):
            b.ret(ir.Constant(BYTES, None))

        def require(condition: ir.Value) -> None:
            following = function.append_basic_block("right")
            b.cbranch(condition, following, wrong)
            b.position_at_end(following)

        require(b.icmp_unsigned("==", self.field(value, TYPE_OFFSET, BYTES), kind))
        require(b.icmp_unsigned("==", self.field(value, DATA_OFFSET + NDIM, INT), ndim))
        require(b.icmp_unsigned("==", self.field(value, DATA_OFFSET + DESCRIPTION, BYTES), description))
        require(b.icmp_unsigned("==", b.and_(self.field(value, DATA_OFFSET + FLAGS, INT), wanted), wanted))
        own = self.field(value, DATA_OFFSET + DIMENSIONS, WORD.as_pointer())
        own_strides = self.field(value, DATA_OFFSET + STRIDES, WORD.as_pointer()) if is_strided else None
        before, head = b.block, b.append_basic_block("axis")
        b.branch(head)
        b.position_at_end(head)
        axis = b.phi(INT)
        axis.add_incoming(INT(0), before)
        length = b.load(b.gep(own, [axis]))
        require(b.icmp_unsigned("==", length, b.load(b.gep(lengths, [axis]))))
        if own_strides is not None:  # of an axis of length 1 they do not matter
            same = b.icmp_unsigned("==", b.load(b.gep(own_strides, [axis])), b.load(b.gep(strides[0], [axis])))
            require(b.or_(same, b.icmp_unsigned("==", length, WORD(1))))
        following = b.add(axis, INT(1))
        axis.add_incoming(following, b.block)
        done = b.append_basic_block("done")
        b.cbranch(b.icmp_unsigned("<", following, ndim), head, done)
        b.position_at_end(done)
        b.ret(self.field(value, DATA_OFFSET, BYTES))
        self.b = outside
        return function

    def require_apart(self, arrays: Sequence[tuple[ir.Value, Argument]]) -> None:
        """Return `NotImplemented` if a donated array shares memory with another."""
        b = self.b
        filled = [(data, own) for data, own in arrays if own.array_type.shape and 0 not in own.array_type.shape]
        filled.sort(key=lambda item: not item[1].donated)
        count = sum(own.donated for _, own in filled)
        if not count:
            return
        with b.goto_entry_block():
            bounds = b.alloca(WORD, 2 * len(filled))
        for place, (data, own) in enumerate(filled):
            first, size = own.span
            start = b.add(b.ptrtoint(data, WORD), WORD(first))
            b.store(start, b.gep(bounds, [WORD(2 * place)]))
            b.store(b.add(start, WORD(size)), b.gep(bounds, [WORD(2 * place + 1)]))
        share = b.call(share_memory(b.module), [bounds, WORD(count), WORD(len(filled))])
        self.require(b.not_(share))

    def made(self, type_: ArrayType, earlier: Sequence[ir.Value]) -> tuple[ir.Value | None, ir.Value]:
        """A new array and the address of its elements; for a scalar only room for it. Drops earlier ones if there is no memory."""
        b = self.b
        if not type_.shape:
            with b.goto_entry_block():
                room = b.alloca(WORD, -(-type_.dtype.itemsize // 8))
                room.align = 16
            return None, b.bitcast(room, BYTES)
        description = self.load(f"dtype:{type_.dtype.name}")
        self.call("Py_IncRef", ir.VoidType(), description)
        array = self.empty(type_, description)
        failed, following = self.function.append_basic_block("failed"), self.function.append_basic_block("made")
        b.cbranch(b.icmp_unsigned("==", array, ir.Constant(BYTES, None)), failed, following)
        b.position_at_end(failed)
        for other in earlier:
            self.call("Py_DecRef", ir.VoidType(), other)
        b.ret(ir.Constant(BYTES, None))
        b.position_at_end(following)
        return array, self.field(array, DATA_OFFSET, BYTES)

    def empty(self, type_: ArrayType, description: ir.Value) -> ir.Value:
        """A new array, a large one from the handler that keeps memory."""
        arguments = [INT(len(type_.shape)), self.words(type_.shape), description, INT(0)]
        if type_.nbytes < KEPT_LEAST:
            return self.call("empty", BYTES, *arguments)
        before = self.call("set_handler", BYTES, self.load("handler:"))
        array = self.call("empty", BYTES, *arguments)
        for own in (self.call("set_handler", BYTES, before), before):
            self.call("Py_DecRef", ir.VoidType(), own)
        return array

    def give_up_if(self, failed: ir.Value, stopped: ir.Value, arrays: Sequence[ir.Value]) -> None:
        """Drop the arrays made and return `NotImplemented`, if something failed, or nothing where Python has an exception.

        What failed last does not tell: what comes after a loop that was interrupted may fail as well.
        """
        b = self.b
        given_up, following = self.function.append_basic_block("given_up"), self.function.append_basic_block("done")
        b.cbranch(b.icmp_signed("!=", failed, INT(0)), given_up, following)
        b.position_at_end(given_up)
        for array in arrays:
            self.call("Py_DecRef", ir.VoidType(), array)
        with b.if_then(b.icmp_signed("!=", b.load(stopped), INT(0))):
            b.ret(ir.Constant(BYTES, None))
        b.branch(self.mismatch)
        b.position_at_end(following)

    def delivered(self, type_: ArrayType, array: ir.Value | None, data: ir.Value) -> ir.Value:
        """A result as an object."""
        if array is not None:
            return array
        if not type_.weak:
            return self.call("scalar", BYTES, data, self.load(f"dtype:{type_.dtype.name}"), ir.Constant(BYTES, None))
        if type_.dtype.kind == "i":
            return self.call("PyLong_FromLongLong", BYTES, self.field(data, 0, WORD))
        real = self.field(data, 0, ir.DoubleType())
        if type_.dtype.kind == "f":
            return self.call("PyFloat_FromDouble", BYTES, real)
        return self.call("PyComplex_FromDoubles", BYTES, real, self.field(data, 8, ir.DoubleType()))


def emit_entry(
    module: ir.Module,
    name: str,
    run: ir.Function,
    inputs: Sequence[Argument],
    results: Sequence[ArrayType],
    homes: Mapping[int, int],
    *,
    workspace: int | None,
    shared: int,
    is_parallel: bool,
    releases: bool,
    may_fail: bool,
) -> list[str]:
    """Emit an entry; gives the names of what it is to be bound to.

    Args:
        run: the function to call, of a table of data pointers: inputs, results, the workspace, what of it is for each thread, and what
            becomes 1 when a signal has come; and of the number of threads.
        homes: of the results that are inputs written over, the place of this input.
        workspace: its size, if it is to be on the stack; else an array is passed after the inputs.
        shared: the bytes of it that all threads share; behind them is memory for each.
        is_parallel: whether the number of threads is passed as the last argument.
        releases: whether other Python threads may run meanwhile.
        may_fail: whether `run` may give what is not 0, for an index out of bounds, or since a signal has come: then
            `NotImplemented` is returned, or nothing, since Python has an exception.
    """
    emitter = EntryEmitter(module, name)
    b = emitter.b
    objects, count = emitter.function.args[1:]
    expected = len(inputs) + (workspace is None) + is_parallel
    emitter.require(b.icmp_unsigned("==", count, WORD(expected)))
    with b.goto_entry_block():
        table, stopped = b.alloca(BYTES, len(inputs) + len(results) + 3), b.alloca(INT)
    b.store(INT(0), stopped)

    def argument(place: int) -> ir.Value:
        return b.load(b.gep(objects, [WORD(place)]))

    found = [emitter.data_of(argument(place), expected_input) for place, expected_input in enumerate(inputs)]
    for place, data in enumerate(found):
        b.store(data, b.gep(table, [WORD(place)]))
    emitter.require_apart(list(zip(found, inputs)))
    if workspace is None:
        scratch = emitter.field(argument(len(inputs)), DATA_OFFSET, BYTES)
    else:
        with b.goto_entry_block():
            room = b.alloca(ir.ArrayType(ir.IntType(8), workspace))
            room.align = 64
        scratch = b.bitcast(room, BYTES)
    for place, pointer in enumerate((scratch, b.gep(scratch, [WORD(shared)]), b.bitcast(stopped, BYTES))):
        b.store(pointer, b.gep(table, [WORD(len(inputs) + len(results) + place)]))
    number: ir.Value = emitter.call("PyLong_AsLong", WORD, argument(expected - 1)) if is_parallel else WORD(1)
    made: list[tuple[ir.Value | None, ir.Value]] = []
    new: list[ir.Value] = []
    for place, type_ in enumerate(results):
        array, data = (argument(homes[place]), found[homes[place]]) if place in homes else emitter.made(type_, new)
        made.append((array, data))
        if array is not None and place not in homes:
            new.append(array)
    for place, (_, data) in enumerate(made, len(inputs)):
        b.store(data, b.gep(table, [WORD(place)]))
    state = emitter.call("PyEval_SaveThread", BYTES) if releases else None
    failed = b.call(run, [table, number])
    if state is not None:
        emitter.call("PyEval_RestoreThread", ir.VoidType(), state)
    if may_fail:
        emitter.give_up_if(failed, stopped, new)
    for place in homes:
        emitter.call("Py_IncRef", ir.VoidType(), made[place][0])
    values = [emitter.delivered(type_, *own) for type_, own in zip(results, made)]
    if len(values) == 1:
        b.ret(values[0])
    else:
        together = emitter.call("PyTuple_New", BYTES, WORD(len(values)))
        for place, value in enumerate(values):
            emitter.call("PyTuple_SetItem", INT, together, WORD(place), value)
        b.ret(together)
    return emitter.names


def share_memory(module: ir.Module) -> ir.Function:
    """The function that tells whether one of the first ranges of addresses meets another: of where the first and the
    end of each are, how many are first ones, and how many there are."""
    name = "share_memory"
    known = module.globals.get(name)
    if known is not None:
        return known
    function = ir.Function(module, ir.FunctionType(ir.IntType(1), [WORD.as_pointer(), WORD, WORD]), name)
    function.linkage = "internal"
    bounds, donated, count = function.args
    b = ir.IRBuilder(function.append_basic_block())

    def bound(place: ir.Value, end: int) -> ir.Value:
        return b.load(b.gep(bounds, [b.add(b.mul(place, WORD(2)), WORD(end))]))

    with repeated(b, WORD(0), donated) as one, repeated(b, b.add(one, WORD(1)), count) as other:
        before = b.icmp_unsigned("<", bound(one, 0), bound(other, 1))
        with b.if_then(b.and_(before, b.icmp_unsigned("<", bound(other, 0), bound(one, 1)))):
            b.ret(ir.IntType(1)(1))
    b.ret(ir.IntType(1)(0))
    return function


def stack_size(size: int) -> int | None:
    """The room on the stack for a workspace; None if it is too large for it."""
    return max(size, 8) if size <= ON_STACK else None
