"""A stretch: kernels and calls of libraries, one after the other, as one function.

The function takes a table of pointers, to the elements of what it reads and writes, to its workspace, to memory for
each thread and to what becomes 1 when a signal has come, and the number of threads; it gives 0, 1 if an operation failed, or `INTERRUPTED`.
"""

from __future__ import annotations

from llvmlite import ir

from functrans.compile.arguments import Layouts, first_byte
from functrans.compile.emit.complex_parts import in_parts
from functrans.compile.emit.control import emit_control
from functrans.compile.emit.llvm import emit_kernel
from functrans.compile.emit.python_text import body_text
from functrans.compile.emit.resources import divisible, may_fail, scratch_size
from functrans.compile.emit.rounds import Surroundings
from functrans.compile.loops import Kernel, check
from functrans.compile.machine.blas import Product, product_function
from functrans.compile.machine.lapack import MatrixFunction, matrix_function_code, matrix_function_extent
from functrans.compile.machine.threads import emit_parallel
from functrans.compile.machine.tiles import Tiling, tiled_product
from functrans.compile.machine.words import BYTES, INT, WORD
from functrans.compile.schedule.memory import Plan, aligned
from functrans.compile.schedule.overwriting import is_idle
from functrans.compile.schedule.steps import Body, ControlCall, KernelCall, NativeCall, ProductCall, read_by, written_by
from functrans.config import settings
from functrans.core.program import Atom, Variable

__all__ = ["Stretch"]

# Threads start at a multiple of this in loops in lanes: of any number of lanes.
GRANULE = 64


