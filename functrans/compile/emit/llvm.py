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

from functrans.compile.loops import (
    Affine,
    Bind,
    Buffer,
    Carried,
    Combine,
    Compute,
    Constant,
    Index,
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
from functrans.compile.machine.registers import FLOAT16, Register, Splat, register_of, splat
from functrans.compile.machine.scalars import emitter
from functrans.compile.machine.vector_math import FUNCTIONS

__all__ = ["BYTES", "INT", "WORD", "divisible", "emit_kernel", "may_fail", "scratch_size"]

WORD, INT = ir.IntType(64), ir.IntType(32)
BYTES = ir.IntType(8).as_pointer()
INTEGER, BOOLEAN = np.dtype(np.int64), np.dtype(np.bool_)
# Bytes of one value in all lanes: four vectors of 64 bytes in flight, since a chain of polynomials waits for each of
# its steps. Measured on tanh: 2.9 ns with one, 2.0 with two, 1.4 with four.
LANE_BYTES = 256
# Bytes of own buffers beyond which fewer lanes are taken, so that they stay in the second-level cache.
CACHED = 400_000
# Bytes of own buffers beyond which they are not on the stack.
ON_STACK = 16_384
# Nanoseconds of work below which handing it to other threads costs more than it saves.
WORTH_DIVIDING = 30_000


def memory_type(dtype: np.dtype[Any]) -> ir.Type:
    """The type of an element in memory: a byte for a boolean."""
    return ir.IntType(8) if dtype.kind == "b" else ir.HalfType() if dtype == FLOAT16 else Register(dtype).type


def divisible(kernel: Kernel) -> Loop | None:
    """The outermost loop, if its rounds may be divided among threads and there is work enough to do so."""
    if len(kernel.body) != 1 or not isinstance(kernel.body[0], Loop):
        return None
    loop = kernel.body[0]
    is_free = not loop.carried and not loop.ordered and loop.index.extent > 1
    return loop if is_free and work(kernel.body) >= WORTH_DIVIDING else None


def work(body: Sequence[Statement], in_lanes: bool = False) -> float:
    """About how many nanoseconds statements take."""
    total = 0.0
    for statement in body:
        if isinstance(statement, Loop):
            total += statement.index.extent * work(statement.body, in_lanes or statement.lanes)
        elif isinstance(statement, Compute):
            total += (12 if statement.operation in FUNCTIONS else 0.5) / (8 if in_lanes else 1)
        else:
            total += 0.5 / (8 if in_lanes else 1)
    return total


def lanes_of(kernel: Kernel, loop: Loop) -> int:
    """How many rounds of a loop are computed side by side."""
    sizes = [item.target.dtype.itemsize for item in walk(loop.body) if isinstance(item, (Compute, Load))]
    lanes = LANE_BYTES // max([4, *sizes])
    private = sum(buffer.size * buffer.dtype.itemsize for buffer in kernel.own if buffer.private)
    while private * lanes > CACHED and lanes > 8:
        lanes //= 2
    # A last, shorter round does some rounds again, so few lanes are better for short loops.
    while lanes > 8 and loop.index.extent % lanes and -(-loop.index.extent // lanes) * lanes > 1.25 * loop.index.extent:
        lanes //= 2
    lanes = min(lanes, loop.index.extent)
    # Rounds beyond those of a part would be in the next one, which another thread may have.
    while lanes and length_of(loop) < loop.index.extent and length_of(loop) % lanes:
        lanes //= 2
    return lanes


def length_of(loop: Loop) -> int:
    """How many rounds of a loop are run at once; all if that is a value."""
    if loop.rounds is None or loop.rounds[0].terms != loop.rounds[1].terms:
        return loop.index.extent
    return loop.rounds[1].constant - loop.rounds[0].constant


def own_bytes(kernel: Kernel) -> list[int]:
    """The memory of each own buffer, in whole cache lines."""
    lanes = max((lanes_of(kernel, item) for item in walk(kernel.body) if isinstance(item, Loop) and item.lanes), default=1)
    return [-(-b.size * b.dtype.itemsize * (lanes if b.private else 1) // 64) * 64 for b in kernel.own]


def scratch_size(kernel: Kernel) -> int:
    """The memory a kernel is to be given for its own buffers, by each thread that runs it; 0 if they fit on the stack."""
    size = sum(own_bytes(kernel))
    return size if size > ON_STACK else 0


def may_fail(kernel: Kernel) -> bool:
    """Whether a kernel checks indices."""
    return any(isinstance(statement, Require) for statement in walk(kernel.body))


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


class Emitter:
    """Emits statements at the place of its builder, in order.

    Attributes:
        lane: the index of the loop in lanes that it is in, whose value is that of the first lane; and how many there are.
        repeated: whether a lane's round was run before, by the lanes before these; None if none is.
        cleared: buffers that were written in the loop in lanes, so that running a round again starts them anew.
        failed: where it is noted that an index is out of bounds.
        ordered: whether an ordered loop is around.
    """

    def __init__(self, builder: ir.IRBuilder, kernel: Kernel, pointers: dict[Buffer, ir.Value]) -> None:
        self.b = builder
        self.kernel = kernel
        self.values: dict[Any, ir.Value] = dict(pointers)
        self.lane: Index | None = None
        self.lanes: int | None = None
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

    # Memory

    def address(self, offset: Affine) -> ir.Value:
        """An address as a number, or one for each lane."""
        b, lanes = self.b, self.lanes
        total: ir.Value | None = None
        for index, coefficient in offset.terms:
            value = self.values[index]
            if index is self.lane:
                assert lanes is not None
                value = b.add(splat(b, value, lanes), ir.Constant(ir.VectorType(WORD, lanes), list(range(lanes))))
            elif lanes is not None and isinstance(value.type, ir.VectorType):
                value = splat(b, value, lanes)
            if coefficient != 1:
                value = b.mul(value, self.like(coefficient, value), flags=("nsw",))
            if total is not None and isinstance(total.type, ir.VectorType) != isinstance(value.type, ir.VectorType):
                assert lanes is not None
                total, value = splat(b, total, lanes), splat(b, value, lanes)
            total = value if total is None else b.add(total, value, flags=("nsw",))
        if total is None:
            return WORD(offset.constant)
        return b.add(total, self.like(offset.constant, total), flags=("nsw",)) if offset.constant else total

    @staticmethod
    def like(number: int, value: ir.Value) -> ir.Constant:
        """A number of a value's type."""
        return Splat(value.type, WORD(number)) if isinstance(value.type, ir.VectorType) else WORD(number)

    def place(self, buffer: Buffer, offset: Affine) -> tuple[ir.Value, int | None]:
        """Where the element of the first lane is, and the step to that of the next; the step is None for no order."""
        if self.lanes is None:
            return self.b.gep(self.values[buffer], [self.address(offset)], inbounds=True), 0
        if buffer.private:
            start = self.b.mul(self.address(offset), WORD(self.lanes), flags=("nsw",))
            return self.b.gep(self.values[buffer], [start], inbounds=True), 1
        step = dict(offset.terms).get(self.lane, 0)  # type: ignore[arg-type]
        rest = [(index, n) for index, n in offset.terms if index is not self.lane]
        if any(isinstance(self.values[index].type, ir.VectorType) for index, _ in rest):
            return self.address(offset), None
        start = self.address(Affine(tuple(rest), offset.constant))
        if step:
            assert self.lane is not None
            first = self.b.mul(self.values[self.lane], WORD(step), flags=("nsw",)) if step != 1 else self.values[self.lane]
            start = self.b.add(start, first, flags=("nsw",))
        return self.b.gep(self.values[buffer], [start], inbounds=True), step

    def vector_pointer(self, buffer: Buffer, place: ir.Value) -> ir.Value:
        """A pointer to all lanes."""
        assert self.lanes is not None
        return self.b.bitcast(place, ir.VectorType(memory_type(buffer.dtype), self.lanes).as_pointer())

    def load(self, buffer: Buffer, offset: Affine) -> ir.Value:
        """An element, or that of each lane."""
        place, step = self.place(buffer, offset)
        size = buffer.dtype.itemsize
        if step == 0:
            value = self.b.load(place)
        elif step == 1:
            value = self.b.load(self.vector_pointer(buffer, place), align=size)
        else:
            value = self.b.call(self.mover("load", buffer, step is None), self.moved(buffer, place, step))
        return self.from_memory(buffer.dtype, value)

    def load_pair(self, buffer: Buffer, offset: Affine) -> list[ir.Value]:
        """Every second element, and the elements beside these."""
        assert self.lanes is not None
        place, _ = self.place(buffer, offset)
        both = ir.VectorType(memory_type(buffer.dtype), 2 * self.lanes)
        value = self.b.load(self.b.bitcast(place, both.as_pointer()), align=buffer.dtype.itemsize)
        masks = ([start + 2 * lane for lane in range(self.lanes)] for start in (0, 1))
        undefined, mask_type = ir.Constant(both, ir.Undefined), ir.VectorType(INT, self.lanes)
        parts = (self.b.shuffle_vector(value, undefined, ir.Constant(mask_type, mask)) for mask in masks)
        return [self.from_memory(buffer.dtype, part) for part in parts]

    def store(self, buffer: Buffer, offset: Affine, *values: ir.Value) -> None:
        """Write an element, or that of each lane; two values to every second element and to those beside them."""
        place, step = self.place(buffer, offset)
        values = tuple(self.to_memory(buffer.dtype, value) for value in values)
        if step == 0:
            self.b.store(*values, place)
            return
        assert self.lanes is not None
        value, *beside = (splat(self.b, value, self.lanes) for value in values)
        if beside:
            mask = [start + lane for lane in range(self.lanes) for start in (0, self.lanes)]
            value = self.b.shuffle_vector(value, *beside, ir.Constant(ir.VectorType(INT, 2 * self.lanes), mask))
            self.b.store(value, self.b.bitcast(place, value.type.as_pointer()), align=buffer.dtype.itemsize)
        elif step == 1:
            self.b.store(value, self.vector_pointer(buffer, place), align=buffer.dtype.itemsize)
        else:
            self.b.call(self.mover("store", buffer, step is None), [*self.moved(buffer, place, step), value])

    def from_memory(self, dtype: np.dtype[Any], value: ir.Value) -> ir.Value:
        """What was loaded as it is in registers."""
        register = register_of(dtype, value.type.count if isinstance(value.type, ir.VectorType) else None)
        if dtype.kind == "b":
            return self.b.trunc(value, register.type)
        return self.b.fpext(value, register.type) if dtype == FLOAT16 else value

    def to_memory(self, dtype: np.dtype[Any], value: ir.Value) -> ir.Value:
        """What is in registers as it is stored."""
        element = memory_type(dtype)
        type_ = ir.VectorType(element, value.type.count) if isinstance(value.type, ir.VectorType) else element
        if dtype.kind == "b":
            return self.b.zext(value, type_)
        return self.b.fptrunc(value, type_) if dtype == FLOAT16 else value

    def moved(self, buffer: Buffer, place: ir.Value, step: int | None) -> list[ir.Value]:
        """The arguments of a `mover`: a pointer and a step, or a pointer and an address for each lane."""
        return [self.values[buffer], place] if step is None else [place, WORD(step)]

    def mover(self, what: str, buffer: Buffer, indexed: bool) -> ir.Function:
        """The function that loads or stores elements that are not side by side."""
        module, lanes = self.b.module, self.lanes
        assert lanes is not None
        element = memory_type(buffer.dtype)
        vector = ir.VectorType(element, lanes)
        name = f"{what}.{'indexed' if indexed else 'strided'}.{buffer.dtype.name}x{lanes}"
        known = module.globals.get(name)
        if known is not None:
            return known
        types = [element.as_pointer(), ir.VectorType(WORD, lanes) if indexed else WORD]
        kind = ir.FunctionType(vector, types) if what == "load" else ir.FunctionType(ir.VoidType(), [*types, vector])
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        b = ir.IRBuilder(function.append_basic_block())
        pointer, steps = function.args[:2]
        value: ir.Value = ir.Constant(vector, ir.Undefined)
        for lane in range(lanes):
            place = b.extract_element(steps, WORD(lane)) if indexed else b.mul(steps, WORD(lane))
            if what == "load":
                value = b.insert_element(value, b.load(b.gep(pointer, [place])), WORD(lane))
            else:
                b.store(b.extract_element(function.args[2], WORD(lane)), b.gep(pointer, [place]))
        if what == "load":
            b.ret(value)
        else:
            b.ret_void()
        return function

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
        number = ir.IntType(32)
        while lanes > 1:
            half, odd = divmod(lanes, 2)
            undefined = ir.Constant(value.type, ir.Undefined)
            mask = ir.VectorType(number, half)
            low = b.shuffle_vector(value, undefined, ir.Constant(mask, list(range(half))))
            high = b.shuffle_vector(value, undefined, ir.Constant(mask, list(range(half, 2 * half))))
            total = self.apply(operation, [dtype, dtype], dtype, [low, high])
            if odd:
                first = b.extract_element(total, number(0))
                last = b.extract_element(value, number(lanes - 1))
                total = b.insert_element(total, self.apply(operation, [dtype, dtype], dtype, [first, last]), number(0))
            value, lanes = total, half
        return b.extract_element(value, number(0))

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


def fill_with_zeros(b: ir.IRBuilder, place: ir.Value, nbytes: ir.Value) -> None:
    """Fill memory as the system does."""
    fill = b.module.declare_intrinsic("llvm.memset", [BYTES, WORD])
    b.call(fill, [b.bitcast(place, BYTES), ir.IntType(8)(0), nbytes, ir.IntType(1)(0)])


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
