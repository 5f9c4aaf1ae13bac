"""Contractions that are matrix products, as calls of BLAS.

A contraction is one where its letters fall into batch, row, summed and column axes that lie in the
operands as matrices do, possibly transposed. BLAS is SciPy's; it counts columns first, so it computes the
transposed product. (Dongarra et al., A set of level 3 basic linear algebra subprograms, 1990.)
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from llvmlite import binding, ir

from functrans.core.program import Equation
from functrans.ops.contraction import split

__all__ = ["Product", "emit_product", "matrix_product"]

INT = ir.IntType(32)
WORD = ir.IntType(64)
BYTE = ir.IntType(8)


@dataclass(frozen=True)
class Product:
    """``out[batch, rows, columns] = sum over summed of x * y``, each matrix as it lies in memory.

    Attributes:
        swapped: whether the second operand of the contraction is x.
        x_transposed: whether x lies as ``[batch, summed, rows]``; `y_transposed` is its like.
    """

    dtype: np.dtype[np.floating]
    batch: int
    rows: int
    summed: int
    columns: int
    swapped: bool
    x_transposed: bool
    y_transposed: bool


def matrix_product(equation: Equation) -> Product | None:
    """The product a contraction is, or None."""
    x, y, out = split(equation.params["subscripts"])
    types = [atom.array_type for atom in (*equation.inputs, *equation.outputs)]
    dtype = types[2].dtype
    if dtype not in (np.float32, np.float64) or any(type_.dtype != dtype for type_ in types):
        return None
    sizes = dict(zip(x + y, types[0].shape + types[1].shape))
    batch = "".join(letter for letter in out if letter in x and letter in y)
    summed = "".join(letter for letter in x if letter in y and letter not in out)
    for swapped, (left, right) in enumerate(((x, y), (y, x))):
        rows = "".join(letter for letter in out if letter in left and letter not in right)
        columns = "".join(letter for letter in out if letter in right and letter not in left)
        x_lies = {batch + rows + summed: False, batch + summed + rows: True}.get(left)
        y_lies = {batch + summed + columns: False, batch + columns + summed: True}.get(right)
        if out == batch + rows + columns and x_lies is not None and y_lies is not None:
            b, m, k, n = (math.prod(sizes[letter] for letter in group) for group in (batch, rows, summed, columns))
            if min(b, m, k, n) > 0 and max(m, k, n) < 2**31:
                return Product(dtype, b, m, k, n, bool(swapped), x_lies, y_lies)
    return None


@cache
def routine(dtype: np.dtype[np.floating]) -> str:
    """The symbol of the routine for a dtype, made known to the linker."""
    from scipy.linalg import cython_blas

    name = "dgemm" if dtype.itemsize == 8 else "sgemm"
    capsule = cython_blas.__pyx_capi__[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    symbol = f"functrans_{name}"
    binding.add_symbol(symbol, get_pointer(capsule, get_name(capsule)))
    return symbol


def emit_product(b: ir.IRBuilder, product: Product, x: ir.Value, y: ir.Value, out: ir.Value) -> None:
    """The call of BLAS, one for each batch."""
    type_ = ir.DoubleType() if product.dtype.itemsize == 8 else ir.FloatType()
    pointer = type_.as_pointer()
    char, number = BYTE.as_pointer(), INT.as_pointer()
    kind = ir.FunctionType(
        ir.VoidType(),
        [char, char, number, number, number, pointer, pointer, number, pointer, number, pointer, pointer, number],
    )
    symbol = routine(product.dtype)
    function = b.module.globals.get(symbol) or ir.Function(b.module, kind, symbol)
    x, y, out = (b.bitcast(value, pointer) for value in ((y, x) if product.swapped else (x, y)) + (out,))

    def constant(value: int | float, of: ir.Type) -> ir.Value:
        """A pointer to a number, as BLAS takes them."""
        name = f"number.{of}.{value}"
        known = b.module.globals.get(name)
        if known is None:
            known = ir.GlobalVariable(b.module, of, name)
            known.initializer, known.global_constant, known.linkage = ir.Constant(of, value), True, "internal"
        return known

    def letter(transposed: bool) -> ir.Value:
        return constant(ord("T" if transposed else "N"), BYTE)

    m, n, k = product.rows, product.columns, product.summed
    x_lead = constant(m if product.x_transposed else k, INT)
    y_lead = constant(k if product.y_transposed else n, INT)
    with repeated(b, product.batch) as batch:

        def matrix(base: ir.Value, size: int) -> ir.Value:
            return b.gep(base, [b.mul(batch, WORD(size))])

        b.call(
            function,
            [
                letter(product.y_transposed), letter(product.x_transposed),
                constant(n, INT), constant(m, INT), constant(k, INT), constant(1.0, type_),
                matrix(y, k * n), y_lead, matrix(x, m * k), x_lead,
                constant(0.0, type_), matrix(out, m * n), constant(n, INT),
            ],
        )  # fmt: skip


@contextmanager
def repeated(b: ir.IRBuilder, count: int) -> Iterator[ir.Value]:
    """A loop of `count` rounds around what is emitted within; gives the counter."""
    before, head = b.block, b.append_basic_block("batch")
    after = b.append_basic_block("done")
    b.branch(head)
    b.position_at_end(head)
    counter = b.phi(WORD)
    counter.add_incoming(WORD(0), before)
    yield counter
    following = b.add(counter, WORD(1))
    counter.add_incoming(following, b.block)
    b.cbranch(b.icmp_unsigned("<", following, WORD(count)), head, after)
    b.position_at_end(after)
