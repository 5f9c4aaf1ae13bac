"""Linear algebra by LAPACK's routines, from native code: `solve`, `inv`, `cholesky` and determinants of small matrices.

Each does what NumPy does: LAPACK counts columns first, so matrices are copied transposed, factored, and what comes of
it is copied back. Where NumPy raises, the program fails, and NumPy says why. (Anderson et al., LAPACK Users' Guide, 1999.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.machine.blas import by_reference, repeated, symbol
from functrans.compile.machine.registers import Register
from functrans.compile.machine.scalars import OPERATIONS
from functrans.compile.machine.words import BYTES, INT, WORD
from functrans.core.primitive import Primitive
from functrans.core.program import Equation, Literal
from functrans.ops import linalg

__all__ = ["MatrixFunction", "matrix_function", "matrix_function_code", "matrix_function_extent"]

# Rows beyond which NumPy is called: its LAPACK divides the work of one large matrix among threads.
LARGEST_MATRIX = 256
# Multiplications below which handing matrices to other threads costs more than it saves.
WORTH_DIVIDING = 200_000


@dataclass(frozen=True)
class MatrixFunction:
    """A function of each of some matrices: ``size`` rows and columns of `dtype`.

    Attributes:
        batch: how many there are.
        columns: of the right-hand side, or of the result.
    """

    primitive: Primitive
    dtype: np.dtype[np.floating]
    batch: int
    size: int
    columns: int

    @property
    def routine(self) -> str:
        """The name of LAPACK's routine."""
        return ("d" if self.dtype.itemsize == 8 else "s") + RULES[self.primitive][0]

    @property
    def multiplications(self) -> int:
        """About how many it takes, and as many additions."""
        factors = self.size**3 // (6 if self.primitive is linalg.cholesky else 3)
        return self.batch * (factors + self.size**2 * self.columns)

    @property
    def scratch(self) -> int:
        """Bytes for the factors, the right-hand side and the order of rows, for each thread."""
        elements = self.size * (self.size + max(self.columns, 1))
        return -(-(elements * self.dtype.itemsize + 4 * self.size) // 64) * 64

    @property
    def may_fail(self) -> bool:
        """Whether NumPy raises for some matrices."""
        return self.primitive in (linalg.solve, linalg.inv, linalg.cholesky)


def matrix_function(equation: Equation) -> MatrixFunction | None:
    """The function an equation is, or None."""
    if equation.primitive not in RULES or any(isinstance(atom, Literal) for atom in equation.inputs):
        return None
    types = [atom.array_type for atom in (*equation.inputs, *equation.outputs)]
    dtype, shape = types[0].dtype, types[0].shape
    if dtype not in (np.float32, np.float64) or any(type_.dtype != dtype for type_ in types):
        return None
    batch, size = math.prod(shape[:-2]), shape[-1]
    columns = types[1].shape[-1] if equation.primitive is linalg.solve else size * (equation.primitive is linalg.inv)
    if not 0 < size <= LARGEST_MATRIX or not batch or (equation.primitive is linalg.solve and not columns):
        return None
    return MatrixFunction(equation.primitive, dtype, batch, size, columns)


class MatrixCode:
    """Emits the function that applies a matrix function to a range of matrices.

    Attributes:
        factors, right, order: memory for a matrix and its factors, for the right-hand side, and for the order of rows.
    """

    def __init__(self, module: ir.Module, function: MatrixFunction, name: str) -> None:
        self.function = function
        self.element = Register(function.dtype).element
        pointer = self.element.as_pointer()
        operands = [pointer] * (2 + (function.primitive is linalg.solve))
        types = [*operands, *[INT.as_pointer()] * function.may_fail, BYTES, WORD, WORD]
        self.own = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
        self.own.linkage = "internal"
        self.own.attributes.add("noinline")
        self.b = b = ir.IRBuilder(self.own.append_basic_block())
        *matrices, scratch, start, stop = self.own.args
        self.failed = matrices.pop() if function.may_fail else None
        n, k = function.size, function.columns
        self.factors = b.bitcast(scratch, pointer)
        self.right = b.gep(self.factors, [WORD(n * n)])
        self.order = b.bitcast(b.gep(self.right, [WORD(n * k)]), INT.as_pointer())
        self.info, self.sign, self.total = b.alloca(INT), b.alloca(self.element), b.alloca(self.element)
        with repeated(b, start, stop) as number:
            RULES[function.primitive][1](self, *matrices, number)
        b.ret_void()

    def matrix(self, base: ir.Value, number: ir.Value, rows: int, columns: int) -> ir.Value:
        """One of several matrices."""
        return self.b.gep(base, [self.b.mul(number, WORD(rows * columns))])

    def at(self, base: ir.Value, row: ir.Value, column: ir.Value, columns: int) -> ir.Value:
        """The place of an element."""
        return self.b.gep(base, [self.b.add(self.b.mul(row, WORD(columns)), column)])

    def transpose(self, source: ir.Value, target: ir.Value, rows: int, columns: int) -> None:
        """Copy a matrix so that its rows become columns."""
        b = self.b
        with repeated(b, WORD(0), WORD(rows)) as row, repeated(b, WORD(0), WORD(columns)) as column:
            b.store(b.load(self.at(source, row, column, columns)), self.at(target, column, row, rows))

    def call(self, *arguments: Any) -> ir.Value:
        """Whether LAPACK's routine says that it did not succeed; numbers and letters are passed as addresses."""
        b = self.b
        values = [self.address(argument) for argument in arguments] + [self.info]
        name = symbol(self.function.routine)
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        b.call(b.module.globals.get(name) or ir.Function(b.module, kind, name), values)
        return b.icmp_signed("!=", b.load(self.info), INT(0))

    def address(self, argument: Any) -> ir.Value:
        """An argument as LAPACK takes it."""
        if isinstance(argument, int):
            return by_reference(self.b.module, argument, INT)
        return by_reference(self.b.module, ord(argument), ir.IntType(8)) if isinstance(argument, str) else argument

    def fail_if(self, condition: ir.Value) -> None:
        """Note that NumPy raises."""
        with self.b.if_then(condition, likely=False):
            self.b.store_atomic(INT(1), self.failed, "monotonic", 4)

    def number(self, value: float) -> ir.Constant:
        return ir.Constant(self.element, value)

    def apply(self, operation: str, *values: ir.Value) -> ir.Value:
        """A scalar operation."""
        return OPERATIONS[operation][1](self.b, Register(self.function.dtype), *values)


def of_solve(code: MatrixCode, a: ir.Value, rhs: ir.Value, out: ir.Value, number: ir.Value) -> None:
    """The solution by factors of a with its rows reordered."""
    n, k = code.function.size, code.function.columns
    code.transpose(code.matrix(rhs, number, n, k), code.right, n, k)
    solved(code, a, out, number)


def of_inverse(code: MatrixCode, a: ir.Value, out: ir.Value, number: ir.Value) -> None:
    """The solution with the identity on the right."""
    b, n = code.b, WORD(code.function.size)
    with repeated(b, WORD(0), n) as row, repeated(b, WORD(0), n) as column:
        one = b.select(b.icmp_signed("==", row, column), code.number(1), code.number(0))
        b.store(one, code.at(code.right, row, column, code.function.size))
    solved(code, a, out, number)


def solved(code: MatrixCode, a: ir.Value, out: ir.Value, number: ir.Value) -> None:
    """The solution for the right-hand side that is there."""
    n, k = code.function.size, code.function.columns
    code.transpose(code.matrix(a, number, n, n), code.factors, n, n)
    code.fail_if(code.call(n, k, code.factors, n, code.order, code.right, n))
    code.transpose(code.right, code.matrix(out, number, n, k), k, n)


def of_cholesky(code: MatrixCode, a: ir.Value, out: ir.Value, number: ir.Value) -> None:
    """The lower factor, with zeros above."""
    b, n = code.b, code.function.size
    code.transpose(code.matrix(a, number, n, n), code.factors, n, n)
    code.fail_if(code.call("L", n, code.factors, n))
    out = code.matrix(out, number, n, n)
    with repeated(b, WORD(0), WORD(n)) as row, repeated(b, WORD(0), WORD(n)) as column:
        below = b.load(code.at(code.factors, column, row, n))
        b.store(b.select(b.icmp_signed("<=", column, row), below, code.number(0)), code.at(out, row, column, n))


def factored(code: MatrixCode, a: ir.Value, number: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The sign of a determinant and the logarithm of its magnitude; 0 and -inf of a singular matrix."""
    b, n = code.b, code.function.size
    code.transpose(code.matrix(a, number, n, n), code.factors, n, n)
    singular = code.call(n, n, code.factors, n, code.order)
    b.store(code.number(1), code.sign)
    b.store(code.number(0), code.total)
    with repeated(b, WORD(0), WORD(n)) as row:
        pivot = b.load(code.at(code.factors, row, row, n))
        swapped = b.icmp_signed("!=", b.load(b.gep(code.order, [row])), b.trunc(b.add(row, WORD(1)), INT))
        turns = b.xor(swapped, b.fcmp_ordered("<", pivot, code.number(0)))
        sign = b.load(code.sign)
        b.store(b.select(turns, b.fneg(sign), sign), code.sign)
        magnitude = code.apply("log", code.apply("absolute", pivot))
        b.store(b.fadd(b.load(code.total), magnitude), code.total)
    sign = b.select(singular, code.number(0), b.load(code.sign))
    return sign, b.select(singular, code.number(-math.inf), b.load(code.total))


def of_sign(code: MatrixCode, a: ir.Value, out: ir.Value, number: ir.Value) -> None:
    """The sign of the determinant."""
    code.b.store(factored(code, a, number)[0], code.b.gep(out, [number]))


def of_logarithm(code: MatrixCode, a: ir.Value, out: ir.Value, number: ir.Value) -> None:
    """The logarithm of the determinant's magnitude."""
    code.b.store(factored(code, a, number)[1], code.b.gep(out, [number]))


def of_determinant(code: MatrixCode, a: ir.Value, out: ir.Value, number: ir.Value) -> None:
    """The determinant, by its logarithm, as NumPy has it."""
    sign, logarithm = factored(code, a, number)
    code.b.store(code.b.fmul(sign, code.apply("exp", logarithm)), code.b.gep(out, [number]))


# What computes each function, and the routine it calls.
RULES: dict[Primitive, tuple[str, Callable[..., None]]] = {
    linalg.solve:     ("gesv",  of_solve),
    linalg.inv:       ("gesv",  of_inverse),
    linalg.cholesky:  ("potrf", of_cholesky),
    linalg.det:       ("getrf", of_determinant),
    linalg.det_sign:  ("getrf", of_sign),
    linalg.logabsdet: ("getrf", of_logarithm),
}  # fmt: skip


def matrix_function_code(module: ir.Module, function: MatrixFunction) -> ir.Function:
    """The function of operands, the result, what becomes 1 if NumPy raises (where it may), scratch, and a range of matrices."""
    name = f"{function.primitive}.{function.dtype}.{function.batch}x{function.size}x{function.columns}"
    known = module.globals.get(name)
    return known if known is not None else MatrixCode(module, function, name).own


def matrix_function_extent(function: MatrixFunction) -> int:
    """How many matrices may be divided among threads; 0 if they are too little work."""
    return function.batch if function.multiplications >= WORTH_DIVIDING else 0
