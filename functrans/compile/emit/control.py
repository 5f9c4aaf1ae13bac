"""Native loops and branches: calls of their bodies, which are functions as a program's native parts are.

A body gets a table of pointers to what it reads and writes. What a loop carries is written over itself where the plan
of the body has it so; else it has two places, which a round reads and writes in turn. The slices a round reads and
writes lie in the whole arrays. So nothing is allocated or copied in a round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from llvmlite import ir

from functrans.compile.emit.access import fill_with_zeros
from functrans.compile.emit.costs import nanoseconds
from functrans.compile.emit.resources import is_worth_dividing
from functrans.compile.emit.rounds import BodyCall, Carry, Surroundings, Tape, copy, limit, poll, rounds
from functrans.compile.machine.words import BYTES, INT, WORD
from functrans.compile.rewrite.bodies import carries
from functrans.compile.schedule.memory import apart
from functrans.compile.schedule.steps import Body, ControlCall
from functrans.control.branch import branch
from functrans.control.scan_loop import scan_loop
from functrans.control.tape_loop import tape_loop
from functrans.control.while_loop import while_loop
from functrans.core.primitive import Primitive
from functrans.core.program import Atom

__all__ = ["emit_control"]

# Nanoseconds of a loop of known length from which on it looks for signals.
LONG = 5e7


def emit_control(around: Surroundings, call: ControlCall) -> None:
    """Emit a loop or a branch."""
    b = around.b
    stop = b.append_basic_block("stop")
    EMITTERS[call.equation.primitive](around, call, stop)
    b.branch(stop)
    b.position_at_end(stop)


def room_and_beside(around: Surroundings, call: ControlCall) -> tuple[ir.Value, list[ir.Value]]:
    """The workspace of the bodies, and the second places of what has two."""
    pointers = [around.pointers[variable] for variable in call.scratch]
    count = sum(len(apart(body, own)) for body, own in zip(call.bodies, carries(call.equation)))
    room = pointers[0] if len(pointers) > count else around.beyond
    return room, pointers[len(pointers) - count :]


def carried(around: Surroundings, call: ControlCall, first: Sequence[Atom], body: Body, own: range, beside: list[ir.Value]) -> list[Carry]:
    """What a loop carries, with its first values in place."""
    two = set(apart(body, own))
    others = iter(beside)
    found = []
    for start, result, end in zip(first, body.program.outputs, call.equation.outputs):
        other = next(others) if result in two else None
        found.append(Carry(around.b, around.pointers[start], around.pointers[end], other, end.array_type.nbytes))
    return found


def emit_scan(around: Surroundings, call: ControlCall, stop: ir.Block) -> None:
    """A loop of known length."""
    b, params, (body,) = around.b, call.equation.params, call.bodies
    program, inputs, outputs = body.program, call.equation.inputs, call.equation.outputs
    consts, count, length = params["consts"], params["carry"], params["length"]
    own = range(consts, consts + count)
    if not count:
        emit_apart(around, call, stop)
        return
    room, beside = room_and_beside(around, call)
    rows = BodyCall(around, body, around.nested(body).run, room, stop)
    for variable, atom in zip(program.inputs[:consts], inputs):
        rows.point(variable, around.pointers[atom])
    carry = carried(around, call, inputs[consts : own.stop], body, own, beside)
    sliced = [*zip(program.inputs[own.stop :], inputs[own.stop :]), *zip(program.outputs[count:], outputs[count:])]
    time = nanoseconds(body.calls)
    with rounds(b, lambda number: b.icmp_signed("<", number, WORD(length))) as number:
        place = b.sub(WORD(length - 1), number) if params["reverse"] else number
        for value, atom in sliced:
            step = atom.array_type.nbytes // max(length, 1)
            rows.point(value, b.gep(around.pointers[atom], [b.mul(place, WORD(step))]))
        rows.round(carry, own)
        if time * length > LONG:
            poll(around, number, time, stop)
    for item in carry:
        item.settle()


def emit_apart(around: Surroundings, call: ControlCall, stop: ir.Block) -> None:
    """A loop that carries nothing: its rounds are apart, so that threads may share them, each with memory of its own."""
    outer, params, (body,) = around.b, call.equation.params, call.bodies
    program, length = body.program, params["length"]
    nested = around.nested(body, beside=body.plan.size)
    atoms = list(dict.fromkeys([*call.equation.inputs, *call.equation.outputs]))
    types = [*[BYTES] * len(atoms), INT.as_pointer(), INT.as_pointer(), BYTES, WORD, WORD]
    function = ir.Function(outer.module, ir.FunctionType(ir.VoidType(), types), f"{nested.run.name}_rounds")
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block())
    *pointers, failed, stopped, room, first, end = function.args
    found = dict(zip(atoms, pointers))
    beyond = b.gep(room, [WORD(body.plan.size)])
    inside = replace(around, b=b, pointers=found, number=WORD(1), failed=failed, beyond=beyond, stopped=stopped)
    done = function.append_basic_block("done")
    rows = BodyCall(inside, body, nested.run, room, done)
    given = [*zip(program.inputs, call.equation.inputs), *zip(program.outputs, call.equation.outputs)]
    for variable, atom in given[: params["consts"]]:
        rows.point(variable, found[atom])
    time = nanoseconds(body.calls)
    with rounds(b, lambda number: b.icmp_signed("<", b.add(first, number), end)) as number:
        counted = b.add(first, number)
        place = b.sub(WORD(length - 1), counted) if params["reverse"] else counted
        for variable, atom in given[params["consts"] :]:
            rows.point(variable, b.gep(found[atom], [b.mul(place, WORD(atom.array_type.nbytes // max(length, 1)))]))
        rows.run()
        if time * length > LONG:
            poll(inside, number, time, done)
    b.branch(done)
    b.position_at_end(done)
    b.ret_void()
    arguments = [outer.bitcast(around.pointers[atom], BYTES) for atom in atoms]
    arguments += [around.failed, around.stopped, around.beyond]
    if is_worth_dividing(time * length):
        around.share(function, arguments, length, nested.scratch + body.plan.size)
    else:
        outer.call(function, [*arguments, WORD(0), WORD(length)])


def emit_while(around: Surroundings, call: ControlCall, stop: ir.Block) -> None:
    """A loop that goes on while a condition holds."""
    b, params, (body, cond) = around.b, call.equation.params, call.bodies
    inputs, first = call.equation.inputs, params["cond_consts"] + params["body_consts"]
    own = range(params["body_consts"], len(body.program.inputs))
    room, beside = room_and_beside(around, call)
    conditions, rows = (BodyCall(around, part, around.nested(part).run, room, stop) for part in (cond, body))
    with b.goto_entry_block():
        holds = b.alloca(ir.IntType(8))
    for part, given in ((conditions, inputs[: params["cond_consts"]]), (rows, inputs[params["cond_consts"] : first])):
        for value, atom in zip(part.body.program.inputs, given):
            part.point(value, around.pointers[atom])
    conditions.point(cond.program.outputs[0], holds)
    carry = carried(around, call, inputs[first:], body, own, beside)

    def is_left(number: ir.Value) -> ir.Value:
        for item, variable in zip(carry, cond.program.inputs[params["cond_consts"] :]):
            conditions.point(variable, item.current())
        conditions.run()
        return b.icmp_unsigned("!=", b.load(holds), ir.IntType(8)(0))

    with rounds(b, is_left) as number:
        limit(around, number, params["max_steps"], stop)
        rows.round(carry, own)
        poll(around, number, nanoseconds([*cond.calls, *body.calls]), stop)
    for item in carry:
        item.settle()


def emit_tape(around: Surroundings, call: ControlCall, stop: ir.Block) -> None:
    """A loop that goes on while a condition holds, and the way back; what a round reads is on a tape, where it writes too."""
    b, params, (back, cond, sweep) = around.b, call.equation.params, call.bodies
    inputs, first, count = call.equation.inputs, params["cond_consts"], params["carry"]
    conditions_read, consts = inputs[:first], inputs[first : first + params["consts"]]
    start, cts = inputs[first + len(consts) :][:count], inputs[first + len(consts) + count :]
    own = carries(call.equation)[0]
    room, beside = room_and_beside(around, call)
    done = b.append_basic_block("done")
    tape = Tape(b, start)
    returns, conditions, rows = (BodyCall(around, part, around.nested(part).run, room, done) for part in call.bodies)
    with b.goto_entry_block():
        holds = b.alloca(ir.IntType(8))
    for body, given in ((conditions, conditions_read), (rows, consts), (returns, consts)):
        for variable, atom in zip(body.body.program.inputs, given):
            body.point(variable, around.pointers[atom])
    conditions.point(cond.program.outputs[0], holds)
    tape.make_room(WORD(0), around, done)
    for place, atom in enumerate(start):
        copy(b, tape.value(WORD(0), place), around.pointers[atom], atom.array_type.nbytes)

    def is_left(number: ir.Value) -> ir.Value:
        for place, variable in enumerate(cond.program.inputs[first:]):
            conditions.point(variable, tape.value(number, place))
        conditions.run()
        return b.icmp_unsigned("!=", b.load(holds), ir.IntType(8)(0))

    with rounds(b, is_left) as number:
        limit(around, number, params["max_steps"], done)
        tape.make_room(b.add(number, WORD(1)), around, done)
        following = b.add(number, WORD(1))
        for place, (variable, result) in enumerate(zip(sweep.program.inputs[len(consts) :], sweep.program.outputs)):
            rows.point(variable, tape.value(number, place))
            rows.point(result, tape.value(following, place))
        rows.run()
        poll(around, number, nanoseconds([*cond.calls, *sweep.calls]), done)
    sums = len(call.equation.outputs) - len(cts)
    for result in call.equation.outputs[:sums]:
        fill_with_zeros(b, around.pointers[result], WORD(result.array_type.nbytes))
    firsts = [*call.equation.outputs[:sums], *cts]
    carry = carried(around, call, firsts, back, own, beside)
    with rounds(b, lambda place: b.icmp_signed("<", place, number)) as backwards:
        record = b.sub(b.sub(number, WORD(1)), backwards)
        for place, variable in enumerate(back.program.inputs[len(consts) : own.start]):
            returns.point(variable, tape.value(record, place))
        returns.round(carry, own)
        poll(around, backwards, nanoseconds(back.calls), done)
    for item in carry:
        item.settle()
    b.branch(done)
    b.position_at_end(done)
    tape.drop()


def emit_branch(around: Surroundings, call: ControlCall, stop: ir.Block) -> None:
    """One of some branches."""
    b, (chosen, *inputs) = around.b, call.equation.inputs
    room, _ = room_and_beside(around, call)
    dtype = chosen.array_type.dtype
    index = b.load(b.bitcast(around.pointers[chosen], ir.IntType(8 * dtype.itemsize).as_pointer()))
    reached = call.bodies if dtype.kind == "b" else call.bodies[: np.iinfo(dtype).max + 1]
    last = index.type(len(reached) - 1)
    if dtype.kind == "i":
        index = b.select(b.icmp_signed("<", index, index.type(0)), index.type(0), index)
    index = b.select(b.icmp_unsigned(">", index, last), last, index)
    blocks = [b.append_basic_block("branch") for _ in reached]
    after = b.append_basic_block("after")
    switch = b.switch(index, blocks[-1])
    for number, (block, body) in enumerate(zip(blocks, reached)):
        switch.add_case(index.type(number), block) if number < len(blocks) - 1 else None
        b.position_at_end(block)
        taken = BodyCall(around, body, around.nested(body).run, room, stop)
        own, given = (*body.program.inputs, *body.program.outputs), (*inputs, *call.equation.outputs)
        for value, atom in zip(own, given):
            taken.point(value, around.pointers[atom])
        taken.run()
        b.branch(after)
    b.position_at_end(after)


EMITTERS: dict[Primitive, Callable[[Surroundings, ControlCall, ir.Block], None]] = {
    scan_loop: emit_scan,
    while_loop: emit_while,
    tape_loop: emit_tape,
    branch: emit_branch,
}
