"""Registers: the LLVM types of values in loops, one number or a vector of lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

__all__ = ["Register", "Splat", "call_intrinsic", "splat"]

FLOATS = {4: ir.FloatType(), 8: ir.DoubleType()}


@dataclass(frozen=True)
class Register:
    """A dtype, and how many lanes there are; None for a number that is in no vector. Calling it gives a constant."""

    dtype: np.dtype[Any]
    lanes: int | None = None

    @property
    def kind(self) -> str:
        return self.dtype.kind

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def element(self) -> ir.Type:
        """The type of one lane."""
        if self.kind == "f":
            return FLOATS[self.itemsize]
        return ir.IntType(1 if self.kind == "b" else 8 * self.itemsize)

    @property
    def type(self) -> ir.Type:
        return self.element if self.lanes is None else ir.VectorType(self.element, self.lanes)

    @property
    def name(self) -> str:
        """What functions of it are told apart by."""
        return self.dtype.name if self.lanes is None else f"{self.dtype.name}x{self.lanes}"

    def __call__(self, value: Any) -> ir.Constant:
        constant = ir.Constant(self.element, float(self.dtype.type(value)) if self.kind == "f" else int(value))
        return constant if self.lanes is None else Splat(self.type, constant)


class Splat(ir.Constant):  # type: ignore[misc]
    """A vector of one constant; written once, not for every lane."""

    def __init__(self, type_: ir.VectorType, value: ir.Constant) -> None:
        self.type = type_
        self.constant = f"splat ({value.type} {value.get_reference()})"

    def _get_reference(self) -> str:
        return str(self.constant)


def splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector of `value` in every lane; a vector as it is."""
    if isinstance(value.type, ir.VectorType):
        return value
    type_ = ir.VectorType(value.type, lanes)
    if isinstance(value, ir.Constant):
        return Splat(type_, value)
    undefined = ir.Constant(type_, ir.Undefined)
    first = b.insert_element(undefined, value, ir.IntType(32)(0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def call_intrinsic(b: ir.IRBuilder, name: str, register: Register, *values: ir.Value) -> ir.Value:
    """A call of an LLVM intrinsic on values of one type."""
    suffix = f"{'f' if register.kind == 'f' else 'i'}{8 * register.itemsize}"
    full = f"{name}.{suffix}" if register.lanes is None else f"{name}.v{register.lanes}{suffix}"
    function = b.module.globals.get(full)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(register.type, [register.type] * len(values)), full)
    return b.call(function, values)
