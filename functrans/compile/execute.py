"""Running compiled programs: stretches of kernels in native code, with NumPy's calls between them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from functrans.compile.blas import SEVERAL, Product, one_thread_each, parallel_extent, product_function
from functrans.compile.codegen import Library, build
from functrans.compile.entry import DATA_OFFSET, emit_entry, has_entry, stack_size
from functrans.compile.llvm import BYTES, INT, WORD, divisible, emit_kernel, may_fail, scratch_size, work
from functrans.compile.loops import check
from functrans.compile.memory import plan
from functrans.compile.native import JIT, Description, Native, raise_again
from functrans.compile.python_text import body_text, python_text, run
from functrans.compile.steps import HostCall, KernelCall, NativeCall, ProductCall, Step, read_by, steps, written_by
from functrans.compile.threads import emit_parallel, threads
from functrans.config import settings
from functrans.core.program import Equation, Literal, Program, Variable, fail
from functrans.core.program import check as check_program
from functrans.core.trace import NUMPY_ERRORS, running
from functrans.errors import describe_origin

__all__ = ["Executable", "step_text"]


# Nanoseconds of work below which giving the interpreter to other threads costs more than it gains.
WORTH_RELEASING = 5_000
# Threads start at a multiple of this in loops in lanes: of any number of lanes.
GRANULE = 64


@dataclass(frozen=True)
class Stretch:
    """Kernels and matrix products that run one after the other in one native call."""

    calls: list[NativeCall]
    run: Callable[[Any], int]


class Executable:
    """A compiled program: a function of the flat arguments.

    Each value outside the workspace has a slot in a list that is made anew for each call, so that threads
    may call at once; native code gets a table of the addresses of these array objects.
    """

    def __init__(self, program: Program) -> None:
        self.program = check_program(program) if settings.check_programs else program
        self.steps: list[Step] = steps(program)
        outside = dict.fromkeys(
            v for step in self.steps for v in written_by(step) if isinstance(step, HostCall) or v in program.outputs
        )
        variables = [*program.captured, *program.inputs, *outside]
        self.slots = {variable: slot for slot, variable in enumerate(variables)}
        written = dict.fromkeys(v for step in self.steps if not isinstance(step, HostCall) for v in written_by(step))
        self.results = [(self.slots[v], v.array_type.shape, v.array_type.dtype) for v in written if v in self.slots]
        self.plan = plan(self.steps, [v for v in written if v not in self.slots])
        self.table_type = ctypes.c_void_p * (len(variables) + 2)
        self.is_parallel = self.divides_products = self.may_fail = False
        self.scratch = 0  # bytes each thread needs beside the planned workspace
        self.library: Library | None = None
        self.native: Native | None = None  # all of it, where NumPy takes no part
        self.functions: dict[str, ir.Function] = {}  # one for kernels of one text
        self.free: list[np.ndarray[Any, Any]] = []
        self.parts = self.compiled()
        self.freed = self.last_uses()
        self.outputs = [(atom, self.slots[atom] if isinstance(atom, Variable) else -1) for atom in program.outputs]

    def compiled(self) -> list[Stretch | HostCall]:
        """The steps, with kernels between host calls compiled into one function each."""
        module = ir.Module("functrans")
        groups: list[list[NativeCall] | HostCall] = []
        for step in self.steps:
            if isinstance(step, HostCall):
                groups.append(step)
            elif groups and isinstance(groups[-1], list):
                groups[-1].append(step)
            else:
                groups.append([step])
        for number, group in enumerate(groups):
            if isinstance(group, list):
                run = self.emit(module, f"run{number}", group)
                if len(groups) == 1 and self.may_have_entry():
                    return [Stretch(group, self.native_call(module, run, group))]
                self.emit_stretch(module, f"stretch{number}", run, group)
        if not any(isinstance(group, list) for group in groups):
            return [group for group in groups if isinstance(group, HostCall)]
        library = self.library = build(module)
        return [
            Stretch(group, library.function(f"stretch{number}")) if isinstance(group, list) else group
            for number, group in enumerate(groups)
        ]

    def last_uses(self) -> list[list[int]]:
        """For each part, the slots of host calls' results that nothing after it reads."""
        kept: set[Any] = {*self.program.outputs, *self.program.inputs, *self.program.captured}
        freed: list[list[int]] = []
        for part in reversed(self.parts):
            calls: Sequence[Step] = part.calls if isinstance(part, Stretch) else [part]
            touched = {v for call in calls for v in (*read_by(call), *written_by(call)) if v in self.slots}
            freed.append([self.slots[variable] for variable in touched - kept])
            kept |= touched
        return freed[::-1]

    def may_have_entry(self) -> bool:
        """Whether all arguments and results are of types an entry takes and makes, and no result is an argument."""
        written = list(self.slots)[len(self.program.captured) + len(self.program.inputs) :]
        outputs = self.program.outputs
        each_once = len(outputs) == len(written) and set(outputs) == set(written)
        return each_once and has_entry([variable.array_type for variable in self.slots])

    def native_call(self, module: ir.Module, run: ir.Function, calls: Sequence[NativeCall]) -> Callable[..., Any]:
        """Compile the program with an entry; gives nothing that is ever called, since the entry is."""
        count = len(self.program.captured) + len(self.program.inputs)
        types = [variable.array_type for variable in self.slots]
        order = [self.slots[atom] - count for atom in self.program.outputs if isinstance(atom, Variable)]
        room = stack_size(self.plan.size + self.scratch) if not self.is_parallel else None
        releases = self.is_parallel or self.work() > WORTH_RELEASING
        names = emit_entry(
            module, "entry", run, types[:count], types[count:], order,
            workspace=room, is_parallel=self.is_parallel, releases=releases, may_fail=self.may_fail,
        )  # fmt: skip
        products = {call.product.dtype.name for call in calls if isinstance(call, ProductCall)}
        description = Description(
            tuple(names), tuple(sorted(products)), self.plan.size, self.scratch, room is not None, self.is_parallel
        )
        self.library = build(module)
        self.native = Native(self.library, description, self.program)
        return self.native.call

    def work(self) -> float:
        """About how many nanoseconds the steps take."""
        kernels = sum(work(step.kernel.body) for step in self.steps if isinstance(step, KernelCall))
        products = [step.product for step in self.steps if isinstance(step, ProductCall)]
        return kernels + sum(p.batch * p.rows * p.summed * p.columns for p in products) / 20

    def emit_stretch(self, module: ir.Module, name: str, run: ir.Function, calls: Sequence[NativeCall]) -> None:
        """The function that calls `run` with the data of a table's array objects; the last entry is the number of threads."""
        function = ir.Function(module, ir.FunctionType(INT, [BYTES.as_pointer()]), name)
        b = ir.IRBuilder(function.append_basic_block())
        size = len(self.slots) + 1
        table = b.alloca(BYTES, size)
        touched = {self.slots[v] for call in calls for v in (*read_by(call), *written_by(call)) if v in self.slots}
        for slot in sorted({*touched, size - 1}):
            array = b.load(b.gep(function.args[0], [WORD(slot)]))
            data = b.load(b.bitcast(b.gep(array, [WORD(DATA_OFFSET)]), BYTES.as_pointer()))
            b.store(data, b.gep(table, [WORD(slot)]))
        number = b.ptrtoint(b.load(b.gep(function.args[0], [WORD(size)])), WORD)
        b.ret(b.call(run, [table, number]))

    def emit(self, module: ir.Module, name: str, calls: Sequence[NativeCall]) -> ir.Function:
        """A function that makes calls, with pointers to the elements of each slot and to the workspace, and the number
        of threads; gives 1 if an index was out of bounds, else 0."""
        function = ir.Function(module, ir.FunctionType(INT, [BYTES.as_pointer(), WORD]), name)
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block())
        known: dict[Variable | None, ir.Value] = {}
        number = function.args[1]
        failed = b.alloca(INT)
        b.store(INT(0), failed)

        def elements(slot: int) -> ir.Value:
            return b.load(b.gep(function.args[0], [WORD(slot)]))

        def pointer(variable: Variable) -> ir.Value:
            if variable not in known:
                if variable in self.slots:
                    known[variable] = elements(self.slots[variable])
                else:
                    known[variable] = b.gep(workspace(), [WORD(self.plan.offsets[variable])])
            return known[variable]

        def workspace() -> ir.Value:
            if None not in known:
                known[None] = elements(len(self.slots))
            return known[None]

        for call in calls:
            pointers = [pointer(variable) for variable in (*read_by(call), *written_by(call))]
            if isinstance(call, ProductCall):
                self.emit_product(b, call.product, number, pointers)
                continue
            text = body_text(call.kernel)
            if text not in self.functions:
                checked = check(call.kernel) if settings.check_programs else call.kernel
                self.functions[text] = emit_kernel(module, checked)
            kernel, scratch = self.functions[text], scratch_size(call.kernel)
            if may_fail(call.kernel):
                self.may_fail = True
                pointers.append(failed)
            if scratch:
                self.scratch = max(self.scratch, scratch)
                pointers.append(b.gep(workspace(), [WORD(self.plan.size)]))
            arguments = [b.bitcast(value, argument.type) for value, argument in zip(pointers, kernel.args)]
            loop = divisible(call.kernel)
            if loop is None:
                b.call(kernel, arguments)
            else:
                self.is_parallel = True
                granule = GRANULE if loop.lanes else 1
                emit_parallel(b, loop.index.extent, number, kernel, arguments, scratch=scratch, granule=granule)
        b.ret(b.load(failed))
        return function

    def emit_product(self, b: ir.IRBuilder, product: Product, number: ir.Value, pointers: list[ir.Value]) -> None:
        """A call of BLAS, on several threads if it is worth it."""
        function = product_function(b.module, product)
        x, y, out = (b.bitcast(pointer, function.args[0].type) for pointer in pointers)
        operands = [y, x, out] if product.swapped else [x, y, out]
        extent = parallel_extent(product)
        if extent > 1:
            self.is_parallel = self.divides_products = True
            emit_parallel(b, extent, number, function, operands, scratch=0, granule=1)
        else:
            rows = product.batch if product.batch >= SEVERAL else product.rows
            b.call(function, [*operands, WORD(0), WORD(rows)])

    def kernels(self) -> str:
        """The text of every kernel, and what BLAS and NumPy are called for."""
        return "\n".join(map(step_text, self.steps))

    def workspace(self) -> np.ndarray[Any, Any]:
        """Memory that no other call uses now; large allocations are used again."""
        size = self.plan.size + self.scratch * settings.threads
        try:
            kept = self.free.pop()
        except IndexError:
            return np.empty(size, np.uint8)
        return kept if kept.size >= size else np.empty(size, np.uint8)

    def __call__(self, leaves: Sequence[Any], *, interpret: bool = False) -> list[Any]:
        """The flat results; with `interpret` from the text of the kernels, run as Python."""
        if self.native is not None and not interpret:
            return self.native(leaves)
        values: list[Any] = [native(value) for value in (*self.program.values, *leaves)]
        values += [None] * (len(self.slots) - len(values))
        for slot, shape, dtype in self.results:
            values[slot] = np.empty(shape, dtype)
        workspace = self.workspace()
        table, failed = None, 0
        for part, freed in zip(self.parts, self.freed):
            if isinstance(part, HostCall):
                self.run_host_call(part.equation, values, workspace)
                table = None
            elif interpret:
                for call in part.calls:
                    arrays = [self.array(variable, values, workspace) for variable in (*read_by(call), *written_by(call))]
                    interpreted(call, arrays)
            elif not self.is_parallel:
                table = table or self.table_type(*map(id, values), id(workspace), 1)
                failed = part.run(table)
            else:
                with one_thread_each() if self.divides_products else nullcontext(), threads() as number:
                    failed = part.run(self.table_type(*map(id, values), id(workspace), number))
            if failed:
                raise_again(self.program, leaves)
            for slot in freed:
                values[slot] = None
        self.free.append(workspace)
        return [delivered(values[slot], atom) if isinstance(atom, Variable) else atom.value for atom, slot in self.outputs]

    def array(self, variable: Variable, values: list[Any], workspace: np.ndarray[Any, Any]) -> Any:
        """The array of a value, in its slot or in the workspace."""
        if variable in self.slots:
            return values[self.slots[variable]]
        type_ = variable.array_type
        return np.ndarray(type_.shape, type_.dtype, workspace, self.plan.offsets[variable])

    def run_host_call(self, equation: Equation, values: list[Any], workspace: np.ndarray[Any, Any]) -> None:
        """Evaluate one equation with NumPy."""
        operands = [
            atom.value if isinstance(atom, Literal) else scalar_or_array(self.array(atom, values, workspace))
            for atom in equation.inputs
        ]
        with np.errstate(all="ignore"):
            try:
                result = equation.primitive.evaluate(*operands, **equation.params)
            except NUMPY_ERRORS as error:
                with running(JIT):
                    fail(equation, operands, error)
        for variable, value in zip(equation.outputs, result if equation.primitive.multiple else (result,)):
            values[self.slots[variable]] = owned(native(value), workspace)


