"""Loads and stores of a kernel: of one element, or of those of all lanes, side by side or apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.loops import Affine, Buffer, Index
from functrans.compile.machine.registers import FLOAT16, Register, Splat, register_of, splat
from functrans.compile.machine.words import BYTES, INT, WORD

__all__ = ["Access", "fill_with_zeros", "memory_type"]


def memory_type(dtype: np.dtype[Any]) -> ir.Type:
    """The type of an element in memory: a byte for a boolean."""
    return ir.IntType(8) if dtype.kind == "b" else ir.HalfType() if dtype == FLOAT16 else Register(dtype).type


def fill_with_zeros(b: ir.IRBuilder, place: ir.Value, nbytes: ir.Value) -> None:
    """Fill memory as the system does."""
    fill = b.module.declare_intrinsic("llvm.memset", [BYTES, WORD])
    b.call(fill, [b.bitcast(place, BYTES), ir.IntType(8)(0), nbytes, ir.IntType(1)(0)])


class Access:
    """Accesses memory at the place of its builder.

    Attributes:
        values: the pointers of buffers, and the values of scalars and indices so far.
        lane: the index of the loop in lanes that it is in, whose value is that of the first lane; and how many there are.
    """

    def __init__(self, builder: ir.IRBuilder, pointers: dict[Buffer, ir.Value]) -> None:
        self.b = builder
        self.values: dict[Any, ir.Value] = dict(pointers)
        self.lane: Index | None = None
        self.lanes: int | None = None

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
