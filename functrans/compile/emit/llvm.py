"""The loop representation as LLVM IR.

Each kernel is an internal function that is not inlined, whose pointers do not alias; the time LLVM takes grows
linearly with the number of kernels. Loops in lanes become loops over vectors here, so LLVM's own vectoriser has
nothing to do: scalars that differ from round to round are vectors, all others stay scalars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.emit.access import Access, fill_with_zeros, memory_type
from functrans.compile.emit.resources import divisible, lanes_of, may_fail, own_bytes, scratch_size
from functrans.compile.loops import (
    Affine,
    Bind,
    Buffer,
    Carried,
    Combine,
    Compute,
    Constant,
    Kernel,
    Load,
    Loop,
    Operand,
    Position,
    Require,
    Scalar,
    Statement,
    Store,
    walk,
)
from functrans.compile.machine.casts import convert, rounded
from functrans.compile.machine.registers import FLOAT16, register_of, splat
from functrans.compile.machine.scalars import emitter
from functrans.compile.machine.words import BYTES, INT, WORD

__all__ = ["emit_kernel"]

INTEGER, BOOLEAN = np.dtype(np.int64), np.dtype(np.bool_)


def emit_kernel(module: ir.Module, kernel: Kernel) -> ir.Function:
    """The function of `kernel`: of one pointer per buffer, of one to what becomes 1 if an index is out of bounds, if
    it checks any, of scratch memory if it needs any, and of the rounds to run of the outermost loop if that is divisible."""
    buffers = [*kernel.inputs, *kernel.outputs]
    divided, scratch = divisible(kernel), scratch_size(kernel)
    pointers = [memory_type(buffer.dtype).as_pointer() for buffer in buffers]
    pointers += [INT.as_pointer()] * may_fail(kernel) + [BYTES] * bool(scratch)
    types = [*pointers, *([WORD, WORD] if divided else [])]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), module.get_unique_name(kernel.name))
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    for argument in function.args[: len(pointers)]:
        argument.add_attribute("noalias")
    b = ir.IRBuilder(function.append_basic_block())
    emitter = Emitter(b, kernel, dict(zip(buffers, function.args)))
    if may_fail(kernel):
        emitter.failed = function.args[len(buffers)]
    place = 0
    for buffer, size in zip(kernel.own, own_bytes(kernel)):
        if scratch:
            own = b.gep(function.args[len(pointers) - 1], [WORD(place)])
        else:
            own = b.alloca(ir.ArrayType(ir.IntType(8), size))
            own.align = 64
        emitter.values[buffer] = b.bitcast(own, memory_type(buffer.dtype).as_pointer())
        place += size
    if divided is None:
        emitter.block(kernel.body)
    else:
        emitter.loop(divided, *function.args[len(pointers) :])
    b.ret_void()
    return function


class Emitter(Access):
    """Emits statements at the place of its builder, in order.

    Attributes:
        repeated: whether a lane's round was run before, by the lanes before these; None if none is.
        cleared: buffers that were written in the loop in lanes, so that running a round again starts them anew.
        failed: where it is noted that an index is out of bounds.
        ordered: whether an ordered loop is around.
    """

    def __init__(self, builder: ir.IRBuilder, kernel: Kernel, pointers: dict[Buffer, ir.Value]) -> None:
        super().__init__(builder, pointers)
        self.kernel = kernel
        self.repeated: ir.Value | None = None
        self.cleared: set[Buffer] = set()
        self.failed: ir.Value | None = None
        self.ordered = False

    def block(self, body: Sequence[Statement]) -> None:
        """Emit statements."""
        for statement, *beside in self.in_pairs(body):
            match statement:
                case Compute(target, operation, operands):
                    self.values[target] = self.compute(target, operation, operands)
                case Position(target, offset):
                    self.values[target] = self.address(offset)
                case Bind(index, value):
                    self.values[index] = self.of(value)
                case Require(condition):
                    self.require(self.of(condition))
                case Load(target, buffer, offset) if beside:
                    self.values[target], self.values[beside[0].target] = self.load_pair(buffer, offset)
                case Load(target, buffer, offset):
                    self.values[target] = self.load(buffer, offset)
                case Store(buffer, offset, value):
                    self.store(buffer, offset, self.of(value), *(self.of(other.value) for other in beside))
                    self.cleared.add(buffer)
                case Combine(buffer, offset, operation, value):
                    self.combine(buffer, offset, operation, self.of(value), *(self.of(other.value) for other in beside))
                case Loop():
                    if statement.lanes and self.lanes is None:
                        self.loop_in_lanes(statement)
                    else:
                        self.loop(statement)

    def in_pairs(self, body: Sequence[Statement]) -> Iterator[tuple[Any, ...]]:
        """The statements; together those that access every second element in lanes, and the elements beside these."""
        waiting = list(reversed(body))
        while waiting:
            statement = waiting.pop()
            if waiting and self.lanes is not None and self.are_beside(statement, waiting[-1]):
                yield statement, waiting.pop()
            else:
                yield (statement,)

    def are_beside(self, statement: Statement, other: Statement) -> bool:
        """Whether two statements access elements side by side, that are two elements from those of the next lane."""
        match statement, other:
            case (
                (Load(_, buffer, offset), Load(_, same, following))
                | (Store(buffer, offset), Store(same, following))
                | (Combine(buffer, offset), Combine(same, following))
            ):
                is_next = buffer is same and following == offset + 1 and not buffer.private
                others = [self.values[index].type for index, _ in offset.terms if index is not self.lane]
                every_second = (self.lane, 2) in offset.terms
                return is_next and every_second and not any(isinstance(type_, ir.VectorType) for type_ in others)
        return False

    def of(self, operand: Operand) -> ir.Value:
        """The value of an operand."""
        if isinstance(operand, Constant):
            return register_of(operand.dtype)(operand.dtype.type(operand.value))
        return self.values[operand]

    # Operations

    def compute(self, target: Scalar, operation: str, operands: tuple[Operand, ...]) -> ir.Value:
        """The value of an operation, in lanes if one of the operands is."""
        dtypes = [operand.dtype for operand in operands]
        return self.apply(operation, dtypes, target.dtype, list(map(self.of, operands)))

    def apply(self, operation: str, dtypes: Sequence[np.dtype[Any]], result: np.dtype[Any], values: list[ir.Value]) -> ir.Value:
        """An operation on values of some dtypes."""
        lanes = next((value.type.count for value in values if isinstance(value.type, ir.VectorType)), None)
        if lanes is not None:
            values = [splat(self.b, value, lanes) for value in values]
        register = register_of(dtypes[0], lanes)
        if operation == "where":
            return self.b.select(*values)
        if operation == "convert":
            return convert(self.b, values[0], dtypes[0], result, lanes)
        value = emitter(operation, register)(self.b, register, *values)
        return rounded(self.b, value) if result == FLOAT16 else value

    def require(self, condition: ir.Value) -> None:
        """Note that an index is out of bounds, unless the condition holds in every lane."""
        if isinstance(condition.type, ir.VectorType):
            condition = self.across("logical_and", BOOLEAN, condition)
        with self.b.if_then(self.b.not_(condition), likely=False):
            self.b.store_atomic(INT(1), self.failed, "monotonic", 4)

    def combine(self, buffer: Buffer, offset: Affine, operation: str, *values: ir.Value) -> None:
        """Take a value, or those of all lanes, into an element; two values into elements side by side."""
        dtype = buffer.dtype
        _, step = self.place(buffer, offset)
        results = []
        for beside, value in enumerate(values):
            if self.lanes is not None:
                value = splat(self.b, value, self.lanes)
                if self.repeated is not None and buffer not in self.cleared:
                    identity = register_of(dtype, self.lanes)(neutral(operation, dtype))
                    value = self.b.select(self.repeated, identity, value)
                if step == 0:
                    value = self.across(operation, dtype, value)
            results.append(self.apply(operation, [dtype, dtype], dtype, [self.load(buffer, offset + beside), value]))
        self.store(buffer, offset, *results)

    def across(self, operation: str, dtype: np.dtype[Any], value: ir.Value) -> ir.Value:
        """An operation on all lanes of a vector, by halves."""
        b, lanes = self.b, value.type.count
        while lanes > 1:
            half, odd = divmod(lanes, 2)
            undefined = ir.Constant(value.type, ir.Undefined)
            mask = ir.VectorType(INT, half)
            low = b.shuffle_vector(value, undefined, ir.Constant(mask, list(range(half))))
            high = b.shuffle_vector(value, undefined, ir.Constant(mask, list(range(half, 2 * half))))
            total = self.apply(operation, [dtype, dtype], dtype, [low, high])
            if odd:
                first = b.extract_element(total, INT(0))
                last = b.extract_element(value, INT(lanes - 1))
                total = b.insert_element(total, self.apply(operation, [dtype, dtype], dtype, [first, last]), INT(0))
            value, lanes = total, half
        return b.extract_element(value, INT(0))

    # Loops

    def loop(self, loop: Loop, start: ir.Value | None = None, stop: ir.Value | None = None) -> None:
        """Emit a loop, or its rounds from `start` to `stop`. Without rounds carried scalars stay as they are."""
        if loop.lanes and self.lanes is None:
            self.loop_in_lanes(loop, start, stop)
            return
        first = [self.widened(item) for item in loop.carried]
        if loop.index.extent == 0:
            self.values.update(zip(loop.results, first))
            return
        start, stop = self.bounds(loop, start, stop)
        counter, phis = self.begin(loop, start, stop, first)
        self.values[loop.index] = counter
        self.values.update(zip((item.inside for item in loop.carried), phis))
        ordered, self.ordered = self.ordered, self.ordered or loop.ordered
        self.block(loop.body)
        self.ordered = ordered
        self.end(loop, counter, 1, stop, phis, [self.of(item.following) for item in loop.carried])
        self.values.update(zip(loop.results, phis))

    def loop_in_lanes(self, loop: Loop, start: ir.Value | None = None, stop: ir.Value | None = None) -> None:
        """Emit a loop whose rounds are computed side by side, as many as there are lanes.

        The last round starts early enough to be whole: what it does again gives the same, but in what is carried
        or combined, where it is left out. Where it would not, or would write what another thread writes, it has fewer
        lanes instead.
        """
        extent = loop.index.extent
        first = [self.of(item.first) for item in loop.carried]
        if extent == 0:
            self.values.update(zip(loop.results, first))
            return
        start, stop = self.bounds(loop, start, stop)
        if clears(loop):
            self.clear(loop, start, stop)
            return
        lanes = lanes_of(self.kernel, loop)
        repeats = extent % lanes != 0 and self.may_repeat(loop)
        if extent % lanes == 0 or repeats:
            self.values.update(zip(loop.results, self.rounds_in_lanes(loop, lanes, start, stop, first, repeats)))
            return
        whole = WORD(extent - extent % lanes)
        first = self.rounds_in_lanes(loop, lanes, start, self.lesser(stop, whole), first, False)
        start = self.b.select(self.b.icmp_signed("<", start, whole), whole, start)
        self.values.update(zip(loop.results, self.rounds_in_lanes(loop, extent % lanes, start, stop, first, False)))

    def clear(self, loop: Loop, start: ir.Value, stop: ir.Value) -> None:
        """Emit the rounds of a loop that fills memory with zeros as what the system has for it."""
        b, store = self.b, loop.body[0]
        assert isinstance(store, Store)
        self.values[loop.index] = start
        place, _ = self.place(store.buffer, store.offset)
        count = self.b.mul(b.sub(stop, start), WORD(store.buffer.dtype.itemsize))
        with b.if_then(b.icmp_signed(">", count, WORD(0))):
            fill_with_zeros(b, place, count)

    def rounds_in_lanes(
        self, loop: Loop, lanes: int, start: ir.Value, stop: ir.Value, before: Sequence[ir.Value], repeats: bool
    ) -> list[ir.Value]:
        """Emit rounds of a loop by a number of lanes; gives what is carried after them, from what it was `before`.

        If it `repeats`, the last round does some rounds again.
        """
        b, extent = self.b, loop.index.extent
        own = [operation_of(loop, item) for item in loop.carried]
        first = [
            register_of(item.inside.dtype, lanes)(neutral(operation, item.inside.dtype))
            for item, operation in zip(loop.carried, own)
        ]
        self.lanes, self.lane, self.cleared = lanes, loop.index, set()
        counter, phis = self.begin(loop, start, stop, first)
        place = counter
        if repeats:
            last = WORD(extent - lanes)
            place = b.select(b.icmp_signed(">", counter, last), last, counter)
            numbers = ir.Constant(ir.VectorType(WORD, lanes), list(range(lanes)))
            self.repeated = b.icmp_signed("<", numbers, splat(b, b.sub(counter, place), lanes))
        self.values[loop.index] = place
        self.values.update(zip((item.inside for item in loop.carried), phis))
        self.block(loop.body)
        following = [splat(b, self.of(item.following), lanes) for item in loop.carried]
        if self.repeated is not None:
            following = [b.select(self.repeated, phi, value) for phi, value in zip(phis, following)]
        self.end(loop, counter, lanes, stop, phis, following)
        self.lanes = self.lane = self.repeated = None
        results = []
        for item, operation, value, begun in zip(loop.carried, own, phis, before):
            dtype = item.inside.dtype
            results.append(self.apply(operation, [dtype, dtype], dtype, [begun, self.across(operation, dtype, value)]))
        return results

    def may_repeat(self, loop: Loop) -> bool:
        """Whether running a round again leaves what it, or another thread, has written as it is.

        That is so if each element is written once, with what no round changes: not combined with what is there,
        not cleared before, and not written over in a later round of an ordered loop around.
        """
        parameters = {*self.kernel.inputs, *self.kernel.outputs}
        accesses = [item for item in walk(loop.body) if isinstance(item, (Load, Store, Combine)) and item.buffer in parameters]
        read = {item.buffer for item in accesses if isinstance(item, Load)}
        written = [item.buffer for item in accesses if not isinstance(item, Load)]
        overwritten = any(buffer in read and buffer in self.kernel.inputs for buffer in written)
        combined = any(isinstance(item, Combine) for item in accesses)
        return not (overwritten or combined or self.ordered and written or len(set(written)) < len(written))

    def bounds(self, loop: Loop, start: ir.Value | None, stop: ir.Value | None) -> tuple[ir.Value, ir.Value]:
        """The first and the end of a loop's rounds."""
        if start is not None and stop is not None:
            return start, stop
        extent = WORD(loop.index.extent)
        if loop.rounds is None:
            return WORD(0), extent
        start, end = map(self.address, loop.rounds)
        return start, self.lesser(end, extent)

    def lesser(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """The lesser of two numbers."""
        return self.b.select(self.b.icmp_signed("<", one, other), one, other)

    def widened(self, item: Carried) -> ir.Value:
        """The first value of a carried scalar, in lanes if the loop is inside a loop in lanes."""
        value = self.of(item.first)
        return value if self.lanes is None else splat(self.b, value, self.lanes)

    def begin(self, loop: Loop, start: ir.Value, stop: ir.Value, first: list[ir.Value]) -> tuple[ir.Value, list[ir.Value]]:
        """The head of a loop: the counter, and the carried values. The condition is checked before each round."""
        b = self.b
        before, head = b.block, b.append_basic_block("loop")
        body = b.append_basic_block("round")
        b.branch(head)
        b.position_at_end(head)
        counter = b.phi(WORD)
        counter.add_incoming(start, before)
        phis = []
        for value in first:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        after = b.append_basic_block("done")
        b.cbranch(b.icmp_signed("<", counter, stop), body, after)
        b.position_at_end(body)
        return counter, phis

    def end(
        self, loop: Loop, counter: ir.Value, step: int, stop: ir.Value, phis: list[ir.Value], following: list[ir.Value]
    ) -> None:
        """The end of a round, and the place after the loop."""
        b = self.b
        if self.lanes is not None:
            following = [splat(b, value, self.lanes) for value in following]
        for phi, value in zip(phis, following):
            phi.add_incoming(value, b.block)
        counter.add_incoming(b.add(counter, WORD(step), flags=("nsw",)), b.block)
        head = counter.parent
        b.branch(head)
        b.position_at_end(head.terminator.operands[2])


def clears(loop: Loop) -> bool:
    """Whether all that a loop does is to fill elements side by side with zeros."""
    match loop.body:
        case [Store(buffer, Affine(((index, 1), *_)), Constant(number, dtype))] if index is loop.index and not buffer.private:
            return not dtype.type(number).tobytes().strip(b"\0")
    return False


def operation_of(loop: Loop, item: Carried) -> str:
    """The operation a carried scalar is made by."""
    for statement in loop.body:
        if isinstance(statement, Compute) and statement.target is item.following:
            return "add" if statement.operation == "multiply_add" else statement.operation
        if isinstance(statement, Loop):
            for result, inner in zip(statement.results, statement.carried):
                if result is item.following:
                    return operation_of(statement, inner)
    raise AssertionError("what a loop carries is not made in it")


def neutral(operation: str, dtype: np.dtype[Any]) -> Any:
    """The number that an operation leaves its other operand as it is with."""
    if operation == "add":
        return -0.0 if dtype.kind == "f" else 0
    if operation == "logical_or":
        return 0
    if operation in ("logical_and", "multiply"):
        return 1
    if dtype.kind == "f":
        return -np.inf if operation == "maximum" else np.inf
    if dtype.kind == "b":
        return operation == "minimum"
    limits = np.iinfo(dtype)
    return limits.min if operation == "maximum" else limits.max