def interpreted(call: NativeCall, arrays: Sequence[np.ndarray[Any, Any]]) -> None:
    """Carry out a call in Python, on its inputs and outputs."""
    if isinstance(call, KernelCall):
        run(call.kernel, *(array.reshape(-1) for array in arrays))
    else:
        *operands, out = arrays
        out[...] = call.equation.primitive.evaluate(*operands, **call.equation.params)


def step_text(step: Step) -> str:
    """What a step does, for people."""
    if isinstance(step, KernelCall):
        return python_text(step.kernel)
    library = "BLAS" if isinstance(step, ProductCall) else "NumPy"
    types = ", ".join(str(atom.array_type) for atom in step.equation.inputs)
    return f"# {library}: {step.equation.primitive.name} of {types}  from {describe_origin(step.equation.origin)}\n"


def native(value: Any) -> np.ndarray[Any, Any]:
    """A C-contiguous array of a value."""
    if type(value) is np.ndarray and value.flags.c_contiguous:
        return value
    return np.asarray(value, order="C")


def scalar_or_array(value: np.ndarray[Any, Any]) -> Any:
    """An operand as NumPy's functions get it: a scalar if 0-d."""
    return value if value.ndim else value[()]


def owned(value: np.ndarray[Any, Any], workspace: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`value`, copied if it is a view of the workspace, which the next kernels write into."""
    return value.copy() if value.base is not None and np.shares_memory(value, workspace) else value


def delivered(value: np.ndarray[Any, Any], variable: Variable) -> Any:
    """A result as NumPy would give it: an array of its own, a scalar if 0-d, a Python scalar if weak."""
    if value.ndim == 0:
        return value.item() if variable.array_type.weak else value[()]
    return value if value.base is None else value.copy()
