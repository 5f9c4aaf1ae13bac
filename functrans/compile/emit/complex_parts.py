"""Complex numbers in parts: from a kernel to an equal one of real numbers, which is what machines compute with.

A complex scalar becomes two scalars, an element of a complex buffer two elements side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    hoisted,
)
from functrans.compile.machine.complex_formulas import FORMULAS, Complex, Real, converted, part_dtype

__all__ = ["in_parts"]


def in_parts(kernel: Kernel) -> Kernel:
    """`kernel`, or if it has complex numbers an equal one that has their parts."""
    splitter = Splitter()
    body = splitter.block(kernel.body)
    if not splitter.buffers and not splitter.parts:
        return kernel
    inputs, outputs, own = (list(map(splitter.buffer, found)) for found in (kernel.inputs, kernel.outputs, kernel.own))
    return replace(kernel, inputs=inputs, outputs=outputs, body=hoisted(body), own=own)


class Splitter:
    """Writes statements anew, at the end of its body.

    Attributes:
        parts: what stands for scalars: two for each complex one, and another for the real result of an operation on such.
    """

    def __init__(self) -> None:
        self.parts: dict[Scalar, tuple[Operand, ...]] = {}
        self.buffers: dict[Buffer, Buffer] = {}
        self.body: list[Statement] = []

    def block(self, body: Sequence[Statement]) -> list[Statement]:
        """The statements that do the same as those of `body`."""
        before, self.body = self.body, []
        for statement in body:
            self.statement(statement)
        written, self.body = self.body, before
        return written

    def statement(self, statement: Statement) -> None:
        """Write a statement."""
        match statement:
            case Compute():
                self.compute(statement)
            case Bind(index, value):
                self.body.append(Bind(index, *self.of(value)))
            case Require(condition):
                self.body.append(Require(*self.of(condition)))
            case Position():
                self.body.append(statement)
            case Load(target, buffer, offset):
                for scalar, place in zip(self.define(target), self.places(buffer, offset)):
                    self.body.append(Load(scalar, self.buffer(buffer), place))
            case Store(buffer, offset, value):
                for part, place in zip(self.of(value), self.places(buffer, offset)):
                    self.body.append(Store(self.buffer(buffer), place, part))
            case Combine(buffer, offset, operation, value):
                for part, place in zip(self.of(value), self.places(buffer, offset)):
                    self.body.append(Combine(self.buffer(buffer), place, operation, part))
            case Loop():
                self.loop(statement)

    def loop(self, loop: Loop) -> None:
        """Write a loop."""
        inside = [scalar for item in loop.carried for scalar in self.define(item.inside)]
        first = [part for item in loop.carried for part in self.of(item.first)]
        body = self.block(loop.body)
        following = [part for item in loop.carried for part in self.of(item.following)]
        carried = [Carried(*item) for item in zip(inside, first, following)]
        results = [scalar for result in loop.results for scalar in self.define(result)]
        self.body.append(replace(loop, body=body, carried=carried, results=results))

    def compute(self, statement: Compute) -> None:
        """Write an operation: as it is on real numbers."""
        target, operation, operands = statement.target, statement.operation, statement.operands
        if not any(item.dtype.kind == "c" for item in (target, *operands)):
            self.body.append(Compute(target, operation, tuple(part for item in operands for part in self.of(item))))
            return
        values = [self.value(operand) for operand in operands]
        result = converted(values[0], target.dtype) if operation == "convert" else FORMULAS[operation](*values)
        self.parts[target] = tuple(part.operand for part in (result if isinstance(result, Complex) else (result,)))

    def value(self, operand: Operand) -> Complex | Real:
        """An operand of a formula."""
        parts = [Real(part, self.body) for part in self.of(operand)]
        return Complex(*parts) if len(parts) == 2 else parts[0]

    def of(self, operand: Operand) -> tuple[Operand, ...]:
        """The parts of an operand; of a real one itself, or what stands for it."""
        if isinstance(operand, Scalar):
            return self.parts.get(operand, (operand,))
        if operand.dtype.kind != "c":
            return (operand,)
        value, dtype = complex(operand.value), part_dtype(operand.dtype)
        return Constant(value.real, dtype), Constant(value.imag, dtype)

    def define(self, scalar: Scalar) -> tuple[Scalar, ...]:
        """The scalars to stand for a new one."""
        if scalar.dtype.kind != "c":
            return (scalar,)
        parts = Scalar(part_dtype(scalar.dtype)), Scalar(part_dtype(scalar.dtype))
        self.parts[scalar] = parts
        return parts

    def buffer(self, buffer: Buffer) -> Buffer:
        """The buffer to stand for one."""
        if buffer.dtype.kind != "c":
            return buffer
        if buffer not in self.buffers:
            self.buffers[buffer] = replace(buffer, dtype=part_dtype(buffer.dtype), size=2 * buffer.size)
        return self.buffers[buffer]

    @staticmethod
    def places(buffer: Buffer, offset: Affine) -> tuple[Affine, ...]:
        """Where the parts of an element are."""
        return (offset * 2, offset * 2 + 1) if buffer.dtype.kind == "c" else (offset,)
