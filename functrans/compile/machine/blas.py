"""Contractions that are matrix products, as calls of BLAS.

A contraction is one where its letters fall into batch, row, summed and column axes that lie in the
operands as matrices do, possibly transposed, the rows and the matrices any distance apart. BLAS is SciPy's; it
counts columns first, so it computes the transposed product. (Dongarra et al., A set of level 3 basic linear
algebra subprograms, 1990.)
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, cast

import numpy as np
from llvmlite import binding, ir

from functrans.compile.arguments import Layouts, strides_of
from functrans.compile.machine.extensions import extension_module
from functrans.compile.machine.words import INT, WORD
from functrans.config import processors
from functrans.core.program import Atom, Equation, Literal
from functrans.ops.contraction import split

__all__ = ["SEVERAL", "Product", "by_reference", "make_known", "matrix_product", "one_thread_each", "product_function", "repeated", "symbol"]

BYTE = ir.IntType(8)
# Multiplications and additions below which handing a product to other threads costs more than it saves.
WORTH_DIVIDING = 500_000
# Batches that are divided among threads. Of fewer, the rows or the columns of each matrix are, whichever are more: each
# thread then lays out less of what all of them read. (Measured for 256 x 784 x 512: 572 us for half of the columns,
# 640 us for half of the rows.) They are divided into as many blocks as there are processors, whatever number of threads
# there is: in the last rows and columns of a block BLAS may round otherwise.
SEVERAL = 8
BLOCKS = processors()
# What the rows or columns of a block are a multiple of, since BLAS takes several at once.
GRANULE = 16

SINGLE, DOUBLE = ir.FloatType(), ir.DoubleType()
# BLAS's routine for each dtype, and the type of its elements.
ROUTINES: dict[np.dtype[Any], tuple[str, ir.Type]] = {
    np.dtype(np.float32): ("sgemm", SINGLE),
    np.dtype(np.float64): ("dgemm", DOUBLE),
    np.dtype(np.complex64): ("cgemm", ir.LiteralStructType([SINGLE, SINGLE])),
    np.dtype(np.complex128): ("zgemm", ir.LiteralStructType([DOUBLE, DOUBLE])),
}

# The length and the stride of each axis of an operand, by its letter.
Axes = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Matrices:
    """Matrices in memory.

    Attributes:
        transposed: whether elements of a column are side by side, not of a row.
        lead: elements from one row, or column, to the next.
        apart: elements from one matrix to the next.
    """

    transposed: bool
    lead: int
    apart: int

    def is_packed(self, batch: int, rows: int, columns: int) -> bool:
        """Whether this is so of matrices of some lengths."""
        return self.lead == (rows if self.transposed else columns) and (batch == 1 or self.apart == rows * columns)


@dataclass(frozen=True)
class Product:
    """``out[batch, rows, columns] = sum over summed of x * y``, each matrix as it lies in memory.

    Attributes:
        swapped: whether the second operand of the contraction is x.
        x, y: how these lie.
    """

    dtype: np.dtype[Any]
    batch: int
    rows: int
    summed: int
    columns: int
    swapped: bool
    x: Matrices
    y: Matrices

    @property
    def by_batch(self) -> bool:
        """Whether batches are divided among threads."""
        return self.batch >= SEVERAL

    @property
    def by_columns(self) -> bool:
        """Whether columns are."""
        return not self.by_batch and self.columns > self.rows

    @property
    def length(self) -> int:
        """How many rows or columns there are to divide."""
        return self.columns if self.by_columns else self.rows

    @property
    def block(self) -> int:
        """How many rows or columns are in a block."""
        size = self.batch * self.rows * self.summed * self.columns
        blocks = BLOCKS if size >= WORTH_DIVIDING else 1
        return -(-self.length // (blocks * GRANULE)) * GRANULE

    @property
    def extent(self) -> int:
        """How many batches or blocks threads may share."""
        return self.batch if self.by_batch else -(-self.length // self.block)

    @property
    def is_worth_dividing(self) -> bool:
        """Whether it gains from several threads."""
        return self.batch * self.rows * self.summed * self.columns >= WORTH_DIVIDING

    @property
    def is_packed(self) -> bool:
        """Whether rows and matrices lie one right after the other."""
        return self.x.is_packed(self.batch, self.rows, self.summed) and self.y.is_packed(self.batch, self.summed, self.columns)

    @property
    def routine(self) -> str:
        """The name of BLAS's routine."""
        return ROUTINES[self.dtype][0]


