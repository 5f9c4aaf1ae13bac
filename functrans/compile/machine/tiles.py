"""Matrix products by tiles: a few rows by two vectors of columns, whose sums stay in registers.

The columns of y that a tile needs are packed first, one row of them after the other, for all tiles below one
another; so is x if it is transposed. Up to some size this is quicker than a call of a library, which packs both
operands. (Goto and van de Geijn, Anatomy of high-performance matrix multiplication, 2008.)

One routine for each dtype takes all sizes as arguments, so that programs that call it do not compile it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from functrans.compile.machine.blas import SEVERAL, Product, repeated
from functrans.compile.machine.codegen import Library, build, vector_registers
from functrans.compile.machine.registers import Register, call_intrinsic, splat
from functrans.compile.machine.words import BYTES, WORD
from functrans.config import processors

__all__ = ["ROUTINES", "Tiling", "routine_code", "tiled_product"]

BIT = ir.IntType(1)
# How much of the summed axis is taken at a time, at the most: two vectors of so many rows fit the first-level cache.
DEPTH = 320
# Bytes of x that tiles side by side read again and again: they stay in the second-level cache.
CACHED = 400_000
# Multiplications of one matrix between which tiles are as fast as OpenBLAS or faster, with a transposed y from an eighth
# on. (Measured for float32, of its time: 64 x 64 x 64 1.15, with a transposed y 0.8; 128 x 128 x 128 0.70,
# 256 x 784 x 512 0.85, 784 x 256 x 512 of a transposed x 0.90, 512 x 512 x 512 0.95, 640 x 640 x 640 1.05.)
SMALLEST, LARGEST = 2**19, 2**27
# Vectors side by side in a tile.
VECTORS = 2
# Rows and columns of the squares that a transposed y is packed by.
SQUARE = 8
# The routine of each dtype.
ROUTINES: dict[str, np.dtype[Any]] = {"tiled_float32": np.dtype(np.float32), "tiled_float64": np.dtype(np.float64)}


def lanes_of(dtype: np.dtype[Any]) -> int:
    """Numbers in a vector."""
    return vector_registers()[0] // dtype.itemsize


def height() -> int:
    """Rows of a tile: all registers but those of y's vectors, and some for x."""
    return (vector_registers()[1] - 2 * VECTORS) // VECTORS


