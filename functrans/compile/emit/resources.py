"""What a kernel needs: lanes for its loops, memory of its own, and threads, if its rounds are worth dividing among them."""

from __future__ import annotations

from collections.abc import Sequence

from functrans.compile.loops import Compute, Kernel, Load, Loop, Require, Statement, walk
from functrans.compile.machine.vector_math import FUNCTIONS

__all__ = ["divisible", "is_worth_dividing", "lanes_of", "may_fail", "own_bytes", "scratch_size", "work"]

# Bytes of one value in all lanes: four vectors of 64 bytes in flight, since a chain of polynomials waits for each of
# its steps. Measured on tanh: 2.9 ns with one, 2.0 with two, 1.4 with four.
LANE_BYTES = 256
# Bytes of own buffers beyond which fewer lanes are taken, so that they stay in the second-level cache.
CACHED = 400_000
# Bytes of own buffers beyond which they are not on the stack.
ON_STACK = 16_384
# Nanoseconds of work below which handing it to other threads costs more than it saves.
WORTH_DIVIDING = 30_000


def is_worth_dividing(nanoseconds: float) -> bool:
    """Whether work of this length is worth dividing among threads."""
    return nanoseconds >= WORTH_DIVIDING


def divisible(kernel: Kernel) -> Loop | None:
    """The outermost loop, if its rounds may be divided among threads and there is work enough to do so."""
    if len(kernel.body) != 1 or not isinstance(kernel.body[0], Loop):
        return None
    loop = kernel.body[0]
    is_free = not loop.carried and not loop.ordered and loop.index.extent > 1
    return loop if is_free and is_worth_dividing(work(kernel.body)) else None


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
