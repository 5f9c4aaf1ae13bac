"""Rounds of loops, as they are emitted: calls of a body, what one round hands on to the next, and what is on a tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from llvmlite import ir

from functrans.compile.machine.signals import INTERRUPTED, emit_poll
from functrans.compile.machine.words import BYTES, INT, WORD
from functrans.compile.schedule.memory import ALIGNMENT, aligned
from functrans.compile.schedule.steps import Body
from functrans.core.program import Atom

__all__ = ["BodyCall", "Carry", "Surroundings", "Tape", "copy", "limit", "poll", "rounds"]

# Records that a tape has room for at first.
FIRST_RECORDS = 64


@dataclass
class Surroundings:
    """Where a loop or a branch is emitted.

    Attributes:
        pointers: to the values it reads and writes, and to its scratch memory.
        number: of threads.
        failed: where it is noted that something failed.
        beyond: memory for each thread.
        stopped: where it is noted for all threads that a signal has come.
        nested: emits a body; the memory for each thread that is needed beside what the body does may be given.
        share: emits calls of a function for a number of rounds, divided among threads, each with so much memory of its own.
        note_failure: notes that the program may fail.
    """

    b: ir.IRBuilder
    pointers: Mapping[Atom, ir.Value]
    number: ir.Value
    failed: ir.Value
    beyond: ir.Value
    stopped: ir.Value
    nested: Callable[..., Nested]
    share: Callable[[ir.Function, list[ir.Value], int, int], None]
    note_failure: Callable[[], None]


class Nested(Protocol):
    """What `Surroundings.nested` gives: the function of a body, and the memory it needs beside its own for each thread."""

    run: ir.Function
    scratch: int


class BodyCall:
    """Calls of one body, in a loop or once.

    Attributes:
        stop: the block to go to where it fails.
    """

    def __init__(self, around: Surroundings, body: Body, function: ir.Function, room: ir.Value, stop: ir.Block) -> None:
        self.around, self.body, self.stop, self.function = around, body, stop, function
        own = (*body.plan.inputs, *body.plan.results)
        self.places = {variable: place for place, variable in enumerate(own)}
        b = around.b
        with b.goto_entry_block():
            self.table = b.alloca(BYTES, len(own) + 3)
        for place, pointer in enumerate((room, around.beyond, b.bitcast(around.stopped, BYTES)), len(own)):
            b.store(pointer, b.gep(self.table, [WORD(place)]))

    def point(self, variable: Atom, pointer: ir.Value) -> None:
        """Let the body find a value somewhere, unless it is none it reads or writes."""
        place = self.places.get(variable)
        if place is not None:
            self.around.b.store(pointer, self.around.b.gep(self.table, [WORD(place)]))

    def round(self, carry: Sequence[Carry], own: range) -> None:
        """Call the body on what is carried, which its inputs `own` are, and let what it writes be that."""
        for item, variable, result in zip(carry, (self.body.program.inputs[n] for n in own), self.body.program.outputs):
            self.point(variable, item.current())
            self.point(result, item.following())
        self.run()
        for item in carry:
            item.turn()

    def run(self) -> None:
        """Call the body, and stop if it fails."""
        b = self.around.b
        status = b.call(self.function, [self.table, self.around.number])
        following, failed = b.append_basic_block("following"), b.append_basic_block("failed")
        b.cbranch(b.icmp_signed("==", status, INT(0)), following, failed)
        b.position_at_end(failed)
        b.store(status, self.around.failed)
        b.branch(self.stop)
        b.position_at_end(following)


class Carry:
    """What a loop carries: where it is in a round, and where the round writes what it is in the next.

    Attributes:
        home: where it is after the loop.
    """

    def __init__(self, b: ir.IRBuilder, first: ir.Value, home: ir.Value, beside: ir.Value | None, nbytes: int) -> None:
        self.b, self.home, self.nbytes, self.is_apart = b, home, nbytes, beside is not None
        with b.if_then(b.icmp_unsigned("!=", b.bitcast(first, BYTES), b.bitcast(home, BYTES))):
            copy(b, home, first, nbytes)
        if beside is not None:
            with b.goto_entry_block():
                self.now, self.next = b.alloca(BYTES), b.alloca(BYTES)
            b.store(b.bitcast(home, BYTES), self.now)
            b.store(b.bitcast(beside, BYTES), self.next)

    def current(self) -> ir.Value:
        """Where it is in this round."""
        return self.b.load(self.now) if self.is_apart else self.home

    def following(self) -> ir.Value:
        """Where this round writes it."""
        return self.b.load(self.next) if self.is_apart else self.home

    def turn(self) -> None:
        """Let what the round has written be what it is."""
        if self.is_apart:
            now, following = self.b.load(self.now), self.b.load(self.next)
            self.b.store(following, self.now)
            self.b.store(now, self.next)

    def settle(self) -> None:
        """Bring it home."""
        if self.is_apart:
            now = self.b.load(self.now)
            with self.b.if_then(self.b.icmp_unsigned("!=", now, self.b.bitcast(self.home, BYTES))):
                copy(self.b, self.home, now, self.nbytes)


def copy(b: ir.IRBuilder, target: ir.Value, source: ir.Value, nbytes: int) -> None:
    """Copy memory that is apart."""
    move = b.module.declare_intrinsic("llvm.memcpy", [BYTES, BYTES, WORD])
    b.call(move, [b.bitcast(target, BYTES), b.bitcast(source, BYTES), WORD(nbytes), ir.IntType(1)(0)])


@contextmanager
def rounds(b: ir.IRBuilder, is_left: Callable[[ir.Value], ir.Value]) -> Iterator[ir.Value]:
    """A loop around what is emitted within, as long as something holds of the number of the round, which it gives."""
    before, head = b.block, b.append_basic_block("head")
    inside, after = b.append_basic_block("round"), b.append_basic_block("after")
    b.branch(head)
    b.position_at_end(head)
    number = b.phi(WORD)
    number.add_incoming(WORD(0), before)
    b.cbranch(is_left(number), inside, after)
    b.position_at_end(inside)
    yield number
    number.add_incoming(b.add(number, WORD(1)), b.block)
    b.branch(head)
    b.position_at_end(after)


def poll(around: Surroundings, number: ir.Value, time: float, stop: ir.Block) -> None:
    """Stop if a signal has come."""
    b = around.b
    around.note_failure()
    has_come = emit_poll(b, number, time, around.stopped)
    interrupted, following = b.append_basic_block("interrupted"), b.append_basic_block("following")
    b.cbranch(has_come, interrupted, following)
    b.position_at_end(interrupted)
    b.store(INT(INTERRUPTED), around.failed)
    b.branch(stop)
    b.position_at_end(following)


def limit(around: Surroundings, number: ir.Value, most: int | None, stop: ir.Block) -> None:
    """Fail in a round that is one too many; evaluated one operation at a time, the loop raises then."""
    if most is None:
        return
    b = around.b
    around.note_failure()
    beyond, following = b.append_basic_block("beyond"), b.append_basic_block("following")
    b.cbranch(b.icmp_signed("<", number, WORD(most)), following, beyond)
    b.position_at_end(beyond)
    b.store(INT(1), around.failed)
    b.branch(stop)
    b.position_at_end(following)


class Tape:
    """Records of what a loop carries before each round, one after the other in memory that grows.

    Attributes:
        places: where in a record each value is.
        size: of a record.
    """

    def __init__(self, b: ir.IRBuilder, variables: Sequence[Atom]) -> None:
        self.b, self.places, self.size = b, [], 0
        for variable in variables:
            self.places.append(self.size)
            self.size += aligned(variable.array_type.nbytes)
        self.size = max(self.size, ALIGNMENT)
        with b.goto_entry_block():
            self.start, self.room = b.alloca(BYTES), b.alloca(WORD)
            b.store(ir.Constant(BYTES, None), self.start)
        b.store(WORD(0), self.room)

    def value(self, number: ir.Value, place: int) -> ir.Value:
        """Where a value of a record is."""
        offset = self.b.add(self.b.mul(number, WORD(self.size)), WORD(self.places[place]))
        return self.b.gep(self.b.load(self.start), [offset])

    def make_room(self, number: ir.Value, around: Surroundings, stop: ir.Block) -> None:
        """Let there be room for a record and the next, or stop."""
        b = self.b
        with b.if_then(b.icmp_unsigned(">=", b.add(number, WORD(1)), b.load(self.room)), likely=False):
            room = b.add(b.mul(b.load(self.room), WORD(2)), WORD(FIRST_RECORDS))
            grow = self.function("realloc", BYTES, [BYTES, WORD])
            moved = b.call(grow, [b.load(self.start), b.mul(room, WORD(self.size))])
            none, found = b.append_basic_block("none"), b.append_basic_block("found")
            b.cbranch(b.icmp_unsigned("==", moved, ir.Constant(BYTES, None)), none, found)
            b.position_at_end(none)
            around.note_failure()
            b.store(INT(1), around.failed)  # evaluated one operation at a time, memory runs out with an error
            b.branch(stop)
            b.position_at_end(found)
            b.store(moved, self.start)
            b.store(room, self.room)

    def drop(self) -> None:
        """Give the memory back."""
        self.b.call(self.function("free", ir.VoidType(), [BYTES]), [self.b.load(self.start)])

    def function(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        """A function of the system."""
        module = self.b.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)