def matrix_product(equation: Equation, layouts: Layouts) -> Product | None:
    """The product a contraction is, or None."""
    x, y, out = split(equation.params["subscripts"])
    types = [atom.array_type for atom in (*equation.inputs, *equation.outputs)]
    dtype = types[2].dtype
    if dtype not in ROUTINES or any(type_.dtype != dtype for type_ in types):
        return None
    sizes = dict(zip(x + y, types[0].shape + types[1].shape))
    batch = "".join(letter for letter in out if letter in x and letter in y)
    summed = "".join(letter for letter in x if letter in y and letter not in out)
    steps = [axes_of(atom, letters, layouts) for atom, letters in zip(equation.inputs, (x, y))]
    for swapped, (left, right) in enumerate(((x, y), (y, x))):
        rows = "".join(letter for letter in out if letter in left and letter not in right)
        columns = "".join(letter for letter in out if letter in right and letter not in left)
        if out != batch + rows + columns or len(left) + len(right) != len(out) + len(batch) + 2 * len(summed):
            continue
        x_lies = matrices(steps[swapped], batch, rows, summed)
        y_lies = matrices(steps[1 - swapped], batch, summed, columns)
        b, m, k, n = (math.prod(sizes[letter] for letter in group) for group in (batch, rows, summed, columns))
        if x_lies is not None and y_lies is not None and min(b, m, k, n) > 0 and max(m, k, n) < 2**31:
            return Product(dtype, b, m, k, n, bool(swapped), x_lies, y_lies)
    return None


def axes_of(atom: Atom, letters: str, layouts: Layouts) -> Axes:
    """The length and the stride of the axes of an operand."""
    if isinstance(atom, Literal):
        return {}
    return dict(zip(letters, zip(atom.array_type.shape, strides_of(atom, layouts))))


def matrices(axes: Axes, batch: str, rows: str, columns: str) -> Matrices | None:
    """How groups of axes lie as matrices, or None if BLAS does not take them so."""
    steps = [taken_as_one(axes, group) for group in (batch, rows, columns)]
    lengths = [math.prod(axes[letter][0] for letter in group) for group in (rows, columns)]
    if None in steps:
        return None
    apart, row, column = cast(list[int], steps)
    for transposed in (False, True):
        (step, within), (count, length) = ((column, row), lengths[::-1]) if transposed else ((row, column), lengths)
        # The distance of one row to the next may be any where there is only one.
        lead = step if count > 1 else length
        if (within == 1 or length == 1) and length <= lead < 2**31:
            return Matrices(transposed, lead, apart)
    return None


def taken_as_one(axes: Axes, group: str) -> int | None:
    """The stride of several axes counted through as one, 0 for one element; None if the distances differ."""
    found = [axes[letter] for letter in group if axes[letter][0] != 1]
    if any(step != length * following for (_, step), (length, following) in zip(found, found[1:])):
        return None
    return found[-1][1] if found else 0


def symbol(name: str) -> str:
    """What native code calls a routine of BLAS or LAPACK."""
    return f"functrans_{name}"


