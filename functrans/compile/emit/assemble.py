"""From steps to the parts of a program: the native ones in one module, each with an entry.

What does not leave a native part is in its workspace; what does is an array or a scalar that its entry makes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from llvmlite import ir

from functrans.compile.arguments import Argument, layouts_of
from functrans.compile.emit.costs import nanoseconds, operations_of
from functrans.compile.emit.entry import emit_entry, stack_size
from functrans.compile.emit.parts import Costs, Description, HostPart, NativePart, Part, freed_after
from functrans.compile.emit.stretch import Stretch
from functrans.compile.machine.codegen import Library, build
from functrans.compile.machine.tiles import Tiling
from functrans.compile.schedule.memory import Plan, plan
from functrans.compile.schedule.steps import (
    ControlCall,
    HostCall,
    MatrixCall,
    NativeCall,
    ProductCall,
    Step,
    read_by,
    steps,
    written_by,
)
from functrans.config import settings
from functrans.core.program import Atom, Program, Variable, check
from functrans.errors import FunctransError
from functrans.ops import arithmetic, indexing

__all__ = ["assemble", "planned", "steps_of"]

# Nanoseconds of work below which giving the interpreter to other threads costs more than it gains.
WORTH_RELEASING = 5_000
# A native part's calls, or the one call of NumPy that a part is.
Group = list[NativeCall] | HostCall


def assemble(program: Program, arguments: Sequence[Argument]) -> tuple[Library, Description]:
    """The compiled code of a simplified program for some arguments, and what is to be known to run it."""
    try:
        return assembled(program, arguments)
    except (FunctransError, MemoryError):
        raise
    except Exception as error:
        from functrans.compile.emit.failures import explained

        raise explained(program, arguments, error) from error


def assembled(program: Program, arguments: Sequence[Argument]) -> tuple[Library, Description]:
    """What `assemble` gives; raises anything."""
    assembler = Assembler(check(program) if settings.check_programs else program, arguments)
    parts = assembler.parts()
    results = tuple(assembler.slots[atom] if isinstance(atom, Variable) else None for atom in program.outputs)
    routines = {routine for step in steps_of(assembler.groups) for routine in routines_of(step)}
    costs = assembler.costs(parts, results)
    return build(assembler.module), Description(parts, results, tuple(sorted(routines)), costs)


def planned(program: Program, arguments: Sequence[Argument]) -> list[Plan | HostCall]:
    """The native calls and NumPy's calls between them, in order, with where the values of the native ones live."""
    groups = grouped(steps(program, layouts_of(program, arguments)))
    taken_in = dict(zip((*program.captured, *program.inputs), arguments))
    reads, writes = taken(taken_in, groups)
    wanted = [atom for atom in program.outputs if isinstance(atom, Variable)]
    passed = {*wanted, *(variable for read in reads for variable in read)}
    donated = {v for v, argument in taken_in.items() if argument.donated and argument.strides is None}
    spare = donated - kept_whole(program, groups)
    found: list[Plan | HostCall] = []
    for number, (group, read, written) in enumerate(zip(groups, reads, writes)):
        if isinstance(group, HostCall):
            found.append(group)
            continue
        later = {variable for following in reads[number + 1 :] for variable in following}
        results = in_order(wanted, [variable for variable in written if variable in passed])
        found.append(plan(group, read, results, [v for v in read if v in spare and v not in later]))
    return found


def kept_whole(program: Program, groups: Sequence[Group]) -> set[Atom]:
    """What must not be written into: results, what NumPy's calls read, since they may give views of it, and what loops and
    branches read, and what indices, integer exponents and LAPACK's matrices are made of, since where these fail the program
    is evaluated again."""
    kept: set[Atom] = {*program.outputs, *(v for group in groups if isinstance(group, HostCall) for v in read_by(group))}
    calls = [call for group in groups if not isinstance(group, HostCall) for call in group]
    kept.update(variable for call in calls if isinstance(call, ControlCall) for variable in read_by(call))
    may_fail = {call.equation for call in calls if isinstance(call, MatrixCall) and call.function.may_fail}
    made_of: set[Atom] = set()
    for equation in reversed(program.equations):
        if not made_of.isdisjoint(equation.outputs) or equation in may_fail:
            made_of.update(equation.inputs)
        if equation.primitive is arithmetic.power:
            made_of.update(equation.inputs[1:])
        if equation.primitive in (indexing.getitem, indexing.index_set, indexing.index_add):
            made_of.update(equation.inputs[1 if equation.primitive is indexing.getitem else 2 :])
    return kept | made_of


def steps_of(groups: Sequence[Plan | HostCall]) -> list[Step]:
    """All calls, in order."""
    return [step for group in groups for step in (group.calls if isinstance(group, Plan) else [group])]


