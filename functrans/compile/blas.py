"""Contractions that are matrix products, as calls of BLAS.

A contraction is one where its letters fall into batch, row, summed and column axes that lie in the
operands as matrices do, possibly transposed. BLAS is SciPy's; it counts columns first, so it computes the
transposed product. (Dongarra et al., A set of level 3 basic linear algebra subprograms, 1990.)
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
from llvmlite import binding, ir

from functrans.compile.extensions import extension_module
from functrans.core.program import Equation
from functrans.ops.contraction import split

__all__ = ["Product", "matrix_product", "one_thread_each", "parallel_extent", "product_function", "routine"]

INT = ir.IntType(32)
WORD = ir.IntType(64)
BYTE = ir.IntType(8)
# Multiplications and additions below which handing a product to other threads costs more than it saves.
WORTH_DIVIDING = 500_000
# Batches that are divided among threads; of fewer, the rows of each matrix are.
SEVERAL = 8


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

    @property
    def routine(self) -> str:
        """The name of BLAS's routine."""
        return "dgemm" if self.dtype.itemsize == 8 else "sgemm"


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
def routine(name: str) -> str:
    """The symbol of a routine, made known to the linker."""
    capsule = extension_module("scipy.linalg.cython_blas").__pyx_capi__[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    symbol = f"functrans_{name}"
    binding.add_symbol(symbol, get_pointer(capsule, get_name(capsule)))
    return symbol


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


def parallel_extent(product: Product) -> int:
    """How many batches or rows of a product may be divided among threads; 0 if it is too small."""
    size = product.batch * product.rows * product.summed * product.columns
    return 0 if size < WORTH_DIVIDING else product.batch if product.batch >= SEVERAL else product.rows


def product_function(module: ir.Module, product: Product) -> ir.Function:
    """The function that calls BLAS: of x, y, out, and the range of batches or of rows to compute."""
    type_ = ir.DoubleType() if product.dtype.itemsize == 8 else ir.FloatType()
    pointer = type_.as_pointer()
    name = f"product.{hash(product) & 0xFFFFFFFFFFFF:x}"
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
    symbol = routine(product.routine)
    function = module.globals.get(symbol) or ir.Function(module, kind, symbol)

    def constant(value: int | float, of: ir.Type) -> ir.Value:
        """A pointer to a number, as BLAS takes them."""
        full = f"number.{of}.{value}"
        found = module.globals.get(full)
        if found is None:
            found = ir.GlobalVariable(module, of, full)
            found.initializer, found.global_constant, found.linkage = ir.Constant(of, value), True, "internal"
        return found

    def letter(transposed: bool) -> ir.Value:
        return constant(ord("T" if transposed else "N"), BYTE)

    m, n, k = product.rows, product.columns, product.summed
    x_lead = constant(m if product.x_transposed else k, INT)
    y_lead = constant(k if product.y_transposed else n, INT)
    by_batch = product.batch >= SEVERAL
    rows = constant(m, INT)
    if not by_batch:
        rows = b.alloca(INT)
        b.store(b.trunc(b.sub(stop, start), INT), rows)
        x = b.gep(x, [start if product.x_transposed else b.mul(start, WORD(k))])
        out = b.gep(out, [b.mul(start, WORD(n))])
        start, stop = WORD(0), WORD(product.batch)
    with repeated(b, start, stop) as batch:

        def matrix(base: ir.Value, size: int) -> ir.Value:
            return b.gep(base, [b.mul(batch, WORD(size))])

        b.call(
            function,
            [
                letter(product.y_transposed), letter(product.x_transposed),
                constant(n, INT), rows, constant(k, INT), constant(1.0, type_),
                matrix(y, k * n), y_lead, matrix(x, m * k), x_lead,
                constant(0.0, type_), matrix(out, m * n), constant(n, INT),
            ],
        )  # fmt: skip
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
