"""The loop representation: kernels as loop nests of loads, scalar operations and stores.

A kernel is a function of buffers. Its body is a sequence of statements in single-assignment form, in
which every scalar has a dtype and every address is affine in the loop indices. Two printers read it:
`llvm.py` and `python_text.py`. Invariant (see `check`): a scalar or index is defined before it is used,
in its loop or one around it, and operands have the dtypes the operation asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from functrans.errors import ProgramError

__all__ = [
    "Affine",
    "Bind",
    "Buffer",
    "Carried",
    "Combine",
    "Compute",
    "Constant",
    "Index",
    "Kernel",
    "Load",
    "Loop",
    "Position",
    "Require",
    "Scalar",
    "Statement",
    "Store",
    "check",
    "hoisted",
    "walk",
]

INTEGER = np.dtype(np.int64)


@dataclass(eq=False, slots=True)
class Buffer:
    """An array a kernel reads or writes: C-contiguous elements of one dtype.

    Attributes:
        private: of a kernel's own buffers, whether each round of the loop in lanes has one to itself.
    """

    dtype: np.dtype[Any]
    size: int
    private: bool = False


@dataclass(eq=False, slots=True)
class Index:
    """A loop's counter, or an integer scalar used in addresses."""

    extent: int


@dataclass(eq=False, slots=True)
class Scalar:
    """A value in a register."""

    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Constant:
    """A number written into the kernel."""

    value: Any
    dtype: np.dtype[Any]


Operand = Scalar | Constant


@dataclass(frozen=True, slots=True)
class Affine:
    """``constant + sum(coefficient * index)``."""

    terms: tuple[tuple[Index, int], ...] = ()
    constant: int = 0

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.terms, self.constant + other)
        terms = dict(self.terms)
        for index, coefficient in other.terms:
            terms[index] = terms.get(index, 0) + coefficient
        return Affine(tuple((index, n) for index, n in terms.items() if n), self.constant + other.constant)

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(tuple((index, n * factor) for index, n in self.terms), self.constant * factor)

    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value, for indices within their extents."""
        low = high = self.constant
        for index, coefficient in self.terms:
            reach = coefficient * max(index.extent - 1, 0)
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high


@dataclass(eq=False, slots=True)
class Compute:
    """``target = operation(operands)``."""

    target: Scalar
    operation: str
    operands: tuple[Operand, ...]


@dataclass(eq=False, slots=True)
class Position:
    """``target = offset``: an address as an integer scalar."""

    target: Scalar
    offset: Affine


@dataclass(eq=False, slots=True)
class Bind:
    """``index = value``: an integer scalar that addresses may be made of."""

    index: Index
    value: Operand


@dataclass(eq=False, slots=True)
class Require:
    """An index is out of bounds where the condition is false: the rounds go on, and the program fails after them."""

    condition: Operand


@dataclass(eq=False, slots=True)
class Load:
    """``target = buffer[offset]``."""

    target: Scalar
    buffer: Buffer
    offset: Affine


@dataclass(eq=False, slots=True)
class Store:
    """``buffer[offset] = value``."""

    buffer: Buffer
    offset: Affine
    value: Operand


@dataclass(eq=False, slots=True)
class Combine:
    """``buffer[offset] = operation(buffer[offset], value)``, in any order of the rounds around it."""

    buffer: Buffer
    offset: Affine
    operation: str
    value: Operand


@dataclass(eq=False, slots=True)
class Carried:
    """A scalar a loop hands from one round to the next: `inside` starts as `first` and becomes `following`."""

    inside: Scalar
    first: Operand
    following: Operand


@dataclass(eq=False, slots=True)
class Loop:
    """``for index in range(index.extent): body``; `carried` scalars hold their last value after it, under `results`.

    Attributes:
        carried: the operation that makes each the following one may be taken in any order of the rounds.
        rounds: the first and the end of the rounds to run, of those the index has; None for all.
        lanes: whether rounds are computed side by side, in the lanes of vectors; no other loop in it or around it is.
        ordered: whether rounds must follow each other, since one may write where another does.
    """

    index: Index
    body: list[Statement]
    carried: list[Carried] = field(default_factory=list)
    results: list[Scalar] = field(default_factory=list)
    rounds: tuple[Affine, Affine] | None = None
    lanes: bool = False
    ordered: bool = False


Statement = Compute | Position | Bind | Require | Load | Store | Combine | Loop


@dataclass(eq=False)
class Kernel:
    """A loop nest, with what a reader wants to know of it.

    Attributes:
        name: of the function.
        inputs, outputs: the buffers, in the order of the parameters.
        body: the statements.
        header: the equations it computes and the user's lines they stem from.
        own: buffers for values that do not leave it.
    """

    name: str
    inputs: list[Buffer]
    outputs: list[Buffer]
    body: list[Statement]
    header: tuple[str, ...] = ()
    own: list[Buffer] = field(default_factory=list)


def walk(body: Iterable[Statement]) -> Iterator[Statement]:
    """All statements, those inside loops after their loop."""
    for statement in body:
        yield statement
        if isinstance(statement, Loop):
            yield from walk(statement.body)


def hoisted(body: Sequence[Statement]) -> list[Statement]:
    """`body` with what is the same in every round of a loop moved before it, but if there is one round at the most."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, Loop):
            statement.body = hoisted(statement.body)
            is_condition = statement.index.extent == 1 and statement.rounds is not None
            if statement.index.extent and not is_condition:
                before, statement.body = split_invariant(statement)
                result += before
        result.append(statement)
    return result


