"""The parts of a compiled program: what is to be known of its code to run it.

A program is native code with NumPy's calls between. What passes from one part to another has a slot: those of the
captured arrays and of the arguments come first. Invariant: the first part is native and takes these, so that it
checks them; each part reads what arguments are or earlier parts have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Costs", "Description", "HostPart", "NativePart", "Part", "freed_after"]


@dataclass(frozen=True)
class NativePart:
    """Kernels and calls of libraries that run one after the other, in one function.

    Attributes:
        entry: the function's name.
        refers_to: what it finds in its table, by name.
        reads, writes: slots.
        workspace, scratch: bytes for each call, and beside it for each thread.
        stacked: whether the workspace is on the stack.
        is_parallel: whether loops or products are divided among threads.
        may_fail: whether it may give `NotImplemented` for arguments of the right types.
    """

    entry: str
    refers_to: tuple[str, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    workspace: int
    scratch: int
    stacked: bool
    is_parallel: bool
    may_fail: bool


@dataclass(frozen=True)
class HostPart:
    """An equation that NumPy evaluates.

    Attributes:
        equation: its number in the program.
        reads: the slots of its operands; None for a number.
        writes: slots.
        laid_out: for each result, whether native code or the caller gets it; others stay as NumPy made them.
    """

    equation: int
    reads: tuple[int | None, ...]
    writes: tuple[int, ...]
    laid_out: tuple[bool, ...]


Part = NativePart | HostPart


@dataclass(frozen=True)
class Costs:
    """What a call does, but for what NumPy's calls do.

    Attributes:
        flops: additions, multiplications and the like.
        transcendentals: calls of exp, sin and the like.
        moved: bytes that steps read and write, each array once for each of them.
        between: bytes of the arrays that parts hand each other, at the most at once.
        donated: bytes of the results that take over the memory of donated arguments.
    """

    flops: int
    transcendentals: int
    moved: int
    between: int
    donated: int


@dataclass(frozen=True)
class Description:
    """A compiled program.

    Attributes:
        results: the slot of each result; None for a number.
        routines: those of BLAS, of LAPACK and our own that it calls, by name.
    """

    parts: tuple[Part, ...]
    results: tuple[int | None, ...]
    routines: tuple[str, ...]
    costs: Costs

    @property
    def workspace(self) -> int:
        """The bytes for a call of any native part."""
        return max(part.workspace for part in self.parts if isinstance(part, NativePart))

    @property
    def scratch(self) -> int:
        """The bytes for each thread of any native part."""
        return max(part.scratch for part in self.parts if isinstance(part, NativePart))


def freed_after(parts: Sequence[Part], results: Sequence[int | None]) -> list[list[int]]:
    """For each part, the slots of what parts wrote that nothing after it reads."""
    kept = {*results, *parts[0].reads}
    found: list[list[int]] = []
    for part in reversed(parts):
        touched = {slot for slot in (*part.reads, *part.writes) if slot is not None}
        found.append(sorted(touched - kept))
        kept |= touched
    return found[::-1]
