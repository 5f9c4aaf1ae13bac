"""The loop representation as LLVM IR.

Each kernel is an internal function that is not inlined, whose pointers do not alias: LLVM vectorises
its loops without run-time checks, and the time it takes grows linearly with the number of kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.loops import (
    Affine,
    Bind,
    Buffer,
    Compute,
    Constant,
    Kernel,
    Load,
    Loop,
    Operand,
    Position,
    Scalar,
    Statement,
    Store,
    walk,
)
from functrans.compile.scalars import FROM_LIBRARY, OPERATIONS, convert, llvm_type, number
from functrans.compile.vector_math import VECTOR_MATH, WIDE

__all__ = ["BYTES", "WORD", "divisible", "emit_kernel"]

WORD = ir.IntType(64)
BYTES = ir.IntType(8).as_pointer()
# Vectors of a loop in flight: measured on chains of tanh, 3.6 ns a tanh alone, 2.1 with two, 1.3 with four.
INTERLEAVED = 4
# Nanoseconds of work below which handing it to other threads costs more than it saves.
WORTH_DIVIDING = 30_000


def memory_type(dtype: np.dtype[Any]) -> ir.Type:
    """The type of an element in memory: a byte for a boolean."""
    return ir.IntType(8) if dtype.kind == "b" else llvm_type(dtype)


def emit_kernel(module: ir.Module, kernel: Kernel) -> ir.Function:
    """The function of `kernel`: of one pointer per buffer."""
    bounded = any(isinstance(statement, Compute) and statement.operation in WIDE for statement in walk(kernel.body))
    if not bounded:
        return emit_function(module, kernel, kernel.name, exact=False)
    if not any(isinstance(statement, Loop) for statement in kernel.body):
        return emit_function(module, kernel, kernel.name, exact=True)
    slow = emit_function(module, kernel, f"{kernel.name}_exact", exact=True)
    return emit_function(module, kernel, kernel.name, exact=False, fallback=slow)


def divisible(kernel: Kernel) -> Loop | None:
    """The outermost loop, if its rounds may be divided among threads and there is work enough to do so."""
    if len(kernel.body) != 1 or not isinstance(kernel.body[0], Loop):
        return None
    loop = kernel.body[0]
    return loop if not loop.carried and loop.index.extent > 1 and work(kernel.body) >= WORTH_DIVIDING else None


def work(body: list[Statement]) -> int:
    """About how many nanoseconds statements take."""
    total = 0
    for statement in body:
        if isinstance(statement, Loop):
            total += statement.index.extent * work(statement.body)
        elif isinstance(statement, Compute):
            total += 12 if statement.operation in FROM_LIBRARY else 1
        else:
            total += 1
    return total // 8 if body and not any(isinstance(statement, Loop) for statement in body) else total


def emit_function(
    module: ir.Module, kernel: Kernel, name: str, *, exact: bool, fallback: ir.Function | None = None
) -> ir.Function:
    """`kernel` with vectorised functions, or with the C library's where an argument's size matters.

    With a `fallback`, that is called at the end if an argument was too large for the vectorised functions.
    """
    buffers = [*kernel.inputs, *kernel.outputs]
    divided = divisible(kernel)
    range_types = [WORD, WORD] if divided else []
    pointer_types = [memory_type(buffer.dtype).as_pointer() for buffer in buffers]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [*pointer_types, *range_types]), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    for argument in function.args[: len(buffers)]:
        argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block())
    emitter = Emitter(builder, dict(zip(buffers, function.args)), exact)
    if divided is None:
        emitter.block(kernel.body)
        call_if_too_large(builder, emitter, fallback, function)
    else:
        start, stop = function.args[len(buffers) :]
        with builder.if_then(builder.icmp_signed("<", start, stop)):
            emitter.loop(divided, start, stop)
            call_if_too_large(builder, emitter, fallback, function)
    builder.ret_void()
    return function


def call_if_too_large(builder: ir.IRBuilder, emitter: Emitter, fallback: ir.Function | None, function: ir.Function) -> None:
    """Do the work again by `fallback` if an argument was beyond a vectorised function's bound."""
    if fallback is not None:
        with builder.if_then(emitter.too_large, likely=False):
            builder.call(fallback, function.args)