@cache
def make_known(name: str) -> None:
    """Tell the linker where a routine of BLAS or LAPACK is."""
    module = "cython_blas" if name.endswith("gemm") else "cython_lapack"
    capsule = extension_module(f"scipy.linalg.{module}").__pyx_capi__[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    binding.add_symbol(symbol(name), get_pointer(capsule, get_name(capsule)))


@cache
def thread_count() -> tuple[Callable[[], int], Callable[[int], None]]:
    """How many threads SciPy's OpenBLAS uses, and the function that sets it; 1 and nothing for another BLAS."""
    library = ctypes.CDLL(extension_module("scipy.linalg.cython_blas").__file__)
    try:
        get, put = library.scipy_openblas_get_num_threads, library.scipy_openblas_set_num_threads
    except AttributeError:
        return (lambda: 1), (lambda number: None)
    get.restype, get.argtypes, put.restype, put.argtypes = ctypes.c_int, [], None, [ctypes.c_int]
    return get, put


_callers = 0
_before = 1
_lock = Lock()


def _forget_callers() -> None:
    """In a forked child no other thread is within `one_thread_each`, or holds its lock."""
    global _callers, _lock
    if _callers:
        thread_count()[1](_before)
    _callers, _lock = 0, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_callers)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Products within run on the thread that calls them, since they are divided among Numba's threads already.

    Two pools of threads that wait for each other take several times as long as one.
    """
    global _callers, _before
    get, put = thread_count()
    with _lock:
        if _callers == 0:
            _before = get()
            put(1)
        _callers += 1
    try:
        yield
    finally:
        with _lock:
            _callers -= 1
            if _callers == 0:
                put(_before)


def by_reference(module: ir.Module, value: int | float | list[float], of: ir.Type) -> ir.Value:
    """A pointer to a number, as BLAS takes them."""
    full = f"number.{of}.{value}"
    found = module.globals.get(full)
    if found is None:
        found = ir.GlobalVariable(module, of, full)
        found.initializer, found.global_constant, found.linkage = ir.Constant(of, value), True, "internal"
    return found


def product_function(module: ir.Module, product: Product) -> ir.Function:
    """The function that calls BLAS: of x, y, out, and the range of batches, or of blocks, to compute."""
    type_ = ROUTINES[product.dtype][1]
    one, zero = ([value, 0.0] if product.dtype.kind == "c" else value for value in (1.0, 0.0))
    pointer = type_.as_pointer()
    name = f"product {product}"
    known = module.globals.get(name)
    if known is not None:
        return known
    own = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer] * 3 + [WORD] * 2), name)
    own.linkage = "internal"
    own.attributes.add("noinline")
    b = ir.IRBuilder(own.append_basic_block())
    x, y, out, start, stop = own.args
    char, number = BYTE.as_pointer(), INT.as_pointer()
    kind = ir.FunctionType(
        ir.VoidType(),
        [char, char, number, number, number, pointer, pointer, number, pointer, number, pointer, pointer, number],
    )
    routine = symbol(product.routine)
    function = module.globals.get(routine) or ir.Function(module, kind, routine)

    def constant(value: int | float | list[float], of: ir.Type) -> ir.Value:
        return by_reference(module, value, of)

    def letter(transposed: bool) -> ir.Value:
        return constant(ord("T" if transposed else "N"), BYTE)

    m, n, k = product.rows, product.columns, product.summed
    rows, columns = constant(m, INT), constant(n, INT)

    def multiply(x: ir.Value, y: ir.Value, out: ir.Value, batch: ir.Value) -> None:
        """One call."""

        def matrix(base: ir.Value, size: int) -> ir.Value:
            return b.gep(base, [b.mul(batch, WORD(size))])

        b.call(
            function,
            [
                letter(product.y.transposed), letter(product.x.transposed),
                columns, rows, constant(k, INT), constant(one, type_),
                matrix(y, product.y.apart), constant(product.y.lead, INT),
                matrix(x, product.x.apart), constant(product.x.lead, INT),
                constant(zero, type_), matrix(out, m * n), constant(n, INT),
            ],
        )  # fmt: skip

    if product.by_batch:
        with repeated(b, start, stop) as batch:
            multiply(x, y, out, batch)
        b.ret_void()
        return own
    count = b.alloca(INT)
    rows, columns = (rows, count) if product.by_columns else (count, columns)
    with repeated(b, start, stop) as block:
        first = b.mul(block, WORD(product.block))
        left = b.sub(WORD(product.length), first)
        size = b.select(b.icmp_signed("<", left, WORD(product.block)), left, WORD(product.block))
        b.store(b.trunc(size, INT), count)
        if product.by_columns:
            y = b.gep(y, [b.mul(first, WORD(product.y.lead)) if product.y.transposed else first])
            out = b.gep(out, [first])
        else:
            x = b.gep(x, [first if product.x.transposed else b.mul(first, WORD(product.x.lead))])
            out = b.gep(out, [b.mul(first, WORD(n))])
        with repeated(b, WORD(0), WORD(product.batch)) as batch:
            multiply(x, y, out, batch)
    b.ret_void()
    return own


@contextmanager
def repeated(b: ir.IRBuilder, start: ir.Value, stop: ir.Value) -> Iterator[ir.Value]:
    """A loop from `start` to `stop` around what is emitted within; gives the counter."""
    before, head = b.block, b.append_basic_block("batch")
    body, after = b.append_basic_block("product"), b.append_basic_block("done")
    b.branch(head)
    b.position_at_end(head)
    counter = b.phi(WORD)
    counter.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", counter, stop), body, after)
    b.position_at_end(body)
    yield counter
    counter.add_incoming(b.add(counter, WORD(1)), b.block)
    b.branch(head)
    b.position_at_end(after)