def split_invariant(loop: Loop) -> tuple[list[Statement], list[Statement]]:
    """The statements of a loop's body that do not depend on its rounds, and the others."""
    inside = list(walk(loop.body))
    written = {statement.buffer for statement in inside if isinstance(statement, (Store, Combine))}
    changing: set[Any] = {loop.index, *(item.inside for item in loop.carried)}
    moved: list[Statement] = []
    left: list[Statement] = []
    defined: list[Any]
    for statement in loop.body:
        match statement:
            case Compute(target, _, operands):
                same, defined = changing.isdisjoint(operands), [target]
            case Position(target, offset):
                same, defined = changing.isdisjoint(index for index, _ in offset.terms), [target]
            case Bind(index, value):
                same, defined = value not in changing, [index]
            case Require(condition):
                same, defined = condition not in changing, []
            case Load(target, buffer, offset):
                same, defined = buffer not in written and changing.isdisjoint(index for index, _ in offset.terms), [target]
            case Loop():
                same, defined = False, list(statement.results)
            case _:
                same, defined = False, []
        (moved if same else left).append(statement)
        if not same:
            changing.update(defined)
    return moved, left


def check(kernel: Kernel) -> Kernel:
    """`kernel` itself, if it keeps the invariants; raises `ProgramError` saying which it breaks."""
    known = {*kernel.inputs, *kernel.outputs, *kernel.own}

    def fail(what: str) -> ProgramError:
        return ProgramError(f"kernel {kernel.name}: {what}")

    def used(operand: Operand, scope: set[Any]) -> None:
        if isinstance(operand, Scalar) and operand not in scope:
            raise fail("a scalar is used before it is defined")

    def addressed(buffer: Buffer, offset: Affine, scope: set[Any]) -> None:
        if buffer not in known:
            raise fail("a buffer is no parameter")
        for index, _ in offset.terms:
            if index not in scope:
                raise fail("an index is used outside its loop")
        low, high = offset.bounds()
        if any(index.extent == 0 for index, _ in offset.terms):
            return
        if low < 0 or high >= buffer.size:
            raise fail(f"an address reaches from {low} to {high} in a buffer of {buffer.size}")

    def visit(body: list[Statement], outside: set[Any], in_lanes: bool) -> None:
        scope = set(outside)
        for statement in body:
            match statement:
                case Compute(target, _, operands):
                    for operand in operands:
                        used(operand, scope)
                    scope.add(target)
                case Position(target, offset):
                    if not scope.issuperset(index for index, _ in offset.terms):
                        raise fail("an index is used outside its loop")
                    scope.add(target)
                case Bind(index, value):
                    used(value, scope)
                    scope.add(index)
                case Require(condition):
                    used(condition, scope)
                case Load(target, buffer, offset):
                    addressed(buffer, offset, scope)
                    if target.dtype != buffer.dtype:
                        raise fail(f"a {buffer.dtype} is loaded as {target.dtype}")
                    scope.add(target)
                case Store(buffer, offset, value) | Combine(buffer, offset, _, value):
                    addressed(buffer, offset, scope)
                    used(value, scope)
                    if value.dtype != buffer.dtype:
                        raise fail(f"a {value.dtype} is stored as {buffer.dtype}")
                case Loop(index, inner, carried, results):
                    if statement.lanes and (in_lanes or statement.ordered):
                        raise fail("a loop in lanes is inside another, or its rounds must follow each other")
                    for item in carried:
                        used(item.first, scope)
                    visit(inner, {*scope, index, *(item.inside for item in carried)}, in_lanes or statement.lanes)
                    scope.update(results)

    visit(kernel.body, set(), False)
    return kernel
