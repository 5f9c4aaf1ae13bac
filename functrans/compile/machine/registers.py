"""Registers: the LLVM types of values in loops, one number or a vector of lanes.

A float16 is held as the float32 it is equal to: arithmetic is float32's, and each result is rounded to float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.machine.codegen import converts_half
from functrans.compile.machine.words import INT

__all__ = ["FLOAT16", "FLOAT32", "Register", "Splat", "call_intrinsic", "in_registers", "register_of", "splat"]

FLOAT16, FLOAT32 = np.dtype(np.float16), np.dtype(np.float32)
FLOATS = {4: ir.FloatType(), 8: ir.DoubleType()}


def in_registers(dtype: np.dtype[Any]) -> bool:
    """Whether values of `dtype` are held in registers, complex ones in two: all but those of extended precision."""
    if dtype == FLOAT16:
        return converts_half()
    return dtype.kind in "iub" or dtype in (np.float32, np.float64, np.complex64, np.complex128)


def register_of(dtype: np.dtype[Any], lanes: int | None = None) -> Register:
    """The register that values of `dtype` are held in."""
    return Register(FLOAT32 if dtype == FLOAT16 else dtype, lanes)


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
    first = b.insert_element(undefined, value, INT(0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))


def call_intrinsic(b: ir.IRBuilder, name: str, register: Register, *values: ir.Value) -> ir.Value:
    """A call of an LLVM intrinsic on values of one type."""
    suffix = f"{'f' if register.kind == 'f' else 'i'}{8 * register.itemsize}"
    full = f"{name}.{suffix}" if register.lanes is None else f"{name}.v{register.lanes}{suffix}"
    function = b.module.globals.get(full)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(register.type, [register.type] * len(values)), full)
    return b.call(function, values)