class Stretch:
    """Emits calls.

    Args:
        kernels: the functions of kernels that are in the module already, by their text.
        planned: the calls, what the table points to, and where all other values live.
        layouts: of the inputs that are not C-contiguous.

    Attributes:
        run: the function.
        workspace, scratch: bytes for each call, and beside it for each thread.
        is_parallel: whether loops or products are divided among threads.
        may_fail: whether an operation may fail.
    """

    def __init__(
        self,
        module: ir.Module,
        name: str,
        kernels: dict[str, ir.Function],
        planned: Plan,
        layouts: Layouts,
    ) -> None:
        self.kernels, self.layouts = kernels, layouts
        places = {variable: place for place, variable in enumerate((*planned.inputs, *planned.results))}
        self.workspace, self.scratch = planned.size, 0
        self.is_parallel = self.may_fail = False
        self.run = ir.Function(module, ir.FunctionType(INT, [BYTES.as_pointer(), WORD]), name)
        self.run.linkage = "internal"
        table, self.number = self.run.args
        self.b = b = ir.IRBuilder(self.run.append_basic_block())
        self.failed = b.alloca(INT)
        b.store(INT(0), self.failed)
        room, self.beyond, stopped = (b.load(b.gep(table, [WORD(len(places) + place)])) for place in range(3))
        self.stopped = b.bitcast(stopped, INT.as_pointer())
        self.pointers: dict[Atom, ir.Value] = {
            v: b.gep(b.load(b.gep(table, [WORD(place)])), [WORD(first_byte(v, layouts))]) for v, place in places.items()
        }
        for variable, (owner, offset) in planned.places.items():
            self.pointers[variable] = b.gep(room if owner is None else self.pointers[owner], [WORD(offset)])
        for call in planned.calls:
            if not is_idle(call):
                self.call(call)
        b.ret(b.load(self.failed))

    def call(self, call: NativeCall) -> None:
        """Emit one call."""
        if isinstance(call, KernelCall):
            self.kernel(in_parts(call.kernel), [self.pointers[variable] for variable in (*call.inputs, *call.outputs)])
            return
        if isinstance(call, ControlCall):
            around = self.b, self.pointers, self.number, self.failed, self.beyond, self.stopped
            emit_control(Surroundings(*around, self.nested, self.share, self.note_failure), call)
            return
        pointers = [self.pointers[variable] for variable in (*read_by(call), *written_by(call))]
        if isinstance(call, ProductCall):
            self.product(call.product, [self.first(v, pointer) for v, pointer in zip(read_by(call), pointers)] + pointers[-1:])
        else:
            self.matrices(call.function, pointers)

    def nested(self, body: Body, beside: int = 0) -> Stretch:
        """The function of a body, whose needs are this stretch's as well."""
        inner = Stretch(self.b.module, self.b.module.get_unique_name(self.run.name), self.kernels, body.plan, {})
        self.scratch = max(self.scratch, beside + inner.scratch)
        self.is_parallel, self.may_fail = self.is_parallel or inner.is_parallel, self.may_fail or inner.may_fail
        return inner

    def note_failure(self) -> None:
        """An operation may fail."""
        self.may_fail = True

    def share(self, function: ir.Function, arguments: list[ir.Value], rounds: int, scratch: int) -> None:
        """Calls of a function for some rounds, by several threads, each with memory of its own."""
        self.is_parallel = True
        emit_parallel(self.b, rounds, self.number, function, arguments, scratch=scratch, granule=1)

    def first(self, variable: Variable, pointer: ir.Value) -> ir.Value:
        """A pointer to a value's element at index 0, which is not the first in memory where strides are negative."""
        return self.b.gep(pointer, [WORD(-first_byte(variable, self.layouts))])

    def kernel(self, kernel: Kernel, pointers: list[ir.Value]) -> None:
        """A call of a kernel, by several threads if it is worth it."""
        function, scratch = self.function(kernel), scratch_size(kernel)
        if may_fail(kernel):
            self.may_fail = True
            pointers.append(self.failed)
        if scratch:
            self.scratch = max(self.scratch, aligned(scratch))
            pointers.append(self.beyond)
        arguments = [self.b.bitcast(value, argument.type) for value, argument in zip(pointers, function.args)]
        loop = divisible(kernel)
        if loop is None:
            self.b.call(function, arguments)
            return
        self.is_parallel = True
        granule = GRANULE if loop.lanes else 1
        emit_parallel(self.b, loop.index.extent, self.number, function, arguments, scratch=aligned(scratch), granule=granule)

    def function(self, kernel: Kernel) -> ir.Function:
        """The function of a kernel, one for kernels of one text."""
        text = body_text(kernel)
        if text not in self.kernels:
            self.kernels[text] = emit_kernel(self.b.module, check(kernel) if settings.check_programs else kernel)
        return self.kernels[text]

    def product(self, product: Product, pointers: list[ir.Value]) -> None:
        """Tiles or a call of BLAS, by several threads if it is worth it."""
        tiling, scratch = Tiling(product), 0
        if tiling.is_faster:
            function, extent, scratch = tiled_product(self.b.module, tiling), tiling.extent, aligned(tiling.scratch)
        else:
            function, extent = product_function(self.b.module, product), product.extent
        x, y, out = (self.b.bitcast(pointer, function.args[0].type) for pointer in pointers)
        operands = [y, x, out] if product.swapped else [x, y, out]
        if scratch:
            self.scratch = max(self.scratch, scratch)
            operands.append(self.beyond)
        if product.is_worth_dividing and extent > 1:
            self.is_parallel = True
            emit_parallel(self.b, extent, self.number, function, operands, scratch=scratch, granule=1)
        else:
            self.b.call(function, [*operands, WORD(0), WORD(extent)])

    def matrices(self, function: MatrixFunction, pointers: list[ir.Value]) -> None:
        """A call of LAPACK for each of some matrices, by several threads if it is worth it."""
        code = matrix_function_code(self.b.module, function)
        self.scratch = max(self.scratch, aligned(function.scratch))
        if function.may_fail:
            self.may_fail = True
            pointers.append(self.failed)
        pointers.append(self.beyond)
        arguments = [self.b.bitcast(value, argument.type) for value, argument in zip(pointers, code.args)]
        if matrix_function_extent(function) > 1:
            self.is_parallel = True
            emit_parallel(self.b, function.batch, self.number, code, arguments, scratch=aligned(function.scratch), granule=1)
        else:
            self.b.call(code, [*arguments, WORD(0), WORD(function.batch)])