class Emitter:
    """Emits statements at the place of its builder, in order."""

    def __init__(self, builder: ir.IRBuilder, pointers: dict[Buffer, ir.Value], exact: bool) -> None:
        self.b = builder
        self.exact = exact
        self.too_large: ir.Value = ir.IntType(1)(0)  # whether an argument was beyond a function's bound so far
        self.values: dict[Any, ir.Value] = dict(pointers)
        self.sums: set[Scalar] = set()  # additions that may be taken in any order

    def block(self, body: list[Statement]) -> None:
        """Emit statements."""
        for statement in body:
            match statement:
                case Compute(target, operation, operands):
                    self.values[target] = self.compute(target, operation, operands)
                case Position(target, offset):
                    self.values[target] = self.address(offset)
                case Bind(index, value):
                    self.values[index] = self.of(value)
                case Load(target, buffer, offset):
                    value = self.b.load(self.element(buffer, offset))
                    self.values[target] = self.b.trunc(value, ir.IntType(1)) if buffer.dtype.kind == "b" else value
                case Store(buffer, offset, value):
                    stored = self.of(value)
                    if buffer.dtype.kind == "b":
                        stored = self.b.zext(stored, ir.IntType(8))
                    self.b.store(stored, self.element(buffer, offset))
                case Loop():
                    self.loop(statement)

    def of(self, operand: Operand) -> ir.Value:
        """The value of an operand."""
        return number(operand.value, operand.dtype) if isinstance(operand, Constant) else self.values[operand]

    def address(self, offset: Affine) -> ir.Value:
        """An address as a number."""
        total: ir.Value | None = None
        for index, coefficient in offset.terms:
            value = self.values[index]
            term = value if coefficient == 1 else self.b.mul(value, WORD(coefficient), flags=("nsw",))
            total = term if total is None else self.b.add(total, term, flags=("nsw",))
        if total is None:
            return WORD(offset.constant)
        return self.b.add(total, WORD(offset.constant), flags=("nsw",)) if offset.constant else total

    def element(self, buffer: Buffer, offset: Affine) -> ir.Value:
        """A pointer to an element."""
        return self.b.gep(self.values[buffer], [self.address(offset)], inbounds=True)

    def compute(self, target: Scalar, operation: str, operands: tuple[Operand, ...]) -> ir.Value:
        """The value of an operation."""
        values = list(map(self.of, operands))
        if operation == "where":
            return self.b.select(*values)
        if operation == "convert":
            return convert(self.b, values[0], operands[0].dtype, target.dtype)
        if target in self.sums:
            return self.b.fadd(*values, flags=("reassoc",))
        dtype = operands[0].dtype
        if operation in WIDE:
            if self.exact:
                return FROM_LIBRARY[operation](self.b, dtype, *values)
            size = OPERATIONS["absolute"][1](self.b, dtype, *values)
            beyond = self.b.fcmp_ordered(">", size, number(WIDE[operation][dtype.itemsize], dtype))
            self.too_large = self.b.or_(self.too_large, beyond)
        return OPERATIONS[operation][1](self.b, dtype, *values)

    def loop(self, loop: Loop, start: ir.Value | None = None, stop: ir.Value | None = None) -> None:
        """Emit a loop, or its rounds from `start` to `stop`, of which there must be one.

        A loop without rounds leaves the carried scalars at their first values.
        """
        b = self.b
        first = [self.of(item.first) for item in loop.carried]
        if loop.index.extent == 0:
            self.values.update(zip(loop.results, first))
            return
        before, head = b.block, b.append_basic_block("loop")
        after = b.append_basic_block("done")
        b.branch(head)
        b.position_at_end(head)
        counter = b.phi(WORD)
        counter.add_incoming(WORD(0) if start is None else start, before)
        self.values[loop.index] = counter
        phis = []
        for item, value in zip(loop.carried, first):
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            self.values[item.inside] = phi
            phis.append(phi)
        too_large = b.phi(ir.IntType(1))
        too_large.add_incoming(self.too_large, before)
        self.too_large = too_large
        if loop.reorder:
            following = [item.following for item in loop.carried]
            self.sums.update(item for item in following if isinstance(item, Scalar) and item.dtype.kind == "f")
        self.block(loop.body)
        following = b.add(counter, WORD(1), flags=("nsw", "nuw"))
        counter.add_incoming(following, b.block)
        too_large.add_incoming(self.too_large, b.block)
        for phi, item, result in zip(phis, loop.carried, loop.results):
            value = self.of(item.following)
            phi.add_incoming(value, b.block)
            self.values[result] = value
        branch = b.cbranch(b.icmp_unsigned("<", following, WORD(loop.index.extent) if stop is None else stop), head, after)
        if any(isinstance(statement, Compute) and statement.operation in VECTOR_MATH for statement in loop.body):
            interleave(b.module, branch)
        b.position_at_end(after)


def interleave(module: ir.Module, branch: ir.Instruction) -> None:
    """Ask LLVM to work on four vectors at once: a chain of polynomials waits for each of its steps."""
    option = module.add_metadata([ir.MetaDataString(module, "llvm.loop.interleave.count"), ir.IntType(32)(INTERLEAVED)])
    loop = module.add_metadata([ir.MetaDataString(module, f"loop {len(module.metadata)}"), option])
    loop.operands = (loop, option)  # a loop is told apart by naming itself first
    branch.set_metadata("llvm.loop", loop)
