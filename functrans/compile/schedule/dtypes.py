"""The dtypes elementwise operations are carried out in: those of NumPy's loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrans.compile.machine.casts import can_convert
from functrans.compile.machine.registers import in_registers
from functrans.compile.machine.scalars import supports
from functrans.compile.rewrite.expand import COMPARISONS
from functrans.core.program import Atom, Equation, Literal
from functrans.ops import arithmetic

__all__ = ["loop_types", "may_overflow"]

# Operations of kernels that no primitive of that name is to be taken for.
INTERNAL = {"multiply_add", "left_out", "corrected"}
BOOLEAN, INTEGER = np.dtype(np.bool_), np.dtype(np.int64)


def loop_types(equation: Equation) -> list[np.dtype[Any]] | None:
    """The dtypes an elementwise operation takes its operands in; None if NumPy is to carry it out."""
    primitive: Any = equation.primitive
    types = [atom.array_type for atom in equation.inputs]
    out = equation.outputs[0].array_type.dtype
    if primitive in (arithmetic.where, arithmetic.integer_power, arithmetic.masked_multiply):
        dtypes = [BOOLEAN, out, out] if primitive is arithmetic.where else [out] * len(types)
    elif isinstance(primitive.ufunc, np.ufunc):
        promoting = [type_.promoting for type_ in types] if not all(type_.weak for type_ in types) else [t.dtype for t in types]
        dtypes = [np.dtype(dtype) for dtype in primitive.ufunc.resolve_dtypes((*promoting, None))[: len(types)]]
    else:
        return None
    unsure = [atom for atom, dtype in zip(equation.inputs, dtypes) if may_overflow(atom, dtype)]
    if unsure and primitive in COMPARISONS and all(dtype.itemsize < 8 for dtype in dtypes):
        dtypes = [INTEGER, INTEGER]
    elif unsure and primitive in COMPARISONS or any(isinstance(atom, Literal) for atom in unsure):
        return None
    known = in_registers(out) and all(can_convert(t.dtype, d) for t, d in zip(types, dtypes))
    return dtypes if known and has_loop(equation, dtypes) else None


def has_loop(equation: Equation, dtypes: Sequence[np.dtype[Any]]) -> bool:
    """Whether an operation can be computed on operands of some dtypes."""
    primitive = equation.primitive
    if primitive is arithmetic.where:
        return True
    if primitive is arithmetic.integer_power:
        return supports("multiply", dtypes[0]) and (dtypes[0].kind in "fc" or equation.params["exponent"] >= 0)
    if primitive is arithmetic.power and dtypes[0].kind == "i":
        exponent = equation.inputs[1]
        if isinstance(exponent, Literal) and exponent.value < 0:
            return False
    return len(set(dtypes)) == 1 and primitive.name not in INTERNAL and supports(primitive.name, dtypes[0])


def may_overflow(atom: Atom, dtype: np.dtype[Any]) -> bool:
    """Whether an operand is a Python integer that may not be one of `dtype`: NumPy compares such, else it raises."""
    type_ = atom.array_type
    if not type_.weak or type_.dtype.kind != "i":
        return False
    if isinstance(atom, Literal):
        limits = np.iinfo(dtype if dtype.kind in "iu" else INTEGER)
        return not limits.min <= atom.value <= limits.max
    return dtype.kind in "iu" and dtype != INTEGER