@dataclass(frozen=True)
class Tiling:
    """How a product is divided into tiles.

    Strips are rows of tiles, panels columns of tiles; the last ones may be smaller.
    """

    product: Product

    @property
    def is_faster(self) -> bool:
        """Whether a library takes longer: products of thin or of large matrices are its."""
        product = self.product
        narrowest = self.width if product.x.transposed else lanes_of(product.dtype) // 2  # to pack x for one panel is not worth it
        is_thick = min(product.rows, product.summed) >= height() and product.columns >= narrowest
        smallest = SMALLEST // 8 if product.y.transposed else SMALLEST
        size = product.rows * product.summed * product.columns
        return product.dtype in ROUTINES.values() and is_thick and smallest <= size <= LARGEST

    @property
    def routine(self) -> str:
        return f"tiled_{self.product.dtype}"

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return VECTORS * lanes_of(self.product.dtype)

    @property
    def strips(self) -> int:
        return -(-self.product.rows // height())

    @property
    def panels(self) -> int:
        return -(-self.product.columns // self.width)

    @property
    def by_batch(self) -> bool:
        """Whether batches are divided among threads."""
        return self.product.batch >= SEVERAL

    @property
    def by_panels(self) -> bool:
        """Whether panels are, not strips: each thread packs all of the operand that is not divided, x only if transposed."""
        if self.by_batch:
            return False
        enough = 4 * processors()
        if self.product.x.transposed and self.product.rows >= self.product.columns:
            return self.strips < min(self.panels, enough)
        return self.panels >= min(self.strips, enough)

    @property
    def extent(self) -> int:
        """How many batches, panels or strips threads share."""
        return self.product.batch if self.by_batch else self.panels if self.by_panels else self.strips

    @property
    def depth(self) -> int:
        """Terms of the sums that are taken at a time."""
        times = -(-self.product.summed // DEPTH)
        return -(-self.product.summed // (times * SQUARE)) * SQUARE

    @property
    def chunk(self) -> int:
        """Strips that are computed for one packed panel."""
        return min(self.strips, max(1, CACHED // (self.depth * height() * self.product.dtype.itemsize)))

    @property
    def scratch(self) -> int:
        """Bytes that each thread packs into: a panel, a tile, strips of a transposed x."""
        rows = self.chunk * height() if self.product.x.transposed else 0
        return (self.width * (self.depth + height()) + rows * self.depth) * self.product.dtype.itemsize


class Sizes(NamedTuple):
    """What the routine takes beside x, y, out and scratch; all are words.

    Attributes:
        row, term: elements from one row of x, and from one term of the sums, to the next.
        y_term, y_column: the same of y.
        first_strip, last_strip, first_panel, last_panel: what to compute, the last excluded.
    """

    rows: Any
    summed: Any
    columns: Any
    row: Any
    term: Any
    y_term: Any
    y_column: Any
    depth: Any
    chunk: Any
    first_strip: Any
    last_strip: Any
    first_panel: Any
    last_panel: Any


def routine_type(element: ir.Type) -> ir.FunctionType:
    """The type of the routine."""
    return ir.FunctionType(ir.VoidType(), [element.as_pointer()] * 4 + [WORD] * len(Sizes._fields))


def tiled_product(module: ir.Module, tiling: Tiling) -> ir.Function:
    """The function of x, y, out, scratch, and the range of batches, panels or strips to compute."""
    product = tiling.product
    name = f"tiled {product}"
    if name in module.globals:
        return module.globals[name]
    element = Register(product.dtype).element
    pointer = element.as_pointer()
    routine = module.globals.get(tiling.routine) or ir.Function(module, routine_type(element), tiling.routine)
    function = new_function(module, name, [pointer] * 3 + [BYTES] + [WORD] * 2)
    b = ir.IRBuilder(function.append_basic_block())
    x, y, out, scratch, start, stop = function.args
    ranges = {"batch": (0, product.batch), "strips": (0, tiling.strips), "panels": (0, tiling.panels)}
    bounds = {name: (WORD(first), WORD(last)) for name, (first, last) in ranges.items()}
    bounds["batch" if tiling.by_batch else "panels" if tiling.by_panels else "strips"] = start, stop
    row, term = (1, product.x.lead) if product.x.transposed else (product.x.lead, 1)
    y_term, y_column = (1, product.y.lead) if product.y.transposed else (product.y.lead, 1)
    numbers = product.rows, product.summed, product.columns, row, term, y_term, y_column, tiling.depth, tiling.chunk
    sizes = Sizes._make([*map(WORD, numbers), *bounds["strips"], *bounds["panels"]])
    room = b.bitcast(scratch, pointer)
    with repeated(b, *bounds["batch"]) as batch:
        apart = (product.x.apart, product.y.apart, product.rows * product.columns)
        matrices = [b.gep(base, [b.mul(batch, WORD(size))]) for base, size in zip((x, y, out), apart)]
        b.call(routine, [*matrices, room, *sizes])
    b.ret_void()
    return function


def routine_code(name: str) -> Library:
    """The compiled routine of this name."""
    module = ir.Module()
    _Routine(module, name)
    return build(module)


class _Routine:
    """Emits the routine of one dtype.

    Attributes:
        tiles: the functions of tiles, of one vector and of `VECTORS`, by rows: those of a strip, and fewer for the last one.
    """

    def __init__(self, module: ir.Module, name: str) -> None:
        self.module = module
        self.lanes = lanes_of(ROUTINES[name])
        self.width, self.height = VECTORS * self.lanes, height()
        self.register = Register(ROUTINES[name], self.lanes)
        self.pointer = self.register.element.as_pointer()
        self.tiles = {rows: [self.tile(rows, vectors) for vectors in (1, VECTORS)] for rows in (self.height, 4, 1)}
        function = ir.Function(module, routine_type(self.register.element), name)
        function.attributes.add("nounwind")
        self.x, self.y, self.out, room, *sizes = function.args
        self.sizes = Sizes(*sizes)
        self.b = b = ir.IRBuilder(function.append_basic_block())
        self.panel, self.corner = room, b.gep(room, [b.mul(self.sizes.depth, WORD(self.width))])
        self.packed = b.gep(self.corner, [WORD(self.width * self.height)])
        self.is_packed = b.icmp_signed("!=", self.sizes.term, WORD(1))
        self.product()
        b.ret_void()

    def product(self) -> None:
        """Blocks of the summed axis, chunks of strips, panels, strips."""
        b, sizes = self.b, self.sizes
        with pieces(b, WORD(0), sizes.summed, sizes.depth) as (first, end):
            length, starts = b.sub(end, first), b.icmp_signed("==", first, WORD(0))
            with pieces(b, sizes.first_strip, sizes.last_strip, sizes.chunk) as (top, bottom):
                with b.if_then(self.is_packed):
                    with repeated(b, top, bottom) as strip:
                        self.pack_strip(strip, top, first, length)
                with repeated(b, sizes.first_panel, sizes.last_panel) as panel:
                    column = b.mul(panel, WORD(self.width))
                    columns = least(b, b.sub(sizes.columns, column), WORD(self.width))
                    self.pack_panel(column, columns, first, length)
                    with repeated(b, top, bottom) as strip:
                        self.strip(strip, top, column, columns, first, length, starts)

    def rows_of(self, strip: ir.Value) -> ir.Value:
        """How many rows a strip has."""
        return least(self.b, self.b.sub(self.sizes.rows, self.b.mul(strip, WORD(self.height))), WORD(self.height))

    def packed_strip(self, strip: ir.Value, top: ir.Value) -> ir.Value:
        """Where a strip of x is packed to: of each term, the numbers of its rows."""
        b = self.b
        return b.gep(self.packed, [b.mul(b.sub(strip, top), b.mul(self.sizes.depth, WORD(self.height)))])

    def pack_strip(self, strip: ir.Value, top: ir.Value, first: ir.Value, length: ir.Value) -> None:
        """Copy a strip of a transposed x, whose rows are side by side."""
        b, step = self.b, self.sizes.term
        source = b.gep(self.x, [b.add(b.mul(strip, WORD(self.height)), b.mul(first, step))])
        target = self.packed_strip(strip, top)
        rows = self.rows_of(strip)
        is_full = b.icmp_signed("==", rows, WORD(self.height))
        with repeated(b, WORD(0), length) as term:
            left, right = b.gep(source, [b.mul(term, step)]), b.gep(target, [b.mul(term, WORD(self.height))])
            with b.if_else(is_full) as (full, part):
                with full:
                    self.store(b, self.load(b, left, self.height), right)
                with part:
                    with repeated(b, WORD(0), rows) as row:
                        b.store(b.load(b.gep(left, [row])), b.gep(right, [row]))

    def pack_panel(self, column: ir.Value, columns: ir.Value, first: ir.Value, length: ir.Value) -> None:
        """Copy a panel of y: of each term, the numbers of its columns."""
        b, sizes = self.b, self.sizes
        source = b.gep(self.y, [b.add(b.mul(first, sizes.y_term), b.mul(column, sizes.y_column))])
        is_full = b.icmp_signed("==", columns, WORD(self.width))
        with b.if_then(b.not_(is_full)):  # what is in lanes beyond the last column may be subnormal, which is slow
            with repeated(b, WORD(0), length) as term:
                for start in range(0, self.width, self.lanes):
                    self.store(b, self.register(0), b.gep(self.panel, [b.add(b.mul(term, WORD(self.width)), WORD(start))]))
        with b.if_else(b.icmp_signed("==", sizes.y_column, WORD(1))) as (rows, transposed):
            with rows:
                with repeated(b, WORD(0), length) as term:
                    left, right = b.gep(source, [b.mul(term, sizes.y_term)]), b.gep(self.panel, [b.mul(term, WORD(self.width))])
                    with b.if_else(is_full) as (full, part):
                        with full:
                            for start in range(0, self.width, self.lanes):
                                numbers = self.load(b, b.gep(left, [WORD(start)]), self.lanes)
                                self.store(b, numbers, b.gep(right, [WORD(start)]))
                        with part:
                            with repeated(b, WORD(0), columns) as place:
                                b.store(b.load(b.gep(left, [place])), b.gep(right, [place]))
            with transposed:
                self.pack_transposed(source, columns, length)

    def pack_transposed(self, source: ir.Value, columns: ir.Value, length: ir.Value) -> None:
        """Copy a panel whose terms are side by side: squares, then what they leave of the last columns and terms."""
        b, lead = self.b, self.sizes.y_column
        sides = [b.and_(count, WORD(-SQUARE)) for count in (columns, length)]

        def place(column: ir.Value, term: ir.Value) -> ir.Value:
            return b.gep(self.panel, [b.add(column, b.mul(term, WORD(self.width)))])

        def copy_rest(columns: tuple[ir.Value, ir.Value], terms: tuple[ir.Value, ir.Value]) -> None:
            with repeated(b, *columns) as column:
                left = b.gep(source, [b.mul(column, lead)])
                with repeated(b, *terms) as term:
                    b.store(b.load(b.gep(left, [term])), place(column, term))

        with pieces(b, WORD(0), sides[0], WORD(SQUARE)) as (column, _):
            left = b.gep(source, [b.mul(column, lead)])
            with pieces(b, WORD(0), sides[1], WORD(SQUARE)) as (term, _):
                rows = [self.load(b, b.gep(left, [b.add(b.mul(WORD(row), lead), term)]), SQUARE) for row in range(SQUARE)]
                right = place(column, term)
                for row, vector in enumerate(transposed_square(b, rows)):
                    self.store(b, vector, b.gep(right, [WORD(row * self.width)]))
        copy_rest((WORD(0), sides[0]), (sides[1], length))
        copy_rest((sides[0], columns), (WORD(0), length))

    def strip(
        self,
        strip: ir.Value,
        top: ir.Value,
        column: ir.Value,
        columns: ir.Value,
        first: ir.Value,
        length: ir.Value,
        starts: ir.Value,
    ) -> None:
        """The tiles of a strip and the packed panel; those that are not of whole vectors are computed beside `out`."""
        b, sizes, is_packed = self.b, self.sizes, self.is_packed
        rows, first_row = self.rows_of(strip), b.mul(strip, WORD(self.height))
        in_place = b.gep(self.x, [b.add(b.mul(first_row, sizes.row), first)])
        left = b.select(is_packed, self.packed_strip(strip, top), in_place)
        row, term = b.select(is_packed, WORD(1), sizes.row), b.select(is_packed, WORD(self.height), WORD(1))
        is_whole = b.icmp_signed("==", b.urem(columns, WORD(self.lanes)), WORD(0))
        target = b.gep(self.out, [b.add(b.mul(first_row, sizes.columns), column)])
        own, lead = b.select(is_whole, target, self.corner), b.select(is_whole, sizes.columns, WORD(self.width))
        replaces = b.or_(starts, b.not_(is_whole))
        is_narrow = b.icmp_signed("<=", columns, WORD(self.lanes))

        def call(rows: int, start: ir.Value) -> None:
            function = b.select(is_narrow, *self.tiles[rows])
            x, out = b.gep(left, [b.mul(start, row)]), b.gep(own, [b.mul(start, lead)])
            b.call(function, [x, self.panel, out, length, row, term, lead, replaces])

        with b.if_else(b.icmp_signed("==", rows, WORD(self.height))) as (full, part):
            with full:
                call(self.height, WORD(0))
            with part:
                fours = b.and_(rows, WORD(-4))
                with pieces(b, WORD(0), fours, WORD(4)) as (start, _):
                    call(4, start)
                with repeated(b, fours, rows) as start:
                    call(1, start)
        with b.if_then(b.not_(is_whole)):
            with repeated(b, WORD(0), rows) as place:
                result, to = b.gep(self.corner, [b.mul(place, WORD(self.width))]), b.gep(target, [b.mul(place, sizes.columns)])
                with repeated(b, WORD(0), columns) as at:
                    value, there = b.load(b.gep(result, [at])), b.gep(to, [at])
                    with b.if_else(starts) as (alone, added):
                        with alone:
                            b.store(value, there)
                        with added:
                            b.store(b.fadd(b.load(there), value), there)

    def load(self, b: ir.IRBuilder, pointer: ir.Value, lanes: int) -> ir.Value:
        """A vector from memory that need not be aligned."""
        vector = b.load(b.bitcast(pointer, ir.VectorType(self.register.element, lanes).as_pointer()))
        vector.align = self.register.itemsize
        return vector

    def store(self, b: ir.IRBuilder, vector: ir.Value, pointer: ir.Value) -> None:
        """Write a vector."""
        b.store(vector, b.bitcast(pointer, vector.type.as_pointer())).align = self.register.itemsize

    def tile(self, rows: int, vectors: int) -> ir.Function:
        """The function of rows of x, a packed panel, where in out, and numbers.

        These are how many terms there are, elements from one row of x, one term and one row of out to the next, and
        whether out is replaced, not added to.
        """
        function = new_function(self.module, f"tile {rows} {vectors}", [self.pointer] * 3 + [WORD] * 4 + [BIT])
        for argument in function.args[:3]:
            argument.add_attribute("noalias")
        x, y, out, length, row, term_step, lead, replaces = function.args
        b = ir.IRBuilder(function.append_basic_block("entry"))
        with repeated(b, WORD(0), length) as term:
            sums = []
            with b.goto_block(term.parent):
                b.position_after(term)
                for _ in range(rows * vectors):
                    sums.append(b.phi(self.register.type))
                    sums[-1].add_incoming(self.register(0), function.entry_basic_block)
            left, right = b.gep(x, [b.mul(term, term_step)]), b.gep(y, [b.mul(term, WORD(self.width))])
            columns = [self.load(b, b.gep(right, [WORD(number * self.lanes)]), self.lanes) for number in range(vectors)]
            after = []
            for place in range(rows):
                number = splat(b, b.load(b.gep(left, [b.mul(row, WORD(place))])), self.lanes)
                for column, running in zip(columns, sums[place * vectors :]):
                    after.append(call_intrinsic(b, "llvm.fmuladd", self.register, number, column, running))
            for running, value in zip(sums, after):
                running.add_incoming(value, b.block)
        with b.if_else(replaces) as (alone, added):
            for branch, again in ((alone, False), (added, True)):
                with branch:
                    for number, value in enumerate(sums):
                        place = b.gep(out, [b.add(b.mul(lead, WORD(number // vectors)), WORD(number % vectors * self.lanes))])
                        self.store(b, b.fadd(self.load(b, place, self.lanes), value) if again else value, place)
        b.ret_void()
        return function


def new_function(module: ir.Module, name: str, arguments: list[ir.Type]) -> ir.Function:
    """A function that gives nothing, and is not inlined."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function


def least(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """The smaller of two words."""
    return b.select(b.icmp_signed("<", x, y), x, y)


@contextmanager
def pieces(b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
    """A loop over pieces of a range, at most `step` long; gives the bounds of each."""
    count = b.udiv(b.add(b.sub(stop, start), b.sub(step, WORD(1))), step)
    with repeated(b, WORD(0), count) as number:
        first = b.add(start, b.mul(number, step))
        yield first, least(b, b.add(first, step), stop)


def transposed_square(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """The columns of a square, as vectors: halves, then quarters ... of pairs of rows change places."""
    order = ir.VectorType(ir.IntType(32), SQUARE)
    distance = SQUARE // 2
    while distance:
        low = [place + SQUARE - distance if place & distance else place for place in range(SQUARE)]
        high = [place + SQUARE if place & distance else place + distance for place in range(SQUARE)]
        result = list(rows)
        for place in range(SQUARE):
            if not place & distance:
                pair = rows[place], rows[place + distance]
                result[place], result[place + distance] = (b.shuffle_vector(*pair, ir.Constant(order, mask)) for mask in (low, high))
        rows, distance = result, distance // 2
    return rows