class Assembler:
    """Emits the parts of a program.

    Attributes:
        groups: the native calls and those of NumPy between them.
        slots: of the values that pass from one part to another.
        kernels: the functions of kernels, by their text.
    """

    def __init__(self, program: Program, arguments: Sequence[Argument]) -> None:
        self.program = program
        self.arguments = dict(zip((*program.captured, *program.inputs), arguments))
        self.layouts = layouts_of(program, arguments)
        self.groups = planned(program, arguments)
        self.module = ir.Module("functrans")
        self.kernels: dict[str, ir.Function] = {}
        self.slots = {variable: slot for slot, variable in enumerate((*program.captured, *program.inputs))}

    def parts(self) -> tuple[Part, ...]:
        """The parts, in order."""
        laid_out = {*self.program.outputs, *(v for group in self.groups if isinstance(group, Plan) for v in group.inputs)}
        numbers = {equation: number for number, equation in enumerate(self.program.equations)}
        found: list[Part] = []
        for group in self.groups:
            for variable in group.results if isinstance(group, Plan) else group.equation.outputs:
                self.slots[variable] = len(self.slots)
            if isinstance(group, HostCall):
                found.append(self.host_part(group, numbers[group.equation], laid_out))
            else:
                found.append(self.native_part(f"entry{len(found)}", group, checks=not found))
        return tuple(found)

    def host_part(self, call: HostCall, number: int, laid_out: Collection[Atom]) -> HostPart:
        """The part of a call of NumPy."""
        reads = tuple(self.slots[atom] if isinstance(atom, Variable) else None for atom in call.equation.inputs)
        outputs = call.equation.outputs
        return HostPart(number, reads, tuple(self.slots[v] for v in outputs), tuple(v in laid_out for v in outputs))

    def native_part(self, name: str, group: Plan, *, checks: bool) -> NativePart:
        """The part of native calls; emits them. The first also checks that donated arrays are apart from others."""
        stretch = Stretch(self.module, f"run_{name}", self.kernels, group, self.layouts)
        inputs, results = group.inputs, group.results
        arguments = [self.arguments.get(variable, Argument(variable.array_type)) for variable in inputs]
        arguments = arguments if checks else [replace(argument, donated=False) for argument in arguments]
        homes = {results.index(variable): inputs.index(source) for variable, source in group.homes.items()}
        room = None if stretch.is_parallel else stack_size(stretch.workspace + stretch.scratch)
        names = emit_entry(
            self.module, name, stretch.run, arguments, [v.array_type for v in results], homes,
            workspace=room, shared=stretch.workspace, is_parallel=stretch.is_parallel, may_fail=stretch.may_fail,
            releases=stretch.is_parallel or nanoseconds(group.calls) > WORTH_RELEASING,
        )  # fmt: skip
        return NativePart(
            name, tuple(names), tuple(self.slots[v] for v in inputs), tuple(self.slots[v] for v in results),
            stretch.workspace, stretch.scratch, room is not None, stretch.is_parallel, stretch.may_fail,
        )  # fmt: skip

    def costs(self, parts: Sequence[Part], results: Sequence[int | None]) -> Costs:
        """What a call of the program does."""
        steps = steps_of(self.groups)
        operations = list(map(operations_of, steps))
        moved = sum(v.array_type.nbytes for step in steps for v in {*read_by(step), *written_by(step)})
        donated = sum(v.array_type.nbytes for group in self.groups if isinstance(group, Plan) for v in group.homes)
        sizes = [variable.array_type.nbytes for variable in self.slots]
        flops, transcendentals = (sum(counts) for counts in zip((0, 0), *operations))
        return Costs(flops, transcendentals, moved, most_between(parts, results, sizes), donated)


def grouped(steps: Sequence[Step]) -> list[Group]:
    """The steps of each part: first those of a native one, if only to check the arguments."""
    native: list[NativeCall] = []
    groups: list[Group] = [native]
    for step in steps:
        if isinstance(step, HostCall):
            groups.append(step)
            continue
        if groups[-1] is not native:
            native = []
            groups.append(native)
        native.append(step)
    return groups


def taken(arguments: Iterable[Variable], groups: Sequence[Group]) -> tuple[list[list[Variable]], list[list[Variable]]]:
    """What each group takes from outside, the first all arguments, and what it makes.

    What a group stores a part of, and an earlier one has made, it takes and writes into.
    """
    known = set(arguments)
    reads, writes = [], []
    for group in groups:
        steps: Sequence[Step] = [group] if isinstance(group, HostCall) else group
        touched = dict.fromkeys(variable for step in steps for variable in (*read_by(step), *written_by(step)))
        reads.append([variable for variable in touched if variable in known])
        writes.append([variable for variable in touched if variable not in known])
        known.update(touched)
    return [list(arguments), *reads[1:]], writes


def in_order(wanted: Sequence[Variable], written: Sequence[Variable]) -> list[Variable]:
    """The variables written: results of the program first, in their order."""
    known = set(written)
    return list(dict.fromkeys([*(variable for variable in wanted if variable in known), *written]))


def routines_of(step: Step) -> list[str]:
    """The routines that a step calls."""
    if isinstance(step, ControlCall):
        return [routine for body in step.bodies for call in body.calls for routine in routines_of(call)]
    if isinstance(step, ProductCall):
        return [tiling.routine if (tiling := Tiling(step.product)).is_faster else step.product.routine]
    return [step.function.routine] if isinstance(step, MatrixCall) else []


def most_between(parts: Sequence[Part], results: Sequence[int | None], sizes: Sequence[int]) -> int:
    """The bytes of what parts hand each other, at the most at once; the program's results do not count."""
    most = alive = 0
    for part, freed in zip(parts, freed_after(parts, results)):
        alive += sum(sizes[slot] for slot in part.writes if slot not in results)
        most = max(most, alive)
        alive -= sum(sizes[slot] for slot in freed)
    return most
