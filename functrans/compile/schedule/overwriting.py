"""Overwriting: which values a kernel may write over one that it reads, in the same memory.

A value may be written over another where each of its elements is written once, and where a round of the loops around
both reads, before it writes, only what this round alone writes: the same elements, or others of a range of memory
that no other round writes in. In a kernel that does so both are one buffer, since no two of its pointers may point
to the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from functrans.compile.loops import Affine, Buffer, Combine, Index, Kernel, Load, Loop, Scalar, Statement, Store
from functrans.compile.schedule.kernels import KernelCall
from functrans.compile.schedule.steps import Step
from functrans.core.program import Variable

__all__ = ["is_idle", "may_write_over", "written_over"]


@dataclass(frozen=True)
class Access:
    """A statement that reads or writes memory, the loops around it, and its place in the body of each and in its own."""

    statement: Load | Store | Combine
    loops: tuple[Loop, ...]
    order: tuple[int, ...]


def accesses(body: Sequence[Statement], loops: tuple[Loop, ...] = (), order: tuple[int, ...] = ()) -> Iterator[Access]:
    """All statements that read or write memory."""
    for place, statement in enumerate(body):
        if isinstance(statement, Loop):
            yield from accesses(statement.body, (*loops, statement), (*order, place))
        elif isinstance(statement, (Load, Store, Combine)):
            yield Access(statement, loops, (*order, place))


def may_write_over(kernel: Kernel, source: Buffer, target: Buffer) -> bool:
    """Whether an output of a kernel may have the memory of an input."""
    if (source.dtype, source.size) != (target.dtype, target.size):
        return False
    found = list(accesses(kernel.body))
    reads = [access for access in found if isinstance(access.statement, Load) and access.statement.buffer is source]
    writes = [access for access in found if not isinstance(access.statement, Load) and access.statement.buffer is target]
    if len(writes) != 1 or not isinstance(writes[0].statement, Store) or not is_written_once(writes[0]):
        return False
    return all(is_read_before(read, writes[0]) for read in reads)


def is_written_once(write: Access) -> bool:
    """Whether no two rounds write the same element."""
    offset, own = write.statement.offset, {loop.index for loop in write.loops}
    return all(index in own for index, _ in offset.terms) and all_count(write.loops, offset) and least_distance(offset) > 0


def least_distance(offset: Affine) -> float:
    """The least distance of an address in two different rounds, at the least; 0 or less if it may be the same."""
    distance, reach = math.inf, 0
    for index, coefficient in sorted(offset.terms, key=lambda term: term[1]):
        distance = min(distance, coefficient - reach)
        reach += coefficient * (index.extent - 1)
    return distance


def all_count(loops: Sequence[Loop], offset: Affine) -> bool:
    """Whether an address is another in each round of loops: theirs are in it, or divide the rounds of one that is."""
    counting = {index for index, _ in offset.terms}
    for loop in loops:
        if loop.index in counting and loop.rounds is not None:
            counting.update(index for bound in loop.rounds for index, _ in bound.terms)
    return all(loop.index in counting or loop.index.extent == 1 for loop in loops)


def is_read_before(read: Access, write: Access) -> bool:
    """Whether a round of the loops around both reads only what this round alone writes, and before it does."""
    shared = 0
    while shared < min(len(read.loops), len(write.loops)) and read.loops[shared] is write.loops[shared]:
        shared += 1
    if read.order[shared] > write.order[shared]:
        return False
    common = read.loops[:shared]
    offsets = read.statement.offset, write.statement.offset
    (outer, inner), (outer_written, inner_written) = (divided(offset, {loop.index for loop in common}) for offset in offsets)
    if not all_count(common, outer) or not is_same(outer, outer_written):
        return False
    if extents(inner) == extents(inner_written):
        return True
    (low, high), (low_written, high_written) = inner.bounds(), inner_written.bounds()
    return least_distance(outer) > max(high, high_written) - min(low, low_written)


def extents(offset: Affine) -> tuple[int, list[tuple[int, int]]]:
    """What addresses are reached in all rounds, in whatever order."""
    return offset.constant, sorted((coefficient, index.extent) for index, coefficient in offset.terms if index.extent > 1)


def divided(offset: Affine, indices: set[Index]) -> tuple[Affine, Affine]:
    """The part of an address that some indices make, and the rest."""
    own = tuple(term for term in offset.terms if term[0] in indices)
    return Affine(own), Affine(tuple(term for term in offset.terms if term[0] not in indices), offset.constant)


def is_same(one: Affine, other: Affine) -> bool:
    """Whether two addresses are equal in every round."""
    return dict(one.terms) == dict(other.terms) and one.constant == other.constant


def written_over(call: KernelCall, source: Variable, target: Variable) -> KernelCall:
    """The call with an output written into the memory of an input."""
    kernel = call.kernel
    buffers = dict(zip((*call.inputs, *call.outputs), (*kernel.inputs, *kernel.outputs)))
    body = renamed(kernel.body, buffers[target], buffers[source])
    outputs = tuple(variable for variable in call.outputs if variable is not target)
    changed = replace(kernel, body=body, outputs=[buffers[variable] for variable in outputs])
    return replace(call, kernel=changed, outputs=outputs, updates={**call.updates, target: source})


def renamed(body: Sequence[Statement], old: Buffer, new: Buffer) -> list[Statement]:
    """Statements with another buffer in place of one."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, Loop):
            statement = replace(statement, body=renamed(statement.body, old, new))
        elif isinstance(statement, (Load, Store, Combine)) and statement.buffer is old:
            statement = replace(statement, buffer=new)
        result.append(statement)
    return result


def is_idle(call: Step) -> bool:
    """Whether all that a call does is to write elements where they are."""
    if not isinstance(call, KernelCall) or not call.updates:
        return False
    found = [access.statement for access in accesses(call.kernel.body)]
    loads = {statement.target: statement for statement in found if isinstance(statement, Load)}
    for statement in found:
        if isinstance(statement, Load):
            continue
        read = None
        if isinstance(statement, Store) and isinstance(statement.value, Scalar):
            read = loads.get(statement.value)
        if read is None or read.buffer is not statement.buffer or not is_same(read.offset, statement.offset):
            return False
    return True
